"""rechunk's meta.yml: groups of packages and files under a name.

    version: 1
    meta:
      kernel:
        packages: [kernel*, kmod*]
        files: [/usr/lib/modules/*vmlinuz*]
        dedicated: false

`packages` and `files` are patterns of Python's fnmatch, where `*` matches slashes too; a group also takes the packages
of its own name. Of two groups that match, the first one counts. `dedicated: true` asks for a layer of its own. rechunk
gives one to every group above 10 MB that does not say false; here the planner decides where nothing is said. What else
the file has (the number of layers, ratios for rechunk's own search) is not about components and is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator

from ostrata.codecs import yaml
from ostrata.codecs.json import show
from ostrata.errors import MalformedError, UnsupportedError, within
from ostrata.model.component_map import ComponentMap, MapRule, Syntax

VERSION = "1"
_KEYS = ("packages", "files", "dedicated")
_YES = ("true", "yes", "on")


def is_meta(document: yaml.Mapping) -> bool:
    """Is it this format, and not a mapping of patterns?"""
    return isinstance(document.get("meta"), yaml.Mapping)


def decode_document(document: yaml.Mapping) -> ComponentMap:
    """The rules of a parsed meta.yml, the last one first counting. Raises: MalformedError, UnsupportedError."""
    version = document.get("version")
    if version is not None and not (isinstance(version, yaml.Text) and version.text == VERSION):
        found = show(version.text) if isinstance(version, yaml.Text) else yaml.kind(version)
        raise UnsupportedError(f"expected version {VERSION} of rechunk's meta.yml, found {found}")
    groups = document.get("meta")
    rules: list[MapRule] = []
    if isinstance(groups, yaml.Mapping):
        for name, contents in groups.items:
            with within(f"line {name.line}"), within(show(name.text)):
                rules += _decode_group(name, contents)
    return ComponentMap(tuple(reversed(rules)))


def _decode_group(name: yaml.Text, contents: yaml.Value) -> Iterator[MapRule]:
    if not name.text.strip():
        raise MalformedError("expected the name of a component, found an empty one")
    if not isinstance(contents, yaml.Mapping):
        raise MalformedError(f"expected a mapping, found {yaml.kind(contents)}")
    for key, _ in contents.items:
        if key.text not in _KEYS:
            raise MalformedError(f"expected the keys {', '.join(_KEYS)}, found {show(key.text)}")
    dedicated = contents.get("dedicated")
    exclusive = name.text if isinstance(dedicated, yaml.Text) and dedicated.text.lower() in _YES else None
    for key, value in contents.items:
        if key.text != "dedicated":
            syntax: Syntax = "fnmatch" if key.text == "files" else "package"
            for pattern in _patterns(value):
                place = f"line {pattern.line}"
                yield MapRule(pattern.text.lstrip("/"), name.text, syntax, exclusive=exclusive, place=place)
    yield MapRule(name.text, name.text, "package", exclusive=exclusive)


def _patterns(value: yaml.Value) -> Iterator[yaml.Text]:
    if isinstance(value, yaml.Text) and value.plain and not value.text:
        return  # a key without a value
    if not isinstance(value, yaml.Sequence):
        raise MalformedError(f"expected a list of patterns, found {yaml.kind(value)}")
    for pattern in value.items:
        if not isinstance(pattern, yaml.Text) or not pattern.text:
            raise yaml.fault(f"expected a pattern, found {yaml.kind(pattern)}", pattern)
        yield pattern
