"""GVariant, the serialisation format of GLib and OSTree (GVariant Specification 1.0), little-endian.

Rules that shape the code:

* Every type has an alignment; values are padded to it relative to the start of their container.
* A container of variable-size members ends with *framing offsets*: the end positions of those members. Arrays store one
  per element in order; tuples one per variable-size member but the last, in reverse order.
* An offset is 1, 2, 4 or 8 bytes wide, decided by the container's total length; each container has its own.
* Only *normal form* is accepted: `decode` re-encodes and compares, so that each value has exactly one encoding.

Python values: bool, int, float, str for s/o/g, bytes for ay, tuple for tuples, list for arrays, dict for a{..} (in
order), Variant for v, None or the value for maybe types.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ostrata.errors import LimitError, MalformedError, escape
from ostrata.model.ostree import Variant

MAX_DEPTH = 32
MAX_TYPE = 1024
"""Characters of the longest type: a variant brings its own."""
MAX_VALUES = 1 << 20
"""The most values inside each other and side by side: one takes a byte of data, and many times that in memory."""

_FIXED = {
    "b": ("?", 1),
    "y": ("B", 1),
    "n": ("<h", 2),
    "q": ("<H", 2),
    "i": ("<i", 4),
    "u": ("<I", 4),
    "x": ("<q", 8),
    "t": ("<Q", 8),
    "d": ("<d", 8),
    "h": ("<i", 4),
}
_STRINGS = "sog"
_OFFSET_CODES = {2: "H", 4: "I", 8: "Q"}


@dataclass(frozen=True, slots=True)
class _Type:
    """A parsed type: `kind` is its first character ('(' tuple, '{' dict entry, 'a' array, 'm' maybe)."""

    kind: str
    members: tuple[_Type, ...]
    alignment: int
    fixed_size: int | None


def encode(type_string: str, value: Any) -> bytes:
    """The normal form of `value`. Raises: MalformedError when the value does not fit the type."""
    try:
        return _encode(_parse_type(type_string), value)
    except (struct.error, TypeError, ValueError, AttributeError) as error:
        raise MalformedError(f"a value does not fit the GVariant type {type_string}: {error}") from error


def decode(type_string: str, data: bytes) -> Any:
    """The value of `data`.

    Raises: MalformedError when `data` is not the normal form of a value of that type; LimitError for too many values or
    for a variant's type that is too long.
    """
    kind = _parse_type(type_string)
    try:
        value = _decode(kind, data, _Bounds(MAX_VALUES))
    except (struct.error, UnicodeDecodeError, IndexError) as error:
        raise MalformedError(f"broken GVariant of type {type_string}: {error}") from error
    if encode(type_string, value) != data:
        raise MalformedError(f"a GVariant of type {type_string} is not in normal form")
    return value


def offset_width(length: int) -> int:
    """How wide the framing offsets of a container of `length` bytes are."""
    if length <= 0xFF:
        return 1
    if length <= 0xFFFF:
        return 2
    return 4 if length <= 0xFFFFFFFF else 8


def with_offsets(body: bytes, offsets: Sequence[int]) -> bytes:
    """`body` followed by its framing offsets, in the narrowest width that fits."""
    for width in (1, 2, 4, 8):
        if len(body) + width * len(offsets) <= (1 << 8 * width) - 1:
            return body + b"".join(offset.to_bytes(width, "little") for offset in offsets)
    raise MalformedError("a GVariant container of more than 2^64 bytes")


def is_narrowest(width: int, body: int, count: int) -> bool:
    """Would a writer choose offsets of `width` bytes for `count` of them behind `body` bytes?"""
    return width == 1 or body + (width // 2) * count > (1 << 4 * width) - 1


def array_ends(data: bytes) -> Sequence[int]:
    """The element end positions of an array of variable-size elements. Raises: MalformedError."""
    if not data:
        return ()
    width = offset_width(len(data))
    table = int.from_bytes(data[-width:], "little")
    if table > len(data) or (len(data) - table) % width:
        raise MalformedError("a GVariant array's offsets lie outside of it")
    count = (len(data) - table) // width
    if not is_narrowest(width, table, count):
        raise MalformedError("a GVariant array is not in normal form")
    ends = data[table:] if width == 1 else struct.unpack(f"<{count}{_OFFSET_CODES[width]}", data[table:])
    if max(ends, default=0) > table:
        raise MalformedError("a GVariant array's element lies outside of it")
    return ends


@lru_cache(maxsize=512)
def _parse_type(text: str) -> _Type:
    if len(text) > MAX_TYPE:
        raise LimitError(f"expected a GVariant type of at most {MAX_TYPE} characters, found {len(text)}")
    kind, rest = _parse_one(text, 0)
    if rest:
        raise MalformedError(f"'{escape(text[:80])}' is not one GVariant type")
    return kind


def _parse_one(text: str, depth: int) -> tuple[_Type, str]:
    if not text or depth > MAX_DEPTH:
        raise MalformedError("a GVariant type that ends early or nests too deeply")
    first, rest = text[0], text[1:]
    if first in _FIXED:
        size = _FIXED[first][1]
        return _Type(first, (), size, size), rest
    if first in _STRINGS:
        return _Type(first, (), 1, None), rest
    if first == "v":
        return _Type("v", (), 8, None), rest
    if first in "am":
        member, rest = _parse_one(rest, depth + 1)
        return _Type(first, (member,), member.alignment, None), rest
    if first in "({":
        return _parse_members(first, rest, depth)
    raise MalformedError(f"unknown GVariant type '{escape(text[:80])}'")


def _parse_members(first: str, rest: str, depth: int) -> tuple[_Type, str]:
    closing = ")" if first == "(" else "}"
    members = []
    while not rest.startswith(closing):
        member, rest = _parse_one(rest, depth + 1)
        members.append(member)
    if first == "{" and (len(members) != 2 or members[0].kind in "amv({"):
        raise MalformedError("a GVariant dictionary entry needs a basic key and one value")
    alignment = max((member.alignment for member in members), default=1)
    return _Type(first, tuple(members), alignment, _tuple_size(members, alignment)), rest[1:]


def _tuple_size(members: list[_Type], alignment: int) -> int | None:
    if not members:
        return 1  # the unit tuple is one zero byte
    position = 0
    for member in members:
        if member.fixed_size is None:
            return None
        position = _align(position, member.alignment) + member.fixed_size
    return _align(position, alignment)


def _align(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment


# Encoding


def _encode(kind: _Type, value: Any) -> bytes:
    code = kind.kind
    if code in _FIXED:
        return struct.pack(_FIXED[code][0], value)
    if code in _STRINGS:
        encoded: bytes = value.encode("utf-8")
        if b"\0" in encoded:
            raise ValueError("a string with a NUL")
        return encoded + b"\0"
    if code == "v":
        return _encode_variant(value)
    if code == "m":
        return _encode_maybe(kind.members[0], value)
    if code == "a":
        return _encode_array(kind.members[0], value)
    return _encode_tuple(kind, value)


def _encode_variant(value: Variant) -> bytes:
    return _encode(_parse_type(value.type), value.value) + b"\0" + value.type.encode("ascii")


def _encode_maybe(member: _Type, value: Any) -> bytes:
    if value is None:
        return b""
    return _encode(member, value) + (b"" if member.fixed_size else b"\0")


def _encode_array(member: _Type, value: Any) -> bytes:
    if member.kind == "y":
        return bytes(value)
    elements = value.items() if member.kind == "{" else value
    body = bytearray()
    ends = []
    for element in elements:
        body += bytes(-len(body) % member.alignment)
        body += _encode(member, element)
        ends.append(len(body))
    return bytes(body) if member.fixed_size is not None else with_offsets(bytes(body), ends)


def _encode_tuple(kind: _Type, value: Any) -> bytes:
    if len(value) != len(kind.members):
        raise ValueError(f"expected {len(kind.members)} members, found {len(value)}")
    body = bytearray()
    ends = []
    for position, (member, item) in enumerate(zip(kind.members, value, strict=True)):
        body += bytes(-len(body) % member.alignment)
        body += _encode(member, item)
        if member.fixed_size is None and position != len(kind.members) - 1:
            ends.append(len(body))
    if kind.fixed_size is not None:
        return bytes(body) + bytes(kind.fixed_size - len(body))
    return with_offsets(bytes(body), ends[::-1])


# Decoding: lenient in detail, since `decode` compares the re-encoding; strict about bounds.


class _Bounds:
    """How many more values there may be."""

    __slots__ = ("values",)

    def __init__(self, values: int) -> None:
        self.values = values

    def take(self, depth: int) -> None:
        """One more, inside of `depth` others."""
        self.values -= 1
        if self.values < 0:
            raise LimitError(f"expected a GVariant of at most {MAX_VALUES:,} values, found more")
        if depth > MAX_DEPTH:
            raise MalformedError("a GVariant that nests too deeply")


def _decode(kind: _Type, data: bytes, bounds: _Bounds, depth: int = 0) -> Any:
    code = kind.kind
    bounds.take(depth)
    if code in _FIXED:
        return struct.unpack(_FIXED[code][0], data)[0]
    if code in _STRINGS:
        return data[:-1].decode("utf-8")
    if code == "v":
        return _decode_variant(data, bounds, depth)
    if code == "m":
        return _decode_maybe(kind.members[0], data, bounds, depth)
    if code == "a":
        return _decode_array(kind.members[0], data, bounds, depth)
    return _decode_tuple(kind, data, bounds, depth)


def _decode_variant(data: bytes, bounds: _Bounds, depth: int) -> Variant:
    end = data.rfind(b"\0")
    if end < 0:
        raise MalformedError("a GVariant variant without a type")
    type_string = data[end + 1 :].decode("ascii", "replace")
    return Variant(type_string, _decode(_parse_type(type_string), data[:end], bounds, depth + 1))


def _decode_maybe(member: _Type, data: bytes, bounds: _Bounds, depth: int) -> Any:
    if not data:
        return None
    return _decode(member, data if member.fixed_size else data[:-1], bounds, depth + 1)


def _decode_array(member: _Type, data: bytes, bounds: _Bounds, depth: int) -> Any:
    if member.kind == "y":
        return data
    items = [_decode(member, piece, bounds, depth + 1) for piece in _elements(member, data)]
    if member.kind != "{":
        return items
    mapping = dict(items)
    if len(mapping) != len(items):
        raise MalformedError("a GVariant dictionary with a key twice")
    return mapping


def _elements(member: _Type, data: bytes) -> Iterator[bytes]:
    if member.fixed_size is not None:
        for start in range(0, len(data), member.fixed_size):
            yield data[start : start + member.fixed_size]
        return
    start = 0
    for end in array_ends(data):
        start = _align(start, member.alignment)
        yield _slice(data, start, end)
        start = end


def _decode_tuple(kind: _Type, data: bytes, bounds: _Bounds, depth: int) -> tuple[Any, ...]:
    if not kind.members:
        return ()
    width = offset_width(len(data))
    table = len(data)
    start = 0
    values = []
    last = len(kind.members) - 1
    variable = sum(1 for member in kind.members[:-1] if member.fixed_size is None)
    body_end = len(data) - width * variable
    for position, member in enumerate(kind.members):
        start = _align(start, member.alignment)
        if member.fixed_size is not None:
            end = start + member.fixed_size
        elif position == last:
            end = body_end
        else:
            table -= width
            end = int.from_bytes(_slice(data, table, table + width), "little")
        values.append(_decode(member, _slice(data, start, end), bounds, depth + 1))
        start = end
    return tuple(values)


def _slice(data: bytes, start: int, end: int) -> bytes:
    if not 0 <= start <= end <= len(data):
        raise MalformedError("a GVariant member lies outside of its container")
    return data[start:end]
