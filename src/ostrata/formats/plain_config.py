"""What a plain image says about itself: the configuration of its source, kept, with what is true of this image alone.

The source's config is kept key by key, unknown ones included, as are the annotations of its manifest. Replaced are:

* ``rootfs`` and ``history``, which tell of layers: they tell of the new ones. Lines of layers that are kept stay.
* ``created``, ``architecture`` and ``os``; and the label and the annotation ``org.opencontainers.image.created`` where
  there is one.

Removed are labels and annotations about how the source was made, which would be wrong here:

* ``ostree.*`` and ``rpmostree.inputhash``: an encapsulated image has them, and a reader that finds them looks for a
  repository;
* ``ostrata.*`` and ``dev.hhd.rechunk.info``, which say what is in which layer.

Where the layers of an encapsulated base stay (its ``ostree.final-diffid`` tells the last of them), what ``ostree.*``
says stays true, and stays. ``containers.bootc`` stays what the source says: it is about what is in the tree. Then come
the plan's labels and those that the user sets or removes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ostrata.codecs import json, oci
from ostrata.errors import PlanError, escape, within
from ostrata.model.digest import Digest
from ostrata.model.image import Layer, Platform

COMPONENTS = "ostrata.components"
"""The annotation of a layer: the names of what is in it, with commas between."""
CREATED = "org.opencontainers.image.created"
FINAL_DIFF_ID = "ostree.final-diffid"

_OURS = "ostrata."
_OSTREE = "ostree."
_REMOVED = frozenset({"rpmostree.inputhash", "dev.hhd.rechunk.info"})

Settings = tuple[tuple[str, str | None], ...]
"""(key, value), or (key, None) to remove one; later ones win."""


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """What is decided about an image beside its layers. `created` is RFC 3339.

    `plan_labels` are the plan's own; `labels` and `annotations` are the user's. `cmd` and `entrypoint` replace the
    source's. `kept_layers` are the diff_ids of a base whose layers stay.
    """

    created: str
    platform: Platform
    plan_labels: Mapping[str, str]
    labels: Settings = ()
    annotations: Settings = ()
    cmd: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    kept_layers: tuple[Digest, ...] = ()


def describe(source: bytes | None, settings: ImageSettings) -> dict[str, Any]:
    """The config document without ``rootfs`` and ``history``; `source` is the source image's config.

    Raises: MalformedError, LimitError for a source's config that is none; PlanError for labels that only ostrata sets.
    """
    document = dict(oci.decode_config(source).document) if source is not None else {}
    config = dict(document.get("config") or {})
    config["Labels"] = _labels(config.get("Labels") or {}, settings)
    if settings.cmd is not None:
        config["Cmd"] = list(settings.cmd)
    if settings.entrypoint is not None:
        config["Entrypoint"] = list(settings.entrypoint)
    document["config"] = config
    document["created"] = settings.created
    if (document.get("architecture"), document.get("os")) != (settings.platform.architecture, settings.platform.os):
        document.pop("variant", None)  # of the other architecture
    document["architecture"], document["os"] = settings.platform.architecture, settings.platform.os
    with within("the image's config"):
        json.encode_canonical(document, allow_floats=True)  # what cannot be written is found before the layers are
    return document


def annotate(source: Mapping[str, str], settings: ImageSettings) -> dict[str, str]:
    """The annotations of the manifest; `source` are those of the source's. Raises: PlanError."""
    _refuse_ours(settings.annotations, "annotation")
    annotations = _set(_kept(source, settings), settings.annotations)
    with within("the image's annotations"):
        json.encode_canonical(annotations)
    return annotations


def encode_config(
    document: Mapping[str, Any],
    layers: Sequence[Layer],
    labels: Mapping[str, str],
    kept: Sequence[Mapping[str, Any]] = (),
) -> bytes:
    """The config blob of an image with `layers`; `labels` come on top. `kept` are history entries that stay, of the
    lowest layers. Raises: MalformedError."""
    above = layers[sum(not entry.get("empty_layer") for entry in kept) :]
    created = document["created"]
    history = [*kept, *({"created": created, "created_by": layer.created_by} for layer in above)]
    config = {**document["config"], "Labels": {**document["config"]["Labels"], **labels}}
    rootfs = {"diff_ids": [str(layer.diff_id) for layer in layers], "type": "layers"}
    whole = {**document, "config": config, "history": history, "rootfs": rootfs}
    with within("config"):
        return json.encode_canonical(whole, allow_floats=True)


def history_of(source: bytes, layers: Sequence[Layer]) -> list[dict[str, Any]]:
    """The history entries of an image that is kept; made up where its history does not fit its layers."""
    config = oci.decode_config(source)
    entries = [dict(entry) for entry in config.document.get("history") or ()]
    if sum(not entry.get("empty_layer") for entry in entries) == len(layers):
        return entries
    return [{"created_by": layer.created_by} for layer in layers]


def _labels(source: Mapping[str, str], settings: ImageSettings) -> dict[str, str]:
    _refuse_ours(settings.labels, "label")
    return _set({**_kept(source, settings), **settings.plan_labels}, settings.labels)


def _kept(source: Mapping[str, str], settings: ImageSettings) -> dict[str, str]:
    is_kept = source.get(FINAL_DIFF_ID, "") in {str(diff_id) for diff_id in settings.kept_layers}
    removed = (_OURS,) if is_kept else (_OURS, _OSTREE)
    kept = {key: value for key, value in source.items() if not key.startswith(removed) and key not in _REMOVED}
    if CREATED in kept:
        kept[CREATED] = settings.created
    return kept


def _set(values: dict[str, str], settings: Iterable[tuple[str, str | None]]) -> dict[str, str]:
    for key, value in settings:
        if value is None:
            values.pop(key, None)
        else:
            values[key] = value
    return values


def _refuse_ours(settings: Iterable[tuple[str, str | None]], what: str) -> None:
    for key, value in settings:
        if value is not None and key.startswith(_OURS):
            raise PlanError(f"the {what} '{escape(key)}' says how the image was made and is set by ostrata alone")
