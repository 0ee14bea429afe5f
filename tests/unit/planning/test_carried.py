"""What a previous plan says about the components of today, and what it does not."""

from dataclasses import replace

import pytest

from histories import component, day
from ostrata.model.component import ComponentPlan
from ostrata.planning.carried import place
from ostrata.planning.groups import check_components, group_components

CLOCK = day(0)


def _place(components, *layers):
    ordered = check_components(components, 99)
    sizes = {item.name: item.compressed_size for item in ordered}
    placement = place(group_components(ordered, CLOCK), sizes, ComponentPlan(layers))
    where = {
        name: layer for group, layer in zip(placement.groups, placement.layer_of, strict=True) for name in group.names
    }
    return where, placement


def test_names_keep_their_layers():
    where, placement = _place([component("a", 1), component("b", 1)], ("b",), ("a",))
    assert where == {"a": 1, "b": 0}
    assert (placement.carried.kept, placement.carried.layers, placement.touched) == (2, 2, frozenset())


def test_what_is_gone_is_counted_and_its_layer_changes():
    _, placement = _place([component("a", 1)], ("a", "x"), ("y",))
    assert (placement.carried.gone, placement.carried.layers, placement.carried.all_layers) == (2, 1, 2)
    assert placement.touched == {0, 1}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("linux-image-6.1.0-13-amd64", "linux-image-6.1.0-17-amd64"),
        ("linux-image-6.1.0-13-amd64", "linux-image-6.1.0-13-arm64"),
        ("kernel-core-6.0.7-301.fc37.x86_64", "kernel-core-6.0.9-300.fc37.aarch64"),
        ("libicu70", "libicu72"),
        ("llvm-toolchain-14", "llvm-toolchain-15"),
    ],
)
def test_a_name_of_another_version_or_architecture_is_the_same(old, new):
    where, placement = _place([component(new, 1)], ("x",), (old,))
    assert where == {new: 1}
    assert (placement.carried.renamed, placement.carried.gone, placement.carried.new) == (1, 1, 0)


def test_a_version_that_is_still_there_lends_its_place_to_nobody():
    where, placement = _place([component("libicu70", 1), component("libicu72", 1)], ("libicu70",))
    assert where == {"libicu70": 0, "libicu72": None}
    assert placement.carried.new == 1


def test_each_name_that_is_gone_is_used_once():
    where, _ = _place([component("k-2", 1), component("k-3", 1)], ("k-1",))
    assert where == {"k-2": 0, "k-3": None}


def test_a_new_component_joins_most_bytes_of_its_source():
    where, placement = _place(
        [component(name, size, source="s") for name, size in (("a", 5), ("b", 9), ("c", 3), ("new", 1))],
        ("a", "c"),
        ("b",),
    )
    assert where == {"a": 0, "b": 1, "c": 0, "new": 1}  # 9 bytes there, 8 here
    assert placement.carried.joined == 1


def test_a_source_on_two_layers_stays_there_in_parts():
    where, placement = _place([component("a", 5, source="s"), component("b", 7, source="s")], ("a",), ("b",))
    assert where == {"a": 0, "b": 1}
    assert [(group.size, group.identity) for group in placement.groups] == [(5, "s"), (7, "s")]


def test_a_name_that_stands_twice_counts_where_it_stands_first():
    where, placement = _place([component("a", 1)], ("x", "a"), ("a", "a"))
    assert where == {"a": 0}
    assert placement.carried.repeated == 2
    assert 1 in placement.touched


@pytest.mark.parametrize("layers", [(), ((),), (("",), ("\n",)), (("x",),) * 1000])
def test_a_foreign_plan_makes_everything_new(layers):
    where, placement = _place([component("a,b", 1), component("b", 2)], *layers)
    assert where == {"a,b": None, "b": None}
    assert (placement.carried.new, placement.carried.kept) == (2, 0)


def test_a_stable_part_begins_where_its_component_is_and_touches_nothing():
    office, stable = component("office", 5), replace(component("office (stable)", 90, source="office"), interval=99.0)
    where, placement = _place([office, stable], ("x",), ("office",))
    assert where == {"office": 1, "office (stable)": 1}
    assert (placement.carried.kept, placement.carried.joined, placement.touched) == (1, 1, frozenset({0}))


def test_a_stable_part_keeps_a_layer_of_its_own():
    office, stable = component("office", 5), replace(component("office (stable)", 90, source="office"), interval=99.0)
    where, placement = _place([office, stable], ("office (stable)",), ("office",))
    assert where == {"office": 1, "office (stable)": 0}
    assert (placement.carried.kept, placement.touched) == (2, frozenset())


def test_a_stable_part_of_a_new_version_follows_it():
    kernel, stable = component("linux-6.1.0-17", 5), replace(component("linux-6.1.0-17 (stable)", 9), interval=99.0)
    where, placement = _place([kernel, stable], ("x",), ("linux-6.1.0-13",))
    assert where == {"linux-6.1.0-17": 1, "linux-6.1.0-17 (stable)": 1}
    assert (placement.carried.renamed, placement.carried.joined) == (1, 1)
