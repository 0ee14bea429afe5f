"""pacman's local database: one directory for each package, with the files desc, files and mtree.

The formats (libalpm, be_local.c; mtree(5) as bsdtar writes it):

* ``desc`` and ``files``: a line ``%KEY%``, its values one to a line, an empty line. Paths have no leading slash, those
  of directories end with one. ``%BACKUP%``: path, tab, MD5 of the file as it was packaged.
* ``mtree``: gzip; a line for each file, ``./PATH key=value ...``, bytes outside of plain text as ``\\ooo``; lines that
  begin with ``/set``, ``/unset`` or ``#`` are no files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ostrata.errors import MalformedError, escape

_KEY = re.compile("%[A-Z0-9]+%")
_OCTAL = re.compile(r"\\([0-3][0-7]{2})")
_DIGESTS = {"sha256digest": ("sha256", 64), "sha256": ("sha256", 64), "md5digest": ("md5", 32), "md5": ("md5", 32)}
_HEX = re.compile("[0-9a-f]+")


def decode_fields(data: bytes) -> dict[str, list[str]]:
    """The values of every key, without its percent signs. Raises: MalformedError."""
    if data and not data.endswith(b"\n"):
        raise MalformedError("expected a newline at the end, found none: the file is cut")
    fields: dict[str, list[str]] = {}
    values: list[str] | None = None
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        if not line:
            values = None
        elif values is not None:
            values.append(line)
        elif _KEY.fullmatch(line) is None:
            raise MalformedError(f"line {number}: expected a key like %NAME%, found '{escape(line[:100])}'")
        elif line[1:-1] in fields:
            raise MalformedError(f"line {number}: the key {line} is there twice")
        else:
            values = fields[line[1:-1]] = []
    return fields


def decode_backup(lines: list[str]) -> dict[str, tuple[str, str]]:
    """Path -> (algorithm, hex) of the lines of %BACKUP% that have a digest."""
    pairs = [line.rpartition("\t") for line in lines]
    return {path: ("md5", value) for path, _, value in pairs if path and _is_digest(value, 32)}


def decode_mtree(data: bytes) -> dict[str, tuple[str, str]]:
    """Path, without ``./`` -> (algorithm, hex), of the files that have a digest; `data` is plain."""
    digests = {}
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        if line.startswith("./"):
            name, *words = line.split(" ")
            found = _digest(dict(word.partition("=")[::2] for word in words))
            if found is not None:
                digests[_unescape(name[2:])] = found
    return digests


def _digest(words: Mapping[str, str]) -> tuple[str, str] | None:
    for key, (algorithm, length) in _DIGESTS.items():
        if _is_digest(words.get(key, ""), length):
            return algorithm, words[key]
    return None


def _is_digest(text: str, length: int) -> bool:
    return len(text) == length and _HEX.fullmatch(text) is not None


def _unescape(name: str) -> str:
    if "\\" not in name:
        return name
    data = _OCTAL.sub(lambda match: chr(int(match[1], 8)), name.encode("utf-8", "surrogateescape").decode("latin-1"))
    return data.encode("latin-1").decode("utf-8", "surrogateescape")
