"""Planning the releases of a history, each carrying on the plan of the one before.

A component is in a release when it appeared on the release's day or before. The planner sees what had happened before
that day, and its own previous plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from ostrata.errors import PlanError, escape
from ostrata.model.component import Component, ComponentPlan
from ostrata.protocols import Planner


@dataclass(frozen=True, slots=True)
class PlannedRelease:
    """What is published on `day`: its components, and which of them share a layer."""

    day: date
    components: tuple[Component, ...]
    plan: ComponentPlan


@dataclass(frozen=True, slots=True)
class WithoutMemory:
    """A planner that plans every release afresh: what carrying is worth shows against it."""

    planner: Planner
    carries: bool = False

    @property
    def name(self) -> str:
        """See `protocols.Planner`."""
        return f"{self.planner.name}, afresh"

    def plan(
        self, components: Sequence[Component], max_layers: int, clock: date, previous: ComponentPlan | None = None
    ) -> ComponentPlan:
        """See `protocols.Planner`; `previous` is not looked at."""
        return self.planner.plan(components, max_layers, clock)


def present(components: Sequence[Component], day: date) -> tuple[Component, ...]:
    """The components that exist on `day`."""
    return tuple(component for component in components if component.since is None or component.since <= day)


def plan_release(
    planner: Planner, components: Sequence[Component], max_layers: int, day: date, previous: ComponentPlan | None = None
) -> PlannedRelease:
    """The release of `day`.

    Raises: PlanError when nothing exists on that day, and for a plan that is not one: a component in no layer or in
    two, or too many layers.
    """
    existing = present(components, day)
    if not existing:
        raise PlanError(f"no component exists on {day.isoformat()}")
    plan = planner.plan(existing, max_layers, day, previous)
    _check_plan(planner.name, plan, existing, max_layers)
    return PlannedRelease(day, existing, plan)


def plan_releases(
    planner: Planner, components: Sequence[Component], max_layers: int, days: Sequence[date]
) -> Iterator[PlannedRelease]:
    """The releases of `days` (ascending), each with the plan before it. Raises: see `plan_release`."""
    previous = None
    for day in days:
        release = plan_release(planner, components, max_layers, day, previous)
        previous = release.plan
        yield release


def _check_plan(name: str, plan: ComponentPlan, components: Sequence[Component], max_layers: int) -> None:
    if len(plan.layers) > max_layers:
        raise PlanError(f"strategy {name}: expected at most {max_layers} layers, found {len(plan.layers)}")
    placed = [member for layer in plan.layers for member in layer]
    wrong = {component.name for component in components} ^ set(placed)
    if wrong:
        raise PlanError(f"strategy {name}: '{escape(min(wrong))}' is in its plan or in the tree, not in both")
    if len(placed) > len(components):
        raise PlanError(f"strategy {name}: {len(placed) - len(components)} components are in two layers")
