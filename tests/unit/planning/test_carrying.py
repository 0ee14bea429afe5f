"""Carrying on: what stays, where new groups go, what is joined when fewer layers are allowed."""

from dataclasses import replace

import pytest

from histories import component, day
from ostrata.model.component import ComponentPlan
from ostrata.planning.carried import place
from ostrata.planning.carrying import carry
from ostrata.planning.expectations import expect
from ostrata.planning.fresh import room_for
from ostrata.planning.groups import group_components

CLOCK = day(0)
HOT, COLD = range(-700, 0, 2), (-900,)


def _carry(components, previous, max_layers, changed=()):
    """The names by layer, the layering, and how many layers were given up."""
    groups = group_components(sorted(components, key=lambda item: item.name), CLOCK)
    sizes = {item.name: item.compressed_size for item in components}
    placement = place(groups, sizes, ComponentPlan(previous))
    layering, given_up = carry(placement, expect(placement.groups), frozenset(changed), room_for(groups, max_layers))
    names = [{name for group in layer for name in placement.groups[group].names} for layer in layering.layers]
    return names, layering, given_up


def test_layers_stay_in_their_order():
    names, layering, given_up = _carry([component(name, 9, *COLD) for name in "abc"], (("c",), ("a", "b")), 4)
    assert names == [{"c"}, {"a", "b"}, set(), set()]
    assert (layering.dirty.any(), given_up) == (False, 0)


def test_an_empty_layer_leaves_no_gap():
    names, *_ = _carry([component(name, 9, *COLD) for name in "ab"], (("gone",), ("a",), (), ("b",)), 2)
    assert names == [{"a"}, {"b"}]


def test_what_is_new_goes_to_what_changes_as_often():
    components = [component(name, 1000, *HOT) for name in ("hot", "new")] + [component("cold", 10**6, *COLD)]
    names, layering, _ = _carry(components, (("cold",), ("hot",)), 2, changed=("hot",))
    assert names == [{"cold"}, {"hot", "new"}]
    assert layering.dirty.tolist() == [False, True]


def test_what_is_new_has_a_layer_of_its_own_while_there_is_room():
    components = [component(name, 10**6, *COLD) for name in "abc"]
    names, *_ = _carry([*components, component("new", 1000, *HOT)], (("a", "b", "c"),), 2)
    assert names == [{"a", "b", "c"}, {"new"}]


@pytest.mark.parametrize("changed", [(), ("a",), ("a", "c")])
def test_layers_with_what_changed_are_dirty(changed):
    components = [component(name, 9, *COLD) for name in "abc"]
    _, layering, _ = _carry(components, (("a", "b"), ("c",)), 2, changed)
    assert layering.dirty.tolist() == ["a" in changed, "c" in changed]


def test_the_cheapest_layers_are_joined_when_fewer_are_allowed():
    components = [component(name, 10**6, *COLD) for name in "ab"] + [component("hot", 10**6, *HOT)]
    names, layering, given_up = _carry(components, (("a",), ("hot",), ("b",)), 2)
    assert names == [{"a", "b"}, {"hot"}]
    assert (layering.dirty.tolist(), given_up) == ([True, False], 1)


def test_of_far_too_many_layers_the_smallest_are_taken_apart():
    components = [component(f"c{number:03}", number + 1, -number - 1) for number in range(450)]
    names, _, given_up = _carry(components, tuple((item.name,) for item in components), 3)
    assert sorted(name for layer in names for name in layer) == [item.name for item in components]
    assert given_up == 447


def test_what_became_exclusive_leaves_a_dirty_layer():
    components = [component("a", 9, *COLD), replace(component("b", 9, *COLD), exclusive="mine")]
    names, layering, _ = _carry(components, (("a", "b"),), 3)
    assert names == [{"a"}, set(), {"b"}]
    assert layering.dirty[0]
