"""The strategy of rpm-ostree and ostree-rs-ext ("basic packing"), from its published behaviour.

Components are put into classes of size and of frequency, which share layers.

The frequency of a component is the number of its changes in the last year. Of the layers one is kept empty for new
components, one is for small ones, 0.6 of the others are for large ones and the rest for medium ones.

1. Large: at least the median size and 2 median absolute deviations, a layer each; those beyond their share of the
   layers count as medium. Small: at most half of the distance of the median from 2 deviations; all share a layer.
2. Medium ones are sorted by frequency and put into nine classes: high, medium, low frequency and size by mean and
   standard deviation. Each class is cut into layers of equal numbers of components.
3. While there are too many layers, every other pair of neighbours is joined, from the end.

With a previous plan its layers are kept: what is new goes into its last layer (the one kept empty), what is gone is
taken out, and layers that this empties are dropped. A previous plan of too many layers is not used. Fewer than four
layers are not divided at all. Sizes are installed ones, and components are packages, not sources. Where the tool stops
with an assertion (nothing of medium size, fewer components than shares), this goes on with at least one per layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from statistics import fmean, median, pstdev

from ostrata.model.component import Component, ComponentPlan
from ostrata.planning.reference_input import by_name, known_names, recent_updates

MIN_LAYERS = 4
LARGE_SHARE = 0.6
DEVIATIONS = 2.0
_SMALL_LAYERS = 1
_NEW_LAYERS = 1


@dataclass(frozen=True, slots=True)
class _Item:
    name: str
    size: int
    frequency: int


@dataclass(frozen=True, slots=True)
class _Classes:
    large: list[_Item]
    small: list[_Item]
    medium: list[list[_Item]]


@dataclass(frozen=True, slots=True)
class RpmOstree:
    """A planner; see the module. The last layer of a plan may be empty: it is where new components will go."""

    name: str = "rpm-ostree"
    carries: bool = True

    def plan(
        self, components: Sequence[Component], max_layers: int, clock: date, previous: ComponentPlan | None = None
    ) -> ComponentPlan:
        """See `protocols.Planner`."""
        ordered = by_name(components, max_layers)
        carried = None if previous is None else _carry(previous, ordered, max_layers)
        if carried is not None:
            return carried
        if max_layers < MIN_LAYERS:
            return ComponentPlan((tuple(component.name for component in ordered),))
        items = [_Item(item.name, item.size, len(recent_updates(item, clock))) for item in ordered]
        items.sort(key=lambda item: -item.size)
        layers = [[item] for item in items] if len(items) < max_layers else _pack(items, max_layers)
        return ComponentPlan((*(tuple(item.name for item in layer) for layer in layers), ()))


def _carry(previous: ComponentPlan, components: list[Component], max_layers: int) -> ComponentPlan | None:
    layers = known_names(previous, components)
    if not any(layers):
        return None
    known = {name for layer in layers for name in layer}
    layers[-1] += [component.name for component in components if component.name not in known]
    kept = [layer for layer in layers[:-1] if layer] + layers[-1:]
    return ComponentPlan(tuple(map(tuple, kept))) if len(kept) <= max_layers else None


def _pack(items: list[_Item], max_layers: int) -> list[list[_Item]]:
    large_layers = int(LARGE_SHARE * (max_layers - _SMALL_LAYERS - _NEW_LAYERS))
    medium_layers = max_layers - large_layers - _SMALL_LAYERS - _NEW_LAYERS
    classes = _classify(items, large_layers)
    each = max(1, (len(items) - large_layers - len(classes.small)) // medium_layers)
    layers = [[item] for item in classes.large]
    if classes.small:
        layers.append(classes.small)
    for members in classes.medium:
        layers += [members[start : start + each] for start in range(0, len(members), each)]
    return _join(layers, _SMALL_LAYERS + large_layers, max_layers - _NEW_LAYERS)


def _classify(items: list[_Item], large_layers: int) -> _Classes:
    middle = median(item.size for item in items)
    deviation = DEVIATIONS * median(abs(item.size - middle) for item in items)
    large = [item for item in items if item.size >= middle + deviation]
    others = [item for item in items if item.size < middle + deviation]
    small_limit = 0.5 * abs(middle - deviation)
    small = [item for item in others if item.size <= small_limit]
    medium = large[large_layers:] + [item for item in others if item.size > small_limit]
    return _Classes(large[:large_layers], small, _classify_medium(medium))


def _classify_medium(items: list[_Item]) -> list[list[_Item]]:
    """Classes in the order high, medium, low frequency; in each of them high, low, medium size."""
    if not items:
        return []
    items = sorted(items, key=lambda item: item.frequency)
    frequency = _limits([item.frequency for item in items])
    size = _limits([item.size for item in items])
    classes: dict[tuple[int, int], list[_Item]] = {}
    for item in items:
        key = (_rank(item.frequency, frequency, "hml"), _rank(item.size, size, "hlm"))
        classes.setdefault(key, []).append(item)
    return [classes[key] for key in sorted(classes)]


def _limits(values: list[int]) -> tuple[float, float]:
    mean, spread = fmean(values), pstdev(values)
    return 0.5 * abs(mean - DEVIATIONS * spread), mean + DEVIATIONS * spread


def _rank(value: int, limits: tuple[float, float], order: str) -> int:
    low, high = limits
    return order.index("h" if value >= high else "l" if value <= low else "m")


def _join(layers: list[list[_Item]], first: int, most: int) -> list[list[_Item]]:
    layers = list(layers)
    while len(layers) > most:
        before = len(layers)
        for i in reversed(range(first, before - 1, 2)):
            if len(layers) <= most:
                break
            joined = layers[i - 1] + layers[i]
            del layers[i - 1 : i + 1]
            layers.insert(i, joined)  # one place behind where they stood, as the tool has it
        if len(layers) == before:
            layers[-2:] = [layers[-2] + layers[-1]]
    return layers


PLANNER = RpmOstree()
