"""A commit as one tar, and back."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest

import tarbuilder
from ostrata.codecs import ostree, zstd
from ostrata.errors import AccessError, LimitError, MalformedError, NotFoundError, UnsupportedError
from ostrata.formats.encapsulated import Layout
from ostrata.model.ostree import Variant
from ostrata.pipeline.tar_files import ImportedTar, export_tar, import_tar
from ostrata.sources.ostree_commit import read_tree
from ostrata.stores.ostree_repository import open_repository
from ostrata.stores.ostree_writer import init_repository
from repositories import TREE, HandmadeRepository, expected_entries, make_repository
from tarbuilder import Node, checksum_of, commit_bytes

COMMIT = checksum_of(commit_bytes(TREE))
DETACHED = ostree.encode_metadata({"a": Variant("s", "ž")})


@pytest.fixture
def source(tmp_path: Path) -> HandmadeRepository:
    repository = make_repository(tmp_path / "source", "archive")
    repository.put_metadata("commitmeta", DETACHED, COMMIT)
    return repository


def export(source: HandmadeRepository, layout: Layout | None = None) -> bytes:
    output = io.BytesIO()
    assert export_tar(open_repository(str(source.path)), "os/stable", output, layout) == COMMIT
    return output.getvalue()


def do_import(repo: Path, tar: bytes, mode: str = "bare-user", **options: int) -> ImportedTar:
    init_repository(str(repo), mode)
    return import_tar(str(repo), io.BytesIO(tar), ref="a/ref", **options)


@pytest.mark.parametrize("layout", [None, Layout("bootc", 1), Layout("ostree-ext-0.15", 1)])
def test_the_tar_is_the_one_layer_of_the_second_statement(layout: Layout | None, source: HandmadeRepository) -> None:
    name = layout.name if layout else "bootc"
    expected = tarbuilder.encapsulated_layers(TREE, commit_bytes(TREE), None, layout=name, detached=DETACHED)
    assert [export(source, layout)] == expected


@pytest.mark.parametrize("mode", ["archive", "bare-user"])
def test_the_commit_comes_back_with_its_detached_metadata(
    mode: str, source: HandmadeRepository, tmp_path: Path
) -> None:
    found = do_import(tmp_path / "repo", export(source), mode)
    repository = open_repository(str(tmp_path / "repo"))
    commit, tree = read_tree(repository, "a/ref")
    assert (found.checksum, commit.checksum) == (COMMIT, COMMIT)
    assert dict(tree.entries) == expected_entries(TREE)
    assert repository.read_detached_metadata(COMMIT) == DETACHED
    again = do_import(tmp_path / "repo", export(source), mode)
    assert (again.new_objects, again.new_bytes) == (0, 0)


def refuses(tmp_path: Path, tar: bytes, kind: type[Exception], message: str, **options: int) -> None:
    with pytest.raises(kind, match=message):
        do_import(tmp_path / "repo", tar, **options)
    assert open_repository(str(tmp_path / "repo")).list_refs() == []
    assert not any((tmp_path / "repo/objects").iterdir())


def test_a_compressed_tar_is_refused_with_the_way_out(source: HandmadeRepository, tmp_path: Path) -> None:
    tar = export(source)
    refuses(tmp_path, gzip.compress(tar), UnsupportedError, "found gzip data\ndecompress it on the way: gzip -dc")
    compressor = zstd.ZstdCompressor()
    refuses(tmp_path, compressor.compress(tar) + compressor.flush(), UnsupportedError, "found zstd data")


def test_a_tar_that_ends_early_is_refused(source: HandmadeRepository, tmp_path: Path) -> None:
    tar = export(source)
    for length in (0, 1, 511, len(tar) // 2, len(tar) - 1024):
        refuses(tmp_path, tar[:length], MalformedError, "the tar: ")


def test_a_tar_without_a_commit_is_refused(tmp_path: Path) -> None:
    refuses(tmp_path, tarbuilder.END, MalformedError, "no commit object in the first layer")


def test_a_tar_without_all_objects_is_refused(tmp_path: Path) -> None:
    tar = tarbuilder.ostree_layer(TREE, commit_bytes(TREE))
    refuses(tmp_path, tar, NotFoundError, "no layer has the file object")


def test_a_tar_beyond_the_limit_is_refused(source: HandmadeRepository, tmp_path: Path) -> None:
    refuses(tmp_path, export(source), LimitError, "at most 200000 bytes", max_size=200_000)


def test_what_no_tar_can_hold_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    tree = {"": Node("directory", 0o755), ".wh.x": Node("file", 0o644, data=b"1")}
    repository = make_repository(tmp_path / "source", "archive", tree)
    output = io.BytesIO()
    with pytest.raises(UnsupportedError, match=r"begin with \.wh\."):
        export_tar(open_repository(str(repository.path)), "os/stable", output)
    assert output.getvalue() == b""


def test_a_full_disk_is_an_error_with_a_place(source: HandmadeRepository) -> None:
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(AccessError, match="the tar: no space left"):
        export_tar(open_repository(str(source.path)), "os/stable", full)  # type: ignore[arg-type]
