"""The strategy of coreos/chunkah, from its published behaviour: large components alone, the rest hashed into tiers.

A component here is a source package. Its stability is the chance that it does not change within a week, taken from the
days of the last year on which it changed: exp(-7 * changes / days since the first of them), 0.99 without a change, 0
when the first one was less than a day ago.

1. Components at least as large as the median and 1.5 median absolute deviations have a layer of their own, the largest
   first, in at most 0.8 of the layers. A deviation below a hundredth of the median is replaced by the median.
2. The rest forms three tiers of stability: one standard deviation around the mean, above and below. Each tier has its
   share of the layers left by number of components, and at least one. In it the FNV-1a hash of a component's name
   chooses the layer; empty layers are filled with the largest components of the others.

There is no memory by design: a previous plan is not looked at. Sizes are installed ones. A component without any
known change counts as built on the day it appeared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from statistics import fmean, median, pstdev

from ostrata.model.component import Component, ComponentPlan
from ostrata.planning.reference_input import LOOKBACK_DAYS, by_name, recent_updates

PERIOD_DAYS = 7
OUTLIER_DEVIATIONS = 1.5
ALONE_SHARE = 0.8
STABLE = 0.99

_FNV_OFFSET = 0xCBF29CE484222325
_FNV_PRIME = 0x100000001B3
_STRING_END = b"\xff"  # what Rust hashes behind every string
_PREFIX = "rpm/"


@dataclass(frozen=True, slots=True)
class _Item:
    source: str
    names: tuple[str, ...]
    size: int
    stability: float


@dataclass(frozen=True, slots=True)
class Chunkah:
    """A planner; see the module."""

    name: str = "chunkah"
    carries: bool = False

    def plan(
        self, components: Sequence[Component], max_layers: int, clock: date, previous: ComponentPlan | None = None
    ) -> ComponentPlan:
        """See `protocols.Planner`; `previous` is not looked at."""
        items = _items(by_name(components, max_layers), clock)
        if len(items) <= max_layers:
            layers = [[item] for item in items]
        else:
            alone, rest = _isolate(items, max_layers)
            layers = [[item] for item in alone] + _tiers(rest, max_layers - len(alone))
        layers.sort(key=lambda layer: -math.prod(item.stability for item in layer))
        return ComponentPlan(tuple(tuple(name for item in layer for name in item.names) for layer in layers))


def stability(component: Component, clock: date) -> float:
    """The chance that nothing changes within a week."""
    recent = recent_updates(component, clock)
    if not any(day < clock for day in component.updates) and component.since is not None:
        recent = [component.since] if (clock - component.since).days <= LOOKBACK_DAYS else []
    if not recent:
        return STABLE
    days = (clock - recent[0]).days
    return math.exp(-PERIOD_DAYS * len(recent) / days) if days >= 1 else 0.0


def fnv1a(data: bytes) -> int:
    """The Fowler-Noll-Vo hash 1a of 64 bits."""
    value = _FNV_OFFSET
    for byte in data:
        value = (value ^ byte) * _FNV_PRIME & 0xFFFFFFFFFFFFFFFF
    return value


def _items(components: list[Component], clock: date) -> list[_Item]:
    by_source: dict[str, list[Component]] = {}
    for component in components:
        by_source.setdefault(component.source, []).append(component)
    return [
        _Item(
            source,
            tuple(component.name for component in group),
            sum(component.size for component in group),
            min(stability(component, clock) for component in group),
        )
        for source, group in sorted(by_source.items())
    ]


def _isolate(items: list[_Item], max_layers: int) -> tuple[list[_Item], list[_Item]]:
    """Those that get a layer of their own, and the others."""
    middle = median(item.size for item in items)
    deviation = median(abs(item.size - middle) for item in items)
    if deviation < middle * 0.01:
        deviation = middle
    limit = middle + OUTLIER_DEVIATIONS * deviation
    large = sorted((item for item in items if item.size >= limit), key=lambda item: -item.size)
    rest = [item for item in items if item.size < limit]
    room = math.floor((max_layers - bool(rest)) * ALONE_SHARE)
    return large[:room], rest + large[room:]


def _tiers(items: list[_Item], layers: int) -> list[list[_Item]]:
    if len(items) <= layers:
        return [[item] for item in items]
    mean = fmean(item.stability for item in items)
    spread = pstdev(item.stability for item in items)
    tiers: tuple[list[_Item], ...] = ([], [], [])
    for item in items:
        tiers[0 if item.stability >= mean + spread else 2 if item.stability <= mean - spread else 1].append(item)
    if layers < sum(map(bool, tiers)):
        return _hash_into(items, layers)
    shares = _shares([len(tier) for tier in tiers], layers)
    return [bin_ for tier, share in zip(tiers, shares, strict=True) if tier for bin_ in _hash_into(tier, share)]


def _shares(counts: list[int], layers: int) -> list[int]:
    """Layers by number of components, at least one for each tier that is not empty; the last takes what is left."""
    shares = [0] * len(counts)
    filled = [tier for tier, count in enumerate(counts) if count]
    for later, tier in zip(reversed(range(len(filled))), filled, strict=True):
        left = layers - sum(shares)
        part = max(1, math.floor(counts[tier] / sum(counts) * layers + 0.5))
        shares[tier] = min(part, left - later) if later else left
    return shares


def _hash_into(items: list[_Item], layers: int) -> list[list[_Item]]:
    bins: list[list[_Item]] = [[] for _ in range(layers)]
    for item in items:
        bins[_hash(item) % layers].append(item)
    for empty in reversed([bin_ for bin_ in bins if not bin_]):
        shared = [(bin_, item) for bin_ in bins if len(bin_) > 1 for item in bin_]
        if not shared:
            break
        full, largest = max(reversed(shared), key=lambda found: found[1].size)  # the last of equal ones
        full.remove(largest)
        empty.append(largest)
    return [bin_ for bin_ in bins if bin_]


def _hash(item: _Item) -> int:
    return fnv1a((_PREFIX + item.source).encode("utf-8", "surrogatepass") + _STRING_END)


PLANNER = Chunkah()
