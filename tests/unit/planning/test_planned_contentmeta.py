"""Plans as contentmeta documents, and back."""

import pytest

from ostrata.model.component import ComponentPlan
from ostrata.planning.planned_contentmeta import plan_contentmeta, split_names

PLAN = ComponentPlan((("b", "a"), ("c",)))


def test_layers_are_numbered_in_the_order_of_the_plan_and_called_after_their_components():
    assert plan_contentmeta(PLAN, {}).layers == {"layer-001": "b,a", "layer-002": "c"}


def test_ids_grow_beyond_three_digits():
    many = ComponentPlan(tuple((f"c{number}",) for number in range(1001)))
    assert list(plan_contentmeta(many, {}).layers)[-1] == "layer-1001"


def test_objects_are_in_the_layer_of_their_component_by_checksum():
    found = plan_contentmeta(PLAN, {"2": "c", "1": "a", "0": "c"})
    assert list(found.mapping.items()) == [("0", "layer-002"), ("1", "layer-001"), ("2", "layer-002")]


def test_an_object_of_a_component_without_a_layer_is_an_error_of_the_caller():
    with pytest.raises(KeyError):
        plan_contentmeta(PLAN, {"1": "nowhere"})


def test_created_and_labels_are_passed_on():
    found = plan_contentmeta(PLAN, {}, created="2024-05-17T12:00:00Z", labels={"a": "b"})
    assert (found.created, found.labels) == ("2024-05-17T12:00:00Z", {"a": "b"})


@pytest.mark.parametrize(
    ("name", "names"),
    [("b,a", ("b", "a")), ("a (stable)", ("a (stable)",)), (" a ,, b,", ("a", "b")), ("", ()), (",", ())],
)
def test_a_layers_name_is_read_as_components(name, names):
    assert split_names(name) == names
