"""Splitting a component into what its updates change and what they leave as it is.

A package of a gigabyte is downloaded whole when one library in it changes. A history made from published releases
(`ostrata learn`) can say which paths of a component each update changed; what none of them changed forms a component of
its own then, the **stable** part. The rest keeps the name, and so its place in the previous plan.

The stable part was untouched by all `n` updates that are known by their paths. The next one is taken to touch it with
chance 1 / (n + 2), the rule of succession; so it is given `n + 2` times the mean interval of its component. The split
pays when what the stable part is then expected to save, `size * (1 - 1 / (n + 2))` for each update, is at least
MIN_SAVED; less is not worth a name in the plan.

A path that was ever seen to change does not become stable again while the history has that day. So as a history grows,
paths leave the stable part only in updates that change them: no layer is downloaded for the split alone. Paths that
differ only in numbers are one, as those of libraries and kernels are: `libz.so.1.2.13` is what `libz.so.1.2.12` was.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date

from ostrata.model.component import Component
from ostrata.model.history import ChangedPaths
from ostrata.planning.expectations import WATCHED_DAYS

STABLE = " (stable)"
"""What is behind the component's name in the name of its stable part."""

MIN_SAVED = 1 << 20
"""Compressed bytes that an update of the component must be expected to save."""

_NUMBER = re.compile(r"\d+(?:[.+~:_-]\d+)*")


@dataclass(frozen=True, slots=True)
class Split:
    """The two parts of a component, which have all its paths and bytes between them."""

    volatile: Component
    stable: Component


def split(
    component: Component,
    objects: Mapping[str, str],
    sizes: Mapping[str, tuple[int, int]],
    changed: Mapping[str, tuple[date, ...]],
    clock: date,
) -> Split | None:
    """The parts of `component` where that pays; None where it does not.

    `objects`: path -> object checksum, `sizes`: object -> bytes and compressed bytes, for all its paths; an object
    with a path that changed is not stable. `changed`: path -> days before and after `clock`; only those before count.
    Components with an interval or a layer that the user asked for stay whole.
    """
    known = {path: days for path, days in changed.items() if any(day < clock for day in days)}
    updates = {day for days in known.values() for day in days if day < clock}
    if not updates or component.interval is not None or component.exclusive is not None:
        return None
    moving = set(map(_without_numbers, known))
    touched = {objects[path] for path in component.paths if _without_numbers(path) in moving}
    left = dict.fromkeys(objects[path] for path in component.paths if objects[path] not in touched)
    size, compressed_size = (sum(sizes[checksum][each] for checksum in left) for each in (0, 1))
    odds = len(updates) + 2
    if not touched or compressed_size * (1 - 1 / odds) < MIN_SAVED:
        return None
    stable = Component(
        name=component.name + STABLE,
        source=component.source,
        size=size,
        compressed_size=compressed_size,
        since=component.since,
        paths=tuple(path for path in component.paths if objects[path] in left),
        interval=odds * _mean_interval(component, updates, clock),
    )
    volatile = replace(
        component,
        size=component.size - size,
        compressed_size=component.compressed_size - compressed_size,
        paths=tuple(path for path in component.paths if objects[path] in touched),
    )
    return Split(volatile, stable)


def joined_paths(changed: ChangedPaths) -> dict[str, dict[str, tuple[date, ...]]]:
    """`changed`, what is known of stable parts (of images that were split already) given to their components."""
    joined: dict[str, dict[str, tuple[date, ...]]] = {}
    for name, paths in sorted(changed.items()):
        known = joined.setdefault(name.removesuffix(STABLE), {})
        for path, days in paths.items():
            known[path] = tuple(sorted({*known.get(path, ()), *days}))
    return joined


def _without_numbers(path: str) -> str:
    return _NUMBER.sub("#", path)


def _mean_interval(component: Component, updates: set[date], clock: date) -> float:
    """Days between updates of the whole component, one update a day, over all the time that it was watched."""
    days = updates.union(day for day in component.updates if day < clock)
    return max(1.0, max(WATCHED_DAYS, (clock - min(days)).days) / len(days))
