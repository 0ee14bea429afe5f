"""Objects on their way into an OSTree repository.

A run stages all of its objects in a directory of its own, ``tmp/.ostrata-*/XX/REST.SUFFIX``, any number of processes
at once. When the file system has them safely on disk, the writer renames them into ``objects/``. So nothing in
``objects/`` was ever incomplete, not even after a power cut; and it costs one rename per object, or one per directory
``XX`` where the repository has none yet. Named temporary files, since an unnamed one (O_TMPFILE) takes ext4 four times
as long.

How a file object is kept, by mode (see `ostree_objects` for the reader's side):

| mode           | content            | then, on the inode                                              |
|----------------|--------------------|-----------------------------------------------------------------|
| archive        | header and deflate | permissions 0644                                                |
| bare           | the content        | owner, xattrs, permissions, mtime 0; symlinks: owner and xattrs |
| bare-user      | the content        | user.ostreemeta, permissions within 0775, mtime 0               |
| bare-user-only | the content        | permissions, mtime 0                                            |

Symlinks are real ones in bare and bare-user-only, and files in bare-user (the target and a NUL, 0644).
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType

from ostrata.codecs import ostree
from ostrata.errors import AccessError, UnsupportedError, escape, from_os_error
from ostrata.model.ostree import FileHeader
from ostrata.stores.files import write_all

SUFFIX = {"archive": ".filez", "bare": ".file", "bare-user": ".file", "bare-user-only": ".file"}
"""The suffix of file objects, by the modes that can be written."""

Piece = bytes | bytearray | memoryview

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PUBLIC = 0o644
_PRIVATE = 0o600
_OTHER_MODES = "repositories of the modes bare-user and archive hold everything"


@dataclass(frozen=True, slots=True)
class StagePlace:
    """Where and how objects are staged; small and picklable. `directory` is the run's own below ``tmp/``."""

    repository: str
    directory: str
    mode: str
    zlib_level: int = 6

    def path(self, kind: str, checksum: str) -> str:
        """Where an object is while it is staged."""
        return f"{self.directory}/{object_name(kind, checksum, self.mode)}"


def object_name(kind: str, checksum: str, mode: str) -> str:
    """The name of an object below ``objects/``, and below a stage's directory."""
    return f"{checksum[:2]}/{checksum[2:]}" + (SUFFIX[mode] if kind == "file" else f".{kind}")


class ObjectStage:
    """Stages objects at a place; a context manager. An object that exists already is a success.

    `objects` and `bytes` count what this stage added, in objects and in bytes of content before compression.
    Every method raises AccessError when the system says no.
    """

    def __init__(self, place: StagePlace) -> None:
        self.objects = 0
        self.bytes = 0
        self._place = place
        self._suffix = SUFFIX[place.mode]
        self._temporary = 0
        self._finish = _FINISH[place.mode]
        with self._writing():
            self._objects = os.open(f"{place.repository}/objects", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._staged = os.open(place.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> ObjectStage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._staged)
        os.close(self._objects)

    def add_metadata(self, kind: str, data: bytes) -> str:
        """Stage a commit, dirtree or dirmeta object; the result is its checksum."""
        checksum = hashlib.sha256(data).hexdigest()
        with self._writing():
            if self._put(f"{checksum[:2]}/{checksum[2:]}.{kind}", [data], _finish_public):
                self.objects += 1
        return checksum

    def add_detached_metadata(self, commit: str, data: bytes) -> None:
        """Stage a commit's detached metadata, which will replace what the repository has."""
        name = f"{commit[:2]}/{commit[2:]}.commitmeta"
        with self._writing():
            descriptor = self._create(name)
            if descriptor is None:
                raise FileExistsError(errno.EEXIST, "detached metadata twice")
            try:
                write_all(descriptor, data)
                _finish_public(descriptor)
            finally:
                os.close(descriptor)

    def add_file(self, header: FileHeader, content: Piece) -> str:
        """Stage a regular file whose content is at hand; the result is its checksum."""
        hasher = _hasher(header).copy()
        hasher.update(content)
        checksum: str = hasher.hexdigest()
        name = f"{checksum[:2]}/{checksum[2:]}{self._suffix}"
        try:  # not `_writing`: this is the one method that is called a hundred thousand times
            if self._put(name, self._stored(header, content), partial(self._finish, header)):
                self._count(len(content))
        except OSError as error:
            raise self._refused(error) from error
        return checksum

    def add_large_file(
        self, header: FileHeader, size: int, blocks: Iterable[memoryview], *, promised: str | None = None
    ) -> str:
        """Stage a regular file of `size` bytes while its content is read; the result is its checksum.

        With a `promised` checksum that the repository has already, the content is read and hashed only.
        """
        hasher = _hasher(header).copy()
        if promised is not None and self._exists(f"{promised[:2]}/{promised[2:]}{self._suffix}"):
            for _ in _hashed(hasher, blocks):
                pass
            return str(hasher.hexdigest())
        self._temporary += 1
        temporary = f"large-{os.getpid()}-{self._temporary}"
        with self._writing():
            descriptor = os.open(temporary, _CREATE, _PRIVATE, dir_fd=self._staged)
        # Outside of `_writing`: an error of the reader's is not the repository's.
        pieces = self._stored_blocks(header, size, _hashed(hasher, blocks))
        try:
            for piece in pieces:
                with self._writing():
                    write_all(descriptor, piece)
            with self._writing():
                self._finish(header, descriptor)
        finally:
            os.close(descriptor)
        checksum: str = hasher.hexdigest()
        self._adopt(temporary, f"{checksum[:2]}/{checksum[2:]}{self._suffix}", size)
        return checksum

    def add_symlink(self, header: FileHeader) -> str:
        """Stage a symlink; the result is its checksum."""
        data = ostree.encode_file_header(header)
        checksum = hashlib.sha256(data).hexdigest()
        name = f"{checksum[:2]}/{checksum[2:]}{self._suffix}"
        with self._writing():
            if self._put_symlink(name, header):
                self._count(0)
        return checksum

    # Helpers

    def _put(self, name: str, pieces: Iterable[Piece], finish: Callable[[int], None]) -> bool:
        """Stage a file; False when the repository or this run has it."""
        if self._exists(name) or (descriptor := self._create(name)) is None:
            return False
        try:
            for piece in pieces:
                write_all(descriptor, piece)
            finish(descriptor)
        finally:
            os.close(descriptor)
        return True

    def _exists(self, name: str) -> bool:
        return os.access(name, os.F_OK, dir_fd=self._objects, follow_symlinks=False)

    def _create(self, name: str) -> int | None:
        """A new file, or None when this run has it already (twins are common)."""
        try:
            return os.open(name, _CREATE, _PRIVATE, dir_fd=self._staged)
        except FileExistsError:
            return None
        except FileNotFoundError:
            self._make_directory(name)
            return self._create(name)

    def _make_directory(self, name: str) -> None:
        try:
            os.mkdir(name[:2], dir_fd=self._staged)
        except FileExistsError:
            return  # another process was faster

    def _stored(self, header: FileHeader, content: Piece) -> Iterator[Piece]:
        if self._place.mode != "archive":
            yield content
            return
        import deflate

        yield ostree.encode_archive_header(header, len(content))
        yield deflate.deflate_compress(bytes(content), self._place.zlib_level)

    def _stored_blocks(self, header: FileHeader, size: int, blocks: Iterable[memoryview]) -> Iterator[Piece]:
        if self._place.mode != "archive":
            yield from blocks
            return
        # libdeflate takes whole buffers only.
        from zlib_ng import zlib_ng

        yield ostree.encode_archive_header(header, size)
        compressor = zlib_ng.compressobj(self._place.zlib_level, zlib_ng.DEFLATED, -zlib_ng.MAX_WBITS)
        for block in blocks:
            yield compressor.compress(block)
        yield compressor.flush()

    def _adopt(self, temporary: str, name: str, size: int) -> None:
        with self._writing():
            if self._exists(name):
                os.unlink(temporary, dir_fd=self._staged)
                return
            self._make_directory(name)
            os.rename(temporary, name, src_dir_fd=self._staged, dst_dir_fd=self._staged)
        self._count(size)

    def _put_symlink(self, name: str, header: FileHeader) -> bool:
        if self._place.mode in ("bare", "bare-user-only"):
            return not self._exists(name) and self._make_symlink(name, header)
        if self._place.mode == "archive":
            return self._put(name, [ostree.encode_archive_header(header, 0)], _finish_public)
        return self._put(name, [_target(header) + b"\0"], partial(_finish_bare_user, header))

    def _make_symlink(self, name: str, header: FileHeader) -> bool:
        if self._place.mode == "bare-user-only":
            _check_bare_user_only(header)
        try:
            os.symlink(_target(header), name, dir_fd=self._staged)
        except FileExistsError:
            return False
        except FileNotFoundError:
            self._make_directory(name)
            return self._make_symlink(name, header)
        if self._place.mode == "bare":
            attributes = header.attributes
            os.chown(name, attributes.uid, attributes.gid, dir_fd=self._staged, follow_symlinks=False)
            for xattr, value in attributes.xattrs:
                os.setxattr(f"{self._place.directory}/{name}", xattr, value, follow_symlinks=False)
        return True

    def _count(self, size: int) -> None:
        self.objects += 1
        self.bytes += size

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> AccessError:
        refused = from_os_error(OSError(error.errno, error.strerror))
        where = f"writing an object to {escape(self._place.repository)}"
        return AccessError(refused.what, where=where, hint=_hint(error, self._place.mode))


@ostree.remember_small(1024)
def _hasher(header: FileHeader) -> hashlib._Hash:
    """A hasher that has taken the header; to be copied."""
    return hashlib.sha256(ostree.encode_file_header(header))


def _hashed(hasher: hashlib._Hash, blocks: Iterable[memoryview]) -> Iterator[memoryview]:
    for block in blocks:
        hasher.update(block)
        yield block


def _target(header: FileHeader) -> bytes:
    return (header.target or "").encode("utf-8")


def _finish_public(descriptor: int) -> None:
    os.fchmod(descriptor, _PUBLIC)


def _finish_archive(_: FileHeader, descriptor: int) -> None:
    _finish_public(descriptor)


def _finish_bare_user(header: FileHeader, descriptor: int) -> None:
    # The permissions come last: without them, an owner who is not root could not set the xattr.
    os.setxattr(descriptor, "user.ostreemeta", _ostreemeta(header))
    os.fchmod(descriptor, _PUBLIC if header.target is not None else header.attributes.mode & 0o775 | 0o400)
    os.utime(descriptor, ns=(0, 0))


@ostree.remember_small(1024)
def _ostreemeta(header: FileHeader) -> bytes:
    return ostree.encode_ostreemeta(header)


def _finish_bare(header: FileHeader, descriptor: int) -> None:
    # In this order: a change of owner clears setuid and capabilities, and ACLs change the permissions.
    attributes = header.attributes
    os.fchown(descriptor, attributes.uid, attributes.gid)
    for name, value in attributes.xattrs:
        os.setxattr(descriptor, name, value)
    os.fchmod(descriptor, attributes.mode)
    os.utime(descriptor, ns=(0, 0))


def _finish_bare_user_only(header: FileHeader, descriptor: int) -> None:
    mode = header.attributes.mode
    _check_bare_user_only(header)
    if mode & ~0o775:
        raise UnsupportedError(f"a bare-user-only repository cannot hold the mode {mode:04o}", hint=_OTHER_MODES)
    os.fchmod(descriptor, mode)
    os.utime(descriptor, ns=(0, 0))


def _check_bare_user_only(header: FileHeader) -> None:
    attributes = header.attributes
    if attributes.uid or attributes.gid:
        owner = f"{attributes.uid}:{attributes.gid}"
        raise UnsupportedError(f"a bare-user-only repository cannot hold the owner {owner}", hint=_OTHER_MODES)
    if attributes.xattrs:
        raise UnsupportedError("a bare-user-only repository cannot hold extended attributes", hint=_OTHER_MODES)


_FINISH: dict[str, Callable[[FileHeader, int], None]] = {
    "archive": _finish_archive,
    "bare": _finish_bare,
    "bare-user": _finish_bare_user,
    "bare-user-only": _finish_bare_user_only,
}


def is_finished(mode: str, status: os.stat_result) -> bool:
    """Was the last step of writing a file object in a repository of that mode made? A checksum does not tell.

    `status` is the object's. Metadata objects are finished as the objects of archives are.
    """
    if stat.S_ISLNK(status.st_mode):
        return True  # its checksum tells: the owner and the extended attributes come last
    return stat.S_IMODE(status.st_mode) == _PUBLIC if mode == "archive" else status.st_mtime_ns == 0


def _hint(error: OSError, mode: str) -> str | None:
    if error.errno == errno.ENOTSUP and mode == "bare-user":
        return "a bare-user repository needs a file system with user.* extended attributes; archive needs none"
    if error.errno == errno.EPERM and mode == "bare":
        return "a bare repository needs root; bare-user and archive do not"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "make room on the file system of the repository; what was there before is unharmed"
    return None
