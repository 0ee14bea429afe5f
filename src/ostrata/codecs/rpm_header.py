"""The header of an installed RPM package, as a package database stores it.

The format (RPM file format, "Header Structure", without the magic that a package file has in front): u32 count of
index entries, u32 size of the data, the entries (u32 tag, type, offset, count, all big-endian), the data. Strings
end at a NUL. What was signed is a region at the front of the index; entries behind it, made at installation, take
the place of earlier ones with the same tag. A path is DIRNAMES[DIRINDEXES[i]] + BASENAMES[i].

Every offset and count is a claim: each is compared with the data before anything is taken from it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from ostrata.errors import LimitError, MalformedError

MAX_ENTRIES = 0xFFFF
MAX_PATH = 4096
MAX_PATHS_RATIO = 64
"""Bytes of all paths for each byte of the header: paths share directories, and a few bytes could name gigabytes."""

_NAME, _VERSION, _RELEASE, _EPOCH, _BUILDTIME, _SIZE, _ARCH = 1000, 1001, 1002, 1003, 1006, 1009, 1022
_OLDFILENAMES, _FILEDIGESTS, _FILEFLAGS, _SOURCERPM, _CHANGELOGTIME = 1027, 1035, 1037, 1044, 1080
_DIRINDEXES, _BASENAMES, _DIRNAMES, _LONGSIZE, _FILEDIGESTALGO = 1116, 1117, 1118, 5009, 5011

_INT32, _INT64, _STRING, _STRING_ARRAY = 4, 5, 6, 8
_GHOST = 1 << 6
_MD5 = 1
_ALGORITHMS = {1: ("md5", 32), 2: ("sha1", 40), 8: ("sha256", 64), 9: ("sha384", 96), 10: ("sha512", 128)}
_HEX = re.compile("[0-9a-fA-F]+")
_COUNTS = struct.Struct(">II")
_ENTRY = struct.Struct(">IIII")


@dataclass(frozen=True, slots=True)
class RpmPackage:
    """What a header says. `paths` are absolute; `times` are the changelog's, in seconds since 1970, as they stand.

    `digests` are (algorithm, lower-case hex) by path, of those files whose content the package brings. `arch` and
    `source_rpm` are empty for what is no real package (gpg-pubkey).
    """

    name: str
    epoch: int | None
    version: str
    release: str
    arch: str
    source_rpm: str
    paths: tuple[str, ...]
    ghosts: frozenset[str]
    digests: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    times: tuple[int, ...] = ()
    build_time: int | None = None
    size: int | None = None

    @property
    def full_version(self) -> str:
        """``[epoch:]version-release``, as rpm's %{evr}."""
        epoch = "" if self.epoch is None else f"{self.epoch}:"
        return f"{epoch}{self.version}-{self.release}"

    @property
    def source(self) -> str:
        """The source package's name: ``bash`` of ``bash-5.2.15-3.src.rpm``; the package's own without one."""
        parts = self.source_rpm.rsplit("-", 2)
        return parts[0] if len(parts) == 3 and parts[0] else self.name


def decode(blob: bytes) -> RpmPackage:
    """The package that `blob` describes. Raises: MalformedError, LimitError."""
    header = _Header(blob)
    paths = header.paths()
    ghosts = _ghosts(paths, header.integers(_FILEFLAGS))
    return RpmPackage(
        name=header.needed_string(_NAME),
        epoch=header.integer(_EPOCH),
        version=header.needed_string(_VERSION),
        release=header.needed_string(_RELEASE),
        arch=header.string(_ARCH),
        source_rpm=header.string(_SOURCERPM),
        paths=paths,
        ghosts=ghosts,
        digests=_digests(paths, ghosts, header),
        times=header.integers(_CHANGELOGTIME),
        build_time=header.integer(_BUILDTIME),
        size=header.integer(_LONGSIZE) if _LONGSIZE in header.index else header.integer(_SIZE),
    )


class _Header:
    """The index, and the data that it points into."""

    def __init__(self, blob: bytes) -> None:
        if len(blob) < _COUNTS.size:
            raise MalformedError(f"expected an RPM header of at least {_COUNTS.size} bytes, found {len(blob)}")
        entries, size = _COUNTS.unpack_from(blob)
        if entries > MAX_ENTRIES:
            raise LimitError(f"expected an RPM header of at most {MAX_ENTRIES} entries, found {entries}")
        start = _COUNTS.size + entries * _ENTRY.size
        if start + size != len(blob):
            raise MalformedError(f"expected an RPM header of {start + size} bytes, as it says, found {len(blob)}")
        self.index = {
            tag: (kind, offset, count)
            for tag, kind, offset, count in _ENTRY.iter_unpack(memoryview(blob)[_COUNTS.size : start])
        }
        self._data = blob[start:]

    def needed_string(self, tag: int) -> str:
        value = self.string(tag)
        if not value:
            raise MalformedError(f"the RPM header has no tag {tag}")
        return value

    def string(self, tag: int) -> str:
        """Empty without the tag."""
        if tag not in self.index:
            return ""
        kind, offset, _ = self.index[tag]
        self._check_kind(tag, kind, _STRING)
        return self._split(tag, offset, 1)[0]

    def strings(self, tag: int) -> list[str]:
        """No strings without the tag."""
        if tag not in self.index:
            return []
        kind, offset, count = self.index[tag]
        self._check_kind(tag, kind, _STRING_ARRAY)
        return self._split(tag, offset, count)

    def integer(self, tag: int) -> int | None:
        values = self.integers(tag)
        return values[0] if values else None

    def integers(self, tag: int) -> tuple[int, ...]:
        """32 or 64 bits, unsigned; none without the tag."""
        if tag not in self.index:
            return ()
        kind, offset, count = self.index[tag]
        wide = kind == _INT64
        self._check_kind(tag, kind, _INT64 if wide else _INT32)
        if offset + count * (8 if wide else 4) > len(self._data):
            raise _outside(tag)
        return struct.unpack_from(f">{count}{'Q' if wide else 'I'}", self._data, offset)

    def paths(self) -> tuple[str, ...]:
        names = self.strings(_BASENAMES)
        if not names:
            return tuple(self.strings(_OLDFILENAMES))
        directories, indexes = self.strings(_DIRNAMES), self.integers(_DIRINDEXES)
        if len(indexes) != len(names):
            raise MalformedError(f"expected {len(names)} directory indexes, one for each file, found {len(indexes)}")
        if max(indexes) >= len(directories):
            raise MalformedError(f"expected {len(directories)} directories, found an index of {max(indexes)}")
        self._check_lengths(names, directories, indexes)
        return tuple([directories[index] + name for index, name in zip(indexes, names, strict=True)])

    def _check_lengths(self, names: list[str], directories: list[str], indexes: tuple[int, ...]) -> None:
        lengths = [len(directory) for directory in directories]
        if max(map(len, names)) + max(lengths) > MAX_PATH:
            raise LimitError(f"expected paths of at most {MAX_PATH} characters, found longer ones")
        if sum([lengths[index] for index in indexes]) > MAX_PATHS_RATIO * len(self._data):
            raise LimitError(f"expected paths of at most {MAX_PATHS_RATIO} times the header's size, found longer ones")

    def _split(self, tag: int, offset: int, count: int) -> list[str]:
        """`count` strings from `offset`."""
        if offset + count > len(self._data):  # each has its NUL at least
            raise _outside(tag)
        pieces = self._data[offset:].split(b"\0", count)
        if len(pieces) <= count:
            raise _outside(tag)
        return b"\0".join(pieces[:count]).decode("utf-8", "surrogateescape").split("\0") if count else []

    def _check_kind(self, tag: int, found: int, expected: int) -> None:
        if found != expected:
            raise MalformedError(f"the RPM header's tag {tag}: expected type {expected}, found {found}")


def _ghosts(paths: tuple[str, ...], flags: tuple[int, ...]) -> frozenset[str]:
    _check_count("flags", flags, paths)
    return frozenset([path for path, flag in zip(paths, flags, strict=False) if flag & _GHOST])


def _digests(paths: tuple[str, ...], ghosts: frozenset[str], header: _Header) -> dict[str, tuple[str, str]]:
    found = header.strings(_FILEDIGESTS)
    _check_count("digests", found, paths)
    number = header.integer(_FILEDIGESTALGO)
    known = _ALGORITHMS.get(_MD5 if number is None else number)
    if known is None:
        return {}
    algorithm, length = known
    digests = {}
    for path, text in zip(paths, found, strict=False):
        if text and path not in ghosts:
            if len(text) != length or not _HEX.fullmatch(text):
                raise MalformedError(f"expected a {algorithm} digest of {length} hex digits, found another text")
            digests[path] = (algorithm, text.lower())
    return digests


def _check_count(what: str, found: tuple[int, ...] | list[str], paths: tuple[str, ...]) -> None:
    if found and len(found) != len(paths):
        raise MalformedError(f"expected {len(paths)} {what}, one for each file, found {len(found)}")


def _outside(tag: int) -> MalformedError:
    return MalformedError(f"the RPM header's tag {tag} reaches beyond the header's data")
