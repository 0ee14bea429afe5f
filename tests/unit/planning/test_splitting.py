"""Splitting components by what a history says about their paths."""

from dataclasses import replace

import pytest

from histories import HOSTILE, component, day
from ostrata.planning.splitting import MIN_SAVED, STABLE, joined_paths, split

CLOCK = day(0)
MIB = 1 << 20


def _office(**sizes):
    """A component with a path and an object for each size in MiB, half of it compressed, updated every 10 days."""
    paths = tuple(sizes)
    made = component("office", sum(sizes.values()) * MIB, *range(-100, 0, 10), packed=sum(sizes.values()) * MIB // 2)
    made = replace(made, paths=paths)
    return made, {path: path for path in paths}, {path: (size * MIB, size * MIB // 2) for path, size in sizes.items()}


def _split(office, changed, clock=CLOCK):
    return split(*office, {path: tuple(map(day, days)) for path, days in changed.items()}, clock)


def test_what_no_update_changed_is_a_part_of_its_own():
    found = _split(_office(lib=10, help=40, icons=50), {"lib": (-20, -10)})
    assert (found.volatile.name, found.stable.name) == ("office", "office" + STABLE)
    assert (found.volatile.paths, found.stable.paths) == (("lib",), ("help", "icons"))
    assert (found.volatile.compressed_size, found.stable.compressed_size) == (5 * MIB, 45 * MIB)
    assert (found.volatile.size, found.stable.size) == (10 * MIB, 90 * MIB)


def test_the_volatile_part_keeps_the_dates_and_the_stable_one_is_expected_to_change_less_often():
    office = _office(lib=10, help=40)
    found = _split(office, {"lib": (-20, -10)})
    assert found.volatile.updates == office[0].updates
    assert found.stable.updates == ()
    assert found.stable.interval == pytest.approx((2 + 2) * 10)


def test_every_update_that_left_it_alone_makes_a_part_more_stable():
    office = _office(lib=10, help=40)
    intervals = [_split(office, {"lib": range(-10 * count, 0, 10)}).stable.interval for count in (1, 4, 9)]
    assert intervals == pytest.approx([30, 60, 110])


def test_a_new_version_in_a_name_is_the_same_path():
    found = _split(_office(**{"libz.so.1.2.13": 10, "help": 40}), {"libz.so.1.2.12": (-10,)})
    assert found.volatile.paths == ("libz.so.1.2.13",)


def test_an_object_with_a_path_that_changed_is_not_stable():
    office, objects, sizes = _office(lib=10, help=40, icons=50)
    objects["help"] = "lib"
    found = _split((office, objects, sizes), {"lib": (-10,)})
    assert found.stable.paths == ("icons",)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({}, "nothing is known"),
        ({"lib": ()}, "no day is known"),
        ({"lib": (0, 5)}, "only what comes later is known"),
        ({"gone": (-10,)}, "nothing that is there ever changed"),
        ({"lib": (-10,), "help": (-30,)}, "everything changed once"),
    ],
)
def test_what_does_not_pay_stays_whole(changed, why):
    assert _split(_office(lib=10, help=40), changed) is None, why


def test_a_small_part_stays_where_it_is():
    office, objects, sizes = _office(lib=10, help=2)
    saved = MIN_SAVED * 3 // 2  # of three updates one is taken to touch it
    for packed, expected in ((saved - 9, None), (saved + 9, ("help",))):
        found = _split((office, objects, sizes | {"help": (2 * MIB, packed)}), {"lib": (-10,)})
        assert (found and found.stable.paths) == expected


def test_what_the_user_asked_for_stays_whole():
    office, *rest = _office(lib=10, help=40)
    assert _split((replace(office, interval=3.0), *rest), {"lib": (-10,)}) is None
    assert _split((replace(office, exclusive="mine"), *rest), {"lib": (-10,)}) is None


def test_a_component_without_dates_has_those_of_its_paths():
    office, *rest = _office(lib=10, help=40)
    assert _split((replace(office, updates=()), *rest), {"lib": (-40, -20)}).stable.interval == 4 * 20


def test_one_update_yesterday_is_no_update_every_day():
    office, *rest = _office(lib=10, help=40)
    assert _split((replace(office, updates=()), *rest), {"lib": (-1,)}).stable.interval == 3 * 30


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_and_paths_are_split(name):
    office, objects, sizes = _office(**{name: 10, "help": 40})
    found = _split((replace(office, name=name), objects, sizes), {name: (-10,)})
    assert (found.stable.name, found.volatile.paths) == (name + STABLE, (name,))


def test_what_is_known_of_parts_is_known_of_their_component():
    found = joined_paths({"a": {"x": (day(1), day(3))}, "a" + STABLE: {"x": (day(2),), "y": (day(4),)}, "b": {}})
    assert found == {"a": {"x": (day(1), day(2), day(3)), "y": (day(4),)}, "b": {}}
