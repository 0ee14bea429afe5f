"""Costs kept up to date, and moves that lower them."""

import numpy as np
import pytest

from histories import component, day
from ostrata.planning.expectations import expect
from ostrata.planning.groups import group_components
from ostrata.planning.layering import NOWHERE, Layering

CLOCK = day(0)


def _expectations(count=12):
    """Groups of many sizes and frequencies."""
    components = [component(f"c{n:02}", (n * 7919 % 400 + 1) * 1000, *range(-700, 0, 5 + 13 * n)) for n in range(count)]
    return expect(group_components(components, CLOCK))


def _cost(expectations, layers):
    """As the module's text says, without its short cuts."""
    total = 0.0
    for members in layers:
        survival = np.prod(expectations.survival[members], axis=0) if members else 1.0
        total += expectations.sizes[members].sum() * ((1 - survival) * expectations.weights).sum()
    return total


def _layering(expectations, layer_of, layers, identities=None, fixed=0):
    return Layering(expectations, identities or [str(n) for n in range(len(layer_of))], layer_of, layers, fixed)


def test_the_cost_is_what_it_says():
    expectations = _expectations()
    layering = _layering(expectations, [n % 4 for n in range(12)], 4)
    assert layering.cost() == pytest.approx(_cost(expectations, layering.layers))


def test_improving_lowers_the_cost_and_keeps_the_books():
    expectations = _expectations()
    layering = _layering(expectations, [n % 4 for n in range(12)], 4)
    before = layering.cost()
    assert layering.improve() > 0
    assert layering.cost() < before
    assert layering.cost() == pytest.approx(_cost(expectations, layering.layers))
    assert sorted(group for members in layering.layers for group in members) == list(range(12))
    assert all(group in layering.layers[layer] for group, layer in enumerate(layering.layer_of))


def test_no_single_move_improves_what_was_improved():
    expectations = _expectations()
    layering = _layering(expectations, [n % 4 for n in range(12)], 4)
    layering.improve(passes=50)
    best = _cost(expectations, layering.layers)
    for group in range(12):
        for layer in range(4):
            moved = [[m for m in members if m != group] for members in layering.layers]
            moved[layer] = sorted([*moved[layer], group])
            assert _cost(expectations, moved) >= best * (1 - 1e-6)


def test_groups_that_change_together_come_together():
    train, other = range(-1000, 0, 28), range(-986, 0, 28)
    components = [component(name, 1000, *days) for name, days in zip("abcd", (train, other, other, train), strict=True)]
    layering = _layering(expect(group_components(components, CLOCK)), [0, 1, NOWHERE, NOWHERE], 2)
    layering.insert(2)
    layering.insert(3)
    assert layering.layers == [[0, 3], [1, 2]]


def test_a_new_group_goes_where_it_costs_least():
    expectations = _expectations()
    layer_of = [n % 3 for n in range(11)] + [NOWHERE]
    costs = [_cost(expectations, _layering(expectations, [*layer_of[:11], layer], 4).layers) for layer in range(4)]
    layering = _layering(expectations, layer_of, 4)
    layering.insert(11)
    assert layering.layer_of[11] == int(np.argmin(costs))
    assert layering.cost() == pytest.approx(min(costs))


def test_a_move_that_does_not_pay_back_is_not_done():
    layering = _layering(_expectations(), [n % 4 for n in range(12)], 4)
    layering.charge(1e6, ())
    assert layering.improve() == 0


def test_moves_between_dirty_layers_cost_nothing_more():
    layering = _layering(_expectations(), [n % 4 for n in range(12)], 4)
    layering.charge(1.0, (0, 1, 3))
    assert layering.improve() > 0
    assert layering.layers[2] == [2, 6, 10]


def test_fixed_layers_stay_as_they_are():
    layering = _layering(_expectations(), [n % 3 for n in range(12)], 3, fixed=1)
    layering.improve()
    assert layering.layers[2] == [2, 5, 8, 11]


def test_parts_of_one_source_change_a_layer_once():
    expectations = _expectations()
    expectations.survival[1] = expectations.survival[0]
    layering = _layering(expectations, [0] * 12, 2, ["same", "same", *map(str, range(10))])
    assert layering.cost() == pytest.approx(
        expectations.sizes.sum() * ((1 - np.prod(expectations.survival[1:], axis=0)) * expectations.weights).sum()
    )
    layering = _layering(expectations, [0, 1, *[0] * 10], 2, ["same", "same", *map(str, range(10))])
    layering.improve()
    assert layering.layer_of[0] == layering.layer_of[1]


@pytest.mark.parametrize("most", [1, 2, 5, 11, 12])
def test_layers_are_joined_until_they_fit(most):
    expectations = _expectations()
    layering = _layering(expectations, list(range(12)), 12)
    given_up = layering.dissolve(most)
    assert len(given_up) == 12 - most
    assert sum(1 for members in layering.layers if members) == most
    assert layering.cost() == pytest.approx(_cost(expectations, layering.layers))


def test_the_first_two_joined_are_the_cheapest_pair():
    expectations = _expectations()
    costs = {}
    for one in range(12):
        for other in range(one):
            layer_of = list(range(12))
            layer_of[one] = other
            costs[(other, one)] = _cost(expectations, _layering(expectations, layer_of, 12).layers)
    layering = _layering(expectations, list(range(12)), 12)
    layering.dissolve(11)
    assert tuple(next(members for members in layering.layers if len(members) == 2)) == min(costs, key=costs.get)


def test_what_a_group_adds_is_told_from_few_windows_as_from_all():
    expectations = _expectations(20)
    layering = _layering(expectations, [n % 5 for n in range(19)] + [NOWHERE], 5)
    before = [_cost(expectations, [members]) for members in layering.layers]
    after = [_cost(expectations, [[*members, 19]]) for members in layering.layers]
    added = layering._added_costs(19)
    assert added == pytest.approx([new - old for old, new in zip(before, after, strict=True)])
