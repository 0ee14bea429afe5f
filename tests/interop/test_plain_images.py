"""Plain images unpacked by umoci and GNU tar, and compared with the trees that they were built from."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import fidelity
from ostrata.layers.compressors import Plain
from ostrata.pipeline.verify_against import verify_against
from plain_builds import OPTIONS, PLAN, build, read, tars_of
from plain_images import Found, RandomLayers, read_layout, snapshot, write_image

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("umoci") is None, reason="umoci is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can unpack owners and capabilities"),
]
Run = Callable[..., str]


def unpack(run: Run, image: Path, bundle: Path) -> dict[bytes, Found]:
    run("umoci", "unpack", "--image", f"{image}:t", bundle)
    return snapshot(bundle / "rootfs")


def timeless(tree: dict[bytes, Found]) -> dict[bytes, Found]:
    """Without the times of directories, which layers do not keep, and of symlinks, which umoci does not set."""
    return {
        path: replace(found, mtime=0) if isinstance(found.data, bytes | None) and is_timeless(found) else found
        for path, found in tree.items()
    }


def is_timeless(found: Found) -> bool:
    return found.mode & 0o170000 in (0o040000, 0o120000)


def extract_tars(image: Path, root: Path) -> None:
    root.mkdir()
    for tar in tars_of(image):
        done = subprocess.run(
            ["tar", "--extract", "--numeric-owner", "--same-permissions", "--xattrs", "--xattrs-include=*"],
            input=tar,
            capture_output=True,
            cwd=root,
        )
        assert (done.returncode, done.stderr) == (0, b"")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("source") / "a tree\nž"
    place.mkdir()
    fidelity.make(place)
    yield place


@pytest.mark.parametrize("planned", [False, True])
def test_verify_finds_no_difference_to_the_directory(tree: Path, planned: bool, tmp_path: Path) -> None:
    result = build(tree, tmp_path / "image", plan=PLAN if planned else None, jobs=2)
    found = verify_against(read(tmp_path / "image"), str(tree), times=not planned)
    assert [(each.path, each.what) for each in found.differences if each.what != "mtime"] == []
    assert all((tree / each.path).is_dir() for each in found.differences)
    assert found.entries == len(snapshot(tree))
    assert result.notes == ()


@pytest.mark.parametrize("planned", [False, True])
def test_umoci_unpacks_the_directory_that_an_image_was_built_from(
    tree: Path, planned: bool, run: Run, tmp_path: Path
) -> None:
    build(tree, tmp_path / "image", plan=PLAN if planned else None)
    expected = timeless(snapshot(tree))
    # Go's archive/tar, and so umoci, passes over attributes without a value.
    attributes = expected[b"etc/attributes"]
    expected[b"etc/attributes"] = replace(attributes, xattrs=tuple(pair for pair in attributes.xattrs if pair[1]))
    assert timeless(unpack(run, tmp_path / "image", tmp_path / "bundle")) == expected


def test_gnu_tar_unpacks_the_directory_that_an_image_was_built_from(tree: Path, tmp_path: Path) -> None:
    build(tree, tmp_path / "image", plan=PLAN)
    extract_tars(tmp_path / "image", tmp_path / "tree")
    assert timeless(snapshot(tmp_path / "tree")) == timeless(snapshot(tree))


def test_getcap_finds_the_capabilities_in_what_umoci_unpacks(tree: Path, run: Run, need: Run, tmp_path: Path) -> None:
    need("getcap")
    build(tree, tmp_path / "image")
    unpack(run, tmp_path / "image", tmp_path / "bundle")
    shown = run("getcap", "-r", tmp_path / "bundle/rootfs/usr/bin")
    assert "ping cap_net_bind_service=ep" in shown
    assert "newuidmap cap_net_raw=ep [rootid=1000]" in run("getcap", "-n", "-r", tmp_path / "bundle/rootfs/usr/bin")


@pytest.mark.parametrize("seed", range(4))
def test_an_image_built_from_an_image_is_unpacked_as_the_same_tree(seed: int, run: Run, tmp_path: Path) -> None:
    layers = RandomLayers(seed)
    write_image(tmp_path / "source", [layers.layer(30) for _ in range((1, 3, 12, 40)[seed])])

    build(f"oci:{tmp_path}/source:t", tmp_path / "image", plan=PLAN, jobs=2)

    assert not verify_against(read(tmp_path / "image"), read_layout(tmp_path / "source")).differences
    expected = timeless(unpack(run, tmp_path / "source", tmp_path / "one"))
    assert timeless(unpack(run, tmp_path / "image", tmp_path / "two")) == expected


@pytest.mark.parametrize("seed", range(10, 16))
def test_on_top_of_a_base_the_layers_add_up_to_the_tree_of_the_source(seed: int, run: Run, tmp_path: Path) -> None:
    layers = RandomLayers(seed)
    below = [layers.layer(30) for _ in range(3)]
    write_image(tmp_path / "base", below)
    write_image(tmp_path / "source", [*below, layers.layer(20), layers.layer(20)])

    build(f"oci:{tmp_path}/source:t", tmp_path / "image", base=f"oci:{tmp_path}/base:t", plan=PLAN)

    assert not verify_against(read(tmp_path / "image"), read_layout(tmp_path / "source")).differences
    base, image = read(tmp_path / "base")[1], read(tmp_path / "image")[1]
    assert [layer.descriptor for layer in image.layers[:3]] == [layer.descriptor for layer in base.layers]
    expected = timeless(unpack(run, tmp_path / "source", tmp_path / "one"))
    assert timeless(unpack(run, tmp_path / "image", tmp_path / "two")) == expected


def test_links_beyond_what_a_file_system_can_hold_are_copies(tmp_path: Path) -> None:
    names = [f"usr/lib/many/{number:05}" for number in range(65_002)]
    (tmp_path / "source.tar").write_bytes(fidelity.tar(links=len(names)))

    result = build(tmp_path / "source.tar", tmp_path / "image", options=replace(OPTIONS, compressor=Plain()))

    assert "1 copies in place of hard links" in result.notes[0]
    extract_tars(tmp_path / "image", tmp_path / "tree")
    assert (tmp_path / "tree" / names[0]).stat().st_nlink == 65_000
    assert (tmp_path / "tree" / names[-1]).stat().st_nlink == 2
    write_image(tmp_path / "expected", [fidelity.tar(links=len(names))], compresses=False)
    found = verify_against(read(tmp_path / "image"), read_layout(tmp_path / "expected"))
    assert {each.path for each in found.differences} == set(names)
    assert all(each.reason and "65,000 names" in each.reason for each in found.differences)
