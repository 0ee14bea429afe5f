"""An OSTree commit as a source: the paths in it, and on demand the metadata of every file.

Walk order (the order in which an encapsulated layer lists an object's paths): the files of a directory by name, then
each sub-directory by name with all that is in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from ostrata import parallel
from ostrata.codecs import ostree
from ostrata.errors import LimitError, OstrataError, escape, within
from ostrata.model.ostree import Commit, CommitDirectory, CommitTree, Dirtree, FileHeader
from ostrata.model.tree import Attributes, Directory, Entry, RegularFile, Symlink, Tree
from ostrata.stores.ostree_repository import OstreeRepository, open_repository

MAX_DEPTH = 1024
"""Directories deeper than this are refused: no path that long can be opened."""

MAX_ENTRIES = 1 << 22
MAX_PATHS = 1 << 29
"""Characters of all entries' directories together."""

HEADERS_PER_UNIT = 4096


class MetadataStore(Protocol):
    """Where a commit and its directories are: a repository, or a set of objects in memory."""

    def resolve(self, revision: str) -> str:
        """The checksum of the commit that `revision` names. Raises: NotFoundError, MalformedError."""

    def read_commit(self, checksum: str) -> tuple[Commit, bytes]:
        """The commit and its bytes. Raises: as `resolve`."""

    def read_metadata(self, kind: str, checksum: str) -> bytes:
        """The verified bytes of a dirtree or dirmeta object. Raises: as `resolve`."""


def read_commit_tree(repository: MetadataStore, revision: str) -> CommitTree:
    """The commit that `revision` names and all paths in it; no file object is touched.

    Raises: NotFoundError, MalformedError, LimitError.
    """
    walk = _Walk(repository, revision)
    for _ in walk:
        pass
    return walk.commit_tree()


def read_tree(repository: OstreeRepository, revision: str, *, jobs: int = 1) -> tuple[CommitTree, Tree]:
    """The same, and the whole tree: every entry with its attributes.

    Workers read the headers of file objects while the walk still goes on. Raises: NotFoundError, MalformedError,
    UnsupportedError, LimitError.
    """
    walk = _Walk(repository, revision)
    units: list[HeaderUnit] = []
    entries: dict[str, Entry] = {}
    results = parallel.run(read_headers, _header_units(walk, repository.path, units), jobs=jobs)
    for position, headers in enumerate(results):
        for checksum, (header, size) in zip(units[position].checksums, headers, strict=True):
            entries[checksum] = file_entry(checksum, header, size)
    commit = walk.commit_tree()
    return commit, join_tree(commit, entries)


class _Walk:
    """Goes through a commit's directories; iterating yields the files of each, as (path, file checksum)."""

    def __init__(self, repository: MetadataStore, revision: str) -> None:
        self.repository = repository
        self._checksum = repository.resolve(revision)
        self._commit, _ = repository.read_commit(self._checksum)
        self._directories: list[CommitDirectory] = []
        self._files: list[tuple[str, str]] = []
        self._attributes: dict[str, Attributes] = {}

    def commit_tree(self) -> CommitTree:
        """What the walk has met, when it is over."""
        return CommitTree(self._checksum, self._commit, tuple(self._directories), tuple(self._files))

    def __iter__(self) -> Iterator[list[tuple[str, str]]]:
        size = 0
        # A stack in place of recursion: the depth is the input's choice.
        pending = [("", self._commit.root_dirtree, self._commit.root_dirmeta)]
        while pending:
            path, dirtree_checksum, dirmeta = pending.pop()
            if path.count("/") >= MAX_DEPTH:
                raise LimitError(f"directories nest deeper than {MAX_DEPTH}", where=f"/{escape(path[:100])}...")
            try:
                dirtree = self._read_dirtree(dirtree_checksum)
                attributes = self._read_dirmeta(dirmeta)
            except OstrataError as error:  # not `within`: there are many directories to say beforehand where they are
                error.places.append(f"/{escape(path)}")
                raise
            self._directories.append(CommitDirectory(path, dirtree_checksum, dirmeta, attributes))
            prefix = f"{path}/" if path else ""
            files = [(prefix + name, file) for name, file in dirtree.files]
            self._files += files
            pending.extend((prefix + name, tree, meta) for name, tree, meta in reversed(dirtree.directories))
            size += len(path) * (len(dirtree.files) + len(dirtree.directories))
            self._check_bounds(len(pending), size)
            yield files

    def _check_bounds(self, pending: int, size: int) -> None:
        """One object may stand at any number of places, so a small repository can describe an endless tree."""
        if len(self._directories) + pending + len(self._files) > MAX_ENTRIES or size > MAX_PATHS:
            raise LimitError(
                f"expected at most {MAX_ENTRIES:,} entries and {MAX_PATHS:,} characters of paths, found more"
            )

    def _read_dirtree(self, checksum: str) -> Dirtree:
        with within(f"dirtree object {checksum}"):
            return ostree.decode_dirtree(self.repository.read_metadata("dirtree", checksum))

    def _read_dirmeta(self, checksum: str) -> Attributes:
        if checksum not in self._attributes:
            with within(f"dirmeta object {checksum}"):
                data = self.repository.read_metadata("dirmeta", checksum)
                self._attributes[checksum] = ostree.decode_dirmeta(data)
        return self._attributes[checksum]


@dataclass(frozen=True, slots=True)
class HeaderUnit:
    """A work unit: read the headers of these file objects."""

    repository: str
    checksums: tuple[str, ...]


def _header_units(walk: _Walk, repository: str, made: list[HeaderUnit]) -> Iterator[HeaderUnit]:
    """A unit as soon as the walk has met enough file objects; `made` gets them too."""
    met: set[str] = set()
    waiting: list[str] = []

    def unit() -> HeaderUnit:
        made.append(HeaderUnit(repository, tuple(dict.fromkeys(waiting))))
        waiting.clear()
        return made[-1]

    for files in walk:
        new = [checksum for _, checksum in files if checksum not in met]
        met.update(new)
        waiting += new
        if len(waiting) >= HEADERS_PER_UNIT:
            yield unit()
    if waiting:
        yield unit()


def read_headers(unit: HeaderUnit) -> list[tuple[FileHeader, int]]:
    """The work unit's function: (header, content size in bytes) for each object."""
    repository = open_repository(unit.repository)
    return [repository.read_header(checksum) for checksum in unit.checksums]


def file_entry(checksum: str, header: FileHeader, size: int) -> Entry:
    """A file object as an entry of a tree; `size` is its content's in bytes."""
    if header.target is None:
        return RegularFile(header.attributes, size, checksum)
    return Symlink(header.attributes, header.target, checksum)


def join_tree(commit: CommitTree, entries: dict[str, Entry]) -> Tree:
    """The whole tree of a commit; `entries` are its file objects by checksum."""
    return Tree(dict(_in_walk_order(commit, entries)))


def _in_walk_order(commit: CommitTree, entries: dict[str, Entry]) -> Iterator[tuple[str, Entry]]:
    files = iter(commit.files)
    path, checksum = next(files, ("", ""))
    for directory in commit.directories:
        yield directory.path, Directory(directory.attributes)
        # A directory's files stand together in `files`, and in the order of the directories.
        while checksum and path.rpartition("/")[0] == directory.path:
            yield path, entries[checksum]
            path, checksum = next(files, ("", ""))
