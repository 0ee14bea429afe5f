"""Is every byte of an encapsulated layer right?

The rules of the objects in it are those of importers (`formats.encapsulated_reader`). Runtimes ask for more:

* All else is paths: hard links to a file object earlier in the layer, or empty files behind the object of an
  empty file; with that object's owner and mode.
* Directories come before what is in them, in layers that have any.
* The repository is the empty one that every writer makes, but for its objects.

A tar that cannot be read ends the check; everything else is collected, so that one look shows the whole
damage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ostrata.codecs import ostree
from ostrata.codecs.tar_paths import normalise
from ostrata.codecs.tar_reader import Content, Kind, TarEntry, read_members
from ostrata.errors import OstrataError, escape
from ostrata.formats import encapsulated
from ostrata.formats.encapsulated_reader import (
    REPOSITORY,
    ObjectRules,
    ViolationError,
    is_default,
    parse_object_path,
    pax_xattrs,
    show_attributes,
    valid,
)
from ostrata.inspection.findings import FindingList, Findings
from ostrata.model.ostree import FileHeader

MAX_CONFIG = 1 << 20

SKELETON = frozenset(
    ["sysroot", "sysroot/ostree", "sysroot/ostree/repo"]
    + [f"{REPOSITORY}objects", *(f"{REPOSITORY}objects/{number:02x}" for number in range(256))]
    + [f"{REPOSITORY}{name}" for name in ("extensions", "refs", "refs/heads", "refs/mirrors", "refs/remotes")]
    + [f"{REPOSITORY}{name}" for name in ("state", "tmp", "tmp/cache")]
)
"""The directories of the empty repository that layers begin with."""


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
        except ViolationError as violation:
            checker.problems.add(entry.path, violation.what)
        except OstrataError as error:
            error.places.append(escape(entry.path))
            raise
    return checker.finish(counted.size)


class _Counted:
    """The pieces, with their total size."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.size += len(chunk)
            yield chunk


class _LayerChecker:
    """Takes the entries one by one."""

    def __init__(self, first: bool) -> None:
        self.problems = FindingList()
        self._first = first
        self._ignored = FindingList()
        self._entries = 0
        self._rules = ObjectRules(self, first=first)
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

    def check(self, entry: TarEntry, content: Content) -> None:
        self._entries += 1
        is_file_object = entry.path.endswith(".file") and entry.path.startswith(REPOSITORY)
        if entry.pax and not is_file_object and pax_xattrs(entry):
            self.problems.add(entry.path, "PAX records of extended attributes, which only file objects have")
        if entry.kind is Kind.DIRECTORY:
            self._directory(entry)
        elif entry.path.startswith(REPOSITORY):
            self._repository_file(entry, content)
        else:
            self._path(entry)

    def finish(self, size: int) -> LayerContents:
        """The end of the layer: what is missing."""
        self._rules.finish()
        if self._first and not self._has_config:
            self.problems.add(f"{REPOSITORY}config", "missing in the first layer")
        if self._directories:
            self.problems.extend(self._without_parent.finish())
        return LayerContents(
            layout=min(self._rules.layouts, default=None),
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

    # What the objects' rules hand on

    def announce(self, checksum: str, header: FileHeader, size: int) -> None:
        self._last_object = self._objects.setdefault(checksum, FileObject(header, size))
        self._last_checksum = checksum

    def file(self, checksum: str, header: FileHeader, size: int, content: Content) -> str:
        self._objects[checksum] = self._last_object = FileObject(header, size)
        hasher = hashlib.sha256(ostree.encode_file_header(header))
        for piece in content:
            hasher.update(piece)
        return hasher.hexdigest()

    def metadata(self, kind: str, checksum: str, data: bytes) -> None:
        if kind == "commit":
            self._commit = (checksum, data)
        elif kind == "commitmeta":
            self._detached = data
        else:
            self._metadata[kind][checksum] = data

    def violation(self, place: str, what: str) -> None:
        self.problems.add(place, what)

    remark = violation

    # Directories and paths

    def _directory(self, entry: TarEntry) -> None:
        path = valid(normalise, entry.path)
        if path in SKELETON:
            self._known_directories.add(path)
            if is_default(entry, 0o755):
                return
            if path != "sysroot":  # that one can be a parent directory, with the commit's attributes
                raise ViolationError(f"expected a repository directory 0:0 0755, found {show_attributes(entry)}")
        elif f"{path}/".startswith(REPOSITORY):
            raise ViolationError("a directory that no repository has")
        if not self._first and not path:
            raise ViolationError("an entry for the root, which only the first layer has")
        if not self._first and path in self._known_directories and path != "sysroot":
            raise ViolationError("a directory twice in one layer")
        self._expect_parent(path)
        self._known_directories.add(path)
        self._directories.append((path, entry.uid, entry.gid, entry.mode))

    def _path(self, entry: TarEntry) -> None:
        path = valid(normalise, entry.path)
        if path.startswith(REPOSITORY):
            raise ViolationError(f"importers ignore what is not spelled '{REPOSITORY}...'")
        if path.rpartition("/")[2].startswith(".wh."):
            raise ViolationError("a whiteout, which deletes a path")
        if path in self._paths:
            raise ViolationError("a path twice in one layer")
        checksum, found = self._object_of(entry)
        self._expect_parent(path)
        self._paths[path] = checksum
        wanted = found.header.attributes
        if (entry.uid, entry.gid, entry.mode) != (wanted.uid, wanted.gid, wanted.mode):
            expected = f"{wanted.uid}:{wanted.gid} {wanted.mode:04o}"
            raise ViolationError(f"expected the object's {expected}, found {show_attributes(entry)}")

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
            raise ViolationError(f"a {entry.kind.value} outside of the repository: expected a hard link to an object")
        if entry.size:
            raise ViolationError("content outside of the repository: expected a hard link to an object")
        if self._last_object is None or not _is_empty_file(self._last_object):
            raise ViolationError("an empty file that does not follow the object of an empty file")
        return self._last_checksum, self._last_object

    def _linked_object(self, entry: TarEntry) -> tuple[str, FileObject]:
        target = valid(normalise, entry.link_target)
        if not target.startswith(REPOSITORY):
            raise ViolationError(f"a hard link to '{escape(target)}': expected a file object")
        kind, checksum = parse_object_path(target)
        if kind != "file":
            raise ViolationError(f"a hard link to a {kind} object: expected a file object")
        found = self._objects.get(checksum)
        if found is None:
            raise ViolationError(f"a hard link to the object {checksum}, which is not earlier in this layer")
        if _is_empty_file(found):
            raise ViolationError("a hard link to the object of an empty file: expected an empty file")
        return checksum, found

    # The repository

    def _repository_file(self, entry: TarEntry, content: Content) -> None:
        if entry.path == f"{REPOSITORY}config":
            self._config(entry, content)
        elif not self._rules.take(entry, content):
            self._ignored.add(entry.path, "a file that importers pass over")

    def _config(self, entry: TarEntry, content: Content) -> None:
        self._has_config = True
        if entry.kind is not Kind.FILE:
            raise ViolationError(f"expected a file, found a {entry.kind.value}")
        if not is_default(entry, 0o644):
            raise ViolationError(f"expected 0:0 0644, found {show_attributes(entry)}")
        if entry.size > MAX_CONFIG or b"".join(content) != encapsulated.REPOSITORY_CONFIG:
            raise ViolationError("the repository's config is not that of an encapsulated image")


def _is_empty_file(found: FileObject) -> bool:
    return found.header.target is None and not found.size
