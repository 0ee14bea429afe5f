"""The story of an encapsulated commit: the layers that hold it become the objects of a repository again.

    which layers hold the commit -> those whose objects are not all here are read, side by side: every object is
    compared with its name while it is staged -> is all there that the commit needs? -> everything on disk

Images come from strangers: nothing of one is believed but what its checksums say. Whatever goes wrong, no object is
there in part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace

from ostrata import parallel
from ostrata.codecs import ostree
from ostrata.codecs.decompression import decompress
from ostrata.codecs.tar_reader import Content
from ostrata.errors import MalformedError, NotFoundError, escape, within
from ostrata.formats import encapsulated_config
from ostrata.formats.encapsulated_reader import encapsulated_layers, read_layer
from ostrata.model.image import Layer, StoredImage
from ostrata.model.ostree import Commit, FileHeader
from ostrata.pipeline.read_ahead import read_ahead
from ostrata.progress import SILENT, Progress
from ostrata.protocols import BlobStore
from ostrata.sources.image import MAX_TAR
from ostrata.stores.blobs import missing_blob
from ostrata.stores.layer_reader import LayerReader
from ostrata.stores.layer_records import LayerRecord, LayerRecords, note_layer, pack_entry
from ostrata.stores.ostree_staging import ObjectStage, StagePlace
from ostrata.stores.ostree_writer import RepositoryWriter

SMALL = 1 << 20
"""Bytes up to which a file is written whole; larger ones are hashed and written piece by piece."""

_SHOWN_NAMES = 16


@dataclass(frozen=True, slots=True)
class ImportedCommit:
    """An image's own commit, now in the repository.

    `layers` is how many of the image's layers hold it: those behind were added by somebody else. `layers_read` are
    those that had to be read, `new_*` what the repository did not have yet; bytes are of content.
    """

    checksum: str
    layers: int
    layers_read: int
    new_objects: int
    new_bytes: int


def import_encapsulated(
    writer: RepositoryWriter,
    store: BlobStore,
    image: StoredImage,
    *,
    max_size: int = MAX_TAR,
    jobs: int = 1,
    progress: Progress = SILENT,
) -> ImportedCommit:
    """Import the commit in `image`, inside of a transaction: it is complete, durable and visible afterwards.

    `max_size` bounds the bytes of each layer's tar. Raises: UnsupportedError for an image without a commit, for media
    types that are not read, and for what the repository's mode cannot hold; MalformedError, DigestMismatchError,
    LimitError, NotFoundError, AccessError.
    """
    layers = image.layers[: encapsulated_layers(image)]
    records = LayerRecords(writer)
    found = {number: _find_record(records, number, layer) for number, layer in enumerate(layers)}
    units = [
        LayerUnit(store, writer.place, number, layer, max_size)
        for number, layer in enumerate(layers)
        if found[number] is None
    ]
    if len(units) < jobs:
        units = [replace(unit, reads_ahead=True) for unit in units]
    for unit in units:
        with within(f"layer {unit.number}"):
            check_blob(store, unit.layer)
    staged = _stage_layers(units, jobs, progress)
    commit = _commit_of(found[0] or staged[0].record)
    _check_label(image, commit, progress)
    progress.start("writing to disk", None)
    publish_commit(writer, commit, [each.record for each in staged] + [each for each in found.values() if each])
    for layer in layers:
        records.publish(layer.diff_id)
    records.forget_pruned({layer.diff_id.encoded for layer in layers})
    new_objects, new_bytes = sum(each.objects for each in staged), sum(each.bytes for each in staged)
    return ImportedCommit(commit, len(layers), len(units), new_objects, new_bytes)


def _find_record(records: LayerRecords, number: int, layer: Layer) -> LayerRecord | None:
    record = records.find(layer.diff_id)
    # What is right for the first layer is wrong for the others: read it, and say what is wrong.
    return record if record is not None and (record.commit is not None) == (number == 0) else None


def check_blob(store: BlobStore, layer: Layer) -> None:
    """What can be known before anything is read. Raises: NotFoundError, MalformedError, UnsupportedError."""
    descriptor = layer.descriptor
    decompress((), descriptor.media_type, limit=None)  # refuses other media types at once
    with within(f"blob {descriptor.digest}"):
        size = store.blob_size(descriptor.digest)
        if size is None:
            raise missing_blob()
        if size != descriptor.size:
            raise MalformedError(f"expected {descriptor.size} bytes, found {size}")


def _commit_of(record: LayerRecord) -> str:
    if record.commit is None:
        raise MalformedError("no commit object in the first layer")
    return record.commit


def _check_label(image: StoredImage, commit: str, progress: Progress) -> None:
    label = image.config.labels.get(encapsulated_config.COMMIT)
    if label is not None and label != commit:
        shown = escape(label[:100])
        progress.warn(f"the label {encapsulated_config.COMMIT} names {shown}, and the image holds {commit}")


# Layers


@dataclass(frozen=True, slots=True)
class LayerUnit:
    """A work unit: stage the objects of one layer. Number 0 is the one with the commit.

    With `reads_ahead` a thread decompresses while the objects are written: for when CPUs would be idle.
    """

    store: BlobStore
    place: StagePlace
    number: int
    layer: Layer
    max_size: int
    reads_ahead: bool = False


@dataclass(frozen=True, slots=True)
class StagedLayer:
    """The objects of a layer, and how many of them, with how many bytes of content, are new."""

    record: LayerRecord
    objects: int
    bytes: int


def _stage_layers(units: list[LayerUnit], jobs: int, progress: Progress) -> list[StagedLayer]:
    sizes = [unit.layer.descriptor.size for unit in units]
    progress.start("importing layers", sum(sizes))
    results = parallel.run(stage_layer, units, jobs=jobs, weights=sizes, on_advance=progress.advance)
    with closing(results):
        return list(results)


def stage_layer(unit: LayerUnit) -> StagedLayer:
    """The work unit's function."""
    with within(f"layer {unit.number}"):
        reader = LayerReader(unit.store, unit.layer, unit.max_size)
        pieces = reader.tar_pieces()
        with read_ahead(pieces) if unit.reads_ahead else nullcontext(pieces) as tar:
            staged = stage_tar(tar, unit.place, first=unit.number == 0)
        reader.finish()
        note_layer(unit.place, unit.layer.diff_id, staged.record)
        return staged


def stage_tar(pieces: Iterator[bytes], place: StagePlace, *, first: bool) -> StagedLayer:
    """Stage the objects in a layer's tar. Raises: see `formats.encapsulated_reader.read_layer`; AccessError."""
    with ObjectStage(place) as stage:
        receiver = _Staging(stage)
        read_layer(pieces, receiver, first=first)
        return StagedLayer(LayerRecord(bytes(receiver.packed)), stage.objects, stage.bytes)


class _Staging:
    """Takes the objects of a layer to a stage."""

    def __init__(self, stage: ObjectStage) -> None:
        self.packed = bytearray()
        self._stage = stage

    def announce(self, checksum: str, header: FileHeader, size: int) -> None:
        pass

    def file(self, checksum: str, header: FileHeader, size: int, content: Content) -> str:
        self.packed += pack_entry("file", checksum)
        if header.target is not None:
            return self._stage.add_symlink(header)
        if size > SMALL:
            return self._stage.add_large_file(header, size, content, promised=checksum)
        piece = next(content, memoryview(b""))
        return self._stage.add_file(header, piece if len(piece) == size else b"".join((piece, *content)))

    def metadata(self, kind: str, checksum: str, data: bytes) -> None:
        if kind == "commitmeta":
            self.packed += pack_entry(kind, hashlib.sha256(data).hexdigest())
            self._stage.add_detached_metadata(checksum, data)
        else:
            self.packed += pack_entry(kind, checksum)
            self._stage.add_metadata(kind, data)

    def violation(self, place: str, what: str) -> None:
        raise MalformedError(what, where=escape(place))

    def remark(self, place: str, what: str) -> None:
        pass


# The commit


def publish_commit(writer: RepositoryWriter, commit: str, records: Iterable[LayerRecord]) -> None:
    """Make a staged commit visible, if all that it needs is there.

    The objects in `records` are: they were just staged, or looked for. Raises: NotFoundError when something is missing,
    MalformedError, AccessError.
    """
    here = {entry for record in records for entry in record.entries()}
    with within(f"commit {commit}"):
        _check_complete(writer, ostree.decode_commit(writer.read_metadata("commit", commit)), here)
    writer.publish(commit)


_Place = tuple["_Place", str] | None
"""A path by its last name and what is above it: whole paths of hostile trees would be too long to make each."""


def _check_complete(writer: RepositoryWriter, commit: Commit, here: set[bytes]) -> None:
    """Every dirtree and dirmeta that the commit reaches is there and right, and every file object is there.

    `here` are objects that are, packed as in a `LayerRecord`; others are looked for.
    """
    checked: set[tuple[str, str]] = set()
    todo: list[tuple[_Place, str, str]] = [(None, commit.root_dirtree, commit.root_dirmeta)]
    while todo:
        place, dirtree, dirmeta = todo.pop()
        if ("dirmeta", dirmeta) not in checked:
            checked.add(("dirmeta", dirmeta))
            _expect_object(writer, "dirmeta", dirmeta, place)
            ostree.decode_dirmeta(writer.read_metadata("dirmeta", dirmeta))
        if ("dirtree", dirtree) in checked:
            continue
        checked.add(("dirtree", dirtree))
        _expect_object(writer, "dirtree", dirtree, place)
        content = ostree.decode_dirtree(writer.read_metadata("dirtree", dirtree))
        for name, file in content.files:
            entry = pack_entry("file", file)
            if entry not in here:
                _expect_object(writer, "file", file, (place, name))
                here.add(entry)
        todo += [((place, name), tree, meta) for name, tree, meta in content.directories]


def _expect_object(writer: RepositoryWriter, kind: str, checksum: str, place: _Place) -> None:
    if not writer.has_object(kind, checksum):
        raise NotFoundError(
            f"no layer has the {kind} object {checksum}, which '{escape(_path(place))}' needs",
            hint="the image is incomplete: its maker, or a copy, has lost a part of it",
        )


def _path(place: _Place) -> str:
    names: list[str] = []
    while place is not None and len(names) < _SHOWN_NAMES:
        place, name = place
        names.append(name)
    return ("/" if place is None else ".../") + "/".join(reversed(names))
