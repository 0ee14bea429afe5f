"""The history file, version 1: components and the days on which they changed.

    {"version": 1,
     "title": "what this is",                          optional
     "components": [
       {"name": "libfoo1",
        "source": "foo",                               optional: its own name
        "size": 123, "compressed_size": 45,            bytes
        "since": "2020-02-29",                         optional: null, before the history begins
        "updates": ["2021-03-04", ...],
        "changed_paths": {"usr/lib/libfoo.so": ["2021-03-04", ...], ...}}   optional
     ]}

Dates are `YYYY-MM-DD` of any year from 1 to 9999. The order of dates and of components means nothing: dates are
sorted, and of equal ones one is kept; a note says so. Keys that are not named here are left alone. The file may be
compressed with gzip.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

import deflate

from ostrata.codecs import json
from ostrata.codecs.decompression import GZIP_MAGIC, decompress
from ostrata.errors import LimitError, UnsupportedError, within
from ostrata.model.component import Component
from ostrata.model.history import History
from ostrata.model.image import LAYER_GZIP

VERSION = 1
MAX_HISTORY = 128 << 20
"""Bytes of the largest file that is read, compressed or not."""
MAX_SIZE = 1 << 50
"""Bytes of the largest component."""

_WHAT = "history"
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_GZIP_LEVEL = 9


def decode(data: bytes) -> History:
    """The history in `data`, which may be compressed with gzip.

    Raises: MalformedError naming key and place; UnsupportedError for another version; LimitError.
    """
    document = json.decode(_plain(data), what=_WHAT, limit=MAX_HISTORY)
    with within(_WHAT):
        return _decode_document(_typed(document, dict))


def encode(history: History, *, compressed: bool = False) -> bytes:
    """The file form, equal for equal histories. Raises: MalformedError for names that are not UTF-8."""
    document: dict[str, Any] = {"version": VERSION}
    if history.title is not None:
        document["title"] = history.title
    document["components"] = [
        _encode_component(component, history.changed_paths.get(component.name))
        for component in sorted(history.components, key=lambda component: component.name)
    ]
    with within(_WHAT):
        data = json.encode_canonical(document)
    return bytes(deflate.gzip_compress(data, _GZIP_LEVEL)) if compressed else data


def _plain(data: bytes) -> bytes:
    if not data.startswith(GZIP_MAGIC):
        return data
    with within(_WHAT):
        return b"".join(decompress([data], LAYER_GZIP, limit=MAX_HISTORY))


def _decode_document(document: dict[str, Any]) -> History:
    version = document.get("version")
    if type(version) is not int:
        raise json.malformed(f"expected {VERSION}, found {json.kind(version)}", "version")
    if version != VERSION:
        raise UnsupportedError(f"expected {VERSION}, found {version}", where="version")
    listed = _typed(document.get("components"), list, "components")
    if not listed:
        raise json.malformed("expected at least one component, found none", "components")
    dates = _Dates()
    components = tuple(_decode_component(item, position, dates) for position, item in enumerate(listed))
    _refuse_twins(components)
    changed_paths = {
        component.name: _decode_changed_paths(item["changed_paths"], position, dates)
        for position, (item, component) in enumerate(zip(listed, components, strict=True))
        if item.get("changed_paths") is not None
    }
    return History(components, _optional_text(document, "title"), changed_paths, dates.notes())


def _decode_component(item: Any, position: int, dates: _Dates) -> Component:
    place = ("components", position)
    members = _typed(item, dict, *place)
    name = _typed(members.get("name"), str, *place, "name")
    if not name:
        raise json.malformed("expected a name, found an empty string", *place, "name")
    source = _optional_text(members, "source", *place) or name
    since = members.get("since")
    return Component(
        name,
        source,
        _size(members, "size", *place),
        _size(members, "compressed_size", *place),
        None if since is None else dates.one(since, *place, "since"),
        dates.many(members.get("updates"), *place, "updates"),
    )


def _decode_changed_paths(value: Any, position: int, dates: _Dates) -> dict[str, tuple[date, ...]]:
    place = ("components", position, "changed_paths")
    return {path: dates.many(days, *place, path) for path, days in _typed(value, dict, *place).items()}


def _refuse_twins(components: Iterable[Component]) -> None:
    seen = set()
    for component in components:
        if component.name in seen:
            raise json.malformed(f"two components are called {json.show(component.name)}", "components")
        seen.add(component.name)


def _size(members: Mapping[str, Any], key: str, *place: str | int) -> int:
    size: int = _typed(members.get(key), int, *place, key)
    if size < 0:
        raise json.malformed(f"expected a size of 0 or more, found {size}", *place, key)
    if size > MAX_SIZE:
        raise LimitError(f"component {place[-1]}: {key}: expected at most {MAX_SIZE:,} bytes, found {size:,}")
    return size


def _optional_text(members: Mapping[str, Any], key: str, *place: str | int) -> str | None:
    value = members.get(key)
    return None if value is None else str(_typed(value, str, *place, key))


def _typed(value: Any, kind: type, *place: str | int) -> Any:
    if type(value) is not kind:  # a boolean is no integer here
        raise json.malformed(f"expected {json.kind(kind())}, found {json.kind(value)}", *place)
    return value


class _Dates:
    """Decodes dates, each text once, and counts what had to be put right."""

    def __init__(self) -> None:
        self._known: dict[str, date] = {}
        self._unsorted = 0
        self._repeated = 0

    def one(self, text: Any, *place: str | int) -> date:
        found = self._known.get(text) if isinstance(text, str) else None
        return found or self._decode(_typed(text, str, *place), *place)

    def many(self, texts: Any, *place: str | int) -> tuple[date, ...]:
        days = [self.one(text, *place, position) for position, text in enumerate(_typed(texts, list, *place))]
        ordered = sorted(set(days))
        self._repeated += len(ordered) < len(days)
        self._unsorted += days != sorted(days)
        return tuple(ordered)

    def notes(self) -> tuple[str, ...]:
        """What was put right, for people."""
        found = ((self._unsorted, "not in order: they were sorted"), (self._repeated, "repeated: each day counts once"))
        return tuple(f"the dates of {count} components are {what}" for count, what in found if count)

    def _decode(self, text: str, *place: str | int) -> date:
        try:
            if _DATE.fullmatch(text) is None:
                raise ValueError
            day = date.fromisoformat(text)
        except ValueError:
            raise json.malformed(f"expected a date like 2024-05-17, found {json.show(text)}", *place) from None
        self._known[text] = day
        return day


def _encode_component(component: Component, changed_paths: Mapping[str, tuple[date, ...]] | None) -> dict[str, Any]:
    encoded: dict[str, Any] = {
        "name": component.name,
        "source": component.source,
        "size": component.size,
        "compressed_size": component.compressed_size,
        "since": None if component.since is None else component.since.isoformat(),
        "updates": _encode_dates(component.updates),
    }
    if changed_paths:
        encoded["changed_paths"] = {path: _encode_dates(days) for path, days in changed_paths.items()}
    return encoded


def _encode_dates(days: Iterable[date]) -> list[str]:
    return [day.isoformat() for day in days]
