from __future__ import annotations

import pytest

from ostrata.errors import PlanError
from ostrata.model.plan import Contentmeta, PlannedObject
from ostrata.planning.contentmeta import plan_layers, plan_one_layer, planned_objects

A, B, C, D = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)


TREE = planned_objects([("usr/z", B), ("usr/a", A), ("usr/bin/z", B), ("usr/bin/c", C)])
LAYERS = {"two": "second first", "one": "first second", "void": "nothing"}


def test_layers_come_in_the_order_of_the_document_and_members_by_checksum() -> None:
    plan = plan_layers(Contentmeta(LAYERS, {C: "two", B: "one", A: "two"}), TREE)
    assert [(layer.id, layer.name) for layer in plan.layers] == [
        ("two", "second first"),
        ("one", "first second"),
    ]
    assert plan.layers[0].objects == (PlannedObject(A, ("usr/a",)), PlannedObject(C, ("usr/bin/c",)))
    assert plan.layers[1].objects == (PlannedObject(B, ("usr/z", "usr/bin/z")),)


def test_an_ordered_document_orders_the_members() -> None:
    plan = plan_layers(Contentmeta(LAYERS, {C: "two", B: "one", A: "two"}, ordered=True), TREE)
    assert [item.checksum for item in plan.layers[0].objects] == [C, A]


def test_what_is_not_there_is_counted() -> None:
    plan = plan_layers(Contentmeta(LAYERS, {A: "one", B: "one", C: "one", D: "two"}), TREE)
    assert plan.empty_layers == ("two", "void")
    assert plan.unknown_objects == 1


def test_unmapped_objects_are_an_error_with_count_and_paths() -> None:
    with pytest.raises(PlanError) as caught:
        plan_layers(Contentmeta(LAYERS, {A: "one"}), TREE)
    assert str(caught.value).startswith("2 objects of the commit are not in the mapping: /usr/z, /usr/bin/c\nmap them")


def test_many_unmapped_objects_are_shown_in_part() -> None:
    tree = planned_objects((f"f{number}\n", f"{number:064x}") for number in range(9))
    with pytest.raises(PlanError, match=r"9 objects .*: /f0\\n, .* and 4 more"):
        plan_layers(Contentmeta(LAYERS, {}), tree)


def test_unmapped_objects_can_follow_in_a_layer() -> None:
    ordered = plan_layers(Contentmeta(LAYERS, {C: "one"}, ordered=True), TREE, unmapped="one")
    assert [item.checksum for item in ordered.layers[0].objects] == [C, A, B]
    sorted_plan = plan_layers(Contentmeta(LAYERS, {C: "one"}), TREE, unmapped="one")
    assert [item.checksum for item in sorted_plan.layers[0].objects] == [A, B, C]


def test_the_layer_for_unmapped_objects_must_be_in_the_document() -> None:
    with pytest.raises(
        PlanError, match=r"the layer 'else' for unmapped objects is not in .*\nits layers: two, one, void"
    ):
        plan_layers(Contentmeta(LAYERS, {}), TREE, unmapped="else")


def test_one_layer_holds_everything_by_checksum() -> None:
    assert [item.checksum for item in plan_one_layer(TREE)] == [A, B, C]
