"""An image into an OCI layout directory that may hold others, and may be written by others at the same time.

Blobs are added, never altered. The index is read again and replaced under a lock, last: a run that dies
before has changed no tag, and of several runs none loses its tag. Without a tag only the untagged image is
replaced.
"""

from __future__ import annotations

import contextlib
import os
from types import TracebackType

from ostrata.codecs import oci
from ostrata.errors import NotFoundError, UnsupportedError, escape, within
from ostrata.model.image import Descriptor, Index, Platform
from ostrata.stores.blobs import BlobDirectory
from ostrata.stores.documents import write_documents, write_index
from ostrata.stores.files import (
    TEMPORARY,
    locked,
    read_limited,
    remove_stale,
    sync_directory,
    write_atomically,
)
from ostrata.stores.oci_layout import INDEX_FILE, LAYOUT_FILE, open_layout


class LayoutDestination:
    """The tag `tag` (or the untagged image) of the layout at `path`.

    The layout is made, when it is not there, as soon as somebody asks for its blobs: a run that fails while it is
    still planning leaves no trace.
    """

    def __init__(self, path: str, tag: str | None = None) -> None:
        self.path = path
        self.tag = tag
        self._is_made = False

    @property
    def blobs(self) -> BlobDirectory:
        """Raises: see `__enter__`; AccessError when the layout cannot be made."""
        if not self._is_made:
            _make_layout(self.path)
            self._is_made = True
        return self._blobs

    @property
    def _blobs(self) -> BlobDirectory:
        return BlobDirectory(os.path.join(self.path, "blobs", "sha256"))

    def __enter__(self) -> LayoutDestination:
        """Raises: UnsupportedError, MalformedError for a path that is something else or a damaged layout."""
        if not os.path.lexists(self.path):
            with within(escape(self.path)):
                os.stat(os.path.dirname(os.path.abspath(self.path)))
            return self
        _check_directory(self.path)
        _holds_layout(self.path)
        with within(escape(self.path)):
            _read_index(self.path)  # a damaged one is found now, not after an hour's work
        remove_stale(self.path)
        self._blobs.remove_stale()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def write_image(self, config: bytes, manifest: bytes, platform: Platform) -> Descriptor:
        """See `protocols.Destination`."""
        with within(escape(self.path)):
            return self._publish(write_documents(self.blobs, config, manifest), platform)

    def write_index(self, index: bytes) -> Descriptor:
        """See `protocols.Destination`."""
        with within(escape(self.path)):
            return self._publish(write_index(self.blobs, index), None)

    def _publish(self, descriptor: Descriptor, platform: Platform | None) -> Descriptor:
        self.blobs.sync()
        with locked(self.path):
            index = _read_index(self.path)
            entry = oci.tagged_entry(descriptor, platform, self.tag)
            write_atomically(self.path, INDEX_FILE, oci.encode_index(oci.put_entry(index, entry)))
        return descriptor


def _read_index(path: str) -> Index:
    try:
        return oci.decode_index(read_limited(os.path.join(path, INDEX_FILE), oci.MAX_DOCUMENT))
    except NotFoundError:
        return oci.EMPTY_INDEX


def _make_layout(path: str) -> None:
    with within(escape(path)):
        try:
            os.mkdir(path)
            sync_directory(os.path.dirname(os.path.abspath(path)))
        except FileExistsError:
            pass
    _check_directory(path)
    with locked(path):  # another run may be making the same layout
        if not _holds_layout(path):
            write_atomically(path, LAYOUT_FILE, oci.encode_layout())
        _make_blob_directories(path)


def _check_directory(path: str) -> None:
    if not os.path.isdir(path):
        raise UnsupportedError(
            "expected a directory, found a file", where=escape(path), hint="an archive is named oci-archive:PATH"
        )


def _holds_layout(path: str) -> bool:
    """False for an empty directory. Raises: UnsupportedError for one with other files, MalformedError."""
    with within(escape(path)):
        names = {name for name in os.listdir(path) if not name.startswith(TEMPORARY)}
    if LAYOUT_FILE in names:
        open_layout(path)
        return True
    if names:
        raise UnsupportedError("expected an OCI layout or an empty directory, found other files", where=escape(path))
    return False


def _make_blob_directories(path: str) -> None:
    with within(escape(path)):
        for name in ("blobs", "blobs/sha256"):
            directory = os.path.join(path, name)
            with contextlib.suppress(FileExistsError):
                os.mkdir(directory)
                sync_directory(os.path.dirname(directory))
            if os.path.islink(directory) or not os.path.isdir(directory):
                raise UnsupportedError(f"expected {name} to be a directory: nothing outside is written to")
