"""The file objects of a merged tree: of files that layers brought, and of the base's files that get another label.

Each layer is read once more, in the order of its tar. Paths with one content can have different labels: then there are
as many objects of it, which are written side by side.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
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
from ostrata.progress import Progress
from ostrata.protocols import BlobStore
from ostrata.sources.image import Wanted, read_contents, wanted_of
from ostrata.sources.image_union import content_place
from ostrata.stores.ostree_repository import open_repository
from ostrata.stores.ostree_staging import ObjectStage, StagePlace

FILES_PER_UNIT = 512
"""Of the base: its files can be read in any order."""

FileChecksums = Mapping[tuple[str, Attributes], str]
"""File checksums by content key and attributes."""

_FILE_WEIGHT = 32 << 10  # what the work on a file costs beyond its content, in bytes of content
_Variants = tuple[Attributes, ...]
_Piece = TypeVar("_Piece", bytes, memoryview)


@dataclass(frozen=True, slots=True)
class LayerUnit:
    """A work unit: stage files of one layer, each with all attributes that it has somewhere."""

    store: BlobStore
    place: StagePlace
    number: int
    layer: Layer
    files: tuple[tuple[Wanted, _Variants], ...]
    max_size: int


@dataclass(frozen=True, slots=True)
class BaseUnit:
    """A work unit: stage the contents of these objects with other attributes."""

    place: StagePlace
    files: tuple[tuple[str, _Variants], ...]


@dataclass(frozen=True, slots=True)
class StagedFiles:
    """The checksums; how many of the objects, with how many bytes of content, are new."""

    checksums: FileChecksums
    objects: int
    bytes: int


def stage_files(
    place: StagePlace,
    store: BlobStore,
    image: StoredImage,
    files: list[tuple[str, RegularFile]],
    *,
    max_size: int,
    jobs: int,
    progress: Progress,
) -> StagedFiles:
    """Stage `files`, given by their paths, with the attributes that they have.

    Raises: LimitError when the copies of a layer's files for different labels are larger than `max_size`; what reading
    a layer and writing objects raises.
    """
    variants: dict[str, dict[Attributes, None]] = {}
    for _, entry in files:
        variants.setdefault(entry.content, {})[committed(entry.attributes)] = None
    layers = _layer_units(place, store, image, files, variants, max_size)
    weights = [sum(wanted.size + _FILE_WEIGHT for wanted, _ in unit.files) for unit in layers]
    progress.start("writing file objects", sum(unit.layer.descriptor.size for unit in layers))
    with closing(parallel.run(stage_layer, layers, jobs=jobs, weights=weights, on_advance=progress.advance)) as results:
        staged = list(results)
    units = _base_units(place, variants)
    with closing(parallel.run(stage_base, units, jobs=jobs, on_advance=progress.advance)) as results:
        staged += results
    checksums = {key: checksum for each in staged for key, checksum in each.checksums.items()}
    return StagedFiles(checksums, sum(each.objects for each in staged), sum(each.bytes for each in staged))


def _layer_units(
    place: StagePlace,
    store: BlobStore,
    image: StoredImage,
    files: list[tuple[str, RegularFile]],
    variants: Mapping[str, Iterable[Attributes]],
    max_size: int,
) -> list[LayerUnit]:
    units = []
    for number, wanted in wanted_of(files).items():
        chosen = tuple((each, tuple(variants[each.entry.content])) for each in wanted)
        if sum(each.size * (len(attributes) - 1) for each, attributes in chosen) > max_size:
            raise LimitError(f"expected at most {max_size:,} bytes of copies for different labels, found more")
        units.append(LayerUnit(store, place, number, image.layers[number], chosen, max_size))
    return units


def _base_units(place: StagePlace, variants: Mapping[str, Iterable[Attributes]]) -> list[BaseUnit]:
    files = [(content, tuple(found)) for content, found in variants.items() if content_place(content) is None]
    starts = range(0, len(files), FILES_PER_UNIT)
    return [BaseUnit(place, tuple(files[start : start + FILES_PER_UNIT])) for start in starts]


def stage_layer(unit: LayerUnit) -> StagedFiles:
    """The work unit's function."""
    checksums: dict[tuple[str, Attributes], str] = {}
    contents = read_contents(unit.store, unit.layer, (wanted for wanted, _ in unit.files), max_size=unit.max_size)
    with within(f"layer {unit.number}"), ObjectStage(unit.place) as stage:
        for (wanted, content), (_, variants) in zip(contents, unit.files, strict=True):
            with within(f"/{escape(wanted.path)}"):
                for attributes, checksum in _stage_file(stage, unit.place, variants, wanted.size, content):
                    checksums[wanted.entry.content, attributes] = checksum
        return StagedFiles(checksums, stage.objects, stage.bytes)


def stage_base(unit: BaseUnit) -> StagedFiles:
    """The work unit's function."""
    checksums: dict[tuple[str, Attributes], str] = {}
    repository = open_repository(unit.place.repository)
    with ObjectStage(unit.place) as stage:
        for base, variants in unit.files:
            file = repository.open_file(base)
            for attributes, checksum in _stage_file(stage, unit.place, variants, file.size, file.content):
                checksums[base, attributes] = checksum
        return StagedFiles(checksums, stage.objects, stage.bytes)


def _stage_file(
    stage: ObjectStage, place: StagePlace, variants: _Variants, size: int, content: Iterator[_Piece]
) -> Iterator[tuple[Attributes, str]]:
    if size <= SMALL:
        data = b"".join(content)
        for attributes in variants:
            yield attributes, stage.add_file(FileHeader(attributes), data)
        return
    first, *others = variants
    if not others:
        yield first, stage.add_large_file(FileHeader(first), size, map(memoryview, content))
        return
    with tempfile.TemporaryFile(dir=place.directory) as copy:
        for piece in content:
            copy.write(piece)
        for attributes in variants:
            copy.seek(0)
            pieces = iter(lambda: copy.read(SMALL), b"")
            yield attributes, stage.add_large_file(FileHeader(attributes), size, map(memoryview, pieces))


@lru_cache(maxsize=4096)
def committed(attributes: Attributes) -> Attributes:
    """Without the time, which a commit does not keep."""
    return replace(attributes, mtime=None)
