"""What layers are expected to cost."""

from datetime import timedelta

import pytest

from histories import START, component, day
from ostrata.model.component import ComponentPlan
from ostrata.planning.forecast import forecast
from ostrata.planning.ostrata_planner import OstrataPlanner

CLOCK = START + timedelta(400)


def test_a_layer_has_the_bytes_of_its_components():
    components = [component("a", 10, 1, packed=4), component("b", 20, packed=5), component("c", 1)]
    first, second = forecast(components, ComponentPlan((("b", "a"), ("c",))), day(400))
    assert (first.size, first.compressed_size) == (30, 9)
    assert (second.size, second.compressed_size) == (1, 1)
    assert 0 <= second.weekly_chance <= first.weekly_chance <= 1


def test_the_sum_is_what_the_planner_expects():
    components = [component(f"c{number}", 1000 * number, *range(0, 400, number)) for number in range(2, 40)]
    planned = OstrataPlanner().plan_with_figures(components, 8, CLOCK)
    total = sum(layer.weekly_bytes for layer in forecast(components, planned.plan, CLOCK))
    assert total == pytest.approx(planned.figures.weekly_bytes_after, rel=1e-6)


def test_parts_of_one_source_change_together():
    parts = [component("a1", 1, *range(0, 400, 10), source="a"), component("a2", 1, source="a")]
    alone = forecast(parts, ComponentPlan((("a1",), ("a2",))), CLOCK)
    together = forecast(parts, ComponentPlan((("a1", "a2"),)), CLOCK)
    assert alone[0].weekly_chance == alone[1].weekly_chance == together[0].weekly_chance


def test_nothing_costs_nothing():
    assert forecast([], ComponentPlan(()), CLOCK) == []
