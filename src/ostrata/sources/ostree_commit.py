"""An OSTree commit as a source: the paths in it, and on demand the metadata of every file.

Walk order (the order in which an encapsulated layer lists an object's paths): the files of a directory by name, then
each sub-directory by name with all that is in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from ostrata import parallel
from ostrata.codecs import ostree
from ostrata.errors import LimitError, escape, within
from ostrata.model.ostree import CommitDirectory, CommitTree, Dirtree, FileHeader
from ostrata.model.tree import Attributes, Directory, Entry, RegularFile, Symlink, Tree
from ostrata.stores.ostree_repository import OstreeRepository, open_repository

MAX_DEPTH = 1024
"""Directories deeper than this are refused: no path that long can be opened."""

MAX_ENTRIES = 1 << 22
MAX_PATHS = 1 << 29
"""Characters of all entries' directories together."""

HEADERS_PER_UNIT = 8192


def read_commit_tree(repository: OstreeRepository, revision: str) -> CommitTree:
    """The commit that `revision` names and all paths in it; no file object is touched.

    Raises: NotFoundError, MalformedError, LimitError.
    """
    checksum = repository.resolve(revision)
    commit, _ = repository.read_commit(checksum)
    directories: list[CommitDirectory] = []
    files: list[tuple[str, str]] = []
    size = 0

    @cache
    def read_dirmeta(dirmeta: str) -> Attributes:
        with within(f"dirmeta object {dirmeta}"):
            return ostree.decode_dirmeta(repository.read_metadata("dirmeta", dirmeta))

    # A stack in place of recursion: the depth is the input's choice.
    pending = [("", commit.root_dirtree, commit.root_dirmeta)]
    while pending:
        path, dirtree_checksum, dirmeta = pending.pop()
        if path.count("/") >= MAX_DEPTH:
            raise LimitError(f"directories nest deeper than {MAX_DEPTH}", where=f"/{escape(path[:100])}...")
        with within(f"/{escape(path)}"):
            dirtree = _read_dirtree(repository, dirtree_checksum)
            directories.append(CommitDirectory(path, dirtree_checksum, dirmeta, read_dirmeta(dirmeta)))
        # One object may stand at any number of places, so a small repository can describe an endless tree.
        size += len(path) * (len(dirtree.files) + len(dirtree.directories))
        if len(directories) + len(pending) + len(files) > MAX_ENTRIES or size > MAX_PATHS:
            raise LimitError(
                f"expected at most {MAX_ENTRIES:,} entries and {MAX_PATHS:,} characters of paths, found more"
            )
        prefix = f"{path}/" if path else ""
        files.extend((prefix + name, file) for name, file in dirtree.files)
        pending.extend((prefix + name, tree, meta) for name, tree, meta in reversed(dirtree.directories))
    return CommitTree(checksum, commit, tuple(directories), tuple(files))


def _read_dirtree(repository: OstreeRepository, checksum: str) -> Dirtree:
    with within(f"dirtree object {checksum}"):
        return ostree.decode_dirtree(repository.read_metadata("dirtree", checksum))


@dataclass(frozen=True, slots=True)
class HeaderUnit:
    """A work unit: read the headers of these file objects."""

    repository: str
    checksums: tuple[str, ...]


def read_tree(repository: OstreeRepository, commit: CommitTree, *, jobs: int = 1) -> Tree:
    """The whole tree of a commit, every entry with its attributes.

    Raises: NotFoundError, MalformedError, UnsupportedError.
    """
    checksums = sorted({checksum for _, checksum in commit.files})
    units = [
        HeaderUnit(repository.path, tuple(checksums[start : start + HEADERS_PER_UNIT]))
        for start in range(0, len(checksums), HEADERS_PER_UNIT)
    ]
    entries: dict[str, Entry] = {}
    for headers, unit in zip(parallel.run(read_headers, units, jobs=jobs), units, strict=True):
        for checksum, (header, size) in zip(unit.checksums, headers, strict=True):
            entries[checksum] = _entry(checksum, header, size)
    return Tree(dict(_in_walk_order(commit, entries)))


def read_headers(unit: HeaderUnit) -> list[tuple[FileHeader, int]]:
    """The work unit's function: (header, content size in bytes) for each object."""
    repository = open_repository(unit.repository)
    return [repository.read_header(checksum) for checksum in unit.checksums]


def _entry(checksum: str, header: FileHeader, size: int) -> Entry:
    if header.target is None:
        return RegularFile(header.attributes, size, checksum)
    return Symlink(header.attributes, header.target, checksum)


def _in_walk_order(commit: CommitTree, entries: dict[str, Entry]) -> Iterator[tuple[str, Entry]]:
    files = iter(commit.files)
    path, checksum = next(files, ("", ""))
    for directory in commit.directories:
        yield directory.path, Directory(directory.attributes)
        # A directory's files stand together in `files`, and in the order of the directories.
        while checksum and path.rpartition("/")[0] == directory.path:
            yield path, entries[checksum]
            path, checksum = next(files, ("", ""))
