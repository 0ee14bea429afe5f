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
    """The notes of one kind; small and picklable. `head` is the line, with its end.

    A run first stages its notes in its own directory `stage`, on the same file system: what fails leaves none.
    """

    repository: str
    stage: str
    kind: str
    head: bytes

    def read(self, name: str) -> bytes | None:
        """What was noted; None without a whole note of that name."""
        return self._read(f"{self._directory}/{name}")

    def read_staged(self, name: str, stage: str | None = None) -> bytes | None:
        """The same of a note that this run staged, or another one whose `stage` is given."""
        return self._read(self._staged(name, stage or self.stage))

    def is_staged(self, name: str) -> bool:
        """Is there a staged note of that name, whole or not?"""
        return os.path.lexists(self._staged(name, self.stage))

    def write(self, name: str, data: bytes) -> None:
        """Stage a note, in place of one that is staged already. Raises: AccessError."""
        temporary = f"{self.stage}/note-{os.getpid()}"
        with within(escape(self.stage)):
            with open(temporary, "wb") as file:
                file.write(self._first(data) + data)
            os.rename(temporary, self._staged(name, self.stage))

    def take_over(self, name: str, stage: str) -> None:
        """Let this run have a note that another one had staged. Raises: AccessError, NotFoundError."""
        with within(escape(stage)):
            os.rename(self._staged(name, stage), self._staged(name, self.stage))

    def publish(self, name: str) -> None:
        """Make a staged note visible, if there is one of that name. Raises: AccessError."""
        with within(escape(self._directory)), suppress(FileNotFoundError):
            os.makedirs(self._directory, exist_ok=True)
            os.rename(self._staged(name, self.stage), f"{self._directory}/{name}")

    def names(self) -> Iterator[str]:
        """The names of all notes. Raises: AccessError."""
        with within(escape(self._directory)), suppress(FileNotFoundError), os.scandir(self._directory) as found:
            yield from sorted(entry.name for entry in found if entry.is_file(follow_symlinks=False))

    def forget(self, name: str) -> None:
        """Remove a note. Raises: AccessError."""
        with within(escape(self._directory)), suppress(FileNotFoundError):
            os.unlink(f"{self._directory}/{name}")

    def _read(self, path: str) -> bytes | None:
        try:
            data = read_whole(path, MAX_NOTE)
        except (OSError, MalformedError):
            return None
        start = len(self.head) + _DIGEST
        return data[start:] if data[:start] == self._first(data[start:]) else None

    def _staged(self, name: str, stage: str) -> str:
        return f"{stage}/{self.kind}-{name}"

    @property
    def _directory(self) -> str:
        return f"{self.repository}/ostrata/{self.kind}"

    def _first(self, data: bytes) -> bytes:
        return self.head + hashlib.sha256(data).digest()
