"""A plan without a previous one: the best runs of a row, then local search; exclusive layers stand apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ostrata.errors import PlanError
from ostrata.planning.expectations import Expectations
from ostrata.planning.groups import Group
from ostrata.planning.layering import NOWHERE, Layering
from ostrata.planning.partition import partition

MOST_LAYERS = 500
"""No storage stacks more: a plan that has to join groups, or carries on another, shares at most as many."""


@dataclass(frozen=True, slots=True)
class Room:
    """How many layers there are to share, and the names of the exclusive ones, which come behind those."""

    shared: int
    exclusive: tuple[str, ...]

    def exclusive_layer(self, name: str, shared: int) -> int:
        """The number of an exclusive layer behind `shared` others."""
        return shared + self.exclusive.index(name)


def room_for(groups: Sequence[Group], max_layers: int) -> Room:
    """The room in `max_layers` layers. Raises: PlanError when the exclusive layers alone do not fit."""
    exclusive = sorted({group.exclusive for group in groups if group.exclusive is not None})
    needed = len(exclusive) + any(group.exclusive is None for group in groups)
    if max_layers < needed:
        raise PlanError(
            f"expected at least {needed} layers, of them {len(exclusive)} exclusive, found {max_layers}",
            hint="allow more layers, or ask for fewer exclusive ones",
        )
    return Room(max_layers - len(exclusive), tuple(exclusive))


def plan_afresh(groups: Sequence[Group], expectations: Expectations, room: Room) -> Layering:
    """Every group alone when there is room, otherwise the best that the search finds."""
    shared = [index for index, group in enumerate(groups) if group.exclusive is None]
    alone = len(shared) <= room.shared
    layers = len(shared) if alone else min(room.shared, MOST_LAYERS)
    layer_of = [
        NOWHERE if group.exclusive is None else room.exclusive_layer(group.exclusive, layers) for group in groups
    ]
    runs = range(layers) if alone else partition(expectations.sizes[shared], expectations.rates[shared], layers)
    for index, layer in zip(shared, runs, strict=True):
        layer_of[index] = layer
    identities = [group.identity for group in groups]
    layering = Layering(expectations, identities, layer_of, layers + len(room.exclusive), len(room.exclusive))
    if not alone:
        layering.improve()
    return layering
