"""From a contentmeta document and a commit to the layers to write.

Layers come out in the order of the document. A file object and all its paths are in one layer. With ``ordered`` the
members of a layer stand in the order of the mapping, so that what is appended to the mapping is appended to its layer;
otherwise they stand in the order of their checksums. Objects that the document does not name can be sent to one of its
layers: they count as appended to the mapping, in the order of their checksums.
"""

from __future__ import annotations

from ostrata.errors import PlanError, escape, some_of
from ostrata.model.ostree import CommitTree
from ostrata.model.plan import Contentmeta, Plan, PlannedLayer, PlannedObject

_SHOWN = 5


def paths_by_object(commit: CommitTree) -> dict[str, tuple[str, ...]]:
    """File checksum -> its paths in walk order, in the order in which the objects are first met."""
    found: dict[str, list[str]] = {}
    for path, checksum in commit.files:
        found.setdefault(checksum, []).append(path)
    return {checksum: tuple(paths) for checksum, paths in found.items()}


def plan_one_layer(commit: CommitTree) -> tuple[PlannedObject, ...]:
    """All content in checksum order: what layer 0 holds when there is no contentmeta."""
    return tuple(PlannedObject(checksum, paths) for checksum, paths in sorted(paths_by_object(commit).items()))


def plan_layers(contentmeta: Contentmeta, commit: CommitTree, *, unmapped: str | None = None) -> Plan:
    """The layers that `contentmeta` asks for; `unmapped` is the id of the layer for objects it does not name.

    Raises: PlanError when objects are not mapped and there is no `unmapped`, or no such layer.
    """
    paths = paths_by_object(commit)
    members: dict[str, list[str]] = {layer: [] for layer in contentmeta.layers}
    unknown = 0
    for checksum, layer in contentmeta.mapping.items():
        if checksum in paths:
            members[layer].append(checksum)
        else:
            unknown += 1
    left = sorted(paths.keys() - contentmeta.mapping.keys())
    if left:
        _layer_for_unmapped(members, unmapped, [paths[checksum][0] for checksum in left]).extend(left)
    planned = tuple(
        PlannedLayer(layer, contentmeta.layers[layer], _objects(checksums, paths, contentmeta.ordered))
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


def _objects(checksums: list[str], paths: dict[str, tuple[str, ...]], ordered: bool) -> tuple[PlannedObject, ...]:
    in_order = checksums if ordered else sorted(checksums)
    return tuple(PlannedObject(checksum, paths[checksum]) for checksum in in_order)
