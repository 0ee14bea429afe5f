"""A tree: paths and attributes, no bytes.

Paths are `str` with surrogateescape, relative, without a leading slash; the root is the empty path. Bytes survive
unchanged whatever their encoding.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Xattrs = tuple[tuple[bytes, bytes], ...]
"""(name, value) pairs, sorted by name as bytes; names without a NUL."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a file system keeps about an entry: the permission bits (07777), owner, and extended attributes.

    `mtime` is in seconds since 1970; None where the source does not keep it (OSTree does not).
    """

    mode: int
    uid: int = 0
    gid: int = 0
    xattrs: Xattrs = ()
    mtime: int | None = None


@dataclass(frozen=True, slots=True)
class Directory:
    attributes: Attributes

    file_type = stat.S_IFDIR


@dataclass(frozen=True, slots=True)
class RegularFile:
    """`content` is an opaque key, equal for hard links and for twins; `size` is in bytes."""

    attributes: Attributes
    size: int
    content: str

    file_type = stat.S_IFREG


@dataclass(frozen=True, slots=True)
class Symlink:
    """`content` as in RegularFile; `target` is written as it is stored, surrogateescape."""

    attributes: Attributes
    target: str
    content: str

    file_type = stat.S_IFLNK


Leaf = RegularFile | Symlink
Entry = Directory | Leaf


@dataclass(frozen=True, slots=True)
class SpecialFile:
    """A device, FIFO or socket, which no `Tree` holds: `kind` in words, `rdev` is (major, minor) of a device."""

    attributes: Attributes
    kind: str
    rdev: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Tree:
    """Path -> entry, in the order of an OSTree commit's walk.

    The order: a directory, then its files by name as bytes, then its sub-directories by name, each with all that is
    in it. It is not the byte order of the paths.
    """

    entries: Mapping[str, Entry]

    def __iter__(self) -> Iterator[tuple[str, Entry]]:
        return iter(self.entries.items())

    def __len__(self) -> int:
        return len(self.entries)
