"""Layers of an image that is being written: how each came about, and those taken over from an earlier image."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

from ostrata import parallel
from ostrata.model.digest import Digest
from ostrata.model.image import Descriptor, Layer
from ostrata.progress import Progress
from ostrata.protocols import BlobDirectory, BlobStore, Destination

MAX_LAYERS = 127
"""More layers than this do not start on common container runtimes (the kernel's overlay mounts)."""

BUILT = "built"
SAME_RECIPE = "same recipe"
SAME_DIFF_ID = "same diff_id"
BASE = "base"


@dataclass(frozen=True, slots=True)
class LayerReport:
    """One layer of the result: `how` is BUILT, SAME_RECIPE, SAME_DIFF_ID or BASE."""

    layer: Layer
    tar_size: int | None
    objects: int
    how: str


@dataclass(frozen=True, slots=True)
class AdoptUnit:
    """A work unit: take a layer's blob over from another image."""

    store: BlobStore
    blobs: BlobDirectory
    descriptor: Descriptor
    checked: bool


def take_over(
    descriptors: Sequence[Descriptor],
    store: BlobStore,
    destination: Destination,
    jobs: int,
    progress: Progress,
    *,
    whole: Container[Digest] = (),
) -> None:
    """Bring the blobs of these layers from `store` to the destination; `whole` are those that need no check.

    Raises: see `BlobDirectory.adopt`.
    """
    units = [AdoptUnit(store, destination.blobs, descriptor, descriptor.digest in whole) for descriptor in descriptors]
    sizes = [descriptor.size for descriptor in descriptors]
    progress.start("taking over layers", sum(sizes))
    for size, _ in zip(sizes, parallel.run(adopt_unit, units, jobs=jobs, weights=sizes), strict=True):
        progress.advance(size)


def adopt_unit(unit: AdoptUnit) -> None:
    """The work unit's function."""
    unit.blobs.adopt(unit.store, unit.descriptor, checked=unit.checked)


def threads_for(weight: int, total: int, jobs: int) -> int:
    """How many threads compress a layer: the others' workers keep the cores busy unless it outweighs a core's share."""
    return jobs if weight * jobs > total else 1
