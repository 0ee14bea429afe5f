"""What a layer's tar consists of."""

from __future__ import annotations

from dataclasses import dataclass

from ostrata.model.ostree import FileHeader


@dataclass(frozen=True, slots=True)
class TarMember:
    """Some bytes of a tar: `head` is one or more whole entries, ready to write.

    With a `content` (a file object's checksum; `header` is its header), the last entry still needs `size` bytes of
    that content, and padding.
    """

    head: bytes
    content: str | None = None
    header: FileHeader | None = None
    size: int = 0
