"""What a layer's tar consists of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TarMember:
    """Some bytes of a tar: `head` is one or more whole entries, ready to write.

    With a `content`, the last of them still needs its `size` bytes, and padding.
    """

    head: bytes
    content: Iterable[bytes] | None = None
    size: int = 0
