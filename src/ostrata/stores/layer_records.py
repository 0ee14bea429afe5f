"""Which objects a layer holds: noted in the repository, so that a layer is not read again while they are all there.

    REPOSITORY/ostrata/layers/DIFF_ID    a line that names the format; the SHA-256 of what follows; then for each
                                         object a letter for its kind and the 32 bytes of its checksum

A diff_id names the bytes of a tar, and these name its objects by their checksums: what was right once is right for
ever, whatever image the layer comes in. Only the objects may be gone, so each is looked for before a note is trusted.
Detached metadata has no checksum in its name: its own SHA-256 is noted, and compared with what the repository has.

A note that is damaged or missing costs time, never more.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Container, Iterator
from contextlib import suppress
from dataclasses import dataclass

from ostrata.errors import MalformedError, OstrataError, escape, within
from ostrata.model.digest import Digest
from ostrata.stores.ostree_objects import read_whole
from ostrata.stores.ostree_repository import OstreeRepository

MAX_RECORD = 256 << 20

_HEAD = b"ostrata layer 1\n"
_DIGEST = 32
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
        self._directory = f"{repository.path}/ostrata/layers"

    def find(self, diff_id: Digest) -> LayerRecord | None:
        """The objects of that layer, if they are noted and all in the repository."""
        record = self._read(diff_id.encoded)
        return record if record is not None and self._is_here(record) else None

    def write(self, diff_id: Digest, record: LayerRecord, *, temporary: str) -> None:
        """Note the objects of a layer, all of them durable by now. `temporary` is a path on the same file system.

        Raises: AccessError.
        """
        with within(escape(self._directory)):
            os.makedirs(self._directory, exist_ok=True)
            with open(temporary, "wb") as file:
                file.write(_HEAD + hashlib.sha256(record.packed).digest() + record.packed)
            os.rename(temporary, f"{self._directory}/{diff_id.encoded}")

    def forget_pruned(self, kept: Container[str]) -> None:
        """Remove the notes, but for those `kept`, whose first object is gone. Raises: AccessError."""
        if not os.path.isdir(self._directory):
            return
        with within(escape(self._directory)):
            for name in os.listdir(self._directory):
                if name not in kept and not self._is_first_here(name):
                    with suppress(FileNotFoundError):
                        os.unlink(f"{self._directory}/{name}")

    def _read(self, name: str) -> LayerRecord | None:
        try:
            data = read_whole(f"{self._directory}/{name}", MAX_RECORD)
        except (OSError, MalformedError):
            return None
        start = len(_HEAD) + _DIGEST
        packed = data[start:]
        is_whole = data[:start] == _HEAD + hashlib.sha256(packed).digest()
        is_read = len(packed) % _ENTRY == 0 and all(letter in _KIND for letter in packed[::_ENTRY])
        return LayerRecord(packed) if is_whole and is_read else None

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
