"""A directory as a `protocols.Source`: everything in it as it lies there, and the content of its files.

`sources.rootfs` reads a directory for a commit and refuses what no commit holds. Here nothing is refused: names and
targets that are not UTF-8 are entries, empty extended attributes are kept, and devices, FIFOs and sockets are listed
apart. Every open is relative to a directory's descriptor and follows no symlink.

A file's content key is its device, inode and size, the times that tell of changes, and its first path: equal for hard
links, not for twins, since no file is read for the tree. With several jobs the upper directories are read first, and
workers read what is below them. `hash_contents` reads files, side by side, and tells what is in them.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby

from ostrata import parallel
from ostrata.errors import AccessError, LimitError, NotFoundError, escape, from_os_error, within
from ostrata.model.tree import Attributes, Directory, Entry, RegularFile, SpecialFile, Symlink, Tree, Xattrs
from ostrata.sources.rootfs import KINDS, MAX_DEPTH, TreeReader, changed, changed_or, read_blocks

FILES_PER_UNIT = 512
BYTES_PER_UNIT = 64 << 20

_UPPER = 3
"""Slashes in the path of a directory that a worker reads, with all that is in it: usr/share/help/de."""
_DIRECTORIES_PER_UNIT = 16


@dataclass(frozen=True, slots=True)
class DirectorySource:
    """The directory at `path`, as `open_directory` found it. Picklable.

    `special` are the paths that no `Tree` can hold. `unreadable` says of which paths something could not be read, and
    why: of a directory what is in it, of other entries the extended attributes.
    """

    path: str
    tree: Tree
    special: Mapping[str, SpecialFile] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)

    def open(self, path: str) -> Iterator[memoryview]:
        """The content of the regular file at `path`, in pieces, each valid until the next.

        Raises: NotFoundError for what is no regular file in the tree; AccessError, also for a file that is not the
        one that was found there, or that changes meanwhile.
        """
        entry = self.tree.entries.get(path)
        if not isinstance(entry, RegularFile):
            raise NotFoundError(
                "no regular file of that name in the tree", where=f"{escape(self.path)}: /{escape(path)}"
            )
        return self._read(path, entry)

    def _read(self, path: str, entry: RegularFile) -> Iterator[memoryview]:
        with within(escape(self.path)), within(f"/{escape(path)}"), TreeReader(self.path) as reader:
            directory, _, name = path.rpartition("/")
            reader.enter(directory)
            yield from _read_file(reader, name, entry)


def open_directory(
    path: str,
    *,
    excluded: Container[str] = (),
    lenient: bool = False,
    one_file_system: bool = False,
    bare: Container[str] = frozenset(),
    jobs: int = 1,
) -> DirectorySource:
    """The directory `path`. `excluded` are paths in it (relative) that are left out with all that is in them.

    `bare` are states of files (see `file_state`) that are known to have no extended attributes: they are not asked.

    With `lenient`, what may not be read does not end the walk: it is in the result's `unreadable`. With
    `one_file_system`, directories on which another file system is mounted are empty. Raises: NotFoundError, also for
    entries that vanish meanwhile; AccessError, also for directories that change; LimitError.
    """
    path = os.path.abspath(path)  # a source can be used where the working directory is another
    joined = _Joined()
    with within(escape(path)), TreeReader(path) as reader:
        device = reader.enter("").st_dev if one_file_system else None
        terms = WalkTerms(path, excluded, lenient, device)
        parts, lower = _read_upper(_Walk(reader, terms, bare), _UPPER if jobs > 1 else MAX_DEPTH)
        units = [WalkUnit(terms, tuple(some)) for some in _batches(lower)]
        results = parallel.run(walk_unit, units, jobs=jobs, shared=bare)
        with closing(results):
            found = (walked for unit in results for walked in unit)
            for part in parts:
                joined.add(next(found) if part is None else part, excluded)
    return DirectorySource(path, Tree(joined.entries), joined.special, joined.unreadable)


# The walk


@dataclass(frozen=True, slots=True)
class WalkTerms:
    """How to walk through the directory `tree`; with a `device`, directories on other ones are empty."""

    tree: str
    excluded: Container[str]
    lenient: bool
    device: int | None


_Listed = tuple[str, os.stat_result | None]
"""A directory, and its status as its parent lists it."""

_Inode = tuple[int, int, int, int, Xattrs]
"""Type and mode, owner, group, time, xattrs: what many entries of a package have in common."""

_Row = tuple[str, _Inode, int, str, str]
"""A path; of the entry there the inode, size (of a device its number), state (not of directories), and target. Workers
send it in place of an entry, which would cost ten times as much."""


@dataclass(frozen=True, slots=True)
class WalkUnit:
    """A work unit: read these directories, each with all that is in it."""

    terms: WalkTerms
    directories: tuple[_Listed, ...]


@dataclass(slots=True)
class Walked:
    """Entries in the order of a tree, what of them could not be read, and which paths were passed over."""

    rows: list[_Row] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    excluded: list[str] = field(default_factory=list)


def walk_unit(unit: WalkUnit) -> list[Walked]:
    """The work unit's function: what is in each directory."""
    walks = []
    with TreeReader(unit.terms.tree) as reader:
        for top in unit.directories:
            walk = _Walk(reader, unit.terms, parallel.shared())
            pending = [top]
            while pending:
                pending += walk.read_directory(*pending.pop())
            walks.append(walk.found)
    return walks


def _read_upper(walk: _Walk, depth: int) -> tuple[list[Walked | None], list[_Listed]]:
    """What is in directories of less than `depth` slashes, with None in the place of each of the others; and these."""
    parts: list[Walked | None] = [walk.found]
    lower: list[_Listed] = []
    pending: list[_Listed] = [("", None)]
    while pending:
        directory, listed = pending.pop()
        if directory.count("/") < depth:
            pending += walk.read_directory(directory, listed)
            continue
        lower.append((directory, listed))
        walk.found = Walked()
        parts += [None, walk.found]
    return parts, lower


def _batches(directories: list[_Listed]) -> Iterator[list[_Listed]]:
    for start in range(0, len(directories), _DIRECTORIES_PER_UNIT):
        yield directories[start : start + _DIRECTORIES_PER_UNIT]


class _Walk:
    """Reads directories, and adds to `found` what is in them."""

    def __init__(self, reader: TreeReader, terms: WalkTerms, bare: Container[str]) -> None:
        self.found = Walked()
        self._reader = reader
        self._terms = terms
        self._bare = bare
        self._inodes: dict[_Inode, _Inode] = {}  # an equal one is sent once

    def read_directory(self, path: str, listed: os.stat_result | None) -> list[_Listed]:
        """Take in `path`, which its parent lists as `listed`; the result are the directories in it, the last first."""
        with within(f"/{escape(path)}"):
            if path.count("/") >= MAX_DEPTH:
                raise LimitError(f"directories nest deeper than {MAX_DEPTH}")
            return self._read(path, listed)

    def _read(self, path: str, listed: os.stat_result | None) -> list[_Listed]:
        try:
            before = self._reader.enter(path)
        except AccessError as error:
            if listed is None or not isinstance(error.__context__, PermissionError):
                raise
            self._add(path, listed, "", ())
            self._pass_over(path, error.__context__)
            return []
        self._add(path, before, "", self._xattrs(path, ""))
        if self._terms.device not in (None, before.st_dev):
            return []
        names = self._list(path)
        self._reader.check_directory(before)
        prefix = f"{path}/" if path else ""
        below: list[_Listed] = []
        for name, status in names:
            inside = prefix + name
            if inside in self._terms.excluded:
                self.found.excluded.append(inside)
            elif stat.S_ISDIR(status.st_mode):
                below.append((inside, status))
            else:
                state = file_state(status)
                xattrs = () if state in self._bare else self._xattrs(inside, name)
                target = self._reader.read_link(name) if stat.S_ISLNK(status.st_mode) else ""
                self._add(inside, status, state, xattrs, target)
        return below[::-1]

    def _list(self, path: str) -> list[tuple[str, os.stat_result]]:
        try:
            found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in self._reader.entries()]
        except PermissionError as error:  # a directory that may be listed, but not searched
            self._pass_over(path, error)
            return []
        is_ascii = all(name.isascii() for name, _ in found)
        return sorted(found) if is_ascii else sorted(found, key=lambda item: os.fsencode(item[0]))

    def _add(self, path: str, status: os.stat_result, state: str, xattrs: Xattrs, target: str = "") -> None:
        mode, time = status.st_mode, status.st_mtime_ns // 1_000_000_000
        size = status.st_size if stat.S_ISREG(mode) else status.st_rdev
        inode = (mode, status.st_uid, status.st_gid, time, xattrs)
        self.found.rows.append((path, self._inodes.setdefault(inode, inode), size, state, target))

    def _xattrs(self, path: str, name: str) -> Xattrs:
        try:
            return self._reader.all_xattrs(name)
        except PermissionError as error:
            self._pass_over(path, error)
            return ()
        except OSError as error:
            raise changed_or(error) from None

    def _pass_over(self, path: str, error: PermissionError) -> None:
        if not self._terms.lenient:
            raise from_os_error(OSError(error.errno, error.strerror)) from None
        self.found.unreadable[path] = (error.strerror or "not permitted").lower()


class _Joined:
    """The entries of a whole walk."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.special: dict[str, SpecialFile] = {}
        self.unreadable: dict[str, str] = {}
        self._keys: dict[str, str] = {}
        self._attributes: dict[_Inode, Attributes] = {}

    def add(self, walked: Walked, excluded: Container[str]) -> None:
        """Take in what comes next. `excluded` is told, if a worker asked another copy of it."""
        of_inode: dict[int, Attributes] = {}  # by identity, which the rows keep, since tuples are slow to look up
        for path, inode, size, state, target in walked.rows:
            attributes = of_inode.get(id(inode))
            if attributes is None:
                attributes = of_inode[id(inode)] = self._attributes.get(inode) or self._make_attributes(inode)
            kind = inode[0]
            if stat.S_ISDIR(kind):
                self.entries[path] = Directory(attributes)
                continue
            content = self._keys.get(state) or self._keys.setdefault(state, f"{state}/{path}")
            if stat.S_ISREG(kind):
                self.entries[path] = RegularFile(attributes, size, content)
            elif stat.S_ISLNK(kind):
                self.entries[path] = Symlink(attributes, target, content)
            else:
                name = KINDS.get(stat.S_IFMT(kind), "unknown kind")
                self.special[path] = SpecialFile(attributes, name, (os.major(size), os.minor(size)))
        self.unreadable |= walked.unreadable
        for path in walked.excluded:
            path in excluded  # noqa: B015

    def _make_attributes(self, inode: _Inode) -> Attributes:
        kind, uid, gid, time, xattrs = inode
        attributes = self._attributes[inode] = Attributes(stat.S_IMODE(kind), uid, gid, xattrs, time)
        return attributes


def file_state(status: os.stat_result) -> str:
    """Equal for hard links, and another one for a file that was changed or replaced."""
    # Twice as fast as an f-string: a walk asks a hundred thousand times.
    told = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return "%x:%x:%x:%x:%x" % told  # noqa: UP031


def split_key(content: str) -> tuple[str, str]:
    """A file's state, as `file_state` tells it, and its first path."""
    state, _, path = content.partition("/")
    return state, path


def _read_file(reader: TreeReader, name: str, entry: RegularFile) -> Iterator[memoryview]:
    descriptor, status = reader.open_file(name)
    try:
        if file_state(status) != split_key(entry.content)[0]:
            raise changed()
        yield from read_blocks(descriptor, status)
    finally:
        os.close(descriptor)


# Contents


@dataclass(frozen=True, slots=True)
class HashUnit:
    """A work unit: hash these files of the directory `tree`."""

    tree: str
    files: tuple[tuple[str, RegularFile], ...]
    lenient: bool


def hash_contents(
    source: DirectorySource,
    paths: Iterable[str],
    *,
    lenient: bool = False,
    jobs: int = 1,
    on_advance: Callable[[int], None] | None = None,
) -> dict[str, str | None]:
    """The SHA-256 (hex) of the content of each regular file among `paths`, hard links read once.

    With `lenient`, None stands for a file that may not be read. `on_advance` is told how many bytes were read.
    Raises: NotFoundError, AccessError.
    """
    files = [(path, entry) for path in paths if isinstance(entry := source.tree.entries.get(path), RegularFile)]
    first = {entry.content: path for path, entry in reversed(files)}
    units = list(_hash_units(source.path, (file for file in files if first[file[1].content] == file[0]), lenient))
    digests: dict[str, str | None] = {}
    with within(escape(source.path)):
        weights = [sum(entry.size for _, entry in unit.files) for unit in units]
        results = parallel.run(hash_unit, units, jobs=jobs, weights=weights, on_advance=on_advance)
        with closing(results):
            for unit, found in zip(units, results, strict=True):
                digests.update(zip((entry.content for _, entry in unit.files), found, strict=True))
    return {path: digests[entry.content] for path, entry in files}


def _hash_units(tree: str, files: Iterable[tuple[str, RegularFile]], lenient: bool) -> Iterator[HashUnit]:
    collected: list[tuple[str, RegularFile]] = []
    size = 0
    for path, entry in files:
        collected.append((path, entry))
        size += entry.size
        if len(collected) >= FILES_PER_UNIT or size >= BYTES_PER_UNIT:
            yield HashUnit(tree, tuple(collected), lenient)
            collected, size = [], 0
    if collected:
        yield HashUnit(tree, tuple(collected), lenient)


def hash_unit(unit: HashUnit) -> list[str | None]:
    """The work unit's function: the files' SHA-256, in their order."""
    digests: list[str | None] = []
    with TreeReader(unit.tree) as reader:
        for directory, files in groupby(unit.files, key=lambda file: file[0].rpartition("/")[0]):
            for path, entry in files:
                with within(f"/{escape(path)}"):
                    reader.enter(directory)
                    digests.append(_hash(reader, path, entry, unit.lenient))
    return digests


def _hash(reader: TreeReader, path: str, entry: RegularFile, lenient: bool) -> str | None:
    hashed = hashlib.sha256()
    try:
        for piece in _read_file(reader, path.rpartition("/")[2], entry):
            hashed.update(piece)
            parallel.advance(len(piece))
    except AccessError as error:
        if lenient and isinstance(error.__context__, PermissionError):
            return None
        raise
    return hashed.hexdigest()
