"""The story of a comparison: is the tree of an image the same as that of a directory or of another image?

    two trees, attributes only -> which files have one size on both sides -> their contents are hashed, side by side
    -> the differences, each with its reason where one is known

An image with an OSTree commit inside is taken as a booted system sees it: the commit's own metadata, its /usr/etc at
/etc, and on top what layers behind the commit add. Every object is compared with its checksum, every layer with its
digest. Other images are what a container would see. What is compared with a commit and has /usr/etc, but nothing in
/etc, was never booted: its configuration is taken to be at /etc too.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TypeVar

from ostrata import parallel
from ostrata.codecs import ostree
from ostrata.codecs.tar_reader import Content
from ostrata.errors import MalformedError, escape, within
from ostrata.formats import encapsulated_config
from ostrata.formats.encapsulated_reader import encapsulated_layers, parse_object_path, read_layer
from ostrata.inspection.tree_difference import (
    COMMIT,
    DIRECTORY,
    LAYERS,
    Difference,
    Digests,
    Item,
    TreeView,
    compare_trees,
    contents_to_read,
    notes,
)
from ostrata.model.image import Layer, StoredImage
from ostrata.model.ostree import Commit, FileHeader
from ostrata.model.tree import Directory, Entry, RegularFile, Tree
from ostrata.progress import SILENT, Progress
from ostrata.protocols import BlobStore
from ostrata.sources.directory import hash_contents, open_directory
from ostrata.sources.image import MAX_TAR, Wanted, index_layers, read_contents, wanted_of
from ostrata.sources.image_union import Leaf, Union
from ostrata.sources.ostree_commit import file_entry, join_tree, read_commit_tree
from ostrata.stores.layer_reader import LayerReader

_T = TypeVar("_T")
_ETC = "etc"
_USR_ETC = "usr/etc"


@dataclass(frozen=True, slots=True)
class TreeVerification:
    """`differences` by path; `notes` say what was not compared. `entries` counts the image's, `commit` is its own."""

    differences: tuple[Difference, ...]
    notes: tuple[str, ...]
    entries: int
    commit: str | None


@dataclass(frozen=True, slots=True)
class _Side:
    """A tree, a way to hash contents by their keys, and the commit it is of."""

    view: TreeView
    hash: Callable[[Collection[str]], Digests]
    commit: str | None = None


def verify_against(
    image: tuple[BlobStore, StoredImage],
    against: str | tuple[BlobStore, StoredImage],
    *,
    times: bool = False,
    max_size: int = MAX_TAR,
    jobs: int = 1,
    progress: Progress = SILENT,
) -> TreeVerification:
    """Compare the tree of `image` with that of `against`, the path of a directory or another image.

    `times` compares times too; `max_size` bounds the bytes of each layer's tar. Raises: MalformedError, LimitError,
    UnsupportedError for an image that cannot be read or is damaged; NotFoundError, AccessError.
    """
    reading = _Reading(max_size, jobs, progress)
    with within("the image"):
        one = reading.image(*image)
    if isinstance(against, str):
        other = reading.directory(against)
    else:
        with within("the image to compare with"):
            other = reading.image(*against)
    views = _aligned(one.view, other.view), _aligned(other.view, one.view)
    ours, theirs = contents_to_read(*views)
    differences = compare_trees(*views, (one.hash(ours), other.hash(theirs)), times=times)
    return TreeVerification(tuple(differences), tuple(notes(*views, times=times)), len(views[0].items), one.commit)


def _aligned(view: TreeView, other: TreeView) -> TreeView:
    """`view` with the configuration where a commit on the other side has it."""
    is_booted = _USR_ETC not in view.items or any(path.startswith(f"{_ETC}/") for path in view.items)
    if view.kind == COMMIT or other.kind != COMMIT or is_booted:
        return view
    return replace(view, items=_booted(view.items), unreadable=_booted(view.unreadable))


@dataclass(frozen=True, slots=True)
class _Reading:
    """How sides are read."""

    max_size: int
    jobs: int
    progress: Progress

    def directory(self, path: str) -> _Side:
        self.progress.start("reading the directory", None)
        source = open_directory(path, lenient=True)
        paths = {entry.content: path for path, entry in source.tree if isinstance(entry, RegularFile)}

        def hash_keys(keys: Collection[str]) -> Digests:
            wanted = sorted((paths[key] for key in keys), key=_walk_order)
            self.progress.start("reading files", sum(_size(source.tree, path) for path in wanted))
            digests = hash_contents(source, wanted, lenient=True, jobs=self.jobs, on_advance=self.progress.advance)
            return {source.tree.entries[path].content: digest for path, digest in digests.items()}  # type: ignore[union-attr]

        items: dict[str, Item] = dict(source.tree.entries) | dict(source.special)
        return _Side(TreeView(DIRECTORY, items, source.unreadable, os.geteuid() == 0), hash_keys)

    def image(self, store: BlobStore, image: StoredImage) -> _Side:
        if encapsulated_config.FINAL_DIFF_ID in image.config.labels:
            return self._encapsulated(store, image)
        union = Union()
        self._apply(union, store, image, 0)
        found = union.finish()
        items: dict[str, Item] = dict(found.tree.entries) | dict(found.special)
        return _Side(TreeView(LAYERS, items), lambda keys: self._hash_layers(store, image, found.tree, keys))

    def _encapsulated(self, store: BlobStore, image: StoredImage) -> _Side:
        count = encapsulated_layers(image)
        objects = self._read_objects(store, image.layers[:count])
        commit = read_commit_tree(objects, objects.commit)
        missing = next((path for path, checksum in commit.files if checksum not in objects.files), None)
        if missing is not None:
            raise MalformedError("no layer has this file object of the commit", where=f"/{escape(missing)}")
        entries = {key: file_entry(key, found.header, found.size) for key, found in objects.files.items()}
        items: dict[str, Item] = _booted(dict(join_tree(commit, entries).entries))
        digests: Digests = {key: found.digest for key, found in objects.files.items()}
        if count == len(image.layers):
            return _Side(TreeView(COMMIT, items), lambda _: digests, commit.checksum)
        union = Union(below=Tree(_only_entries(items)), missing=_object_finder(entries))
        self._apply(union, store, image, count)
        found = union.finish()
        items = dict(found.tree.entries) | dict(found.special)
        return _Side(
            TreeView(COMMIT, items),
            lambda keys: {**digests, **self._hash_layers(store, image, found.tree, keys)},
            commit.checksum,
        )

    def _apply(self, union: Union, store: BlobStore, image: StoredImage, first: int) -> None:
        indexes = index_layers(
            store, image.layers, first=first, max_size=self.max_size, jobs=self.jobs, progress=self.progress
        )
        for number, index in indexes:
            with within(f"layer {number}"):
                union.apply(number, index)

    def _read_objects(self, store: BlobStore, layers: tuple[Layer, ...]) -> _Objects:
        units = [ObjectUnit(store, number, layer, self.max_size) for number, layer in enumerate(layers)]
        sizes = [layer.descriptor.size for layer in layers]
        self.progress.start("reading layers", sum(sizes))
        objects = _Objects()
        results = parallel.run(read_objects, units, jobs=self.jobs, weights=sizes, on_advance=self.progress.advance)
        with closing(results):
            for result in results:
                objects.merge(result)
        return objects

    def _hash_layers(self, store: BlobStore, image: StoredImage, tree: Tree, keys: Collection[str]) -> Digests:
        files = ((path, entry) for path, entry in tree if isinstance(entry, RegularFile) and entry.content in keys)
        units = [
            HashUnit(store, number, image.layers[number], tuple(wanted), self.max_size)
            for number, wanted in wanted_of(files).items()
        ]
        sizes = [unit.layer.descriptor.size for unit in units]
        self.progress.start("reading files in layers", sum(sizes))
        results = parallel.run(hash_layer, units, jobs=self.jobs, weights=sizes, on_advance=self.progress.advance)
        digests: dict[str, str | None] = {}
        with closing(results):
            for result in results:
                digests.update(result)
        return digests


def _size(tree: Tree, path: str) -> int:
    entry = tree.entries[path]
    return entry.size if isinstance(entry, RegularFile) else 0


def _walk_order(path: str) -> tuple[str, str]:
    """Files of one directory together."""
    directory, _, name = path.rpartition("/")
    return directory, name


def _booted(items: Mapping[str, _T]) -> dict[str, _T]:
    """The same paths with /usr/etc at /etc, as a booted system has it."""
    moved = {path.removeprefix("usr/"): item for path, item in items.items() if _is_below(path, _USR_ETC)}
    if not moved:
        return dict(items)
    return {path: item for path, item in items.items() if not _is_below(path, _USR_ETC)} | moved


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory}/")


def _only_entries(items: Mapping[str, Item]) -> dict[str, Entry]:
    """Parents first: a path sorts behind its prefixes."""
    return {path: item for path, item in sorted(items.items(), key=lambda item: item[0]) if isinstance(item, Entry)}


def _object_finder(entries: Mapping[str, Entry]) -> Callable[[str], Leaf | None]:
    """Layers behind the commit may link to its objects, by their paths in the image's repository."""

    def find(path: str) -> Leaf | None:
        try:
            kind, checksum = parse_object_path(path)
        except MalformedError:
            return None
        entry = entries.get(checksum) if kind == "file" else None
        return None if isinstance(entry, Directory) else entry

    return find


# The objects of an encapsulated image


@dataclass(frozen=True, slots=True)
class FoundObject:
    """A file object: its header, and its content's size in bytes and SHA-256 (hex)."""

    header: FileHeader
    size: int
    digest: str


class _Objects:
    """The objects in layers: a `Receiver` of one, and the sum of many."""

    def __init__(self) -> None:
        self.commit = ""
        self.files: dict[str, FoundObject] = {}
        self._metadata: dict[tuple[str, str], bytes] = {}

    def merge(self, other: _Objects) -> None:
        self.commit = self.commit or other.commit
        self.files |= other.files
        self._metadata |= other._metadata

    def announce(self, checksum: str, header: FileHeader, size: int) -> None:
        pass

    def file(self, checksum: str, header: FileHeader, size: int, content: Content) -> str:
        whole, alone = hashlib.sha256(ostree.encode_file_header(header)), hashlib.sha256()
        for piece in content:
            whole.update(piece)
            alone.update(piece)
        self.files[checksum] = FoundObject(header, size, alone.hexdigest())
        return whole.hexdigest()

    def metadata(self, kind: str, checksum: str, data: bytes) -> None:
        self._metadata[kind, checksum] = data
        if kind == "commit":
            self.commit = checksum

    def violation(self, place: str, what: str) -> None:
        raise MalformedError(what, where=escape(place))

    def remark(self, place: str, what: str) -> None:
        pass

    # A `MetadataStore`

    def resolve(self, revision: str) -> str:
        return revision

    def read_commit(self, checksum: str) -> tuple[Commit, bytes]:
        data = self.read_metadata("commit", checksum)
        return ostree.decode_commit(data), data

    def read_metadata(self, kind: str, checksum: str) -> bytes:
        data = self._metadata.get((kind, checksum))
        if data is None:
            raise MalformedError(f"the first layer has no {kind} object {checksum}")
        return data


@dataclass(frozen=True, slots=True)
class ObjectUnit:
    """A work unit: read the objects of one layer."""

    store: BlobStore
    number: int
    layer: Layer
    max_size: int


def read_objects(unit: ObjectUnit) -> _Objects:
    """The work unit's function."""
    with within(f"layer {unit.number}"):
        reader = LayerReader(unit.store, unit.layer, unit.max_size)
        objects = _Objects()
        read_layer(reader.tar_pieces(), objects, first=unit.number == 0)
        reader.finish()
        return objects


# The contents of other layers


@dataclass(frozen=True, slots=True)
class HashUnit:
    """A work unit: hash files of one layer."""

    store: BlobStore
    number: int
    layer: Layer
    wanted: tuple[Wanted, ...]
    max_size: int


def hash_layer(unit: HashUnit) -> dict[str, str]:
    """The work unit's function: SHA-256 (hex) by content key."""
    digests: dict[str, str] = {}
    with within(f"layer {unit.number}"):
        contents = read_contents(unit.store, unit.layer, unit.wanted, max_size=unit.max_size)
        for wanted, pieces in contents:
            hashed = hashlib.sha256()
            for piece in pieces:
                hashed.update(piece)
            digests[wanted.entry.content] = hashed.hexdigest()
    return digests
