"""Components become groups: by source, whatever the version, apart where the user asked for it."""

from dataclasses import replace

import pytest

from histories import HOSTILE, component, day
from ostrata.errors import PlanError
from ostrata.planning.groups import check_components, group_components

CLOCK = day(0)


def _names(*components):
    return [group.names for group in group_components(check_components(components, 9), CLOCK)]


def test_components_of_one_source_are_one_group():
    assert _names(
        component("libb", 2, source="b"), component("a", 1, source="a"), component("b-bin", 3, source="b")
    ) == [("a",), ("b-bin", "libb")]


def test_a_group_has_the_updates_of_all_its_components_once():
    (group,) = group_components([component("x", 1, -3, -9, source="s"), component("y", 2, -3, source="s")], CLOCK)
    assert (group.size, group.ages) == (3, (3, 9))


def test_kernel_packages_of_two_versions_are_one_group():
    old, new = component("linux-image-6.1.0-13-amd64", 1), component("linux-image-6.1.0-17-amd64", 1)
    assert _names(old, new) == [(old.name, new.name)]


def test_a_series_in_a_name_is_no_kernel_version():
    assert len(_names(component("gtk+3.0", 1), component("gtk4", 1), component("python3.11", 1))) == 3


def test_what_has_an_interval_or_an_exclusive_layer_is_a_group_of_its_own():
    plain = component("a", 1, source="s")
    timed = replace(component("b", 1, source="s"), interval=7.0)
    alone = replace(component("c", 1, source="s"), exclusive="")
    assert _names(plain, timed, alone) == [("a",), ("c",), ("b",)]


def test_updates_on_the_clock_and_behind_it_do_not_count():
    (group,) = group_components([component("x", 1, -1, 0, 1, 27000)], CLOCK)
    assert group.ages == (1,)


def test_a_component_without_a_source_is_its_own():
    assert len(_names(replace(component("a", 1), source=""), replace(component("b", 1), source=""))) == 2


@pytest.mark.parametrize("name", [*HOSTILE, ""])
def test_two_components_of_one_name_are_refused(name):
    with pytest.raises(PlanError, match="two components are called") as caught:
        check_components([component(name, 1), component(name, 2)], 3)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (component("a", -1), "expected a size of at least 0, found -1"),
        (component("a", 1, packed=-7), "expected a size of at least 0, found -7"),
        (replace(component("a", 1), interval=0.0), "above 0 days, found 0.0"),
        (replace(component("a", 1), interval=-1.0), "above 0 days, found -1.0"),
        (replace(component("a", 1), interval=float("nan")), "found nan"),
        (replace(component("a", 1), interval=float("inf")), "found inf"),
    ],
)
def test_sizes_and_intervals_that_are_none_are_refused(wrong, message):
    with pytest.raises(PlanError, match=message):
        check_components([wrong], 3)
