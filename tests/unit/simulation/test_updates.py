"""Update costs, computed by hand."""

from datetime import date

import pytest

from histories import HOSTILE, Told, component, day
from ostrata.model.component import ComponentPlan
from ostrata.simulation.releases import PlannedRelease, plan_release, plan_releases
from ostrata.simulation.updates import Replay, UpdateCost, count_updates


def _replay(components, layers, days, releases=(0,), max_layers=9):
    planner = Told(layers)
    found = list(plan_releases(planner, components, max_layers, [day(number) for number in releases]))
    return Replay(found, day(days))


def test_a_window_costs_every_layer_in_which_something_changed():
    # Layer 0: a (100) + b (10); layer 1: c (1000).
    components = [component("a", 100, 0, 3), component("b", 10, 3), component("c", 1000, 5), component("d", 7, 50)]
    replay = _replay(components, (("a", "b"), ("c",), ("d",)), 6)
    # Windows of two days: {0: a}, {3: a and b}, {5: c}.
    assert list(replay.updates(2)) == [
        UpdateCost(day(0), day(2), 110, 100, 1),
        UpdateCost(day(2), day(4), 110, 110, 1),
        UpdateCost(day(4), day(6), 1000, 1000, 1),
    ]
    cost = replay.cost(2)
    assert (cost.every, cost.updates) == (2, 3)
    assert cost.mean_bytes == pytest.approx((110 + 110 + 1000) / 3)
    assert cost.mean_changed_bytes == pytest.approx((100 + 110 + 1000) / 3)
    assert cost.overfetch == pytest.approx(1220 / 1210)
    assert cost.mean_layers == 1


def test_empty_windows_count_and_a_partial_last_one_does_not():
    replay = _replay([component("a", 100, 1, 6)], (("a",),), 7)
    cost = replay.cost(3)  # {0 1 2}, {3 4 5}; the change on day 6 is in the window that is cut off
    assert (cost.updates, cost.mean_bytes, cost.mean_layers) == (2, 50, 0.5)
    daily = replay.cost(1)
    assert (daily.updates, daily.mean_bytes) == (7, 200 / 7)


def test_the_first_day_counts_and_the_day_of_the_end_does_not():
    replay = _replay([component("a", 5, -1, 0, 4)], (("a",),), 4)
    assert [update.bytes for update in replay.updates(1)] == [5, 0, 0, 0]


def test_sizes_are_compressed_ones():
    replay = _replay([component("a", 1000, 1, packed=3)], (("a",),), 2)
    assert replay.cost(2).mean_bytes == 3


def test_without_a_change_there_is_no_overfetch():
    cost = _replay([component("a", 5)], (("a",),), 4).cost(2)
    assert (cost.mean_bytes, cost.mean_changed_bytes, cost.overfetch, cost.mean_layers) == (0, 0, None, 0)


def test_a_cadence_longer_than_the_period_has_no_update_and_no_mean():
    cost = _replay([component("a", 5, 1)], (("a",),), 4).cost(5)
    assert (cost.updates, cost.mean_bytes, cost.overfetch, cost.mean_layers) == (0, None, None, None)


def test_a_new_component_costs_the_layer_it_comes_into():
    components = [component("a", 100), component("new", 7, 3, since=3), component("other", 1000)]
    replay = _replay(components, (("other",), ("a",)), 9, releases=(0, 4, 8))
    assert list(replay.updates(4)) == [
        UpdateCost(day(0), day(4), 107, 7, 1),
        UpdateCost(day(4), day(8), 0, 0, 0),
    ]


def test_appearing_on_the_day_of_a_release_is_not_a_change_behind_it():
    replay = _replay([component("a", 100), component("new", 7, 4, since=4)], (("a",), ()), 8, releases=(0, 4, 8))
    assert [update.bytes for update in replay.updates(4)] == [7, 0]


def test_a_component_that_exists_when_planning_begins_changes_on_that_day():
    replay = _replay([component("a", 100, 0, since=0)], (("a",),), 1)
    assert replay.cost(1).mean_bytes == 100


def test_a_component_waits_for_the_next_release():
    components = [component("a", 100), component("new", 7, 1, 2, since=1)]
    replay = _replay(components, (("a",), ()), 8, releases=(0, 4, 8))
    assert [update.bytes for update in replay.updates(1)] == [0, 0, 0, 7, 0, 0, 0, 0]


def test_a_layer_with_other_members_is_downloaded_though_nothing_changed():
    components = [component("a", 1), component("b", 10), component("c", 100)]
    releases = [
        PlannedRelease(day(0), tuple(components), ComponentPlan((("a", "b"), ("c",)))),
        PlannedRelease(day(1), tuple(components), ComponentPlan((("c",), ("b", "a")))),
        PlannedRelease(day(2), tuple(components), ComponentPlan((("c",), ("a",), ("b",), ()))),
    ]
    assert list(Replay(releases, day(2)).updates(1)) == [
        UpdateCost(day(0), day(1), 0, 0, 0),
        UpdateCost(day(1), day(2), 11, 0, 2),
    ]


def test_windows_are_counted_whole():
    assert [count_updates(day(0), day(29), every) for every in (1, 7, 28, 30)] == [29, 4, 1, 0]
    assert count_updates(day(3), day(0), 1) == 0


def test_hostile_names_are_names():
    components = [component(name, 1, 1) for name in HOSTILE]
    assert _replay(components, (HOSTILE,), 2).cost(2).mean_bytes == len(HOSTILE)


def test_dates_at_the_ends_of_the_calendar_are_dates():
    old = component("a", 1)
    far = [date.min, date(1969, 12, 31), date(2020, 12, 31), date(2099, 1, 1), date.max]
    components = [type(old)("a", "a", 1, 1, date.min, tuple(far))]
    release = plan_release(Told((("a",),)), components, 1, date(2020, 12, 28))
    assert Replay([release], date(2021, 1, 4)).cost(7).mean_bytes == 1
