from __future__ import annotations

import json
from typing import Any

import pytest

from ostrata.errors import MalformedError, PlanError
from ostrata.formats.plain_config import ImageSettings, annotate, describe, encode_config, history_of
from ostrata.model.digest import Digest
from ostrata.model.image import LAYER_TAR, Descriptor, Layer, Platform

SOURCE: dict[str, Any] = {
    "architecture": "arm64",
    "os": "linux",
    "variant": "v8",
    "os.features": ["odd"],
    "created": "2001-01-01T00:00:00Z",
    "author": "ž",
    "future key": {"a": [1.5, None, True, 1e300]},
    "config": {
        "User": "1000",
        "Env": ["A=1"],
        "Entrypoint": ["/init"],
        "Cmd": ["x"],
        "OnBuild": ["RUN true"],
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 30_000_000_000},
        "Labels": {
            "kept": "1",
            "containers.bootc": "1",
            "ostree.commit": "c" * 64,
            "ostree.bootable": "true",
            "ostree.final-diffid": "sha256:" + "1" * 64,
            "ostrata.plan": "x",
            "ostrata.plan-clock": "2001-01-01",
            "dev.hhd.rechunk.info": "{}",
            "rpmostree.inputhash": "i",
            "org.opencontainers.image.created": "2001-01-01T00:00:00Z",
        },
    },
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]},
    "history": [{"created_by": "one", "comment": "a"}, {"created_by": "ENV", "empty_layer": True}],
}
ARM64 = Platform("arm64")
CREATED = "2024-05-17T12:00:00Z"
LAYERS = [
    Layer(Descriptor(LAYER_TAR, Digest.of(name), 1), Digest.of(name), name.decode()) for name in (b"one", b"two", b"3")
]


def settings(**more: object) -> ImageSettings:
    return ImageSettings(**{"created": CREATED, "platform": ARM64, "plan_labels": {}, **more})  # type: ignore[arg-type]


def described(source: dict[str, Any] | None = None, **more: object) -> dict[str, Any]:
    document = describe(json.dumps(source or SOURCE).encode(), settings(**more))
    return json.loads(encode_config(document, LAYERS[:1], {}))  # type: ignore[no-any-return]


def test_what_is_not_about_layers_is_kept_unknown_keys_included() -> None:
    found = described()
    for key in ("architecture", "os", "variant", "os.features", "author", "future key"):
        assert found[key] == SOURCE[key]
    assert {key: found["config"][key] for key in SOURCE["config"] if key != "Labels"} == {
        key: value for key, value in SOURCE["config"].items() if key != "Labels"
    }


def test_what_tells_of_layers_and_time_is_made_anew() -> None:
    found = described()
    assert found["rootfs"] == {"type": "layers", "diff_ids": [str(LAYERS[0].diff_id)]}
    assert found["history"] == [{"created": CREATED, "created_by": "one"}]
    assert found["created"] == CREATED


def test_labels_about_how_the_source_was_made_are_removed() -> None:
    assert described()["config"]["Labels"] == {
        "kept": "1",
        "containers.bootc": "1",
        "org.opencontainers.image.created": CREATED,
    }


def test_labels_are_set_and_removed_by_the_plan_and_then_by_the_user() -> None:
    labels = (("kept", None), ("a", "1"), ("a", "2"), ("b", "3"), ("b", None), ("gone", None))
    found = described(plan_labels={"a": "plan", "c": "plan", "ostrata.plan-clock": "2024-06-01"}, labels=labels)
    expected = {"a": "2", "c": "plan", "ostrata.plan-clock": "2024-06-01", "containers.bootc": "1"}
    assert found["config"]["Labels"] == expected | {"org.opencontainers.image.created": CREATED}


def test_labels_of_an_encapsulated_base_stay_when_its_layers_do() -> None:
    labels = described(kept_layers=(Digest.of(b""), Digest("sha256", "1" * 64)))["config"]["Labels"]
    assert labels["ostree.commit"] == "c" * 64
    assert "ostrata.plan" not in labels


def test_annotations_are_kept_but_for_those_about_how_the_source_was_made() -> None:
    source = {"a": "1", "b": "2", "ostree.commit": "c", "org.opencontainers.image.created": "old"}
    found = annotate(source, settings(annotations=(("a", None), ("new", "3"))))
    assert found == {"b": "2", "new": "3", "org.opencontainers.image.created": CREATED}


@pytest.mark.parametrize("key", ["labels", "annotations"])
def test_what_only_ostrata_sets_can_be_removed_and_not_set(key: str) -> None:
    with pytest.raises(PlanError, match=r"'ostrata\.plan'"):
        annotate({}, settings(**{key: (("ostrata.plan", "1"),)})) if key == "annotations" else described(
            **{key: (("ostrata.plan", "1"),)}
        )
    described(**{key: (("ostrata.plan", None),)})


def test_the_command_and_the_entry_point_are_replaced() -> None:
    found = described(cmd=("a", "b"), entrypoint=())["config"]
    assert (found["Cmd"], found["Entrypoint"]) == (["a", "b"], [])


def test_the_variant_of_another_architecture_goes() -> None:
    found = described(platform=Platform("riscv64"))
    assert found["architecture"] == "riscv64"
    assert "variant" not in found


def test_without_a_source_there_is_a_config_all_the_same() -> None:
    document = describe(None, settings(labels=(("a", "1"),)))
    assert json.loads(encode_config(document, LAYERS[:1], {"b": "2"})) == {
        "architecture": "arm64",
        "os": "linux",
        "created": CREATED,
        "config": {"Labels": {"a": "1", "b": "2"}},
        "history": [{"created": CREATED, "created_by": "one"}],
        "rootfs": {"type": "layers", "diff_ids": [str(LAYERS[0].diff_id)]},
    }


@pytest.mark.parametrize("config", [None, {}, {"Labels": None}])
def test_a_source_with_an_empty_config_is_described(config: object) -> None:
    assert described(SOURCE | {"config": config})["config"] == {"Labels": {}}


def test_the_history_of_a_base_stays_and_lines_of_new_layers_follow() -> None:
    document = describe(json.dumps(SOURCE).encode(), settings())
    kept = history_of(json.dumps(SOURCE).encode(), LAYERS[:1])
    history = json.loads(encode_config(document, LAYERS, {}, kept))["history"]
    assert history[:2] == SOURCE["history"]
    assert history[2:] == [{"created": CREATED, "created_by": "two"}, {"created": CREATED, "created_by": "3"}]


def test_a_base_whose_history_does_not_fit_its_layers_gets_one_that_does() -> None:
    kept = history_of(json.dumps(SOURCE | {"history": None}).encode(), LAYERS[:2])
    assert kept == [{"created_by": "one"}, {"created_by": "two"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"os": "linux", "os": "linux"}', "'os' appears twice"),
        ('{"config": {"Env": [], "Env": ["A=1"]}}', "'Env' appears twice"),
        ("[]", "expected an object"),
        ('{"architecture": "a", "os": "b"}', "rootfs"),
    ],
)
def test_a_damaged_config_is_refused(text: str, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        describe(text.encode(), settings())


def test_a_label_that_is_no_text_is_refused_before_layers_are_written() -> None:
    with pytest.raises(MalformedError, match="the image's config"):
        describe(None, settings(labels=(("a", "\udcff"),)))
    with pytest.raises(MalformedError, match="the image's annotations"):
        annotate({}, settings(annotations=(("a", "\udcff"),)))
