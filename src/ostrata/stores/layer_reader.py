"""A layer's blob, read once: its tar comes out, and blob and tar are hashed on the way."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from ostrata import parallel
from ostrata.codecs.decompression import decompress
from ostrata.errors import MalformedError, within
from ostrata.model.image import Layer
from ostrata.stores.blobs import BlobStore

PIECE = 1 << 18


class LayerReader:
    """Reads one layer; `tar_bytes` counts what came out. `max_size` bounds it."""

    def __init__(self, store: BlobStore, layer: Layer, max_size: int) -> None:
        self._store = store
        self._layer = layer
        self._max_size = max_size
        self._blob = hashlib.sha256()
        self._tar = hashlib.sha256()
        self._blob_bytes = 0
        self.tar_bytes = 0

    def tar_pieces(self) -> Iterator[bytes]:
        """The tar. Raises: NotFoundError, AccessError; MalformedError, UnsupportedError, LimitError as `decompress`."""
        media_type = self._layer.descriptor.media_type
        for piece in decompress(self._blob_pieces(), media_type, limit=self._max_size):
            self._tar.update(piece)
            self.tar_bytes += len(piece)
            yield piece

    def finish(self) -> None:
        """Raises: MalformedError when the bytes that passed by are not those that were named."""
        descriptor = self._layer.descriptor
        _expect("bytes", descriptor.size, self._blob_bytes)
        _expect("the digest", descriptor.digest.encoded, self._blob.hexdigest())
        _expect("the diff_id", self._layer.diff_id.encoded, self._tar.hexdigest())

    def _blob_pieces(self) -> Iterator[bytes]:
        digest = self._layer.descriptor.digest
        with within(f"blob {digest}"), self._store.open_blob(digest) as blob:
            while piece := blob.read(PIECE):
                self._blob.update(piece)
                self._blob_bytes += len(piece)
                parallel.advance(len(piece))
                yield piece


def _expect(what: str, expected: object, found: object) -> None:
    if expected != found:
        raise MalformedError(f"expected {what} {expected}, found {found}")


def read_ranges(pieces: Iterable[bytes], ranges: Iterable[tuple[int, int]]) -> Iterator[Iterator[memoryview]]:
    """The bytes of each (offset, size) of a stream, in pieces; ranges ascend and do not overlap.

    What is not taken of a range is passed over when the next is asked for. After the last one the stream is read to
    its end. Raises: MalformedError when it ends too early; what `pieces` raises.
    """
    stream = _Stream(pieces)
    for offset, size in ranges:
        stream.skip(offset - stream.position)
        content = stream.take(size)
        yield content
        for _ in content:
            pass
    stream.exhaust()


class _Stream:
    """Pieces with a position."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.position = 0
        self._pieces = iter(pieces)
        self._view = memoryview(b"")

    def take(self, size: int) -> Iterator[memoryview]:
        while size:
            if not self._view:
                self._view = self._next()
            piece = self._view[:size]
            self._view = self._view[size:]
            size -= len(piece)
            self.position += len(piece)
            yield piece

    def skip(self, size: int) -> None:
        for _ in self.take(size):
            pass

    def exhaust(self) -> None:
        self._view = memoryview(b"")
        for _ in self._pieces:
            pass

    def _next(self) -> memoryview:
        for piece in self._pieces:
            if piece:
                return memoryview(piece)
        raise MalformedError("the layer is shorter than it was before")
