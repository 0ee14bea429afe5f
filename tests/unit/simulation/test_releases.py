"""Releases planned one after another, and plans that are none."""

import pytest

from histories import Told, component, day
from ostrata.errors import PlanError
from ostrata.model.component import ComponentPlan
from ostrata.simulation.releases import WithoutMemory, plan_release, plan_releases, present


def test_each_release_is_planned_with_the_one_before_and_its_own_day():
    planner = Told((("a",), ("b",)))
    components = [component("a", 1), component("b", 1)]
    releases = list(plan_releases(planner, components, 5, [day(0), day(7)]))
    assert planner.calls == [(5, day(0), None), (5, day(7), releases[0].plan)]


def test_a_planner_without_memory_sees_no_previous_plan():
    planner = Told((("a",),))
    list(plan_releases(WithoutMemory(planner), [component("a", 1)], 5, [day(0), day(7)]))
    assert [previous for _, _, previous in planner.calls] == [None, None]
    assert WithoutMemory(planner).name == "told, afresh"


def test_what_appeared_on_the_day_is_present():
    components = [component("always", 1), component("today", 1, since=0), component("tomorrow", 1, since=1)]
    assert [item.name for item in present(components, day(0))] == ["always", "today"]


def test_a_day_on_which_nothing_exists_is_refused():
    with pytest.raises(PlanError, match="no component exists on 2024-01-01"):
        plan_release(Told(((),)), [component("a", 1, since=1)], 5, day(0))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((("a",),), "'b' is in its plan or in the tree, not in both"),
        ((("a", "b"), ("zombie",)), "'zombie' is in its plan"),
        ((("a", "b"), ("a",)), "1 components are in two layers"),
        ((("a",), ("b",), ()), "expected at most 2 layers, found 3"),
    ],
)
def test_a_plan_that_is_none_is_refused(layers, message):
    class Wrong:
        name = "wrong"

        def plan(self, components, max_layers, clock, previous=None):
            return ComponentPlan(layers)

    with pytest.raises(PlanError, match=message):
        plan_release(Wrong(), [component("a", 1), component("b", 1)], 2, day(0))
