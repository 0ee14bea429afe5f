"""Files that say who owns what in a directory that could not be written with its true owners.

Two forms are read:

* lines ``UID:GID MODE PATH``, MODE octal, as ``find -printf '%U:%G %m /%P\\n'`` writes them where the owners are true;
* the JSON manifest of `ostrata extract`, which lists what could not be set. Devices that are missing stay missing.

What a file does not name keeps the owner that it has on disk.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ostrata.codecs import json
from ostrata.errors import MalformedError, escape, within
from ostrata.model.tree import Xattrs

MAX_OWNERS = 256 << 20
"""Bytes of the largest file."""

_LINE = re.compile(r"([0-9]{1,10}):([0-9]{1,10}) ([0-7]{1,4}) /?(.*)", re.DOTALL)
_MODE = re.compile("[0-7]{1,4}")
_MAX_OWNER = 0xFFFF_FFFE


@dataclass(frozen=True, slots=True)
class Ownership:
    """What an entry's attributes should be; None: as they are. `xattrs` replace those of their names."""

    owner: tuple[int, int] | None = None
    mode: int | None = None
    xattrs: Xattrs = ()


Owners = Mapping[str, Ownership]
"""By path, relative to the tree."""


def decode(data: bytes) -> Owners:
    """Raises: MalformedError, with the line or the path."""
    return _decode_manifest(data) if data[:1] == b"{" else _decode_lines(data.decode("utf-8", "surrogateescape"))


def _decode_lines(text: str) -> Owners:
    found: dict[str, Ownership] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line:
            continue
        match = _LINE.fullmatch(line)
        with within(f"line {number}"):
            if match is None:
                raise MalformedError(f"expected UID:GID MODE PATH, found '{escape(line[:100])}'")
            _add(found, match[4], Ownership(_owner(int(match[1]), int(match[2])), int(match[3], 8)))
    return found


def _add(found: dict[str, Ownership], path: str, ownership: Ownership) -> None:
    path = path.strip("/")
    if path in found:
        raise MalformedError(f"the path /{escape(path)} is there twice")
    found[path] = ownership


def _owner(uid: Any, gid: Any) -> tuple[int, int]:
    if not (type(uid) is int and type(gid) is int and 0 <= uid <= _MAX_OWNER and 0 <= gid <= _MAX_OWNER):
        raise MalformedError(f"expected user and group ids from 0 to {_MAX_OWNER}")
    return uid, gid


def _decode_manifest(data: bytes) -> Owners:
    document = json.decode(data, what="manifest", limit=MAX_OWNERS)
    records = document.get("unset") if isinstance(document, dict) else None
    if not isinstance(records, list):
        raise MalformedError("expected a manifest of `ostrata extract`, with a list 'unset'")
    found: dict[str, Ownership] = {}
    for record in records:
        if not (isinstance(record, dict) and isinstance(record.get("path"), str)):
            raise MalformedError("expected objects with a 'path' in 'unset'")
        if record.get("missing") is not None:
            continue
        with within(escape(record["path"])):
            _add(found, record["path"], _ownership(record))
    return found


def _ownership(record: Mapping[str, Any]) -> Ownership:
    owner = record.get("owner")
    if owner is not None and not (isinstance(owner, list) and len(owner) == 2):
        raise MalformedError("expected two numbers as 'owner'")
    mode = record.get("mode")
    if mode is not None and not (isinstance(mode, str) and _MODE.fullmatch(mode)):
        raise MalformedError("expected octal digits as 'mode'")
    return Ownership(
        None if owner is None else _owner(*owner),
        None if mode is None else int(mode, 8),
        _xattrs(record.get("xattrs", {})),
    )


def _xattrs(values: Any) -> Xattrs:
    if not (isinstance(values, dict) and all(isinstance(value, str) for value in values.values())):
        raise MalformedError("expected an object of strings as 'xattrs'")
    try:
        pairs = [
            (name.encode("utf-8", "surrogateescape"), base64.b64decode(value, validate=True))
            for name, value in values.items()
        ]
    except (binascii.Error, ValueError):
        raise MalformedError("expected base64 in 'xattrs'") from None
    return tuple(sorted(pairs))
