"""Images of given tars, with manifests and configs made by hand: right ones, and ones that lie."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ostrata.codecs.zstd import ZstdCompressor

LAYER = {
    "none": "application/vnd.oci.image.layer.v1.tar",
    "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
    "docker": "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "docker, none": "application/vnd.docker.image.rootfs.diff.tar",
}
OCI = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.config.v1+json")
DOCKER = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.container.image.v1+json",
)


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def compress(tar: bytes, compression: str) -> bytes:
    if compression in ("gzip", "docker"):
        return gzip.compress(tar, mtime=0)
    if compression == "zstd":
        compressor = ZstdCompressor()
        return compressor.compress(tar) + compressor.flush()
    return tar


@dataclass
class TarImage:
    """A layout at `path` with one image; change the documents, then `write`."""

    path: Path
    blobs: list[bytes]
    manifest: dict[str, Any]
    config: dict[str, Any]
    left_out: set[str] = field(default_factory=set)

    @property
    def reference(self) -> str:
        return f"oci:{self.path}"

    def write(self) -> TarImage:
        """Config, manifest and index, as the documents are now; blobs but for those `left_out`."""
        config = json.dumps(self.config).encode()
        self.manifest["config"] |= {"digest": digest(config), "size": len(config)}
        manifest = json.dumps(self.manifest).encode()
        (self.path / "blobs/sha256").mkdir(parents=True, exist_ok=True)
        for blob in (config, manifest, *self.blobs):
            if digest(blob) not in self.left_out:
                self.put(digest(blob), blob)
        descriptor = {"mediaType": self.manifest["mediaType"], "digest": digest(manifest), "size": len(manifest)}
        (self.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [descriptor]}))
        (self.path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        return self

    def put(self, name: str, data: bytes) -> None:
        """A blob under any name."""
        (self.path / "blobs/sha256" / name.removeprefix("sha256:")).write_bytes(data)


def tar_image(
    path: Path,
    tars: Sequence[bytes],
    compression: str = "none",
    *,
    encapsulated: int | None = None,
    labels: Mapping[str, str] | None = None,
) -> TarImage:
    """An image of these tars, written; its label says that the first `encapsulated` of them (all) are the commit's."""
    blobs = [compress(tar, compression) for tar in tars]
    manifest_type, config_type = DOCKER if compression.startswith("docker") else OCI
    layers = [{"mediaType": LAYER[compression], "digest": digest(blob), "size": len(blob)} for blob in blobs]
    final = digest(tars[(encapsulated or len(tars)) - 1])
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Labels": {"ostree.final-diffid": final} | dict(labels or {})},
        "rootfs": {"type": "layers", "diff_ids": [digest(tar) for tar in tars]},
    }
    manifest = {"schemaVersion": 2, "mediaType": manifest_type, "config": {"mediaType": config_type}, "layers": layers}
    return TarImage(path, blobs, manifest, config).write()
