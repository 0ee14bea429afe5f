"""From published releases to a history: when did each component change?

A component changed in a release when it is not what it was in the release before. Three things can tell, the most
exact that both releases have decides: its contents; its version; the layer it is in. The last says too much: a layer
changes with any of its members. Releases of one day count as one date.

What the first release has existed before the history; what a later one adds appeared on that release's day. The
history is that of the components of the last release, with their sizes there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

from ostrata.errors import PlanError
from ostrata.model.component import Component
from ostrata.model.history import History


@dataclass(frozen=True, slots=True)
class PublishedComponent:
    """A component as one release has it; `size` and `compressed_size` in bytes.

    `contents`, `version` and `layer` are equal where nothing changed, None where nobody says. `paths`: path -> checksum
    of its content.
    """

    name: str
    size: int
    compressed_size: int
    contents: object = None
    version: str | None = None
    layer: object = None
    paths: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PublishedRelease:
    """What was published on `day`: components by name."""

    day: date
    components: Mapping[str, PublishedComponent]


class Learner:
    """Takes releases in the order of their days; `finish` gives the history."""

    def __init__(self) -> None:
        self._count = 0
        self._last: PublishedRelease | None = None
        self._since: dict[str, date | None] = {}
        self._updates: dict[str, list[date]] = {}
        self._paths: dict[str, dict[str, list[date]]] = {}
        self._gone = 0

    def add(self, release: PublishedRelease) -> None:
        """Take in the next release. Raises: PlanError for one that is older than the last."""
        last = self._last
        if last is not None and release.day < last.day:
            raise PlanError(f"expected a release of {last.day.isoformat()} or later, found {release.day.isoformat()}")
        for name, component in release.components.items():
            if name not in self._updates:
                self._since[name] = None if last is None else release.day
                self._updates[name] = []
            elif last is not None and name in last.components:
                self._compare(last.components[name], component, release.day)
        if last is not None:
            self._gone += len(last.components.keys() - release.components.keys())
        self._last = release
        self._count += 1

    def finish(self, title: str | None = None) -> History:
        """The history. Raises: PlanError when there was no component in the last release."""
        if self._last is None or not self._last.components:
            raise PlanError(
                "no component is known in the last release", hint="docs/simulate.md has what can be learned"
            )
        present = [self._last.components[name] for name in sorted(self._last.components)]
        return History(
            tuple(self._component(component) for component in present),
            title,
            {
                component.name: {path: _unique(days) for path, days in sorted(self._paths[component.name].items())}
                for component in present
                if component.name in self._paths
            },
            tuple(self._notes(present)),
        )

    def _compare(self, old: PublishedComponent, new: PublishedComponent, day: date) -> None:
        if has_changed(old, new):
            self._updates[new.name].append(day)
        if old.paths and new.paths:
            for path, checksum in new.paths.items():
                if old.paths.get(path) != checksum:
                    self._paths.setdefault(new.name, {}).setdefault(path, []).append(day)

    def _component(self, component: PublishedComponent) -> Component:
        name = component.name
        updates = _unique(self._updates[name])
        return Component(name, name, component.size, component.compressed_size, self._since[name], updates)

    def _notes(self, present: Iterable[PublishedComponent]) -> Iterable[str]:
        if self._count == 1:
            yield "one release says nothing about updates"
        if self._gone:
            yield f"{self._gone} components vanished from one release to the next; those not in the last are left out"
        inexact = sum(component.version is None and component.contents is None for component in present)
        if inexact:
            yield f"{inexact} components are known by their layers only: they have the dates of their layers"


def has_changed(old: PublishedComponent, new: PublishedComponent) -> bool:
    """By the most exact thing that both have; no change where they have nothing in common."""
    for before, after in ((old.contents, new.contents), (old.version, new.version), (old.layer, new.layer)):
        if before is not None and after is not None:
            return before != after
    return False


def _unique(days: Iterable[date]) -> tuple[date, ...]:
    return tuple(sorted(set(days)))
