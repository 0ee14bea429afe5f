"""What holds for every history, plan and strategy."""

from hypothesis import given, settings
from hypothesis import strategies as st

from histories import component_lists, day
from ostrata.model.component import ComponentPlan
from ostrata.planning import chunkah, rechunk, rpm_ostree
from ostrata.simulation.releases import PlannedRelease, plan_release, plan_releases
from ostrata.simulation.updates import Replay

REFERENCES = st.sampled_from([rechunk.PLANNER, rpm_ostree.PLANNER, chunkah.PLANNER])
LONG_AGO = day(-2000)


def _always_there(components):
    return [type(item)(item.name, item.source, item.size, item.compressed_size, None, item.updates)
            for item in components]  # fmt: skip


def _replay(components, layers):
    plan = ComponentPlan(tuple(tuple(item.name for item in layer) for layer in layers))
    return Replay([PlannedRelease(day(0), tuple(components), plan)], day(100))


@given(component_lists(), st.integers(1, 30))
def test_one_layer_costs_everything_whenever_anything_changed(components, every):
    components = _always_there(components)
    total = sum(item.compressed_size for item in components)
    for update in _replay(components, [components]).updates(every):
        changed = any(update.start <= when < update.end for item in components for when in item.updates)
        assert (update.bytes, update.layers) == ((total, 1) if changed else (0, 0))


@given(component_lists(), st.integers(1, 30))
def test_a_layer_for_each_component_costs_what_changed(components, every):
    components = _always_there(components)
    cost = _replay(components, [[item] for item in components]).cost(every)
    assert cost.mean_bytes == cost.mean_changed_bytes
    assert cost.overfetch in (None, 1.0)


@given(component_lists(), REFERENCES, st.integers(1, 8), st.integers(1, 30))
def test_no_plan_costs_less_than_what_changed_or_more_than_everything(components, planner, max_layers, every):
    components = _always_there(components)
    release = plan_release(planner, components, max_layers, day(0))
    total = sum(item.compressed_size for item in components)
    for update in Replay([release], day(100)).updates(every):
        assert update.changed_bytes <= update.bytes <= total


@given(component_lists(), REFERENCES, st.integers(1, 8), st.randoms(use_true_random=False))
def test_costs_do_not_depend_on_the_order_of_a_history(components, planner, max_layers, random):
    components = _always_there(components)
    shuffled = list(components)
    random.shuffle(shuffled)
    costs = [
        Replay(list(plan_releases(planner, each, max_layers, [day(0), day(30)])), day(60)).cost(10)
        for each in (components, shuffled)
    ]
    assert costs[0] == costs[1]


@given(component_lists(), st.integers(1, 20), st.integers(1, 20))
def test_releases_that_carry_the_same_plan_cost_what_one_release_does(components, every, release_every):
    components = _always_there(components)
    plan = ComponentPlan(tuple((item.name,) for item in components))
    days = [day(number) for number in range(0, 101, release_every)]
    many = [PlannedRelease(each, tuple(components), plan) for each in days]
    assert Replay(many, day(100)).cost(every) == Replay(many[:1], day(100)).cost(every)


@settings(max_examples=200)
@given(component_lists(), component_lists(), REFERENCES, st.integers(1, 8), st.integers(1, 8))
def test_a_carried_plan_is_a_plan_whatever_it_is_carried_from(before, after, planner, old_layers, new_layers):
    previous = planner.plan(before, old_layers, LONG_AGO)
    plan_release(planner, _always_there(after), new_layers, day(0), previous)  # which checks the plan
