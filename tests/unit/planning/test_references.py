"""The strategies of other tools: their classes, their limits, their ways to carry a plan."""

import math
from datetime import date

import pytest

from histories import HOSTILE, component, day
from ostrata.errors import PlanError, UnsupportedError
from ostrata.model.component import ComponentPlan
from ostrata.planning import chunkah, rechunk, rpm_ostree
from ostrata.planning.strategies import STRATEGIES, planner

REFERENCES = (rechunk.PLANNER, rpm_ostree.PLANNER, chunkah.PLANNER)
MB = 1_000_000
CLOCK = day(0)


def _many(count=200):
    """Components of all sizes and frequencies."""
    return [
        component(
            f"p{number:03}",
            (number * 7919 % 400 + 1) ** 2 * 100,
            *range(-400, -1, number % 50 + 3),
            source=f"s{number // 2}",
        )
        for number in range(count)
    ]


def _layers(plan):
    return {frozenset(layer) for layer in plan.layers if layer}


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda item: item.name)
class TestEveryReference:
    def test_it_is_found_by_its_name(self, reference):
        assert planner(reference.name) is reference

    @pytest.mark.parametrize("max_layers", [1, 2, 3, 4, 5, 8, 64, 199, 200, 201, 500])
    def test_each_component_is_in_one_of_at_most_so_many_layers(self, reference, max_layers):
        components = _many()
        plan = reference.plan(components, max_layers, CLOCK)
        assert len(plan.layers) <= max_layers
        assert sorted(name for layer in plan.layers for name in layer) == [item.name for item in components]

    def test_the_order_of_components_means_nothing(self, reference):
        components = _many()
        assert reference.plan(components[::-1], 20, CLOCK) == reference.plan(components, 20, CLOCK)

    def test_what_comes_later_is_not_known(self, reference):
        components = _many()
        told = [
            component(item.name, item.size, *(d.toordinal() - CLOCK.toordinal() for d in item.updates), 0, 5, 99,
                      source=item.source)
            for item in components
        ]  # fmt: skip
        assert reference.plan(told, 20, CLOCK) == reference.plan(components, 20, CLOCK)

    def test_no_layer_is_refused(self, reference):
        with pytest.raises(PlanError, match="expected at least 1 layer, found 0"):
            reference.plan(_many(), 0, CLOCK)

    def test_two_components_of_one_name_are_refused(self, reference):
        with pytest.raises(PlanError, match="two components are called 'p000'"):
            reference.plan([*_many(), component("p000", 1)], 9, CLOCK)

    def test_no_component_is_a_plan_without_content(self, reference):
        assert _layers(reference.plan([], 9, CLOCK)) == set()

    def test_a_foreign_previous_plan_is_no_obstacle(self, reference):
        components = _many(50)
        for layers in ((), ((),), (("zombie",),), (("p001", "p001"), ("p001",), ("a,b",)), tuple(("p002",) * 99)):
            plan = reference.plan(components, 9, CLOCK, ComponentPlan(layers))
            assert len(plan.layers) <= 9
            assert sorted(name for layer in plan.layers for name in layer) == [item.name for item in components]

    def test_hostile_names_and_dates_are_planned(self, reference):
        components = [component(name, 10, -1, -2, -3, -99999) for name in (*HOSTILE, "\udcff", "")]
        plan = reference.plan(components, 4, CLOCK)
        assert {name for layer in plan.layers for name in layer} == {item.name for item in components}

    def test_equal_sizes_and_sizes_of_0_are_planned(self, reference):
        for size in (0, 1000):
            plan = reference.plan([component(f"p{n}", size) for n in range(99)], 9, CLOCK)
            assert sum(map(len, plan.layers)) == 99


def test_a_strategy_nobody_knows_is_refused_with_the_names_there_are():
    with pytest.raises(UnsupportedError, match="no strategy 'x'") as raised:
        planner("x")
    assert raised.value.hint == "there are: " + ", ".join(STRATEGIES)


# rechunk


def test_rechunk_puts_small_components_together():
    sizes = {"tiny": 1, "small": 499_999, "half": 500_000, "almost": 999_999, "big": 3 * MB, "bigger": 5 * MB}
    updates = (-1, -8, -15)
    plan = rechunk.PLANNER.plan([component(name, size, *updates) for name, size in sizes.items()], 4, CLOCK)
    assert plan.layers == (("small", "tiny"), ("almost", "half"), ("bigger",), ("big",))


def test_rechunk_joins_what_changes_in_the_same_weeks():
    often, rarely = (-1, -8, -15, -22, -29), (-100, -101, -102)
    components = [component(f"often{n}", (4 - n) * MB, *often) for n in range(3)]
    components += [component(f"rarely{n}", (4 - n) * MB, *rarely) for n in range(3)]
    assert _layers(rechunk.PLANNER.plan(components, 2, CLOCK)) == {
        frozenset(f"often{n}" for n in range(3)),
        frozenset(f"rarely{n}" for n in range(3)),
    }


def test_rechunk_counts_week_53():
    updates = [(date(2020, 12, 31) - CLOCK).days - offset for offset in range(3)]
    assert rechunk.PLANNER.plan([component("a", MB, *updates)], 4, date(2021, 2, 1)).layers == (("a",),)


def test_rechunk_takes_few_changes_for_changes_every_week():
    # `unknown` has two changes ever: it belongs to what always changes, not to what never does.
    always = component("always", 4 * MB, *range(-364, 0, 3))
    never = component("never", 4 * MB, -900, -901, -902)
    plan = rechunk.PLANNER.plan([always, never, component("unknown", 2 * MB, -900, -901)], 2, CLOCK)
    assert _layers(plan) == {frozenset({"always", "unknown"}), frozenset({"never"})}


def test_rechunk_keeps_its_layers_and_adds_where_bandwidth_grows_least():
    updates = {"a": (-1, -2, -3), "b": (-100, -101, -102), "c": (-100, -107, -101), "new": (-100, -101, -102)}
    components = [component(name, 3 * MB, *days) for name, days in updates.items()]
    previous = ComponentPlan((("a", "gone"), ("b", "c")))
    assert rechunk.PLANNER.plan(components, 2, CLOCK, previous).layers == (("a",), ("b", "c", "new"))
    with_room = rechunk.PLANNER.plan(components, 3, CLOCK, previous)
    assert with_room.layers == (("a",), ("b", "c"), ("new",))


# rpm-ostree


def test_rpm_ostree_gives_each_large_component_a_layer_and_keeps_the_last_one_empty():
    components = [component(f"p{n:02}", 1000 + n, *range(-n, 0)) for n in range(60)]
    components += [component(f"large{n}", MB + n) for n in range(3)]
    plan = rpm_ostree.PLANNER.plan(components, 16, CLOCK)
    assert plan.layers[:3] == (("large2",), ("large1",), ("large0",))
    assert plan.layers[-1] == ()
    assert len(plan.layers) <= 16


def test_rpm_ostree_gives_everything_a_layer_when_there_are_enough():
    plan = rpm_ostree.PLANNER.plan([component("a", 1), component("b", 2)], 4, CLOCK)
    assert plan.layers == (("b",), ("a",), ())


def test_rpm_ostree_does_not_divide_what_has_less_than_four_layers():
    plan = rpm_ostree.PLANNER.plan([component("b", 1), component("a", 2)], 3, CLOCK)
    assert plan.layers == (("a", "b"),)


def test_rpm_ostree_separates_medium_components_by_frequency():
    components = [component(f"busy{n}", 1000 + n, *range(-300, 0)) for n in range(6)]
    components += [component(f"calm{n:02}", 1000 + n) for n in range(94)]
    plan = rpm_ostree.PLANNER.plan(components, 12, CLOCK)
    busy = [layer for layer in plan.layers if any(name.startswith("busy") for name in layer)]
    assert all(name.startswith("busy") for layer in busy for name in layer)


def test_rpm_ostree_puts_new_components_into_its_last_layer_and_drops_emptied_ones():
    components = [component(name, 5) for name in ("a", "b", "new1", "new0")]
    previous = ComponentPlan((("gone",), ("b", "gone too"), ("a",), ()))
    assert rpm_ostree.PLANNER.plan(components, 5, CLOCK, previous).layers == (("b",), ("a",), ("new0", "new1"))


def test_rpm_ostree_plans_anew_when_the_previous_plan_has_too_many_layers():
    components = [component(f"p{n}", 5) for n in range(9)]
    previous = ComponentPlan(tuple((f"p{n}",) for n in range(9)))
    assert rpm_ostree.PLANNER.plan(components, 5, CLOCK, previous) == rpm_ostree.PLANNER.plan(components, 5, CLOCK)


# chunkah


def test_the_hash_is_fnv_1a():
    # Vectors of the algorithm's authors.
    assert chunkah.fnv1a(b"") == 0xCBF29CE484222325
    assert chunkah.fnv1a(b"a") == 0xAF63DC4C8601EC8C
    assert chunkah.fnv1a(b"foobar") == 0x85944171F73967E8


def test_stability_is_the_chance_of_a_week_without_a_change():
    assert chunkah.stability(component("a", 1, -400, -500), CLOCK) == 0.99
    assert chunkah.stability(component("a", 1), CLOCK) == 0.99
    assert chunkah.stability(component("a", 1, -100, -75, -50, -25), CLOCK) == pytest.approx(math.exp(-7 * 4 / 100))
    assert chunkah.stability(component("a", 1, 0, 5), CLOCK) == 0.99
    assert chunkah.stability(component("a", 1, since=-30), CLOCK) == pytest.approx(math.exp(-7 / 30))
    assert chunkah.stability(component("a", 1, since=0), CLOCK) == 0.0
    assert chunkah.stability(component("a", 1, since=-400), CLOCK) == 0.99


def test_chunkah_keeps_packages_of_one_source_together():
    plan = chunkah.PLANNER.plan(_many(), 30, CLOCK)
    layer_of = {name: number for number, layer in enumerate(plan.layers) for name in layer}
    assert all(layer_of[f"p{n:03}"] == layer_of[f"p{n + 1:03}"] for n in range(0, 200, 2))


def test_chunkah_gives_large_components_a_layer_within_its_share():
    components = [component(f"p{n:02}", 1000 + n) for n in range(50)]
    components += [component(f"large{n}", MB + n) for n in range(9)]
    plan = chunkah.PLANNER.plan(components, 10, CLOCK)
    alone = {layer[0] for layer in plan.layers if len(layer) == 1}
    assert {f"large{n}" for n in range(2, 9)} <= alone  # 0.8 of 9 layers: 7
    assert len(plan.layers) == 10


def test_chunkah_separates_tiers_of_stability():
    components = [component(f"busy{n}", 1000, *range(-300, 0)) for n in range(10)]
    components += [component(f"calm{n}", 1000) for n in range(90)]
    plan = chunkah.PLANNER.plan(components, 10, CLOCK)
    for layer in plan.layers:
        assert len({name[:4] for name in layer}) == 1
    assert plan.layers[0][0].startswith("calm")
    assert plan.layers[-1][0].startswith("busy")


def test_chunkah_has_no_memory():
    components = _many()
    previous = ComponentPlan((tuple(item.name for item in components),))
    assert chunkah.PLANNER.plan(components, 9, CLOCK, previous) == chunkah.PLANNER.plan(components, 9, CLOCK)
