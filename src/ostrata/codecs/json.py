"""JSON, strictly read (RFC 8259, and RFC 7493 where it is stricter) and canonically written (RFC 8785).

Python's parser accepts more than other readers do: a byte order mark, `NaN`, repeated keys (the last wins),
integers of any length, halves of surrogate pairs. A document that two readers understand differently is
refused here, with the path of keys to the place. The fast way reads everything once and only notices that
something is wrong; the place is then looked for by a second, slower reading.

The canonical form: UTF-8, no white space, keys sorted by their UTF-16 code units, integers only; in strings
only the quote, the backslash and control characters are escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ostrata.errors import LimitError, MalformedError, escape, within

MAX_DIGITS = 20
"""Digits of the longest integer that is read: those of an unsigned 64-bit one."""

_SHOWN = 100
_KINDS = {
    dict: "an object",
    list: "a list",
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_BOM = b"\xef\xbb\xbf"


def decode(data: bytes, *, what: str, limit: int, allow_floats: bool = False) -> Any:
    """The value of the JSON document `data`; `what` names it in errors, `limit` is in bytes.

    Raises: MalformedError naming the place; LimitError for a document of more than `limit` bytes.
    """
    with within(what):
        if len(data) > limit:
            raise LimitError(f"expected at most {limit:,} bytes, found {len(data):,}")
        text = _decode_text(data)
        try:
            return _decode_value(text, allow_floats)
        except json.JSONDecodeError as error:
            message = escape(error.msg[:1].lower() + error.msg[1:]).rstrip(": ")
            raise MalformedError(f"not JSON: {message}, line {error.lineno} column {error.colno}") from None
        except RecursionError:
            raise MalformedError("nested too deeply") from None


def encode_canonical(value: Any, *, allow_floats: bool = False) -> bytes:
    """`value` (of str, int, bool, None, mappings with str keys, lists and tuples) as canonical JSON.

    With `allow_floats`, other people's numbers with a fraction pass, as the shortest digits that mean them.
    Raises: MalformedError naming the place of a number with a fraction or a half of a surrogate pair.
    """
    try:
        ordered = _ordered(value, (), allow_floats)
        return _ENCODER.encode(ordered).encode("utf-8")
    except RecursionError:
        raise MalformedError("nested too deeply") from None


def malformed(message: str, *place: str | int) -> MalformedError:
    """A MalformedError at the path of keys and list positions `place`."""
    error = MalformedError(message)
    error.places = [_show_step(step) for step in reversed(place)]
    return error


def show(text: str) -> str:
    """`text` in quotes for an error: escaped, and cut when it is long."""
    return f"'{escape(text)}'" if len(text) <= _SHOWN else f"'{escape(text[:_SHOWN])}...'"


def kind(value: Any) -> str:
    """What a JSON value is, for an error: `a string`, `null`, ..."""
    return _KINDS[type(value)]


def _show_step(step: str | int) -> str:
    return f"[{step}]" if isinstance(step, int) else escape(step[:_SHOWN])


# Reading


def _decode_text(data: bytes) -> str:
    if data.startswith(_BOM):
        raise MalformedError("expected UTF-8 without a byte order mark, found one")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError(f"expected UTF-8, found byte 0x{data[error.start]:02x} at offset {error.start}") from None


class _DoubtError(Exception):
    """The fast reading met something to refuse."""


def _decode_value(text: str, allow_floats: bool) -> Any:
    try:
        value = json.loads(
            text,
            object_pairs_hook=_decode_object,
            parse_int=_decode_integer,
            parse_float=_decode_float if allow_floats else _doubt,
            parse_constant=_doubt,
        )
    except _DoubtError:
        raise _find_fault(text, allow_floats) from None
    if _SURROGATE_ESCAPE.search(text):
        for path, string in _strings(value, ()):
            if _SURROGATE.search(string):
                raise malformed(f"half of a surrogate pair in {show(string)}", *path)
    return value


def _decode_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _DoubtError
    return members


def _decode_integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise _DoubtError
    return int(digits)


def _decode_float(digits: str) -> float:
    number = float(digits)
    if number - number != 0:  # beyond the largest float: infinite
        raise _DoubtError
    return number


def _doubt(_: str) -> Any:
    raise _DoubtError


def _strings(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, member in value.items():
            yield path, key
            yield from _strings(member, (*path, key))
    elif isinstance(value, list):
        for position, member in enumerate(value):
            yield from _strings(member, (*path, position))


# Finding the place of a fault


@dataclass(frozen=True, slots=True)
class _Fault:
    message: str


class _Pairs(list[tuple[str, Any]]):
    """An object's members, repeated keys and all."""


def _find_fault(text: str, allow_floats: bool) -> MalformedError:
    value = json.loads(
        text,
        object_pairs_hook=_Pairs,
        parse_int=_checked(_decode_integer, f"expected an integer of at most {MAX_DIGITS} digits, found"),
        parse_float=_checked(_decode_float if allow_floats else _doubt, "expected an integer, found"),
        parse_constant=_checked(_doubt, "expected a number, found"),
    )
    path, message = next(_faults(value, ()))
    return malformed(message, *path)


def _checked(decode_number: Callable[[str], Any], message: str) -> Callable[[str], Any]:
    def decode_or_fault(digits: str) -> Any:
        try:
            return decode_number(digits)
        except _DoubtError:
            return _Fault(f"{message} {digits[:30]}{'...' if len(digits) > 30 else ''}")

    return decode_or_fault


def _faults(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, _Fault):
        yield path, value.message
    elif isinstance(value, _Pairs):
        seen = set()
        for key, member in value:
            if key in seen:
                yield path, f"the key {show(key)} appears twice"
            seen.add(key)
            yield from _faults(member, (*path, key))
    elif isinstance(value, list):
        for position, member in enumerate(value):
            yield from _faults(member, (*path, position))


# Writing

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)


def _ordered(value: Any, path: tuple[str | int, ...], allow_floats: bool) -> Any:
    """`value` with the keys of its mappings in canonical order, every part of it checked."""
    if isinstance(value, str):
        if not value.isascii():
            _check_string(value, path)
        return value
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, Mapping):
        return {key: _ordered(value[key], (*path, key), allow_floats) for key in _sorted_keys(value, path)}
    if isinstance(value, list | tuple):
        return [_ordered(member, (*path, position), allow_floats) for position, member in enumerate(value)]
    if isinstance(value, float):
        if allow_floats:
            return value
        raise malformed(f"expected an integer, found {value!r}", *path)
    raise TypeError(f"no JSON for {type(value).__name__}")


def _check_string(string: str, path: tuple[str | int, ...]) -> None:
    if _SURROGATE.search(string):
        raise malformed(f"expected UTF-8 text, found {show(string)}", *path)


def _sorted_keys(mapping: Mapping[str, Any], path: tuple[str | int, ...]) -> list[str]:
    if "".join(mapping).isascii():  # a TypeError here is a key that is no string
        return sorted(mapping)
    for key in mapping:
        _check_string(key, path)
    return sorted(mapping, key=_utf16)


def _utf16(key: str) -> bytes:
    return key.encode("utf-16-be")
