"""The contentmeta file, version 1: which object goes into which layer.

    {"version": 1,
     "created": "2024-05-17T12:00:00Z",                optional, RFC 3339
     "labels": {"name": "value", ...},                 optional
     "layers": {"id": "readable name", ...},           in the order in which the layers come out
     "mapping": {"64 hex digits": "id", ...},          object checksum -> layer
     "ordered": false}                                 optional: members of a layer in the order of `mapping`

A missing `version` is 1; `null` is the same as leaving an optional key out (writers in other languages do
that). Unknown keys are refused: a misspelt `ordered` would otherwise silently give other bytes.
"""

from __future__ import annotations

import json as json_text
from collections.abc import Mapping
from typing import Any

from ostrata.codecs import json
from ostrata.codecs.timestamps import parse_rfc3339
from ostrata.errors import LimitError, MalformedError, UnsupportedError, within
from ostrata.model.digest import CHECKSUM
from ostrata.model.plan import Contentmeta

VERSION = 1
MAX_CONTENTMETA = 128 * 1024 * 1024
"""Bytes of the largest file that is read: room for about a million objects."""

_KEYS = ("version", "created", "labels", "layers", "mapping", "ordered")
_WHAT = "contentmeta"


def decode(data: bytes) -> Contentmeta:
    """Raises: MalformedError naming key and place; UnsupportedError for another version; LimitError."""
    document = json.decode(data, what=_WHAT, limit=MAX_CONTENTMETA)
    with within(_WHAT):
        return _decode_document(_object(document, "at the top"))


def encode(contentmeta: Contentmeta) -> bytes:
    """The file form: one member a line, mappings in their own order, equal for equal values."""
    document: dict[str, Any] = {"version": VERSION}
    if contentmeta.created is not None:
        document["created"] = contentmeta.created
    if contentmeta.labels:
        document["labels"] = dict(sorted(contentmeta.labels.items()))
    document["layers"] = dict(contentmeta.layers)
    document["mapping"] = dict(contentmeta.mapping)
    if contentmeta.ordered:
        document["ordered"] = True
    text = "{\n" + ",\n".join(f'  "{key}": {_text(value)}' for key, value in document.items()) + "\n}\n"
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        found = text[error.start : error.start + 20]
        raise MalformedError(f"expected UTF-8 text, found {json.show(found)}", where=_WHAT) from None
    if len(data) > MAX_CONTENTMETA:
        raise LimitError(f"expected at most {MAX_CONTENTMETA:,} bytes, found {len(data):,}", where=_WHAT)
    return data


def _text(value: Any) -> str:
    """JSON as `indent=2` writes it, at several times its speed: a mapping has hundreds of thousands of members."""
    if not isinstance(value, dict) or not value:
        return json_text.dumps(value, ensure_ascii=False)
    members = json_text.dumps(value, ensure_ascii=False, separators=(",\n    ", ": "))
    return f"{{\n    {members[1:-1]}\n  }}"


def _decode_document(document: dict[str, Any]) -> Contentmeta:
    _check_keys(document)
    _check_version(document.get("version", VERSION))
    layers = _strings(document["layers"], "layers")
    return Contentmeta(
        layers=layers,
        mapping=_decode_mapping(_strings(document["mapping"], "mapping"), layers),
        ordered=_decode_ordered(document.get("ordered")),
        created=_decode_created(document.get("created")),
        labels=_decode_labels(document.get("labels")),
    )


def _check_keys(document: dict[str, Any]) -> None:
    for key in document:
        if key not in _KEYS:
            raise MalformedError(f"expected the keys {', '.join(_KEYS)}, found {json.show(key)}")
    for key in ("layers", "mapping"):
        if key not in document:
            raise MalformedError(f"the key '{key}' is missing")


def _check_version(version: Any) -> None:
    if type(version) is not int:
        raise json.malformed(f"expected an integer, found {json.kind(version)}", "version")
    if version != VERSION:
        raise UnsupportedError(f"expected {VERSION}, found {version}", where="version")


def _decode_mapping(mapping: dict[str, str], layers: Mapping[str, str]) -> dict[str, str]:
    if not all(map(CHECKSUM.fullmatch, mapping)):
        key = next(key for key in mapping if CHECKSUM.fullmatch(key) is None)
        raise json.malformed(f"expected keys of 64 lower-case hex digits, found {json.show(key)}", "mapping")
    if not layers.keys() >= set(mapping.values()):
        checksum, layer = next(item for item in mapping.items() if item[1] not in layers)
        raise json.malformed(f"expected an id that 'layers' has, found {json.show(layer)}", "mapping", checksum)
    return mapping


def _decode_ordered(ordered: Any) -> bool:
    if ordered is not None and not isinstance(ordered, bool):
        raise json.malformed(f"expected true or false, found {json.kind(ordered)}", "ordered")
    return bool(ordered)


def _decode_created(created: Any) -> str | None:
    if created is None:
        return None
    if not isinstance(created, str):
        raise json.malformed(f"expected a string, found {json.kind(created)}", "created")
    with within("created"):
        parse_rfc3339(created)
    return created


def _decode_labels(labels: Any) -> dict[str, str]:
    decoded = {} if labels is None else _strings(labels, "labels")
    if "" in decoded:
        raise json.malformed("a label without a name", "labels")
    return decoded


def _strings(value: Any, key: str) -> dict[str, str]:
    members = _object(value, key)
    if not set(map(type, members.values())) <= {str}:
        name, member = next(item for item in members.items() if type(item[1]) is not str)
        raise json.malformed(f"expected a string, found {json.kind(member)}", key, name)
    return members


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise json.malformed(f"expected an object, found {json.kind(value)}", where)
    return value
