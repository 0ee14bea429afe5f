"""An OCI image layout directory, read (image-spec, image-layout.md).

    oci-layout          {"imageLayoutVersion": "1.0.0"}
    index.json          which manifests there are, with their tags
    blobs/sha256/HEX    everything else, named by its digest

Symlinks are followed: some build systems make layouts of them, and every byte is compared with its digest
anyway.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO

from ostrata.codecs import oci
from ostrata.errors import MalformedError, NotFoundError, escape, within
from ostrata.model.digest import Digest
from ostrata.model.image import Index
from ostrata.stores.blobs import BlobDirectory, missing_blob
from ostrata.stores.files import open_regular, read_limited

LAYOUT_FILE = "oci-layout"
INDEX_FILE = "index.json"
MAX_LAYOUT_FILE = 4096


@dataclass(frozen=True, slots=True)
class OciLayout:
    """A layout directory. Open it with `open_layout`."""

    path: str

    def index(self) -> Index:
        """Raises: MalformedError, NotFoundError when no image was ever completed here."""
        with within(escape(self.path)):
            return oci.decode_index(read_limited(os.path.join(self.path, INDEX_FILE), oci.MAX_DOCUMENT))

    def open_blob(self, digest: Digest) -> BinaryIO:
        """The blob's bytes, not verified. Raises: NotFoundError, AccessError, UnsupportedError (no file)."""
        if self.blob_size(digest) is None:
            raise missing_blob()
        return open(open_regular(self._blob(digest)), "rb")

    def blob_size(self, digest: Digest) -> int | None:
        """In bytes; None when the blob is not there."""
        return BlobDirectory(os.path.dirname(self._blob(digest))).size(digest)

    def blob_path(self, digest: Digest) -> str | None:
        """The file of the blob."""
        return self._blob(digest)

    def _blob(self, digest: Digest) -> str:
        return os.path.join(self.path, "blobs", digest.algorithm, digest.encoded)


def open_layout(path: str) -> OciLayout:
    """The layout at `path`. Raises: NotFoundError; MalformedError for a directory that is no layout."""
    if not os.path.lexists(path):
        raise NotFoundError("no such directory", where=escape(path))
    if not os.path.isdir(path):
        raise MalformedError(
            "expected a layout directory, found a file",
            where=escape(path),
            hint="an archive is named oci-archive:PATH",
        )
    try:
        data = read_limited(os.path.join(path, LAYOUT_FILE), MAX_LAYOUT_FILE)
    except NotFoundError:
        raise MalformedError(
            "expected an OCI layout, found a directory without an oci-layout file", where=escape(path)
        ) from None
    with within(escape(path)):
        oci.decode_layout(data)
    return OciLayout(path)
