"""Pairs of a previous image and a package set of today: whatever the image says, there is a valid plan.

A pair is a system of yesterday, planned and written into an image by labels, annotations or a contentmeta file, of ours
or of others, whole, cut or spoilt; and a system of today: packages gone, new, renamed, resized, of another
architecture, with more or fewer layers. Hypothesis draws every choice. A few hundred pairs run always, 10,000 with

    python -m pytest -m judge tests/properties/test_carried_plans.py
"""

import json
import tempfile
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from histories import HOSTILE, component, day
from layer_images import digest, tar_image
from ostrata.codecs import contentmeta as contentmeta_codec
from ostrata.codecs import plan_label, rechunk_label
from ostrata.codecs.plan_label import CarriedLayer
from ostrata.codecs.rechunk_label import RechunkInfo
from ostrata.components.names import component_name
from ostrata.errors import OstrataError
from ostrata.model.component import ComponentPlan
from ostrata.model.digest import Digest
from ostrata.model.package import Package
from ostrata.pipeline.previous_plan import CLOCK, changed_components, component_plan, read_previous_plan
from ostrata.planning.ostrata_planner import OstrataPlanner
from ostrata.planning.planned_contentmeta import plan_contentmeta
from ostrata.planning.strategies import STRATEGIES, planner

TODAY = day(0)
REBALANCES = ("never", "auto", "auto", "full")
ODD = (*HOSTILE, "", "\udcff", "k-6.1.0-13-amd64", "k-6.1.0-17-amd64", "k-6.1.0-17-arm64", "a (stable)", "unclaimed")
NAMES = sorted({component_name(name) for name in ODD} | set("abcdefghijkl"))
KINDS = (*("file", "ours", "rechunk", "annotations") * 3, "foreign", "foreign", "nothing", "missing")
FOREIGN = ("dedi:a", "meta:b", "unpackaged", "c", "x, y", "gone")

CHANCES = st.randoms(use_true_random=False)
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]


@settings(max_examples=250, deadline=None, suppress_health_check=SLOW)
@given(CHANCES)
def test_whatever_the_previous_image_says_there_is_a_valid_plan(chance):
    with tempfile.TemporaryDirectory() as place:
        _check_pair(Path(place, "pair"), chance)


@pytest.mark.judge
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(20))
def test_ten_thousand_pairs_have_valid_plans(part):
    @seed(part)
    @settings(max_examples=500, deadline=None, suppress_health_check=SLOW)
    @given(CHANCES)
    def check(chance):
        with tempfile.TemporaryDirectory() as place:
            _check_pair(Path(place, "pair"), chance)

    check()


def _check_pair(place, chance):
    old = _system(chance)
    name = _publish(chance, place, _plan_of_yesterday(chance, old), old)
    today = _of_today(chance, old)
    previous = _read(name)
    packages = {item.name: _packages(chance, item) for item in today}
    objects = {f"{position:064x}": item.name for position, item in enumerate(today)}
    versions = {package.name: package.version for inside in packages.values() for package in inside}
    changed = changed_components(previous, objects, packages, versions)
    max_layers = chance.randrange(1, 12) + sum(item.exclusive is not None for item in today)
    ours = OstrataPlanner(rebalance=chance.choice(REBALANCES), changed=changed)
    chosen = planner(chance.choice(list(STRATEGIES))) if _happens(chance, 30) else ours
    before = component_plan(previous, today, packages)
    if isinstance(chosen, OstrataPlanner):
        planned = chosen.plan_with_figures(today, max_layers, TODAY, before)
        frozen = replace(chosen, rebalance="never").plan(today, max_layers, TODAY, before)
        plan = planned.plan
        _assert_carried(planned.carried, before, today)
        _assert_moves(planned.figures, plan, frozen, chosen.rebalance)
    else:
        plan = chosen.plan(today, max_layers, TODAY, before)
    _assert_valid(plan, today, max_layers, objects)
    if _happens(chance, 20):
        chance.shuffle(today)
        assert chosen.plan(today, max_layers, TODAY, component_plan(previous, today, packages)) == plan


def _assert_valid(plan, components, max_layers, objects):
    layers = [names for names in plan.layers if names]
    assert len(layers) <= max_layers
    assert sorted(name for names in layers for name in names) == sorted(item.name for item in components)
    written = contentmeta_codec.decode(
        contentmeta_codec.encode(plan_contentmeta(ComponentPlan(tuple(layers)), objects))
    )
    assert written.mapping.keys() == objects.keys()  # each object, and so each path, has one layer
    assert set(written.mapping.values()) <= written.layers.keys()


def _assert_carried(carried, before, components):
    """Each component of today, and each name of the previous plan, is counted once."""
    if before is None:
        assert carried is None
        return
    assert carried.kept + carried.renamed + carried.joined + carried.new == len(components)
    names = [name for layer in before.layers for name in layer]
    assert carried.kept + carried.renamed + carried.gone + carried.repeated == len(names)
    assert carried.given_up <= carried.layers <= carried.all_layers == len(before.layers)
    assert carried.kept == len({item.name for item in components}.intersection(names))


def _assert_moves(figures, plan, frozen, rebalance):
    """The moves are those between the plan and the one in which nothing moves; `auto` moves only what pays."""
    stay = [max((len(set(names).intersection(old)) for old in frozen.layers), default=0) for names in plan.layers]
    assert figures.moved == sum(map(len, plan.layers)) - sum(stay)
    assert figures.once_bytes >= 0
    if rebalance == "never":
        assert plan == frozen
    if set(plan.layers) == set(frozen.layers):
        assert (figures.moved, figures.once_bytes) == (0, 0)
    if rebalance == "auto":
        assert figures.weekly_bytes_after <= figures.weekly_bytes_before * (1 + 1e-9)


def _read(name):
    """The previous plan, which is an error if it is required and tells nothing."""
    previous = read_previous_plan(name)
    try:
        required = read_previous_plan(name, required=True)
    except OstrataError:
        assert previous.told_by is None
        assert previous.notes
    else:
        assert required == previous
    return previous


# Yesterday and today


def _system(chance):
    return [_component(chance, name) for name in chance.sample(NAMES, chance.randrange(1, len(NAMES)))]


def _component(chance, name):
    made = component(
        name,
        chance.choice((0, 1, 10, 5000, 1 << 40)),
        *(chance.randrange(-900, 9) for _ in range(chance.randrange(4))),
        source=chance.choice("st") if _happens(chance, 40) else None,
    )
    if _happens(chance, 5):
        return replace(made, exclusive=chance.choice((name, "one")))
    return replace(made, interval=chance.choice((0.5, 7.0, 1e9))) if _happens(chance, 10) else made


def _plan_of_yesterday(chance, components):
    layers = chance.randrange(1, 12) + sum(item.exclusive is not None for item in components)
    return planner(chance.choice(list(STRATEGIES))).plan(components, layers, day(-7))


def _of_today(chance, components):
    left = [item for item in components if not _happens(chance, 20)] or components[:1]
    resized = [replace(item, compressed_size=chance.randrange(9999)) if _happens(chance, 30) else item for item in left]
    known = {item.name for item in resized}
    return resized + [_component(chance, name) for name in NAMES if name not in known and _happens(chance, 20)]


def _packages(chance, component):
    names = {component.name, f"lib{component.name}"} if _happens(chance, 50) else set()
    return [Package(name, chance.choice(("1-1", "1-2")), "amd64", component.name, ()) for name in sorted(names)]


# What the previous image says


def _publish(chance, place, plan, components):
    """The name of an image, or of a contentmeta file, that tells of `plan` as well as it can."""
    kind = chance.choice(KINDS)
    layers = [names for names in plan.layers if names]
    if kind == "missing":
        return chance.choice((str(place / "none.json"), f"oci:{place}/none:1"))
    if kind == "file":
        objects = {f"{position:064x}": item.name for position, item in enumerate(components)}
        place.mkdir()
        data = contentmeta_codec.encode(plan_contentmeta(ComponentPlan(tuple(layers)), objects))
        (place / "plan.json").write_bytes(_spoil(chance, data))
        return str(place / "plan.json")
    tars = [bytes(1024 + 512 * number) for number in range(len(layers) + 1)]
    image = tar_image(place, tars, labels=_labels(chance, kind, layers, [digest(tar) for tar in tars]))
    if kind == "annotations":
        for entry, names in zip(image.manifest["layers"][1:], layers, strict=True):
            entry["annotations"] = {"ostree.components": _maybe_cut(chance, ",".join(names))}
    if _happens(chance, 10):
        image.manifest["layers"].pop()
    return image.write().reference


def _labels(chance, kind, layers, diff_ids):
    labels = {}
    if kind == "ours":
        told = zip(diff_ids, ["", *map(",".join, layers)], strict=True)
        labels |= plan_label.encode(
            [CarriedLayer(f"l{n}", name, "0" * 64, Digest.parse(tar), 1) for n, (tar, name) in enumerate(told)]
        )
    if kind == "rechunk":
        told = tuple(tuple(names) for names in layers)
        labels[rechunk_label.LABEL] = rechunk_label.encode(RechunkInfo(told, dict.fromkeys(NAMES, "1-1")))
    if kind == "foreign":
        told = [
            chance.choices(FOREIGN, k=chance.randrange(4))
            for _ in range(chance.randrange(700 if _happens(chance, 5) else 9))
        ]
        labels[rechunk_label.LABEL] = json.dumps({"version": 2, "layers": told, "packages": {"a": "1-1"}})
    if _happens(chance, 50):
        labels[CLOCK] = chance.choice(
            ("2023-12-25", "2099-01-01", "1960-02-30", "9999-12-31", date.min.isoformat(), "x")
        )
    return {key: _maybe_cut(chance, text) for key, text in labels.items()}


def _happens(chance, percent):
    """Drawn as a whole number: fractions are drawn from the ends mostly. The simplest draw is that it does not."""
    return chance.randrange(100) >= 100 - percent


def _maybe_cut(chance, text):
    return text[: chance.randrange(len(text) + 1)] if _happens(chance, 10) else text


def _spoil(chance, data):
    if not _happens(chance, 20):
        return data
    at = chance.randrange(len(data))
    return data[:at] + (b"" if _happens(chance, 50) else bytes([chance.randrange(256)]) + data[at + 1 :])
