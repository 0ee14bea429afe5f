"""Where the paths that databases write lie in a tree, and what is in the files there.

A database keeps a path as it was written in the package: ``/bin/sh``, although /bin has become a symlink to usr/bin,
or ``/etc/passwd``, although an OSTree commit has its configuration in usr/etc. Symlinks are followed in the tree
alone, as if it were the root: nothing outside is looked at, whatever a target says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ostrata.errors import LimitError, NotFoundError, escape
from ostrata.model.tree import RegularFile, Symlink
from ostrata.protocols import Source

MAX_SYMLINKS = 40
"""As many as Linux follows for one path."""

MAX_CHARACTERS = 1 << 30
"""Of all paths that are located in one tree: a symlink can make many long paths of many short ones."""

_NO_NAMES = ("", ".", "..")


class TreeFiles:
    """The paths and files of `source`."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._entries = source.tree.entries
        self._directories: dict[str, str] = {}
        self._characters = 0

    def locate(self, path: str) -> str:
        """The tree path of what a database calls `path`: the symlinks on the way are followed, it itself is not.

        For what is not in the tree, the place where it would be. Raises: LimitError.
        """
        directory, _, name = path.rpartition("/")
        found = self._locate(path, directory, name)
        self._count(len(found))
        return found

    def locate_all(self, paths: Iterable[str]) -> list[str]:
        """`locate` of each of `paths`: a database has hundreds of thousands. Raises: LimitError."""
        entries = self._entries
        characters = 0
        located = []
        for path in paths:
            found = path.removeprefix("/")
            if found not in entries:  # what is there as it is written is reached through no symlink
                directory, _, name = path.rpartition("/")
                found = self._locate(path, directory, name)
            characters += len(found)
            if characters > MAX_CHARACTERS:
                break
            located.append(found)
        self._count(characters)
        return located

    def misses_any(self, places: Iterable[str]) -> bool:
        """Is any of these tree paths not in the tree?"""
        return not self._entries.keys() >= set(places)

    def find(self, path: str) -> str | None:
        """The tree path of the regular file that `path` leads to, all symlinks followed; None without one."""
        place = self.locate(path)
        if isinstance(self._entries.get(place), Symlink):
            place = self._follow(path)
        return place if isinstance(self._entries.get(place), RegularFile) else None

    def names_in(self, path: str) -> list[str]:
        """The names in the directory that `path` leads to, sorted; none without one."""
        place = self._follow(path)
        if place not in self._entries:
            return []
        start = f"{place}/"
        length = len(start)
        inside = [entry[length:] for entry in self._entries if entry.startswith(start)]
        return sorted(name for name in inside if "/" not in name)

    def read(self, path: str, limit: int) -> bytes:
        """The content of the regular file that `path` leads to. Raises: NotFoundError, LimitError, and as `open`."""
        return bytes(self.read_large(path, limit))

    def read_large(self, path: str, limit: int) -> bytearray:
        """As `read`, without a second copy."""
        data = bytearray()
        for piece in self._open(path):
            data += piece
            if len(data) > limit:
                raise LimitError(f"expected at most {limit:,} bytes, found more", where=f"/{escape(path)}")
        return data

    def read_head(self, path: str, size: int) -> bytes:
        """The first `size` bytes, fewer where the file has fewer. Raises: NotFoundError, and as `open`."""
        data = bytearray()
        for piece in self._open(path):
            data += piece
            if len(data) >= size:
                break
        return bytes(data[:size])

    def _open(self, path: str) -> Iterator[bytes | memoryview]:
        place = self.find(path)
        if place is None:
            raise NotFoundError("no regular file of that name in the tree", where=f"/{escape(path)}")
        return self._source.open(place)

    def _count(self, characters: int) -> None:
        self._characters += characters
        if self._characters > MAX_CHARACTERS:
            raise LimitError(f"expected at most {MAX_CHARACTERS:,} characters of paths in a database, found more")

    def _locate(self, path: str, directory: str, name: str) -> str:
        """The place of `path`, which is `name` in a `directory` that may not be known yet."""
        if name in _NO_NAMES:
            return self._follow(path)
        place = self._directories.get(directory)
        if place is None:
            place = self._directories[directory] = self._follow_directory(directory)
        return f"{place}/{name}" if place else self._at_root(name)

    def _follow_directory(self, path: str) -> str:
        """`_follow`, in one step from a directory that is known: lists have directories before what is in them."""
        parent, _, name = path.rpartition("/")
        known = self._directories.get(parent)
        if known and name not in _NO_NAMES:
            place = f"{known}/{name}"
            if not isinstance(self._entries.get(place), Symlink):
                return place
        return self._follow(path)

    def _follow(self, path: str) -> str:
        """Where `path` leads, every symlink followed; what is not in the tree stays as it is written."""
        place, symlinks = "", 0
        names = path.split("/")[::-1]
        while names:
            name = names.pop()
            if name == "..":
                place = place.rpartition("/")[0]
            if name in _NO_NAMES:
                continue
            next_place = f"{place}/{name}" if place else self._at_root(name)
            entry = self._entries.get(next_place)
            if isinstance(entry, Symlink) and symlinks < MAX_SYMLINKS:
                symlinks += 1
                names += entry.target.split("/")[::-1]
                place = "" if entry.target.startswith("/") else place
            else:
                place = next_place
        return place

    def _at_root(self, name: str) -> str:
        moved = name == "etc" and "etc" not in self._entries and "usr/etc" in self._entries
        return "usr/etc" if moved else name
