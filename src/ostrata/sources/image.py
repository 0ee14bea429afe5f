"""An image as a `protocols.Source`: the flattened tree of its layers, without extracting them.

Every layer is read once, side by side, into an index (`image_layer`); the indexes are put on top of each other
(`image_union`). A file's content stays where it is, at an offset in its layer's tar. Whoever wants all of it takes it
layer by layer, in the order of the tar (`wanted_of`, `read_contents`); whoever wants a few files opens them, and the
layers that have them are decompressed to disk.

Each layer is compared with its digest and its diff_id every time that it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass

from ostrata import parallel
from ostrata.errors import NotFoundError, escape, within
from ostrata.model.image import Layer, StoredImage
from ostrata.model.tree import RegularFile, SpecialFile, Tree
from ostrata.progress import SILENT, Progress
from ostrata.protocols import BlobStore
from ostrata.sources.image_layer import Finding, LayerIndex, index_layer
from ostrata.sources.image_union import Union, content_place
from ostrata.stores.layer_reader import LayerReader, read_ranges
from ostrata.stores.layer_spool import LayerSpool

MAX_TAR = 64 << 30
"""Bytes of the largest layer's tar that is read unless the caller says otherwise."""
TMPDIR = "/var/tmp"
"""Where layers are decompressed to: /tmp is often in memory."""


@dataclass(frozen=True, slots=True)
class ImageSource:
    """An image's tree. `special` are its devices and FIFOs; `findings` what is strange and no error.

    Paths that are hard links to each other have the very same entry. Open it with `open_image_source`.
    """

    image: StoredImage
    tree: Tree
    special: Mapping[str, SpecialFile]
    findings: tuple[Finding, ...]
    spool: LayerSpool

    def open(self, path: str) -> Iterator[bytes]:
        """The content of the regular file at `path`, in pieces.

        Raises: NotFoundError for what is no regular file in the tree; MalformedError, LimitError, AccessError.
        """
        entry = self.tree.entries.get(path)
        if not isinstance(entry, RegularFile):
            raise NotFoundError("no regular file of that name in the image", where=f"/{escape(path)}")
        layer, offset = content_place(entry.content) or (0, 0)
        return self.spool.read(layer, offset, entry.size)


@contextmanager
def open_image_source(
    store: BlobStore,
    image: StoredImage,
    *,
    max_size: int = MAX_TAR,
    tmpdir: str = TMPDIR,
    jobs: int = 1,
    progress: Progress = SILENT,
) -> Iterator[ImageSource]:
    """The image's tree, in a ``with`` block: at its end the files in `tmpdir` go.

    `max_size` bounds the bytes of each layer's tar, and of the files in `tmpdir`. Raises: NotFoundError, AccessError;
    MalformedError, UnsupportedError, LimitError for layers that cannot be read or that no runtime would take.
    """
    union = Union()
    for number, index in index_layers(store, image.layers, max_size=max_size, jobs=jobs, progress=progress):
        with within(f"layer {number}"):
            union.apply(number, index)
    found = union.finish()
    with LayerSpool(store, image.layers, tmpdir=tmpdir, max_size=max_size) as spool:
        yield ImageSource(image, found.tree, found.special, found.findings, spool)


# Indexes


@dataclass(frozen=True, slots=True)
class IndexUnit:
    """A work unit: read one layer's index."""

    store: BlobStore
    number: int
    layer: Layer
    max_size: int


def index_layers(
    store: BlobStore,
    layers: tuple[Layer, ...],
    *,
    first: int = 0,
    max_size: int = MAX_TAR,
    jobs: int = 1,
    progress: Progress = SILENT,
) -> Iterator[tuple[int, LayerIndex]]:
    """The index of each layer from number `first` on, in order. Raises: as `open_image_source`."""
    units = [IndexUnit(store, number, layer, max_size) for number, layer in enumerate(layers) if number >= first]
    sizes = [unit.layer.descriptor.size for unit in units]
    progress.start("reading layers", sum(sizes))
    results = parallel.run(index_unit, units, jobs=jobs, on_advance=progress.advance)
    with closing(results):
        for unit, index in zip(units, results, strict=True):
            yield unit.number, index


def index_unit(unit: IndexUnit) -> LayerIndex:
    """The work unit's function."""
    with within(f"layer {unit.number}"):
        reader = LayerReader(unit.store, unit.layer, unit.max_size)
        index = index_layer(reader.tar_pieces())
        reader.finish()
        return index


# Contents, layer by layer


@dataclass(frozen=True, slots=True)
class Wanted:
    """The content of a file: where it is in its layer's tar, and one path that it has."""

    offset: int
    size: int
    path: str
    entry: RegularFile


def wanted_of(files: Iterable[tuple[str, RegularFile]]) -> dict[int, list[Wanted]]:
    """What to read of which layer, in the order of its tar; hard links once, by the first of their paths.

    Files of another source are passed over.
    """
    wanted: dict[int, dict[int, Wanted]] = {}
    for path, entry in files:
        place = content_place(entry.content)
        if place is not None:
            layer, offset = place
            wanted.setdefault(layer, {}).setdefault(offset, Wanted(offset, entry.size, path, entry))
    return {layer: [found[offset] for offset in sorted(found)] for layer, found in sorted(wanted.items())}


def read_contents(
    store: BlobStore, layer: Layer, wanted: Iterable[Wanted], *, max_size: int = MAX_TAR
) -> Iterator[tuple[Wanted, Iterator[memoryview]]]:
    """Each content in pieces, to be taken before the next one is asked for.

    Only after the last is it known that the layer is the one that its digest names. Raises: NotFoundError,
    MalformedError, LimitError, AccessError.
    """
    wanted = tuple(wanted)
    reader = LayerReader(store, layer, max_size)
    contents = read_ranges(reader.tar_pieces(), [(each.offset, each.size) for each in wanted])
    yield from zip(wanted, contents, strict=False)
    for _ in contents:  # reads to the end
        pass
    reader.finish()
