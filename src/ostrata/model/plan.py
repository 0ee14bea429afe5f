"""Which objects share a layer: the contentmeta document and the layers planned from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Contentmeta:
    """A contentmeta file, version 1.

    `layers`: layer id -> readable name, in the order in which the layers come out. `mapping`: object checksum ->
    layer id. With `ordered`, the members of a layer follow the order of `mapping`, otherwise that of the checksums.
    `created` is RFC 3339.
    """

    layers: Mapping[str, str]
    mapping: Mapping[str, str]
    ordered: bool = False
    created: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlannedObject:
    """A file object and all its paths, in walk order."""

    checksum: str
    paths: tuple[str, ...]

    def __reduce__(self) -> tuple[object, ...]:
        # All of an image's are sent to workers, and this is several times faster.
        return PlannedObject, (self.checksum, self.paths)


@dataclass(frozen=True, slots=True)
class PlannedLayer:
    """A layer to be: `name` is what people read (history, annotation), `objects` its members in order."""

    id: str
    name: str
    objects: tuple[PlannedObject, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Layers in order, and counts of what the contentmeta said about things that are not there."""

    layers: tuple[PlannedLayer, ...]
    empty_layers: tuple[str, ...] = ()
    unknown_objects: int = 0
