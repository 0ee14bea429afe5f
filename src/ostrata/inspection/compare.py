"""What does an update from one image to another cost? From their manifests alone.

A client that has the old image downloads the layers of the new one that the old one has not, each once. Layers are told
apart by their digests, so a layer that was compressed anew is another one. The manifest and the config, some kilobytes,
are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from ostrata.inspection.inspect import named_components
from ostrata.model.digest import Digest
from ostrata.model.image import Manifest

"""A layer's annotation: the names of the components in it, with commas between."""


@dataclass(frozen=True, slots=True)
class ComparedLayer:
    """A layer: `size` in bytes as it is downloaded; no `components` where the manifest names none."""

    digest: Digest
    size: int
    components: tuple[str, ...]

    @property
    def name(self) -> str:
        """The components, else the digest."""
        return ", ".join(self.components) or str(self.digest)


@dataclass(frozen=True, slots=True)
class Comparison:
    """`old` and `new` are manifest digests. Each layer is there once, in its image's order (shared: the new one's)."""

    old: Digest
    new: Digest
    shared: tuple[ComparedLayer, ...]
    added: tuple[ComparedLayer, ...]
    removed: tuple[ComparedLayer, ...]

    @property
    def download_bytes(self) -> int:
        """What an update downloads."""
        return total(self.added)


def compare(old: tuple[Digest, Manifest], new: tuple[Digest, Manifest]) -> Comparison:
    """Compare two manifests, each given with its digest."""
    before, after = _layers(old[1]), _layers(new[1])
    return Comparison(
        old[0],
        new[0],
        shared=tuple(layer for digest, layer in after.items() if digest in before),
        added=tuple(layer for digest, layer in after.items() if digest not in before),
        removed=tuple(layer for digest, layer in before.items() if digest not in after),
    )


def total(layers: tuple[ComparedLayer, ...]) -> int:
    """Their bytes together."""
    return sum(layer.size for layer in layers)


def _layers(manifest: Manifest) -> dict[Digest, ComparedLayer]:
    return {
        layer.digest: ComparedLayer(
            layer.digest,
            layer.size,
            named_components(layer.annotations),
        )
        for layer in manifest.layers
    }
