"""A tree goes whatever is in it, and nothing else does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from canary import Canary
from ostrata.stores.removal import remove_tree
from unprivileged import as_nobody

ROOT = os.geteuid() == 0


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "a tree\n\udcff"
    path.mkdir()
    return path


def test_files_directories_and_special_files_go(tree: Path) -> None:
    for number in range(3):
        (tree / f"{number}/same/same").mkdir(parents=True)
        (tree / f"{number}/same/same/same").write_bytes(b"x")
    os.mkfifo(tree / "0/fifo")
    (tree / "read only").write_bytes(b"x")
    (tree / "read only").chmod(0)
    remove_tree(str(tree))
    assert not tree.exists()


def test_symlinks_go_and_not_what_they_lead_to(tree: Path, canary: Canary) -> None:
    (tree / "d").mkdir()
    for place in (tree, tree / "d"):
        (place / "out").symlink_to(canary.path)
        (place / "file").symlink_to(canary.path / "file")
        (place / "up").symlink_to("..")
        (place / "dangling").symlink_to("nowhere")
    remove_tree(str(tree))
    assert not tree.exists()


def test_hard_links_go_and_not_the_other_name(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"kept")
    os.link(tmp_path / "other", tree / "name")
    remove_tree(str(tree))
    assert (tmp_path / "other").read_bytes() == b"kept"
    assert not tree.exists()


@pytest.mark.parametrize(("name", "depth"), [("d", 1100), ("n" * 250, 40)])
def test_directories_deeper_than_functions_and_longer_than_paths_go(name: str, depth: int, tree: Path) -> None:
    descriptor = os.open(tree, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=descriptor)
        below = os.open(name, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=descriptor))
    os.close(descriptor)
    before = len(os.listdir("/proc/self/fd"))
    remove_tree(str(tree))
    assert not tree.exists()
    assert len(os.listdir("/proc/self/fd")) == before


def test_directories_closed_to_their_owner_go(tree: Path) -> None:
    def work() -> None:
        for mode in (0, 0o100, 0o400, 0o200, 0o500):
            below = tree / f"own/{mode:o}/below"
            below.mkdir(parents=True)
            (below / "file").write_bytes(b"")
            below.chmod(mode)
            below.parent.chmod(mode)
        (tree / "own").chmod(0)
        remove_tree(str(tree / "own"))

    as_nobody(work, tree)
    assert os.listdir(tree) == []


@pytest.mark.skipif(not ROOT, reason="needs root to make a directory of somebody else")
def test_what_is_somebody_elses_stays_and_the_rest_goes(tree: Path) -> None:
    (tree / "own/others").mkdir(parents=True)
    (tree / "own/others/file").write_bytes(b"")
    (tree / "own/gone").mkdir()
    os.chown(tree / "own", 65534, 65534)
    as_nobody(lambda: remove_tree(str(tree / "own")), tree)
    assert [path.name for path in tree.rglob("*") if path.is_file()] == ["file"]
    assert "gone" not in os.listdir(tree / "own")


@pytest.mark.parametrize("kind", ["nothing", "file", "symlink"])
def test_what_is_no_directory_stays(kind: str, tmp_path: Path, canary: Canary) -> None:
    path = tmp_path / "path"
    if kind == "file":
        path.write_bytes(b"kept")
    elif kind == "symlink":
        path.symlink_to(canary.path)
    remove_tree(str(path))
    assert os.path.lexists(path) == (kind != "nothing")
