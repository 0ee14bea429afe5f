"""Rates, and chances to survive windows."""

import math

import numpy as np
import pytest

from histories import component, day
from ostrata.planning.expectations import CADENCES, expect, update_rates
from ostrata.planning.groups import group_components

CLOCK = day(0)


def _groups(*components):
    return group_components(sorted(components, key=lambda item: item.name), CLOCK)


def test_who_changed_more_often_has_the_higher_rate():
    rates = update_rates(
        _groups(component("a", 1, *range(-700, 0, 7)), component("b", 1, *range(-700, 0, 70)), component("c", 1, -700))
    )
    assert rates[0] > rates[1] > rates[2] > 0


def test_recent_updates_count_more_than_old_ones():
    recent, old = update_rates(_groups(component("a", 1, -900, -20, -10), component("b", 1, -900, -890, -880)))
    assert recent > old


def test_a_regular_component_has_about_its_true_rate():
    groups = _groups(*(component(f"c{n}", 1, *range(-2000 - n, 0, 10)) for n in range(9)))
    assert update_rates(groups) == pytest.approx([0.1] * 9, rel=0.02)


def test_an_interval_replaces_what_the_history_says():
    from dataclasses import replace

    (group,) = _groups(replace(component("a", 1, *range(-99, 0)), interval=50.0))
    assert update_rates([group])[0] == pytest.approx(1 / 50)


def test_the_mean_survival_of_a_cadence_is_the_chance_of_no_change():
    expectations = expect(_groups(component("a", 5, *range(-700, 0, 9)), component("b", 7, -500), component("c", 1)))
    survived = expectations.survival @ expectations.weekly
    assert survived == pytest.approx(np.exp(-7 * expectations.rates), abs=1e-6)


def test_a_group_survives_less_often_where_it_changed():
    expectations = expect(_groups(component("a", 1, -3), component("b", 1)))
    yesterday_but_two, other = expectations.survival[0][2], expectations.survival[0][5]
    assert yesterday_but_two < other


def test_each_cadence_costs_as_much_as_it_counts_when_everything_is_alone():
    expectations = expect(_groups(component("a", 5_000, *range(-700, 0, 9)), component("b", 7_000, -500)))
    change = (1 - expectations.survival) * expectations.weights
    assert float((expectations.sizes[:, None] * change).sum()) == pytest.approx(sum(w for _, w in CADENCES), rel=1e-4)


def test_dates_of_any_century_are_taken():
    from datetime import date

    from ostrata.model.component import Component

    days = (date(1, 1, 1), date(1969, 12, 31), date(2020, 12, 31), date(2099, 1, 1), date(9999, 12, 31))
    groups = group_components([Component("a", "a", 1, 1, None, days)], date(2021, 1, 3))
    assert groups[0].ages[0] == 3
    assert np.isfinite(expect(groups).survival).all()


def test_what_changes_all_the_time_can_still_be_computed_with():
    from dataclasses import replace

    groups = _groups(*(replace(component(f"c{n}", 1, *range(-2000, 0)), interval=1e-9) for n in range(3)))
    expectations = expect(groups)
    assert (expectations.survival > 0).all()
    assert math.isfinite(expectations.once)
