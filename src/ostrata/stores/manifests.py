"""An image's manifest, and its config when that is asked for; never a layer.

From a layout or archive it is read as it lies there. From other places skopeo prints it as the registry has it
(``skopeo inspect --raw``); the manifest of one platform is then fetched by its digest and compared with it.
"""

from __future__ import annotations

import re
from dataclasses import replace

from ostrata.codecs import json, oci
from ostrata.errors import DigestMismatchError, MalformedError, NotFoundError, UnsupportedError, within
from ostrata.model.digest import Digest
from ostrata.model.image import (
    DOCKER_MANIFEST,
    DOCKER_MANIFEST_LIST,
    INDEX,
    MANIFEST,
    Config,
    Descriptor,
    Manifest,
    Platform,
)
from ostrata.stores.blobs import read_blob
from ostrata.stores.images import choose_entry, find_manifest, open_store
from ostrata.stores.reference import ImageReference
from ostrata.stores.skopeo import SkopeoOptions, run_skopeo, without_secrets

_REGISTRY = "docker"
_NAME = re.compile(r"(//[^@]*?)(:[^/@:]*)?(@[^@]*)?")


def read_manifest(
    reference: ImageReference,
    *,
    platform: Platform | None = None,
    skopeo: SkopeoOptions | None = None,
    program: str = "skopeo",
) -> tuple[Digest, Manifest]:
    """The manifest that `reference` names, and its digest; of an index, that of `platform` or the only one.

    `program` is skopeo's name or path. Raises: NotFoundError, MalformedError, UnsupportedError, DigestMismatchError,
    LimitError; TransferError with what skopeo says.
    """
    with within(without_secrets(str(reference))):
        if not reference.is_native:
            return _ask(reference, platform, skopeo or SkopeoOptions(), program)
        store = open_store(reference)
        found = find_manifest(store, tag=reference.tag, platform=platform)
        return found.digest, oci.decode_manifest(read_blob(store, found.digest, oci.MAX_DOCUMENT), found.media_type)


def read_config(
    reference: ImageReference,
    digest: Digest,
    manifest: Manifest,
    *,
    skopeo: SkopeoOptions | None = None,
    program: str = "skopeo",
) -> Config:
    """The config of the image in a place that only skopeo reaches; `digest` is its manifest's.

    Raises: as `read_manifest`.
    """
    with within(without_secrets(str(reference))):
        named = reference
        if reference.transport == _REGISTRY:
            named = _with_digest(reference, Descriptor(MANIFEST, digest, 0))
        data = _inspect(named, skopeo or SkopeoOptions(), program, "--config")
        if Digest.of(data) != manifest.config.digest:
            raise DigestMismatchError(f"expected the config {manifest.config.digest}, found {Digest.of(data)}")
        return oci.decode_config(data)


def _ask(
    reference: ImageReference, platform: Platform | None, options: SkopeoOptions, program: str
) -> tuple[Digest, Manifest]:
    data = _inspect(reference, options, program)
    media_type = _media_type(data)
    if media_type in (INDEX, DOCKER_MANIFEST_LIST):
        entry = choose_entry(list(oci.decode_index(data).entries), platform)
        data = _inspect(_with_digest(reference, entry.descriptor), options, program)
        if Digest.of(data) != entry.descriptor.digest:
            raise DigestMismatchError(f"expected the manifest {entry.descriptor.digest}, found {Digest.of(data)}")
        media_type = entry.descriptor.media_type
    return Digest.of(data), oci.decode_manifest(data, media_type)


def _inspect(reference: ImageReference, options: SkopeoOptions, program: str, *more: str) -> bytes:
    missing = NotFoundError("skopeo is needed to read this manifest and is not installed", hint="install skopeo")
    words = [word.replace("--src-", "--") for word in options.arguments()]  # `inspect` has one place only
    arguments = ["inspect", "--raw", *more, *words, "--", str(reference)]
    return run_skopeo(program, arguments, where="skopeo inspect", missing=missing)


def _media_type(data: bytes) -> str:
    """What the document says it is; documents without a word are told apart by their members."""
    document = json.decode(data, what="manifest", limit=oci.MAX_DOCUMENT)
    if not isinstance(document, dict):
        raise MalformedError("expected an object as manifest")
    stated = document.get("mediaType")
    if stated in (INDEX, DOCKER_MANIFEST_LIST, MANIFEST, DOCKER_MANIFEST):
        return str(stated)
    return INDEX if "manifests" in document else MANIFEST


def _with_digest(reference: ImageReference, descriptor: Descriptor) -> ImageReference:
    match = _NAME.fullmatch(reference.path)
    if reference.transport != _REGISTRY or match is None:
        raise UnsupportedError("an index in a place where manifests have no names")
    return replace(reference, path=f"{match[1]}@{descriptor.digest}")
