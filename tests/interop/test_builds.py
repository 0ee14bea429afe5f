"""Built images against real tools: umoci unpacks what we read, ostree checks what we wrote."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from ostrata.cli import run as run_ostrata
from ostrata.model.tree import Directory, RegularFile, Symlink
from ostrata.pipeline.build_sources import SourceOptions, prepare
from ostrata.sources.contents import open_contents
from plain_images import Found, RandomLayers, snapshot, write_image

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices need root"),
]
Run = Callable[..., str]
Need = Callable[..., None]


def as_found(reference: str, tmpdir: Path) -> dict[bytes, Found]:
    """The source as `snapshot` describes an unpacked tree."""
    found: dict[bytes, Found] = {}
    groups: dict[str | int, bytes] = {}
    opened = prepare(reference, SourceOptions(), tmpdir=str(tmpdir), jobs=2)
    with opened as prepared, open_contents(prepared.at) as contents:
        everything = {**prepared.tree.entries, **prepared.special}
        for path in sorted(everything, key=os.fsencode):
            entry, name = everything[path], os.fsencode(path) or b"."
            data: bytes | str | None = None
            if isinstance(entry, RegularFile):
                data = b"".join(bytes(piece) for piece in contents.open(entry))
            elif isinstance(entry, Symlink):
                data = os.fsencode(entry.target)
            key = name if isinstance(entry, Directory) else getattr(entry, "content", id(entry))
            attributes = entry.attributes
            xattrs = tuple((os.fsdecode(key), value) for key, value in attributes.xattrs)
            group = groups.setdefault(key, name)
            time = attributes.mtime or 0
            found[name] = Found(attributes.mode, attributes.uid, attributes.gid, time, data, xattrs, group)
    return found


def linked(found: dict[bytes, Found], name: bytes) -> set[bytes]:
    """All names of the file."""
    return {other for other in found if found[other].group == found[name].group}


@pytest.mark.parametrize("layers", [1, 2, 40, 120])
def test_a_source_image_is_what_umoci_unpacks(tmp_path: Path, layers: int, run: Run, need: Need) -> None:
    need("umoci")
    maker = RandomLayers(layers)
    write_image(tmp_path / "image", [maker.layer(max(6, 240 // layers)) for _ in range(layers)])
    run("umoci", "unpack", "--image", f"{tmp_path}/image:t", tmp_path / "bundle")
    unpacked = snapshot(tmp_path / "bundle/rootfs")
    found = as_found(f"oci:{tmp_path}/image:t", tmp_path)
    assert set(found) == set(unpacked)
    for name in set(unpacked) - {b"."}:  # no layer has an entry for the root
        ours, theirs = found[name], unpacked[name]
        assert (ours.uid, ours.gid, ours.mtime, ours.xattrs) == (theirs.uid, theirs.gid, theirs.mtime, theirs.xattrs)
        if not stat.S_ISLNK(theirs.mode):
            assert ours.mode == stat.S_IMODE(theirs.mode)
        if stat.S_ISREG(theirs.mode):
            assert ours.data == theirs.data
            assert linked(found, name) == linked(unpacked, name)


def test_ostree_finds_nothing_wrong_with_a_built_commit(tmp_path: Path, run: Run, need: Need) -> None:
    need("ostree")
    maker = RandomLayers(3)
    write_image(tmp_path / "source", [maker.layer(60) for _ in range(4)])
    words = ["build", f"oci:{tmp_path}/source:t", f"oci:{tmp_path}/image:1", "-q", "--fix", "drop-other-encodings"]
    assert run_ostrata([*words, "--max-layers", "6"]) == 0
    assert (
        run_ostrata(["import", f"oci:{tmp_path}/image:1", "--repo", f"{tmp_path}/repo", "--write-ref", "os", "-q"]) == 0
    )
    run("ostree", f"--repo={tmp_path}/repo", "fsck")
    run("ostree", f"--repo={tmp_path}/repo", "checkout", "os", tmp_path / "checkout")
    assert run_ostrata(["verify", f"oci:{tmp_path}/image:1", "--against", f"{tmp_path}/checkout"]) == 0


def test_skopeo_reads_and_copies_the_docker_archive_that_we_read(tmp_path: Path, run: Run, need: Need) -> None:
    need("skopeo")
    maker = RandomLayers(4)
    write_image(tmp_path / "source", [maker.layer(30) for _ in range(5)], compresses=False)
    run("skopeo", "copy", f"oci:{tmp_path}/source:t", f"docker-archive:{tmp_path}/a.tar:localhost/os:latest")
    wanted = as_found(f"oci:{tmp_path}/source:t", tmp_path)
    assert as_found(f"docker-archive:{tmp_path}/a.tar", tmp_path) == wanted
    assert as_found(f"docker-archive:{tmp_path}/a.tar:localhost/os:latest", tmp_path) == wanted


def test_the_tree_in_the_image_is_that_of_the_source_but_for_the_steps(tmp_path: Path) -> None:
    maker = RandomLayers(5)
    write_image(tmp_path / "source", [maker.layer(60) for _ in range(3)])
    assert run_ostrata(["build", f"oci:{tmp_path}/source:t", f"oci:{tmp_path}/plain:1", "-q", "--format", "plain"]) == 0
    words = ["verify", f"oci:{tmp_path}/plain:1", "--against", f"oci:{tmp_path}/source:t"]
    assert run_ostrata(words) == 0


def test_the_first_build_goes_on_when_a_registry_has_no_previous_image(
    tmp_path: Path, need: Need, capfd: pytest.CaptureFixture[str]
) -> None:
    need("skopeo")
    write_image(tmp_path / "source", [RandomLayers(6).layer(20)])
    words = ["build", f"oci:{tmp_path}/source:t", f"oci:{tmp_path}/image:1", "--fix", "drop-other-encodings"]
    words += ["--previous", "docker://127.0.0.1:1/me/os:latest"]
    assert run_ostrata(words) == 0
    told = capfd.readouterr().err
    assert "the previous plan cannot be read, and is not used" in told
    assert "connection refused" in told
    assert run_ostrata([*words, "--previous-required"]) == 1
