"""OSTree's objects as bytes (libostree, ostree-core.h: the ``OSTREE_*_GVARIANT_FORMAT`` types).

| object          | GVariant              | checksum: SHA-256 of               |
|-----------------|-----------------------|------------------------------------|
| commit          | (a{sv}aya(say)sstayay)| its bytes                          |
| dirtree         | (a(say)a(sayay))      | its bytes                          |
| dirmeta         | (uuua(ayay))          | its bytes                          |
| file            | (uuuusa(ayay))        | a prefix, this header, the content |
| archive header  | (tuuuusa(ayay))       | (not hashed)                       |

Integers that OSTree itself stores are big-endian; the framing offsets are GVariant's, little-endian. Every decoder
accepts normal form only: one value has one encoding, hence one checksum.
"""

from __future__ import annotations

import hashlib
import stat
import struct
import zlib
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar

from ostrata.codecs import gvariant
from ostrata.errors import DigestMismatchError, MalformedError, UnsupportedError, escape
from ostrata.model.ostree import Commit, Dirtree, FileHeader, Metadata
from ostrata.model.tree import Attributes, Xattrs

PERMISSIONS = 0o7777
MAX_METADATA_OBJECT = 128 * 1024 * 1024
"""Bytes of the largest commit, dirtree or dirmeta that is read (libostree: OSTREE_MAX_METADATA_SIZE)."""

CACHED = 16384
LARGE = 1024
"""Bytes of names, values and targets beyond which nothing is remembered: hostile input would fill the memory."""

T = TypeVar("T")

_NO_FILE_NAMES = frozenset([b"", b".", b".."])
_COMMIT = "(a{sv}aya(say)sstayay)"
_DETACHED = "a{sv}"
_XATTRS = "a(ayay)"


def verify(kind: str, checksum: str, data: bytes) -> bytes:
    """`data`, if it is what `checksum` names. Raises: DigestMismatchError."""
    actual = hashlib.sha256(data).hexdigest()
    if actual != checksum:
        raise DigestMismatchError(f"corrupted {kind} object: expected checksum {checksum}, found {actual}")
    return data


# Extended attributes


def encode_xattrs(xattrs: Xattrs) -> bytes:
    """``a(ayay)``: names with their NUL. Empty: no bytes at all."""
    if not xattrs:
        return b""
    elements = bytearray()
    ends = []
    for name, value in xattrs:
        named = name + b"\0"
        elements += gvariant.with_offsets(named + value, [len(named)])
        ends.append(len(elements))
    return gvariant.with_offsets(bytes(elements), ends)


def decode_xattrs(data: bytes, *, in_any_order: bool = False) -> Xattrs:
    """Raises: MalformedError, also for names that are empty, repeated or, unless `in_any_order`, unsorted."""
    return _decode_xattrs(data, in_any_order) if len(data) > LARGE else _decode_small_xattrs(data, in_any_order)


def _decode_xattrs(data: bytes, in_any_order: bool) -> Xattrs:
    if not data:
        return ()
    pairs = []
    previous = b""
    stored = gvariant.decode(_XATTRS, data)
    for name, value in sorted(stored) if in_any_order else stored:
        bare = name[:-1]
        if name[-1:] != b"\0" or b"\0" in bare or bare <= previous:
            raise MalformedError(
                f"extended attribute name '{escape(name)}' is empty, unterminated, unsorted or repeated"
            )
        previous = bare
        pairs.append((bare, value))
    return tuple(pairs)


_decode_small_xattrs = lru_cache(maxsize=CACHED)(_decode_xattrs)


# Directories


def encode_dirmeta(attributes: Attributes) -> bytes:
    """``(uuua(ayay))``: uid, gid, mode with S_IFDIR, xattrs."""
    head = struct.pack(">III", attributes.uid, attributes.gid, attributes.mode | stat.S_IFDIR)
    return head + encode_xattrs(attributes.xattrs)


def decode_dirmeta(data: bytes) -> Attributes:
    """Raises: MalformedError."""
    if len(data) < 12:
        raise MalformedError(f"a dirmeta object of {len(data)} bytes: expected 12 or more")
    uid, gid, mode = struct.unpack_from(">III", data)
    if stat.S_IFMT(mode) != stat.S_IFDIR or mode & ~(stat.S_IFDIR | PERMISSIONS):
        raise MalformedError(f"a dirmeta object has the mode {mode:o}: expected a directory's")
    return Attributes(mode & PERMISSIONS, uid, gid, decode_xattrs(data[12:]))


def encode_dirtree(dirtree: Dirtree) -> bytes:
    """``(a(say)a(sayay))``; the caller has sorted both lists by name as bytes (`Dirtree`'s rule)."""
    files = _encode_entries([(name, (checksum,)) for name, checksum in dirtree.files])
    directories = _encode_entries([(name, (tree, meta)) for name, tree, meta in dirtree.directories])
    return gvariant.with_offsets(files + directories, [len(files)])


def _encode_entries(entries: list[tuple[str, tuple[str, ...]]]) -> bytes:
    body = bytearray()
    ends = []
    for name, checksums in entries:
        named = name.encode("utf-8") + b"\0"
        # Every member but the last is variable-size: its end is an offset, in reverse order.
        body += named + bytes.fromhex("".join(checksums)) + _entry_offsets(len(named), len(checksums))
        ends.append(len(body))
    return gvariant.with_offsets(bytes(body), ends)


def decode_dirtree(data: bytes) -> Dirtree:
    """Raises: MalformedError, also for names that are unsorted, repeated, or not a plain file name."""
    if not data:
        raise MalformedError("an empty dirtree object")
    width = gvariant.offset_width(len(data))
    split = int.from_bytes(data[-width:], "little")
    body = len(data) - width
    if split > body or not gvariant.is_narrowest(width, body, 1):
        raise MalformedError("a dirtree object is not in normal form")
    files = tuple(_decode_entries(data[:split], 1))
    directories = tuple([(name, both[:64], both[64:]) for name, both in _decode_entries(data[split:body], 2)])
    if files and directories:
        common = {name for name, _ in files} & {name for name, _, _ in directories}
        if common:
            raise MalformedError(f"a dirtree names '{escape(min(common))}' both as a file and as a directory")
    return Dirtree(files, directories)


def _decode_entries(data: bytes, checksum_count: int) -> list[tuple[str, str]]:
    """(name, its checksums as one string of hex digits) of an array of entries, which must be in normal form."""
    names: list[bytes] = []
    checksums: list[str] = []
    start = 0
    previous = b""
    # One turn for each of a commit's paths: nothing is called that need not be.
    for end in gvariant.array_ends(data):
        # (name NUL, checksums of 32 bytes each, one offset per checksum): only the name's length is unknown.
        width = 1 if end - start <= 0xFF else gvariant.offset_width(end - start)
        offsets = end - checksum_count * width
        name_end = offsets - 32 * checksum_count - 1
        name = data[start:name_end]
        if name_end <= start or data[name_end]:
            raise MalformedError("a dirtree entry without a terminated name and its checksums")
        if data[offsets:end] != _entry_offsets(name_end - start + 1, checksum_count):
            raise MalformedError("a dirtree entry is not in normal form")
        if name <= previous:
            raise MalformedError(f"dirtree names are not sorted: '{escape(previous)}' before '{escape(name)}'")
        names.append(name)
        checksums.append(data[name_end + 1 : offsets].hex())
        previous = name
        start = end
    return list(zip(_file_names(names), checksums, strict=True))


@lru_cache(maxsize=1024)
def _entry_offsets(name_length: int, checksum_count: int) -> bytes:
    """The framing offsets of an entry whose name has `name_length` bytes with its NUL."""
    body = bytes(name_length + 32 * checksum_count)
    ends = [name_length + 32 * position for position in range(checksum_count)]
    return gvariant.with_offsets(body, ends[::-1])[len(body) :]


def _file_names(names: list[bytes]) -> list[str]:
    """Checked and decoded, all at once: a commit has hundreds of thousands."""
    joined = b"/".join(names)
    if joined.count(b"/") != max(0, len(names) - 1) or b"\0" in joined or not _NO_FILE_NAMES.isdisjoint(names):
        wrong = next(name for name in names if b"/" in name or b"\0" in name or name in _NO_FILE_NAMES)
        raise MalformedError(f"'{escape(wrong)}' is not a file name")
    try:
        return joined.decode("utf-8").split("/") if names else []
    except UnicodeDecodeError:
        wrong = next(name for name in names if not _is_utf8(name))
        raise MalformedError(f"the file name '{escape(wrong)}' is not UTF-8") from None


def _is_utf8(name: bytes) -> bool:
    return name.decode("utf-8", "replace").encode("utf-8") == name


# File objects


def remember_small(count: int) -> Callable[[Callable[[FileHeader], T]], Callable[[FileHeader], T]]:
    """`lru_cache` of `count` results for functions of a header; those of large headers are not kept."""

    def decorate(function: Callable[[FileHeader], T]) -> Callable[[FileHeader], T]:
        remembered = lru_cache(maxsize=count)(function)

        @wraps(function)
        def call(header: FileHeader) -> T:
            return function(header) if _is_large(header) else remembered(header)

        return call

    return decorate


def _is_large(header: FileHeader) -> bool:
    xattrs, target = header.attributes.xattrs, header.target
    return (target is not None and len(target) > LARGE) or (
        bool(xattrs) and sum(len(name) + len(value) for name, value in xattrs) > LARGE
    )


@remember_small(CACHED)
def encode_file_header(header: FileHeader) -> bytes:
    """What a file checksum begins with: a length prefix, and ``(uuuusa(ayay))``: uid, gid, mode, rdev, target,
    xattrs."""
    return _framed(_owner(header), header)


def encode_archive_header(header: FileHeader, size: int) -> bytes:
    """The head of a ``.filez`` object: a length prefix and ``(tuuuusa(ayay))``, the uncompressed size in front."""
    return _framed(struct.pack(">Q", size) + _owner(header), header)


def _owner(header: FileHeader) -> bytes:
    attributes = header.attributes
    return struct.pack(">IIII", attributes.uid, attributes.gid, attributes.mode | header.file_type, 0)


def _framed(fixed: bytes, header: FileHeader) -> bytes:
    body = fixed + (header.target or "").encode("utf-8") + b"\0"
    variant = gvariant.with_offsets(body + encode_xattrs(header.attributes.xattrs), [len(body)])
    return struct.pack(">II", len(variant), 0) + variant


def decode_archive_header(data: bytes) -> tuple[FileHeader, int, int]:
    """The head of a ``.filez`` object: (header, uncompressed size in bytes, length of the head in bytes).

    `data` may hold more than the head. Raises: MalformedError.
    """
    if len(data) < 8:
        raise MalformedError("an archived file object that ends within its header")
    length = int.from_bytes(data[:4], "big")
    end = 8 + length
    if data[4:8] != bytes(4) or len(data) < end or length < 26:
        raise MalformedError("an archived file object's header is cut or damaged")
    variant = data[8:end]
    width = gvariant.offset_width(length)
    target_end = int.from_bytes(variant[-width:], "little")
    if not 24 < target_end <= length - width or variant[target_end - 1] != 0:
        raise MalformedError("an archived file object's symlink target lies outside of the header")
    size, uid, gid, mode, rdev = struct.unpack_from(">QIIII", variant)
    target = _symlink_target(variant[24 : target_end - 1])
    body = variant[: length - width]
    header = file_header(uid, gid, mode, body[target_end:], target)
    if rdev or (header.target is not None and size) or gvariant.with_offsets(body, [target_end]) != variant:
        raise MalformedError("an archived file object's header is not in normal form")
    return header, size, end


def decode_ostreemeta(data: bytes) -> tuple[int, int, int, bytes]:
    """The xattr ``user.ostreemeta`` of bare-user objects: uid, gid, mode with file type, xattrs as bytes."""
    if len(data) < 12:
        raise MalformedError(f"user.ostreemeta of {len(data)} bytes: expected 12 or more")
    uid, gid, mode = struct.unpack_from(">III", data)
    return uid, gid, mode, data[12:]


def encode_ostreemeta(header: FileHeader) -> bytes:
    """The inverse of `decode_ostreemeta`."""
    attributes = header.attributes
    head = struct.pack(">III", attributes.uid, attributes.gid, attributes.mode | header.file_type)
    return head + encode_xattrs(attributes.xattrs)


def file_header(uid: int, gid: int, mode: int, xattrs: bytes, target: str) -> FileHeader:
    """A header from stored parts; `mode` with its file type, `target` empty for a regular file.

    The checksum is made of sorted `xattrs`, but libostree stores a new SELinux label behind the others: in archive
    repositories to this day (2026.4), in bare-user ones until 2025.1. Raises: MalformedError for any other file type.
    """
    if len(xattrs) > LARGE or len(target) > LARGE:
        return _file_header(uid, gid, mode, xattrs, target)
    return _small_file_header(uid, gid, mode, xattrs, target)


def _file_header(uid: int, gid: int, mode: int, xattrs: bytes, target: str) -> FileHeader:
    kind = stat.S_IFMT(mode)
    if kind not in (stat.S_IFREG, stat.S_IFLNK) or mode & ~(kind | PERMISSIONS):
        raise MalformedError(f"a file object has the mode {mode:o}: expected a regular file's or a symlink's")
    if (kind == stat.S_IFLNK) != bool(target):
        raise MalformedError("a file object with a target that is no symlink, or a symlink without one")
    attributes = Attributes(mode & PERMISSIONS, uid, gid, decode_xattrs(xattrs, in_any_order=True))
    return FileHeader(attributes, target if kind == stat.S_IFLNK else None)


_small_file_header = lru_cache(maxsize=CACHED)(_file_header)


def _symlink_target(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise UnsupportedError(f"the symlink target '{escape(data)}' is not UTF-8") from None


def file_checksum(header: FileHeader, content: bytes = b"") -> str:
    """The checksum of a file object."""
    return hashlib.sha256(encode_file_header(header) + content).hexdigest()


def deflate(content: bytes, level: int) -> bytes:
    """Raw deflate, as ``.filez`` objects hold content."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compressor.compress(content) + compressor.flush()


# Commits


def encode_commit(commit: Commit) -> bytes:
    """``(a{sv}aya(say)sstayay)``; the timestamp is stored big-endian."""
    value: tuple[Any, ...] = (
        commit.metadata,
        bytes.fromhex(commit.parent or ""),
        [],
        commit.subject,
        commit.body,
        _swap(commit.timestamp),
        bytes.fromhex(commit.root_dirtree),
        bytes.fromhex(commit.root_dirmeta),
    )
    return gvariant.encode(_COMMIT, value)


def decode_commit(data: bytes) -> Commit:
    """Raises: MalformedError; UnsupportedError for related objects, which no known writer makes."""
    metadata, parent, related, subject, body, timestamp, dirtree, dirmeta = gvariant.decode(_COMMIT, data)
    if len(parent) not in (0, 32) or len(dirtree) != 32 or len(dirmeta) != 32:
        raise MalformedError("a commit object's checksums are not 32 bytes long")
    if related:
        raise UnsupportedError("a commit object with related objects")
    return Commit(dirtree.hex(), dirmeta.hex(), _swap(timestamp), subject, body, parent.hex() or None, metadata)


def encode_metadata(metadata: Metadata) -> bytes:
    """Detached metadata (``.commitmeta``): ``a{sv}``."""
    return gvariant.encode(_DETACHED, metadata)


def decode_metadata(data: bytes) -> Metadata:
    """The inverse of `encode_metadata`. Raises: MalformedError."""
    metadata: dict[str, Any] = gvariant.decode(_DETACHED, data)
    return metadata


def _swap(number: int) -> int:
    return int.from_bytes(number.to_bytes(8, "little"), "big")
