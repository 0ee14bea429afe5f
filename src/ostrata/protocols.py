"""The doors: what the stories need from the rooms below, each as small as it can be."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from ostrata.model.image import Descriptor, Platform
from ostrata.stores.blobs import BlobDirectory, BlobStore

__all__ = ["BlobDirectory", "BlobStore", "Destination"]


class Destination(Protocol):
    """A place for one image, open for the length of a ``with`` block.

    Blobs go into `blobs` in any order and from any process; nothing of them is an image before `write_image`.
    Leaving the block removes what is temporary.
    """

    @property
    def blobs(self) -> BlobDirectory:
        """Where blobs are written, and which are there already."""

    def write_image(self, config: bytes, manifest: bytes, platform: Platform) -> Descriptor:
        """Make the image visible, last and atomically; its layers are in `blobs`.

        Returns the descriptor of the manifest as the destination has it. Raises: NotFoundError when a layer
        is missing; AccessError, TransferError.
        """

    def __enter__(self) -> Destination: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
