"""A strict walker over a tar stream: POSIX ustar and PAX, GNU, and the old V7 format.

The format (POSIX.1-2024, pax: "ustar Interchange Format" and "pax Interchange Format"; GNU tar manual,
"Basic Tar Format"):

* Blocks of 512 bytes. An entry is a header block, then its content padded to whole blocks. Two zero blocks
  end the archive; only zeros may follow.
* A header has fixed fields. Numbers are octal text, or base-256 when the first bit is set (GNU). The
  checksum is the sum of the header's bytes with its own field read as spaces.
* What does not fit in a header comes in entries before it: `L` and `K` (GNU) hold a long name and a long
  link target, `x` (PAX) records ``LENGTH KEY=VALUE\\n`` for the next entry, `g` records for all entries from
  here on.

Lenient readers disagree about damaged archives, and what one reader skips another extracts. So every doubt
is an error here, with its offset in the tar: a wrong checksum, a stream that ends early, an archive that is
not ended, a key or a name given twice, sizes where no content can be. Text fields end at their first NUL;
what stands behind it has no meaning (some writers leave old bytes there). Content is never held: it passes
through as views of the caller's pieces.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from zlib import adler32

from ostrata.errors import LimitError, MalformedError, OstrataError, UnsupportedError, escape

BLOCK = 512
MAX_NAME = 4096
"""Bytes of the longest path or link target (Linux: PATH_MAX)."""
MAX_EXTENDED = 1 << 20
"""Bytes of the largest `x`, `g`, `L` or `K` entry."""
MAX_GLOBAL_RECORDS = 256
MAX_SIZE = 1 << 44
"""Bytes of the largest content that is read unless the caller says otherwise: ext4's largest file."""

XATTR_PREFIX = "SCHILY.xattr."
"""What PAX keys of extended attributes begin with."""

_ZEROS = bytes(BLOCK)
_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s64s8s8s155s12s")
_V7, _POSIX, _GNU = bytes(8), b"ustar\x0000", b"ustar  \0"
_CHECKSUM_AS_SPACES = 8 * ord(" ")
_OCTAL = re.compile(rb" *([0-7]+)[ \0]*")
_DECIMAL = re.compile(rb"[0-9]{1,20}")
_TIME = re.compile(rb"(-?[0-9]{1,20})(\.[0-9]*)?")
_RECORD_LENGTH = re.compile(rb"([1-9][0-9]{0,7}) ")
_LAST_ID = 0xFFFFFFFF
_LAST_SIZE = (1 << 63) - 1
_GLOBAL_FORBIDDEN = ("path", "linkpath", "size")


class Kind(Enum):
    """What an entry is."""

    FILE = "file"
    HARD_LINK = "hard link"
    SYMLINK = "symlink"
    CHARACTER_DEVICE = "character device"
    BLOCK_DEVICE = "block device"
    DIRECTORY = "directory"
    FIFO = "fifo"


_KINDS = {
    b"\0": Kind.FILE,
    b"0": Kind.FILE,
    b"1": Kind.HARD_LINK,
    b"2": Kind.SYMLINK,
    b"3": Kind.CHARACTER_DEVICE,
    b"4": Kind.BLOCK_DEVICE,
    b"5": Kind.DIRECTORY,
    b"6": Kind.FIFO,
}
_EXTENSIONS = {b"L": "long name", b"K": "long link target", b"x": "PAX header", b"g": "global PAX header"}
_LINKS = (Kind.HARD_LINK, Kind.SYMLINK)
_DEVICES = (Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE)
_NO_RECORDS: Mapping[str, bytes] = {}


@dataclass(frozen=True, slots=True)
class TarEntry:
    """An entry's metadata, with what PAX and GNU extensions say taken in.

    `path` is as stored, a leading ``./`` and a directory's trailing ``/`` included (see
    `tar_paths.normalise`); `mode` has the permission bits only. `size` is the content's length in bytes, 0
    for all but files. `mtime` is in whole seconds since 1970. `link_target` is empty for all but links,
    `device` (major, minor) for all but devices. `pax` has all PAX records that apply, known or not. `offset`
    is where the entry's own header begins in the tar.
    """

    path: str
    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    link_target: str
    device: tuple[int, int]
    pax: Mapping[str, bytes]
    offset: int


class Content:
    """An entry's content: an iterator of views into the caller's pieces.

    What is not taken is skipped when the walker goes on; afterwards there is nothing left to take.
    """

    __slots__ = ("_left", "_stream")

    def __init__(self, stream: _Stream, size: int) -> None:
        self._stream = stream
        self._left = size

    def __iter__(self) -> Content:
        return self

    def __next__(self) -> memoryview:
        if not self._left:
            raise StopIteration
        piece = self._stream.piece(self._left)
        self._left -= len(piece)
        return piece

    def skip(self) -> None:
        """Pass over what is left."""
        while self._left:
            next(self)


def read_members(chunks: Iterable[bytes], *, max_size: int = MAX_SIZE) -> Iterator[tuple[TarEntry, Content]]:
    """The entries of a tar, each with its content, in order.

    `chunks` are the tar's bytes, cut anywhere; `max_size` is the most bytes an entry's content may have.
    Pieces of content are views of the chunks: take what you keep before the walker goes on, if your chunks
    are buffers that you use again.

    Raises, while iterating: MalformedError, UnsupportedError (unknown or sparse entries), LimitError; each
    with the offset in the tar.
    """
    stream = _Stream(chunks)
    reader = _HeaderReader(stream, max_size)
    while True:
        entry = reader.next_entry()
        if entry is None:
            return
        content = Content(stream, entry.size)
        yield entry, content
        content.skip()
        stream.skip_padding(entry.size)


class _Stream:
    """The tar's bytes with a position."""

    __slots__ = ("_at", "_chunks", "_view", "offset")

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._view = memoryview(b"")
        self._at = 0
        self.offset = 0

    def _more(self) -> bool:
        """Make sure that the current view has a byte left. False at the end."""
        while self._at == len(self._view):
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self._view = memoryview(chunk)
            self._at = 0
        return True

    def piece(self, most: int) -> memoryview:
        """Between 1 and `most` bytes, uncopied. Raises: MalformedError at the end."""
        if not self._more():
            raise MalformedError("the tar ends within an entry", where=f"offset {self.offset}")
        piece = self._view[self._at : self._at + most]
        self._at += len(piece)
        self.offset += len(piece)
        return piece

    def take(self, count: int) -> bytes:
        """Exactly `count` bytes. Raises: MalformedError when there are fewer."""
        end = self._at + count
        if end <= len(self._view):
            data = bytes(self._view[self._at : end])
            self._at = end
            self.offset += count
            return data
        gathered = bytearray()
        while len(gathered) < count:
            gathered += self.piece(count - len(gathered))
        return bytes(gathered)

    def skip_padding(self, size: int) -> None:
        """Pass over what pads `size` bytes of content to whole blocks."""
        padding = -size % BLOCK
        if padding:
            self.take(padding)

    def is_at_end(self) -> bool:
        return not self._more()


class _Pending:
    """What the extension entries say about the entry that follows them."""

    __slots__ = ("kinds", "link", "name", "records")

    def __init__(self) -> None:
        self.kinds: list[bytes] = []
        self.name: bytes | None = None
        self.link: bytes | None = None
        self.records: Mapping[str, bytes] = _NO_RECORDS


_NOTHING_PENDING = _Pending()


class _HeaderReader:
    """Reads headers up to the next entry of the archive proper."""

    def __init__(self, stream: _Stream, max_size: int) -> None:
        self._stream = stream
        self._max_size = max_size
        self._global: Mapping[str, bytes] = _NO_RECORDS

    def next_entry(self) -> TarEntry | None:
        """The next entry, or None at the end of the archive."""
        pending = _NOTHING_PENDING
        while True:
            offset = self._stream.offset
            try:
                fields = self._next_header(pending)
                if fields is None:
                    return None
                if fields[7] not in _EXTENSIONS:
                    return self._entry(fields, pending, offset)
                if pending is _NOTHING_PENDING:
                    pending = _Pending()
                self._read_extension(fields, pending)
            except OstrataError as error:
                if not error.places or not error.places[-1].startswith("offset "):
                    error.places.append(f"offset {offset}")
                raise

    def _next_header(self, pending: _Pending) -> tuple[bytes, ...] | None:
        if self._stream.is_at_end():
            raise MalformedError("the tar ends without its two zero blocks")
        block = self._stream.take(BLOCK)
        if block == _ZEROS:
            self._check_end(pending)
            return None
        fields = _HEADER.unpack(block)
        stored = _octal(fields[6])
        actual = _byte_sum(block) - sum(fields[6]) + _CHECKSUM_AS_SPACES
        if stored != actual:
            raise MalformedError(f"expected a header with the checksum {actual:o}, found {_shown(fields[6])}")
        if fields[9] not in (_GNU, _POSIX, _V7):
            raise MalformedError(f"expected a tar header's magic, found {_shown(fields[9])}")
        return fields

    def _check_end(self, pending: _Pending) -> None:
        if pending.kinds:
            raise MalformedError(f"a {_EXTENSIONS[pending.kinds[-1]]} at the end, without its entry")
        if self._stream.is_at_end() or self._stream.take(BLOCK) != _ZEROS:
            raise MalformedError("a lone zero block: expected two at the end of the tar")
        while not self._stream.is_at_end():
            offset = self._stream.offset
            rest = bytes(self._stream.piece(1 << 16))
            if rest.strip(b"\0"):
                position = offset + len(rest) - len(rest.lstrip(b"\0"))
                raise MalformedError("data after the end of the tar", where=f"offset {position}")

    # Extension entries

    def _read_extension(self, fields: tuple[bytes, ...], pending: _Pending) -> None:
        kind = fields[7]
        size = _size(fields[4])
        if size > MAX_EXTENDED:
            raise LimitError(f"expected a {_EXTENSIONS[kind]} of at most {MAX_EXTENDED} bytes, found {size}")
        if kind in pending.kinds:
            raise MalformedError(f"two {_EXTENSIONS[kind]}s for one entry")
        if kind == b"g" and pending.kinds:
            raise MalformedError(f"a {_EXTENSIONS[pending.kinds[-1]]} without its entry: a global PAX header follows")
        data = self._stream.take(size)
        self._stream.skip_padding(size)
        if kind == b"g":
            self._add_global(_records(data))
            return
        pending.kinds.append(kind)
        if kind == b"x":
            pending.records = _records(data)
        elif kind == b"L":
            pending.name = _long_text(data)
        else:
            pending.link = _long_text(data)

    def _add_global(self, records: Mapping[str, bytes]) -> None:
        for key in _GLOBAL_FORBIDDEN:
            if key in records:
                raise UnsupportedError(f"a global PAX header with '{key}', which readers take differently")
        merged = {key: value for key, value in {**self._global, **records}.items() if value}
        if len(merged) > MAX_GLOBAL_RECORDS:
            raise LimitError(f"expected at most {MAX_GLOBAL_RECORDS} global PAX records, found {len(merged)}")
        self._global = merged

    # Entries

    def _entry(self, fields: tuple[bytes, ...], pending: _Pending, offset: int) -> TarEntry:
        kind = _kind(fields)
        records = pending.records
        if self._global:
            records = {**self._global, **records}
        path = _path(fields, pending)
        if kind is Kind.FILE and path.endswith("/"):
            if fields[7] != b"\0":
                raise MalformedError(f"a file with the name of a directory, '{escape(path)}'")
            kind = Kind.DIRECTORY  # V7 has no other way to say so
        size = _size(fields[4])
        mode, uid, gid, mtime = _number(fields[1]), _number(fields[2]), _number(fields[3]), _number(fields[5])
        if records:
            uid, gid = _pax_number(records, "uid", uid), _pax_number(records, "gid", gid)
            size, mtime = _pax_number(records, "size", size), _pax_time(records, mtime)
        self._check_numbers(kind, size, mode, uid, gid)
        link = _link_target(fields, pending, kind) if kind in _LINKS else _no_link(pending)
        device = (_number(fields[11]), _number(fields[12])) if kind in _DEVICES else (0, 0)
        return TarEntry(path, kind, mode & 0o7777, uid, gid, size, mtime, link, device, records, offset)

    def _check_numbers(self, kind: Kind, size: int, mode: int, uid: int, gid: int) -> None:
        if size and kind is not Kind.FILE:
            raise MalformedError(f"a {kind.value} with a size: expected 0, found {size}")
        if size > self._max_size:
            if size > _LAST_SIZE:
                raise MalformedError(f"expected a size below 8 EiB, found {size}")
            raise LimitError(f"expected a size of at most {self._max_size} bytes, found {size}")
        if mode > 0o177777 or uid > _LAST_ID or gid > _LAST_ID or mode < 0 or uid < 0 or gid < 0:
            raise MalformedError(f"mode {mode:o}, uid {uid} or gid {gid} is out of range")


def _kind(fields: tuple[bytes, ...]) -> Kind:
    kind = _KINDS.get(fields[7])
    if kind is None:
        what = "a sparse file (GNU)" if fields[7] == b"S" else f"an entry of the unknown type {_shown(fields[7])}"
        raise UnsupportedError(what)
    return kind


def _path(fields: tuple[bytes, ...], pending: _Pending) -> str:
    """The entry's name: from an `x` or `L` entry, else from the header, with ustar's prefix in front."""
    recorded = pending.records.get("path")
    if recorded is not None or pending.name is not None:
        if recorded is not None and pending.name is not None:
            raise MalformedError("a name given twice, in a PAX header and in a long name")
        return _name(recorded if recorded is not None else pending.name or b"", "name")
    name = _text(fields[0])
    if fields[9] == _POSIX:
        if fields[14] != _ZEROS[:12]:
            raise MalformedError("a ustar header with data behind its prefix")
        prefix = _text(fields[13])
        if prefix:
            name = prefix + b"/" + name
    return _name(name, "name")


def _link_target(fields: tuple[bytes, ...], pending: _Pending, kind: Kind) -> str:
    recorded = pending.records.get("linkpath")
    if recorded is not None and pending.link is not None:
        raise MalformedError("a link target given twice, in a PAX header and in a long link target")
    if recorded is None:
        recorded = pending.link
    return _name(_text(fields[8]) if recorded is None else recorded, f"{kind.value}'s target")


def _no_link(pending: _Pending) -> str:
    if pending.link is not None or "linkpath" in pending.records:
        raise MalformedError("a link target for an entry that is no link")
    return ""


def _name(name: bytes, what: str) -> str:
    if not name:
        raise MalformedError(f"an entry whose {what} is empty")
    if len(name) > MAX_NAME:
        raise LimitError(f"expected a {what} of at most {MAX_NAME} bytes, found {len(name)}")
    if b"\0" in name:
        raise MalformedError(f"a {what} with a NUL, '{escape(name[:80])}'")
    return name.decode("utf-8", "surrogateescape")


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _long_text(data: bytes) -> bytes:
    """The value of an `L` or `K` entry, which ends in a NUL."""
    value = data.rstrip(b"\0")
    if b"\0" in value:
        raise MalformedError(f"a long name with a NUL, '{escape(value[:80])}'")
    return value


# Numbers


def _byte_sum(block: bytes) -> int:
    """The sum of a block's bytes: Adler-32's lower half is 1 + that sum, modulo 65521, which 256 bytes
    cannot reach."""
    return (adler32(block[:256]) & 0xFFFF) + (adler32(block[256:]) & 0xFFFF) - 2


def _size(field: bytes) -> int:
    size = _number(field)
    if size < 0:
        raise MalformedError(f"a negative size, {size}")
    if not field.strip(b" \0"):
        raise MalformedError("an empty size field")
    return size


@lru_cache(maxsize=4096)
def _number(field: bytes) -> int:
    """Octal digits, or base-256 in two's complement when the first bit is set; an empty field is 0."""
    if field[0] & 0x80:
        bits = 8 * len(field) - 1
        number = int.from_bytes(field, "big") & ((1 << bits) - 1)
        return number - (1 << bits) if number >> (bits - 1) else number
    return _octal(field) if field.strip(b" \0") else 0


def _octal(field: bytes) -> int:
    match = _OCTAL.fullmatch(field)
    if match is None:
        raise MalformedError(f"expected an octal number, found {_shown(field)}")
    return int(match[1], 8)


def _shown(field: bytes) -> str:
    return f"'{escape(field)}'"


# PAX records


def _records(data: bytes) -> Mapping[str, bytes]:
    """``LENGTH KEY=VALUE\\n``, where LENGTH counts the whole record."""
    records: dict[str, bytes] = {}
    position = 0
    while position < len(data):
        match = _RECORD_LENGTH.match(data, position)
        end = position + int(match[1]) if match else 0
        if match is None or not match.end() < end <= len(data) or data[end - 1] != 0x0A:
            raise MalformedError(f"a PAX record with a wrong length, {_shown(data[position : position + 40])}")
        packed_key, equals, value = data[match.end() : end - 1].partition(b"=")
        if not equals or not packed_key or b"\0" in packed_key:
            raise MalformedError(f"a PAX record without a key, {_shown(data[position : position + 40])}")
        key = packed_key.decode("utf-8", "surrogateescape")
        if key in records:
            raise MalformedError(f"the PAX key '{escape(key)}' twice in one header")
        if key.startswith("GNU.sparse."):
            raise UnsupportedError("a sparse file (PAX)")
        records[key] = value
        position = end
    return records


def _pax_number(records: Mapping[str, bytes], key: str, otherwise: int) -> int:
    value = records.get(key)
    if not value:  # an empty value takes the record back
        return otherwise
    if _DECIMAL.fullmatch(value) is None:
        raise MalformedError(f"expected a decimal number for the PAX key '{key}', found {_shown(value[:80])}")
    return int(value)


def _pax_time(records: Mapping[str, bytes], otherwise: int) -> int:
    value = records.get("mtime")
    if not value:
        return otherwise
    match = _TIME.fullmatch(value)
    if match is None:
        raise MalformedError(f"expected a time for the PAX key 'mtime', found {_shown(value[:80])}")
    seconds = int(match[1])
    has_fraction = bool((match[2] or b"").strip(b".0"))
    return seconds - 1 if value.startswith(b"-") and has_fraction else seconds
