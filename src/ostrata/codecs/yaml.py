"""YAML, read as plain data: mappings, lists and texts, each at the line where it stands.

The parser is a library's; what its events mean is decided here. A scalar is its text, whatever it looks like: `no`
stays a name and `1.10` a version. Refused, with line and column: repeated keys (readers keep the last one in silence),
anchors and aliases (a few lines can stand for gigabytes), tags, more than one document, deep nesting. No object is ever
made from a document.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ostrata.codecs.json import show
from ostrata.errors import LimitError, MalformedError, UnsupportedError, escape, within

MAX_YAML = 4 << 20
"""Bytes of the largest document that is read."""
MAX_NESTING = 32


@dataclass(frozen=True, slots=True)
class Text:
    """A scalar. `plain` ones have no quotes; lines count from 1."""

    text: str
    line: int
    plain: bool = True


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    items: tuple[Value, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys are texts; each stands there once."""

    items: tuple[tuple[Text, Value], ...]
    line: int

    def get(self, key: str) -> Value | None:
        """The value of `key`; None without one."""
        return next((value for name, value in self.items if name.text == key), None)


Value = Text | Sequence | Mapping


def decode(data: bytes, *, what: str) -> Value | None:
    """The one document in `data`, None when there is none; `what` names it in errors.

    Raises: MalformedError or UnsupportedError naming the line; LimitError.
    """
    import yaml

    with within(what):
        if len(data) > MAX_YAML:
            raise LimitError(f"expected at most {MAX_YAML:,} bytes, found {len(data):,}")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise MalformedError(f"expected UTF-8, found byte 0x{data[error.start]:02x}") from None
        try:
            return _Builder().build(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
        except yaml.YAMLError as error:
            raise MalformedError(f"not YAML: {_describe(error)}") from None


def kind(value: Value | None) -> str:
    """What a value is, for an error: `a text`, `a list`, ..."""
    return {Text: "a text", Sequence: "a list", Mapping: "a mapping"}.get(type(value), "nothing")


def fault(message: str, value: Value) -> MalformedError:
    """A MalformedError at the line of `value`."""
    return MalformedError(message, where=f"line {value.line}")


def _describe(error: Exception) -> str:
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be parsed")
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = f", line {mark.line + 1} column {mark.column + 1}" if mark is not None else ""
    return f"{escape(problem)}{place}"


class _Builder:
    """Puts events together, without recursion: the nesting is the input's choice."""

    def __init__(self) -> None:
        self._open: list[tuple[str, int, list[Value]]] = []
        self._document: Value | None = None
        self._documents = 0

    def build(self, events: Iterator[Any]) -> Value | None:
        for event in events:
            self._take(event, type(event).__name__, event.start_mark.line + 1 if event.start_mark else 1)
        return self._document

    def _take(self, event: Any, name: str, line: int) -> None:
        if name == "DocumentStartEvent":
            self._documents += 1
            if self._documents > 1:
                raise UnsupportedError("more than one document", where=f"line {line}")
        elif name in ("MappingStartEvent", "SequenceStartEvent"):
            _check_plain(event, line)
            if len(self._open) >= MAX_NESTING:
                raise MalformedError("nested too deeply", where=f"line {line}")
            self._open.append((name, line, []))
        elif name in ("MappingEndEvent", "SequenceEndEvent"):
            self._close()
        elif name == "ScalarEvent":
            _check_plain(event, line)
            self._add(Text(event.value, line, plain=not event.style))
        elif name == "AliasEvent":
            raise UnsupportedError("expected no alias, found one", where=f"line {line}", hint="write it out")

    def _close(self) -> None:
        name, line, items = self._open.pop()
        if name == "SequenceStartEvent":
            self._add(Sequence(tuple(items), line))
        else:
            self._add(Mapping(tuple(_pairs(items)), line))

    def _add(self, value: Value) -> None:
        if self._open:
            self._open[-1][2].append(value)
        else:
            self._document = value


def _check_plain(event: Any, line: int) -> None:
    if event.anchor is not None:
        raise UnsupportedError("expected no anchor, found one", where=f"line {line}", hint="write it out")
    if event.tag is not None:
        raise UnsupportedError(f"expected no tag, found {show(event.tag)}", where=f"line {line}")


def _pairs(items: list[Value]) -> Iterator[tuple[Text, Value]]:
    seen = set()
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, Text):
            raise fault(f"expected a text as key, found {kind(key)}", key)
        if key.text in seen:
            raise fault(f"the key {show(key.text)} appears twice", key)
        seen.add(key.text)
        yield key, value
