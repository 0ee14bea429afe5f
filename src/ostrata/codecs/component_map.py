"""The map file: which paths belong to which component. YAML, JSON or TSV; or rechunk's meta.yml, see `rechunk_meta`.

YAML and JSON are a mapping, in the order in which the rules count:

    /usr/lib/firmware: firmware
    /usr/share/games/**/*.pak: {component: game-data, interval: quarterly}
    /opt/model.bin: {component: model, layer: model}
    package:kernel*: kernel

TSV has a rule a line: pattern, component, and optionally interval and layer, with tabs between; empty lines and lines
that begin with ``#`` are left out.

A pattern is a path in the tree, with or without a leading slash; a directory stands for all that is in it. `*` and `?`
match within a name, `**` across names, `[...]` one of some characters. `package:` and a pattern for names stand for all
that the packages of that name (or of that source) list. Of several rules that match a path, the last one counts.

`interval` is a number of days between updates, or daily, weekly, biweekly, monthly, quarterly, yearly. `layer` names a
layer which holds the components that ask for it and nothing else; `layer: true` names it after the component.
"""

from __future__ import annotations

import math

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


def decode(data: bytes, *, name: str = "") -> ComponentMap:
    """The rules in `data`; `name` is the file's, whose suffix says what it is (YAML without a known one).

    Raises: MalformedError naming the line, UnsupportedError, LimitError.
    """
    if name.endswith(".tsv"):
        return _limited(_decode_tsv(data))
    if name.endswith(".json"):
        json.decode(data, what=_WHAT, limit=MAX_MAP, allow_floats=True)  # YAML takes more than JSON does
    document = yaml.decode(data, what=_WHAT)
    with within(_WHAT):
        if not isinstance(document, yaml.Mapping):
            raise MalformedError(f"expected a mapping of patterns to components, found {yaml.kind(document)}")
        if rechunk_meta.is_meta(document):
            return _limited(rechunk_meta.decode_document(document))
        return _limited(ComponentMap(tuple(_decode_rule(pattern, value) for pattern, value in document.items)))


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


def _decode_tsv(data: bytes) -> ComponentMap:
    with within(_WHAT):
        if len(data) > MAX_MAP:
            raise LimitError(f"expected at most {MAX_MAP:,} bytes, found {len(data):,}")
        lines = data.decode("utf-8", "surrogateescape").split("\n")
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
        return _rule(pattern, component, interval or None, layer or None, number)


def _decode_rule(pattern: yaml.Text, value: yaml.Value) -> MapRule:
    with within(f"line {pattern.line}"):
        if isinstance(value, yaml.Text):
            return _rule(pattern.text, value.text, None, None, pattern.line)
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
        layer = _text(value, "layer")
        if layer in ("true", "false"):
            layer = component if layer == "true" else None
        return _rule(pattern.text, component, _text(value, "interval"), layer, pattern.line)


def _text(value: yaml.Mapping, key: str) -> str | None:
    found = value.get(key)
    if found is None:
        return None
    if not isinstance(found, yaml.Text):
        raise MalformedError(f"expected a text as '{key}', found {yaml.kind(found)}")
    return found.text


def _rule(pattern: str, component: str, interval: str | None, layer: str | None, line: int) -> MapRule:
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
    place = f"line {line}"
    if pattern.startswith(PACKAGE):
        return MapRule(_checked(pattern.removeprefix(PACKAGE)), component, "package", days, layer, place)
    return MapRule(_checked(pattern.strip("/")), component, "glob", days, layer, place)


def _checked(pattern: str) -> str:
    if not pattern or len(pattern) > MAX_PATTERN:
        raise MalformedError(f"expected a pattern of 1 to {MAX_PATTERN} characters, found {show(pattern)}")
    return pattern
