"""Writing to an OSTree repository: making one, publishing staged objects, moving refs.

A transaction, in an order that leaves a valid repository wherever it is cut off:

1. Objects are staged (`ostree_staging`), in a directory that an flock marks as in use.
2. ``syncfs``: all of them are on disk. One call, instead of an fsync per object.
3. They are renamed into ``objects/``, the commit last: a commit that is there is complete.
4. ``syncfs``: the renames are on disk too.
5. The ref's file is replaced, and its directory synced; should that fail, the ref is what it was.

The repository's ``.lock`` is held shared throughout, as libostree does, so that nobody prunes meanwhile. Forked workers
keep the lock of the staging directory alive as long as they live; what killed runs left is free of any, and the next
run removes it.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from ostrata.codecs import ostree
from ostrata.errors import AccessError, MalformedError, UnsupportedError, escape, from_os_error, within
from ostrata.model.ostree import FileHeader
from ostrata.stores.files import TemporaryDirectory, remove_stale, sync_directory, taken_back
from ostrata.stores.ostree_objects import read_whole
from ostrata.stores.ostree_repository import (
    MAX_CONFIG,
    OstreeRepository,
    is_ref_name,
    open_repository,
    parse_key_file,
)
from ostrata.stores.ostree_staging import SUFFIX, StagePlace

WRITABLE_MODES = tuple(SUFFIX)
"""The modes in which objects can be written."""

_LAYOUT = ("tmp", "tmp/cache", "extensions", "state", "refs", "refs/heads", "refs/mirrors", "refs/remotes")


# Making a repository


def init_repository(path: str, mode: str = "bare-user") -> bool:
    """Make an empty repository at `path`; False when one of that mode is there already.

    Raises: UnsupportedError for an unknown mode, for a repository of another mode, and for a directory that holds
    something else; AccessError.
    """
    mode = "archive" if mode == "archive-z2" else mode
    if mode not in WRITABLE_MODES:
        raise UnsupportedError(f"expected one of the modes {', '.join(WRITABLE_MODES)}, found '{escape(mode)}'")
    with within(escape(path)):
        if is_repository(path):
            _check_mode(open_repository(path), mode)
            return False
        _check_free(path)
        _make_repository(path, mode)
    return True


def is_repository(path: str) -> bool:
    """Is there a repository at `path`: a directory with `config` and `objects/`?"""
    return os.path.isfile(f"{path}/config") and os.path.isdir(f"{path}/objects")


def _check_mode(repository: OstreeRepository, mode: str) -> None:
    if repository.mode != mode:
        raise UnsupportedError(f"expected a repository of mode {mode}, found {repository.mode}")


def _check_free(path: str) -> None:
    """Empty, or what an interrupted run has begun."""
    if os.path.lexists(path):
        others = set(os.listdir(path)) - {"tmp", "extensions", "state", "refs", "config", ".lock"}
        if others:
            raise UnsupportedError(
                f"not a repository, and not empty: it holds '{escape(min(others))}'",
                hint="name a directory that does not exist, or an empty one",
            )


def _make_repository(path: str, mode: str) -> None:
    os.makedirs(path, exist_ok=True)
    for directory in _LAYOUT:
        os.makedirs(f"{path}/{directory}", exist_ok=True)
    stored_mode = "archive-z2" if mode == "archive" else mode
    _replace_file(
        f"{path}/config",
        f"[core]\nrepo_version=1\nmode={stored_mode}\n".encode(),
        temporary=f"{path}/tmp/config",
    )
    os.makedirs(f"{path}/objects", exist_ok=True)  # last: now it is a repository
    sync_directory(path)


# Transactions


@dataclass(frozen=True, slots=True)
class RepositorySettings:
    """What the config says to writers."""

    zlib_level: int = 6
    disable_xattrs: bool = False
    collection_id: str | None = None


@dataclass(frozen=True, slots=True)
class RepositoryWriter:
    """A transaction on a repository. Open it with `open_writer`."""

    repository: OstreeRepository
    settings: RepositorySettings
    place: StagePlace
    descriptor: int

    def read_metadata(self, kind: str, checksum: str) -> bytes:
        """The verified bytes of a commit, dirtree or dirmeta that is staged or in the repository.

        Raises: NotFoundError, DigestMismatchError, MalformedError, AccessError.
        """
        try:
            data = read_whole(self.place.path(kind, checksum), ostree.MAX_METADATA_OBJECT)
        except FileNotFoundError:
            return self.repository.read_metadata(kind, checksum)
        except OSError as error:
            raise from_os_error(error, where=f"{kind} object {checksum}") from None
        return ostree.verify(kind, checksum, data)

    def read_header(self, checksum: str) -> tuple[FileHeader, int]:
        """The header and the content's size of a file object that is staged or in the repository.

        Raises: NotFoundError, MalformedError, UnsupportedError, AccessError.
        """
        with within(f"file object {checksum}"):
            try:
                return self.repository.reader.read_header(self.place.path("file", checksum))
            except FileNotFoundError:
                return self.repository.read_header(checksum)

    def has_object(self, kind: str, checksum: str) -> bool:
        """Is it in the repository, or staged?"""
        return self.repository.has_object(kind, checksum) or os.path.lexists(self.place.path(kind, checksum))

    def publish(self, commit: str) -> None:
        """Make all staged objects durable, then visible; the commit object after all the others.

        All that the commit needs must be staged or in the repository. Raises: AccessError.
        """
        with within(escape(self.repository.path)):
            sync_file_system(self.descriptor)
            last = f"{commit[:2]}/{commit[2:]}.commit"
            held_back = f"{self.place.directory}/commit"
            staged = os.path.lexists(f"{self.place.directory}/{last}")
            if staged:
                os.rename(f"{self.place.directory}/{last}", held_back)
            for directory in os.listdir(self.place.directory):
                if len(directory) == 2:
                    self._publish_directory(directory)
            if staged:
                self._publish_commit(held_back, last)
            sync_file_system(self.descriptor)
            with suppress(FileNotFoundError):
                os.unlink(f"{self.repository.path}/state/{commit}.commitpartial")

    def _publish_directory(self, name: str) -> None:
        source, target = f"{self.place.directory}/{name}", f"{self.repository.path}/objects/{name}"
        try:
            os.rename(source, target)  # of a new or an empty directory: all of its objects at once
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            for file in os.listdir(source):
                os.rename(f"{source}/{file}", f"{target}/{file}")

    def _publish_commit(self, source: str, name: str) -> None:
        target = f"{self.repository.path}/objects/{name}"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.rename(source, target)
        with suppress(FileNotFoundError):
            os.unlink(target.removesuffix(".commit") + ".tombstone-commit")  # it was deleted once, and is back

    def write_ref(self, name: str, checksum: str) -> None:
        """Let the ref `name` point to a commit, atomically and durably.

        Raises: MalformedError for a name that is none, AccessError.
        """
        check_ref_name(name)
        heads = f"{self.repository.path}/refs/heads"
        target = f"{heads}/{name}"
        with within(f"ref {name}"):
            try:
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with taken_back(target, f"{self.place.directory}/ref-before"):
                    _replace_file(target, f"{checksum}\n".encode(), temporary=f"{self.place.directory}/ref")
                    for depth in range(name.count("/") + 1):
                        sync_directory("/".join([heads, *name.split("/")[:depth]]))
            except (NotADirectoryError, FileExistsError):
                raise AccessError("a part of its name is a ref already", hint="choose another branch") from None
            except IsADirectoryError:
                raise AccessError("other refs begin with this name", hint="choose another branch") from None
            with suppress(OSError):
                os.utime(self.repository.path)  # tells long-running readers to look again


@contextmanager
def open_writer(path: str, *, keeps_remains: bool = False) -> Iterator[RepositoryWriter]:
    """A transaction on the repository at `path`; what it staged and did not publish is removed at the end.

    What killed runs left is removed first, but for one that `keeps_remains` to use them (`ostree_remains`). Waits while
    another process holds the repository's lock alone. Raises: NotFoundError, MalformedError,
    UnsupportedError for a mode that cannot be written, AccessError.
    """
    path = os.path.abspath(path)
    repository = open_repository(path)
    with within(escape(path)):
        _check_writable(repository)
        settings = _read_settings(path)
        lock = _lock(path)
    try:
        if not keeps_remains:
            remove_stale(f"{path}/tmp")
        with TemporaryDirectory(f"{path}/tmp") as staging:
            place = StagePlace(path, staging.path, repository.mode, settings.zlib_level)
            yield RepositoryWriter(repository, settings, place, staging.descriptor)
    finally:
        os.close(lock)


def _check_writable(repository: OstreeRepository) -> None:
    if repository.mode not in WRITABLE_MODES:
        raise UnsupportedError(f"a repository of mode {repository.mode} cannot be written")
    if repository.mode == "bare" and os.geteuid() != 0:
        raise AccessError(
            "writing a bare repository needs root, to set the owners of files",
            hint="use a repository of mode bare-user or archive",
        )


def _read_settings(path: str) -> RepositorySettings:
    groups = parse_key_file(read_whole(f"{path}/config", MAX_CONFIG).decode("utf-8"))
    core = groups.get("core", {})
    level = groups.get("archive", {}).get("zlib-level", "6")
    if level not in tuple("0123456789"):
        raise MalformedError(f"expected a zlib-level from 0 to 9, found '{escape(level)}'")
    return RepositorySettings(int(level), core.get("disable-xattrs") == "true", core.get("collection-id") or None)


def _lock(path: str) -> int:
    lock = os.open(f"{path}/.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o660)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
    except BaseException:
        os.close(lock)
        raise
    return lock


def check_ref_name(name: str) -> None:
    """Raises: MalformedError when `name` is no name for a local ref."""
    if not is_ref_name(name):
        raise MalformedError(
            f"'{escape(name)}' is not a valid ref name",
            hint="letters, digits and _ begin each part; - and . may follow; / separates parts",
        )


# Durability


def sync_file_system(descriptor: int) -> None:
    """Wait until the file system of `descriptor` has everything on disk. Raises: OSError."""
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        os.sync()
    elif syncfs(descriptor) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _replace_file(path: str, data: bytes, *, temporary: str) -> None:
    """Write a small file so that it is there whole or not at all. Raises: OSError."""
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(descriptor, 0o644)
            os.fsync(descriptor)
        os.rename(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
