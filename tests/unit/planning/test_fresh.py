"""Plans from nothing: room, exclusive layers, everything alone when it fits."""

from dataclasses import replace

import pytest

from histories import component, day
from ostrata.errors import PlanError
from ostrata.planning.expectations import expect
from ostrata.planning.fresh import MOST_LAYERS, plan_afresh, room_for
from ostrata.planning.groups import group_components

CLOCK = day(0)


def _groups(count, exclusive=()):
    components = [component(f"c{number:04}", 100 + number, -number - 1) for number in range(count)]
    asked = [
        replace(item, exclusive=f"x{number}") if number in exclusive else item for number, item in enumerate(components)
    ]
    return group_components(asked, CLOCK)


def test_exclusive_layers_take_their_room_first_and_come_last():
    room = room_for(_groups(5, exclusive=(1, 3)), 4)
    assert (room.shared, room.exclusive) == (2, ("x1", "x3"))
    assert [room.exclusive_layer(name, 2) for name in room.exclusive] == [2, 3]


@pytest.mark.parametrize(("exclusive", "needed"), [((0, 1), 2), ((0,), 2)])
def test_room_is_needed_for_exclusive_layers_and_one_for_the_rest(exclusive, needed):
    groups = _groups(2, exclusive)
    assert room_for(groups, needed).shared == needed - len(exclusive)
    with pytest.raises(PlanError, match=f"expected at least {needed} layers"):
        room_for(groups, needed - 1)


def test_everything_is_alone_when_there_is_room():
    groups = _groups(6, exclusive=(2,))
    layering = plan_afresh(groups, expect(groups), room_for(groups, 9))
    assert sorted(map(len, layering.layers)) == [1] * 6


def test_groups_share_layers_when_there_is_none():
    groups = _groups(30, exclusive=(2,))
    layering = plan_afresh(groups, expect(groups), room_for(groups, 5))
    assert len(layering.layers) == 5
    assert all(layering.layers)
    assert sorted(group for layer in layering.layers for group in layer) == list(range(30))
    assert layering.layers[-1] == [next(number for number, group in enumerate(groups) if group.exclusive == "x2")]


def test_no_more_layers_are_shared_than_anybody_can_stack():
    groups = _groups(MOST_LAYERS + 200)
    layering = plan_afresh(groups, expect(groups), room_for(groups, MOST_LAYERS + 100))
    assert len(layering.layers) == MOST_LAYERS
