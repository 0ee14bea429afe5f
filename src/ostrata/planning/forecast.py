"""What layers are expected to cost: the planner's own expectations, for any plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from ostrata.model.component import Component, ComponentPlan
from ostrata.planning.expectations import expect
from ostrata.planning.groups import check_components, group_components


@dataclass(frozen=True, slots=True)
class LayerForecast:
    """A layer: its components' bytes, as they are and compressed, and the chance that it changes within a week.

    `weekly_bytes` is what a client that updates every week is expected to download of it each time.
    """

    size: int
    compressed_size: int
    weekly_chance: float

    @property
    def weekly_bytes(self) -> float:
        return self.compressed_size * self.weekly_chance


def forecast(components: Sequence[Component], plan: ComponentPlan, clock: date) -> list[LayerForecast]:
    """A forecast for each layer of `plan`, which is made of `components`."""
    ordered = check_components(components, 1)
    groups = group_components(ordered, clock)
    if not groups:
        return [LayerForecast(0, 0, 0.0) for _ in plan.layers]
    expectations = expect(groups)
    by_name = {component.name: component for component in ordered}
    group_of = {name: index for index, group in enumerate(groups) for name in group.names}
    forecasts = []
    for names in plan.layers:
        once = {groups[group_of[name]].identity: group_of[name] for name in sorted(names)}
        survival = expectations.survival[sorted(once.values())].prod(axis=0)
        chance = 1 - float((survival * expectations.weekly).sum())
        inside = [by_name[name] for name in names]
        forecasts.append(
            LayerForecast(
                sum(component.size for component in inside),
                sum(component.compressed_size for component in inside),
                min(max(chance, 0.0), 1.0),
            )
        )
    return forecasts
