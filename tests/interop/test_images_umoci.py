"""umoci unpacks the commit's tree out of an image; capabilities survive in the layout bootc."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from encapsulated_images import LAYOUTS, layout_name, make_image, ostrata, spread
from golden import make_small
from judge import rootfs
from ostrata.formats.encapsulated import Layout

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("umoci") is None, reason="umoci is not installed"),
]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can unpack owners and capabilities")
REF = "images/stable"
PING = "usr/share/ping with caps"
SHAPES = ("chunked", "single")
Run = Callable[..., str]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The judges' odd tree."""
    place = tmp_path_factory.mktemp("tree")
    (place / "program").write_bytes(b"\x7fELF, perhaps\n" * 1000)
    return rootfs.make(place / "rootfs", place / "program")


@pytest.fixture(scope="module")
def repository(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "repo"
    ostrata("commit", "--quiet", "--repo", path, "--branch", REF, "--timestamp", "@1577836800", tree)
    return path


def unpack(run: Run, repository: Path, place: Path, layout: Layout, shape: str, *options: str, ref: str = REF) -> Path:
    """The root of the unpacked image."""
    contentmeta = spread(repository, ref) if shape == "chunked" else None
    make_image(repository, ref, f"oci:{place}/image:v1", compression="gzip", layout=layout, contentmeta=contentmeta)
    run("umoci", "unpack", *options, "--image", f"{place}/image:v1", place / "bundle")
    return place / "bundle/rootfs"


@as_root
@pytest.mark.parametrize(
    ("layout", "shape"),
    [
        pytest.param(*variant, id=f"{layout_name(variant[0])}, {variant[1]}")
        for variant in itertools.product(LAYOUTS, SHAPES)
    ],
)
def test_the_unpacked_tree_is_that_of_the_commit(
    layout: Layout, shape: str, tree: Path, repository: Path, run: Run, tmp_path: Path
) -> None:
    root = unpack(run, repository, tmp_path, layout, shape)
    expected = rootfs.in_a_container(rootfs.see(tree), with_xattrs=layout.name == "bootc")
    assert rootfs.without_repository(rootfs.see(root)) == expected


@as_root
@pytest.mark.parametrize("layout", LAYOUTS, ids=layout_name)
def test_hard_links_into_the_repository_stay_links(layout: Layout, repository: Path, run: Run, tmp_path: Path) -> None:
    root = unpack(run, repository, tmp_path, layout, "chunked")
    objects = {
        os.lstat(os.path.join(directory, name)).st_ino
        for directory, links, names in os.walk(root / "sysroot/ostree/repo/objects")
        for name in (*names, *links)
        if name.endswith(".file")
    }
    for path in ("usr/bin/sudo", "usr/share/linked", "usr/share/linked-again", "etc/linked", "usr/share/links/up"):
        assert os.lstat(root / path).st_ino in objects
    assert os.lstat(root / "usr/share/linked").st_ino == os.lstat(root / "etc/linked").st_ino
    assert os.lstat(root / "etc/empty").st_ino not in objects


@as_root
@pytest.mark.parametrize("layout", LAYOUTS, ids=layout_name)
def test_getcap_shows_the_capability_that_setcap_gave(
    layout: Layout, run: Run, need: Callable[..., None], tmp_path: Path
) -> None:
    need("setcap", "getcap")
    tree = tmp_path / "tree"
    (tree / "usr/share").mkdir(parents=True)
    shutil.copyfile("/bin/true", tree / PING)
    (tree / PING).chmod(0o755)
    run("setcap", "cap_net_raw+ep", tree / PING)
    ostrata("commit", "--quiet", "--repo", tmp_path / "repo", "--branch", REF, tree)
    root = unpack(run, tmp_path / "repo", tmp_path, layout, "chunked")
    shown = run("getcap", root / PING)
    # The published layout ostree-ext-0.15 keeps capabilities for OSTree only.
    assert shown == (f"{root / PING} cap_net_raw=ep\n" if layout.name == "bootc" else "")
    assert (root / PING).read_bytes() == (tree / PING).read_bytes()


@pytest.mark.parametrize("layout", LAYOUTS, ids=layout_name)
def test_anybody_unpacks_contents_modes_and_targets(layout: Layout, run: Run, tmp_path: Path) -> None:
    make_small.make_repository(tmp_path / "repo")
    root = unpack(run, tmp_path / "repo", tmp_path, layout, "chunked", "--rootless", ref=make_small.REF)
    for path, node in make_small.TREE.items():
        found = root / (path.removeprefix("usr/") if path.startswith("usr/etc/") or path == "usr/etc" else path)
        status = found.lstat()
        if node.kind == "symlink":
            assert os.readlink(found).encode() == node.data
            continue
        assert stat.S_IMODE(status.st_mode) == node.mode
        assert stat.S_ISDIR(status.st_mode) == (node.kind == "directory")
        if node.kind == "file":
            assert found.read_bytes() == node.data
    assert not (root / "usr/etc").exists()


def test_umoci_stat_shows_the_history(run: Run, tmp_path: Path) -> None:
    make_small.make_repository(tmp_path / "repo")
    contentmeta = spread(tmp_path / "repo", make_small.REF)
    result = make_image(
        tmp_path / "repo", make_small.REF, f"oci:{tmp_path}/image:v1", compression="gzip", contentmeta=contentmeta
    )
    history = json.loads(run("umoci", "stat", "--json", "--image", f"{tmp_path}/image:v1"))["history"]
    assert [entry["created_by"] for entry in history] == [make_small.SUBJECT, *contentmeta.layers]
    layers = [report.layer for report in result.layers]
    assert [entry["diff_id"] for entry in history] == [str(layer.diff_id) for layer in layers]
    assert [entry["layer"]["digest"] for entry in history] == [str(layer.descriptor.digest) for layer in layers]
    assert {entry["created"] for entry in history} == {"2020-01-01T00:00:00Z"}
