"""Components: what a planner distributes over layers. Every path of a tree is in exactly one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class Component:
    """Paths that change together, for instance those of one package.

    `source` names the group that it is built from (its own name where there is none). `size` and `compressed_size`
    are in bytes; the latter is an estimate where nothing was measured. `since` is the day on which it first appeared,
    None for before its history begins. `updates` are days, ascending and unique.

    What the user asked for: `interval`, the days between its updates, in place of what its history says; `exclusive`,
    the name of a layer that holds the components of that name and nothing else. A reference strategy looks at neither.
    """

    name: str
    source: str
    size: int
    compressed_size: int
    since: date | None = None
    updates: tuple[date, ...] = ()
    paths: tuple[str, ...] = ()
    interval: float | None = None
    exclusive: str | None = None


@dataclass(frozen=True, slots=True)
class ComponentPlan:
    """Which components share a layer: names, by layer, in the order of the layers.

    `clock` is the day for which it was planned, where that is known: what was updated from then on has changed since.
    """

    layers: tuple[tuple[str, ...], ...]
    clock: date | None = None
