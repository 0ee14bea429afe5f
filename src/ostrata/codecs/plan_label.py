"""The labels in which an image carries its own plan and the recipes of its layers.

They live in the config: annotations are lost by pushes and conversions, config labels are not. Two labels, together
at most BUDGET bytes:

* ``ostrata.plan``: base64 of a zlib stream of JSON, ``{"version": 1, "layers": [[id, name], ...]}``, in image order.
* ``ostrata.recipes``: base64 of one token of 16 bytes per layer: 12 of its recipe, 4 of its diff_id.

Names that do not fit are left out, and recipes too, those of the smallest layers first: what is missing costs a later
build time, never correctness. What is read back comes from an image, so from anybody: it is checked, bounded, and
believed only where the diff_id stands in that image's own rootfs.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import deflate

from ostrata.codecs import json
from ostrata.errors import MalformedError
from ostrata.model.digest import Digest

PLAN = "ostrata.plan"
RECIPES = "ostrata.recipes"
BUDGET = 48 * 1024
"""Bytes of both labels' values together."""

_RECIPE_BYTES = 12
_DIFF_ID_BYTES = 4
_TOKEN_BYTES = _RECIPE_BYTES + _DIFF_ID_BYTES
_MAX_PLAN = 4 << 20
_LEVEL = 9  # of libdeflate: Python's zlib is the distribution's, and digests must not depend on that


@dataclass(frozen=True, slots=True)
class CarriedLayer:
    """A layer as a plan label knows it; `size` (bytes of its tar) decides which recipes are kept.

    `recipe` is empty where there is none.
    """

    id: str
    name: str
    recipe: str
    diff_id: Digest
    size: int


@dataclass(frozen=True, slots=True)
class CarriedPlan:
    """What an image's labels say: (id, name) of its layers, and diff_ids by shortened recipe."""

    layers: tuple[tuple[str, str], ...]
    diff_ids: Mapping[bytes, Digest]

    def diff_id(self, recipe: str) -> Digest | None:
        """The diff_id of the layer made by `recipe` (64 hex digits), when the image has it."""
        return self.diff_ids.get(bytes.fromhex(recipe)[:_RECIPE_BYTES])


def encode(layers: Sequence[CarriedLayer]) -> dict[str, str]:
    """The labels that carry `layers`; fewer than two of them when they do not fit."""
    labels = {}
    plan = _encode_plan(layers)
    if len(plan) <= BUDGET:
        labels[PLAN] = plan
    recipes = _encode_recipes(layers, BUDGET - sum(map(len, labels.values())))
    if recipes:
        labels[RECIPES] = recipes
    return labels


def _encode_plan(layers: Sequence[CarriedLayer]) -> str:
    document = {"version": 1, "layers": [[layer.id, layer.name] for layer in layers]}
    return base64.b64encode(deflate.zlib_compress(json.encode_canonical(document), _LEVEL)).decode("ascii")


def _encode_recipes(layers: Sequence[CarriedLayer], budget: int) -> str:
    room = budget // 4 * 3 // _TOKEN_BYTES
    known = [index for index, layer in enumerate(layers) if layer.recipe]
    largest = sorted(known, key=lambda index: -layers[index].size)[:room]
    tokens = [_token(layers[index]) for index in sorted(largest)]
    return base64.b64encode(b"".join(tokens)).decode("ascii")


def _token(layer: CarriedLayer) -> bytes:
    return bytes.fromhex(layer.recipe)[:_RECIPE_BYTES] + bytes.fromhex(layer.diff_id.encoded)[:_DIFF_ID_BYTES]


def decode(labels: Mapping[str, str], diff_ids: Iterable[Digest]) -> CarriedPlan:
    """What `labels` say about an image with these `diff_ids`.

    Raises: MalformedError for labels that are there and damaged.
    """
    return CarriedPlan(_decode_plan(labels.get(PLAN, "")), _decode_recipes(labels.get(RECIPES, ""), diff_ids))


def _decode_plan(label: str) -> tuple[tuple[str, str], ...]:
    if not label:
        return ()
    document = json.decode(_inflate(_from_base64(PLAN, label)), what=f"label {PLAN}", limit=_MAX_PLAN)
    if not isinstance(document, dict) or document.get("version") != 1:
        raise MalformedError(f"the label {PLAN} is not of version 1")
    layers = document.get("layers")
    if not isinstance(layers, list) or not all(map(_is_pair, layers)):
        raise MalformedError(f"the label {PLAN} does not hold pairs of layer id and name")
    return tuple((identifier, name) for identifier, name in layers)


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(item, str) for item in value)


def _inflate(data: bytes) -> bytes:
    decompressor = zlib.decompressobj()
    try:
        plain = decompressor.decompress(data, _MAX_PLAN)
    except zlib.error as error:
        raise MalformedError(f"the label {PLAN} is damaged: {error}") from None
    if not decompressor.eof or decompressor.unused_data:
        raise MalformedError(f"the label {PLAN} is cut or too large")
    return plain


def _decode_recipes(label: str, diff_ids: Iterable[Digest]) -> dict[bytes, Digest]:
    data = _from_base64(RECIPES, label)
    if len(data) % _TOKEN_BYTES:
        raise MalformedError(f"the label {RECIPES} is cut")
    by_prefix: dict[bytes, Digest] = {}
    ambiguous = set()
    for digest in diff_ids:
        prefix = bytes.fromhex(digest.encoded)[:_DIFF_ID_BYTES]
        if by_prefix.setdefault(prefix, digest) != digest:
            ambiguous.add(prefix)
    for prefix in ambiguous:
        del by_prefix[prefix]
    tokens = (data[start : start + _TOKEN_BYTES] for start in range(0, len(data), _TOKEN_BYTES))
    return {
        token[:_RECIPE_BYTES]: by_prefix[token[_RECIPE_BYTES:]]
        for token in tokens
        if token[_RECIPE_BYTES:] in by_prefix
    }


def _from_base64(name: str, label: str) -> bytes:
    try:
        return base64.b64decode(label, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedError(f"the label {name} is not base64") from None
