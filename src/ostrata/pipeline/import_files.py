"""The file objects of a merged tree: of files that layers brought, and of the base's files that get another label.

Each layer that has contents without an object is read once more, in the order of its tar (`import_notes` knows the
others). Paths with one content can have different labels: then there are as many objects of it, which are written side
by side.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

from ostrata import parallel
from ostrata.errors import LimitError, escape, within
from ostrata.model.image import Layer, StoredImage
from ostrata.model.ostree import FileHeader
from ostrata.model.tree import Attributes, RegularFile
from ostrata.pipeline.import_commit import SMALL
from ostrata.pipeline.import_notes import ImportNotes, note_contents
from ostrata.progress import Progress
from ostrata.protocols import BlobStore
from ostrata.sources.image import Wanted, wanted_of
from ostrata.sources.image_union import content_place
from ostrata.stores.layer_reader import LayerReader, read_ranges
from ostrata.stores.ostree_repository import open_repository
from ostrata.stores.ostree_staging import ObjectStage, StagePlace

FILES_PER_UNIT = 512
"""Of the base: its files can be read in any order."""

FileChecksums = Mapping[tuple[str, Attributes], bytes]
"""File checksums, 32 bytes each, by content key and attributes."""

_FILE_WEIGHT = 32 << 10  # what the work on a file costs beyond its content, in bytes of content
_DIGEST = 32
_Variants = tuple[Attributes, ...]
_Piece = TypeVar("_Piece", bytes, memoryview)


@dataclass(frozen=True, slots=True)
class LayerUnit:
    """A work unit: stage files of one layer, each with all attributes that it has somewhere.

    In columns, as a worker gets a copy: where each content is in the tar, its size, one of its paths, its attributes.
    """

    store: BlobStore
    place: StagePlace
    number: int
    layer: Layer
    offsets: array[int]
    sizes: array[int]
    paths: tuple[str, ...]
    variants: tuple[_Variants, ...]
    max_size: int


@dataclass(frozen=True, slots=True)
class BaseUnit:
    """A work unit: stage the contents of these objects with other attributes."""

    place: StagePlace
    objects: tuple[str, ...]
    variants: tuple[_Variants, ...]


@dataclass(frozen=True, slots=True)
class StagedUnit:
    """The checksums of what a unit staged, in its order, 32 bytes each; how many are new, with how much content."""

    checksums: bytes
    objects: int
    bytes: int


@dataclass(frozen=True, slots=True)
class StagedFiles:
    """The checksums; how many of the objects, with how many bytes of content, are new; which layers were read."""

    checksums: FileChecksums
    objects: int
    bytes: int
    layers: tuple[int, ...] = ()


def stage_files(
    place: StagePlace,
    store: BlobStore,
    image: StoredImage,
    files: Callable[[], Iterator[tuple[str, RegularFile]]],
    *,
    notes: ImportNotes,
    max_size: int,
    jobs: int,
    progress: Progress,
) -> StagedFiles:
    """Stage what `files` yields, by paths, with the attributes that they have; it is called twice, to hold no list.

    Raises: LimitError when the copies of a layer's files for different labels are larger than `max_size`; what reading
    a layer and writing objects raises.
    """
    variants: dict[str, _Variants] = {}
    for _, entry in files():
        others, own = variants.get(entry.content, ()), committed(entry.attributes)
        if own not in others:
            variants[entry.content] = (*others, own) if others else _alone(own)
    made = _Made()
    layers, keys = [], []
    for number, wanted in wanted_of(files()).items():
        missing = [(each, found) for each in wanted if (found := made.missing(each, variants, notes))]
        if missing:
            layers.append(_layer_unit(place, store, number, image.layers[number], missing, max_size))
            keys.append([each.entry.content for each, _ in missing])
    bases = _base_units(place, variants)
    del variants
    weights = [sum(unit.sizes) + _FILE_WEIGHT * len(unit.sizes) for unit in layers]
    progress.start("writing file objects", sum(unit.layer.descriptor.size for unit in layers))
    with closing(parallel.run(stage_layer, layers, jobs=jobs, weights=weights, on_advance=progress.advance)) as results:
        for layer, contents, staged in zip(layers, keys, results, strict=True):
            made.add(contents, layer.variants, staged)
    with closing(parallel.run(stage_base, bases, jobs=jobs, on_advance=progress.advance)) as results:
        for base, staged in zip(bases, results, strict=True):
            made.add(base.objects, base.variants, staged)
    return StagedFiles(made.checksums, made.objects, made.bytes, tuple(unit.number for unit in layers))


class _Made:
    """What there is by now of what is wanted, and how much of it is new."""

    def __init__(self) -> None:
        self.checksums: dict[tuple[str, Attributes], bytes] = {}
        self.objects = self.bytes = 0

    def missing(self, wanted: Wanted, variants: Mapping[str, _Variants], notes: ImportNotes) -> _Variants:
        """The attributes with which there is no object yet."""
        content = wanted.entry.content
        for attributes in variants[content]:
            checksum = notes.find(content, wanted.size, attributes)
            if checksum is not None:
                self.checksums[content, attributes] = bytes.fromhex(checksum)
        missing = tuple(each for each in variants[content] if (content, each) not in self.checksums)
        return variants[content] if len(missing) == len(variants[content]) else missing

    def add(self, contents: Iterable[str], variants: Iterable[_Variants], staged: StagedUnit) -> None:
        keys = ((content, each) for content, attributes in zip(contents, variants, strict=True) for each in attributes)
        self.checksums.update(zip(keys, _digests(staged.checksums), strict=True))
        self.objects += staged.objects
        self.bytes += staged.bytes


def _layer_unit(
    place: StagePlace,
    store: BlobStore,
    number: int,
    layer: Layer,
    files: list[tuple[Wanted, _Variants]],
    max_size: int,
) -> LayerUnit:
    if sum(each.size * (len(attributes) - 1) for each, attributes in files) > max_size:
        raise LimitError(f"expected at most {max_size:,} bytes of copies for different labels, found more")
    return LayerUnit(
        store,
        place,
        number,
        layer,
        array("Q", (each.offset for each, _ in files)),
        array("Q", (each.size for each, _ in files)),
        tuple(each.path for each, _ in files),
        tuple(attributes for _, attributes in files),
        max_size,
    )


def _base_units(place: StagePlace, variants: Mapping[str, _Variants]) -> list[BaseUnit]:
    objects = [content for content in variants if content_place(content) is None]
    parts = (tuple(objects[start : start + FILES_PER_UNIT]) for start in range(0, len(objects), FILES_PER_UNIT))
    return [BaseUnit(place, part, tuple(variants[content] for content in part)) for part in parts]


def stage_layer(unit: LayerUnit) -> StagedUnit:
    """The work unit's function."""
    checksums = bytearray()
    with within(f"layer {unit.number}"), ObjectStage(unit.place) as stage:
        reader = LayerReader(unit.store, unit.layer, unit.max_size)
        # First in `zip`: so it reads to the end of the tar.
        contents = read_ranges(reader.tar_pieces(), zip(unit.offsets, unit.sizes, strict=True))
        for content, size, path, variants in zip(contents, unit.sizes, unit.paths, unit.variants, strict=True):
            with within(f"/{escape(path)}"):
                for checksum in _stage_file(stage, unit.place, variants, size, content):
                    checksums += bytes.fromhex(checksum)
        reader.finish()
        note_contents(unit.place, unit.layer, zip(_offsets(unit), _digests(checksums), strict=True))
        return StagedUnit(bytes(checksums), stage.objects, stage.bytes)


def _offsets(unit: LayerUnit) -> Iterator[int]:
    """Of the content of each object that the unit makes."""
    for offset, variants in zip(unit.offsets, unit.variants, strict=True):
        yield from (offset for _ in variants)


def _digests(checksums: bytes | bytearray) -> Iterator[bytes]:
    return (bytes(checksums[start : start + _DIGEST]) for start in range(0, len(checksums), _DIGEST))


def stage_base(unit: BaseUnit) -> StagedUnit:
    """The work unit's function."""
    checksums = bytearray()
    repository = open_repository(unit.place.repository)
    with ObjectStage(unit.place) as stage:
        for base, variants in zip(unit.objects, unit.variants, strict=True):
            file = repository.open_file(base)
            for checksum in _stage_file(stage, unit.place, variants, file.size, file.content):
                checksums += bytes.fromhex(checksum)
        return StagedUnit(bytes(checksums), stage.objects, stage.bytes)


def _stage_file(
    stage: ObjectStage, place: StagePlace, variants: _Variants, size: int, content: Iterator[_Piece]
) -> Iterator[str]:
    """The checksums, in the order of `variants`."""
    if size <= SMALL:
        data = b"".join(content)
        for attributes in variants:
            yield stage.add_file(FileHeader(attributes), data)
        return
    first, *others = variants
    if not others:
        yield stage.add_large_file(FileHeader(first), size, map(memoryview, content))
        return
    with tempfile.TemporaryFile(dir=place.directory) as copy:
        for piece in content:
            copy.write(piece)
        for attributes in variants:
            copy.seek(0)
            pieces = iter(lambda: copy.read(SMALL), b"")
            yield stage.add_large_file(FileHeader(attributes), size, map(memoryview, pieces))


@lru_cache(maxsize=4096)
def _alone(attributes: Attributes) -> _Variants:
    """One tuple for all contents with only these attributes."""
    return (attributes,)


@lru_cache(maxsize=4096)
def committed(attributes: Attributes) -> Attributes:
    """Without the time, which a commit does not keep."""
    return replace(attributes, mtime=None)
