"""What previous images and files say about layers; what is damaged or foreign is passed over with a note."""

import base64
import json
import zlib
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layer_images import TarImage, tar_image
from ostrata.errors import NotFoundError, OstrataError
from ostrata.model.component import Component
from ostrata.model.package import Package
from ostrata.pipeline.previous_plan import (
    PreviousPlan,
    changed_components,
    component_plan,
    read_previous_plan,
)

PLAN = "ostrata.plan"
RECHUNK = "dev.hhd.rechunk.info"
TAR = bytes(1024)


def plan_label(*layers: tuple[str, str]) -> str:
    document = {"version": 1, "layers": layers}
    return base64.b64encode(zlib.compress(json.dumps(document).encode())).decode()


@pytest.fixture
def image(tmp_path: Path) -> TarImage:
    """An encapsulated image of three layers."""
    made = tar_image(tmp_path / "image", [TAR, b"1" + TAR, b"2" + TAR])
    final = made.config["rootfs"]["diff_ids"][-1]
    made.config["config"] = {"Labels": {"ostree.final-diffid": final}}
    return made


def labels(image: TarImage) -> dict[str, str]:
    found: dict[str, str] = image.config["config"]["Labels"]
    return found


def read(image: TarImage) -> PreviousPlan:
    return read_previous_plan(image.write().reference)


def annotate(image: TarImage, *names: str) -> None:
    for layer, name in zip(image.manifest["layers"], names, strict=True):
        layer["annotations"] = {"ostree.components": name}


def test_our_label_tells_first(image):
    labels(image)[PLAN] = plan_label(("commit", ""), ("l1", "a,b"), ("l2", "c"))
    labels(image)[RECHUNK] = json.dumps({"version": 2, "layers": [["x"]], "packages": {"x": "1-1"}})
    labels(image)["ostrata.plan-clock"] = "2024-05-17"
    labels(image)["org.opencontainers.image.version"] = "41; reboot"
    annotate(image, "", "y", "z")
    found = read(image)
    assert found.layers == (("a", "b"), ("c",))
    assert found.told_by == "the label ostrata.plan"
    assert (found.clock, found.version) == (date(2024, 5, 17), "41; reboot")
    assert (found.package_versions, found.notes) == ({"x": "1-1"}, ())


def test_rechunks_label_tells_next_without_its_prefixes(image):
    layers = [["dedi:meta:kernel"], ["bash", " glibc ", "bash"], []]
    labels(image)[RECHUNK] = json.dumps({"version": 2, "layers": layers, "packages": {}, "revision": "abc"})
    annotate(image, "", "y", "z")
    found = read(image)
    assert found.layers == (("kernel",), ("bash", "glibc"), ())
    assert (found.told_by, found.revision) == (f"the label {RECHUNK}", "abc")


def test_annotations_tell_last(image):
    annotate(image, "not a chunk", "a,b", "c")
    found = read(image)
    assert found.layers == (("a", "b"), ("c",))
    assert found.told_by == "the annotations of its layers"


@pytest.mark.parametrize("label", ["", "%%%", plan_label()[:-9], base64.b64encode(b"x" * 99).decode(),
                                   base64.b64encode(zlib.compress(b"[1]")).decode()])  # fmt: skip
def test_a_damaged_label_gives_way_to_the_next(image, label):
    labels(image)[PLAN] = label
    labels(image)[RECHUNK] = '{"layers": 7}'
    annotate(image, "", "a", "b")
    found = read(image)
    assert found.layers == (("a",), ("b",))
    assert len(found.notes) == 1 + bool(label)


def test_a_label_with_one_name_twice_is_read(image):
    labels(image)[PLAN] = plan_label(("", ""), ("l1", "a"), ("l2", "a"))
    assert read(image).layers == (("a",), ("a",))


def test_an_image_that_says_nothing_is_noted(tmp_path):
    found = read(tar_image(tmp_path / "plain", [TAR]))
    assert (found.layers, found.told_by) == ((), None)
    assert found.notes == ("the previous image does not say what its layers hold",)


def test_a_clock_that_is_no_date_is_noted(image):
    labels(image)["ostrata.plan-clock"] = "tomorrow\x1b"
    found = read(image)
    assert found.clock is None
    assert any("is no date: 'tomorrow\\x1b'" in note for note in found.notes)


@pytest.mark.parametrize("name", ["none.json", "oci:none", "oci:none:tag", "what:ever", ""])
def test_what_is_not_there_is_a_note_or_an_error_when_it_is_required(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    found = read_previous_plan(name)
    assert found.layers == ()
    assert len(found.notes) == 1
    with pytest.raises(OstrataError):
        read_previous_plan(name, required=True)


def test_an_image_without_a_plan_is_an_error_when_it_is_required(tmp_path):
    image = tar_image(tmp_path / "plain", [TAR]).write()
    with pytest.raises(NotFoundError, match="expected a previous plan, found none"):
        read_previous_plan(image.reference, required=True)


def test_no_previous_plan_is_none_or_an_error_when_it_is_required():
    assert read_previous_plan(None) == PreviousPlan()
    with pytest.raises(NotFoundError):
        read_previous_plan(None, required=True)


def test_a_contentmeta_file_tells_by_its_layers(tmp_path):
    path = tmp_path / "contentmeta.json"
    path.write_text(
        json.dumps(
            {
                "labels": {"org.opencontainers.image.version": "41"},
                "layers": {"x": "a,b", "unpackaged": "dedi:meta:unpackaged"},
                "mapping": {"a" * 64: "x"},
            }
        )
    )
    found = read_previous_plan(str(path))
    assert (found.layers, found.version) == ((("a", "b"), ("unpackaged",)), "41")
    assert found.mapping == {"a" * 64: "x"}


# In the names of today


def components(*names: str) -> list[Component]:
    return [Component(name, name, 1, 1) for name in names]


def package(name: str, version: str = "1-1") -> Package:
    return Package(name, version, "x", name, ())


def translated(layers, names, inside=None):
    plan = component_plan(PreviousPlan(layers), components(*names), inside or {})
    assert plan is not None
    return plan.layers


def test_names_of_today_stay():
    assert translated((("a", "gone"), ("b",)), ["a", "b"]) == (("a", "gone"), ("b",))


def test_a_package_stands_for_its_component_where_most_of_them_are():
    inside = {"src": [package("p1"), package("p2"), package("p3")]}
    assert translated((("p1",), ("p2", "p3", "x")), ["src"], inside) == ((), ("x", "src"))
    assert translated((("p1",), ("p2",)), ["src"], inside) == (("src",), ())


def test_a_component_that_is_named_itself_is_where_it_is_named():
    inside = {"src": [package("src"), package("p2"), package("p3")]}
    assert translated((("src",), ("p2", "p3")), ["src"], inside) == (("src",), ())


def test_rechunks_unpackaged_files_are_unclaimed():
    assert translated((("unpackaged",), ("a",)), ["a", "unclaimed"]) == (("unclaimed",), ("a",))


def test_no_layers_are_no_plan():
    assert component_plan(PreviousPlan(((), ())), components("a"), {}) is None


def test_what_changed_is_known_by_objects():
    previous = PreviousPlan((("a", "b"),), mapping={"1": "x", "2": "x"})
    assert changed_components(previous, {"1": "a", "2": "b", "3": "b"}, {}, {}) == {"b"}


def test_what_changed_is_known_by_versions():
    previous = PreviousPlan((("a", "b", "c"),), package_versions={"a": "1-1", "b1": "1-1", "b2": "1-1"})
    inside = {"a": [package("a")], "b": [package("b1"), package("b2", "1-2")]}
    versions = {"a": "1-1", "b1": "1-1", "b2": "1-2"}
    assert changed_components(previous, {"1": "a", "2": "b", "3": "c"}, inside, versions) == {"b", "c"}


def test_versions_do_not_tell_of_stable_parts_and_objects_do():
    names = {"1": "a", "2": "a (stable)"}
    previous = PreviousPlan((("a",),), package_versions={"a": "1-1"})
    assert changed_components(previous, names, {"a": [package("a")]}, {"a": "1-2"}) == {"a"}
    assert changed_components(PreviousPlan((("a",),), mapping={"1": "x"}), names, {}, {}) == {"a (stable)"}


def test_otherwise_nobody_knows_what_changed():
    assert changed_components(PreviousPlan((("a",),)), {"1": "a"}, {}, {}) is None


@given(st.lists(st.lists(st.text(max_size=5), max_size=4), max_size=4), st.lists(st.text(max_size=5), unique=True))
@settings(max_examples=100)
def test_any_layers_become_a_plan_with_each_name_of_today_at_most_as_often_as_before(layers, names):
    previous = PreviousPlan(tuple(map(tuple, layers)))
    plan = component_plan(replace(previous, clock=date(2024, 1, 1)), components(*names), {})
    assert (plan is None) == (not any(layers))
    if plan is not None:
        assert len(plan.layers) == len(layers)
