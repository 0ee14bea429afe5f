"""Carrying a plan on: everything keeps its layer, what is new goes where it costs least.

Layers come out in the order of the previous plan, new ones behind them, exclusive ones last. Layers that change in
this release anyway are dirty: they hold something that changed, or have lost or gained a name. Downloading those costs
nothing more, so that joining layers, and inserting what is new, is cheapest there.
"""

from __future__ import annotations

from ostrata.planning.carried import Placement
from ostrata.planning.expectations import Expectations
from ostrata.planning.fresh import MOST_LAYERS, Room
from ostrata.planning.layering import NOWHERE, Layering

_MOST_JOINED = 400  # every pair is compared; of more layers the smallest are taken apart


def carry(
    placement: Placement, expectations: Expectations, changed: frozenset[str], room: Room
) -> tuple[Layering, int]:
    """The groups of `placement` on their layers, the new ones inserted; and how many layers were given up.

    `changed` are names of components that are not what they were.
    """
    groups = placement.groups
    previous = sorted({layer for layer in _shared_layers(placement) if layer is not None})
    number = {layer: index for index, layer in enumerate(previous)}
    layer_of = [NOWHERE if layer is None else number[layer] for layer in _shared_layers(placement)]
    dirty = {number[layer] for layer in _dirty_layers(placement, changed) if layer in number}
    shared = min(room.shared, MOST_LAYERS)
    before = len(previous)
    if before > shared:
        layer_of, dirty = _fit(placement, expectations, layer_of, dirty, shared)
    layer_of = [
        layer if group.exclusive is None else room.exclusive_layer(group.exclusive, shared)
        for group, layer in zip(groups, layer_of, strict=True)
    ]
    layering = Layering(
        expectations, _identities(placement), layer_of, shared + len(room.exclusive), len(room.exclusive)
    )
    layering.charge(expectations.once, dirty)
    new = [index for index, layer in enumerate(layer_of) if layer == NOWHERE]
    for index in sorted(new, key=lambda index: (-groups[index].size, index)):
        layering.insert(index)
    return layering, max(0, before - shared)


def _shared_layers(placement: Placement) -> list[int | None]:
    """The previous layer of each group, None for new and for exclusive ones."""
    return [
        layer if group.exclusive is None else None
        for group, layer in zip(placement.groups, placement.layer_of, strict=True)
    ]


def _dirty_layers(placement: Placement, changed: frozenset[str]) -> set[int]:
    """Those that hold something changed, lost or gained a name, or must give an exclusive component up."""
    dirty = set(placement.touched)
    for group, layer in zip(placement.groups, placement.layer_of, strict=True):
        if layer is not None and (group.exclusive is not None or not changed.isdisjoint(group.names)):
            dirty.add(layer)
    return dirty


def _fit(
    placement: Placement, expectations: Expectations, layer_of: list[int], dirty: set[int], most: int
) -> tuple[list[int], set[int]]:
    """Join layers until there are `most`, and number them again in their order."""
    layers = max(layer_of) + 1
    if layers > max(_MOST_JOINED, most):
        layer_of = _largest_only(placement, layer_of, layers, max(_MOST_JOINED, most))
    layering = Layering(expectations, _identities(placement), layer_of, layers)
    layering.charge(expectations.once, dirty)
    layering.dissolve(most)
    used = sorted(set(layering.layer_of) - {NOWHERE})
    number = {NOWHERE: NOWHERE} | {layer: index for index, layer in enumerate(used)}
    return (
        [number[layer] for layer in layering.layer_of],
        {number[layer] for layer in used if layering.dirty[layer]},
    )


def _largest_only(placement: Placement, layer_of: list[int], layers: int, most: int) -> list[int]:
    """`layer_of` with the groups of all but the `most` largest layers nowhere."""
    sizes = [0] * layers
    for group, layer in zip(placement.groups, layer_of, strict=True):
        if layer != NOWHERE:
            sizes[layer] += group.size
    kept = set(sorted(range(layers), key=lambda layer: (-sizes[layer], layer))[:most])
    return [layer if layer in kept else NOWHERE for layer in layer_of]


def _identities(placement: Placement) -> list[str]:
    return [group.identity for group in placement.groups]
