"""Names that users give become places and documents: destinations, previous images, contentmeta and config files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from ostrata.codecs import contentmeta, json
from ostrata.destinations.archive import ArchiveDestination
from ostrata.destinations.layout import LayoutDestination
from ostrata.destinations.skopeo import SkopeoDestination
from ostrata.errors import MalformedError, escape, within
from ostrata.model.image import Platform, StoredImage
from ostrata.model.plan import Contentmeta
from ostrata.pipeline.previous import NO_PREVIOUS, PreviousImage, previous_image
from ostrata.progress import Progress
from ostrata.protocols import BlobStore, Destination
from ostrata.stores.files import read_limited
from ostrata.stores.images import open_store, read_image
from ostrata.stores.reference import ARCHIVE, LAYOUT, parse_reference
from ostrata.stores.skopeo import SkopeoOptions, copied_image, without_secrets

MAX_CONFIG = 4 << 20
TMPDIR = "/var/tmp"
"""Where images wait for skopeo: /tmp is often in memory."""


def open_destination(
    text: str, *, authfile: str | None = None, tmpdir: str | None = None
) -> AbstractContextManager[Destination]:
    """The destination that `text` names, to be used in a ``with`` block.

    Raises: MalformedError or UnsupportedError for a name that is none.
    """
    reference = parse_reference(text)
    if reference.transport == LAYOUT:
        return LayoutDestination(reference.path, reference.tag)
    if reference.transport == ARCHIVE:
        return ArchiveDestination(reference.path, reference.tag, tmpdir=tmpdir)
    return SkopeoDestination(reference, tmpdir=tmpdir or TMPDIR, authfile=authfile)


def open_image(text: str, *, platform: Platform | None = None) -> tuple[BlobStore, StoredImage]:
    """The image that `text` names, and the store it is in; of several in one index, that for `platform`.

    Raises: NotFoundError, MalformedError, UnsupportedError, DigestMismatchError.
    """
    reference = parse_reference(text)
    with within(escape(str(reference))):
        store = open_store(reference)
        return store, read_image(store, tag=reference.tag, platform=platform)


@contextmanager
def open_source(
    text: str,
    *,
    skopeo: SkopeoOptions | None = None,
    tmpdir: str | None = None,
    platform: Platform | None = None,
) -> Iterator[tuple[BlobStore, StoredImage]]:
    """The image that `text` names, wherever skopeo can reach it, and a store that has it, in a ``with`` block.

    What is not a layout or an archive is copied to a temporary layout in `tmpdir`. Raises: see `open_image`;
    TransferError when skopeo fails, AccessError.
    """
    reference = parse_reference(text)
    if reference.is_native:
        yield open_image(text, platform=platform)
        return
    with copied_image(reference, tmpdir=tmpdir or TMPDIR, options=skopeo) as copy:
        with within(without_secrets(str(reference))):
            store = open_store(copy)
            image = read_image(store, tag=copy.tag)
        yield store, image


def open_previous(text: str | None, progress: Progress) -> PreviousImage:
    """The previous image of that name; none for None. Raises: see `open_image`."""
    return NO_PREVIOUS if text is None else previous_image(*open_image(text), progress)


def read_contentmeta(path: str) -> Contentmeta:
    """A contentmeta file. Raises: NotFoundError, AccessError, MalformedError, LimitError, UnsupportedError."""
    with within(escape(path)):
        return contentmeta.decode(read_limited(path, contentmeta.MAX_CONTENTMETA))


def read_base_config(path: str) -> Mapping[str, Any]:
    """A file with an image config's ``config`` object, its unknown keys included. Raises: see `read_contentmeta`."""
    with within(escape(path)):
        config = json.decode(read_limited(path, MAX_CONFIG), what="config", limit=MAX_CONFIG)
        if not isinstance(config, dict):
            raise MalformedError("expected an object")
        labels = config.get("Labels")
        if labels is not None and not (
            isinstance(labels, dict) and all(isinstance(value, str) for value in labels.values())
        ):
            raise MalformedError("expected an object of strings as 'Labels'")
        return config
