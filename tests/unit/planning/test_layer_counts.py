"""The knee of the curve of costs."""

import pytest

from histories import component, day
from ostrata.errors import PlanError
from ostrata.planning.layer_counts import LayerCount, compare_layer_counts, knee_of


def _rows(**costs):
    return tuple(LayerCount(int(count[1:]), int(count[1:]), cost) for count, cost in costs.items())


def test_the_knee_lies_furthest_below_the_line():
    rows = _rows(n48=300.0, n64=200.0, n96=150.0, n128=140.0, n192=130.0)
    assert knee_of(rows).max_layers == 96


def test_on_a_straight_line_the_fewest_layers_do():
    assert knee_of(_rows(n48=300.0, n96=200.0, n144=100.0)).max_layers == 48


def test_the_fewest_layers_do_when_everything_has_its_own():
    components = [component(f"c{n}", 1000 + n, *range(-500, 0, 20 + n)) for n in range(30)]
    table = compare_layer_counts(components, day(0))
    assert [row.layers for row in table.rows] == [30] * 5
    assert table.knee.max_layers == 48


def test_the_table_is_what_the_planner_expects():
    components = [component(f"c{n:03}", 1000 + n * n, *range(-900, 0, 20 + n)) for n in range(150)]
    table = compare_layer_counts(components, day(0), (64, 8, 16, 8))
    assert [row.max_layers for row in table.rows] == [8, 16, 64]
    assert table.rows[0].weekly_bytes > table.rows[1].weekly_bytes > table.rows[2].weekly_bytes
    assert table.knee in table.rows


def test_no_counts_are_refused():
    with pytest.raises(PlanError, match="at least one number of layers"):
        compare_layer_counts([component("a", 1)], day(0), ())
