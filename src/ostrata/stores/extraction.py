"""Writing a tree of files below a directory, and nothing outside of it.

Every call is relative to a directory's descriptor, and every directory on the way is opened with O_NOFOLLOW: whatever
lies in the destination, or is put there meanwhile, no symlink is ever followed, and no name leads out. Files are made
with O_EXCL; links are made from one descriptor to another.

Directories are private (0700) while the tree is written, and get their own attributes at the end, the deepest first.
Attributes are set in this order: the owner (which clears setuid bits and capabilities), the extended attributes (which
may change permissions), the permissions, the time.

What the system does not grant is noted and does not end the work. The setuid bit is set only on a file that got its
owner, the setgid bit only on one that got its group: otherwise they would lend the rights of whoever extracts.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import FileIO
from types import TracebackType
from typing import TypeVar

from ostrata.errors import MalformedError, UnsupportedError, escape, within
from ostrata.model.tree import Attributes, Xattrs
from ostrata.stores.files import write_all

T = TypeVar("T")

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NAME_ONLY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_PRIVATE_DIRECTORY = 0o700
_PRIVATE_FILE = 0o600
_COPY_PIECE = 1 << 20
_LAST_SECOND = 1 << 60
_LAST_MAJOR, _LAST_MINOR = (1 << 12) - 1, (1 << 20) - 1
"""Of a device number on Linux."""


@dataclass(frozen=True, slots=True)
class Unset:
    """What could not be set of the entry at `path`, and why.

    `owner` is (uid, gid), `mode` the permission bits, both None when they are as they should be; `xattrs` are those
    that are missing; `missing` says that the entry itself is; `copy_of` is the path whose hard link it should be.
    """

    path: str
    reason: str
    owner: tuple[int, int] | None = None
    mode: int | None = None
    xattrs: Xattrs = ()
    missing: str | None = None
    copy_of: str | None = None


@dataclass(slots=True)
class _Notes:
    """Collects what becomes an `Unset`."""

    owner: tuple[int, int] | None = None
    mode: int | None = None
    xattrs: list[tuple[bytes, bytes]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def because(self, error: OSError) -> None:
        """Raises: the error, when it is no refusal."""
        if error.errno in (errno.EIO, errno.EROFS):
            raise error
        reason = _reason(error)
        if reason not in self.reasons:
            self.reasons.append(reason)


class TreeWriter:
    """Writes entries below the directory `root`; a context manager.

    With `replaces`, files and symlinks that are there already are replaced; a directory never is. `unset` is what could
    not be set so far. Every method raises AccessError when the system says no, and UnsupportedError for what is in the
    way.
    """

    def __init__(self, root: str, *, replaces: bool = False) -> None:
        self.unset: list[Unset] = []
        self._replaces = replaces
        with within(escape(root)):
            self._root = os.open(root, _DIRECTORY)
        self._directory, self._path = os.dup(self._root), ""

    def __enter__(self) -> TreeWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._directory)
        os.close(self._root)

    # Making

    def make_directory(self, path: str) -> None:
        """Make the directory `path`, or take the one that is there; `finish_directory` gives it its attributes."""
        if not path:
            return
        with self._at(path) as name:
            if not self._has_directory(name):
                self._make(name, lambda: os.mkdir(name, _PRIVATE_DIRECTORY, dir_fd=self._directory))

    def write_file(self, path: str, attributes: Attributes, content: Iterable[bytes | memoryview]) -> None:
        """Make a regular file. What `content` raises leaves the file in part."""
        with self._at(path) as name:
            descriptor = self._make(name, lambda: os.open(name, _CREATE, _PRIVATE_FILE, dir_fd=self._directory))
        try:
            for piece in content:
                with within(f"/{escape(path)}"):  # not around the loop: an error of the content's is not the file's
                    write_all(descriptor, piece)
            with within(f"/{escape(path)}"):
                self._set_attributes(path, descriptor, attributes)
        finally:
            os.close(descriptor)

    def make_symlink(self, path: str, target: str, attributes: Attributes) -> None:
        """Make a symlink; its permissions are always 0777."""
        with self._at(path) as name:
            self._make(name, lambda: os.symlink(target, name, dir_fd=self._directory))
            self._set_attributes_of_name(path, name, attributes)

    def make_special(self, path: str, file_type: int, rdev: tuple[int, int], attributes: Attributes) -> bool:
        """Make a FIFO or a device; False, and noted as missing, where that is not granted.

        Raises: MalformedError for a number that no device has.
        """
        with self._at(path) as name:
            number = _device_number(file_type, rdev)
            try:
                self._make(name, lambda: os.mknod(name, file_type | _PRIVATE_FILE, number, dir_fd=self._directory))
            except PermissionError as error:
                owner = attributes.uid, attributes.gid
                missing = f"{_WORDS[file_type]} {rdev[0]}:{rdev[1]}"
                self.unset.append(Unset(path, _reason(error), owner, attributes.mode, attributes.xattrs, missing))
                return False
            self._set_attributes_of_name(path, name, attributes, sets_mode=True)
            return True

    def link(self, existing: str, path: str) -> bool:
        """Make `path` a hard link to what `existing` names; False when that has as many links as it can have."""
        with self._at(existing) as first:
            source = os.dup(self._directory)
        try:
            with self._at(path) as name:
                places = {"src_dir_fd": source, "dst_dir_fd": self._directory}
                try:
                    self._make(name, lambda: os.link(first, name, **places, follow_symlinks=False))
                except OSError as error:
                    if error.errno != errno.EMLINK:
                        raise
                    return False
        finally:
            os.close(source)
        return True

    def copy(self, existing: str, path: str, attributes: Attributes) -> None:
        """Write a file with the content of the one at `existing`, in place of a link."""
        with self._at(existing) as first:
            source = open(first, "rb", buffering=0, opener=self._open_to_read)
        with source as file:
            self.write_file(path, attributes, _pieces(file, existing))
        self.unset.append(Unset(path, "too many links", copy_of=existing))

    def _open_to_read(self, name: str, _: int) -> int:
        return os.open(name, _READ, dir_fd=self._directory)

    def finish_directory(self, path: str, attributes: Attributes) -> None:
        """Give a directory its attributes. Those below it come first: afterwards it may be closed to us."""
        with within(f"/{escape(path)}"):
            self._enter(path)
            self._set_attributes(path, self._directory, attributes)

    # Places

    @contextmanager
    def _at(self, path: str) -> Iterator[str]:
        """Enter the directory of `path`; the value is the last name."""
        directory, _, name = path.rpartition("/")
        with within(f"/{escape(path)}"):
            if name in ("", ".", ".."):
                raise MalformedError("a path without a name at its end")
            self._enter(directory)
            yield name

    def _enter(self, path: str) -> None:
        # Most entries are in or below the directory of the one before: only the rest of the way is opened.
        below = not self._path or path == self._path or path.startswith(f"{self._path}/")
        rest = path[len(self._path) :] if below else path
        descriptor = os.dup(self._directory if below else self._root)
        try:
            for name in rest.split("/"):
                if not name:
                    continue
                if name == "..":
                    raise MalformedError("a path that leads upwards")
                parent, descriptor = descriptor, os.open(name, _DIRECTORY, dir_fd=descriptor)
                os.close(parent)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(self._directory)
        self._directory, self._path = descriptor, path

    def _make(self, name: str, make: Callable[[], T]) -> T:
        """Make an entry of the current directory; what is in its way goes, if it may. Raises: OSError."""
        try:
            return make()
        except FileExistsError:
            if not self._replaces or self._has_directory(name):
                raise UnsupportedError("something else is in the way", hint="extract to an empty directory") from None
        os.unlink(name, dir_fd=self._directory)
        return make()

    def _has_directory(self, name: str) -> bool:
        try:
            return stat.S_ISDIR(os.stat(name, dir_fd=self._directory, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return False

    # Attributes

    def _set_attributes(self, path: str, descriptor: int, attributes: Attributes) -> None:
        """Of an open file or directory."""
        notes = _Notes()
        owns = _set_owner(notes, attributes, lambda uid, gid: os.fchown(descriptor, uid, gid))
        _set_xattrs(notes, attributes.xattrs, lambda name, value: os.setxattr(descriptor, name, value))
        os.fchmod(descriptor, _allowed_mode(notes, attributes.mode, owns))
        os.utime(descriptor, ns=_times(attributes))
        self._note(path, notes)

    def _set_attributes_of_name(self, path: str, name: str, attributes: Attributes, *, sets_mode: bool = False) -> None:
        """Of what should not be opened: a symlink, a device, a FIFO."""
        notes = _Notes()
        place = f"/proc/self/fd/{self._directory}/{name}"
        owns = _set_owner(
            notes,
            attributes,
            lambda uid, gid: os.chown(name, uid, gid, dir_fd=self._directory, follow_symlinks=False),
        )
        _set_xattrs(notes, attributes.xattrs, lambda key, value: os.setxattr(place, key, value, follow_symlinks=False))
        if sets_mode:
            self._set_mode_of_name(name, _allowed_mode(notes, attributes.mode, owns))
        os.utime(name, ns=_times(attributes), dir_fd=self._directory, follow_symlinks=False)
        self._note(path, notes)

    def _set_mode_of_name(self, name: str, mode: int) -> None:
        descriptor = os.open(name, _NAME_ONLY, dir_fd=self._directory)
        try:
            os.chmod(f"/proc/self/fd/{descriptor}", mode)
        finally:
            os.close(descriptor)

    def _note(self, path: str, notes: _Notes) -> None:
        if notes.reasons:
            self.unset.append(Unset(path, ", ".join(notes.reasons), notes.owner, notes.mode, tuple(notes.xattrs)))


def _pieces(file: FileIO, path: str) -> Iterator[bytes]:
    with within(f"/{escape(path)}"):
        while piece := file.read(_COPY_PIECE):
            yield piece


def _set_owner(notes: _Notes, attributes: Attributes, change: Callable[[int, int], None]) -> tuple[bool, bool]:
    """Are the uid and the gid as they should be?"""
    uid, gid = attributes.uid, attributes.gid
    try:
        change(uid, gid)
        return True, True
    except OSError as error:
        notes.because(error)
    notes.owner = uid, gid
    is_group_set = True
    try:
        change(-1, gid)
    except OSError:
        is_group_set = False
    return uid == os.geteuid(), is_group_set


def _set_xattrs(notes: _Notes, xattrs: Xattrs, change: Callable[[bytes, bytes], None]) -> None:
    for name, value in xattrs:
        try:
            change(name, value)
        except OSError as error:
            notes.because(error)
            notes.xattrs.append((name, value))


def _allowed_mode(notes: _Notes, mode: int, owns: tuple[bool, bool]) -> int:
    """`mode` without the bits that would lend somebody else's rights than it should."""
    allowed = mode
    if not owns[0]:
        allowed &= ~stat.S_ISUID
    if not owns[1]:
        allowed &= ~stat.S_ISGID
    if allowed != mode:
        notes.mode = mode
    return allowed


def _times(attributes: Attributes) -> tuple[int, int]:
    """In nanoseconds; the kernel cuts what the file system cannot hold."""
    seconds = max(-_LAST_SECOND, min(attributes.mtime or 0, _LAST_SECOND))
    return seconds * 1_000_000_000, seconds * 1_000_000_000


def _device_number(file_type: int, rdev: tuple[int, int]) -> int:
    if file_type == stat.S_IFIFO:
        return 0
    if not (0 <= rdev[0] <= _LAST_MAJOR and 0 <= rdev[1] <= _LAST_MINOR):
        raise MalformedError(f"expected a device number up to {_LAST_MAJOR}:{_LAST_MINOR}, found {rdev[0]}:{rdev[1]}")
    return os.makedev(*rdev)


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


_WORDS = {stat.S_IFIFO: "FIFO", stat.S_IFCHR: "character device", stat.S_IFBLK: "block device"}
