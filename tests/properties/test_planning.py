"""The strategy `ostrata` on anything: valid plans, and the same one for every order of the input."""

from hypothesis import given, settings
from hypothesis import strategies as st

from histories import component_lists, day
from ostrata.model.component import ComponentPlan
from ostrata.planning.ostrata_planner import OstrataPlanner

LAYERS = st.integers(1, 14)
REBALANCE = st.sampled_from(["never", "auto", "full"])


@st.composite
def _previous(draw, components):
    names = st.sampled_from([item.name for item in components]) | st.text(max_size=3)
    layers = draw(st.lists(st.lists(names, max_size=4).map(tuple), max_size=8))
    return ComponentPlan(tuple(layers), draw(st.none() | st.integers(-99, 9).map(day)))


@settings(max_examples=150, deadline=None)
@given(st.data(), component_lists(), LAYERS, REBALANCE)
def test_every_plan_is_valid_and_independent_of_the_order(data, components, max_layers, rebalance):
    previous = data.draw(st.none() | _previous(components))
    planner = OstrataPlanner(rebalance=rebalance)
    plan = planner.plan(components, max_layers, day(0), previous)
    assert len(plan.layers) <= max_layers
    assert all(plan.layers)
    assert sorted(name for layer in plan.layers for name in layer) == sorted(item.name for item in components)
    permuted = data.draw(st.permutations(components))
    assert planner.plan(permuted, max_layers, day(0), previous) == plan


@settings(max_examples=60, deadline=None)
@given(component_lists(), LAYERS)
def test_a_plan_that_is_carried_without_news_stays_what_it_is(components, max_layers):
    planner = OstrataPlanner(rebalance="never")
    plan = planner.plan(components, max_layers, day(0))
    assert planner.plan(components, max_layers, day(0), plan) == plan
