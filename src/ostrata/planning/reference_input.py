"""What the reference strategies share: checks, order, and the look back over a year that their tools take."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import pairwise

from ostrata.errors import PlanError, escape
from ostrata.model.component import Component, ComponentPlan

LOOKBACK_DAYS = 365


def by_name(components: Sequence[Component], max_layers: int) -> list[Component]:
    """The components in the order of their names, so that no plan depends on the input's order.

    Raises: PlanError for `max_layers` below 1 or two components of one name.
    """
    if max_layers < 1:
        raise PlanError(f"expected at least 1 layer, found {max_layers}")
    ordered = sorted(components, key=lambda component: component.name)
    for one, other in pairwise(ordered):
        if one.name == other.name:
            raise PlanError(f"two components are called '{escape(one.name)}'")
    return ordered


def recent_updates(component: Component, clock: date) -> list[date]:
    """The days of the year before `clock` on which it changed, ascending."""
    return [day for day in component.updates if 0 < (clock - day).days <= LOOKBACK_DAYS]


def known_names(previous: ComponentPlan, components: Sequence[Component]) -> list[list[str]]:
    """The layers of `previous` without the components that are gone; a name counts where it stands first."""
    left = {component.name for component in components}
    layers = []
    for layer in previous.layers:
        kept = [name for name in dict.fromkeys(layer) if name in left]
        left.difference_update(kept)
        layers.append(kept)
    return layers
