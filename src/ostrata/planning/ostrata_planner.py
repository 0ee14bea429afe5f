"""The strategy `ostrata`: the layers that make the updates to come as small as can be expected.

Fresh: components -> groups (`groups`) -> rates and common changes (`expectations`) -> the best runs of a row
(`partition`) -> local search (`layering`).

Carried: components keep the layers that the previous plan has them on (`carried`); if there are more layers than
allowed, those are joined that cost least; new groups, the largest first, go where they add the least cost, a layer of
their own included while there is room (`carrying`); then, with `rebalance="auto"`, groups move where that pays back
what it costs once. Layers that change in this release anyway are preferred for all of it: their bytes are spent.

Everything is a function of the components, the number of layers, the clock and the previous plan. Nothing depends on
the order of the components or on the time that a search takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal

from ostrata.model.component import Component, ComponentPlan
from ostrata.planning.carried import Carried, place
from ostrata.planning.carrying import carry
from ostrata.planning.expectations import expect
from ostrata.planning.fresh import plan_afresh, room_for
from ostrata.planning.groups import Group, check_components, group_components
from ostrata.planning.layering import Layering

Rebalance = Literal["never", "auto", "full"]
"""What may move in a carried plan: nothing; what pays back; everything, as if there was no previous plan."""

Layers = list[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Figures:
    """What rebalancing does: expected compressed bytes of a weekly update before and after, and what it costs once.

    `moved` components no longer share a layer with most of those they did share one with; `once_bytes` are those of
    the layers that change for that alone.
    """

    weekly_bytes_before: float
    weekly_bytes_after: float
    moved: int = 0
    once_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, what was used of the previous one (None when there was none), and the figures."""

    plan: ComponentPlan
    carried: Carried | None
    figures: Figures


@dataclass(frozen=True, slots=True)
class OstrataPlanner:
    """A planner; see the module.

    `changed` are the names of components that are not what they were in the previous plan's release. None: those with
    an update since the previous plan's clock, where it has one.
    """

    name: str = "ostrata"
    carries: bool = True
    rebalance: Rebalance = "auto"
    changed: frozenset[str] | None = None

    def plan(
        self, components: Sequence[Component], max_layers: int, clock: date, previous: ComponentPlan | None = None
    ) -> ComponentPlan:
        """See `protocols.Planner`; raises what `plan_with_figures` does."""
        return self.plan_with_figures(components, max_layers, clock, previous).plan

    def plan_with_figures(
        self, components: Sequence[Component], max_layers: int, clock: date, previous: ComponentPlan | None = None
    ) -> Planned:
        """A plan with at most `max_layers` layers, none of them empty, and why it is as it is.

        The layers of a fresh plan come largest first, those of a carried one as they were.

        Raises: PlanError for `max_layers` below 1 or too few for the exclusive layers, two components of one name,
        negative sizes, intervals that are not above 0.
        """
        ordered = check_components(components, max_layers)
        groups = group_components(ordered, clock)
        room_for(groups, max_layers)
        if not groups:
            return Planned(ComponentPlan((), clock), None, Figures(0.0, 0.0))
        if previous is None or not any(previous.layers):
            layers, weekly = _plan_afresh(groups, max_layers)
            return Planned(_plan(layers, clock), None, Figures(weekly, weekly))
        return self._carry_on(ordered, groups, max_layers, clock, previous)

    def _carry_on(
        self, components: list[Component], groups: list[Group], max_layers: int, clock: date, previous: ComponentPlan
    ) -> Planned:
        sizes = {component.name: component.compressed_size for component in components}
        placement = place(groups, sizes, previous)
        expectations = expect(placement.groups)
        changed = _changed_since(components, previous.clock, clock) if self.changed is None else self.changed
        layering, given_up = carry(placement, expectations, changed, room_for(groups, max_layers))
        before, dirty, weekly_before = _names(placement.groups, layering), layering.dirty, layering.weekly_bytes()
        spent = {names for names, is_dirty in zip(before, dirty.tolist(), strict=True) if is_dirty}
        if self.rebalance == "auto":
            layering.improve()
        after, weekly_after = _names(placement.groups, layering), layering.weekly_bytes()
        if self.rebalance == "full":
            after, weekly_after = _plan_afresh(groups, max_layers)
        once = _bytes_of(set(after) - (set(before) - spent), sizes) - _bytes_of(spent, sizes)
        figures = Figures(weekly_before, weekly_after, _moved(before, after), max(0, once))
        return Planned(_plan(after, clock), replace(placement.carried, given_up=given_up), figures)


PLANNER = OstrataPlanner()


def _changed_since(components: Iterable[Component], since: date | None, clock: date) -> frozenset[str]:
    if since is None:
        return frozenset()
    return frozenset(
        component.name for component in components if any(since <= day < clock for day in component.updates)
    )


def _plan_afresh(groups: Sequence[Group], max_layers: int) -> tuple[Layers, float]:
    """The names of each layer, the largest layer first, and the expected bytes of a weekly update."""
    layering = plan_afresh(groups, expect(groups), room_for(groups, max_layers))
    names = _names(groups, layering)
    order = sorted(range(len(names)), key=lambda layer: (-layering.sizes[layer], names[layer]))
    return [names[layer] for layer in order], layering.weekly_bytes()


def _names(groups: Sequence[Group], layering: Layering) -> Layers:
    return [tuple(sorted(name for group in members for name in groups[group].names)) for members in layering.layers]


def _plan(layers: Layers, clock: date) -> ComponentPlan:
    return ComponentPlan(tuple(names for names in layers if names), clock)


def _bytes_of(layers: Iterable[tuple[str, ...]], sizes: dict[str, int]) -> int:
    return sum(sizes[name] for names in layers for name in names)


def _moved(before: Layers, after: Layers) -> int:
    old = {name: layer for layer, names in enumerate(before) for name in names}
    return sum(len(names) - max(Counter(old[name] for name in names).values()) for names in after if names)
