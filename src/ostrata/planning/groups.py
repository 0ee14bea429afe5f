"""From components to groups: what is planned as one, since it changes together.

Binary packages of one source package always change together, so that splitting them over two layers never pays: the
components of a source form a group. A source is known by its name, without the version that kernel packages carry in
theirs. Components with an interval or an exclusive layer that the user asked for form groups of their own.

Groups come out in the order of their names, whatever the order of the components: all sums and ties below follow it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from ostrata.errors import PlanError, escape
from ostrata.model.component import Component

_KERNEL_VERSION = re.compile(r"-\d+(?:\.\d+){2,}(?:[-.+~]\d+)*")


@dataclass(frozen=True, slots=True)
class Group:
    """Components that are planned as one.

    `identity` is equal for groups that change together although they are planned apart; `size` is in compressed bytes,
    at least 1; `ages` are the days from each update to the clock, ascending, 1 for the day before it; `interval` is
    the user's, in days.
    """

    identity: str
    names: tuple[str, ...]
    size: int
    ages: tuple[int, ...]
    interval: float | None = None
    exclusive: str | None = None


def check_components(components: Sequence[Component], max_layers: int) -> list[Component]:
    """The components in the order of their names.

    Raises: PlanError for fewer than 1 layer, two components of one name, negative sizes and intervals that are none.
    """
    if max_layers < 1:
        raise PlanError(f"expected at least 1 layer, found {max_layers}")
    ordered = sorted(components, key=lambda component: component.name)
    last = None
    for component in ordered:
        if component.name == last:
            raise PlanError(f"two components are called '{_shorten(component.name)}'")
        last = component.name
        if min(component.size, component.compressed_size) < 0:
            size = min(component.size, component.compressed_size)
            raise PlanError(f"component '{_shorten(component.name)}': expected a size of at least 0, found {size}")
        if component.interval is not None and not 0 < component.interval < math.inf:
            raise PlanError(
                f"component '{_shorten(component.name)}': expected an update interval above 0 days, "
                f"found {component.interval}"
            )
    return ordered


def group_components(components: Iterable[Component], clock: date) -> list[Group]:
    """The groups of `components` (in the order of their names) as they are known just before `clock`."""
    members: dict[tuple[str, float, str, bool], list[Component]] = {}
    for component in components:
        members.setdefault(_key(component), []).append(component)
    return [_group(members[key], clock) for key in sorted(members)]


def identity_of(component: Component) -> str:
    """What its source is called, whatever the version."""
    return _KERNEL_VERSION.sub("", component.source or component.name)


def _key(component: Component) -> tuple[str, float, str, bool]:
    return (
        identity_of(component),
        component.interval or 0.0,
        component.exclusive or "",
        component.exclusive is not None,
    )


def _group(components: list[Component], clock: date) -> Group:
    first = components[0]
    ages = sorted({(clock - day).days for component in components for day in component.updates if day < clock})
    identity = identity_of(first)
    if first.interval is not None:
        identity += f"\0{first.interval!r}"  # it does not change with the rest of its source
    return Group(
        identity,
        tuple(component.name for component in components),
        max(1, sum(component.compressed_size for component in components)),
        tuple(ages),
        first.interval,
        first.exclusive,
    )


def _shorten(name: str) -> str:
    shown = escape(name[:80])
    return shown if len(name) <= 80 else f"{shown}..."
