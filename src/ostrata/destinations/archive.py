"""An image into an OCI archive: a tar of a layout that holds this image and nothing else, as skopeo writes
it.

Blobs are written beside the archive first, since their digests come before their bytes in no useful order. At
the end they are packed, each deleted once it is in: extra disk is the output and one layer. The archive is
renamed over an existing one when it is complete.

The bytes are a function of the image: oci-layout, index.json, then manifest, config and layers in their
order, with constant modes, owners and times.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import ExitStack
from types import TracebackType

from ostrata.codecs import oci
from ostrata.codecs.tar_headers import BLOCK, END, Header, encode_header, padded
from ostrata.errors import UnsupportedError, escape, within
from ostrata.model.image import Descriptor, IndexEntry, Platform
from ostrata.stores.blobs import BlobDirectory
from ostrata.stores.documents import write_documents, write_index
from ostrata.stores.files import (
    TemporaryDirectory,
    TemporaryFile,
    check_regular,
    label_of,
    open_regular,
    read_limited,
    remove_stale,
)
from ostrata.stores.oci_layout import INDEX_FILE, LAYOUT_FILE


class ArchiveDestination:
    """The archive at `path`; `tmpdir` holds the blobs until they are packed (default: beside the archive)."""

    def __init__(self, path: str, tag: str | None = None, *, tmpdir: str | None = None) -> None:
        self.path = os.path.realpath(path)
        self.tag = tag
        self._directory, self._name = os.path.split(self.path)
        self._tmpdir = tmpdir or self._directory
        self._label = label_of(self.path)
        self._blobs = ""
        self._stack = ExitStack()

    @property
    def blobs(self) -> BlobDirectory:
        return BlobDirectory(self._blobs)

    def __enter__(self) -> ArchiveDestination:
        """Raises: UnsupportedError for a path that is something else; NotFoundError, AccessError."""
        with within(escape(self.path)):
            _check_replaceable(self.path)
        for directory in {self._directory, self._tmpdir}:
            remove_stale(directory, self._label)
        self._blobs = self._stack.enter_context(TemporaryDirectory(self._tmpdir, self._label)).path
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def write_image(self, config: bytes, manifest: bytes, platform: Platform) -> Descriptor:
        """See `protocols.Destination`."""
        with within(escape(self.path)):
            descriptor = write_documents(self.blobs, config, manifest)
            self._pack(oci.tagged_entry(descriptor, platform, self.tag), [descriptor, *_named_by(manifest)])
            return descriptor

    def write_index(self, index: bytes) -> Descriptor:
        """See `protocols.Destination`."""
        with within(escape(self.path)):
            descriptor = write_index(self.blobs, index)
            blobs = [descriptor]
            for entry in oci.decode_index(index).entries:
                manifest = read_limited(self._blob_path(entry.descriptor), oci.MAX_DOCUMENT)
                blobs += [entry.descriptor, *_named_by(manifest)]
            self._pack(oci.tagged_entry(descriptor, None, self.tag), blobs)
            return descriptor

    def _pack(self, entry: IndexEntry, blobs: Iterable[Descriptor]) -> None:
        """Write the archive: `entry` in its index, and the blobs, each once."""
        index = oci.put_entry(oci.EMPTY_INDEX, entry)
        with TemporaryFile(self._directory, self._label) as archive:
            _append_bytes(archive, LAYOUT_FILE, oci.encode_layout())
            _append_bytes(archive, INDEX_FILE, oci.encode_index(index))
            for name in ("blobs/", "blobs/sha256/"):
                archive.write(encode_header(Header(name, 0, "5")))
            for blob in {blob.digest: blob for blob in blobs}.values():
                _move_blob(archive, self._blob_path(blob), blob)
            archive.write(END)
            archive.publish(self._name)

    def _blob_path(self, blob: Descriptor) -> str:
        return os.path.join(self._blobs, blob.digest.encoded)


def _check_replaceable(path: str) -> None:
    """What is there must be an archive, or empty: nobody means to lose another file."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise UnsupportedError("expected an archive, found a directory", hint="a layout is named oci:PATH")
    check_regular(mode)
    with open(open_regular(path), "rb") as file:
        start = file.read(BLOCK)
    if start and start[257:262] != b"ustar":
        raise UnsupportedError("expected an archive to replace, found another kind of file")


def _named_by(manifest: bytes) -> list[Descriptor]:
    """The config and the layers."""
    decoded = oci.decode_manifest(manifest)
    return [decoded.config, *decoded.layers]


def _append_bytes(archive: TemporaryFile, name: str, data: bytes) -> None:
    archive.write(encode_header(Header(name, len(data), "0")))
    archive.write(data + bytes(padded(len(data)) - len(data)))


def _move_blob(archive: TemporaryFile, source: str, blob: Descriptor) -> None:
    archive.write(encode_header(Header(f"blobs/sha256/{blob.digest.encoded}", blob.size, "0")))
    with open(open_regular(source), "rb", buffering=0) as file:
        archive.copy_from(file.fileno(), blob.size)
    archive.write(bytes(padded(blob.size) - blob.size))
    os.unlink(source)
