"""How many layers? What updates cost at several numbers of them, and the knee of that curve.

More layers always make updates smaller, and always by less. The knee is the number that lies furthest below the
straight line from the fewest layers to the most, both axes scaled to 1: from there on further layers buy less than
they do on the average. Of equal ones the fewest layers are taken, as when all components fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from ostrata.errors import PlanError
from ostrata.model.component import Component
from ostrata.planning.forecast import forecast
from ostrata.planning.ostrata_planner import PLANNER
from ostrata.protocols import Planner

LAYER_COUNTS = (48, 64, 96, 128, 192)


@dataclass(frozen=True, slots=True)
class LayerCount:
    """What is expected of a fresh plan with at most `max_layers` layers: bytes of a weekly update."""

    max_layers: int
    layers: int
    weekly_bytes: float


@dataclass(frozen=True, slots=True)
class LayerCounts:
    """The table, by number of layers, and the row that is the knee."""

    rows: tuple[LayerCount, ...]
    knee: LayerCount


def compare_layer_counts(
    components: Sequence[Component], clock: date, counts: Sequence[int] = LAYER_COUNTS, planner: Planner = PLANNER
) -> LayerCounts:
    """Let `planner` plan afresh with each of `counts` layers. Raises: PlanError, as it does, and for no counts."""
    if not counts:
        raise PlanError("expected at least one number of layers, found none")
    rows = tuple(_row(components, clock, count, planner) for count in sorted(set(counts)))
    return LayerCounts(rows, knee_of(rows))


def knee_of(rows: Sequence[LayerCount]) -> LayerCount:
    """The row furthest below the line from the first to the last."""
    first, last = rows[0], rows[-1]
    saved, added = first.weekly_bytes - last.weekly_bytes, last.max_layers - first.max_layers
    if saved <= 0:
        return first

    def below(row: LayerCount) -> float:
        return (first.weekly_bytes - row.weekly_bytes) / saved - (row.max_layers - first.max_layers) / added

    return max(rows, key=lambda row: (round(below(row), 9), -row.max_layers))


def _row(components: Sequence[Component], clock: date, count: int, planner: Planner) -> LayerCount:
    plan = planner.plan(components, count, clock)
    layers = forecast(components, plan, clock)
    return LayerCount(count, sum(map(bool, plan.layers)), sum(layer.weekly_bytes for layer in layers))
