"""The story of the layers that are no OSTree objects: those of a plain image, or on top of an encapsulated commit.

    the base commit's tree as a container sees it -> the layers on top of it -> made fit for a commit (`import_fitting`)
    -> SELinux labels (`import_labels`) -> the objects of new files, layer by layer -> dirmeta and dirtree objects
    -> a commit on top of the base -> everything on disk -> notes of what was read (`import_notes`)

In a container the configuration lies in /etc, in a commit in /usr/etc: the layers are applied to the former and the
result is moved to the latter, so whiteouts, hard links and symlinks mean what they meant in the build. Files that no
layer changed keep the base's objects, and are not read.

The commit's parent is the base. Its metadata has the keys of ostree-ext: the manifest's digest, the manifest, and the
config, in the bytes that their digests name. The version of the importer is not among them, so that the same image
and base give the same commit whatever imports it. The time is that of the image; there is no subject.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass

from ostrata import parallel
from ostrata.codecs import ostree
from ostrata.codecs.oci import MAX_DOCUMENT
from ostrata.codecs.timestamps import parse_rfc3339
from ostrata.errors import MalformedError, within
from ostrata.model.image import StoredImage
from ostrata.model.ostree import Commit, Dirtree, FileHeader, Metadata, Variant
from ostrata.model.tree import Directory, Entry, RegularFile, Symlink, Tree
from ostrata.pipeline.import_files import FileChecksums, StagedFiles, committed, stage_files
from ostrata.pipeline.import_fitting import FittingTree, LeftOut, fit
from ostrata.pipeline.import_labels import own_policy, relabelled
from ostrata.pipeline.import_notes import ImportNotes, NotedIndexUnit, noted_index
from ostrata.progress import SILENT, Progress
from ostrata.protocols import BlobStore
from ostrata.sources.image import MAX_TAR, IndexUnit
from ostrata.sources.image_layer import Finding, LayerIndex
from ostrata.sources.image_union import Leaf, Union, UnionTree, content_place
from ostrata.sources.ostree_commit import read_tree
from ostrata.sources.selinux import SelinuxPolicy
from ostrata.stores.blobs import read_blob
from ostrata.stores.ostree_staging import ObjectStage
from ostrata.stores.ostree_writer import RepositoryWriter

MANIFEST_DIGEST = "ostree.manifest-digest"
MANIFEST = "ostree.manifest"
CONFIG = "ostree.container.image-config"
CREATED = "org.opencontainers.image.created"

_OBJECTS = "sysroot/ostree/repo/objects/"


@dataclass(frozen=True, slots=True)
class MergedCommit:
    """A commit that was made of layers. `layers` is how many, `new_*` what the repository did not have yet.

    `layers_read` are those that had to be read: of the others the repository has what they hold. `policy` is the name
    of the SELinux policy that labelled it, None without one. `findings` are what is strange about the layers, and no
    error.
    """

    checksum: str
    base: str | None
    layers: int
    layers_read: int
    policy: str | None
    new_objects: int
    new_bytes: int
    left_out: tuple[LeftOut, ...]
    findings: tuple[Finding, ...]


def merge_layers(
    writer: RepositoryWriter,
    store: BlobStore,
    image: StoredImage,
    *,
    base: str | None = None,
    first: int = 0,
    policy: SelinuxPolicy | None = None,
    labels: bool = True,
    max_size: int = MAX_TAR,
    jobs: int = 1,
    progress: Progress = SILENT,
) -> MergedCommit:
    """Commit the tree of the image's layers from number `first` on, on top of the commit `base`.

    All inside of a transaction, and without a ref: the commit is complete, durable and visible afterwards. Without a
    `policy` the tree's own labels it, with `labels` off none. `max_size` bounds the bytes of each layer's tar, and of
    the files made of it. Raises: MalformedError, UnsupportedError, DigestMismatchError, LimitError, NotFoundError,
    AccessError. Then the repository is as it was.
    """
    notes = ImportNotes(writer, image.layers)
    read: set[int] = set()
    fitting, findings = _merge(writer, store, image, base, first, read, max_size=max_size, jobs=jobs, progress=progress)
    if labels and policy is None:
        policy = own_policy(writer, store, image, fitting.entries, notes, max_size)
    tree = _labelled(fitting.entries, policy if labels else None, progress)
    staged = stage_files(
        writer.place,
        store,
        image,
        tree.new_files,
        notes=notes,
        max_size=max_size,
        jobs=jobs,
        progress=progress,
    )
    with ObjectStage(writer.place) as stage:
        dirtree, dirmeta = _stage_tree(stage, tree, staged.checksums)
        value = Commit(dirtree, dirmeta, _timestamp(image, progress), parent=base, metadata=_metadata(store, image))
        checksum = stage.add_metadata("commit", ostree.encode_commit(value))
        progress.start("writing to disk", None)
        writer.publish(checksum)
    _note(notes, range(first, len(image.layers)), staged)
    return MergedCommit(
        checksum=checksum,
        base=base,
        layers=len(image.layers) - first,
        layers_read=len(read | set(staged.layers)),
        policy=tree.policy,
        new_objects=staged.objects + stage.objects,
        new_bytes=staged.bytes,
        left_out=fitting.left_out,
        findings=findings,
    )


def _merge(
    writer: RepositoryWriter,
    store: BlobStore,
    image: StoredImage,
    base: str | None,
    first: int,
    read: set[int],
    *,
    max_size: int,
    jobs: int,
    progress: Progress,
) -> tuple[FittingTree, tuple[Finding, ...]]:
    """The tree; `read` gets the numbers of the layers that were read."""
    below = _container_view(read_tree(writer.repository, base, jobs=jobs)[1]) if base is not None else None
    units = [
        NotedIndexUnit(IndexUnit(store, number, image.layers[number], max_size), writer.place)
        for number in range(first, len(image.layers))
    ]
    progress.start("reading layers", sum(unit.unit.layer.descriptor.size for unit in units))
    with closing(parallel.run(noted_index, units, jobs=jobs, on_advance=progress.advance)) as results:
        found = _union(below, first, results, read)
    return fit(found, below), found.findings


def _union(below: Tree | None, first: int, indexes: Iterable[tuple[LayerIndex, bool]], read: set[int]) -> UnionTree:
    union = Union(below, _Objects(below) if below is not None else None)
    for number, (index, was_read) in enumerate(indexes, first):
        with within(f"layer {number}"):
            union.apply(number, index)
        if was_read:
            read.add(number)
        del index  # as large as what the union makes of it
    return union.finish()


def _note(notes: ImportNotes, layers: Iterable[int], staged: StagedFiles) -> None:
    """Note what was found out about the layers of which something is staged, now that their objects are on disk."""
    made: dict[int, list[tuple[int, bytes]]] = {number: [] for number in layers if notes.is_staged(number)}
    for (content, _), checksum in staged.checksums.items():
        number, offset = content_place(content) or (-1, 0)
        if number in made:
            made[number].append((offset, checksum))
    for number, contents in made.items():
        notes.publish(number, contents)
    notes.forget_pruned()


# The base, as a container sees it


def _container_view(tree: Tree) -> Tree:
    """The tree with /usr/etc moved to /etc."""
    return Tree({_moved(path, "usr/etc", "etc"): entry for path, entry in tree})


def _moved(path: str, old: str, new: str) -> str:
    return new + path[len(old) :] if path == old or path.startswith(f"{old}/") else path


class _Objects:
    """Finds the base commit's files by the paths of their objects: a layer may link to them."""

    def __init__(self, tree: Tree) -> None:
        self._files = {entry.content: entry for _, entry in tree if not isinstance(entry, Directory)}

    def __call__(self, path: str) -> Leaf | None:
        if not (path.startswith(_OBJECTS) and path.endswith(".file")):
            return None
        return self._files.get(path[len(_OBJECTS) : -len(".file")].replace("/", ""))


# Labels


@dataclass(frozen=True, slots=True)
class _LabelledTree:
    """What the commit will have, which paths have another label than before, and by which policy."""

    entries: Mapping[str, Entry]
    changed: Container[str] = ()
    policy: str | None = None

    def is_kept(self, path: str, entry: Entry) -> bool:
        """Is it an object of the base as it is? Then its content key is the object's checksum."""
        return not isinstance(entry, Directory) and content_place(entry.content) is None and path not in self.changed

    def new_files(self) -> Iterator[tuple[str, RegularFile]]:
        """Those that have no object yet, or another one."""
        for path, entry in self.entries.items():
            if isinstance(entry, RegularFile) and not self.is_kept(path, entry):
                yield path, entry


def _labelled(entries: Mapping[str, Entry], policy: SelinuxPolicy | None, progress: Progress) -> _LabelledTree:
    if policy is None:
        return _LabelledTree(entries)
    progress.start("labelling", None)
    changed = relabelled(entries, policy)
    return _LabelledTree({**entries, **changed}, changed.keys(), policy.name)


# The tree


def _stage_tree(stage: ObjectStage, tree: _LabelledTree, checksums: FileChecksums) -> tuple[str, str]:
    """Stage symlinks, dirtrees and dirmetas; the result are the root's two checksums."""
    files: dict[str, list[tuple[str, str]]] = {}
    directories: list[str] = []
    for path, entry in tree.entries.items():
        if isinstance(entry, Directory):
            directories.append(path)
        else:
            parent, _, name = path.rpartition("/")
            checksum = entry.content if tree.is_kept(path, entry) else _stage_leaf(stage, entry, checksums)
            files.setdefault(parent, []).append((name, checksum))
    below: dict[str, list[tuple[str, str, str]]] = {}
    for path in sorted(directories, reverse=True):  # a directory comes after all that begin with its path
        # Names are UTF-8: sorted as text they are sorted as bytes too.
        dirtree = Dirtree(tuple(sorted(files.pop(path, []))), tuple(sorted(below.pop(path, []))))
        checksum = stage.add_metadata("dirtree", ostree.encode_dirtree(dirtree))
        dirmeta = stage.add_metadata("dirmeta", ostree.encode_dirmeta(tree.entries[path].attributes))
        if not path:
            return checksum, dirmeta
        parent, _, name = path.rpartition("/")
        below.setdefault(parent, []).append((name, checksum, dirmeta))
    raise MalformedError("a tree without its root")


def _stage_leaf(stage: ObjectStage, entry: RegularFile | Symlink, checksums: FileChecksums) -> str:
    attributes = committed(entry.attributes)
    if isinstance(entry, Symlink):
        return stage.add_symlink(FileHeader(attributes, entry.target))
    return checksums[entry.content, attributes].hex()


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
