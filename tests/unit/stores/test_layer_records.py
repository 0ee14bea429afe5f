"""Notes of which objects a layer holds: trusted while they are whole and the objects are there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ostrata.codecs import ostree
from ostrata.errors import AccessError
from ostrata.model.digest import Digest
from ostrata.model.ostree import Variant
from ostrata.stores.layer_records import LayerRecord, LayerRecords, pack_entry
from ostrata.stores.ostree_repository import open_repository
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


def records_of(repository: HandmadeRepository) -> LayerRecords:
    return LayerRecords(open_repository(str(repository.path)))


def write(repository: HandmadeRepository, record: LayerRecord = RECORD, diff_id: Digest = DIFF_ID) -> LayerRecords:
    records = records_of(repository)
    records.write(diff_id, record, temporary=str(repository.path / "tmp/record"))
    return records


def note(repository: HandmadeRepository) -> Path:
    return repository.path / "ostrata/layers" / DIFF_ID.encoded


def test_what_was_noted_is_found(repository: HandmadeRepository) -> None:
    assert records_of(repository).find(DIFF_ID) is None
    found = write(repository).find(DIFF_ID)
    assert found == RECORD
    assert tuple(found) == OBJECTS
    assert found.commit == COMMIT
    assert LayerRecord(pack_entry("file", FILE)).commit is None
    assert list((repository.path / "tmp").iterdir()) == []


def test_a_layer_without_objects_is_noted_too(repository: HandmadeRepository) -> None:
    assert write(repository, LayerRecord(b"")).find(DIFF_ID) == LayerRecord(b"")


@pytest.mark.parametrize("kind", ["file", "dirtree", "dirmeta", "commit"])
def test_a_note_with_an_object_that_is_gone_does_not_count(kind: str, repository: HandmadeRepository) -> None:
    records = write(repository)
    repository.object_path(kind, dict(OBJECTS)[kind]).unlink()
    assert records.find(DIFF_ID) is None


def test_detached_metadata_must_be_the_same(repository: HandmadeRepository) -> None:
    detached = pack_entry("commitmeta", hashlib.sha256(DETACHED).hexdigest())
    record = LayerRecord(RECORD.packed + detached)
    records = write(repository, record)
    assert records.find(DIFF_ID) is None
    repository.put_metadata("commitmeta", DETACHED, COMMIT)
    assert records.find(DIFF_ID) == record
    repository.put_metadata("commitmeta", ostree.encode_metadata({"a": Variant("s", "c")}), COMMIT)
    assert records.find(DIFF_ID) is None
    repository.put_metadata("commitmeta", b"damaged", COMMIT)
    assert records.find(DIFF_ID) is None
    without_commit = write(repository, LayerRecord(detached))
    assert without_commit.find(DIFF_ID) is None


def test_no_change_of_a_byte_goes_unnoticed(repository: HandmadeRepository) -> None:
    records = write(repository)
    data = note(repository).read_bytes()
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
    records = write(repository)
    note(repository).write_bytes(b"ostrata layer 1\n" + hashlib.sha256(packed).digest() + packed)
    assert records.find(DIFF_ID) is None


def test_a_note_that_is_no_file_does_not_count(repository: HandmadeRepository) -> None:
    note(repository).mkdir(parents=True)
    assert records_of(repository).find(DIFF_ID) is None


def test_notes_whose_first_object_was_pruned_are_removed(repository: HandmadeRepository) -> None:
    other = Digest.of(b"another layer")
    gone = LayerRecord(pack_entry("file", "ab" * 32))
    records_of(repository).forget_pruned(())  # no notes at all
    for record, diff_id in ((RECORD, DIFF_ID), (gone, other), (LayerRecord(b""), Digest.of(b"empty"))):
        write(repository, record, diff_id)
    records_of(repository).forget_pruned({other.encoded})
    assert len(list(note(repository).parent.iterdir())) == 3
    records_of(repository).forget_pruned(())
    assert sorted(path.name for path in note(repository).parent.iterdir()) == sorted(
        [DIFF_ID.encoded, Digest.of(b"empty").encoded]
    )


def test_a_note_that_cannot_be_written_is_an_error(repository: HandmadeRepository) -> None:
    (repository.path / "ostrata").touch()
    with pytest.raises(AccessError, match="ostrata/layers"):
        write(repository)


def test_objects_of_a_parent_repository_count(tmp_path: Path) -> None:
    parent = make_repository(tmp_path / "parent", "archive")
    child = HandmadeRepository(tmp_path / "child", "archive", parent=str(parent.path))
    assert write(child).find(DIFF_ID) == RECORD
