"""What ostrata notes in a repository, so as not to find it out again: small files beside the objects.

    REPOSITORY/ostrata/KIND/NAME    a line that names the format; the SHA-256 of what follows; what was noted

A note that is damaged or missing costs time, never more.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from ostrata.errors import MalformedError, escape, within
from ostrata.stores.ostree_objects import read_whole

MAX_NOTE = 256 << 20

_DIGEST = 32


@dataclass(frozen=True, slots=True)
class Notes:
    """The notes of one kind; small and picklable. `head` is the line, with its end."""

    repository: str
    kind: str
    head: bytes

    def read(self, name: str) -> bytes | None:
        """What was noted; None without a whole note of that name."""
        try:
            data = read_whole(f"{self._directory}/{name}", MAX_NOTE)
        except (OSError, MalformedError):
            return None
        start = len(self.head) + _DIGEST
        return data[start:] if data[:start] == self._first(data[start:]) else None

    def prepare(self, data: bytes, temporary: str) -> None:
        """Write a note to the path `temporary`, for `adopt`. Raises: AccessError."""
        with within(escape(self._directory)), open(temporary, "wb") as file:
            file.write(self._first(data) + data)

    def adopt(self, name: str, temporary: str) -> None:
        """Make a prepared note, on the same file system, the one of that name. Raises: AccessError."""
        with within(escape(self._directory)):
            os.makedirs(self._directory, exist_ok=True)
            os.rename(temporary, f"{self._directory}/{name}")

    def names(self) -> Iterator[str]:
        """The names of all notes. Raises: AccessError."""
        with within(escape(self._directory)), suppress(FileNotFoundError), os.scandir(self._directory) as found:
            yield from sorted(entry.name for entry in found if entry.is_file(follow_symlinks=False))

    def forget(self, name: str) -> None:
        """Remove a note. Raises: AccessError."""
        with within(escape(self._directory)), suppress(FileNotFoundError):
            os.unlink(f"{self._directory}/{name}")

    @property
    def _directory(self) -> str:
        return f"{self.repository}/ostrata/{self.kind}"

    def _first(self, data: bytes) -> bytes:
        return self.head + hashlib.sha256(data).digest()
