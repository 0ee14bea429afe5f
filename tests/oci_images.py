"""A small image, made by hand: one gzip layer with a file of a hostile name."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from dataclasses import dataclass

from ostrata.codecs import oci
from ostrata.model.digest import Digest
from ostrata.model.image import LAYER_GZIP, Descriptor, Image, Layer, Platform
from ostrata.protocols import Destination

LABELS = {"plain": "1", "two lines": 'first\nsecond\t"quoted" \\', "größe": "žluťoučký 🐎 \x01"}
AMD64 = Platform("amd64")


@dataclass(frozen=True)
class HandmadeImage:
    blob: bytes
    config: bytes
    manifest: bytes
    layer: Layer

    @property
    def digest(self) -> Digest:
        return Digest.of(self.manifest)


def make_image(content: bytes = b"hello", labels: dict[str, str] | None = None) -> HandmadeImage:
    labels = LABELS if labels is None else labels
    tar = _tar(content)
    blob = gzip.compress(tar, mtime=0)
    layer = Layer(
        Descriptor(LAYER_GZIP, Digest.of(blob), len(blob), {"ostree.components": "ä,b"}),
        Digest.of(tar),
        "a layer\nof two lines",
    )
    image = Image(AMD64, "2024-05-17T12:00:00Z", (layer,), {"Labels": labels, "Unknown": [1]}, labels)
    config = oci.encode_config(image)
    return HandmadeImage(blob, config, oci.encode_manifest(image, oci.config_descriptor(config)), layer)


def put_image(destination: Destination, image: HandmadeImage) -> Descriptor:
    """Write the image's layer and then the image itself."""
    with destination.blobs.create() as writer:
        writer.write(image.blob)
        digest, size = writer.complete()
    assert (digest, size) == (image.layer.descriptor.digest, len(image.blob))
    return destination.write_image(image.config, image.manifest, AMD64)


def digest_of(text: str) -> Digest:
    return Digest("sha256", hashlib.sha256(text.encode()).hexdigest())


def _tar(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("usr/a file\nwith ž")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
