"""A source in memory: trees for what reads trees."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from ostrata.errors import NotFoundError
from ostrata.model.tree import Attributes, Directory, Entry, RegularFile, Symlink, Tree

PIECE = 1000


class Link(str):
    """The target of a symlink."""


class MemorySource:
    """A `protocols.Source` of path -> content, or `Link`; the directories above are there by themselves."""

    def __init__(self, files: Mapping[str, bytes | Link]) -> None:
        self._files = files
        entries: dict[str, Entry] = {"": Directory(Attributes(0o755))}
        for path, content in files.items():
            names = path.split("/")
            for depth in range(1, len(names)):
                entries.setdefault("/".join(names[:depth]), Directory(Attributes(0o755)))
            entries[path] = self._entry(content)
        self.tree = Tree(entries)

    @staticmethod
    def _entry(content: bytes | Link) -> Entry:
        if isinstance(content, Link):
            return Symlink(Attributes(0o777), str(content), str(content))
        return RegularFile(Attributes(0o644), len(content), hashlib.sha256(content).hexdigest())

    def open(self, path: str) -> Iterator[bytes | memoryview]:
        content = self._files.get(path)
        if not isinstance(content, bytes):
            raise NotFoundError("no such file", where=path)
        buffer = bytearray(PIECE)  # used again for each piece, as sources may
        for start in range(0, len(content), PIECE):
            piece = content[start : start + PIECE]
            buffer[: len(piece)] = piece
            yield memoryview(buffer)[: len(piece)]
