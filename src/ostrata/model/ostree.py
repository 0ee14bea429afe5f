"""OSTree's objects as values (libostree, ostree-core.h). Checksums are 64 lower-case hex digits."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ostrata.model.tree import Attributes


@dataclass(frozen=True, slots=True)
class Variant:
    """A GVariant value with its type string, as commit metadata keeps them."""

    type: str
    value: Any


Metadata = Mapping[str, Variant]
"""An ``a{sv}`` dictionary; the order of its keys is part of a commit's checksum."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit object. `timestamp` is in seconds since 1970, `parent` a checksum or None."""

    root_dirtree: str
    root_dirmeta: str
    timestamp: int
    subject: str = ""
    body: str = ""
    parent: str | None = None
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dirtree:
    """A dirtree object: (name, file checksum) and (name, dirtree checksum, dirmeta checksum), each by name."""

    files: tuple[tuple[str, str], ...]
    directories: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class FileHeader:
    """The metadata of a file object: `target` is None for a regular file, a symlink's target otherwise."""

    attributes: Attributes
    target: str | None = None

    @property
    def file_type(self) -> int:
        return stat.S_IFREG if self.target is None else stat.S_IFLNK


@dataclass(frozen=True, slots=True)
class FileObject:
    """An open file object: `size` is its content's in bytes, `content` can be taken once, in pieces."""

    header: FileHeader
    size: int
    content: Iterator[bytes]


@dataclass(frozen=True, slots=True)
class CommitDirectory:
    """A directory of a commit: its path ('' for the root), objects and attributes."""

    path: str
    dirtree: str
    dirmeta: str
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class CommitTree:
    """A commit and the paths in it, without the file objects' own metadata.

    `directories` are in walk order (see `model.tree.Tree`), parents first; `files` are (path, file checksum) in walk
    order.
    """

    checksum: str
    commit: Commit
    directories: tuple[CommitDirectory, ...]
    files: tuple[tuple[str, str], ...]
