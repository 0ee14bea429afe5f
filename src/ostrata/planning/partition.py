"""The start of every fresh plan: the best cut of an ordered row of groups into layers.

When groups change independently, a layer that has a size and a rate costs size * (1 - exp(-rate * days)), and which of
several such layers is best for a group depends on nothing but the group's rate per byte. So groups are put in
that order, and the best layers are consecutive runs of the row: dynamic programming finds the best runs exactly. Above
a thousand groups small neighbours are joined first; the search that follows takes them apart where it pays.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from ostrata.planning.expectations import CADENCES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MOST_BLOCKS = 1000


def partition(sizes: Floats, rates: Floats, layers: int) -> list[int]:
    """The layer of each group, below `layers`; every layer is used when there are as many groups."""
    import numpy as np

    order = np.lexsort((np.arange(len(sizes)), rates / sizes))
    starts = _blocks(sizes[order].tolist(), max(MOST_BLOCKS, layers))
    block_sizes = np.add.reduceat(sizes[order], starts)
    block_rates = np.add.reduceat(rates[order], starts)
    cuts = _cut(block_sizes, block_rates, min(layers, len(starts)))
    bounds = [*starts, len(sizes)]
    layer_of = [0] * len(sizes)
    for layer, (first, end) in enumerate(pairwise(cuts)):
        for position in range(bounds[first], bounds[end]):
            layer_of[order[position]] = layer
    return layer_of


def _blocks(sizes: list[float], most: int) -> list[int]:
    """Where blocks begin: at most `most` of them and nearly as many, each one group or small neighbours."""
    if len(sizes) <= most:
        return list(range(len(sizes)))
    limit = 2 * sum(sizes) / most  # two neighbouring blocks are above it together
    starts = _starts(sizes, limit)
    while len(finer := _starts(sizes, limit / 2)) <= most:  # a few very large groups leave room
        starts, limit = finer, limit / 2
    return starts


def _starts(sizes: list[float], limit: float) -> list[int]:
    starts, held = [0], sizes[0]
    for position in range(1, len(sizes)):
        if held + sizes[position] > limit:
            starts.append(position)
            held = 0.0
        held += sizes[position]
    return starts


def _cut(sizes: Floats, rates: Floats, layers: int) -> list[int]:
    """The bounds of the best `layers` consecutive runs, the first 0, the last the number of blocks."""
    import numpy as np

    costs = _costs_of_runs(sizes, rates)
    best = np.full(len(sizes) + 1, np.inf)
    best[0] = 0.0
    came_from = []
    everywhere = np.arange(len(best))
    costs = np.ascontiguousarray(costs.T)  # [end, first]: each minimum is then found in one row
    totals = np.empty_like(costs)
    for _ in range(layers):
        np.add(costs, best, out=totals)
        came_from.append(totals.argmin(axis=1))
        best = totals[everywhere, came_from[-1]]
    cuts = [len(sizes)]
    for back in reversed(came_from):
        cuts.append(int(back[cuts[-1]]))
    return cuts[::-1]


def _costs_of_runs(sizes: Floats, rates: Floats) -> Floats:
    """[first, end] -> what a layer of the blocks in between costs; infinite where there is none."""
    import numpy as np

    size_before = np.concatenate([[0.0], np.cumsum(sizes)])
    rate_before = np.concatenate([[0.0], np.cumsum(rates)])
    run_rates = np.maximum(rate_before[None, :] - rate_before[:, None], 0.0)
    chances = np.zeros_like(run_rates)
    for days, weight in CADENCES:
        changing = np.cumsum(sizes * (1 - np.exp(-rates * days)))[-1]
        chances += weight / changing * (1 - np.exp(-run_rates * days))
    run_sizes = size_before[None, :] - size_before[:, None]
    costs: Floats = np.where(run_sizes > 0, run_sizes * chances, np.inf)
    return costs
