"""An import that was killed, taken up again: layers that it had finished are not read once more.

    which directories did killed runs leave -> which layers of the image are noted -> their objects that the repository
    has not are compared with their names, and moved to our own stage

The import then finds them as it finds what earlier imports published. What else is in the directories is removed.
Layers are finished one by one: of the others nothing is used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from ostrata import parallel
from ostrata.errors import escape, within
from ostrata.model.image import StoredImage
from ostrata.pipeline.import_notes import ImportNotes
from ostrata.progress import Progress
from ostrata.stores.files import stale_directories
from ostrata.stores.layer_records import LayerRecords
from ostrata.stores.ostree_remains import take_over
from ostrata.stores.ostree_staging import StagePlace
from ostrata.stores.ostree_writer import RepositoryWriter


@dataclass(frozen=True, slots=True)
class Resumed:
    """What a killed import had done: layers that need not be read, objects that need not be written, their content."""

    layers: int = 0
    objects: int = 0
    bytes: int = 0


NOTHING = Resumed()


@dataclass(frozen=True, slots=True)
class LayerUnit:
    """A work unit: take over the objects (kind, checksum) of a layer from the directories `remains`."""

    place: StagePlace
    remains: tuple[str, ...]
    objects: tuple[tuple[str, str], ...]
    size: int


def resume(writer: RepositoryWriter, image: StoredImage, *, first: int, jobs: int, progress: Progress) -> Resumed:
    """Take over what killed imports of layers of `image` had done, and remove the rest of what they left.

    `first` is the number of the first layer that holds no objects. Raises: AccessError.
    """
    with stale_directories(f"{writer.repository.path}/tmp") as remains:
        units = list(_units(writer, image, first, remains)) if remains else []
        if not units:
            return NOTHING
        progress.start("taking up an import that was interrupted", sum(unit.size for unit in units))
        with closing(parallel.run(take_over_layer, units, jobs=jobs, on_advance=progress.advance)) as results:
            return Resumed(*map(sum, zip(*results, strict=True)))


def _units(writer: RepositoryWriter, image: StoredImage, first: int, remains: tuple[str, ...]) -> Iterator[LayerUnit]:
    records, notes = LayerRecords(writer), ImportNotes(writer, image.layers)
    for number, layer in enumerate(image.layers):
        if number >= first:
            objects = tuple(("file", checksum) for checksum in notes.take_over(number, remains))
        else:  # a commit is not taken over: so its layer will be read
            objects = tuple(records.take_over(layer.diff_id, remains) or ()) if number else ()
        missing = tuple(each for each in objects if not writer.repository.has_object(*each))
        if missing:
            yield LayerUnit(writer.place, remains, missing, layer.descriptor.size)


def take_over_layer(unit: LayerUnit) -> tuple[int, int, int]:
    """The work unit's function: how many layers (one or none), objects and bytes of content were taken over."""
    whole, objects, content = 1, 0, 0
    with within(f"writing an object to {escape(unit.place.repository)}"):
        for kind, checksum in unit.objects:
            size = take_over(unit.place, unit.remains, kind, checksum)
            if size is not None:
                objects += 1
                content += size
            elif not os.path.lexists(unit.place.path(kind, checksum)):  # another unit's layer may have had it too
                whole = 0
    parallel.advance(unit.size)
    return whole, objects, content
