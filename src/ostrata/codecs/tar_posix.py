"""Tar entries of ordinary layers: POSIX ustar headers, and PAX records where a header has no room.

|                | in the header                                              | else the record  |
|----------------|------------------------------------------------------------|------------------|
| name           | ASCII of 100 bytes, or 155 and 100 around one of its ``/`` | path             |
| link target    | ASCII of 100 bytes                                         | linkpath         |
| uid, gid       | below 2 MiB (7 octal digits)                               | uid, gid         |
| size           | below 8 GiB (11 octal digits)                              | size             |
| time           | from 1970 on, 11 octal digits                              | mtime            |
| device numbers | 7 octal digits: more than any kernel has                   | refused          |

Records stand in the order of their keywords as bytes. What a record says is 0 in the header, a name is cut: readers
take the record. There are no user and group names, and no time of writing: equal entries are equal bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from ostrata.codecs.tar import pax_entry
from ostrata.errors import UnsupportedError, escape

REGULAR, HARD_LINK, SYMLINK = b"0", b"1", b"2"
CHARACTER_DEVICE, BLOCK_DEVICE, DIRECTORY, FIFO = b"3", b"4", b"5", b"6"

_NAME, _PREFIX = 100, 155
_SHORT, _LONG = 0o7777777, 0o77777777777
_BEFORE_DEVICE = b"ustar\x0000" + bytes(64)
_CONSTANT_SUM = sum(_BEFORE_DEVICE) + 8 * ord(" ")
_NO_DEVICE = b"0000000\0" * 2


@dataclass(frozen=True, slots=True)
class PosixEntry:
    """An entry to be written: `kind` is its type letter, `size` in bytes, `mtime` in seconds since 1970.

    `records` are more PAX records, (keyword, value).
    """

    name: bytes
    kind: bytes
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int = 0
    link: bytes = b""
    device: tuple[int, int] = (0, 0)
    records: tuple[tuple[bytes, bytes], ...] = ()


def encode(entry: PosixEntry) -> bytes:
    """The entry's header, and what has to stand before it. Raises: UnsupportedError for what no record can say."""
    records = list(entry.records)
    prefix, name = _split(entry.name) or (b"", _recorded(records, b"path", entry.name))
    link = entry.link
    if len(link) > _NAME or not link.isascii():
        link = _recorded(records, b"linkpath", link)
    uid = _number(records, b"uid", entry.uid, _SHORT)
    gid = _number(records, b"gid", entry.gid, _SHORT)
    size = _number(records, b"size", entry.size, _LONG)
    mtime = _number(records, b"mtime", entry.mtime, _LONG)
    numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (entry.mode, uid, gid, size, mtime)
    device = _device(entry.device)
    checksum = sum(b"".join((name, numbers, entry.kind, link, device, prefix))) + _CONSTANT_SUM
    header = b"".join(
        (
            *(name.ljust(_NAME, b"\0"), numbers, b"%06o\0 " % checksum, entry.kind, link.ljust(_NAME, b"\0")),
            *(_BEFORE_DEVICE, device, prefix.ljust(_PREFIX + 12, b"\0")),
        )
    )
    return pax_entry(_in_order(records)) + header if records else header


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """The prefix and name fields, or None where the name does not fit into them."""
    if not name.isascii():
        return None
    if len(name) <= _NAME:
        return b"", name
    slash = name.rfind(b"/", 1, min(_PREFIX + 1, len(name) - 1))
    if slash < 0 or len(name) - slash - 1 > _NAME:
        return None
    return name[:slash], name[slash + 1 :]


def _recorded(records: list[tuple[bytes, bytes]], keyword: bytes, value: bytes) -> bytes:
    records.append((keyword, value))
    return value[:_NAME]


def _number(records: list[tuple[bytes, bytes]], keyword: bytes, number: int, limit: int) -> int:
    if 0 <= number <= limit:
        return number
    records.append((keyword, b"%d" % number))
    return 0


def _device(device: tuple[int, int]) -> bytes:
    if device == (0, 0):
        return _NO_DEVICE
    if not all(0 <= number <= _SHORT for number in device):
        raise UnsupportedError(f"a tar holds no device with the numbers {device[0]}:{device[1]}")
    return b"%07o\0%07o\0" % device


def _in_order(records: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    for keyword, _ in records:
        if b"=" in keyword:
            raise UnsupportedError(f"a tar holds no extended attribute with '=' in its name, '{escape(keyword)}'")
    return sorted(records)
