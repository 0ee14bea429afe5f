"""The story of an import of layers that are no OSTree objects: of a derived image, or of a plain one.

    the base commit's tree as a container sees it -> the layers on top of it -> made fit for a commit
    -> the objects of new files, layer by layer -> dirmeta and dirtree objects -> a commit on top of the base
    -> everything on disk -> the ref

In a container the configuration lies in /etc, in a commit in /usr/etc: the layers are applied to the former and the
result is moved to the latter, so whiteouts, hard links and symlinks mean what they meant in the build. Files that no
layer changed keep the base's objects, and are not read.

What is made fit, as ostree-ext does it (its `tar/write.rs`, `container/store.rs`):

* /etc is moved to /usr/etc. Where both have a path, that of /etc is kept.
* Below /dev, /proc, /run, /sys and /tmp only what the base has is kept: runtimes mount something there.
* Objects in /sysroot/ostree are the base commit's own; what a layer puts there is dropped.
* An empty /etc/hostname or /etc/resolv.conf is what builders mount over: dropped.
* Devices and FIFOs, names and symlink targets that are not UTF-8, and extended attributes without a value cannot be
  in a commit: dropped.

All that is dropped is in the result. What lies in /var, and other directories beside /usr, stays: since libostree
2024.3 a deployment takes /var from the commit, and a transient or composefs root has the rest.

The commit's metadata has the keys of ostree-ext: the manifest's digest, the manifest, and the config, in the bytes
that their digests name. The version of the importer is not among them, so that the same image and base give the same
commit whatever imports it. The time is that of the image; there is no subject.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache

from ostrata import parallel
from ostrata.codecs import ostree
from ostrata.codecs.oci import MAX_DOCUMENT
from ostrata.codecs.timestamps import parse_rfc3339
from ostrata.errors import MalformedError, escape, within
from ostrata.formats import encapsulated_config
from ostrata.model.image import Layer, StoredImage
from ostrata.model.ostree import Commit, Dirtree, FileHeader, Metadata, Variant
from ostrata.model.tree import Attributes, Directory, Entry, RegularFile, Symlink, Tree
from ostrata.pipeline.import_image import ImportedCommit, import_encapsulated
from ostrata.progress import SILENT, Progress
from ostrata.protocols import BlobStore
from ostrata.sources.image import MAX_TAR, Wanted, index_layers, read_contents, wanted_of
from ostrata.sources.image_layer import Finding
from ostrata.sources.image_union import IMPLIED, Leaf, Union, UnionTree, content_place
from ostrata.sources.ostree_commit import read_tree
from ostrata.stores.blobs import read_blob
from ostrata.stores.ostree_staging import ObjectStage, StagePlace
from ostrata.stores.ostree_writer import RepositoryWriter, check_ref_name, open_writer

MANIFEST_DIGEST = "ostree.manifest-digest"
MANIFEST = "ostree.manifest"
CONFIG = "ostree.container.image-config"
CREATED = "org.opencontainers.image.created"

SMALL = 1 << 20
"""Bytes up to which a file is written whole; larger ones are hashed and written piece by piece."""

_MOUNTED = ("dev", "proc", "run", "sys", "tmp")
_INJECTED = ("usr/etc/hostname", "usr/etc/resolv.conf")
_OSTREE = "sysroot/ostree"
_REPOSITORY = "the place of an OSTree repository"
_OBJECTS = "sysroot/ostree/repo/objects/"
_FILE_WEIGHT = 32 << 10  # what the work on a file costs beyond its content, in bytes of content


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A path as the container sees it, and why it, or what of it, is not in the commit."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class ImportedTree:
    """A commit that was made of layers. `layers` is how many layers were merged, `new_*` what the repository did not
    have yet.

    `findings` are what is strange about the layers, and no error.
    """

    checksum: str
    base: str | None
    layers: int
    new_objects: int
    new_bytes: int
    left_out: tuple[LeftOut, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class ImportedImage:
    """An image in the repository: its own commit, if it has one, and the one that was made of the other layers.

    `checksum` is the commit that has all of the image: the second, if there is one.
    """

    checksum: str
    commit: ImportedCommit | None
    merged: ImportedTree | None


def import_tree(
    repo_path: str,
    store: BlobStore,
    image: StoredImage,
    *,
    ref: str | None = None,
    max_size: int = MAX_TAR,
    jobs: int = 1,
    progress: Progress = SILENT,
) -> ImportedImage:
    """Import all of the image, encapsulated, derived or plain, and let `ref` point to its commit.

    Raises: as `import_layers`. Then no ref has moved, and no object is there in part.
    """
    if ref is not None:
        check_ref_name(ref)
    with open_writer(repo_path) as writer:
        base, first = None, 0
        if encapsulated_config.FINAL_DIFF_ID in image.config.labels:
            base = import_encapsulated(writer, store, image, max_size=max_size, jobs=jobs, progress=progress)
            first = base.layers
        merged = None
        if base is None or first < len(image.layers):
            merged = import_layers(
                writer,
                store,
                image,
                base=base.checksum if base is not None else None,
                first=first,
                max_size=max_size,
                jobs=jobs,
                progress=progress,
            )
        checksum = (merged or base).checksum  # type: ignore[union-attr]  # one of them is there
        if ref is not None:
            writer.write_ref(ref, checksum)
    return ImportedImage(checksum, base, merged)


def import_layers(
    writer: RepositoryWriter,
    store: BlobStore,
    image: StoredImage,
    *,
    base: str | None = None,
    first: int = 0,
    max_size: int = MAX_TAR,
    jobs: int = 1,
    progress: Progress = SILENT,
) -> ImportedTree:
    """Commit the tree of the image's layers from number `first` on, on top of the commit `base`.

    All inside of a transaction, and without a ref: the commit is complete, durable and visible afterwards. `max_size`
    bounds the bytes of each layer's tar. Raises: MalformedError, UnsupportedError, DigestMismatchError, LimitError,
    NotFoundError, AccessError. Then the repository is as it was.
    """
    below = _container_view(read_tree(writer.repository, base, jobs=jobs)[1]) if base is not None else None
    union = Union(below, _objects_of(below))
    indexes = index_layers(store, image.layers, first=first, max_size=max_size, jobs=jobs, progress=progress)
    for number, index in indexes:
        with within(f"layer {number}"):
            union.apply(number, index)
    found = union.finish()
    fitting = fit(found, below)
    units = _units(writer.place, store, image, fitting.entries, max_size)
    with ObjectStage(writer.place) as stage:
        staged = _stage_contents(units, jobs, progress)
        dirtree, dirmeta = _stage_tree(stage, fitting.entries, staged.checksums)
        value = Commit(dirtree, dirmeta, _timestamp(image, progress), parent=base, metadata=_metadata(store, image))
        checksum = stage.add_metadata("commit", ostree.encode_commit(value))
        progress.start("writing to disk", None)
        writer.publish(checksum)
    return ImportedTree(
        checksum=checksum,
        base=base,
        layers=len(image.layers) - first,
        new_objects=staged.objects + stage.objects,
        new_bytes=staged.bytes,
        left_out=fitting.left_out,
        findings=found.findings,
    )


# The base, as a container sees it


def _container_view(tree: Tree) -> Tree:
    """The tree with /usr/etc moved to /etc."""
    return Tree({_moved(path, "usr/etc", "etc"): entry for path, entry in tree})


def _moved(path: str, old: str, new: str) -> str:
    return new + path[len(old) :] if path == old or path.startswith(f"{old}/") else path


def _objects_of(tree: Tree | None) -> _Objects | None:
    return None if tree is None else _Objects(tree)


class _Objects:
    """Finds the base commit's files by the paths of their objects: a layer may link to them."""

    def __init__(self, tree: Tree) -> None:
        self._files = {entry.content: entry for _, entry in tree if not isinstance(entry, Directory)}

    def __call__(self, path: str) -> Leaf | None:
        if not (path.startswith(_OBJECTS) and path.endswith(".file")):
            return None
        return self._files.get(path[len(_OBJECTS) : -len(".file")].replace("/", ""))


# What a commit can hold


@dataclass(frozen=True, slots=True)
class FittingTree:
    """Entries by their paths in a commit, in no order, and what had to go."""

    entries: Mapping[str, Entry]
    left_out: tuple[LeftOut, ...]


def fit(union: UnionTree, base: Tree | None = None) -> FittingTree:
    """The tree of a container, made fit for a commit; `base` is the tree that is kept as it is."""
    left_out = [LeftOut(path, f"a {entry.kind}: a commit has none") for path, entry in union.special.items()]
    kept: dict[str, Entry] = {}
    in_repository = 0
    for path, entry in union.tree:
        reason = _refusal(path, entry, base)
        if reason == _REPOSITORY:
            in_repository += 1
        elif reason is None:
            kept[path] = _without_empty_xattrs(path, entry, left_out)
        else:
            left_out.append(LeftOut(path, reason))
    if in_repository:  # not each of its objects, whose files the commit has by their paths
        left_out.append(LeftOut(_OSTREE, f"{_REPOSITORY}: {in_repository} entries"))
    entries = _with_usr_etc(kept, left_out)
    for path in _INJECTED:
        injected = entries.get(path)
        if isinstance(injected, RegularFile) and not injected.size:
            left_out.append(LeftOut(path.removeprefix("usr/"), "empty: builders leave it behind"))
            del entries[path]
    return FittingTree(entries, tuple(left_out))


def _refusal(path: str, entry: Entry, base: Tree | None) -> str | None:
    if not _is_utf8(path):
        return "its name is not UTF-8"
    if isinstance(entry, Symlink) and not _is_utf8(entry.target):
        return f"its target '{escape(entry.target)}' is not UTF-8"
    if base is not None and path in base.entries:
        return None
    top, slash, _ = path.partition("/")
    if slash and top in _MOUNTED:
        return f"runtimes mount something on /{top}"
    if path == _OSTREE or path.startswith(f"{_OSTREE}/"):
        return _REPOSITORY
    return None


def _is_utf8(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _without_empty_xattrs(path: str, entry: Entry, left_out: list[LeftOut]) -> Entry:
    xattrs = entry.attributes.xattrs
    if all(value for _, value in xattrs):
        return entry
    empty = ", ".join(escape(name) for name, value in xattrs if not value)
    left_out.append(LeftOut(path, f"extended attributes without a value: {empty}"))
    full = tuple(pair for pair in xattrs if pair[1])
    return replace(entry, attributes=replace(entry.attributes, xattrs=full))


def _with_usr_etc(kept: dict[str, Entry], left_out: list[LeftOut]) -> dict[str, Entry]:
    """/etc moved to /usr/etc; an /etc that is no directory stays."""
    if not isinstance(kept.get("etc"), Directory):
        return kept
    moved = {f"usr/{path}": entry for path, entry in kept.items() if path == "etc" or path.startswith("etc/")}
    entries: dict[str, Entry] = {"usr": Directory(IMPLIED)}
    for path, entry in kept.items():
        if path == "etc" or path.startswith("etc/"):
            continue
        if path.startswith("usr/etc/") and _is_replaced(path, entry, moved):
            left_out.append(LeftOut(path, "/etc has one too, which is kept"))
        else:
            entries[path] = entry
    return entries | moved


def _is_replaced(path: str, entry: Entry, moved: Mapping[str, Entry]) -> bool:
    other = moved.get(path)
    if other is not None and not (isinstance(entry, Directory) and isinstance(other, Directory)):
        return True
    while path != "usr/etc":
        path = path.rpartition("/")[0]
        if path in moved and not isinstance(moved[path], Directory):
            return True
    return False


# Contents


@dataclass(frozen=True, slots=True)
class ContentUnit:
    """A work unit: stage files of one layer."""

    store: BlobStore
    place: StagePlace
    number: int
    layer: Layer
    wanted: tuple[Wanted, ...]
    max_size: int


@dataclass(frozen=True, slots=True)
class Staged:
    """File checksums by content key; objects and bytes of content that are new."""

    checksums: Mapping[str, str]
    objects: int
    bytes: int


def _units(
    place: StagePlace, store: BlobStore, image: StoredImage, entries: Mapping[str, Entry], max_size: int
) -> list[ContentUnit]:
    files = ((path, entry) for path, entry in entries.items() if isinstance(entry, RegularFile))
    return [
        ContentUnit(store, place, number, image.layers[number], tuple(wanted), max_size)
        for number, wanted in wanted_of(files).items()
    ]


def _stage_contents(units: list[ContentUnit], jobs: int, progress: Progress) -> Staged:
    progress.start("writing file objects", sum(unit.layer.descriptor.size for unit in units))
    weights = [sum(each.size + _FILE_WEIGHT for each in unit.wanted) for unit in units]
    checksums: dict[str, str] = {}
    objects = new_bytes = 0
    results = parallel.run(stage_unit, units, jobs=jobs, weights=weights, on_advance=progress.advance)
    with closing(results):
        for result in results:
            checksums |= result.checksums
            objects += result.objects
            new_bytes += result.bytes
    return Staged(checksums, objects, new_bytes)


def stage_unit(unit: ContentUnit) -> Staged:
    """The work unit's function."""
    checksums: dict[str, str] = {}
    contents = read_contents(unit.store, unit.layer, unit.wanted, max_size=unit.max_size)
    with within(f"layer {unit.number}"), ObjectStage(unit.place) as stage:
        for wanted, content in contents:
            header = FileHeader(_committed(wanted.entry.attributes))
            with within(f"/{escape(wanted.path)}"):
                checksums[wanted.entry.content] = _stage_file(stage, header, wanted.size, content)
        return Staged(checksums, stage.objects, stage.bytes)


def _stage_file(stage: ObjectStage, header: FileHeader, size: int, content: Iterator[memoryview]) -> str:
    if size > SMALL:
        return stage.add_large_file(header, size, content)
    return stage.add_file(header, b"".join(content))


@lru_cache(maxsize=4096)
def _committed(attributes: Attributes) -> Attributes:
    """Without the time, which a commit does not keep."""
    return replace(attributes, mtime=None)


# The tree


def _stage_tree(stage: ObjectStage, entries: Mapping[str, Entry], checksums: Mapping[str, str]) -> tuple[str, str]:
    """Stage symlinks, dirtrees and dirmetas; the result are the root's two checksums."""
    files: dict[str, list[tuple[str, str]]] = {}
    directories: list[str] = []
    for path, entry in entries.items():
        if isinstance(entry, Directory):
            directories.append(path)
        else:
            parent, _, name = path.rpartition("/")
            files.setdefault(parent, []).append((name, _file_checksum(stage, entry, checksums)))
    below: dict[str, list[tuple[str, str, str]]] = {}
    for path in sorted(directories, reverse=True):  # a directory comes after all that begin with its path
        # Names are UTF-8: sorted as text they are sorted as bytes too.
        dirtree = Dirtree(tuple(sorted(files.pop(path, []))), tuple(sorted(below.pop(path, []))))
        checksum = stage.add_metadata("dirtree", ostree.encode_dirtree(dirtree))
        dirmeta = stage.add_metadata("dirmeta", ostree.encode_dirmeta(entries[path].attributes))
        if not path:
            return checksum, dirmeta
        parent, _, name = path.rpartition("/")
        below.setdefault(parent, []).append((name, checksum, dirmeta))
    raise MalformedError("a tree without its root")


def _file_checksum(stage: ObjectStage, entry: RegularFile | Symlink, checksums: Mapping[str, str]) -> str:
    if content_place(entry.content) is None:
        return entry.content  # the base's own
    if isinstance(entry, Symlink):
        return stage.add_symlink(FileHeader(_committed(entry.attributes), entry.target))
    return checksums[entry.content]


# The commit


def _metadata(store: BlobStore, image: StoredImage) -> Metadata:
    """The keys in their order, which is a part of the commit's checksum."""
    return {
        CONFIG: _document(store, image, is_config=True),
        MANIFEST: _document(store, image, is_config=False),
        MANIFEST_DIGEST: Variant("s", str(image.descriptor.digest)),
    }


def _document(store: BlobStore, image: StoredImage, *, is_config: bool) -> Variant:
    digest = image.manifest.config.digest if is_config else image.descriptor.digest
    return Variant("s", read_blob(store, digest, MAX_DOCUMENT).decode("utf-8"))


def _timestamp(image: StoredImage, progress: Progress) -> int:
    """The image's time in seconds since 1970, 0 when it has none that can be read or one before."""
    text = image.manifest.annotations.get(CREATED, image.config.created)
    if text is None:
        return 0
    try:
        return max(0, parse_rfc3339(text))
    except MalformedError as error:
        progress.warn(f"the image's time is not read: {error.what}")
        return 0
