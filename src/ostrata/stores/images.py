"""Finding and reading an image in a store: index, manifest, config, each compared with its digest."""

from __future__ import annotations

from ostrata.codecs import oci
from ostrata.errors import MalformedError, NotFoundError, UnsupportedError, escape, within
from ostrata.model.digest import Digest
from ostrata.model.image import (
    DOCKER_MANIFEST_LIST,
    INDEX,
    MANIFEST,
    Descriptor,
    Index,
    IndexEntry,
    Platform,
    StoredImage,
)
from ostrata.stores.blobs import BlobStore, missing_blob, read_blob
from ostrata.stores.oci_archive import open_archive
from ostrata.stores.oci_layout import open_layout
from ostrata.stores.reference import ARCHIVE, LAYOUT, ImageReference

MAX_NESTING = 4
_MAX_LISTED = 20


def open_store(reference: ImageReference) -> BlobStore:
    """The layout or archive of `reference`. Raises: UnsupportedError for another transport."""
    if reference.transport == LAYOUT:
        return open_layout(reference.path)
    if reference.transport == ARCHIVE:
        return open_archive(reference.path)
    raise UnsupportedError(
        f"expected an image in oci: or oci-archive:, found {escape(str(reference))}",
        hint="copy it first: skopeo copy SOURCE oci:PATH:TAG",
    )


def read_image(
    store: BlobStore,
    *,
    tag: str | None = None,
    digest: Digest | None = None,
    platform: Platform | None = None,
) -> StoredImage:
    """The image of that tag, of that manifest digest, or the only one; layers are not looked at.

    Raises: what `find_manifest` raises; DigestMismatchError, MalformedError, LimitError.
    """
    descriptor = find_manifest(store, tag=tag, digest=digest, platform=platform)
    data = _read_named(store, descriptor)
    with within(f"manifest {descriptor.digest}"):
        manifest = oci.decode_manifest(data, descriptor.media_type)
        config = oci.decode_config(_read_named(store, manifest.config))
        return StoredImage(descriptor, manifest, config, oci.join_layers(manifest, config))


def find_manifest(
    store: BlobStore,
    *,
    tag: str | None = None,
    digest: Digest | None = None,
    platform: Platform | None = None,
) -> Descriptor:
    """The descriptor of the image of that tag, of that manifest digest, or of the only (untagged) image.

    An index behind it is followed to the image of `platform`, or to its only one.
    Raises: NotFoundError (the tags there are as a hint), MalformedError.
    """
    index = store.index()
    if digest is not None:
        return _by_digest(store, index, digest)
    entries = _tagged(index, tag) if tag is not None else _unnamed(index)
    return _follow(store, _choose(entries, platform).descriptor, platform)


def choose_entry(entries: list[IndexEntry], platform: Platform | None) -> IndexEntry:
    """The entry of an index for `platform`, or its only one. Raises: NotFoundError."""
    return _choose(_matching(entries, platform), platform)


def _by_digest(store: BlobStore, index: Index, digest: Digest) -> Descriptor:
    for entry in index.entries:
        if entry.descriptor.digest == digest:
            return entry.descriptor
    size = store.blob_size(digest)
    if size is None:
        raise NotFoundError(f"no manifest {digest}", hint=_tags(index))
    return Descriptor(MANIFEST, digest, size)


def _tagged(index: Index, tag: str) -> list[IndexEntry]:
    entries = [entry for entry in index.entries if entry.tag == tag]
    if not entries:
        raise NotFoundError(f"no image with the tag '{escape(tag)}'", hint=_tags(index))
    return entries


def _unnamed(index: Index) -> list[IndexEntry]:
    """The untagged entries where there are any; otherwise the one tag there is."""
    if not index.entries:
        raise NotFoundError("no image here")
    entries = [entry for entry in index.entries if entry.tag is None]
    if not entries and len({entry.tag for entry in index.entries}) > 1:
        raise NotFoundError("expected one image, found several: name one by its tag", hint=_tags(index))
    return entries or list(index.entries)


def _choose(entries: list[IndexEntry], platform: Platform | None) -> IndexEntry:
    if len(entries) > 1 and platform is not None:
        entries = [entry for entry in entries if entry.platform == platform]
    if len(entries) == 1:
        return entries[0]
    wanted = "no platform was chosen" if platform is None else f"{_show_platform(platform)} was asked for"
    raise NotFoundError(f"expected one image, found {len(entries)}, and {wanted}")


def _follow(store: BlobStore, descriptor: Descriptor, platform: Platform | None) -> Descriptor:
    for _ in range(MAX_NESTING):
        if descriptor.media_type not in (INDEX, DOCKER_MANIFEST_LIST):
            return descriptor
        with within(f"index {descriptor.digest}"):
            entries = list(oci.decode_index(_read_named(store, descriptor)).entries)
            descriptor = choose_entry(entries, platform).descriptor
    raise MalformedError(f"expected at most {MAX_NESTING} indexes inside each other, found more")


def _matching(entries: list[IndexEntry], platform: Platform | None) -> list[IndexEntry]:
    if platform is None:
        return entries
    matching = [entry for entry in entries if entry.platform in (None, platform)]
    if not matching:
        listed = sorted({_show_platform(entry.platform) for entry in entries if entry.platform})
        raise NotFoundError(
            f"no image for {_show_platform(platform)}", hint="there are: " + ", ".join(listed[:_MAX_LISTED])
        )
    return matching


def _read_named(store: BlobStore, descriptor: Descriptor) -> bytes:
    size = store.blob_size(descriptor.digest)
    with within(f"blob {descriptor.digest}"):
        if size is None:
            raise missing_blob()
        if size != descriptor.size:
            raise MalformedError(f"expected {descriptor.size:,} bytes, found {size:,}")
    return read_blob(store, descriptor.digest, oci.MAX_DOCUMENT)


def _tags(index: Index) -> str:
    tags = sorted({escape(entry.tag) for entry in index.entries if entry.tag is not None})
    if not tags:
        return "no image here has a tag"
    more = ", ..." if len(tags) > _MAX_LISTED else ""
    return "tags here: " + ", ".join(tags[:_MAX_LISTED]) + more


def _show_platform(platform: Platform) -> str:
    return escape(f"{platform.os}/{platform.architecture}")
