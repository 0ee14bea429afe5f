"""Histories for tests: components from short words, planners that do as they are told, hypothesis strategies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from hypothesis import strategies as st

from ostrata.model.component import Component, ComponentPlan

START = date(2024, 1, 1)
HOSTILE = ("a,b", "new\nline", "žluťoučký", "x" * 4096, " ", "\u202egnp", "-rf")


def day(number: int) -> date:
    """The day `number` days after START."""
    return START + timedelta(number)


def component(
    name: str, size: int, *updates: int, source: str | None = None, since: int | None = None, packed: int | None = None
) -> Component:
    """A component of `size` bytes (`packed` of them compressed, default all); dates are days after START."""
    appeared = None if since is None else day(since)
    return Component(
        name, source or name, size, size if packed is None else packed, appeared, tuple(map(day, sorted(set(updates))))
    )


@dataclass
class Told:
    """A planner that puts the components where `layers` says, new ones into its last layer; it notes its calls."""

    layers: tuple[tuple[str, ...], ...]
    name: str = "told"
    calls: list[tuple[int, date, ComponentPlan | None]] = field(default_factory=list)

    def plan(
        self, components: Sequence[Component], max_layers: int, clock: date, previous: ComponentPlan | None = None
    ) -> ComponentPlan:
        self.calls.append((max_layers, clock, previous))
        left = {item.name for item in components}
        kept = [tuple(name for name in layer if name in left) for layer in self.layers]
        rest = sorted(left.difference(*kept))
        kept[-1] += tuple(rest)
        return ComponentPlan(tuple(kept))


NAMES = st.text(min_size=1, max_size=6) | st.sampled_from(HOSTILE)
DAYS = st.integers(-800, 120)


@st.composite
def component_lists(draw: st.DrawFn, most: int = 12) -> list[Component]:
    """Components with hostile names, shared sources, any sizes and dates."""
    names = draw(st.lists(NAMES, min_size=1, max_size=most, unique=True))
    return [
        component(
            name,
            draw(st.integers(0, 3) | st.integers(0, 1 << 40)),
            *draw(st.lists(DAYS, max_size=8)),
            source=draw(st.sampled_from(["s", "t", "ü"]) | st.none()),
            since=draw(st.none() | DAYS),
        )
        for name in names
    ]
