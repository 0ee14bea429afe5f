"""A directory as a `protocols.Source`: everything in it as it lies there, and the content of its files.

`sources.rootfs` reads a directory for a commit and refuses what no commit holds. Here nothing is refused: names and
targets that are not UTF-8 are entries, empty extended attributes are kept, and devices, FIFOs and sockets are listed
apart. Every open is relative to a directory's descriptor and follows no symlink.

A file's content key is its device and inode and the times that tell of changes: equal for hard links, not for twins,
since no file is read for the tree.
`hash_contents` reads files, side by side, and tells what is in them.
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
    path: str, *, excluded: Container[str] = (), lenient: bool = False, one_file_system: bool = False
) -> DirectorySource:
    """The directory `path`. `excluded` are paths in it (relative) that are left out with all that is in them.

    With `lenient`, what may not be read does not end the walk: it is in the result's `unreadable`. With
    `one_file_system`, directories on which another file system is mounted are empty. Raises: NotFoundError, also for
    entries that vanish meanwhile; AccessError, also for directories that change; LimitError.
    """
    path = os.path.abspath(path)  # a source can be used where the working directory is another
    walk = _Walk(excluded, lenient, one_file_system)
    with within(escape(path)), TreeReader(path) as reader:
        pending: list[tuple[str, os.stat_result | None]] = [("", None)]
        while pending:
            directory, status = pending.pop()
            with within(f"/{escape(directory)}"):
                pending += walk.read_directory(reader, directory, status)
    return DirectorySource(path, Tree(walk.entries), walk.special, walk.unreadable)


class _Walk:
    """What one walk has found so far."""

    def __init__(self, excluded: Container[str], lenient: bool, one_file_system: bool) -> None:
        self.entries: dict[str, Entry] = {}
        self.special: dict[str, SpecialFile] = {}
        self.unreadable: dict[str, str] = {}
        self._excluded = excluded
        self._lenient = lenient
        self._one_file_system = one_file_system
        self._device: int | None = None

    def read_directory(
        self, reader: TreeReader, path: str, listed: os.stat_result | None
    ) -> list[tuple[str, os.stat_result | None]]:
        """Take in `path`, which its parent lists as `listed`; the result are the directories in it, the last first."""
        if path.count("/") >= MAX_DEPTH:
            raise LimitError(f"directories nest deeper than {MAX_DEPTH}")
        try:
            before = reader.enter(path)
        except AccessError as error:
            if listed is None or not isinstance(error.__context__, PermissionError):
                raise
            self.entries[path] = Directory(_attributes(listed, ()))
            self._pass_over(path, error.__context__)
            return []
        self.entries[path] = Directory(_attributes(before, self._xattrs(reader, path, "")))
        if self._is_elsewhere(before):
            return []
        names = self._list(reader, path)
        reader.check_directory(before)
        prefix = f"{path}/" if path else ""
        below: list[tuple[str, os.stat_result | None]] = []
        for name, status in names:
            if prefix + name in self._excluded:
                continue
            if stat.S_ISDIR(status.st_mode):
                below.append((prefix + name, status))
            else:
                self._take(reader, prefix + name, name, status)
        return below[::-1]

    def _is_elsewhere(self, status: os.stat_result) -> bool:
        if self._device is None:
            self._device = status.st_dev
        return self._one_file_system and status.st_dev != self._device

    def _list(self, reader: TreeReader, path: str) -> list[tuple[str, os.stat_result]]:
        try:
            found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in reader.entries()]
        except PermissionError as error:  # a directory that may be listed, but not searched
            self._pass_over(path, error)
            return []
        return sorted(found, key=lambda item: os.fsencode(item[0]))

    def _take(self, reader: TreeReader, path: str, name: str, status: os.stat_result) -> None:
        attributes = _attributes(status, self._xattrs(reader, path, name))
        content = content_key(status)
        if stat.S_ISREG(status.st_mode):
            self.entries[path] = RegularFile(attributes, status.st_size, content)
        elif stat.S_ISLNK(status.st_mode):
            self.entries[path] = Symlink(attributes, reader.read_link(name), content)
        else:
            kind = KINDS.get(stat.S_IFMT(status.st_mode), "unknown kind")
            self.special[path] = SpecialFile(attributes, kind, (os.major(status.st_rdev), os.minor(status.st_rdev)))

    def _xattrs(self, reader: TreeReader, path: str, name: str) -> Xattrs:
        try:
            return reader.all_xattrs(name)
        except PermissionError as error:
            self._pass_over(path, error)
            return ()
        except OSError as error:
            raise changed_or(error) from None

    def _pass_over(self, path: str, error: PermissionError) -> None:
        if not self._lenient:
            raise from_os_error(OSError(error.errno, error.strerror)) from None
        self.unreadable[path] = (error.strerror or "not permitted").lower()


def _attributes(status: os.stat_result, xattrs: Xattrs) -> Attributes:
    return Attributes(
        stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, xattrs, status.st_mtime_ns // 1_000_000_000
    )


def content_key(status: os.stat_result) -> str:
    """Equal for hard links, and another one for a file that was changed or replaced."""
    return f"{status.st_dev:x}:{status.st_ino:x}:{status.st_mtime_ns:x}:{status.st_ctime_ns:x}"


def _read_file(reader: TreeReader, name: str, entry: RegularFile) -> Iterator[memoryview]:
    descriptor, status = reader.open_file(name)
    try:
        if content_key(status) != entry.content or status.st_size != entry.size:
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
