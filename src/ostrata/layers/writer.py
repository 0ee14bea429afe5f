"""Tar members to a finished layer: one pass that reads, hashes, compresses and writes.

The tar's digest is the layer's diff_id. When layers of an earlier image are known, the tar is hashed first, which is
about forty times cheaper than compressing it, and compressed only when no earlier layer has that diff_id: so a new
version of a compression library never makes anyone download unchanged content again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass

from ostrata.codecs import tar
from ostrata.layers.compressors import Compressor, Plain
from ostrata.model.digest import Digest
from ostrata.model.tar import TarMember
from ostrata.stores.blobs import BlobInMemory, BlobWriter

BLOCK = 1 << 18
"""Bytes that small pieces of a tar are joined to."""
LARGE = 128 << 10
"""Bytes of a piece that travels as it is: copying it costs more than handing it on."""
KEPT = 128 << 20
"""Bytes of a tar that are kept between hashing and compressing; larger ones are read twice."""


@dataclass(frozen=True, slots=True)
class LayerBytes:
    """What was written: the tar's digest and length, and the blob; None when an earlier layer has that diff_id."""

    diff_id: Digest
    tar_size: int
    blob: Digest | None
    blob_size: int


def tar_blocks(members: Iterable[TarMember]) -> Iterator[bytes]:
    """The tar of `members`, small pieces joined and large ones as they are. Raises: what reading content raises."""
    pieces: list[bytes] = []
    length = 0
    for piece in _tar_pieces(members):
        if len(piece) >= LARGE:
            yield b"".join(pieces)
            yield piece
            pieces.clear()
            length = 0
            continue
        pieces.append(piece)
        length += len(piece)
        if length >= BLOCK:
            yield b"".join(pieces)
            pieces.clear()
            length = 0
    yield b"".join(pieces)


def _tar_pieces(members: Iterable[TarMember]) -> Iterator[bytes]:
    for member in members:
        yield member.head
        if member.content is not None:
            yield from member.content
            yield tar.padding(member.size)
    yield tar.END


def write_layer(
    make_blocks: Callable[[], Iterator[bytes]],
    compressor: Compressor,
    create_blob: Callable[[], BlobWriter | BlobInMemory],
    *,
    known: Container[Digest] = (),
    threads: int = 1,
) -> LayerBytes:
    """Write the layer whose tar `make_blocks` gives (once more for each call), unless its diff_id is `known`.

    Raises: what reading raises; AccessError.
    """
    kept: list[bytes] | None = None
    if known:
        hashed = _Hashed(make_blocks())
        kept = _keep(hashed)
        if hashed.diff_id in known:
            return LayerBytes(hashed.diff_id, hashed.size, None, 0)
    blocks = make_blocks() if kept is None else _release(kept)
    with create_blob() as blob:
        if isinstance(compressor, Plain):  # the blob is the tar, and hashes itself
            for block in blocks:
                blob.write(block)
            digest, size = blob.complete()
            return LayerBytes(digest, size, digest, size)
        hashed = _Hashed(blocks)
        for piece in compressor.compress(hashed, threads):
            blob.write(piece)
        digest, size = blob.complete()
    return LayerBytes(hashed.diff_id, hashed.size, digest, size)


class _Hashed:
    """Blocks passing by; afterwards `diff_id` and `size` are known."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._hasher = hashlib.sha256()
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for block in self._blocks:
            self._hasher.update(block)
            self.size += len(block)
            yield block

    @property
    def diff_id(self) -> Digest:
        return Digest("sha256", self._hasher.hexdigest())


def _keep(hashed: _Hashed) -> list[bytes] | None:
    """All blocks, or None when they were too many to keep."""
    kept: list[bytes] | None = []
    for block in hashed:
        if kept is not None:
            kept.append(block)
            if hashed.size > KEPT:
                kept = None
    return kept


def _release(blocks: list[bytes]) -> Iterator[bytes]:
    blocks.reverse()
    while blocks:
        yield blocks.pop()
