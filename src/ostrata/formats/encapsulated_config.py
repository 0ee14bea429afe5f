"""What an encapsulated image says about itself: labels, annotations, command, history (ostree-rs-ext, encapsulate.rs).

Labels, later ones win: the base config's; those made of the commit's metadata; ``org.opencontainers.image.created``;
the contentmeta file's; the command line's. The manifest's annotations hold all of them but the base config's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ostrata.codecs import json
from ostrata.codecs.timestamps import format_rfc3339
from ostrata.errors import MalformedError, NotFoundError, PlanError, escape, within
from ostrata.model.ostree import Commit, CommitTree

COMMIT = "ostree.commit"
FINAL_DIFF_ID = "ostree.final-diffid"
CREATED = "org.opencontainers.image.created"
VERSION = "org.opencontainers.image.version"
BOOTC = "containers.bootc"
COMPONENTS = "ostree.components"
"""The annotation of a chunk layer: the name of what is in it."""
RESERVED_LAYER = "Reserved for new packages"

OURS = frozenset({COMMIT, FINAL_DIFF_ID, "ostrata.plan", "ostrata.recipes"})
"""Labels that say what the image is; nobody else can set them."""


@dataclass(frozen=True, slots=True)
class ConfigOptions:
    """What the user says about the image.

    `labels`: (key, value), or (key, None) to remove one; `base` is an image config's ``config`` object; `copymeta`
    names keys of the commit's metadata that must be there, `copymeta_optional` keys that may be; `created` is RFC 3339.
    """

    created: str | None = None
    labels: tuple[tuple[str, str | None], ...] = ()
    base: Mapping[str, Any] = field(default_factory=dict)
    copymeta: tuple[str, ...] = ()
    copymeta_optional: tuple[str, ...] = ()
    cmd: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class ImageText:
    """All of it decided: `labels` are the image's own ones, `container_config` has the base config's too."""

    created: str
    labels: Mapping[str, str]
    container_config: Mapping[str, Any]


def describe(
    commit: CommitTree, options: ConfigOptions, file_created: str | None, file_labels: Mapping[str, str]
) -> ImageText:
    """The image's labels and config; `file_created` and `file_labels` come from the contentmeta file.

    Raises: NotFoundError for a copymeta key the commit lacks, MalformedError for one that is no string, PlanError for
    labels that only ostrata sets.
    """
    created = options.created or file_created or format_rfc3339(commit.commit.timestamp)
    labels = _commit_labels(commit, options) | {CREATED: created} | dict(file_labels)
    _refuse_ours(file_labels, "the contentmeta file")
    _refuse_ours(dict(options.labels), "a command-line label")
    config = dict(options.base)
    base_labels = _without_ours(config.get("Labels") or {})
    for key, value in options.labels:
        if value is None:
            labels.pop(key, None)
            base_labels.pop(key, None)
        else:
            labels[key] = value
    config["Labels"] = base_labels | labels
    cmd = options.cmd if options.cmd is not None else _command(commit.commit)
    if cmd is not None:
        config["Cmd"] = list(cmd)
    with within("the image's config"):
        json.encode_canonical(config)  # what cannot be written is found before the layers are
    return ImageText(created, labels, config)


def with_labels(text: ImageText, more: Mapping[str, str], *, config_only: Mapping[str, str]) -> ImageText:
    """The same with `more` labels; those of `config_only` do not become annotations."""
    config = dict(text.container_config)
    config["Labels"] = config["Labels"] | dict(more) | dict(config_only)
    return ImageText(text.created, dict(text.labels) | dict(more), config)


def ostree_layer_history(commit: CommitTree) -> str:
    """The history line of layer 0."""
    return commit.commit.subject or f"ostree export of commit {commit.checksum}"


def _commit_labels(commit: CommitTree, options: ConfigOptions) -> dict[str, str]:
    metadata = commit.commit
    labels: dict[str, str] = {}
    for key in options.copymeta:
        value = _string(metadata, key)
        if value is None:
            raise NotFoundError(f"the commit has no metadata '{escape(key)}'", hint=_metadata_hint(metadata))
        labels[key] = value
    for key in options.copymeta_optional:
        value = _string(metadata, key)
        if value is not None:
            labels[key] = value
    labels = _without_ours(labels)
    bootable = metadata.metadata.get("ostree.bootable")
    if bootable is not None:
        if not isinstance(bootable.value, bool):
            raise MalformedError("the commit's metadata 'ostree.bootable' is not a boolean")
        labels["ostree.bootable"] = "true" if bootable.value else "false"
        labels[BOOTC] = "1"
    for key, label in (("ostree.linux", "ostree.linux"), ("version", VERSION)):
        value = _string(metadata, key)
        if value is not None:
            labels[label] = value
    labels[COMMIT] = commit.checksum
    return labels


def _string(commit: Commit, key: str) -> str | None:
    variant = commit.metadata.get(key)
    if variant is None:
        return None
    if variant.type != "s":
        raise MalformedError(
            f"expected a string as the commit's metadata '{escape(key)}', found the type {escape(variant.type)}"
        )
    return str(variant.value)


def _command(commit: Commit) -> tuple[str, ...] | None:
    variant = commit.metadata.get("ostree.container-cmd")
    if variant is None:
        return None
    if variant.type != "as":
        raise MalformedError("the commit's metadata 'ostree.container-cmd' is not a list of strings")
    return tuple(variant.value)


def _metadata_hint(commit: Commit) -> str:
    keys = ", ".join(escape(key) for key in commit.metadata)
    return f"its metadata: {keys}" if keys else "it has no metadata"


def _without_ours(labels: Mapping[str, str]) -> dict[str, str]:
    """What another image says of itself is not true of this one."""
    return {key: value for key, value in labels.items() if key not in OURS}


def _refuse_ours(labels: Mapping[str, object], who: str) -> None:
    for key in labels:
        if key in OURS:
            raise PlanError(f"{who} sets '{key}', which says what the image is and is set by ostrata")
