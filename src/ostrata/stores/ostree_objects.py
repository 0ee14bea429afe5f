"""How a repository of each mode keeps file objects: one reader per mode.

| mode              | content            | owner and mode       | xattrs             | symlinks          |
|-------------------|--------------------|----------------------|--------------------|-------------------|
| archive           | deflated, `.filez` | header in the file   | header in the file | header only       |
| bare              | the file           | the inode            | the inode          | real symlinks     |
| bare-user         | the file           | xattr user.ostreemeta| the same xattr     | files with target |
| bare-user-only    | the file           | the inode's mode, 0:0| none               | real symlinks     |
| bare-split-xattrs | the file           | the inode            | OBJ.file-xattrs-link| real symlinks    |

`read_header` opens no content (but for archive, where the header is in the same file). No reader follows a symlink:
an object that should be a file and is a symlink, FIFO or device is refused unopened. Nothing is compared with a
checksum here.
"""

from __future__ import annotations

import errno
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from ostrata.codecs import ostree
from ostrata.errors import MalformedError, NotFoundError, UnsupportedError, escape
from ostrata.model.ostree import FileHeader, FileObject
from ostrata.stores.xattrs import read_xattrs

PIECE = 1 << 18
"""Bytes of the pieces in which content is read."""

_ARCHIVE_HEAD = 4096
_MAX_TARGET = 1 << 16
_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NO_XATTRS = (errno.ENODATA, errno.ENOTSUP)


@dataclass(frozen=True, slots=True)
class ObjectReader:
    """How to read one mode's file objects by path.

    `read_header` gives the header and the size in bytes of the content, `open_file` the content too; both raise
    MalformedError, UnsupportedError, OSError. `expansion`: how many times larger than the file content typically is.
    """

    suffix: str
    read_header: Callable[[str], tuple[FileHeader, int]]
    open_file: Callable[[str], FileObject]
    expansion: float = 1.0


class _Descriptor:
    """An open regular file: its descriptor, closed with the last reference to it, and its size in bytes."""

    __slots__ = ("number", "size")

    def __init__(self, path: str) -> None:
        self.number, self.size = open_regular(path)

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


def open_regular(path: str) -> tuple[int, int]:
    """A descriptor for reading the regular file `path`, and the file's size in bytes.

    Raises: MalformedError when it is anything else, a symlink included; OSError.
    """
    try:
        descriptor = os.open(path, _OPEN_FLAGS)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise MalformedError("expected a regular file, found a symlink", where=escape(path)) from None
        if error.errno == errno.ENXIO:
            raise MalformedError("expected a regular file, found a socket or device", where=escape(path)) from None
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise MalformedError("expected a regular file", where=escape(path))
    return descriptor, status.st_size


def read_whole(path: str, limit: int) -> bytes:
    """The bytes of the regular file `path`. Raises: MalformedError over `limit` bytes or for another file; OSError."""
    descriptor, size = open_regular(path)
    try:
        if size > limit:
            raise MalformedError(f"expected at most {limit} bytes, found {size}", where=escape(path))
        data = os.read(descriptor, size + 1)
        while len(data) < size:
            more = os.read(descriptor, size + 1 - len(data))
            if not more:
                break
            data += more
        return data
    finally:
        os.close(descriptor)


def _pieces(file: _Descriptor, size: int, path: str) -> Iterator[bytes]:
    """The content of an open file, which must be `size` bytes long."""
    left = size
    while left >= 0:
        wanted = min(PIECE, left + 1)
        piece = os.read(file.number, wanted)
        left -= len(piece)
        if left < 0:
            raise MalformedError(f"expected {size} bytes, found more", where=escape(path))
        yield piece
        if len(piece) < wanted:  # the end of the file: no need to ask again
            break
    if left:
        raise MalformedError(f"expected {size} bytes, found {size - left}", where=escape(path))


# archive


def _archive_header(path: str) -> tuple[FileHeader, int]:
    header, size, _ = _read_archive_head(_Descriptor(path))
    return header, size


def _open_archived(path: str) -> FileObject:
    file = _Descriptor(path)
    header, size, rest = _read_archive_head(file)
    if header.target is not None:
        if rest:
            raise MalformedError("data after the header of a symlink", where=escape(path))
        return FileObject(header, 0, iter(()))
    return FileObject(header, size, _inflate(file, rest, size, path))


def _read_archive_head(file: _Descriptor) -> tuple[FileHeader, int, bytes]:
    """The header, the content's size, and what was read of the deflate stream."""
    data = os.read(file.number, _ARCHIVE_HEAD)
    if len(data) >= 8:
        wanted = 8 + int.from_bytes(data[:4], "big")
        if wanted > ostree.MAX_METADATA_OBJECT:
            raise MalformedError(f"an archived file object with a header of {wanted} bytes")
        while len(data) < wanted and (more := os.read(file.number, wanted - len(data))):
            data += more
    header, size, end = ostree.decode_archive_header(data)
    return header, size, data[end:]


def _inflate(file: _Descriptor, data: bytes, size: int, path: str) -> Iterator[bytes]:
    decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
    produced = 0
    while not decompressor.eof:
        data = data or os.read(file.number, PIECE)
        if not data:
            raise MalformedError("the deflated content ends early", where=escape(path))
        try:
            piece = decompressor.decompress(data, PIECE)
        except zlib.error as error:
            raise MalformedError(f"the deflated content is damaged: {error}", where=escape(path)) from None
        data = decompressor.unconsumed_tail
        produced += len(piece)
        if produced > size:
            raise MalformedError(f"expected {size} bytes of content, found more", where=escape(path))
        if piece:
            yield piece
    if decompressor.unused_data or os.read(file.number, 1):
        raise MalformedError("data after the deflated content", where=escape(path))
    if produced != size:
        raise MalformedError(f"expected {size} bytes of content, found {produced}", where=escape(path))


# bare-user


def _bare_user_header(path: str) -> tuple[FileHeader, int]:
    header = _read_ostreemeta(path, path)
    return header, 0 if header.target is not None else os.stat(path, follow_symlinks=False).st_size


def _open_bare_user(path: str) -> FileObject:
    file = _Descriptor(path)
    header = _read_ostreemeta(file.number, path)
    if header.target is not None:
        return FileObject(header, 0, iter(()))
    return FileObject(header, file.size, _pieces(file, file.size, path))


def _read_ostreemeta(file: str | int, path: str) -> FileHeader:
    try:
        if isinstance(file, int):
            meta = os.getxattr(file, "user.ostreemeta")
        else:
            meta = os.getxattr(file, "user.ostreemeta", follow_symlinks=False)
    except OSError as error:
        # The kernel refuses user.* on symlinks and special files with EPERM.
        if error.errno in (*_NO_XATTRS, errno.EPERM):
            raise MalformedError("the object has no user.ostreemeta attribute", where=escape(path)) from None
        raise
    uid, gid, mode, xattrs = ostree.decode_ostreemeta(meta)
    target = ""
    if stat.S_ISLNK(mode):
        target = _decode_target(read_whole(path, _MAX_TARGET).split(b"\0", 1)[0])
    return ostree.file_header(uid, gid, mode, xattrs, target)


# bare, bare-user-only, bare-split-xattrs: the inode says what it is


def _bare_header(path: str) -> tuple[FileHeader, int]:
    return _inode_header(path, ostree.encode_xattrs(read_xattrs(path)))


def _bare_user_only_header(path: str) -> tuple[FileHeader, int]:
    return _inode_header(path, b"", owned_by_root=True)


def _split_xattrs_header(path: str) -> tuple[FileHeader, int]:
    return _inode_header(path, read_whole(path + "-xattrs-link", ostree.MAX_METADATA_OBJECT))


def _inode_header(path: str, xattrs: bytes, *, owned_by_root: bool = False) -> tuple[FileHeader, int]:
    status = os.lstat(path)
    uid, gid = (0, 0) if owned_by_root else (status.st_uid, status.st_gid)
    if stat.S_ISLNK(status.st_mode):
        target = _decode_target(os.fsencode(os.readlink(path)))
        return ostree.file_header(uid, gid, status.st_mode, xattrs, target), 0
    return ostree.file_header(uid, gid, status.st_mode, xattrs, ""), status.st_size


def _open_by_inode(read_header: Callable[[str], tuple[FileHeader, int]], path: str) -> FileObject:
    header, size = read_header(path)
    if header.target is not None:
        return FileObject(header, 0, iter(()))
    return FileObject(header, size, _pieces(_Descriptor(path), size, path))


def _decode_target(target: bytes) -> str:
    try:
        return target.decode("utf-8")
    except UnicodeDecodeError:
        raise UnsupportedError(f"the symlink target '{escape(target)}' is not UTF-8") from None


READERS: dict[str, ObjectReader] = {
    "archive": ObjectReader(".filez", _archive_header, _open_archived, expansion=2.5),
    "bare": ObjectReader(".file", _bare_header, partial(_open_by_inode, _bare_header)),
    "bare-user": ObjectReader(".file", _bare_user_header, _open_bare_user),
    "bare-user-only": ObjectReader(".file", _bare_user_only_header, partial(_open_by_inode, _bare_user_only_header)),
    "bare-split-xattrs": ObjectReader(".file", _split_xattrs_header, partial(_open_by_inode, _split_xattrs_header)),
}
"""Reader by repository mode."""


def missing_object(kind: str, checksum: str) -> NotFoundError:
    """The error for an object that no repository has."""
    return NotFoundError(
        f"{kind} object {checksum} is missing", hint="the repository is incomplete; `ostree fsck` tells more"
    )
