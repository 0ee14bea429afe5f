"""The checksums of file objects, without writing one: what `ostree_staging` stages, hashed only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from types import TracebackType

from ostrata.codecs import ostree
from ostrata.model.ostree import FileHeader

Piece = bytes | bytearray | memoryview


class ObjectHasher:
    """In the place of an `ObjectStage`; `objects` and `bytes` stay 0, since nothing is added."""

    objects = 0
    bytes = 0

    def __enter__(self) -> ObjectHasher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def add_file(self, header: FileHeader, content: Piece) -> str:
        """The checksum of a regular file."""
        hasher = hashlib.sha256(ostree.encode_file_header(header))
        hasher.update(content)
        return hasher.hexdigest()

    def add_large_file(self, header: FileHeader, size: int, blocks: Iterable[memoryview]) -> str:
        """The same, block by block; what the blocks raise."""
        hasher = hashlib.sha256(ostree.encode_file_header(header))
        for block in blocks:
            hasher.update(block)
        return hasher.hexdigest()

    def add_symlink(self, header: FileHeader) -> str:
        """The checksum of a symlink."""
        return hashlib.sha256(ostree.encode_file_header(header)).hexdigest()
