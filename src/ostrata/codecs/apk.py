"""apk's database of installed packages: the file installed.

The format (apk-tools, apk-installed(5)): ``X:value`` lines, an empty line behind each package. First the package:
P name, V version, A architecture, o source package, I installed size, t time of the build, f flags (``S``: file digests
are SHA-256, cut). Then, again and again, a directory F, and a file R in the directory named last, Z with its digest:
``Q1`` and base64 of 20 bytes, or ``Q2`` and base64 of 32 bytes of SHA-256.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

from ostrata.errors import LimitError, MalformedError, escape, within

CUT_SHA256 = "sha256-160"
"""The algorithm of digests that are the first 160 bits of a SHA-256."""

MAX_PATH = 4096
MAX_PATHS_RATIO = 64
"""Bytes of all paths of a package for each byte of its lines: a directory is written once for all its files."""

_ONCE = frozenset("PVAoItf")


@dataclass(frozen=True, slots=True)
class ApkPackage:
    """What the database says of one package. `paths` are relative; `built` is in seconds since 1970, as it stands."""

    name: str
    version: str
    arch: str
    source: str
    paths: tuple[str, ...]
    digests: Mapping[str, tuple[str, str]]
    built: int | None
    size: int | None


def decode(data: bytes) -> list[ApkPackage]:
    """The packages, in the file's order. Raises: MalformedError, LimitError."""
    if data and not data.endswith(b"\n"):
        raise MalformedError("expected a newline at the end, found none: the file is cut")
    packages = []
    number = 1
    for block in data.decode("utf-8", "surrogateescape").split("\n\n"):
        lines = block.strip("\n").split("\n")
        if lines != [""]:
            with within(f"the package at line {number}"):
                packages.append(_package(lines))
        number += block.count("\n") + 2
    return packages


def _package(lines: list[str]) -> ApkPackage:
    reading = _Reading(MAX_PATHS_RATIO * sum(map(len, lines)))
    for line in lines:
        reading.take(line)
    fields = reading.fields
    if not fields.get("P"):
        raise MalformedError("expected the name of a package (P:), found none")
    return ApkPackage(
        name=fields["P"],
        version=fields.get("V", ""),
        arch=fields.get("A", ""),
        source=fields.get("o") or fields["P"],
        paths=tuple(reading.paths),
        digests=reading.digests,
        built=_number(fields.get("t", "")),
        size=_number(fields.get("I", "")),
    )


class _Reading:
    """One package while its lines are read."""

    def __init__(self, room: int) -> None:
        self.fields: dict[str, str] = {}
        self.paths: list[str] = []
        self.digests: dict[str, tuple[str, str]] = {}
        self._directory: str | None = None
        self._file: str | None = None
        self._room = room

    def take(self, line: str) -> None:
        if line[1:2] != ":":
            raise MalformedError(f"expected a letter and a colon, found '{escape(line[:100])}'")
        key, value = line[0], line[2:]
        if key in _ONCE:
            if key in self.fields:
                raise MalformedError(f"the field {key} is there twice")
            self.fields[key] = value
        elif key == "F":
            self._directory, self._file = value, None
            self._add(value)
        elif key == "R":
            if self._directory is None:
                raise MalformedError("expected a directory (F:) before a file (R:)")
            self._file = f"{self._directory}/{value}" if self._directory else value
            self._add(self._file)
        elif key == "Z" and self._file is not None:
            self.digests[self._file] = _digest(value, "S" in self.fields.get("f", ""))

    def _add(self, path: str) -> None:
        if len(path) > MAX_PATH:
            raise LimitError(f"expected paths of at most {MAX_PATH} characters, found one of {len(path)}")
        self._room -= len(path)
        if self._room < 0:
            raise LimitError(f"expected paths of at most {MAX_PATHS_RATIO} times their lines' size, found longer ones")
        self.paths.append(path)


def _digest(text: str, cut: bool) -> tuple[str, str]:
    try:
        digest = base64.b64decode(text[2:], validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if text.startswith("Q1") and len(digest) == 20:
        return CUT_SHA256 if cut else "sha1", digest.hex()
    if text.startswith("Q2") and len(digest) == 32:
        return "sha256", digest.hex()
    raise MalformedError(f"expected a digest (Q1 or Q2, base64), found '{escape(text[:100])}'")


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
