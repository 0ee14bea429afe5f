"""OCI's JSON documents as values (image-spec 1.1), and docker's schema 2 where it is read.

Written: configs and manifests in one canonical form (`json.encode_canonical`), so that equal images have
equal digests. The creation time of every history entry is the config's own; a manifest has no top-level
`mediaType`.

Read: every type, size and digest is checked here. `null` is the same as leaving a member out, as Go writes
it. A manifest that also holds an index's members is refused: two readers would see two images
(CVE-2021-41190).

An index keeps everything that is not replaced: unknown keys, and entries of kinds that we cannot name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ostrata.codecs import json
from ostrata.codecs.json import kind, malformed, show
from ostrata.errors import MalformedError, UnsupportedError, within
from ostrata.model.digest import Digest
from ostrata.model.image import (
    CONFIG,
    DOCKER_MANIFEST,
    DOCKER_MANIFEST_LIST,
    INDEX,
    MANIFEST,
    REF_NAME,
    Config,
    Descriptor,
    Image,
    Index,
    IndexEntry,
    Layer,
    Manifest,
    Platform,
)

MAX_DOCUMENT = 4 * 1024 * 1024
"""Bytes of the largest manifest, config or index: what registries and container tools accept."""

LAYOUT_VERSION = "1.0.0"
EMPTY_INDEX = Index((), {"manifests": [], "schemaVersion": 2})

_MAX_SIZE = (1 << 63) - 1
_MANIFESTS = (MANIFEST, DOCKER_MANIFEST)
_INDEXES = (INDEX, DOCKER_MANIFEST_LIST)


# Writing


def encode_config(image: Image) -> bytes:
    """The config blob. Raises: MalformedError naming a value in `container_config` that is no JSON."""
    document = {
        "architecture": image.platform.architecture,
        "config": image.container_config,
        "created": image.created,
        "history": [{"created": image.created, "created_by": layer.created_by} for layer in image.layers],
        "os": image.platform.os,
        "rootfs": {"diff_ids": [str(layer.diff_id) for layer in image.layers], "type": "layers"},
    }
    with within("config"):
        return json.encode_canonical(document)


def config_descriptor(config: bytes) -> Descriptor:
    """What names the config blob."""
    return Descriptor(CONFIG, Digest.of(config), len(config))


def encode_manifest(image: Image, config: Descriptor) -> bytes:
    """The manifest blob. Raises: MalformedError naming an annotation that is no UTF-8."""
    document: dict[str, Any] = {
        "config": _encode_descriptor(config),
        "layers": [_encode_descriptor(layer.descriptor) for layer in image.layers],
        "schemaVersion": 2,
    }
    if image.annotations:
        document["annotations"] = image.annotations
    with within("manifest"):
        return json.encode_canonical(document)


def encode_index(index: Index) -> bytes:
    """The index as it was read, in canonical form."""
    with within("index"):
        return json.encode_canonical(index.document)


def encode_platforms(images: Sequence[tuple[Descriptor, Platform]]) -> bytes:
    """The index of images for several platforms, in their order."""
    manifests = [_encode_entry(IndexEntry(descriptor, platform)) for descriptor, platform in images]
    with within("index"):
        return json.encode_canonical({"manifests": manifests, "mediaType": INDEX, "schemaVersion": 2})


def encode_layout() -> bytes:
    """The ``oci-layout`` file."""
    return json.encode_canonical({"imageLayoutVersion": LAYOUT_VERSION})


def tagged_entry(descriptor: Descriptor, platform: Platform | None, tag: str | None) -> IndexEntry:
    """The index entry of a manifest, or of an index for several platforms."""
    annotations = {} if tag is None else {REF_NAME: tag}
    named = Descriptor(descriptor.media_type, descriptor.digest, descriptor.size, annotations)
    return IndexEntry(named, platform)


def put_entry(index: Index, entry: IndexEntry) -> Index:
    """`index` with `entry` in place of what had its tag (of the untagged images, if it has none).

    Every other member of the document stays as it is. Untagged entries that are no images (signatures and
    other artifacts) stay too.
    """
    manifests = list(index.document.get("manifests") or ())
    replaced = [position for position, old in enumerate(manifests) if _is_replaced(old, entry.tag)]
    position = replaced[0] if replaced else len(manifests)
    kept = [old for at, old in enumerate(manifests) if at not in replaced]
    kept.insert(position, _encode_entry(entry))
    document = {**index.document, "manifests": kept}
    return Index(_decode_entries(kept), document)


def _is_replaced(old: Mapping[str, Any], tag: str | None) -> bool:
    old_tag = (old.get("annotations") or {}).get(REF_NAME)
    if tag is not None or old_tag is not None:
        return bool(old_tag == tag)
    return old.get("mediaType") in (*_MANIFESTS, *_INDEXES) and not old.get("artifactType")


def _encode_entry(entry: IndexEntry) -> dict[str, Any]:
    encoded = _encode_descriptor(entry.descriptor)
    if entry.platform is not None:
        encoded["platform"] = {"architecture": entry.platform.architecture, "os": entry.platform.os}
    return encoded


def _encode_descriptor(descriptor: Descriptor) -> dict[str, Any]:
    encoded: dict[str, Any] = {
        "digest": str(descriptor.digest),
        "mediaType": descriptor.media_type,
        "size": descriptor.size,
    }
    if descriptor.annotations:
        encoded["annotations"] = dict(descriptor.annotations)
    return encoded


# Reading


def decode_layout(data: bytes) -> None:
    """Check an ``oci-layout`` file. Raises: MalformedError; UnsupportedError for another version."""
    document = _decode_object(data, "oci-layout")
    with within("oci-layout"):
        version = _string(document, "imageLayoutVersion")
        if version != LAYOUT_VERSION:
            raise UnsupportedError(f"expected version {LAYOUT_VERSION}, found {show(version)}")


def decode_index(data: bytes) -> Index:
    """An OCI index or docker manifest list. Raises: MalformedError, UnsupportedError, LimitError."""
    document = _decode_object(data, "index")
    with within("index"):
        _check_head(document, _INDEXES, INDEX)
        if "layers" in document or "config" in document:
            raise MalformedError("expected an index, found the members of a manifest too")
        return Index(_decode_entries(_list(document, "manifests")), document)


def decode_manifest(data: bytes, media_type: str = MANIFEST) -> Manifest:
    """An OCI or docker schema 2 manifest; `media_type` is what its descriptor says.

    Raises: MalformedError, UnsupportedError for something that is no image manifest, LimitError.
    """
    document = _decode_object(data, "manifest")
    with within("manifest"):
        found = _check_head(document, _MANIFESTS, media_type)
        if "manifests" in document:
            raise MalformedError("expected a manifest, found the members of an index too")
        named = _object(document, "config")
        with within("config"):
            config = _decode_descriptor(named)
        layers = [_decode_descriptor_at("layers", *item) for item in enumerate(_list(document, "layers"))]
        return Manifest(found, config, tuple(layers), _strings(document, "annotations"))


def decode_config(data: bytes) -> Config:
    """An OCI or docker image config. Raises: MalformedError, LimitError."""
    document = _decode_object(data, "config", allow_floats=True)
    with within("config"):
        container = _optional_object(document, "config")
        with within("config"):
            labels = _strings(container, "Labels")
        return Config(
            platform=Platform(_string(document, "architecture"), _string(document, "os")),
            created=_optional_string(document, "created"),
            labels=labels,
            diff_ids=_decode_diff_ids(_object(document, "rootfs")),
            history=tuple(_decode_history(document)),
            document=document,
        )


def join_layers(manifest: Manifest, config: Config) -> tuple[Layer, ...]:
    """The layers of manifest and config together. Raises: MalformedError when their counts differ."""
    if len(manifest.layers) != len(config.diff_ids):
        raise MalformedError(
            f"expected as many layers as diff_ids, found {len(manifest.layers)} and {len(config.diff_ids)}"
        )
    authors = [created_by for created_by, empty in config.history if not empty]
    if len(authors) != len(manifest.layers):  # history is optional, and often incomplete
        authors = [""] * len(manifest.layers)
    return tuple(map(Layer, manifest.layers, config.diff_ids, authors))


def _decode_object(data: bytes, what: str, *, allow_floats: bool = False) -> dict[str, Any]:
    document = json.decode(data, what=what, limit=MAX_DOCUMENT, allow_floats=allow_floats)
    if not isinstance(document, dict):
        raise malformed(f"expected an object, found {kind(document)}", what)
    return document


def _check_head(document: Mapping[str, Any], expected: tuple[str, ...], media_type: str) -> str:
    """The media type of a manifest or index; the descriptor's and the document's own must agree."""
    version = document.get("schemaVersion")
    if type(version) is not int:
        raise malformed(f"expected an integer, found {kind(version)}", "schemaVersion")
    if version != 2:
        raise UnsupportedError(f"expected schemaVersion 2, found {version}")
    found = _optional_string(document, "mediaType")
    if found is None:
        found = media_type
    if found not in expected:
        raise UnsupportedError(f"expected the media type {expected[0]}, found {show(found)}")
    if media_type in (*_MANIFESTS, *_INDEXES) and found != media_type and expected is _MANIFESTS:
        raise MalformedError(f"expected the media type {media_type} of its descriptor, found {show(found)}")
    return found


def _decode_entries(manifests: list[Any]) -> tuple[IndexEntry, ...]:
    entries = []
    for position, member in enumerate(manifests):
        with within("manifests"):
            try:
                descriptor = _decode_descriptor_at(None, position, member)
                with within(f"[{position}]"):
                    entries.append(IndexEntry(descriptor, _decode_platform(member)))
            except UnsupportedError:
                continue  # another digest algorithm: kept in the document, but nothing we could read
    return tuple(entries)


def _decode_platform(entry: Mapping[str, Any]) -> Platform | None:
    if entry.get("platform") is None:
        return None
    platform = _object(entry, "platform")
    with within("platform"):
        return Platform(_string(platform, "architecture"), _string(platform, "os"))


def _decode_descriptor_at(list_name: str | None, position: int, member: Any) -> Descriptor:
    place = f"[{position}]" if list_name is None else f"{list_name}[{position}]"
    if not isinstance(member, dict):
        raise malformed(f"expected an object, found {kind(member)}", place)
    with within(place):
        return _decode_descriptor(member)


def _decode_descriptor(document: Mapping[str, Any]) -> Descriptor:
    size = document.get("size")
    if type(size) is not int:
        raise malformed(f"expected an integer, found {kind(size)}", "size")
    if not 0 <= size <= _MAX_SIZE:
        raise malformed(f"expected 0 to {_MAX_SIZE} bytes, found {size}", "size")
    text = _string(document, "digest")
    with within("digest"):
        digest = Digest.parse(text)
    return Descriptor(_string(document, "mediaType"), digest, size, _strings(document, "annotations"))


def _decode_diff_ids(rootfs: Mapping[str, Any]) -> tuple[Digest, ...]:
    with within("rootfs"):
        if _string(rootfs, "type") != "layers":
            raise malformed(f"expected 'layers', found {show(rootfs['type'])}", "type")
        diff_ids = []
        for position, diff_id in enumerate(_list(rootfs, "diff_ids")):
            if not isinstance(diff_id, str):
                raise malformed(f"expected a string, found {kind(diff_id)}", "diff_ids", position)
            with within(f"diff_ids[{position}]"):
                diff_ids.append(Digest.parse(diff_id))
        return tuple(diff_ids)


def _decode_history(document: Mapping[str, Any]) -> list[tuple[str, bool]]:
    history = []
    for position, entry in enumerate(_list(document, "history")):
        if not isinstance(entry, dict):
            raise malformed(f"expected an object, found {kind(entry)}", "history", position)
        with within(f"history[{position}]"):
            empty = entry.get("empty_layer")
            if empty is not None and not isinstance(empty, bool):
                raise malformed(f"expected true or false, found {kind(empty)}", "empty_layer")
            history.append((_optional_string(entry, "created_by") or "", bool(empty)))
    return history


# Members of an object, with their types checked


def _string(document: Mapping[str, Any], key: str) -> str:
    value = _optional_string(document, key)
    if not value:
        raise malformed("expected a string, found nothing", key)
    return value


def _optional_string(document: Mapping[str, Any], key: str) -> str | None:
    value = document.get(key)
    if value is not None and not isinstance(value, str):
        raise malformed(f"expected a string, found {kind(value)}", key)
    return value


def _object(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key)
    if not isinstance(value, dict):
        raise malformed(f"expected an object, found {kind(value)}", key)
    return value


def _optional_object(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {} if document.get(key) is None else _object(document, key)


def _list(document: Mapping[str, Any], key: str) -> list[Any]:
    value = document.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise malformed(f"expected a list, found {kind(value)}", key)
    return value


def _strings(document: Mapping[str, Any], key: str) -> dict[str, str]:
    members = _optional_object(document, key)
    for name, value in members.items():
        if not isinstance(value, str):
            raise malformed(f"expected a string, found {kind(value)}", key, name)
    return members
