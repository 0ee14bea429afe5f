"""Components from claims: every object, with all its paths, in exactly one.

An object can have several paths: hard links, and twins, which are equal in content and attributes. It cannot be cut, so
the strongest claim on one of them has it; among equally strong ones the component that comes first by name. Hard links
of one file are one object too.

A component's updates are those of the packages in it; where a changelog says nothing, the day on which the package was
built. What a map file or an attribute takes out of packages has the dates of these. A history (see `ostrata learn`)
adds its own, and says more than the guessed interval of a volatile component.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from ostrata.components.claim import ASKED, COVERED, STRENGTH, Claim
from ostrata.components.claims import Claims
from ostrata.components.package_claims import component_of
from ostrata.components.sizes import compressed_size
from ostrata.model.component import Component
from ostrata.model.package import Package
from ostrata.model.tree import Entry, RegularFile


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a tree has a known origin: counts of paths, and bytes, each object's once."""

    paths: int
    all_paths: int
    bytes: int
    all_bytes: int

    @property
    def percent(self) -> float:
        """Of bytes; 100 for a tree without any."""
        return 100 * self.bytes / self.all_bytes if self.all_bytes else 100.0


@dataclass(frozen=True, slots=True)
class Components:
    """The components by name; `claims`: object -> the claim that has it; `packages`: component -> those in it."""

    components: tuple[Component, ...]
    claims: Mapping[str, Claim]
    coverage: Coverage
    packages: Mapping[str, tuple[Package, ...]] = field(default_factory=dict)


def form_components(
    claims: Claims,
    entries: Mapping[str, Entry],
    objects: Mapping[str, str],
    databases: Mapping[str, Sequence[Package]],
    *,
    by_package: bool = False,
    history: Iterable[Component] = (),
) -> Components:
    """Components of claimed paths; `objects` is path -> object checksum, for every claimed path."""
    checksums = [objects[path] for path in claims.by_path]
    chosen = _choose(claims.by_path.values(), checksums)
    drafts: dict[str, _Draft] = {}
    coverage = _take_objects(claims.by_path, checksums, entries, chosen, drafts)
    packages = _packages_of(claims, databases, by_package)
    past = {component.name: component.updates for component in history}
    wishes = _wishes(chosen.values(), frozenset(name for name, updates in past.items() if updates))
    components = []
    for name, draft in sorted(drafts.items()):
        inside = packages.get(name, ())
        updates = {day for package in inside for day in _days(package)}.union(past.get(name, ()))
        components.append(
            Component(
                name=name,
                source=min(map(component_of, inside), default=name) if by_package else name,
                size=draft.size,
                compressed_size=draft.compressed_size,
                updates=tuple(sorted(updates)),
                paths=tuple(draft.paths),
                interval=wishes.get(name, _NO_WISH).interval,
                exclusive=wishes.get(name, _NO_WISH).exclusive,
            )
        )
    return Components(tuple(components), chosen, coverage, packages)


def _choose(claims: Iterable[Claim], checksums: Iterable[str]) -> dict[str, Claim]:
    """Object -> the claim that has it; both go through the claimed paths."""
    chosen: dict[str, Claim] = {}
    for claim, checksum in zip(claims, checksums, strict=True):
        best = chosen.setdefault(checksum, claim)
        if best is not claim and best.component != claim.component and _order(claim) < _order(best):
            chosen[checksum] = claim
    return chosen


def _order(claim: Claim) -> tuple[int, str]:
    return STRENGTH[claim.rule], claim.component


@dataclass(slots=True)
class _Draft:
    """A component while its objects are collected."""

    paths: list[str] = field(default_factory=list)
    size: int = 0
    compressed_size: int = 0


def _take_objects(
    claims: Mapping[str, Claim],
    checksums: Iterable[str],
    entries: Mapping[str, Entry],
    chosen: Mapping[str, Claim],
    drafts: dict[str, _Draft],
) -> Coverage:
    """Put every path into the draft of its object's component; an object's bytes count once, at its first path."""
    covered_paths = covered_bytes = all_bytes = 0
    seen: set[str] = set()
    for (path, claim), checksum in zip(claims.items(), checksums, strict=True):
        name = chosen[checksum].component
        draft = drafts.get(name)
        if draft is None:
            draft = drafts[name] = _Draft()
        draft.paths.append(path)
        covered = claim.rule in COVERED
        covered_paths += covered
        if checksum in seen:
            continue
        seen.add(checksum)
        entry = entries[path]
        size = entry.size if isinstance(entry, RegularFile) else 0
        draft.size += size
        draft.compressed_size += compressed_size(path, size)
        covered_bytes += size if covered else 0
        all_bytes += size
    return Coverage(covered_paths, len(claims), covered_bytes, all_bytes)


def _packages_of(
    claims: Claims, databases: Mapping[str, Sequence[Package]], by_package: bool
) -> dict[str, tuple[Package, ...]]:
    """Component -> the packages whose dates are its own."""
    found: dict[str, dict[int, Package]] = {}
    for packages in databases.values():
        for package in packages:
            found.setdefault(component_of(package, by_package), {})[id(package)] = package
    for path, owner in claims.owners.items():
        found.setdefault(claims.by_path[path].component, {})[id(owner)] = owner
    return {name: tuple(inside.values()) for name, inside in found.items()}


def _days(package: Package) -> Sequence[date]:
    return package.changed or ((package.built,) if package.built is not None else ())


@dataclass(frozen=True, slots=True)
class _Wish:
    """What claims ask for beside a component."""

    interval: float | None = None
    exclusive: str | None = None


_NO_WISH = _Wish()


def _wishes(claims: Iterable[Claim], known: frozenset[str]) -> dict[str, _Wish]:
    """By component: the smallest interval, the first exclusive layer. Guessed intervals give way to a `known` past."""
    found: dict[str, _Wish] = {}
    for claim in claims:
        if claim.interval is not None or claim.exclusive is not None:
            before = found.get(claim.component, _NO_WISH)
            guessed = claim.rule not in ASKED and claim.component in known
            intervals = [days for days in (before.interval, None if guessed else claim.interval) if days is not None]
            layers = [layer for layer in (before.exclusive, claim.exclusive) if layer is not None]
            found[claim.component] = _Wish(min(intervals, default=None), min(layers, default=None))
    return found
