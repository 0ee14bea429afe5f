"""A docker archive (`docker save`, `podman save`), read where it lies: a tar with manifest.json, configs and layers.

``manifest.json`` is a list of ``{"Config": NAME, "RepoTags": [...], "Layers": [NAME, ...]}``. There is no OCI manifest
and layers have no digests but the diff_ids in the config, which are those of their tars. Layers are uncompressed as a
rule; one in gzip or zstd, as docker writes them out of containerd's image store, is called by the digest of what lies
in the archive. A layer that is there already, perhaps in another image, may be named by a link to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from ostrata.codecs import json, oci
from ostrata.errors import LimitError, MalformedError, NotFoundError, escape, within
from ostrata.model.digest import Digest
from ostrata.model.image import (
    DOCKER_CONFIG,
    DOCKER_LAYER_GZIP,
    DOCKER_LAYER_TAR,
    DOCKER_MANIFEST,
    LAYER_ZSTD,
    Descriptor,
    Index,
    Layer,
    Manifest,
    StoredImage,
)
from ostrata.stores.blobs import missing_blob
from ostrata.stores.files import COPY_PIECE, open_region, open_regular
from ostrata.stores.oci_archive import Member, list_members, refuse_compressed

MANIFEST_FILE = "manifest.json"
_COMPRESSED = {b"\x1f\x8b": DOCKER_LAYER_GZIP, b"\x28\xb5\x2f\xfd": LAYER_ZSTD}


@dataclass(frozen=True, slots=True)
class DockerArchive:
    """The blobs of one image of an archive, by digest; a `BlobStore`. Open it with `open_docker_archive`."""

    path: str
    blobs: Mapping[Digest, Member]

    def index(self) -> Index:
        """There is none: an archive has no OCI manifests."""
        return Index((), {})

    def open_blob(self, digest: Digest) -> BinaryIO:
        """The blob's bytes, not verified. Raises: NotFoundError, AccessError."""
        member = self.blob_member(digest)
        if member is None:
            raise missing_blob()
        return open_region(open_regular(self.path), member.offset, member.size)

    def blob_size(self, digest: Digest) -> int | None:
        """In bytes; None when the blob is not there."""
        member = self.blob_member(digest)
        return None if member is None else member.size

    def blob_path(self, digest: Digest) -> str | None:
        """None: a blob in an archive is not a file."""
        return None

    def blob_member(self, digest: Digest) -> Member | None:
        """Where the blob lies; None when it is not there."""
        return self.blobs.get(digest)


def open_docker_archive(path: str, tag: str | None = None) -> tuple[DockerArchive, StoredImage]:
    """The image with that tag, ``NAME:TAG``, or the only one. Its descriptor is the config's: it has no manifest.

    Raises: NotFoundError, AccessError; MalformedError for what is no such archive; UnsupportedError for one that is
    compressed as a whole; LimitError.
    """
    with open(open_regular(path), "rb") as file, within(escape(path)):
        refuse_compressed(file)
        links: dict[str, str] = {}
        members = list_members(file, links)
        members = {name: members[target] for name, target in links.items() if target in members} | members
        documents = json.decode(_read(file, members, MANIFEST_FILE), what=MANIFEST_FILE, limit=oci.MAX_DOCUMENT)
        document = _choose(documents, tag)
        data = _read(file, members, document["Config"])
        with within("the config"):
            config = oci.decode_config(data)
        names = document["Layers"]
        if len(names) != len(config.diff_ids):
            raise MalformedError(f"expected {len(config.diff_ids)} layers, as the config has, found {len(names)}")
        blobs = {Digest.of(data): _member(members, document["Config"])}
        layers = []
        for name, diff_id in zip(names, config.diff_ids, strict=True):
            member = _member(members, name)
            layer = _describe_layer(path, member, diff_id)
            blobs[layer.descriptor.digest] = member
            layers.append(layer)
        descriptor = Descriptor(DOCKER_CONFIG, Digest.of(data), len(data))
        manifest = Manifest(DOCKER_MANIFEST, descriptor, tuple(layer.descriptor for layer in layers))
        return DockerArchive(path, blobs), StoredImage(descriptor, manifest, config, tuple(layers))


def _choose(documents: Any, tag: str | None) -> dict[str, Any]:
    if not (isinstance(documents, list) and all(map(_is_document, documents))):
        raise MalformedError("expected a list of images with 'Config' and 'Layers'", where=MANIFEST_FILE)
    chosen = [document for document in documents if tag is None or tag in (document.get("RepoTags") or ())]
    if len(chosen) != 1:
        tags = sorted(escape(name) for document in documents for name in document.get("RepoTags") or ())
        wanted = "one image" if tag is None else f"one image with the tag '{escape(tag)}'"
        hint = f"tags here: {', '.join(tags)}" if tags else "no image here has a tag"
        raise NotFoundError(f"expected {wanted}, found {len(chosen)}", hint=hint)
    return dict(chosen[0])


def _is_document(document: Any) -> bool:
    return (
        isinstance(document, dict)
        and isinstance(document.get("Config"), str)
        and _is_names(document.get("Layers"))
        and _is_names(document.get("RepoTags") or [])
    )


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _member(members: Mapping[str, Member], name: str) -> Member:
    member = members.get(name)
    if member is None:
        raise NotFoundError(f"the archive has no file {escape(name)}")
    return member


def _read(file: BinaryIO, members: Mapping[str, Member], name: str) -> bytes:
    member = _member(members, name)
    if member.size > oci.MAX_DOCUMENT:
        raise LimitError(f"expected at most {oci.MAX_DOCUMENT:,} bytes, found {member.size:,}", where=escape(name))
    file.seek(member.offset)
    return file.read(member.size)


def _describe_layer(path: str, member: Member, diff_id: Digest) -> Layer:
    """A compressed layer is read once for its digest."""
    with open_region(open_regular(path), member.offset, member.size) as blob:
        start = blob.read(4)
        media_type = next((kind for magic, kind in _COMPRESSED.items() if start.startswith(magic)), DOCKER_LAYER_TAR)
        digest = diff_id if media_type == DOCKER_LAYER_TAR else _digest(start, blob)
    return Layer(Descriptor(media_type, digest, member.size), diff_id, "")


def _digest(start: bytes, rest: BinaryIO) -> Digest:
    hasher = hashlib.sha256(start)
    while piece := rest.read(COPY_PIECE):
        hasher.update(piece)
    return Digest("sha256", hasher.hexdigest())
