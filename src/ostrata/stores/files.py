"""Files that are there whole or not at all, and reading with care.

A file is written under a temporary name, fsynced, and renamed; its directory is fsynced by whoever makes the
name matter. Every temporary file and directory is held under an flock while its writer lives: the kernel lets
go of it even after SIGKILL. So the next run can tell what is stale from what another process is writing, and
removes only the former. The name ``.ostrata-LABEL-RANDOM`` says which destination it belongs to. A signal may come
between any two steps, even before the `with` block is entered or while it is left: what is temporary then goes when the
process ends.

Reading opens without blocking (a FIFO has no end), looks at what was opened, and never takes more than was
asked for.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import os
import secrets
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import BinaryIO

from ostrata import parallel
from ostrata.errors import AccessError, LimitError, UnsupportedError, escape, within
from ostrata.stores.removal import remove_tree

TEMPORARY = ".ostrata-"
COPY_PIECE = 1 << 18
_SMALL_WRITES = 1 << 16
"""Bytes of writes that are joined; larger ones go to the file as they are."""

_FICLONE = 0x40049409
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFLNK: "a symlink",
}


# Reading


def open_regular(path: str) -> int:
    """A file descriptor of the regular file `path`, open for reading.

    Raises: NotFoundError, AccessError; UnsupportedError for a directory, FIFO, socket or device.
    """
    with within(escape(path)):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno == errno.ENXIO:
                raise UnsupportedError("expected a regular file, found a socket or device") from error
            raise _unnamed(error) from error
        try:
            check_regular(os.fstat(descriptor).st_mode)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def read_limited(path: str, limit: int) -> bytes:
    """The content of the regular file `path`, at most `limit` bytes.

    Raises: what `open_regular` raises; LimitError for a larger file.
    """
    descriptor = open_regular(path)
    with within(escape(path)), open(descriptor, "rb", buffering=0) as file:
        data = bytearray()
        while piece := file.read(min(limit + 1 - len(data), COPY_PIECE)):
            data += piece
        if len(data) > limit:
            size = max(os.fstat(descriptor).st_size, len(data))
            raise LimitError(f"expected at most {limit:,} bytes, found {size:,}")
        return bytes(data)


def check_regular(mode: int) -> None:
    """Raises: UnsupportedError for a mode that is not a regular file's."""
    if not stat.S_ISREG(mode):
        found = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise UnsupportedError(f"expected a regular file, found {found}")


def _unnamed(error: OSError) -> OSError:
    """`error` without its file name: the place says it already."""
    return type(error)(error.errno, error.strerror)


# Writing


class TemporaryFile:
    """A file in `directory` that is nowhere to be seen until `complete`. A context manager.

    What is not complete at the end of the block is removed.
    """

    def __init__(self, directory: str, label: str = "") -> None:
        self.directory = directory
        self._label = label
        with within(escape(directory)):
            self.path, descriptor = _create(directory, label)
        self._file = open(descriptor, "wb", buffering=_SMALL_WRITES)

    def __enter__(self) -> TemporaryFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Raises: AccessError, for instance when the disk is full."""
        with within(escape(self.directory)):
            self._file.write(data)

    def copy_from(self, source: int, size: int) -> None:
        """Append `size` bytes of the file descriptor `source`, from its position, inside the kernel."""
        with within(escape(self.directory)):
            self._file.flush()
            copy_bytes(source, self._file.fileno(), size)

    def complete(self, name: str) -> None:
        """Make the file durable and give it its name in the directory, in place of what had it.

        The name itself is durable after `sync_directory`.
        """
        with within(escape(self.directory)):
            self._file.flush()
            os.fsync(self._file.fileno())
            os.rename(self.path, os.path.join(self.directory, name))
            self._forget()
            self._file.close()

    def publish(self, name: str) -> None:
        """As `complete`, and the name is durable. Should that fail, what had the name has it again."""
        path, spare = os.path.join(self.directory, name), _new_path(self.directory, self._label)
        with within(escape(self.directory)), taken_back(path, spare):
            self.complete(name)
            sync_directory(self.directory)

    def discard(self) -> None:
        """Remove the file unless it is complete."""
        if self.path:
            with contextlib.suppress(OSError):
                os.unlink(self.path)
            self._forget()
        with contextlib.suppress(OSError):  # a full disk again: what the buffer holds is not wanted any more
            self._file.close()

    def _forget(self) -> None:
        _temporary.discard(self.path)
        self.path = ""


class TemporaryDirectory:
    """A directory in `parent` that is removed with all that is in it at the end of the block.

    `descriptor` is open on it, and holds the lock that tells others that it is in use.
    """

    def __init__(self, parent: str, label: str = "") -> None:
        with within(escape(parent)):
            self.path, self.descriptor = _create_directory(parent, label)

    def __enter__(self) -> TemporaryDirectory:
        return self

    def __exit__(self, *_: object) -> None:
        remove_tree(self.path)
        _temporary.discard(self.path)
        os.close(self.descriptor)


def write_atomically(directory: str, name: str, data: bytes) -> None:
    """Durably make `data` the content of `name` in `directory`. Raises: AccessError, NotFoundError."""
    with TemporaryFile(directory) as file:
        file.write(data)
        file.publish(name)


@contextmanager
def taken_back(path: str, spare: str) -> Iterator[None]:
    """Should the block fail, `path` names again what it names now, if need be nothing.

    `spare` is a free name on the same file system. Where there are no hard links, what was done stays.
    """
    restore: Callable[[], None] | None = partial(os.rename, spare, path)
    try:
        os.link(path, spare, follow_symlinks=False)
    except FileNotFoundError:
        restore = partial(os.unlink, path)
    except OSError:
        restore = None
    try:
        yield
    except BaseException:
        if restore is not None:
            with contextlib.suppress(OSError):
                restore()
        raise
    finally:
        with contextlib.suppress(OSError):
            os.unlink(spare)


def write_all(descriptor: int, data: bytes | bytearray | memoryview) -> None:
    """Write the whole of `data`: one call may take less, on a nearly full disk for instance. Raises: OSError."""
    written = os.write(descriptor, data) if len(data) else 0
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])  # the rest says which error it is


def sync_directory(directory: str) -> None:
    """Make the names in `directory` durable. Raises: AccessError, NotFoundError."""
    with within(escape(directory)):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def locked(directory: str) -> Iterator[None]:
    """Be the only process in this block for `directory`. Raises: AccessError, NotFoundError."""
    with within(escape(directory)):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except BaseException:
            os.close(descriptor)
            raise
    try:
        yield
    finally:
        os.close(descriptor)


def link_or_copy(source: str, directory: str, name: str) -> None:
    """Give the regular file `source` the new name `name` in `directory` too: a link, a reflink, or a copy.

    Nothing happens to a `name` that is already there. Raises: AccessError, NotFoundError, UnsupportedError.
    """
    target = os.path.join(directory, name)
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError:  # another file system, too many links, somebody else's file: copying shows what is wrong
        _copy(source, directory, name)


def copy_bytes(source: int, target: int, size: int) -> None:
    """Copy `size` bytes between file descriptors. Raises: OSError; AccessError when `source` ends early."""
    left = size
    while left:
        sent = os.sendfile(target, source, None, min(left, 1 << 30))
        if sent == 0:
            raise AccessError(f"expected {size:,} bytes to copy, found {size - left:,}")
        left -= sent


def _copy(source: str, directory: str, name: str) -> None:
    with open(open_regular(source), "rb", buffering=0) as reader, TemporaryFile(directory) as file:
        try:
            fcntl.ioctl(file._file.fileno(), _FICLONE, reader.fileno())
        except OSError:
            file.copy_from(reader.fileno(), os.fstat(reader.fileno()).st_size)
        file.complete(name)


# What a killed run left


def label_of(path: str) -> str:
    """A short name for the destination `path`, to tell its temporary files from those of others."""
    return hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:12]


def remove_stale(directory: str, label: str = "") -> None:
    """Remove our own temporary files in `directory` whose writers are gone, those with `label` only.

    Others' files, and files that are being written, stay.
    """
    for path in _ours(directory, label):
        with contextlib.suppress(OSError), _hold_if_stale(path) as mode:
            _remove(path, mode)


@contextmanager
def stale_directories(directory: str) -> Iterator[tuple[str, ...]]:
    """The paths of those of our own temporary directories in `directory` whose writers are gone.

    They are held within the block, and removed at its end with what else is stale.
    """
    with contextlib.ExitStack() as stack:
        held = {}
        for path in _ours(directory, ""):
            with contextlib.suppress(OSError):
                held[path] = stack.enter_context(_hold_if_stale(path))
        yield tuple(path for path, mode in held.items() if stat.S_ISDIR(mode))
        for path, mode in held.items():
            with contextlib.suppress(OSError):
                _remove(path, mode)


def _ours(directory: str, label: str) -> list[str]:
    try:
        return [os.path.join(directory, name) for name in os.listdir(directory) if name.startswith(_prefix(label))]
    except OSError:
        return []


def _remove(path: str, mode: int) -> None:
    if stat.S_ISDIR(mode):
        remove_tree(path)
    elif stat.S_ISREG(mode):
        os.unlink(path)


@contextmanager
def _hold_if_stale(path: str) -> Iterator[int]:
    """Lock what a dead writer of this user's left; the value is its mode. Raises: OSError when it is not stale."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "somebody else's")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError: its writer lives
        yield found.st_mode
    finally:
        os.close(descriptor)


def _prefix(label: str) -> str:
    return f"{TEMPORARY}{label}-" if label else TEMPORARY


_temporary: set[str] = set()
"""What this process is to remove."""
_making = threading.Lock()


def _remove_temporary() -> None:
    """The last thing that a process does, perhaps beside a thread that works on."""
    _making.acquire()  # for good: nothing is made any more
    for path in tuple(_temporary):
        with contextlib.suppress(OSError):
            os.unlink(path)
        remove_tree(path)


def _after_fork() -> None:
    global _making  # noqa: PLW0603
    _making = threading.Lock()
    _temporary.clear()


os.register_at_fork(after_in_child=_after_fork)
parallel.at_end(_remove_temporary)


def _create(directory: str, label: str) -> tuple[str, int]:
    while True:
        path = _new_path(directory, label)
        with _making:
            _temporary.add(path)  # first: a signal may come with the end of the call
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        if _hold(path, descriptor):
            return path, descriptor


def _create_directory(parent: str, label: str) -> tuple[str, int]:
    while True:
        path = _new_path(parent, label)
        with _making:
            _temporary.add(path)  # see `_create`
            os.mkdir(path, 0o700)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if _hold(path, descriptor):
            return path, descriptor


def _new_path(directory: str, label: str) -> str:
    return os.path.join(directory, _prefix(label) + secrets.token_hex(8))


def _hold(path: str, descriptor: int) -> bool:
    """Lock what was just made; False when somebody took it for stale between the making and the locking."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.stat(path), os.fstat(descriptor)):
            return True
    os.close(descriptor)
    return False


class Region(io.RawIOBase):
    """`size` bytes of a file from `offset`, as a file of its own. Closes `descriptor` with itself."""

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        self._descriptor = descriptor
        self._offset = offset
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        room = memoryview(buffer).cast("B")[: max(0, self._size - self._position)]
        if not room:
            return 0
        count = os.preadv(self._descriptor, [room], self._offset + self._position)
        self._position += count
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def open_region(descriptor: int, offset: int, size: int) -> BinaryIO:
    """A buffered `Region`."""
    return io.BufferedReader(Region(descriptor, offset, size), COPY_PIECE)
