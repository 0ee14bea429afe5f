"""The best runs of a row, against trying all of them."""

from itertools import combinations, pairwise

import numpy as np
import pytest

from ostrata.planning import partition as module
from ostrata.planning.expectations import CADENCES
from ostrata.planning.partition import partition

SIZES = np.array([900.0, 20.0, 70.0, 3.0, 500.0, 40.0, 250.0, 8.0, 120.0])
RATES = np.array([0.01, 0.3, 0.02, 0.1, 0.004, 0.003, 0.09, 0.002, 0.05])


def _cost(layer_of):
    cost = 0.0
    for days, weight in CADENCES:
        alone = (SIZES * (1 - np.exp(-RATES * days))).sum()
        for layer in set(layer_of):
            held = np.array(layer_of) == layer
            cost += weight / alone * SIZES[held].sum() * (1 - np.exp(-RATES[held].sum() * days))
    return cost


def _every_cut(layers):
    order = np.argsort(RATES / SIZES)
    for cut in combinations(range(1, len(SIZES)), layers - 1):
        layer_of = [0] * len(SIZES)
        for layer, (first, end) in enumerate(pairwise((0, *cut, len(SIZES)))):
            for position in order[first:end]:
                layer_of[position] = layer
        yield layer_of


@pytest.mark.parametrize("layers", range(1, 10))
def test_no_other_cut_of_the_row_costs_less(layers):
    found = partition(SIZES, RATES, layers)
    assert len(set(found)) == layers
    assert _cost(found) == pytest.approx(min(map(_cost, _every_cut(layers))))


def test_joined_neighbours_are_cut_nearly_as_well(monkeypatch):
    monkeypatch.setattr(module, "MOST_BLOCKS", 8)
    found = partition(SIZES, RATES, 4)
    assert len(set(found)) == 4
    assert _cost(found) < 1.3 * min(map(_cost, _every_cut(4)))


def test_a_giant_does_not_make_blocks_of_all_the_others(monkeypatch):
    monkeypatch.setattr(module, "MOST_BLOCKS", 40)
    sizes = np.array([1e12, *[100.0 + n for n in range(60)]])
    assert len(set(partition(sizes, np.linspace(0.01, 0.1, 61), 20))) == 20
