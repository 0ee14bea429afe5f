"""Several images, one for each platform, behind one name: an index that names their manifests.

Each image is written as to any destination, and nothing of it is seen; `finish` makes all of them visible at once.
"""

from __future__ import annotations

from types import TracebackType

from ostrata.codecs import oci
from ostrata.errors import PlanError, escape
from ostrata.model.image import Descriptor, Platform
from ostrata.protocols import BlobDirectory, Destination
from ostrata.stores.documents import write_documents


class SeveralImages:
    """A destination for images of several platforms within `destination`, which is open."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._written: list[tuple[Descriptor, Platform]] = []

    @property
    def blobs(self) -> BlobDirectory:
        return self._destination.blobs

    def __enter__(self) -> SeveralImages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def write_image(self, config: bytes, manifest: bytes, platform: Platform) -> Descriptor:
        """See `protocols.Destination`; the image is visible after `finish`.

        Raises: PlanError for a second image of one platform.
        """
        if any(platform == other for _, other in self._written):
            raise PlanError(f"two images for {escape(platform.os)}/{escape(platform.architecture)} in one index")
        descriptor = write_documents(self.blobs, config, manifest)
        self._written.append((descriptor, platform))
        return descriptor

    def write_index(self, index: bytes) -> Descriptor:
        """Raises: PlanError, always: an index stands for one image nowhere."""
        raise PlanError("an index within an index")

    def finish(self) -> Descriptor:
        """Make the images visible as one. Raises: as `write_image` of the destination."""
        return self._destination.write_index(oci.encode_platforms(self._written))
