"""Which objects a layer holds: noted in the repository, so that a layer is not read again while they are all there.

    REPOSITORY/ostrata/layers/DIFF_ID    for each object a letter for its kind and the 32 bytes of its checksum

A diff_id names the bytes of a tar, and these name its objects by their checksums: what was right once is right for
ever, whatever image the layer comes in. Only the objects may be gone, so each is looked for before a note is trusted.
Detached metadata has no checksum in its name: its own SHA-256 is noted, and compared with what the repository has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator
from dataclasses import dataclass

from ostrata.errors import OstrataError
from ostrata.model.digest import Digest
from ostrata.stores.notes import Notes
from ostrata.stores.ostree_repository import OstreeRepository

_ENTRY = 33
_LETTER = {"file": b"f", "dirtree": b"t", "dirmeta": b"m", "commit": b"c", "commitmeta": b"d"}
_KIND = {letter[0]: kind for kind, letter in _LETTER.items()}


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """The objects of a layer, packed as they are kept."""

    packed: bytes

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """(kind, checksum); of the kind ``commitmeta`` the SHA-256 of its bytes."""
        for start in range(0, len(self.packed), _ENTRY):
            yield _KIND[self.packed[start]], self.packed[start + 1 : start + _ENTRY].hex()

    @property
    def commit(self) -> str | None:
        """The commit object in the layer."""
        return next((checksum for kind, checksum in self if kind == "commit"), None)


def pack_entry(kind: str, checksum: str) -> bytes:
    """One object of a `LayerRecord`."""
    return _LETTER[kind] + bytes.fromhex(checksum)


class LayerRecords:
    """The notes of one repository."""

    def __init__(self, repository: OstreeRepository) -> None:
        self._repository = repository
        self._notes = Notes(repository.path, "layers", b"ostrata layer 1\n")

    def find(self, diff_id: Digest) -> LayerRecord | None:
        """The objects of that layer, if they are noted and all in the repository."""
        record = self._read(diff_id.encoded)
        return record if record is not None and self._is_here(record) else None

    def write(self, diff_id: Digest, record: LayerRecord, *, temporary: str) -> None:
        """Note the objects of a layer, all of them durable by now. `temporary` is a path on the same file system.

        Raises: AccessError.
        """
        self._notes.prepare(record.packed, temporary)
        self._notes.adopt(diff_id.encoded, temporary)

    def forget_pruned(self, kept: Container[str]) -> None:
        """Remove the notes, but for those `kept`, whose first object is gone. Raises: AccessError."""
        for name in self._notes.names():
            if name not in kept and not self._is_first_here(name):
                self._notes.forget(name)

    def _read(self, name: str) -> LayerRecord | None:
        packed = self._notes.read(name)
        if packed is None or len(packed) % _ENTRY or any(letter not in _KIND for letter in packed[::_ENTRY]):
            return None
        return LayerRecord(packed)

    def _is_here(self, record: LayerRecord) -> bool:
        commit = record.commit
        return all(
            self._has_detached(commit, checksum)
            if kind == "commitmeta"
            else self._repository.has_object(kind, checksum)
            for kind, checksum in record
        )

    def _has_detached(self, commit: str | None, digest: str) -> bool:
        try:
            data = self._repository.read_detached_metadata(commit) if commit is not None else None
        except OstrataError:
            return False  # the layer will be read, and bring its own
        return hashlib.sha256(data or b"").hexdigest() == digest

    def _is_first_here(self, name: str) -> bool:
        record = self._read(name)
        if record is None:
            return False
        kind, checksum = next(iter(record), ("", ""))
        return not kind or self._repository.has_object(kind, checksum)
