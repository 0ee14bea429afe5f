from __future__ import annotations

import base64
import hashlib
import random
import zlib

import pytest

from ostrata.codecs import plan_label
from ostrata.codecs.plan_label import BUDGET, PLAN, RECIPES, CarriedLayer
from ostrata.errors import MalformedError
from ostrata.model.digest import Digest


def layer(number: int, name: str | None = None) -> CarriedLayer:
    recipe = hashlib.sha256(f"recipe {number}".encode()).hexdigest()
    return CarriedLayer(f"id{number}", name or f"layer {number}", recipe, Digest.of(b"%d" % number), number)


def test_plan_and_recipes_come_back() -> None:
    layers = [layer(number) for number in range(100)]
    carried = plan_label.decode(plan_label.encode(layers), [each.diff_id for each in layers])
    assert carried.layers == tuple((each.id, each.name) for each in layers)
    assert all(carried.diff_id(each.recipe) == each.diff_id for each in layers)
    assert carried.diff_id("0" * 64) is None


def test_a_recipe_counts_only_where_the_image_has_its_diff_id() -> None:
    layers = [layer(number) for number in range(3)]
    carried = plan_label.decode(plan_label.encode(layers), [layers[1].diff_id])
    assert [carried.diff_id(each.recipe) for each in layers] == [None, layers[1].diff_id, None]


def test_three_thousand_components_in_a_hundred_layers_fit_whole() -> None:
    chosen = random.Random(4)
    names = ["".join(chosen.choices("abcdefghijklmnop-0123456789", k=chosen.randint(4, 26))) for _ in range(3000)]
    layers = [layer(number, ",".join(names[30 * number : 30 * number + 30])) for number in range(100)]
    labels = plan_label.encode(layers)
    assert sum(map(len, labels.values())) <= BUDGET
    carried = plan_label.decode(labels, [each.diff_id for each in layers])
    assert carried.layers == tuple((each.id, each.name) for each in layers)
    assert all(carried.diff_id(each.recipe) for each in layers)


def test_of_three_thousand_layers_the_smallest_lose_their_recipes() -> None:
    layers = [layer(number, f"package-{number}") for number in range(3000)]
    labels = plan_label.encode(layers)
    assert sum(map(len, labels.values())) <= BUDGET
    carried = plan_label.decode(labels, [each.diff_id for each in layers])
    assert len(carried.layers) == 3000
    kept = [number for number, each in enumerate(layers) if carried.diff_id(each.recipe)]
    assert len(kept) > 1000
    assert kept == list(range(3000 - len(kept), 3000))


def test_names_that_do_not_fit_are_left_out_and_recipes_stay() -> None:
    noise = random.Random(7).randbytes(60_000).hex()
    labels = plan_label.encode([layer(1, noise), layer(2)])
    assert list(labels) == [RECIPES]


def test_an_image_without_the_labels_has_no_plan() -> None:
    carried = plan_label.decode({}, [Digest.of(b"1")])
    assert carried.layers == ()
    assert carried.diff_ids == {}


def test_a_recipe_whose_diff_id_is_ambiguous_is_not_believed() -> None:
    one, two = (Digest("sha256", "12345678" + digit * 56) for digit in "ab")
    labels = plan_label.encode([CarriedLayer("a", "a", "0" * 64, one, 1)])
    assert plan_label.decode(labels, [one, one]).diff_id("0" * 64) == one
    assert plan_label.decode(labels, [one, two]).diff_id("0" * 64) is None


def _plan(document: bytes) -> str:
    return base64.b64encode(zlib.compress(document)).decode()


@pytest.mark.parametrize(
    "labels",
    [
        {PLAN: "no base64!"},
        {PLAN: "AAAA"},
        {PLAN: _plan(b'{"version":1,"layers":[]}')[:-8]},
        {PLAN: _plan(b'{"version":2,"layers":[]}')},
        {PLAN: _plan(b'{"version":1,"layers":[["a"]]}')},
        {PLAN: _plan(b'{"version":1,"layers":{"a":"b"}}')},
        {PLAN: _plan(b"[]")},
        {PLAN: _plan(bytes(64 << 20))},
        {RECIPES: "AAAA"},
        {RECIPES: "é"},
    ],
)
def test_damaged_labels_are_refused(labels: dict[str, str]) -> None:
    with pytest.raises(MalformedError):
        plan_label.decode(labels, [])
