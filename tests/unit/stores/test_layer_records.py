"""Notes of which objects a layer holds: trusted while they are whole and the objects are there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ostrata.codecs import ostree
from ostrata.errors import AccessError
from ostrata.model.digest import Digest
from ostrata.model.ostree import Variant
from ostrata.stores.layer_records import LayerRecord, LayerRecords, note_layer, pack_entry
from ostrata.stores.ostree_staging import StagePlace
from ostrata.stores.ostree_writer import open_writer
from repositories import TREE, HandmadeRepository, make_repository
from tarbuilder import checksum_of, commit_bytes, dirmeta_bytes, dirtree_bytes, file_checksum

DIFF_ID = Digest.of(b"a layer")
FILE = file_checksum(TREE["usr/bin/sh"])
COMMIT = checksum_of(commit_bytes(TREE))
OBJECTS = (
    ("file", FILE),
    ("dirtree", checksum_of(dirtree_bytes(TREE, "usr"))),
    ("dirmeta", checksum_of(dirmeta_bytes(TREE["usr"]))),
    ("commit", COMMIT),
)
DETACHED = ostree.encode_metadata({"a": Variant("s", "b")})
RECORD = LayerRecord(b"".join(pack_entry(*item) for item in OBJECTS))


@pytest.fixture(params=["archive", "bare-user"])
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> HandmadeRepository:
    return make_repository(tmp_path / "repo", request.param)


@contextmanager
def records_of(repository: HandmadeRepository) -> Iterator[LayerRecords]:
    with open_writer(str(repository.path)) as writer:
        yield LayerRecords(writer)


def write(repository: HandmadeRepository, record: LayerRecord = RECORD, diff_id: Digest = DIFF_ID) -> None:
    with open_writer(str(repository.path)) as writer:
        note_layer(writer.place, diff_id, record)
        LayerRecords(writer).publish(diff_id)


def find(repository: HandmadeRepository) -> LayerRecord | None:
    with records_of(repository) as records:
        return records.find(DIFF_ID)


def note(repository: HandmadeRepository) -> Path:
    return repository.path / "ostrata/layers" / DIFF_ID.encoded


def test_what_was_noted_is_found(repository: HandmadeRepository) -> None:
    assert find(repository) is None
    write(repository)
    found = find(repository)
    assert found == RECORD
    assert tuple(found) == OBJECTS
    assert found.commit == COMMIT
    assert LayerRecord(pack_entry("file", FILE)).commit is None
    assert leftovers(repository) == []


def test_a_note_that_is_not_published_is_found_by_the_same_run_only(repository: HandmadeRepository) -> None:
    with open_writer(str(repository.path)) as writer:
        note_layer(writer.place, DIFF_ID, RECORD)
        assert LayerRecords(writer).find(DIFF_ID) == RECORD
    assert find(repository) is None
    assert not note(repository).exists()


def test_a_note_is_taken_over_from_the_first_run_that_has_it_whole(
    repository: HandmadeRepository, tmp_path: Path
) -> None:
    stages = [tmp_path / name for name in ("empty", "damaged", "whole")]
    for stage in stages:
        stage.mkdir()
    for stage in stages[1:]:
        note_layer(StagePlace(str(repository.path), str(stage), repository.mode), DIFF_ID, RECORD)
    damaged = stages[1] / f"layers-{DIFF_ID.encoded}"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with records_of(repository) as records:
        assert records.take_over(DIFF_ID, map(str, stages[:2])) is None
        assert records.find(DIFF_ID) is None
        assert records.take_over(DIFF_ID, map(str, stages)) == RECORD
        assert records.find(DIFF_ID) == RECORD
        assert records.take_over(DIFF_ID, map(str, stages)) is None


def leftovers(repository: HandmadeRepository) -> list[Path]:
    return list((repository.path / "tmp").iterdir())


def test_a_layer_without_objects_is_noted_too(repository: HandmadeRepository) -> None:
    write(repository, LayerRecord(b""))
    assert find(repository) == LayerRecord(b"")


@pytest.mark.parametrize("kind", ["file", "dirtree", "dirmeta", "commit"])
def test_a_note_with_an_object_that_is_gone_does_not_count(kind: str, repository: HandmadeRepository) -> None:
    write(repository)
    repository.object_path(kind, dict(OBJECTS)[kind]).unlink()
    assert find(repository) is None


def test_detached_metadata_must_be_the_same(repository: HandmadeRepository) -> None:
    detached = pack_entry("commitmeta", hashlib.sha256(DETACHED).hexdigest())
    record = LayerRecord(RECORD.packed + detached)
    write(repository, record)
    assert find(repository) is None
    repository.put_metadata("commitmeta", DETACHED, COMMIT)
    assert find(repository) == record
    repository.put_metadata("commitmeta", ostree.encode_metadata({"a": Variant("s", "c")}), COMMIT)
    assert find(repository) is None
    repository.put_metadata("commitmeta", b"damaged", COMMIT)
    assert find(repository) is None
    write(repository, LayerRecord(detached))
    assert find(repository) is None


def test_no_change_of_a_byte_goes_unnoticed(repository: HandmadeRepository) -> None:
    write(repository)
    data = note(repository).read_bytes()
    with records_of(repository) as records:
        for position in range(len(data)):
            changed = bytearray(data)
            changed[position] ^= 1
            note(repository).write_bytes(changed)
            assert records.find(DIFF_ID) is None
        for length in range(len(data)):
            note(repository).write_bytes(data[:length])
            assert records.find(DIFF_ID) is None


@pytest.mark.parametrize("packed", [b"x" * 33, b"f" * 34, b"f"])
def test_a_note_with_a_right_digest_of_nonsense_does_not_count(packed: bytes, repository: HandmadeRepository) -> None:
    write(repository)
    note(repository).write_bytes(b"ostrata layer 1\n" + hashlib.sha256(packed).digest() + packed)
    assert find(repository) is None


def test_a_note_that_is_no_file_does_not_count(repository: HandmadeRepository) -> None:
    note(repository).mkdir(parents=True)
    assert find(repository) is None


def test_notes_whose_first_object_was_pruned_are_removed(repository: HandmadeRepository) -> None:
    other = Digest.of(b"another layer")
    gone = LayerRecord(pack_entry("file", "ab" * 32))
    forget_pruned(repository)  # no notes at all
    for record, diff_id in ((RECORD, DIFF_ID), (gone, other), (LayerRecord(b""), Digest.of(b"empty"))):
        write(repository, record, diff_id)
    forget_pruned(repository, other.encoded)
    assert len(list(note(repository).parent.iterdir())) == 3
    forget_pruned(repository)
    assert sorted(path.name for path in note(repository).parent.iterdir()) == sorted(
        [DIFF_ID.encoded, Digest.of(b"empty").encoded]
    )


def forget_pruned(repository: HandmadeRepository, *kept: str) -> None:
    with records_of(repository) as records:
        records.forget_pruned(kept)


def test_a_note_that_cannot_be_written_is_an_error(repository: HandmadeRepository) -> None:
    (repository.path / "ostrata").touch()
    with pytest.raises(AccessError, match="ostrata/layers"):
        write(repository)


def test_objects_of_a_parent_repository_count(tmp_path: Path) -> None:
    parent = make_repository(tmp_path / "parent", "archive")
    child = HandmadeRepository(tmp_path / "child", "archive", parent=str(parent.path))
    write(child)
    assert find(child) == RECORD
