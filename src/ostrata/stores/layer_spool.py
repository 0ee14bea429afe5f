"""The tars of layers on disk, for whoever reads files out of them in any order.

A layer is decompressed once, when something of it is first asked for, into a file without a name: nothing is left of it
whatever ends the process. An uncompressed layer is read where it lies. When the files together grow beyond a bound,
those that were not used the longest go.
"""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from types import TracebackType
from typing import IO, BinaryIO

from ostrata.errors import LimitError, MalformedError, escape, within
from ostrata.model.image import DOCKER_LAYER_TAR, LAYER_TAR, Layer
from ostrata.stores.blobs import BlobStore
from ostrata.stores.layer_reader import LayerReader

PIECE = 1 << 20

_Tar = BinaryIO | IO[bytes]


class LayerSpool:
    """Reads from the tars of `layers`; a context manager. `max_size` bounds each tar, and the disk used for them."""

    def __init__(self, store: BlobStore, layers: tuple[Layer, ...], *, tmpdir: str, max_size: int) -> None:
        self._store = store
        self._layers = layers
        self._tmpdir = tmpdir
        self._max_size = max_size
        self._tars: OrderedDict[int, _Tar] = OrderedDict()
        self._sizes: dict[int, int] = {}

    def __enter__(self) -> LayerSpool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of all files."""
        while self._tars:
            self._drop(next(iter(self._tars)))

    def read(self, layer: int, offset: int, size: int) -> Iterator[bytes]:
        """`size` bytes of the tar of layer number `layer`, in pieces.

        Raises: NotFoundError, MalformedError, UnsupportedError, LimitError, AccessError.
        """
        while size:
            with within(f"layer {layer}"):
                tar = self._tar(layer)  # for each piece anew: meanwhile another read may have had it dropped
                tar.seek(offset)
                piece = tar.read(min(size, PIECE))
                if not piece:
                    raise MalformedError("the layer is shorter than it was before")
            offset += len(piece)
            size -= len(piece)
            yield piece

    def _tar(self, number: int) -> _Tar:
        tar = self._tars.get(number)
        if tar is None:
            layer = self._layers[number]
            if layer.descriptor.media_type in (LAYER_TAR, DOCKER_LAYER_TAR):
                tar, size = self._store.open_blob(layer.descriptor.digest), 0
            else:
                tar, size = self._decompress(layer)
            self._tars[number], self._sizes[number] = tar, size
        self._tars.move_to_end(number)
        return tar

    def _decompress(self, layer: Layer) -> tuple[IO[bytes], int]:
        reader = LayerReader(self._store, layer, self._max_size)
        with within(escape(self._tmpdir)):
            file = tempfile.TemporaryFile(dir=self._tmpdir)  # closed by `_drop`
        try:
            for piece in reader.tar_pieces():
                self._make_room(reader.tar_bytes)
                with within(escape(self._tmpdir)):
                    file.write(piece)
            reader.finish()
        except BaseException:
            file.close()
            raise
        return file, reader.tar_bytes

    def _make_room(self, size: int) -> None:
        while size + sum(self._sizes.values()) > self._max_size:
            oldest = next((number for number in self._tars if self._sizes[number]), None)
            if oldest is None:
                raise LimitError(f"expected a layer's tar of at most {self._max_size:,} bytes, found more")
            self._drop(oldest)

    def _drop(self, number: int) -> None:
        del self._sizes[number]
        self._tars.pop(number).close()
