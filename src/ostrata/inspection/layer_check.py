"""Is every byte of an encapsulated layer right? The rules of `formats.encapsulated`, from the reader's side.

What importers ask of a layer, and more:

* A file object comes directly behind its ``.file-xattrs-link``, once, and hashes to its name: owner and mode
  from the tar header, extended attributes from the link, target or content from the entry.
* The link is a hard link to a ``.file-xattrs`` object earlier in the layer, named by its checksum
  (ostree-ext-0.15), or a regular file (bootc). With the latter the object has PAX records of all its
  extended attributes but the SELinux label.
* A commit, dirtree or dirmeta hashes to its name, is in normal form, and is only in the first layer, where
  the commit comes first.
* All else is paths: hard links to a file object earlier in the layer, or empty files behind the object of an
  empty file; with that object's owner and mode.
* Directories come before what is in them, in layers that have any.

Importers look only at names that begin with ``sysroot/ostree/repo/``, letter by letter, and they ignore
files there that they do not know.

A tar that cannot be read ends the check; everything else is collected, so that one look shows the whole
damage.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from ostrata.codecs import ostree
from ostrata.codecs.tar_paths import normalise
from ostrata.codecs.tar_reader import XATTR_PREFIX, Content, Kind, TarEntry, read_members
from ostrata.errors import LimitError, MalformedError, OstrataError, UnsupportedError, escape
from ostrata.formats import encapsulated
from ostrata.inspection.findings import FindingList, Findings
from ostrata.model.digest import is_checksum
from ostrata.model.ostree import FileHeader

MAX_XATTRS = 1 << 20
"""Bytes of the extended attributes of one object that importers read."""
MAX_METADATA = 10 << 20
"""Bytes of the largest metadata object that importers read."""

REPOSITORY = encapsulated.REPOSITORY.decode("ascii")
SKELETON = frozenset(
    ["sysroot", "sysroot/ostree", "sysroot/ostree/repo"]
    + [f"{REPOSITORY}objects", *(f"{REPOSITORY}objects/{number:02x}" for number in range(256))]
    + [f"{REPOSITORY}{name}" for name in ("extensions", "refs", "refs/heads", "refs/mirrors", "refs/remotes")]
    + [f"{REPOSITORY}{name}" for name in ("state", "tmp", "tmp/cache")]
)
"""The directories of the empty repository that layers begin with."""

_SELINUX = XATTR_PREFIX + encapsulated.SELINUX.decode("ascii")
_SYMLINK_MODE = stat.S_IFLNK | 0o777

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FileObject:
    """A file object as found: its header, and its content's size in bytes."""

    header: FileHeader
    size: int


FoundDirectory = tuple[str, int, int, int]
"""A directory's path, uid, gid and permission bits."""


@dataclass(frozen=True, slots=True)
class LayerContents:
    """What is in a layer, and what is wrong with it.

    `layout` is the layout of its file objects, None when it has none. `commit` is the commit's checksum and
    bytes, `detached` its detached metadata; `dirtrees` and `dirmetas` are bytes by checksum. `paths` are
    (path in the running system, file checksum) in the layer's order, `directories` those outside of the
    repository. `ignored` are files in the repository that importers pass over. `size` is the tar's length in
    bytes.
    """

    layout: str | None
    objects: Mapping[str, FileObject]
    commit: tuple[str, bytes] | None
    detached: bytes | None
    dirtrees: Mapping[str, bytes]
    dirmetas: Mapping[str, bytes]
    paths: tuple[tuple[str, str], ...]
    directories: tuple[FoundDirectory, ...]
    size: int
    entries: int
    ignored: Findings = field(default_factory=Findings)
    problems: Findings = field(default_factory=Findings)


def check_layer(chunks: Iterable[bytes], *, first: bool) -> LayerContents:
    """Read a layer's tar, given in pieces, and check all that can be checked without the other layers.

    `first` is the layer with the commit. Raises: MalformedError, UnsupportedError, LimitError for a tar that
    cannot be read; violations of the layer's own rules are in `LayerContents.problems`.
    """
    counted = _Counted(chunks)
    checker = _LayerChecker(first)
    for entry, content in read_members(counted):
        try:
            checker.check(entry, content)
        except _ViolationError as violation:
            checker.problems.add(entry.path, str(violation))
        except OstrataError as error:
            error.places.append(escape(entry.path))
            raise
    return checker.finish(counted.size)


class _ViolationError(Exception):
    """A broken rule: becomes a finding with the entry's name."""


class _Counted:
    """The pieces, with their total size."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.size += len(chunk)
            yield chunk


@dataclass(frozen=True, slots=True)
class _Link:
    """A ``.file-xattrs-link`` that waits for its object; `xattrs` is None when they could not be read."""

    checksum: str
    layout: str
    xattrs: bytes | None


class _LayerChecker:
    """Takes the entries one by one."""

    def __init__(self, first: bool) -> None:
        self.problems = FindingList()
        self._first = first
        self._ignored = FindingList()
        self._entries = 0
        self._object_entries = 0
        self._layouts: set[str] = set()
        self._xattrs: dict[str, bytes] = {}
        self._link: _Link | None = None
        self._objects: dict[str, FileObject] = {}
        self._last_object: FileObject | None = None
        self._last_checksum = ""
        self._commit: tuple[str, bytes] | None = None
        self._detached: bytes | None = None
        self._metadata: dict[str, dict[str, bytes]] = {"dirtree": {}, "dirmeta": {}}
        self._paths: dict[str, str] = {}
        self._directories: list[FoundDirectory] = []
        self._known_directories: set[str] = set()
        self._without_parent = FindingList()
        self._has_config = False
        self._object_rules: dict[str, Callable[[TarEntry, Content, str], None]] = {
            "file": self._file,
            "file-xattrs": self._file_xattrs,
            "file-xattrs-link": self._file_xattrs_link,
            "commit": self._commit_object,
            "commitmeta": self._detached_metadata,
            "dirtree": self._dirtree,
            "dirmeta": self._dirmeta,
        }

    def check(self, entry: TarEntry, content: Content) -> None:
        self._entries += 1
        is_file_object = entry.path.endswith(".file") and entry.path.startswith(REPOSITORY)
        if entry.pax and not is_file_object and _pax_xattrs(entry):
            self.problems.add(entry.path, "PAX records of extended attributes, which only file objects have")
        if entry.kind is Kind.DIRECTORY:
            self._directory(entry)
        elif entry.path.startswith(REPOSITORY):
            self._repository_file(entry, content)
        else:
            self._path(entry)

    def finish(self, size: int) -> LayerContents:
        """The end of the layer: what is missing."""
        if self._link is not None:
            self.problems.add(self._link.checksum, "dangling xattrs for this file object at the end of the layer")
        if len(self._layouts) > 1:
            self.problems.add("layer", "both layouts in one layer: " + " and ".join(sorted(self._layouts)))
        if self._first and self._commit is None:
            self.problems.add("layer", "no commit object in the first layer")
        if self._first and not self._has_config:
            self.problems.add(f"{REPOSITORY}config", "missing in the first layer")
        if self._directories:
            self.problems.extend(self._without_parent.finish())
        return LayerContents(
            layout=min(self._layouts, default=None),
            objects=self._objects,
            commit=self._commit,
            detached=self._detached,
            dirtrees=self._metadata["dirtree"],
            dirmetas=self._metadata["dirmeta"],
            paths=tuple(self._paths.items()),
            directories=tuple(self._directories),
            size=size,
            entries=self._entries,
            ignored=self._ignored.finish(),
            problems=self.problems.finish(),
        )

    # Directories and paths

    def _directory(self, entry: TarEntry) -> None:
        path = _valid(normalise, entry.path)
        if path in SKELETON:
            self._known_directories.add(path)
            if _is_default(entry, 0o755):
                return
            if path != "sysroot":  # that one can be a parent directory, with the commit's attributes
                raise _ViolationError(f"expected a repository directory 0:0 0755, found {_attributes(entry)}")
        elif f"{path}/".startswith(REPOSITORY):
            raise _ViolationError("a directory that no repository has")
        if not self._first and not path:
            raise _ViolationError("an entry for the root, which only the first layer has")
        if not self._first and path in self._known_directories and path != "sysroot":
            raise _ViolationError("a directory twice in one layer")
        self._expect_parent(path)
        self._known_directories.add(path)
        self._directories.append((path, entry.uid, entry.gid, entry.mode))

    def _path(self, entry: TarEntry) -> None:
        path = _valid(normalise, entry.path)
        if path.startswith(REPOSITORY):
            raise _ViolationError(f"importers ignore what is not spelled '{REPOSITORY}...'")
        if path.rpartition("/")[2].startswith(".wh."):
            raise _ViolationError("a whiteout, which deletes a path")
        if path in self._paths:
            raise _ViolationError("a path twice in one layer")
        checksum, found = self._object_of(entry)
        self._expect_parent(path)
        self._paths[path] = checksum
        wanted = found.header.attributes
        if (entry.uid, entry.gid, entry.mode) != (wanted.uid, wanted.gid, wanted.mode):
            expected = f"{wanted.uid}:{wanted.gid} {wanted.mode:04o}"
            raise _ViolationError(f"expected the object's {expected}, found {_attributes(entry)}")

    def _expect_parent(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        if not parent or parent in self._known_directories:
            return
        # The first layer has neither the directories below /sysroot nor, perhaps, the /var of its own
        # /var/tmp.
        if not (self._first and (path == "var/tmp" or parent.startswith("sysroot/"))):
            self._without_parent.add(path, f"no entry for its parent directory '{escape(parent)}' before it")

    def _object_of(self, entry: TarEntry) -> tuple[str, FileObject]:
        """The file object that a path's entry stands for."""
        if entry.kind is Kind.HARD_LINK:
            return self._linked_object(entry)
        if entry.kind is not Kind.FILE:
            raise _ViolationError(f"a {entry.kind.value} outside of the repository: expected a hard link to an object")
        if entry.size:
            raise _ViolationError("content outside of the repository: expected a hard link to an object")
        if self._last_object is None or not _is_empty_file(self._last_object):
            raise _ViolationError("an empty file that does not follow the object of an empty file")
        return self._last_checksum, self._last_object

    def _linked_object(self, entry: TarEntry) -> tuple[str, FileObject]:
        target = _valid(normalise, entry.link_target)
        if not target.startswith(REPOSITORY):
            raise _ViolationError(f"a hard link to '{escape(target)}': expected a file object")
        kind, checksum = _parse_object_path(target)
        if kind != "file":
            raise _ViolationError(f"a hard link to a {kind} object: expected a file object")
        found = self._objects.get(checksum)
        if found is None:
            raise _ViolationError(f"a hard link to the object {checksum}, which is not earlier in this layer")
        if _is_empty_file(found):
            raise _ViolationError("a hard link to the object of an empty file: expected an empty file")
        return checksum, found

    # The repository

    def _repository_file(self, entry: TarEntry, content: Content) -> None:
        name = entry.path[len(REPOSITORY) :]
        if name == "config":
            self._config(entry, content)
        elif name.startswith("objects/"):
            kind, checksum = _parse_object_path(entry.path)
            self._check_order(entry, kind)
            self._object_rules[kind](entry, content, checksum)
        elif name.startswith("xattrs/"):
            raise _ViolationError("extended attributes of the format version 0, which is not read")
        elif not name.startswith("refs/"):
            self._ignored.add(entry.path, "a file that importers pass over")

    def _config(self, entry: TarEntry, content: Content) -> None:
        self._has_config = True
        _expect_default_file(entry)
        if _read(entry, content, MAX_XATTRS, "a config") != encapsulated.REPOSITORY_CONFIG:
            raise _ViolationError("the repository's config is not that of an encapsulated image")

    def _check_order(self, entry: TarEntry, kind: str) -> None:
        """The first layer's first object is the commit, its second another metadata object."""
        position = self._object_entries
        self._object_entries += 1
        if not self._first:
            if kind == "commit":
                raise _ViolationError("a commit object in a layer that is not the first")
            if kind in ("commitmeta", "dirtree", "dirmeta"):
                raise _ViolationError("a metadata object in a layer that is not the first")
        elif position == 0 and kind != "commit":
            self.problems.add(entry.path, "the first object is not the commit")
        elif position == 1 and kind not in ("commit", "commitmeta", "dirtree", "dirmeta"):
            self.problems.add(entry.path, "expected a metadata object directly behind the commit")

    # File objects

    def _file_xattrs(self, entry: TarEntry, content: Content, checksum: str) -> None:
        _expect_default_file(entry)
        data = _read(entry, content, MAX_XATTRS, "extended attributes")
        if checksum in self._xattrs:
            raise _ViolationError("extended attributes twice in one layer")
        self._xattrs[checksum] = data
        _valid(ostree.verify, "file-xattrs", checksum, data)
        _valid(ostree.decode_xattrs, data)

    def _file_xattrs_link(self, entry: TarEntry, content: Content, checksum: str) -> None:
        previous = self._link
        is_split = entry.kind is Kind.HARD_LINK
        layout = encapsulated.OSTREE_EXT_0_15 if is_split else encapsulated.BOOTC
        self._link = _Link(checksum, layout, None)
        self._layouts.add(layout)
        if previous is not None:
            self.problems.add(entry.path, f"found previous dangling xattrs for the file object {previous.checksum}")
        xattrs = self._split_xattrs(entry) if is_split else _read(entry, content, MAX_XATTRS, "extended attributes")
        self._link = _Link(checksum, layout, xattrs)
        if not _is_default(entry, 0o644):
            raise _ViolationError(f"expected 0:0 0644, found {_attributes(entry)}")
        if entry.kind not in (Kind.FILE, Kind.HARD_LINK):
            raise _ViolationError(f"expected a file or a hard link, found a {entry.kind.value}")

    def _split_xattrs(self, entry: TarEntry) -> bytes:
        kind, checksum = _parse_object_path(_valid(normalise, entry.link_target))
        if kind != "file-xattrs":
            raise _ViolationError(f"a hard link to a {kind} object: expected file-xattrs")
        if checksum not in self._xattrs:
            raise _ViolationError(f"failed to find xattrs content {checksum} earlier in this layer")
        return self._xattrs[checksum]

    def _file(self, entry: TarEntry, content: Content, checksum: str) -> None:
        link, self._link = self._link, None
        is_again = checksum in self._objects
        found = FileObject(_file_header(entry, b""), entry.size)
        self._objects.setdefault(checksum, found)
        self._last_object, self._last_checksum = self._objects[checksum], checksum
        if link is None:
            raise _ViolationError("missing xattrs reference directly before the file object")
        if link.checksum != checksum:
            raise _ViolationError(f"object mismatch: found xattrs for {link.checksum}")
        if is_again:
            raise _ViolationError("duplicate object")
        if link.xattrs is None:
            return  # what is wrong with them has been said
        header = _file_header(entry, link.xattrs)
        self._objects[checksum] = self._last_object = FileObject(header, entry.size)
        actual = _checksum(header, content)
        if actual != checksum:
            raise _ViolationError(f"corrupted file object: expected checksum {checksum}, found {actual}")
        _check_pax_xattrs(entry, header, link.layout)
        if entry.kind is Kind.SYMLINK and entry.mode != 0o777:
            raise _ViolationError(f"expected a symlink with the mode 0777, found {entry.mode:04o}")

    # Metadata objects

    def _commit_object(self, entry: TarEntry, content: Content, checksum: str) -> None:
        data = self._metadata_object(entry, content, "commit", checksum)
        if self._commit is not None:
            raise _ViolationError("found multiple commit objects")
        self._commit = (checksum, data)
        _valid(ostree.decode_commit, data)

    def _detached_metadata(self, entry: TarEntry, content: Content, checksum: str) -> None:
        _expect_default_file(entry)
        data = _read(entry, content, MAX_METADATA, "a metadata object")
        if self._commit is None or self._commit[0] != checksum:
            raise _ViolationError("detached metadata of another commit")
        if self._detached is not None:
            raise _ViolationError("detached metadata twice")
        self._detached = data
        if self._object_entries != 2:
            raise _ViolationError("detached metadata that is not directly behind the commit")
        _valid(ostree.decode_metadata, data)

    def _dirtree(self, entry: TarEntry, content: Content, checksum: str) -> None:
        _valid(ostree.decode_dirtree, self._directory_object(entry, content, "dirtree", checksum))

    def _dirmeta(self, entry: TarEntry, content: Content, checksum: str) -> None:
        _valid(ostree.decode_dirmeta, self._directory_object(entry, content, "dirmeta", checksum))

    def _directory_object(self, entry: TarEntry, content: Content, kind: str, checksum: str) -> bytes:
        data = self._metadata_object(entry, content, kind, checksum)
        if checksum in self._metadata[kind]:
            raise _ViolationError("duplicate object")
        self._metadata[kind][checksum] = data
        return data

    def _metadata_object(self, entry: TarEntry, content: Content, kind: str, checksum: str) -> bytes:
        _expect_default_file(entry)
        return _valid(ostree.verify, kind, checksum, _read(entry, content, MAX_METADATA, "a metadata object"))


def _valid(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `function` returns; its refusal is a violation."""
    try:
        return function(*args, **kwargs)
    except (MalformedError, UnsupportedError, LimitError) as error:
        raise _ViolationError(error.what) from error


def _parse_object_path(path: str) -> tuple[str, str]:
    """(type, checksum) of ``sysroot/ostree/repo/objects/XX/REST.TYPE``."""
    parts = path[len(REPOSITORY) :].split("/") if path.startswith(REPOSITORY) else []
    if len(parts) != 3 or parts[0] != "objects":
        raise _ViolationError(f"'{escape(path)}' is no object's path: expected objects/XX/REST.TYPE")
    rest, _, kind = parts[2].partition(".")
    if len(parts[1]) != 2 or not is_checksum(parts[1] + rest):
        raise _ViolationError(f"invalid checksum part '{escape(parts[1])}/{escape(rest)}'")
    if kind not in ("file", "file-xattrs", "file-xattrs-link", "commit", "commitmeta", "dirtree", "dirmeta"):
        raise _ViolationError(f"invalid object type '{escape(kind)}'")
    return kind, parts[1] + rest


def _read(entry: TarEntry, content: Content, limit: int, what: str) -> bytes:
    if entry.size > limit:
        raise _ViolationError(f"expected {what} of at most {limit} bytes, found {entry.size}")
    return b"".join(content)


def _expect_default_file(entry: TarEntry) -> None:
    if entry.kind is not Kind.FILE:
        raise _ViolationError(f"expected a file, found a {entry.kind.value}")
    if not _is_default(entry, 0o644):
        raise _ViolationError(f"expected 0:0 0644, found {_attributes(entry)}")


def _is_default(entry: TarEntry, mode: int) -> bool:
    return entry.mode == mode and not entry.uid and not entry.gid


def _attributes(entry: TarEntry) -> str:
    return f"{entry.uid}:{entry.gid} {entry.mode:04o}"


def _is_empty_file(found: FileObject) -> bool:
    return found.header.target is None and not found.size


def _file_header(entry: TarEntry, xattrs: bytes) -> FileHeader:
    """The header of a file object, as importers take it from the tar entry."""
    if entry.kind not in (Kind.FILE, Kind.SYMLINK):
        raise _ViolationError(f"expected a file or a symlink, found a {entry.kind.value}")
    mode = _SYMLINK_MODE if entry.kind is Kind.SYMLINK else stat.S_IFREG | entry.mode
    try:
        entry.link_target.encode("utf-8")
    except UnicodeEncodeError:
        raise _ViolationError(f"the symlink target '{escape(entry.link_target)}' is not UTF-8") from None
    return _valid(ostree.file_header, entry.uid, entry.gid, mode, xattrs, entry.link_target)


def _checksum(header: FileHeader, content: Content) -> str:
    hasher = hashlib.sha256(ostree.encode_file_header(header))
    for piece in content:
        hasher.update(piece)
    return hasher.hexdigest()


def _pax_xattrs(entry: TarEntry) -> dict[str, bytes]:
    return {key: value for key, value in entry.pax.items() if key.startswith(XATTR_PREFIX)}


def _check_pax_xattrs(entry: TarEntry, header: FileHeader, layout: str) -> None:
    """Container runtimes read extended attributes from PAX records; they get all but the SELinux label."""
    found = _pax_xattrs(entry)
    expected: dict[str, bytes] = {}
    if layout == encapsulated.BOOTC:
        pairs = header.attributes.xattrs
        expected = {XATTR_PREFIX + name.decode("utf-8", "surrogateescape"): value for name, value in pairs}
        expected.pop(_SELINUX, None)
    if found == expected:
        return
    names = sorted(key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key))
    shown = ", ".join(escape(name.removeprefix(XATTR_PREFIX)) for name in names[:5])
    raise _ViolationError(f"the PAX records differ from the object's extended attributes: {shown}")
