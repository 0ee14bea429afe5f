"""What a client downloads that updates every so many days.

From the first release on time is cut into windows of `every` days; a partial last window is dropped. At the end of a
window the client goes from the newest release of the window's first day to the newest release of the day behind it.
It downloads, whole, every layer that the old release has not: one with other members, or one in which a component
changed in the window. Means are over all windows, those without a change included.

The update of a component on the day on which it appeared is its appearance, not a change of it, when that is behind
the first release.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import chain

from ostrata.model.component import Component
from ostrata.simulation.releases import PlannedRelease


@dataclass(frozen=True, slots=True)
class UpdateCost:
    """One update: compressed bytes downloaded in `layers` layers, and those of the components that changed."""

    start: date
    end: date
    bytes: int
    changed_bytes: int
    layers: int


@dataclass(frozen=True, slots=True)
class CadenceCost:
    """The means over the updates of a client that updates every `every` days; None where there is no update.

    `overfetch` is bytes downloaded for each byte of changed components, None when nothing changed.
    """

    every: int
    updates: int
    mean_bytes: float | None
    mean_changed_bytes: float | None
    overfetch: float | None
    mean_layers: float | None


class Replay:
    """The releases of a history until `until` (exclusive), ready to be updated through."""

    def __init__(self, releases: Sequence[PlannedRelease], until: date) -> None:
        self._start = releases[0].day
        self._until = until
        self._days = [release.day for release in releases]
        self._releases = [_Layers(release) for release in releases]
        self._changed = _changed_by_day(releases[-1].components, self._start, until)

    def updates(self, every: int) -> Iterator[UpdateCost]:
        """The updates of a client that updates every `every` days."""
        step = timedelta(every)
        for number in range(count_updates(self._start, self._until, every)):
            start = self._start + number * step
            yield self._update(start, start + step)

    def cost(self, every: int) -> CadenceCost:
        """The means over them."""
        updates = list(self.updates(every))
        if not updates:
            return CadenceCost(every, 0, None, None, None, None)
        downloaded = sum(update.bytes for update in updates)
        changed = sum(update.changed_bytes for update in updates)
        layers = sum(update.layers for update in updates)
        count = len(updates)
        overfetch = downloaded / changed if changed else None
        return CadenceCost(every, count, downloaded / count, changed / count, overfetch, layers / count)

    def _update(self, start: date, end: date) -> UpdateCost:
        old, new = self._release_of(start), self._release_of(end)
        days = range((start - self._start).days, (end - self._start).days)
        changed = set(chain.from_iterable(self._changed.get(day, ()) for day in days)) | (new.sizes.keys() - old.sizes)
        layers = {new.layer_of[name] for name in changed if name in new.layer_of} | new.not_in(old)
        return UpdateCost(
            start,
            end,
            sum(new.layer_sizes[layer] for layer in layers),
            sum(new.sizes[name] for name in changed if name in new.sizes),
            len(layers),
        )

    def _release_of(self, day: date) -> _Layers:
        return self._releases[bisect_right(self._days, day) - 1]


class _Layers:
    """A release's layers, looked up by member."""

    def __init__(self, release: PlannedRelease) -> None:
        self.sizes = {component.name: component.compressed_size for component in release.components}
        self.members = [frozenset(layer) for layer in release.plan.layers]
        self.layer_of = {name: number for number, layer in enumerate(self.members) for name in layer}
        self.layer_sizes = [sum(self.sizes[name] for name in layer) for layer in self.members]

    def not_in(self, old: _Layers) -> set[int]:
        """The layers with members that no layer of `old` has."""
        if old is self:
            return set()
        known = set(old.members)
        return {number for number, layer in enumerate(self.members) if layer and layer not in known}


def count_updates(start: date, until: date, every: int) -> int:
    """How many whole windows of `every` days there are."""
    return max(0, (until - start).days // every)


def _changed_by_day(components: Sequence[Component], start: date, until: date) -> dict[int, list[str]]:
    """Days since `start` -> the names of what changed on that day."""
    changed: dict[int, list[str]] = {}
    for component in components:
        for day in component.updates:
            appeared = day == component.since and day > start
            if start <= day < until and not appeared:
                changed.setdefault((day - start).days, []).append(component.name)
    return changed
