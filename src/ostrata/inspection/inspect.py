"""What an image consists of, from its manifest and config alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ostrata.model.digest import Digest
from ostrata.model.image import StoredImage

OSTREE = "ostree"
CHUNK = "chunk"
DERIVED = "derived"
PLAIN = "plain"

_COMPONENTS = ("ostree.components", "ostrata.components")
_COMMIT = "ostree.commit"
_FINAL_DIFF_ID = "ostree.final-diffid"


@dataclass(frozen=True, slots=True)
class LayerSummary:
    """A layer: `kind` is OSTREE (the first of an encapsulated image), CHUNK, DERIVED (on top of those) or PLAIN.

    `name` is its history line, `components` what it says to hold; `share` is its part of all layers' bytes.
    """

    digest: Digest
    diff_id: Digest
    media_type: str
    size: int
    share: float
    kind: str
    name: str
    components: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImageSummary:
    """An image: sizes in bytes, `commit` when it is an encapsulated one."""

    digest: Digest
    architecture: str
    os: str
    created: str | None
    commit: str | None
    size: int
    labels: Mapping[str, str]
    layers: tuple[LayerSummary, ...]


def summarise(image: StoredImage) -> ImageSummary:
    """The summary of `image`; no layer is read."""
    total = sum(layer.descriptor.size for layer in image.layers)
    labels = image.config.labels
    kinds = _kinds(image, labels.get(_FINAL_DIFF_ID))
    layers = tuple(
        LayerSummary(
            layer.descriptor.digest,
            layer.diff_id,
            layer.descriptor.media_type,
            layer.descriptor.size,
            layer.descriptor.size / total if total else 0.0,
            kind,
            layer.created_by,
            named_components(layer.descriptor.annotations),
        )
        for layer, kind in zip(image.layers, kinds, strict=True)
    )
    platform = image.config.platform
    return ImageSummary(
        image.descriptor.digest,
        platform.architecture,
        platform.os,
        image.config.created,
        labels.get(_COMMIT),
        total,
        labels,
        layers,
    )


def named_components(annotations: Mapping[str, str]) -> tuple[str, ...]:
    """What a layer says to hold, in an encapsulated image or in a plain one."""
    text = next((annotations[key] for key in _COMPONENTS if key in annotations), "")
    return tuple(name for name in text.split(",") if name)


def _kinds(image: StoredImage, final: str | None) -> list[str]:
    diff_ids = [str(layer.diff_id) for layer in image.layers]
    if final is None or final not in diff_ids:
        return [PLAIN] * len(diff_ids)
    last = diff_ids.index(final)
    return [OSTREE if i == 0 else CHUNK if i <= last else DERIVED for i in range(len(diff_ids))]
