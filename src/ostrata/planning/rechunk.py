"""The strategy of hhd-dev/rechunk, from its published behaviour: fill layers where bandwidth grows least.

The model: a component is a size and the set of weeks of the last year in which it changed, by the number of the week
in the year; one with at most two changes in all its history counts as changed in every week. The bandwidth of a layer
is its size times the weeks in which anything in it changed.

1. Components below 0.5 MB share a layer, and those below 1 MB another.
2. Other layers are begun with the largest component left, and take what makes their bandwidth smallest until they
   have 0.4 of the average size; so until there are enough layers.
3. What is left goes, cheapest step first, to the layer whose bandwidth grows least, among those of at most 1.3 times
   the average size.

With a previous plan its layers are kept, filled up with empty ones, and step 3 places what is new. Sizes are installed
ones and there are no groups of packages of one source, as the tool has it. Where the tool stops with an assertion, this
goes on: weeks number 53 are counted, and when every layer is full the limit of 1.3 is not kept. A previous plan of more
layers than allowed is not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from ostrata.model.component import Component, ComponentPlan
from ostrata.planning.reference_input import by_name, known_names, recent_updates

SMALL = (500_000, 1_000_000)
PREFILL_RATIO = 0.4
MAX_RATIO = 1.3
FEW_UPDATES = 2
_EVERY_WEEK = (1 << 54) - 2


@dataclass(frozen=True, slots=True)
class _Item:
    name: str
    size: int
    weeks: int
    """A bit for each week of the year."""


class _Layer:
    """A layer that is being filled."""

    def __init__(self, items: Sequence[_Item] = ()) -> None:
        self.names: list[str] = []
        self.size = 0
        self.weeks = 0
        for item in items:
            self.add(item)

    def add(self, item: _Item) -> None:
        self.names.append(item.name)
        self.size += item.size
        self.weeks |= item.weeks

    def bandwidth(self) -> int:
        return self.weeks.bit_count() * self.size

    def bandwidth_with(self, item: _Item) -> int:
        return (self.weeks | item.weeks).bit_count() * (self.size + item.size)


@dataclass(frozen=True, slots=True)
class Rechunk:
    """A planner; see the module."""

    name: str = "rechunk"
    carries: bool = True

    def plan(
        self, components: Sequence[Component], max_layers: int, clock: date, previous: ComponentPlan | None = None
    ) -> ComponentPlan:
        """See `protocols.Planner`."""
        items = [_item(component, clock) for component in by_name(components, max_layers)]
        average = sum(item.size for item in items) / max_layers
        carried = None if previous is None else known_names(previous, components)
        if carried is None or len(carried) > max_layers or not any(carried):
            layers = _prefill(items, max_layers, int(average * PREFILL_RATIO))
        else:
            layers = _carried_layers(carried, items, max_layers)
        placed = {name for layer in layers for name in layer.names}
        _fill([item for item in items if item.name not in placed], layers, int(average * MAX_RATIO))
        return ComponentPlan(tuple(tuple(layer.names) for layer in layers if layer.names))


def _item(component: Component, clock: date) -> _Item:
    known = sum(day < clock for day in component.updates)
    weeks = _EVERY_WEEK if known <= FEW_UPDATES else 0
    for day in recent_updates(component, clock):
        weeks |= 1 << day.isocalendar().week
    return _Item(component.name, component.size, weeks)


def _carried_layers(carried: list[list[str]], items: list[_Item], max_layers: int) -> list[_Layer]:
    by_name = {item.name: item for item in items}
    layers = [_Layer([by_name[name] for name in names]) for names in carried]
    return layers + [_Layer() for _ in range(max_layers - len(layers))]


def _prefill(items: list[_Item], max_layers: int, enough: int) -> list[_Layer]:
    todo = dict.fromkeys(items)
    layers = []
    for limit in SMALL[: max_layers - 1]:
        small = [item for item in todo if item.size < limit]
        for item in small:
            del todo[item]
        if small:
            layers.append(_Layer(small))
    while todo and len(layers) < max_layers:
        layer = _Layer()
        largest = max(todo, key=lambda item: item.size)
        while True:
            del todo[largest]
            layer.add(largest)
            if layer.size > enough or not todo:
                break
            largest = min(todo, key=layer.bandwidth_with)
        layers.append(layer)
    return layers


def _fill(todo: list[_Item], layers: list[_Layer], max_size: int) -> None:
    """The cheapest step first: for each layer the cheapest item is kept, until either of them changes."""
    left = dict.fromkeys(todo)
    cheapest: list[tuple[int, _Item] | None] = [None] * len(layers)
    while left:
        open_layers = [i for i, layer in enumerate(layers) if layer.size <= max_size] or range(len(layers))
        best = -1
        best_step: tuple[int, _Item] | None = None
        for i in open_layers:
            step = cheapest[i]
            if step is None or step[1] not in left:
                step = cheapest[i] = _cheapest_step(layers[i], left)
            if best_step is None or step[0] < best_step[0]:
                best, best_step = i, step
        assert best_step is not None
        layers[best].add(best_step[1])
        cheapest[best] = None
        del left[best_step[1]]


def _cheapest_step(layer: _Layer, left: dict[_Item, None]) -> tuple[int, _Item]:
    item = min(left, key=layer.bandwidth_with)
    return layer.bandwidth_with(item) - layer.bandwidth(), item


PLANNER = Rechunk()
