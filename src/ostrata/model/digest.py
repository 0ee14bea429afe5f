"""Content digests as the OCI image specification writes them: ``sha256:`` and 64 lower-case hex digits."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from ostrata.errors import MalformedError, UnsupportedError, escape

CHECKSUM = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"([a-z0-9]+(?:[+._-][a-z0-9]+)*):([a-zA-Z0-9=_-]+)")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """An algorithm and the encoded hash (image-spec, descriptor.md). Only sha256 is read and written."""

    algorithm: str
    encoded: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.encoded}"

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Raises: MalformedError when `text` is no digest, UnsupportedError for an algorithm but sha256."""
        match = _DIGEST.fullmatch(text)
        if match is None:
            raise MalformedError(f"expected a digest, found '{escape(text[:100])}'")
        algorithm, encoded = match.groups()
        if algorithm != "sha256":
            raise UnsupportedError(f"expected a sha256 digest, found '{escape(text[:100])}'")
        if CHECKSUM.fullmatch(encoded) is None:
            raise MalformedError(f"expected 64 lower-case hex digits, found '{escape(text[:100])}'")
        return cls(algorithm, encoded)

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """The sha256 digest of `data`."""
        return cls("sha256", hashlib.sha256(data).hexdigest())


def is_checksum(text: str) -> bool:
    """Is `text` an OSTree checksum: 64 lower-case hex digits?"""
    return CHECKSUM.fullmatch(text) is not None
