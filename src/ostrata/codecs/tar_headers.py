"""Tar headers of an archive of plain files: POSIX ustar written, ustar, GNU and PAX read.

Other fields than name, size and type say nothing about an archive of a layout: written they are constant
(mode 0644 or 0755, owner 0, time 0), read they are ignored. A size of 8 GiB or more is base-256, as GNU tar
and Go write it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ostrata.errors import MalformedError, UnsupportedError, escape

BLOCK = 512
END = bytes(2 * BLOCK)

_MAX_OCTAL = 0o77777777777
_MAX_SIZE = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Header:
    """A member's name, size in bytes, type letter (`0` for every regular file), and what it links to, if it does."""

    name: str
    size: int
    kind: str
    target: str = ""


def padded(size: int) -> int:
    """`size` rounded up to whole blocks."""
    return -(-size // BLOCK) * BLOCK


def encode_header(header: Header) -> bytes:
    """The block of a file or directory; its name has at most 100 bytes."""
    name = header.name.encode("utf-8", "surrogateescape")
    if len(name) > 100:
        raise UnsupportedError(f"expected a name of at most 100 bytes, found {len(name)}", where=escape(name))
    mode = b"0000755\0" if header.kind == "5" else b"0000644\0"
    block = struct.pack(
        "100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12x",
        *(name, mode, b"0000000\0", b"0000000\0", _encode_size(header.size), b"00000000000\0", b" " * 8),
        *(header.kind.encode(), b"", b"ustar\x0000", b"", b"", b"0000000\0", b"0000000\0", b""),
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def decode_header(block: bytes) -> Header:
    """Raises: MalformedError for a block whose checksum, size or name is wrong."""
    expected = sum(block[:148]) + 8 * ord(" ") + sum(block[156:])
    found = _decode_octal(block[148:156])
    if found != expected:
        raise MalformedError(f"expected the tar header checksum {expected:o}, found {found:o}")
    kind = chr(block[156])
    target = block[157:257].partition(b"\0")[0].decode("utf-8", "surrogateescape")
    return Header(_decode_name(block), _decode_size(block[124:136]), "0" if kind in "\x007" else kind, target)


def decode_pax(data: bytes) -> dict[str, str]:
    """The records ``LENGTH KEY=VALUE`` newline. Raises: MalformedError, also for a repeated key."""
    records: dict[str, str] = {}
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 12)
        digits = data[position:space] if space >= 0 else b""
        end = position + int(digits) if digits.isdigit() else 0
        key, equals, value = data[space + 1 : end - 1].decode("utf-8", "surrogateescape").partition("=")
        if not space < end <= len(data) or data[end - 1 : end] != b"\n" or not equals or key in records:
            raise MalformedError(f"a PAX record that is damaged or repeated, at byte {position}")
        records[key] = value
        position = end
    return records


def _encode_size(size: int) -> bytes:
    if size <= _MAX_OCTAL:
        return b"%011o\0" % size
    return (size | 1 << 95).to_bytes(12, "big")


def _decode_size(field: bytes) -> int:
    if field[0] == 0x80:
        size = int.from_bytes(field[1:], "big")
        if size > _MAX_SIZE:
            raise MalformedError("a tar header with a size beyond 8 EiB")
        return size
    return _decode_octal(field)


def _decode_octal(field: bytes) -> int:
    digits = field.strip(b" \0")
    if digits and (not digits.isdigit() or max(digits) > ord("7")):
        raise MalformedError(f"expected octal digits in a tar header, found '{escape(field)}'")
    return int(digits or b"0", 8)


def _decode_name(block: bytes) -> str:
    name = block[:100].partition(b"\0")[0]
    prefix = block[345:500].partition(b"\0")[0]
    if block[257:265] == b"ustar\x0000" and prefix:
        name = prefix + b"/" + name
    return name.decode("utf-8", "surrogateescape")
