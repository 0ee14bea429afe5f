"""Strategies compared on a history."""

import itertools
from datetime import date

import pytest

from histories import Told, component, day
from ostrata.codecs import history as history_codec
from ostrata.errors import MalformedError, NotFoundError, PlanError
from ostrata.model.history import History
from ostrata.pipeline.simulate import SimulateOptions, default_period, read_history, simulate

COMPONENTS = (
    component("a", 100, 1, 8, -20),
    component("b", 10, 8, 15),
    component("late", 1, 9, since=9),
)


def _simulate(planner, **options):
    timer = itertools.count().__next__
    chosen = SimulateOptions(day(0), day(28), 3, **options)
    (cost,) = simulate(History(COMPONENTS), [planner], chosen, timer=lambda: float(timer()))
    return cost


def test_present_components_are_planned_once():
    planner = Told((("a",), ("b",)))
    cost = _simulate(planner, every=(7, 14), present_only=True)
    assert len(planner.calls) == 1
    assert (cost.name, cost.max_layers, cost.plans, cost.components, cost.layers) == ("told", 3, 1, 2, 2)
    assert cost.plan_seconds == 1.0
    assert [(each.every, each.updates, each.mean_bytes) for each in cost.cadences] == [
        (7, 4, (100 + 110 + 10) / 4),
        (14, 2, (110 + 10) / 2),
    ]


def test_otherwise_each_release_takes_in_what_is_new():
    planner = Told((("a",), ("b",), ()))
    cost = _simulate(planner, every=(7,))
    assert [clock for _, clock, _ in planner.calls] == [day(number) for number in range(0, 29, 7)]
    assert cost.components == 3
    assert cost.plan_seconds == 1 / 5
    # "late" appears on day 9 and comes with the release of day 14, at the end of the second window.
    assert cost.cadences[0].mean_bytes == (100 + 110 + 1 + 10) / 4


def test_releases_can_be_further_apart():
    planner = Told((("a",), ("b",), ()))
    _simulate(planner, release_every=28)
    assert [clock for _, clock, _ in planner.calls] == [day(0), day(28)]


def test_afresh_no_release_knows_the_one_before():
    planner = Told((("a",), ("b",), ()))
    assert _simulate(planner, afresh=True).name == "told, afresh"
    assert {previous for _, _, previous in planner.calls} == {None}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (SimulateOptions(day(5), day(5), 3), "expected an end after 2024-01-06, found 2024-01-06"),
        (SimulateOptions(date.min, date.max, 3, release_every=1), "expected at most 10,000 releases"),
        (SimulateOptions(day(0), day(5), 3), "no component exists on 2024-01-01"),
    ],
)
def test_a_period_that_is_none_is_refused(options, message):
    history = History((component("late", 1, 9, since=9),))
    with pytest.raises(PlanError, match=message):
        list(simulate(history, [Told(((),))], options, timer=float))


def test_by_default_the_year_before_the_last_update_is_replayed():
    assert default_period(History(COMPONENTS)) == (day(16 - 364), day(16))


def test_the_default_period_stays_within_the_calendar():
    item = component("a", 1)
    for last in (date.min, date.max):
        start, end = default_period(History((type(item)("a", "a", 1, 1, None, (last,)),)))
        assert start <= end


def test_a_history_without_updates_has_no_default_period():
    with pytest.raises(PlanError, match="no component has an update"):
        default_period(History((component("a", 1),)))


def test_errors_in_a_history_file_name_it(tmp_path):
    path = tmp_path / "new\nline"
    path.write_bytes(history_codec.encode(History(COMPONENTS), compressed=True))
    assert read_history(str(path)).components == COMPONENTS
    path.write_bytes(b"{}")
    with pytest.raises(MalformedError, match=r"new\\nline: history: version"):
        read_history(str(path))
    with pytest.raises(NotFoundError):
        read_history(str(tmp_path / "none"))
