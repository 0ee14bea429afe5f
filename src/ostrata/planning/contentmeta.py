"""From a contentmeta document and a commit to the layers to write.

Layers come out in the order of the document. A file object and all its paths are in one layer. With ``ordered`` the
members of a layer stand in the order of the mapping, so that what is appended to the mapping is appended to its layer;
otherwise they stand in the order of their checksums. Objects that the document does not name can be sent to one of its
layers: they count as appended to the mapping, in the order of their checksums.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ostrata.errors import PlanError, escape, some_of
from ostrata.model.plan import Contentmeta, Plan, PlannedLayer, PlannedObject

_SHOWN = 5


def planned_objects(files: Iterable[tuple[str, str]]) -> dict[str, PlannedObject]:
    """By checksum, in the order in which they are first met; `files` are a commit's."""
    found: dict[str, list[str]] = {}
    for path, checksum in files:
        found.setdefault(checksum, []).append(path)
    return {checksum: PlannedObject(checksum, tuple(paths)) for checksum, paths in found.items()}


def plan_one_layer(objects: Mapping[str, PlannedObject]) -> tuple[PlannedObject, ...]:
    """All content in checksum order: what layer 0 holds when there is no contentmeta."""
    return tuple(objects[checksum] for checksum in sorted(objects))


def plan_layers(contentmeta: Contentmeta, objects: Mapping[str, PlannedObject], *, unmapped: str | None = None) -> Plan:
    """The layers that `contentmeta` asks for; `unmapped` is the id of the layer for objects it does not name.

    Raises: PlanError when objects are not mapped and there is no `unmapped`, or no such layer.
    """
    members: dict[str, list[str]] = {layer: [] for layer in contentmeta.layers}
    unknown = 0
    for checksum, layer in contentmeta.mapping.items():
        if checksum in objects:
            members[layer].append(checksum)
        else:
            unknown += 1
    left = sorted(objects.keys() - contentmeta.mapping.keys())
    if left:
        _layer_for_unmapped(members, unmapped, [objects[checksum].paths[0] for checksum in left]).extend(left)
    planned = tuple(
        PlannedLayer(layer, contentmeta.layers[layer], _members(checksums, objects, contentmeta.ordered))
        for layer, checksums in members.items()
        if checksums
    )
    empty = tuple(layer for layer, checksums in members.items() if not checksums)
    return Plan(planned, empty, unknown)


def _layer_for_unmapped(members: dict[str, list[str]], unmapped: str | None, paths: list[str]) -> list[str]:
    if unmapped is None:
        shown = some_of([f"/{escape(path)}" for path in paths], _SHOWN)
        raise PlanError(
            f"{len(paths)} objects of the commit are not in the mapping: {shown}",
            hint="map them, or name a layer for them with --unmapped ID",
        )
    if unmapped not in members:
        raise PlanError(
            f"the layer '{escape(unmapped)}' for unmapped objects is not in the contentmeta's layers",
            hint=f"its layers: {some_of([escape(name) for name in members], _SHOWN)}",
        )
    return members[unmapped]


def _members(checksums: list[str], objects: Mapping[str, PlannedObject], ordered: bool) -> tuple[PlannedObject, ...]:
    return tuple([objects[checksum] for checksum in (checksums if ordered else sorted(checksums))])
