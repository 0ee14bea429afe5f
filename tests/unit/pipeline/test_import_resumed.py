"""What a killed import had finished is not read again; each object of it is compared with its name first."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import tarbuilder
from derived_images import content_of, derived_image, entries_of
from layer_images import tar_image
from ostrata.errors import OstrataError
from ostrata.model.image import StoredImage
from ostrata.pipeline.import_image import ImportedImage, import_image
from ostrata.pipeline.import_resumed import NOTHING
from ostrata.pipeline.places import open_image
from ostrata.protocols import BlobStore
from ostrata.sources.ostree_commit import read_tree
from ostrata.stores.ostree_repository import open_repository
from ostrata.stores.ostree_writer import RepositoryWriter, init_repository
from plain_images import CAPABILITY, Change, directory, link, symlink, whiteout, write_image
from repositories import ROOT, TREE, expected_entries
from tarbuilder import checksum_of, commit_bytes, file_checksum, walk

MODES = ["archive", "bare-user", pytest.param("bare", marks=pytest.mark.skipif(not ROOT, reason="bare needs root"))]
REMAINS = ".ostrata-0123456789abcdef"
LARGE = bytes(1_200_000)
FIRST = [
    *(directory("opt/a", 0o700), Change("opt/a/ž\n \x1b", data=b"first"), Change("opt/twin", data=b"first")),
    *(Change("usr/bin/tool", mode=0o4755, xattrs={"security.capability": CAPABILITY}), Change("opt/large", data=LARGE)),
    *(link("opt/hard", "opt/a/ž\n \x1b"), symlink("opt/soft", "a"), Change("opt/gone", data=b"gone")),
]
SECOND = [whiteout("opt/gone"), Change("opt/second", data=b"second")]
COMMIT = checksum_of(commit_bytes(TREE))
SH = file_checksum(TREE["usr/bin/sh"])
Image = tuple[BlobStore, StoredImage]


def encapsulated(path: Path) -> Image:
    """The commit of `TREE`: its own layer, and two of files."""
    checksums = sorted({file_checksum(TREE[name]) for name in walk(TREE)})
    data = commit_bytes(TREE)
    tars = tarbuilder.encapsulated_layers(TREE, data, [checksums[::2], checksums[1::2]])
    return open_image(tar_image(path, tars).reference)


def do_import(repo: Path, image: Image, mode: str = "bare-user", jobs: int = 1) -> ImportedImage:
    init_repository(str(repo), mode)
    return import_image(str(repo), *image, ref="a/ref", jobs=jobs)


def interrupt(repo: Path, image: Image, monkeypatch: pytest.MonkeyPatch, mode: str = "bare-user") -> Path:
    """An import that is killed when all is staged; what it leaves."""
    remains = repo / "tmp" / REMAINS

    def publish(writer: RepositoryWriter, commit: str) -> None:
        subprocess.run(["cp", "-a", writer.place.directory, remains], check=True)
        raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(RepositoryWriter, "publish", publish)
        with pytest.raises((InterruptedError, OstrataError)):
            do_import(repo, image, mode)
    return remains


def make_unreadable(path: Path, image: Image, *numbers: int) -> None:
    """The blobs of these layers keep their sizes, and nothing else: who reads one fails."""
    for number in numbers:
        descriptor = image[1].layers[number].descriptor
        (path / "blobs/sha256" / descriptor.digest.encoded).write_bytes(bytes(descriptor.size))


def is_whole(repo: Path, ref: str = "a/ref") -> None:
    """Every object of the commit is right, and nothing is left of any run."""
    repository = open_repository(str(repo))
    _, tree = read_tree(repository, ref)
    for _, entry in tree:
        if hasattr(entry, "content"):
            for _ in repository.open_file(entry.content).content:
                pass
    assert [path.name for path in (repo / "tmp").iterdir()] == ["cache"]


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("mode", MODES)
def test_finished_layers_of_a_commit_are_not_read_again(
    mode: str, jobs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, image = tmp_path / "repo", encapsulated(tmp_path / "image")
    interrupt(repo, image, monkeypatch, mode)
    make_unreadable(tmp_path / "image", image, 1, 2)
    found = do_import(repo, image, mode, jobs)
    expected = do_import(tmp_path / "fresh", encapsulated(tmp_path / "again"), mode)

    assert found.commit is not None
    assert (found.checksum, found.commit.layers_read, found.resumed.layers) == (COMMIT, 1, 2)
    assert (found.new_objects, found.new_bytes) == (expected.new_objects, expected.new_bytes)
    assert found.resumed.objects > 4
    assert dict(read_tree(open_repository(str(repo)), "a/ref")[1]) == expected_entries(TREE)
    is_whole(repo)
    assert do_import(repo, image, mode).new_objects == 0  # the notes are published: nothing is read


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("mode", MODES)
def test_finished_layers_of_a_plain_image_are_not_read_again(
    mode: str, jobs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, image = tmp_path / "repo", write_image(tmp_path / "image", [FIRST, SECOND])
    interrupt(repo, image, monkeypatch, mode)
    make_unreadable(tmp_path / "image", image, 0, 1)
    found = do_import(repo, image, mode, jobs)
    expected = do_import(tmp_path / "fresh", write_image(tmp_path / "again", [FIRST, SECOND]), mode)

    assert found.merged is not None
    assert (found.checksum, found.merged.layers_read, found.resumed.layers) == (expected.checksum, 0, 2)
    assert found.new_bytes == expected.new_bytes
    assert entries_of(repo, "a/ref") == entries_of(tmp_path / "fresh", "a/ref")
    assert content_of(repo, "a/ref", "opt/large") == LARGE
    is_whole(repo)
    assert do_import(repo, image, mode).new_objects == 0


def test_layers_on_top_of_a_commit_are_taken_over_where_only_the_commit_was_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, image = tmp_path / "repo", derived_image(tmp_path / "image", FIRST, SECOND)
    base = encapsulated(tmp_path / "base")
    do_import(repo, base)
    interrupt(repo, image, monkeypatch)
    found = do_import(repo, image)
    expected = do_import(tmp_path / "fresh", derived_image(tmp_path / "again", FIRST, SECOND))
    assert (found.checksum, found.resumed == NOTHING) == (expected.checksum, False)
    is_whole(repo)


def test_a_run_that_is_killed_while_it_takes_over_is_taken_over_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, image = tmp_path / "repo", encapsulated(tmp_path / "image")
    first = interrupt(repo, image, monkeypatch)
    os.rename(first, first.with_name(".ostrata-0000000000000000"))
    interrupt(repo, image, monkeypatch)
    make_unreadable(tmp_path / "image", image, 1, 2)
    found = do_import(repo, image)
    assert (found.checksum, found.resumed.layers) == (COMMIT, 2)
    is_whole(repo)


# What is wrong is not taken over


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    rewrite(path, bytes(data))


def cut(path: Path) -> None:
    rewrite(path, path.read_bytes()[:-1])


def empty(path: Path) -> None:
    rewrite(path, b"")


def rewrite(path: Path, data: bytes) -> None:
    status = path.stat()
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(status.st_mode)
    os.utime(path, ns=(0, status.st_mtime_ns))


def unfinish(path: Path) -> None:
    """A kill before the last step: the checksum does not tell."""
    path.chmod(0o600)
    os.utime(path)


def replace_by_a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def replace_by_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "damage",
    [flip, cut, empty, unfinish, replace_by_a_link, replace_by_a_fifo, Path.unlink],
    ids=lambda each: each.__name__,
)
@pytest.mark.parametrize("mode", MODES)
def test_an_object_that_is_not_whole_is_read_again(
    mode: str, damage: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, image = tmp_path / "repo", encapsulated(tmp_path / "image")
    remains = interrupt(repo, image, monkeypatch, mode)
    (sh,) = remains.glob(f"{SH[:2]}/{SH[2:]}.file*")
    damage(sh)
    found = do_import(repo, image, mode)
    assert found.commit is not None
    assert (found.checksum, found.commit.layers_read, found.resumed.layers) == (COMMIT, 2, 1)
    is_whole(repo)
    assert (repo / "objects" / SH[:2] / sh.name).stat().st_mode & 0o777 == (0o644 if mode == "archive" else 0o755)


def test_objects_that_the_system_does_not_read_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo, image = tmp_path / "repo", encapsulated(tmp_path / "image")
    remains = interrupt(repo, image, monkeypatch)
    (remains / SH[:2]).rename(tmp_path / "elsewhere")
    (remains / SH[:2]).touch()
    found = do_import(repo, image)
    assert found.commit is not None
    assert (found.checksum, found.commit.layers_read, found.resumed.layers) == (COMMIT, 2, 1)
    is_whole(repo)


def test_a_damaged_dirtree_is_staged_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo, image = tmp_path / "repo", encapsulated(tmp_path / "image")
    remains = interrupt(repo, image, monkeypatch)
    for path in remains.glob("??/*.dir*"):
        flip(path)
    assert do_import(repo, image).checksum == COMMIT
    is_whole(repo)


@pytest.mark.parametrize("damage", [flip, cut, empty, Path.unlink], ids=lambda each: each.__name__)
def test_a_layer_without_a_whole_note_is_read_again(
    damage: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, image = tmp_path / "repo", encapsulated(tmp_path / "image")
    remains = interrupt(repo, image, monkeypatch)
    damage(remains / f"layers-{image[1].layers[1].diff_id.encoded}")
    found = do_import(repo, image)
    assert found.commit is not None
    assert (found.checksum, found.commit.layers_read, found.resumed.layers) == (COMMIT, 2, 1)
    is_whole(repo)


def test_nothing_of_another_image_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = tmp_path / "repo"
    interrupt(repo, encapsulated(tmp_path / "image"), monkeypatch)
    found = do_import(repo, write_image(tmp_path / "other", [SECOND]))
    assert found.resumed == NOTHING
    assert not list((repo / "objects").glob(f"{COMMIT[:2]}/{COMMIT[2:]}.*"))
    assert not list((repo / "objects").glob(f"{SH[:2]}/{SH[2:]}.*"))
    is_whole(repo)
