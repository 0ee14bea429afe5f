"""One layer of an image as an index: what its tar changes in the tree below, in order, and where content lies.

A layer is a list of changes (image-spec, layer.md): entries that are put into the tree, and whiteouts, empty files
whose names begin with ``.wh.``, that hide what lower layers have. Names and markers:

* A name is a path below the root: a leading ``/`` is dropped, as every runtime does; ``..`` is refused, wherever it
  stands.
* ``.wh.NAME`` hides NAME; ``.wh..wh..opq`` hides everything in its directory. ``.wh.``, ``.wh..`` and ``.wh...`` would
  hide the directory itself or its parent: they are refused, and so is an entry below a whiteout.
* Other names that begin with ``.wh..wh.`` are notes of the AUFS file system to itself: they are passed over.
* Extended attributes are the PAX records ``SCHILY.xattr.NAME``.

The index is a plain value that a worker process makes and sends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from ostrata.codecs.tar_paths import normalise
from ostrata.codecs.tar_reader import BLOCK, XATTR_PREFIX, Kind, TarEntry, read_members
from ostrata.errors import LimitError, MalformedError, OstrataError, escape
from ostrata.model.tree import Attributes, Xattrs

MAX_ENTRIES = 1_000_000
"""The most entries of one layer."""
MAX_CHARACTERS = 1 << 27
"""Characters of all names and link targets of one layer."""
MAX_XATTRS = 1 << 26
"""Bytes of all different sets of extended attributes of one layer."""

_WHITEOUT = ".wh."
_AUFS = ".wh..wh."
_OPAQUE = ".wh..wh..opq"
_INVALID = (".wh.", ".wh..", ".wh...")
_FOREIGN_RECORDS = ("LIBARCHIVE.xattr.", "RHT.security.", "SCHILY.acl.", "SCHILY.fflags")
_SYMLINK_MODE = 0o777


class Change(Enum):
    """What an entry of a layer does to the tree."""

    DIRECTORY = "directory"
    FILE = "file"
    SYMLINK = "symlink"
    HARD_LINK = "hard link"
    CHARACTER_DEVICE = "character device"
    BLOCK_DEVICE = "block device"
    FIFO = "FIFO"
    WHITEOUT = "whiteout"
    OPAQUE = "opaque whiteout"


class LayerEntry(NamedTuple):
    """One change. Of a whiteout `path` is what it hides, of an opaque one the directory.

    `attributes` is a position in `LayerIndex.attributes`. `size` and `offset` say where a file's content is in the tar.
    `target` is a symlink's as stored, a hard link's as a path of the tree. `device` is (major, minor).
    """

    path: str
    change: Change
    attributes: int
    size: int = 0
    offset: int = 0
    target: str = ""
    device: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something strange that is no error: what, on how many entries, and the first of them."""

    what: str
    path: str
    count: int


@dataclass(frozen=True, slots=True)
class LayerIndex:
    """All changes of a layer, in order."""

    entries: tuple[LayerEntry, ...]
    attributes: tuple[Attributes, ...]
    findings: tuple[Finding, ...] = ()


def index_layer(pieces: Iterable[bytes]) -> LayerIndex:
    """Read a layer's tar to its end. Raises: MalformedError, UnsupportedError, LimitError, naming the entry."""
    indexer = _Indexer()
    for entry, content in read_members(pieces):
        try:
            indexer.add(entry)
        except OstrataError as error:
            error.places.append(escape(entry.path))
            raise
        content.skip()
    return indexer.finish()


class FindingCounter:
    """Counts findings by what they say."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[str, int]] = {}

    def add(self, what: str, path: str, count: int = 1) -> None:
        """`path` is a path of the tree."""
        first, before = self._found.get(what, (path, 0))
        self._found[what] = first, before + count

    def extend(self, findings: Iterable[Finding]) -> None:
        """Add what somebody else counted."""
        for finding in findings:
            self.add(finding.what, finding.path, finding.count)

    def finish(self) -> tuple[Finding, ...]:
        """In the order of the first of each."""
        return tuple(Finding(what, path, count) for what, (path, count) in self._found.items())


class _Indexer:
    """Takes the entries one by one."""

    def __init__(self) -> None:
        self._entries: list[LayerEntry] = []
        self._attributes: dict[Attributes, int] = {}
        self._findings = FindingCounter()
        self._characters = 0
        self._xattr_sizes: dict[Xattrs, int] = {(): 0}
        self._xattr_size = 0

    def add(self, entry: TarEntry) -> None:
        path = self._path(entry.path)
        if _WHITEOUT in path and (path.startswith(_WHITEOUT) or f"/{_WHITEOUT}" in path):
            self._add_whiteout(entry, path)
        else:
            self._append(_CHANGES[entry.kind](self, entry, path))

    def finish(self) -> LayerIndex:
        return LayerIndex(tuple(self._entries), tuple(self._attributes), self._findings.finish())

    def _append(self, change: LayerEntry) -> None:
        self._entries.append(change)
        self._characters += len(change.path) + len(change.target)
        if len(self._entries) > MAX_ENTRIES or self._characters > MAX_CHARACTERS:
            raise LimitError(
                f"expected at most {MAX_ENTRIES:,} entries and {MAX_CHARACTERS:,} characters of names in a layer, "
                "found more"
            )

    def _path(self, name: str) -> str:
        if name[0] == "/":
            name = name.lstrip("/") or "./"
            self._findings.add("an absolute name, read as a path below the root", name)
        return normalise(name)

    # Whiteouts

    def _add_whiteout(self, entry: TarEntry, path: str) -> None:
        directory, _, name = path.rpartition("/")
        above = directory.split("/")
        if any(part.startswith(_AUFS) for part in above) or (name.startswith(_AUFS) and name != _OPAQUE):
            self._findings.add("a note of AUFS to itself, passed over", path)
            return
        if any(part.startswith(_WHITEOUT) for part in above):
            raise MalformedError("an entry below a whiteout")
        if name in _INVALID:
            raise MalformedError(f"'{escape(name)}' is no whiteout: a name must follow {_WHITEOUT}")
        if entry.kind not in (Kind.FILE, Kind.HARD_LINK):
            raise MalformedError(f"expected a file as whiteout, found a {entry.kind.value}")
        if name == _OPAQUE:
            self._append(LayerEntry(directory, Change.OPAQUE, 0))
        else:
            hidden = name.removeprefix(_WHITEOUT)
            self._append(LayerEntry(f"{directory}/{hidden}" if directory else hidden, Change.WHITEOUT, 0))

    # Entries

    def _directory(self, entry: TarEntry, path: str) -> LayerEntry:
        return LayerEntry(path, Change.DIRECTORY, self._attributes_of(entry))

    def _file(self, entry: TarEntry, path: str) -> LayerEntry:
        _check_not_root(path)
        return LayerEntry(path, Change.FILE, self._attributes_of(entry), entry.size, entry.offset + BLOCK)

    def _symlink(self, entry: TarEntry, path: str) -> LayerEntry:
        _check_not_root(path)
        attributes = self._attributes_of(entry, mode=_SYMLINK_MODE)
        return LayerEntry(path, Change.SYMLINK, attributes, 0, entry.offset + BLOCK, entry.link_target)

    def _hard_link(self, entry: TarEntry, path: str) -> LayerEntry:
        _check_not_root(path)
        target = self._path(entry.link_target)
        return LayerEntry(path, Change.HARD_LINK, self._attributes_of(entry), target=target)

    def _special(self, entry: TarEntry, path: str) -> LayerEntry:
        _check_not_root(path)
        change = _SPECIAL[entry.kind]
        return LayerEntry(path, change, self._attributes_of(entry), device=entry.device)

    def _attributes_of(self, entry: TarEntry, *, mode: int | None = None) -> int:
        xattrs = self._xattrs(entry.pax, entry.path) if entry.pax else ()
        attributes = Attributes(entry.mode if mode is None else mode, entry.uid, entry.gid, xattrs, entry.mtime)
        return self._attributes.setdefault(attributes, len(self._attributes))

    def _xattrs(self, records: Mapping[str, bytes], path: str) -> Xattrs:
        pairs: list[tuple[bytes, bytes]] = []
        for key, value in records.items():
            if key.startswith(XATTR_PREFIX):
                pairs.append((key[len(XATTR_PREFIX) :].encode("utf-8", "surrogateescape"), value))
            elif key.startswith(_FOREIGN_RECORDS):
                prefix = next(prefix for prefix in _FOREIGN_RECORDS if key.startswith(prefix))
                self._findings.add(f"a PAX record {prefix}*, which is not read", path)
        xattrs = tuple(sorted(pairs))
        if xattrs and not xattrs[0][0]:
            raise MalformedError("an extended attribute without a name")
        self._check_size(xattrs)
        return xattrs

    def _check_size(self, xattrs: Xattrs) -> None:
        if xattrs not in self._xattr_sizes:
            size = self._xattr_sizes[xattrs] = sum(len(name) + len(value) for name, value in xattrs)
            self._xattr_size += size
        if self._xattr_size > MAX_XATTRS:
            raise LimitError(f"expected at most {MAX_XATTRS:,} bytes of extended attributes in a layer, found more")


def _check_not_root(path: str) -> None:
    if not path:
        raise MalformedError("the root of the tree is a directory")


_SPECIAL = {
    Kind.CHARACTER_DEVICE: Change.CHARACTER_DEVICE,
    Kind.BLOCK_DEVICE: Change.BLOCK_DEVICE,
    Kind.FIFO: Change.FIFO,
}
_CHANGES = {
    Kind.DIRECTORY: _Indexer._directory,
    Kind.FILE: _Indexer._file,
    Kind.SYMLINK: _Indexer._symlink,
    Kind.HARD_LINK: _Indexer._hard_link,
    Kind.CHARACTER_DEVICE: _Indexer._special,
    Kind.BLOCK_DEVICE: _Indexer._special,
    Kind.FIFO: _Indexer._special,
}
