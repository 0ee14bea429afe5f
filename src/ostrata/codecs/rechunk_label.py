"""The label in which rechunk leaves its plan and the versions of packages: `dev.hhd.rechunk.info`.

    {"version": 2, "uniq": "...", "layers": [["component", ...], ...], "packages": {"name": "version-release", ...},
     "revision": "..." or null}

Version 1 has no layers. The label comes from an image, so from anybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ostrata.codecs import json
from ostrata.errors import LimitError, MalformedError, within

LABEL = "dev.hhd.rechunk.info"
MAX_LABEL = 8 << 20


@dataclass(frozen=True, slots=True)
class RechunkInfo:
    """What the label says: component names by layer, and package versions (with release) by name.

    `unique` is the image's version, `revision` that of the git repository it was built from.
    """

    layers: tuple[tuple[str, ...], ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)
    unique: str = ""
    revision: str | None = None


def encode(info: RechunkInfo) -> str:
    """The label, equal for equal values. Raises: MalformedError for names that are not UTF-8, LimitError."""
    document = {
        "version": 2,
        "uniq": info.unique,
        "layers": info.layers,
        "packages": info.packages,
        "revision": info.revision,
    }
    with within(f"label {LABEL}"):
        data = json.encode_canonical(document)
        if len(data) > MAX_LABEL:
            raise LimitError(f"expected at most {MAX_LABEL:,} bytes, found {len(data):,}")
        return data.decode("utf-8")


def decode(label: str) -> RechunkInfo:
    """Raises: MalformedError, LimitError."""
    what = f"label {LABEL}"
    document = json.decode(label.encode("utf-8", "surrogatepass"), what=what, limit=MAX_LABEL)
    with within(what):
        if not isinstance(document, dict):
            raise MalformedError(f"expected an object, found {json.kind(document)}")
        return RechunkInfo(
            _layers(document.get("layers")),
            _packages(document.get("packages")),
            _text(document.get("uniq")) or "",
            _text(document.get("revision")),
        )


def _layers(value: Any) -> tuple[tuple[str, ...], ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(layer, list) for layer in value):
        raise MalformedError("expected lists of names as 'layers'")
    if not all(isinstance(name, str) for layer in value for name in layer):
        raise MalformedError("expected names in 'layers'")
    return tuple(map(tuple, value))


def _text(value: Any) -> str | None:
    """Texts are for labels only: another kind of value is as good as none."""
    return value if isinstance(value, str) else None


def _packages(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(version, str) for version in value.values()):
        raise MalformedError("expected versions by name as 'packages'")
    return value
