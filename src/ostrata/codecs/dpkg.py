"""The files of dpkg's database: status, lists of files, MD5 sums, diversions.

The formats (deb-control(5), dpkg(1); what dpkg itself refuses is refused here):

* ``status``: paragraphs of ``Field: value`` lines, empty lines between them; a line that begins with a space or tab
  continues the field above it. Field names are compared without case. Every line ends with a newline.
* ``info/PACKAGE.list``: a path on each line, the root as ``/.``.
* ``info/PACKAGE.md5sums``: 32 hex digits, two spaces, a path without its leading slash.
* ``diversions``: three lines each: a path, where it lies instead, and the package that has the path for itself (``:``
  for the administrator). For all other packages the path lies at the second place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ostrata.errors import MalformedError, escape, within

_NOT_THERE = ("not-installed", "config-files")
_WANTED = frozenset(
    ["package", "status", "architecture", "version", "source", "installed-size", "conffiles", "multi-arch"]
)
_MD5_LINE = re.compile(r"^([0-9a-f]{32})  (?:\./|/)?(.+)$", re.MULTILINE)
_CONFFILE = re.compile(r"/(.+) ([0-9a-fA-F]{32})(?: obsolete)?(?: remove-on-upgrade)?")
_SOURCE = re.compile(r"(\S+)(?:\s+\((.*)\))?")


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One package of a status file.

    `state` is the third word of its status, empty without one. `source` and `source_version` are its own name and
    version where the paragraph names no other. `size` is in bytes. `conffiles` are (path, MD5).
    """

    name: str
    state: str
    arch: str
    version: str
    source: str
    source_version: str
    size: int | None
    conffiles: tuple[tuple[str, str], ...]

    @property
    def is_there(self) -> bool:
        """Has it files in the tree: is it installed, or on the way there?"""
        return bool(self.state) and self.state not in _NOT_THERE


@dataclass(frozen=True, slots=True)
class Diversion:
    """`path` lies at `place`, but for `package`."""

    path: str
    place: str
    package: str


def decode_status(data: bytes) -> list[Paragraph]:
    """The packages of a status file, in its order. Raises: MalformedError."""
    _check_end(data)
    return [_paragraph(number, fields) for number, fields in _paragraphs(data.decode("utf-8", "surrogateescape"))]


def decode_paths(data: bytes) -> list[str]:
    """The paths of a list, as they are written. Raises: MalformedError."""
    _check_end(data)
    paths = _lines(data)
    if "" in paths:
        raise MalformedError(f"expected a path on each line, found an empty line {paths.index('') + 1}")
    return paths


def decode_md5sums(data: bytes) -> list[tuple[str, str]]:
    """(MD5, path without a leading slash) of each line. Raises: MalformedError."""
    text = data.decode("utf-8", "surrogateescape")
    sums = _MD5_LINE.findall(text)
    if len(sums) != text.count("\n") + (text[-1:] not in ("", "\n")):
        raise MalformedError("expected an MD5 sum and a path on each line, found other lines")
    return sums


def decode_diversions(data: bytes) -> list[Diversion]:
    """Raises: MalformedError."""
    _check_end(data)
    lines = _lines(data)
    if len(lines) % 3:
        raise MalformedError(f"expected three lines for each diversion, found {len(lines)} lines")
    return [Diversion(*lines[start : start + 3]) for start in range(0, len(lines), 3)]


def _check_end(data: bytes) -> None:
    if data and not data.endswith(b"\n"):
        raise MalformedError("expected a newline at the end, found none: the file is cut")


def _lines(data: bytes) -> list[str]:
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _paragraphs(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """The wanted fields of each paragraph, by name in lower case, and the number of its first line."""
    number = 1
    for block in text.split("\n\n"):
        if block.strip("\n"):
            yield number, _fields(number, block)
        number += block.count("\n") + 2


def _fields(number: int, block: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in block.split("\n"):
        if line[:1] in (" ", "\t"):
            if not name:
                raise MalformedError(f"the paragraph at line {number} begins with a continued line")
            if name in _WANTED:
                fields[name] += "\n" + line
        elif line:
            colon = line.find(":")
            name = line[:colon].rstrip().lower()
            if colon < 1 or not name or " " in name or "\t" in name:
                raise MalformedError(
                    f"the paragraph at line {number}: expected 'Field: value', found '{escape(line[:100])}'"
                )
            if name in _WANTED:
                if name in fields:
                    raise MalformedError(f"the paragraph at line {number} has the field {name} twice")
                fields[name] = line[colon + 1 :].strip()
    return fields


def _paragraph(number: int, fields: dict[str, str]) -> Paragraph:
    with within(f"the paragraph at line {number}"):
        name, version = fields.get("package", ""), fields.get("version", "")
        _check_name(name)
        status = fields.get("status", "").split()
        if len(status) not in (0, 3):
            raise MalformedError("expected a status of three words, found another number")
        source = _SOURCE.fullmatch(fields.get("source", ""))
        arch = fields.get("architecture", "")
        if "/" in arch or "\0" in arch:
            raise MalformedError(f"expected an architecture, found '{escape(arch[:100])}'")
        return Paragraph(
            name=name,
            state=status[2] if status else "",
            arch=arch,
            version=version,
            source=source[1] if source else name,
            source_version=source[2] if source and source[2] else version,
            size=_size(fields.get("installed-size", "")),
            conffiles=tuple(_conffiles(fields.get("conffiles", ""))),
        )


def _check_name(name: str) -> None:
    """Names become names of files: one that leads elsewhere is refused, any other is kept, odd as it may be."""
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise MalformedError(f"expected the name of a package, found '{escape(name[:100])}'")


def _size(text: str) -> int | None:
    return int(text) * 1024 if text.isascii() and text.isdigit() and len(text) < 16 else None


def _conffiles(text: str) -> Iterator[tuple[str, str]]:
    """New ones, whose sum is not known yet, are left out."""
    for line in text.split("\n"):
        match = _CONFFILE.fullmatch(line.strip())
        if match is not None:
            yield "/" + match[1], match[2].lower()
