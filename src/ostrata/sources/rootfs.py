"""A root filesystem as a source: the walk of a directory, and its entries read one by one.

Every open is relative to a directory's descriptor and follows no symlink, so nothing outside of the tree is ever
read, whatever is renamed meanwhile. What changes while it is read is an error that names the path: a commit holds
only what was there. Only regular files, symlinks and directories can be committed, with names and targets in UTF-8.

`scan` lists the tree and refuses at once what cannot be committed. A `TreeReader` then reads the entries of one
directory after another, in as many processes as one likes.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

from ostrata.errors import (
    AccessError,
    LimitError,
    MalformedError,
    NotFoundError,
    OstrataError,
    UnsupportedError,
    escape,
    from_os_error,
    some_of,
    within,
)
from ostrata.model.tree import Attributes, Xattrs
from ostrata.sources.modifiers import ModeChange, Modifiers, parse_skip_list, parse_statoverride
from ostrata.stores.files import read_limited
from ostrata.stores.xattrs import read_xattrs

MAX_DEPTH = 1024
"""Directories deeper than this are refused: no path that long can be opened by name."""
MAX_LIST_FILE = 64 * 1024 * 1024
"""Bytes of the largest statoverride file or skip list."""
BLOCK = 1 << 18
"""Bytes of the pieces in which a large file is read."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SHOWN = 10
KINDS = {
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


@dataclass(frozen=True, slots=True)
class ScannedDirectory:
    """A directory of the tree ('' is the root). `files` are (name, size in bytes), all names sorted."""

    path: str
    attributes: Attributes
    files: tuple[tuple[str, int], ...]
    symlinks: tuple[str, ...]
    directories: tuple[str, ...]


# The walk


def scan(tree: str, modifiers: Modifiers, *, repository: str | None = None) -> list[ScannedDirectory]:
    """All directories of `tree`, each before those in it; `repository` may not be one of them.

    Raises: UnsupportedError naming what cannot be committed; NotFoundError for entries that vanish and for
    statoverride and skip-list entries that match nothing; AccessError, also for directories that change; LimitError.
    """
    walk = _Walk(modifiers, os.stat(repository) if repository else None)
    if "/" in modifiers.skip:
        raise UnsupportedError("the skip list names the root: nothing would be left to commit")
    with within(escape(tree)), TreeReader(tree) as reader:
        pending = [""]
        while pending:
            path = pending.pop()
            with within(f"/{escape(path)}"):
                directory = walk.read_directory(reader, path)
            prefix = f"{path}/" if path else ""
            pending.extend(prefix + name for name in reversed(directory.directories))
        walk.check()
    return walk.directories


class _Walk:
    """What one walk has found so far."""

    def __init__(self, modifiers: Modifiers, repository: os.stat_result | None) -> None:
        self.directories: list[ScannedDirectory] = []
        self._modifiers = modifiers
        self._repository = repository
        self._refused: list[str] = []
        self._unmatched = set(modifiers.statoverride)
        self._unskipped = set(modifiers.skip)

    def read_directory(self, reader: TreeReader, path: str) -> ScannedDirectory:
        if path.count("/") >= MAX_DEPTH:
            raise LimitError(f"directories nest deeper than {MAX_DEPTH}")
        before = reader.enter(path)
        if self._repository is not None and os.path.samestat(before, self._repository):
            raise UnsupportedError(
                "the repository lies within the tree",
                hint="commit another directory, or name it in a skip list",
            )
        self._unmatched.discard(f"/{path}")
        attributes = self._modifiers.apply(
            path, before.st_mode, before.st_uid, before.st_gid, reader.directory_xattrs(self._modifiers)
        )
        files, symlinks, directories = self._sort_out(reader, f"{path}/" if path else "")
        reader.check_directory(before)
        directory = ScannedDirectory(
            path, attributes, tuple(sorted(files)), tuple(sorted(symlinks)), tuple(sorted(directories))
        )
        self.directories.append(directory)
        return directory

    def _sort_out(self, reader: TreeReader, prefix: str) -> tuple[list[tuple[str, int]], list[str], list[str]]:
        files: list[tuple[str, int]] = []
        symlinks: list[str] = []
        directories: list[str] = []
        for entry in reader.entries():
            name = entry.name
            if (self._unmatched or self._modifiers.skip) and self._is_skipped(f"/{prefix}{name}"):
                continue
            if not (name.isascii() or is_utf8(name)):
                self._refused.append(f"/{escape(prefix + name)} (name is not UTF-8)")
            elif entry.is_symlink():
                symlinks.append(name)
            elif entry.is_dir(follow_symlinks=False):
                directories.append(name)
            elif entry.is_file(follow_symlinks=False):
                files.append((name, _size(entry)))
            else:
                kind = KINDS.get(stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode), "unknown kind")
                self._refused.append(f"/{escape(prefix + name)} ({kind})")
        return files, symlinks, directories

    def _is_skipped(self, path: str) -> bool:
        self._unmatched.discard(path)
        if path not in self._modifiers.skip:
            return False
        self._unskipped.discard(path)
        return True

    def check(self) -> None:
        if self._refused:
            raise UnsupportedError(
                f"cannot commit {_listed(sorted(self._refused))}",
                hint="a commit holds directories, regular files and symlinks with UTF-8 names; "
                "remove the others or name them in a skip list",
            )
        for unused, what in ((self._unmatched, "statoverride"), (self._unskipped, "skip list")):
            if unused:
                paths = _listed([escape(path) for path in sorted(unused)])
                raise NotFoundError(f"no such path in the tree, but in the {what}: {paths}")


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        raise NotFoundError("the file vanished while the tree was read", where=escape(entry.name)) from None


def _listed(names: list[str]) -> str:
    """The first names, and how many there are."""
    if len(names) == 1:
        return names[0]
    return f"{len(names)} entries: {some_of(names, _SHOWN)}"


def is_utf8(name: str) -> bool:
    """Was `name` (surrogateescape) UTF-8 on disk?"""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


# Entries


class TreeReader:
    """Reads the entries of a tree, one directory at a time; a context manager.

    Raises: NotFoundError or AccessError when the tree cannot be opened.
    """

    def __init__(self, tree: str) -> None:
        try:
            # The tree itself may be named through a symlink; nothing below is reached through one.
            self._root = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise from_os_error(OSError(error.errno, error.strerror)) from None
        self._directory, self._path = os.dup(self._root), ""

    def __enter__(self) -> TreeReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._directory)
        os.close(self._root)

    def enter(self, path: str) -> os.stat_result:
        """Make `path` the directory whose entries are read. Raises: NotFoundError, AccessError."""
        # The walk goes down more often than up: from a parent, only the rest of the way is opened.
        below = not self._path or path.startswith(f"{self._path}/")
        rest = path[len(self._path) :] if below else path
        descriptor = os.dup(self._directory if below else self._root)
        try:
            for name in rest.split("/"):
                if not name:
                    continue
                parent, descriptor = descriptor, os.open(name, _DIRECTORY, dir_fd=descriptor)
                os.close(parent)
        except OSError as error:
            os.close(descriptor)
            raise changed_or(error) from None
        os.close(self._directory)
        self._directory, self._path = descriptor, path
        return os.fstat(descriptor)

    def entries(self) -> Iterator[os.DirEntry[str]]:
        """The directory's entries, in no order."""
        with os.scandir(self._directory) as entries:
            yield from entries

    def directory_xattrs(self, modifiers: Modifiers) -> Xattrs:
        """The xattrs of the directory itself."""
        return () if modifiers.drops_xattrs else read_kept_xattrs(self._directory)

    def all_xattrs(self, name: str = "") -> Xattrs:
        """The xattrs of the entry `name` itself, or of the directory, with those of an empty value. Raises: OSError."""
        target = f"/proc/self/fd/{self._directory}/{name}" if name else self._directory
        return read_xattrs(target)

    def read_link(self, name: str) -> str:
        """The target of the symlink `name`, whatever its encoding. Raises: NotFoundError, AccessError."""
        try:
            return os.readlink(name, dir_fd=self._directory)
        except OSError as error:
            raise changed_or(error) from None

    def check_directory(self, before: os.stat_result) -> None:
        """Raises: AccessError when the directory is not as it was."""
        _check_unchanged(before, os.fstat(self._directory))

    def open_file(self, name: str) -> tuple[int, os.stat_result]:
        """A descriptor of the regular file `name` (the caller closes it), and its status.

        Raises: NotFoundError, AccessError.
        """
        try:
            descriptor = os.open(name, _FILE, dir_fd=self._directory)
        except OSError as error:
            raise changed_or(error) from None
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise changed()
        return descriptor, status

    def read_symlink(self, name: str, modifiers: Modifiers) -> tuple[os.stat_result, str, Xattrs]:
        """The status, target and xattrs of the symlink `name`.

        Raises: UnsupportedError for a target that is not UTF-8, NotFoundError, AccessError.
        """
        try:
            status = os.stat(name, dir_fd=self._directory, follow_symlinks=False)
            target = os.readlink(name, dir_fd=self._directory)
            xattrs = () if modifiers.drops_xattrs else read_kept_xattrs(f"/proc/self/fd/{self._directory}/{name}")
        except OSError as error:
            raise changed_or(error) from None
        if not is_utf8(target):
            raise UnsupportedError(f"the symlink target '{escape(target)}' is not UTF-8")
        return status, target, xattrs


def read_small(descriptor: int, before: os.stat_result) -> bytes:
    """The whole content of a file. Raises: AccessError when it is not what `before` promises."""
    data = os.read(descriptor, before.st_size + 1)
    if len(data) != before.st_size:
        raise changed()
    _check_unchanged(before, os.fstat(descriptor))
    return data


def read_blocks(descriptor: int, before: os.stat_result) -> Iterator[memoryview]:
    """The content of a file in pieces, each valid until the next. Raises: AccessError as `read_small` does."""
    buffer = memoryview(bytearray(min(BLOCK, before.st_size + 1)))
    left = before.st_size
    while count := os.readv(descriptor, [buffer]):
        left -= count
        if left < 0:
            raise changed()
        yield buffer[:count]
    if left:
        raise changed()
    _check_unchanged(before, os.fstat(descriptor))


def read_kept_xattrs(target: int | str) -> Xattrs:
    """The extended attributes that a commit keeps: as `ostree commit`, none with an empty value.

    Raises: OSError; AccessError when one vanishes meanwhile.
    """
    try:
        xattrs = read_xattrs(target)
    except OSError as error:
        if error.errno == errno.ENODATA:
            raise changed() from None
        raise
    return tuple(pair for pair in xattrs if pair[1])


def _check_unchanged(before: os.stat_result, after: os.stat_result) -> None:
    if (
        before.st_size != after.st_size
        or before.st_mtime_ns != after.st_mtime_ns
        or before.st_ctime_ns != after.st_ctime_ns
    ):
        raise changed()


def changed() -> AccessError:
    """The error for an entry that is not what it was."""
    return AccessError("changed while it was read", hint="commit a tree that nobody writes to, or a snapshot")


def changed_or(error: OSError) -> OstrataError:
    """The error for an entry that was listed and could not be opened: vanished, replaced, or what `error` says."""
    if error.errno == errno.ENOENT:
        return NotFoundError("vanished while the tree was read")
    if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EINVAL, errno.ENXIO):
        return changed()
    return from_os_error(OSError(error.errno, error.strerror))


# Files that say how to change the tree


def read_statoverride(path: str) -> dict[str, ModeChange]:
    """The statoverride file at `path`.

    Raises: MalformedError, NotFoundError, AccessError, LimitError; UnsupportedError for what is no regular file.
    """
    text = _read_text(path)
    with within(escape(path)):
        return parse_statoverride(text)


def read_skip_list(path: str) -> frozenset[str]:
    """The skip list at `path`. Raises: as `read_statoverride`."""
    text = _read_text(path)
    with within(escape(path)):
        return parse_skip_list(text)


def _read_text(path: str) -> str:
    data = read_limited(path, MAX_LIST_FILE)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError(f"not UTF-8 at byte {error.start}", where=escape(path)) from None
