"""Which objects a layer holds: noted in the repository, so that a layer is not read again while they are all there.

    REPOSITORY/ostrata/layers/DIFF_ID    for each object a letter for its kind and the 32 bytes of its checksum

A diff_id names the bytes of a tar, and these name its objects by their checksums: what was right once is right for
ever, whatever image the layer comes in. Only the objects may be gone, so each is looked for before a note is trusted.
Detached metadata has no checksum in its name: its own SHA-256 is noted, and compared with what the repository has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass

from ostrata.errors import OstrataError
from ostrata.model.digest import Digest
from ostrata.stores.notes import Notes
from ostrata.stores.ostree_staging import StagePlace
from ostrata.stores.ostree_writer import RepositoryWriter

_ENTRY = 33
_LETTER = {"file": b"f", "dirtree": b"t", "dirmeta": b"m", "commit": b"c", "commitmeta": b"d"}
_KIND = {letter[0]: kind for kind, letter in _LETTER.items()}


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """The objects of a layer, packed as they are kept."""

    packed: bytes

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """(kind, checksum); of the kind ``commitmeta`` the SHA-256 of its bytes."""
        for entry in self.entries():
            yield _KIND[entry[0]], entry[1:].hex()

    def entries(self) -> Iterator[bytes]:
        """The same, as `pack_entry` makes them."""
        return (self.packed[start : start + _ENTRY] for start in range(0, len(self.packed), _ENTRY))

    @property
    def commit(self) -> str | None:
        """The commit object in the layer."""
        return next((checksum for kind, checksum in self if kind == "commit"), None)


def pack_entry(kind: str, checksum: str) -> bytes:
    """One object of a `LayerRecord`."""
    return _LETTER[kind] + bytes.fromhex(checksum)


class LayerRecords:
    """The notes of one repository, within a transaction."""

    def __init__(self, writer: RepositoryWriter) -> None:
        self._writer = writer
        self._notes = _notes(writer.place)

    def find(self, diff_id: Digest) -> LayerRecord | None:
        """The objects of that layer, if they are noted and all staged or in the repository."""
        for packed in (self._notes.read(diff_id.encoded), self._notes.read_staged(diff_id.encoded)):
            record = _decode(packed)
            if record is not None and self._is_here(record):
                return record
        return None

    def take_over(self, diff_id: Digest, stages: Iterable[str]) -> LayerRecord | None:
        """The objects of that layer, if a run with one of these stages noted them. Raises: AccessError."""
        for stage in stages:
            record = _decode(self._notes.read_staged(diff_id.encoded, stage))
            if record is not None:
                self._notes.take_over(diff_id.encoded, stage)
                return record
        return None

    def publish(self, diff_id: Digest) -> None:
        """Make what `note_layer` noted visible, now that all objects are on disk. Raises: AccessError."""
        self._notes.publish(diff_id.encoded)

    def forget_pruned(self, kept: Container[str]) -> None:
        """Remove the notes, but for those `kept`, whose first object is gone. Raises: AccessError."""
        for name in self._notes.names():
            if name not in kept and not self._is_first_here(name):
                self._notes.forget(name)

    def _is_here(self, record: LayerRecord) -> bool:
        commit = record.commit
        return all(
            self._has_detached(commit, checksum) if kind == "commitmeta" else self._writer.has_object(kind, checksum)
            for kind, checksum in record
        )

    def _has_detached(self, commit: str | None, digest: str) -> bool:
        try:
            data = self._writer.repository.read_detached_metadata(commit) if commit is not None else None
        except OstrataError:
            return False  # the layer will be read, and bring its own
        return hashlib.sha256(data or b"").hexdigest() == digest

    def _is_first_here(self, name: str) -> bool:
        record = _decode(self._notes.read(name))
        if record is None:
            return False
        kind, checksum = next(iter(record), ("", ""))
        return not kind or self._writer.has_object(kind, checksum)


def note_layer(place: StagePlace, diff_id: Digest, record: LayerRecord) -> None:
    """Note the objects of a layer, each of them staged or in the repository by now. Raises: AccessError."""
    _notes(place).write(diff_id.encoded, record.packed)


def _notes(place: StagePlace) -> Notes:
    return Notes(place.repository, place.directory, "layers", b"ostrata layer 1\n")


def _decode(packed: bytes | None) -> LayerRecord | None:
    if packed is None or len(packed) % _ENTRY or any(letter not in _KIND for letter in packed[::_ENTRY]):
        return None
    return LayerRecord(packed)
