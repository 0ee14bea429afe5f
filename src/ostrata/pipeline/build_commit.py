"""A commit that is never written: its objects are computed from a tree, and its files' content stays in the source.

    the tree's files, hashed side by side -> dirmeta and dirtree objects, deepest first -> the commit object

A content is read twice: here, since an object's name is a checksum, and by whoever writes the object. The second
reading is compared with the first, so that a source that changes in between is an error, and no image that lies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache

from ostrata import parallel
from ostrata.codecs import ostree
from ostrata.errors import AccessError, OstrataError, escape, within
from ostrata.model.ostree import Commit, CommitDirectory, CommitTree, Dirtree, FileHeader, FileObject, Metadata
from ostrata.model.plan import PlannedObject
from ostrata.model.tree import Attributes, Directory, Entry, Leaf, RegularFile, Symlink, Tree
from ostrata.progress import SILENT, Progress
from ostrata.sources.contents import Contents, MadeAt, SourceAt, TarsAt, is_made, open_contents
from ostrata.sources.image_union import content_place

FILES_PER_UNIT = 512
BYTES_PER_UNIT = 64 << 20
SMALL = 1 << 20
"""Bytes up to which a content is compared with its checksum before any of it is handed on."""

_ADVANCE = 4 << 20
_FILE_WEIGHT = 32 << 10  # what the work on a file costs beyond its content, in bytes of content

NOTHING_KNOWN: Mapping[str, str] = {}


Row = tuple[str, str, int, Attributes, str | None]
"""A path; of the entry there the content key, the size, the attributes as committed, and a symlink's target. Sending
entries to workers costs ten times as much."""


# File objects


@dataclass(frozen=True, slots=True)
class HashUnit:
    """A work unit: the checksums of these files."""

    at: SourceAt
    files: tuple[Row, ...]


def hash_files(
    at: SourceAt,
    tree: Tree,
    *,
    known: Mapping[str, str] = NOTHING_KNOWN,
    jobs: int = 1,
    progress: Progress = SILENT,
) -> dict[str, str]:
    """Path -> checksum of the file object, for all files and symlinks; hard links are read once.

    What is `known`, by path, is not hashed. Raises: NotFoundError, AccessError, MalformedError, naming the file.
    """
    checksums: dict[str, str] = {}
    unread: dict[tuple[str, Attributes], tuple[str, RegularFile]] = {}  # what tells objects apart without reading them
    waiting: list[tuple[str, str]] = []
    for path, entry in tree:
        if isinstance(entry, Directory):
            continue
        checksum = known.get(path)
        if checksum is not None:
            checksums[path] = checksum
        elif isinstance(entry, Symlink):
            checksums[path] = hasher_of(header_of(entry)).hexdigest()
        else:
            checksums[path] = ""
            first, _ = unread.setdefault((entry.content, entry.attributes), (path, entry))
            waiting.append((path, first))
    found = _hash(at, list(unread.values()), jobs, progress)
    for path, first in waiting:
        checksums[path] = found[first]
    return checksums


def _hash(at: SourceAt, files: list[tuple[str, RegularFile]], jobs: int, progress: Progress) -> dict[str, str]:
    """By path."""
    if isinstance(at.source if isinstance(at, MadeAt) else at, TarsAt):
        files.sort(key=lambda file: _place_in_tars(file[1].content))
    units = list(_units(at, files))
    progress.start("hashing files", sum(entry.size for _, entry in files))
    weights = [sum(size + _FILE_WEIGHT for _, _, size, _, _ in unit.files) for unit in units]
    results = parallel.run(hash_unit, units, jobs=jobs, weights=weights, on_advance=progress.advance)
    with closing(results):
        checksums = [checksum for found in results for checksum in found]
    return dict(zip((path for path, _ in files), checksums, strict=True))


def _place_in_tars(content: str) -> tuple[int, int]:
    return (0, 0) if is_made(content) else content_place(content) or (0, 0)


def _units(at: SourceAt, files: Iterable[tuple[str, RegularFile]]) -> Iterator[HashUnit]:
    collected: list[Row] = []
    size = 0
    for path, entry in files:
        collected.append(_row(path, entry))
        size += entry.size
        if len(collected) >= FILES_PER_UNIT or size >= BYTES_PER_UNIT:
            yield HashUnit(at, tuple(collected))
            collected, size = [], 0
    if collected:
        yield HashUnit(at, tuple(collected))


def _row(path: str, entry: Leaf) -> Row:
    attributes = committed(entry.attributes)
    if isinstance(entry, Symlink):
        return path, entry.content, 0, attributes, entry.target
    return path, entry.content, entry.size, attributes, None


def hash_unit(unit: HashUnit) -> list[str]:
    """The work unit's function: the checksums, in order."""
    checksums = []
    path, pending = "", 0
    with open_contents(unit.at) as contents:
        try:
            for path, content, size, attributes, _ in unit.files:  # noqa: B007
                checksums.append(_hash_file(contents, RegularFile(attributes, size, content)))
                pending += size
                if pending >= _ADVANCE:
                    parallel.advance(pending)
                    pending = 0
        except OstrataError as error:
            error.places.append(f"/{escape(path)}")
            raise
    parallel.advance(pending)
    return checksums


def _hash_file(contents: Contents, entry: RegularFile) -> str:
    hasher = hasher_of(FileHeader(entry.attributes))
    if entry.size:
        for piece in contents.open(entry):
            hasher.update(piece)
    return str(hasher.hexdigest())


def hasher_of(header: FileHeader) -> hashlib._Hash:
    """A hasher that has taken what a file object's checksum begins with."""
    return hashlib.sha256(ostree.encode_file_header(header))


def committed(attributes: Attributes) -> Attributes:
    """Without the time, which a commit does not keep."""
    return _without_time(attributes.mode, attributes.uid, attributes.gid, attributes.xattrs)


_without_time = lru_cache(maxsize=4096)(Attributes)
"""Times differ from file to file; the rest is the same for most."""


def header_of(entry: Leaf) -> FileHeader:
    """The header of an entry's file object."""
    return FileHeader(committed(entry.attributes), entry.target if isinstance(entry, Symlink) else None)


# The commit


@dataclass(frozen=True, slots=True)
class BuiltCommit:
    """A commit with all of its objects; a `protocols.CommitObjects`. Made by `build_commit`.

    `metadata`: (kind, checksum) -> bytes; `objects`: checksum -> the file object; `entries` are those of the tree.
    """

    at: SourceAt
    tree: CommitTree
    metadata: Mapping[tuple[str, str], bytes]
    objects: Mapping[str, PlannedObject]
    entries: Mapping[str, Entry]

    def read_detached_metadata(self, checksum: str) -> bytes | None:
        """None: nothing was said of it afterwards."""

    def estimated_size(self, checksum: str) -> int:
        """See `protocols.CommitObjects`."""
        entry = self.entries[self.objects[checksum].paths[0]]
        return entry.size if isinstance(entry, RegularFile) else 0

    def part(self, files: Sequence[PlannedObject], *, has_metadata: bool) -> BuiltObjectsAt:
        """See `protocols.CommitObjects`."""
        metadata = self.metadata if has_metadata else {}
        found = [(item.checksum, item.paths[0], self.entries[item.paths[0]]) for item in files]
        rows = {checksum: _row(path, entry) for checksum, path, entry in found if not isinstance(entry, Directory)}
        return BuiltObjectsAt(self.at, metadata, rows)


@dataclass(frozen=True, slots=True)
class CommitMetadata:
    """What a commit adds to its tree: its name and value, of each directory (dirtree, dirmeta), and all these objects.

    `objects`: (kind, checksum) -> bytes.
    """

    checksum: str
    value: Commit
    directories: Sequence[tuple[str, str]]
    objects: Mapping[tuple[str, str], bytes]


def commit_metadata(
    tree: Tree, checksums: Mapping[str, str], *, timestamp: int, subject: str = "", metadata: Metadata
) -> CommitMetadata:
    """The metadata of a commit of `tree`; `checksums` are those of `hash_files`. It has no parent."""
    objects = _MetadataObjects()
    directories = _add_directories(objects, tree, checksums)
    value = Commit(*directories[0], timestamp, subject, metadata=metadata)
    checksum = objects.add("commit", ostree.encode_commit(value))
    return CommitMetadata(checksum, value, directories, objects.found)


def committed_files(tree: Tree, checksums: Mapping[str, str]) -> list[tuple[str, str]]:
    """(path, checksum) of all that is no directory, in the order of the tree."""
    return [(path, checksums[path]) for path, entry in tree if not isinstance(entry, Directory)]


def built_commit(
    at: SourceAt,
    tree: Tree,
    metadata: CommitMetadata,
    files: Iterable[tuple[str, str]],
    objects: Mapping[str, PlannedObject],
) -> BuiltCommit:
    """The commit of `tree`, of `commit_metadata`, `committed_files` and the `planned_objects` of these."""
    directories = [(path, entry.attributes) for path, entry in tree if isinstance(entry, Directory)]
    commit = CommitTree(
        metadata.checksum,
        metadata.value,
        tuple(
            CommitDirectory(path, *checksums, committed(attributes))
            for (path, attributes), checksums in zip(directories, metadata.directories, strict=True)
        ),
        tuple(files),
    )
    return BuiltCommit(at, commit, metadata.objects, objects, tree.entries)


class _MetadataObjects:
    def __init__(self) -> None:
        self.found: dict[tuple[str, str], bytes] = {}

    def add(self, kind: str, data: bytes) -> str:
        checksum = hashlib.sha256(data).hexdigest()
        self.found[kind, checksum] = data
        return checksum


def _add_directories(objects: _MetadataObjects, tree: Tree, checksums: Mapping[str, str]) -> list[tuple[str, str]]:
    """Add every dirtree and dirmeta; the result are those of each directory, in the order of the tree."""
    files: dict[str, list[tuple[str, str]]] = {}
    below: dict[str, list[tuple[str, str, str]]] = {}
    found = []
    for path, entry in reversed(list(tree)):  # what is in a directory comes after it
        parent, _, name = path.rpartition("/")
        if not isinstance(entry, Directory):
            files.setdefault(parent, []).append((name, checksums[path]))
            continue
        # Names are UTF-8: sorted as text they are sorted as bytes too.
        dirtree = Dirtree(tuple(sorted(files.pop(path, ()))), tuple(sorted(below.pop(path, ()))))
        dirtree_checksum = objects.add("dirtree", ostree.encode_dirtree(dirtree))
        dirmeta_checksum = objects.add("dirmeta", ostree.encode_dirmeta(committed(entry.attributes)))
        below.setdefault(parent, []).append((name, dirtree_checksum, dirmeta_checksum))
        found.append((dirtree_checksum, dirmeta_checksum))
    return found[::-1]


# What workers get


@dataclass(frozen=True, slots=True)
class BuiltObjectsAt:
    """Some objects of a built commit. Picklable."""

    at: SourceAt
    metadata: Mapping[tuple[str, str], bytes]
    files: Mapping[str, Row]

    @contextmanager
    def opened(self) -> Iterator[BuiltObjects]:
        """See `protocols.ObjectsAt`."""
        with open_contents(self.at) as contents:
            yield BuiltObjects(self, contents)


@dataclass(frozen=True, slots=True)
class BuiltObjects:
    """The same, with the source open; a `protocols.Objects`."""

    place: BuiltObjectsAt
    contents: Contents

    def read_metadata(self, kind: str, checksum: str) -> bytes:
        """See `protocols.Objects`."""
        return self.place.metadata[kind, checksum]

    def read_detached_metadata(self, checksum: str) -> bytes | None:
        """None: nothing was said of it afterwards."""

    def open_file(self, checksum: str) -> FileObject:
        """See `protocols.Objects`. Raises, also when content is taken: AccessError for what is not what was hashed."""
        path, key, size, attributes, target = self.place.files[checksum]
        header = FileHeader(attributes, target)
        try:
            pieces = self.contents.open(RegularFile(attributes, size, key)) if size else ()
            if size > SMALL:
                return FileObject(header, size, _verified(path, checksum, hasher_of(header), pieces))
            content = b"".join(bytes(piece) for piece in pieces)
            hasher = hasher_of(header)
            hasher.update(content)
            _check(hasher, checksum)
        except OstrataError as error:
            error.places.append(f"/{escape(path)}")
            raise
        return FileObject(header, size, iter((content,) if size else ()))


def _verified(path: str, checksum: str, hasher: hashlib._Hash, pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    with within(f"/{escape(path)}"):
        for piece in pieces:
            hasher.update(piece)
            yield bytes(piece)
        _check(hasher, checksum)


def _check(hasher: hashlib._Hash, checksum: str) -> None:
    if hasher.hexdigest() != checksum:
        raise AccessError("changed while it was built", hint="build from a tree that nobody writes to, or a snapshot")
