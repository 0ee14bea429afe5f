"""Config and manifest into a directory of blobs, as the last two blobs of an image; and an index of such images."""

from __future__ import annotations

from ostrata.codecs import oci
from ostrata.errors import within
from ostrata.model.image import INDEX, Descriptor, Manifest
from ostrata.stores.blobs import BlobDirectory, missing_blob


def write_documents(blobs: BlobDirectory, config: bytes, manifest: bytes) -> Descriptor:
    """Write config and manifest; all that the manifest names must be there then.

    Returns the manifest's descriptor. Raises: NotFoundError, AccessError.
    """
    decoded = oci.decode_manifest(manifest)
    blobs.write(config)
    _check_complete(blobs, decoded)
    digest = blobs.write(manifest)
    return Descriptor(decoded.media_type, digest, len(manifest))


def write_index(blobs: BlobDirectory, index: bytes) -> Descriptor:
    """Write the index of images that are there. Returns its descriptor. Raises: NotFoundError, AccessError."""
    for entry in oci.decode_index(index).entries:
        _check_there(blobs, entry.descriptor)
    return Descriptor(INDEX, blobs.write(index), len(index))


def _check_complete(blobs: BlobDirectory, manifest: Manifest) -> None:
    for descriptor in (manifest.config, *manifest.layers):
        _check_there(blobs, descriptor)


def _check_there(blobs: BlobDirectory, descriptor: Descriptor) -> None:
    if not blobs.has(descriptor.digest, descriptor.size):
        with within(f"blob {descriptor.digest}"):
            raise missing_blob()
