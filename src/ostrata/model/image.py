"""OCI images as values (image-spec 1.1: descriptor.md, manifest.md, config.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ostrata.model.digest import Digest

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_TAR = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
REF_NAME = "org.opencontainers.image.ref.name"

OCI_MEDIA_TYPE = {DOCKER_LAYER_TAR: LAYER_TAR, DOCKER_LAYER_GZIP: LAYER_GZIP}
"""Docker's layer media types and the OCI ones that name the same bytes."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What names a blob. `size` is in bytes."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Platform:
    """Go's names: amd64, arm64, ...; linux."""

    architecture: str
    os: str = "linux"


@dataclass(frozen=True, slots=True)
class Layer:
    """A finished layer. `diff_id` is the digest of its tar, `size` that tar's length in bytes."""

    descriptor: Descriptor
    diff_id: Digest
    created_by: str


@dataclass(frozen=True, slots=True)
class Image:
    """An image to be written: `container_config` is the config's ``config`` object, kept key by key.

    `created` is RFC 3339; it is also the creation time of every history entry, so that digests repeat.
    """

    platform: Platform
    created: str
    layers: tuple[Layer, ...]
    container_config: Mapping[str, Any] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest as read: unknown keys are not kept."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Config:
    """An image config as read. `history` keeps (created_by, empty_layer) pairs; `document` the whole JSON
    object."""

    platform: Platform
    created: str | None
    labels: Mapping[str, str]
    diff_ids: tuple[Digest, ...]
    history: tuple[tuple[str, bool], ...]
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A manifest's descriptor in an index, with its platform when given."""

    descriptor: Descriptor
    platform: Platform | None = None

    @property
    def tag(self) -> str | None:
        return self.descriptor.annotations.get(REF_NAME)


@dataclass(frozen=True, slots=True)
class Index:
    """An index as read: `document` is the whole JSON object, `entries` those of its manifests that we can
    name."""

    entries: tuple[IndexEntry, ...]
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image that is in a store: the manifest's descriptor, what it says, and the layers it joins."""

    descriptor: Descriptor
    manifest: Manifest
    config: Config
    layers: tuple[Layer, ...]
