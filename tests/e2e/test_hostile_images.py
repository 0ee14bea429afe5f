"""Each hostile image, extracted and imported: refused in one clear line, or harmless; nothing outside is touched."""

from __future__ import annotations

import gc
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tarbuilder
from canary import Canary
from hostile_layers import HOSTILE, deep, raw_name, tar
from layer_images import tar_image
from ostrata import cli
from ostrata.sources.ostree_commit import read_commit_tree
from ostrata.stores.files import TEMPORARY, label_of
from ostrata.stores.ostree_repository import open_repository
from ostrata.stores.removal import remove_tree
from plain_images import write_image
from tarbuilder import Node, checksum_of, commit_bytes

ROOT = os.geteuid() == 0
BASE = {"": Node("directory", 0o755), "usr": Node("directory", 0o755), "usr/file": Node("file", 0o644, data=b"base")}
COMMIT = commit_bytes(BASE)
BASE_TARS = tarbuilder.encapsulated_layers(BASE, COMMIT, [[tarbuilder.file_checksum(BASE["usr/file"])]])
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run a command line in this process: (exit code, stdout, stderr)."""
    handler = signal.getsignal(signal.SIGTERM)

    def run_here(*arguments: str | Path) -> tuple[int, str, str]:
        capfd.readouterr()
        code = cli.run([*map(str, arguments), "--jobs", "1"])
        return code, *capfd.readouterr()

    yield run_here
    signal.signal(signal.SIGTERM, handler)
    gc.enable()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the commit that derived images are made of, to be copied."""
    place = tmp_path_factory.mktemp("base")
    image = tar_image(place / "image", BASE_TARS).reference
    assert cli.run(["import", image, "--repo", str(place / "repo"), "--write-ref", "os", "-q", "-j1"]) == 0
    return place / "repo"


def refused(result: tuple[int, str, str], message: str) -> None:
    """One clear line, nothing on stdout."""
    code, out, err = result
    assert (code, out) == (1, ""), err
    first, *hint = err.removesuffix("\n").split("\n")
    assert first.startswith("ostrata: error: ") and first.isprintable() and len(hint) <= 1
    assert re.search(message, first), first


def hostile_image(kind: str, name: str, path: Path, canary: Canary) -> str:
    """Plain: the hostile layers on a good one. Derived: on those of an OSTree commit."""
    layers = [*HOSTILE[name].layers(str(canary.path))]
    if kind == "plain":
        write_image(path, [tarbuilder.file_entry("base", b"1") + tarbuilder.END, *layers], compresses=False)
        return f"oci:{path}"
    return tar_image(path, [*BASE_TARS, *layers], "gzip", encapsulated=len(BASE_TARS)).reference


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_image_is_extracted_within_the_destination_or_not_at_all(
    name: str, run: Run, canary: Canary, tmp_path: Path
) -> None:
    image = hostile_image("plain", name, tmp_path / "image", canary)
    before = sorted(os.listdir(tmp_path))
    result = run("extract", image, tmp_path / "tree", "--quiet")
    case = HOSTILE[name]
    if case.refused is not None:
        refused(result, case.refused)
        assert sorted(os.listdir(tmp_path)) == before
        return
    assert result[:2] == (0, ""), result
    assert sorted(os.listdir(tmp_path)) == sorted([*before, "tree"])
    for path in case.holds:
        assert os.path.lexists(tmp_path / "tree" / path.format(canary.path).lstrip("/"))
    assert links_lead_nowhere_else(tmp_path / "tree")


def links_lead_nowhere_else(tree: Path) -> bool:
    """No file of the tree is a hard link to one outside."""
    inodes: dict[int, int] = {}
    for path in tree.rglob("*"):
        status = path.lstat()
        if not path.is_dir() or path.is_symlink():
            inodes[status.st_ino] = inodes.get(status.st_ino, status.st_nlink) - 1
    return not any(inodes.values())


@pytest.mark.parametrize("name", [name for name, case in HOSTILE.items() if case.refused is None])
def test_a_hostile_image_is_extracted_over_another_tree_within_the_destination(
    name: str, run: Run, canary: Canary, tmp_path: Path
) -> None:
    """The destination holds symlinks to outside at each name that hostile layers use."""
    image = hostile_image("derived", name, tmp_path / "image", canary)
    tree = tmp_path / "tree"
    tree.mkdir()
    for planted in ("out", "d", "f", "file", "l", "escape", "base", "usr", "s", "tmp"):
        (tree / planted).symlink_to(canary.path)
    before = sorted(os.listdir(tmp_path))
    code, out, err = run("extract", image, tree, "--quiet", "--overwrite")
    assert (code, out) in ((0, ""), (1, "")), err
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, "derived") for name in HOSTILE] + [(name, "plain") for name, case in HOSTILE.items() if not case.refused],
)
def test_a_hostile_image_is_imported_or_changes_nothing(
    name: str, kind: str, base: Path, run: Run, canary: Canary, tmp_path: Path
) -> None:
    repo = tmp_path / "repo"
    shutil.copytree(base, repo)
    before = refs_and_commits(repo)
    image = hostile_image(kind, name, tmp_path / "image", canary)
    result = run("import", image, "--repo", repo, "--write-ref", "os", "--quiet")
    case = HOSTILE[name]
    if case.refused is not None:
        refused(result, case.refused)
        assert refs_and_commits(repo) == before
    else:
        assert result[0] == 0, result
        assert result[1] == open_repository(str(repo)).resolve("os") + "\n" != checksum_of(COMMIT) + "\n"
        holds(repo, [path.format(canary.path).lstrip("/") for path in case.holds])
    assert os.listdir(repo / "tmp") == ["cache"]
    assert sorted(os.listdir(tmp_path)) == ["canary", "image", "repo"]


def refs_and_commits(repo: Path) -> tuple[object, list[Path]]:
    repository = open_repository(str(repo))
    return [(ref, repository.resolve(ref)) for ref in repository.list_refs()], sorted(repo.glob("objects/*/*.commit"))


def holds(repo: Path, paths: list[str]) -> None:
    """The paths are there, unless commits cannot hold what lies there; every object is right."""
    tree = read_commit_tree(open_repository(str(repo)), "os")
    found = {*tree.directories, *(path for path, _ in tree.files)}
    assert {path for path in paths if not path.startswith("tmp")} <= found
    if shutil.which("ostree"):
        fsck = subprocess.run(["ostree", f"--repo={repo}", "fsck", "--quiet"], capture_output=True, timeout=60)
        assert fsck.returncode == 0, fsck.stderr


def test_an_extraction_that_fails_below_a_thousand_directories_leaves_nothing(run: Run, tmp_path: Path) -> None:
    """More of them than functions can call each other, or than there may be open files."""
    layer = tar(raw_name(deep(1000) + "/f"), raw_name("n" * 300))
    write_image(tmp_path / "image", [layer], compresses=False)
    refused(run("extract", f"oci:{tmp_path}/image", tmp_path / "tree", "--quiet"), "file name too long")
    assert os.listdir(tmp_path) == ["image"]


def test_an_extraction_that_was_killed_below_a_thousand_directories_is_removed_by_the_next(
    run: Run, tmp_path: Path
) -> None:
    image = f"oci:{tmp_path}/image"
    write_image(tmp_path / "image", [tar(raw_name(deep(1000) + "/f"))], compresses=False)
    assert run("extract", image, tmp_path / "tree", "--quiet")[0] == 0
    stale = tmp_path / f"{TEMPORARY}{label_of(str(tmp_path / 'tree'))}-0123456789abcdef"
    os.rename(tmp_path / "tree", stale)
    assert run("extract", image, tmp_path / "tree", "--quiet")[0] == 0
    assert sorted(os.listdir(tmp_path)) == ["image", "tree"]
    remove_tree(str(tmp_path / "tree"))  # pytest would fail to
