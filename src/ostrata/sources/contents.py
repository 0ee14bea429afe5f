"""The contents of a source's files, for whoever knows an entry and nothing else: a worker process, say.

`SourceAt` says where a source is, small and picklable. `open_contents` opens it; `Contents.open` finds a file's content
by the entry's own key, whatever path the entry has by now:

| source    | key                                                           | content                        |
|-----------|---------------------------------------------------------------|--------------------------------|
| directory | the key of `sources.directory`                                | the file, unchanged since then |
| tars      | number of the tar and offset in it, see `sources.image_union` | that region of the tar         |
| commit    | checksum                                                      | the file object, verified      |
| made      | see `made_key`                                                | the bytes, which are at hand   |
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from typing import Protocol

from ostrata.errors import MalformedError, NotFoundError, OstrataError, escape, within
from ostrata.model.tree import RegularFile, Tree
from ostrata.sources.directory import file_state, split_key
from ostrata.sources.image_union import content_place
from ostrata.sources.rootfs import TreeReader, changed, read_blocks, read_small
from ostrata.stores.files import open_regular
from ostrata.stores.ostree_repository import OstreeRepository
from ostrata.stores.packed_file import Frames, PackedFile

PIECE = 1 << 20

Pieces = Iterator[bytes | memoryview]


@dataclass(frozen=True, slots=True)
class DirectoryAt:
    """A directory; its tree is that of `sources.directory`."""

    path: str


@dataclass(frozen=True, slots=True)
class TarPlace:
    """A tar in the file `path`: from byte `offset` on, or in a `PackedFile`."""

    path: str
    offset: int = 0
    is_packed: bool = False


@dataclass(frozen=True, slots=True)
class TarsAt:
    """The tars of an image's layers, the lowest first."""

    tars: tuple[TarPlace, ...]


@dataclass(frozen=True, slots=True)
class CommitAt:
    """The file objects of a repository."""

    repository: OstreeRepository


@dataclass(frozen=True, slots=True)
class MadeAt:
    """A source, and contents by `made_key` that are not in it."""

    source: DirectoryAt | TarsAt | CommitAt
    made: Mapping[str, bytes]


SourceAt = DirectoryAt | TarsAt | CommitAt | MadeAt


class Contents(Protocol):
    """An open source."""

    def open(self, entry: RegularFile) -> Pieces:
        """The content of a file, in pieces, each valid until the next.

        Raises, also while it is read: NotFoundError, AccessError, MalformedError.
        """

    def close(self) -> None:
        """Let go of it."""


@contextmanager
def open_contents(at: SourceAt) -> Iterator[Contents]:
    """The contents, open for a ``with`` block. Raises: NotFoundError, AccessError."""
    contents = _open(at)
    try:
        yield contents
    finally:
        contents.close()


def _open(at: SourceAt) -> Contents:
    if isinstance(at, MadeAt):
        return _MadeContents(at)
    if isinstance(at, DirectoryAt):
        return _DirectoryContents(at)
    return _TarContents(at) if isinstance(at, TarsAt) else _CommitContents(at)


@dataclass(frozen=True, slots=True)
class TreeSource:
    """A tree and open contents as a `protocols.Source`."""

    tree: Tree
    contents: Contents

    def open(self, path: str) -> Pieces:
        """See `protocols.Source`."""
        entry = self.tree.entries.get(path)
        if not isinstance(entry, RegularFile):
            raise NotFoundError("no regular file of that name in the tree", where=f"/{escape(path)}")
        return self.contents.open(entry)


# Directories


class _DirectoryContents:
    def __init__(self, at: DirectoryAt) -> None:
        self._place = escape(at.path)
        with within(self._place):
            self._reader = TreeReader(at.path)
        self._directory = ""

    def close(self) -> None:
        self._reader.__exit__(None, None, None)

    def open(self, entry: RegularFile) -> Pieces:
        state, path = split_key(entry.content)
        try:  # not `within`: this is called a hundred thousand times
            descriptor, status = self._open(path)
            if file_state(status) != state or status.st_size != entry.size:
                os.close(descriptor)
                raise changed()
            if entry.size > PIECE:
                return self._blocks(path, open(descriptor, "rb", buffering=0), status)
            try:
                return iter((read_small(descriptor, status),))
            finally:
                os.close(descriptor)
        except OstrataError as error:
            error.places += [f"/{escape(path)}", self._place]
            raise

    def _open(self, path: str) -> tuple[int, os.stat_result]:
        directory, _, name = path.rpartition("/")
        if directory != self._directory:
            self._reader.enter(directory)
            self._directory = directory
        return self._reader.open_file(name)

    def _blocks(self, path: str, file: FileIO, status: os.stat_result) -> Pieces:
        with file, within(self._place), within(f"/{escape(path)}"):
            yield from read_blocks(file.fileno(), status)


# Tars


class _TarContents:
    def __init__(self, at: TarsAt) -> None:
        self._at = at
        self._tars: dict[int, _PlainTar | PackedFile] = {}
        self._frames = Frames()

    def close(self) -> None:
        while self._tars:
            self._tars.popitem()[1].close()

    def open(self, entry: RegularFile) -> Pieces:
        number, offset = content_place(entry.content) or (0, 0)
        place = self._at.tars[number]
        with within(escape(place.path)):
            if number not in self._tars:
                self._tars[number] = PackedFile(place.path, self._frames) if place.is_packed else _PlainTar(place)
            tar, left = self._tars[number], entry.size
            while left:
                piece = tar.read(min(left, PIECE), offset)
                if not piece:
                    raise MalformedError("the tar is shorter than it was before")
                offset += len(piece)
                left -= len(piece)
                yield piece


class _PlainTar:
    def __init__(self, place: TarPlace) -> None:
        self._descriptor = open_regular(place.path)
        self._offset = place.offset

    def close(self) -> None:
        os.close(self._descriptor)

    def read(self, size: int, position: int) -> bytes:
        return os.pread(self._descriptor, size, self._offset + position)


# Commits


class _CommitContents:
    def __init__(self, at: CommitAt) -> None:
        self._repository = at.repository

    def close(self) -> None:
        pass

    def open(self, entry: RegularFile) -> Pieces:
        return self._repository.open_file(entry.content).content


# What was made


def made_key(data: bytes) -> str:
    """The content key of bytes that are in no source."""
    return f"made:{hashlib.sha256(data).hexdigest()}"


def is_made(content: str) -> bool:
    """Is it a `made_key`?"""
    return content.startswith("made:")


class _MadeContents:
    def __init__(self, at: MadeAt) -> None:
        self._made = at.made
        self._source = _open(at.source)

    def close(self) -> None:
        self._source.close()

    def open(self, entry: RegularFile) -> Pieces:
        if is_made(entry.content):
            return iter((self._made[entry.content],))
        return self._source.open(entry)
