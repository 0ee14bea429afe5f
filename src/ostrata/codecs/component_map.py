"""The map file: which paths belong to which component. YAML, JSON or TSV; or rechunk's meta.yml, see `rechunk_meta`.

YAML and JSON are a mapping, in the order in which the rules count:

    /usr/lib/firmware: firmware
    /usr/share/games/**/*.pak: {component: game-data, interval: quarterly}
    /opt/model.bin: {component: model, layer: model}
    package:kernel*: kernel

TSV has a rule a line: pattern, component, and optionally interval and layer, with tabs between; empty lines and lines
that begin with ``#`` are left out.

A pattern is a path of the system, with or without a leading slash; a directory stands for all that is in it. `*` and
`?` match within a name, `**` across names, `[...]` one of some characters. `package:` and a pattern for names stand for
all that the packages of that name (or of that source) list. Of several rules that match a path, the last one counts.

`interval` is a number of days between updates, or daily, weekly, biweekly, monthly, quarterly, yearly. `layer` names a
layer which holds the components that ask for it and nothing else; `layer: true` names it after the component. Of both,
`null`, or in YAML nothing, is as if they were not there.
"""

from __future__ import annotations

import math
from typing import Any

from ostrata.codecs import json, rechunk_meta, yaml
from ostrata.codecs.json import show
from ostrata.errors import LimitError, MalformedError, within
from ostrata.model.component_map import ComponentMap, MapRule

MAX_MAP = 4 << 20
MAX_RULES = 100_000
MAX_PATTERN = 4096
PACKAGE = "package:"

INTERVALS = {
    "daily": 1.0,
    "weekly": 7.0,
    "biweekly": 14.0,
    "monthly": 30.0,
    "quarterly": 91.0,
    "yearly": 365.0,
}
"""Words for days between updates."""

_WHAT = "component map"
_KEYS = ("component", "interval", "layer")
_NOTHING = ("", "~", "null")
_TRUE, _FALSE = ("true", "True", "yes"), ("false", "False", "no")
_BOM = b"\xef\xbb\xbf"


def decode(data: bytes, *, name: str = "") -> ComponentMap:
    """The rules in `data`; `name` is the file's, whose suffix says what it is (YAML without a known one).

    Raises: MalformedError naming the line, UnsupportedError, LimitError.
    """
    if name.endswith(".tsv"):
        return _limited(_decode_tsv(data))
    if name.endswith(".json"):
        value = json.decode(data, what=_WHAT, limit=MAX_MAP, allow_floats=True)
        if not (isinstance(value, dict) and isinstance(value.get("meta"), dict)):
            return _decode_document(_from_json(value), "rule")
    return _decode_document(yaml.decode(data, what=_WHAT), "line")


def parse_interval(text: str) -> float | None:
    """Days, from a number or a word; None for what is neither."""
    if text in INTERVALS:
        return INTERVALS[text]
    try:
        days = float(text)
    except ValueError:
        return None
    return days if 0 < days < math.inf and len(text) <= 20 else None


def _limited(component_map: ComponentMap) -> ComponentMap:
    if len(component_map.rules) > MAX_RULES:
        raise LimitError(f"expected at most {MAX_RULES:,} rules, found {len(component_map.rules):,}", where=_WHAT)
    return component_map


def _decode_document(document: yaml.Value | None, place: str) -> ComponentMap:
    """`place` is the word for what `line` of a value is."""
    with within(_WHAT):
        if not isinstance(document, yaml.Mapping):
            raise MalformedError(
                f"expected a mapping of patterns to components, found {yaml.kind(document)}",
                hint="lines with tabs between are read from files whose names end in .tsv",
            )
        if rechunk_meta.is_meta(document):
            return _limited(rechunk_meta.decode_document(document))
        return _limited(ComponentMap(tuple(_decode_rule(pattern, value, place) for pattern, value in document.items)))


def _from_json(document: Any) -> yaml.Value:
    """`document` as YAML has it, for as many levels as rules have; lines are the numbers of rules.

    JSON is nearly YAML; but a YAML parser takes no long keys and no surrogate pairs.
    """
    if not isinstance(document, dict):
        return _from_json_value(document, 0)
    items = []
    for number, (pattern, value) in enumerate(document.items(), 1):
        rule = _from_json_value(value, number)
        if isinstance(value, dict):
            pairs = ((yaml.Text(key, number), _from_json_value(item, number)) for key, item in value.items())
            rule = yaml.Mapping(tuple(pairs), number)
        items.append((yaml.Text(pattern, number), rule))
    return yaml.Mapping(tuple(items), 0)


def _from_json_value(value: Any, number: int) -> yaml.Value:
    if isinstance(value, dict):
        return yaml.Mapping((), number)
    if isinstance(value, list):
        return yaml.Sequence((), number)
    if isinstance(value, str):
        return yaml.Text(value, number, plain=False)
    return yaml.Text("null" if value is None else str(value).lower(), number)


def _decode_tsv(data: bytes) -> ComponentMap:
    with within(_WHAT):
        if len(data) > MAX_MAP:
            raise LimitError(f"expected at most {MAX_MAP:,} bytes, found {len(data):,}")
        lines = data.removeprefix(_BOM).decode("utf-8", "surrogateescape").split("\n")
        numbered = ((number, line.removesuffix("\r")) for number, line in enumerate(lines, 1))
        return ComponentMap(
            tuple(_decode_line(line, number) for number, line in numbered if line.strip() and not line.startswith("#"))
        )


def _decode_line(line: str, number: int) -> MapRule:
    with within(f"line {number}"):
        fields = line.split("\t")
        if not 2 <= len(fields) <= 4:
            raise MalformedError(
                f"expected pattern, component, and at most interval and layer with tabs between, found {show(line)}"
            )
        pattern, component, interval, layer = [*fields, "", ""][:4]
        return _rule(pattern, component, interval or None, _layer(layer or None, component), f"line {number}")


def _decode_rule(pattern: yaml.Text, value: yaml.Value, word: str) -> MapRule:
    place = f"{word} {pattern.line}"
    with within(place):
        if isinstance(value, yaml.Text):
            return _rule(pattern.text, "" if _is_nothing(value) else value.text, None, None, place)
        if not isinstance(value, yaml.Mapping):
            raise MalformedError(
                f"{show(pattern.text)}: expected the name of a component or a mapping, found {yaml.kind(value)}"
            )
        for key, _ in value.items:
            if key.text not in _KEYS:
                raise MalformedError(f"expected the keys {', '.join(_KEYS)}, found {show(key.text)}")
        component = _text(value, "component")
        if component is None:
            raise MalformedError(f"{show(pattern.text)}: the key 'component' is missing")
        layer = _layer(_text(value, "layer"), component)
        return _rule(pattern.text, component, _text(value, "interval"), layer, place)


def _text(value: yaml.Mapping, key: str) -> str | None:
    found = value.get(key)
    if found is None:
        return None
    if not isinstance(found, yaml.Text):
        raise MalformedError(f"expected a text as '{key}', found {yaml.kind(found)}")
    return None if _is_nothing(found) else found.text


def _is_nothing(value: yaml.Text) -> bool:
    return value.plain and value.text in _NOTHING


def _layer(text: str | None, component: str) -> str | None:
    """The name of the layer that `text` asks for."""
    if text in _TRUE:
        return component
    return None if text in _FALSE else text


def _rule(pattern: str, component: str, interval: str | None, layer: str | None, place: str) -> MapRule:
    if not component.strip():
        raise MalformedError(f"{show(pattern)}: expected the name of a component, found an empty one")
    if layer is not None and not layer.strip():
        raise MalformedError(f"{show(pattern)}: expected the name of a layer, found an empty one")
    days = None
    if interval is not None:
        days = parse_interval(interval)
        if days is None:
            raise MalformedError(
                f"expected days between updates or one of {', '.join(INTERVALS)}, found {show(interval)}"
            )
    if pattern.startswith(PACKAGE):
        return MapRule(_checked(pattern.removeprefix(PACKAGE)), component, "package", days, layer, place)
    return MapRule(_checked(pattern.strip("/")), component, "glob", days, layer, place)


def _checked(pattern: str) -> str:
    if not pattern or len(pattern) > MAX_PATTERN:
        raise MalformedError(f"expected a pattern of 1 to {MAX_PATTERN} characters, found {show(pattern)}")
    return pattern
