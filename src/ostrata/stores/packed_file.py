"""A file that takes little room and is read from any place on: what was decompressed once, and is read again later.

    frame | frame | ... | where each begins, as 64-bit numbers | how many there are

Each frame is zstd's, of `FRAME` bytes, the last one of fewer. In frames of that size content takes a twentieth more
room than in a layer that zstd compresses at the same level, and no more than in one of gzip.
"""

from __future__ import annotations

import os
import sys
from array import array
from collections import OrderedDict
from types import TracebackType

from ostrata.codecs.zstd import ZstdCompressor, ZstdDecompressor, ZstdError
from ostrata.errors import MalformedError, escape, within
from ostrata.stores.files import open_regular, write_all

FRAME = 1 << 17
LEVEL = 3

_KEPT = 16  # files that are neighbours are mostly read one after the other
_NUMBER = 8

Frames = OrderedDict[tuple[str, int], bytes]
"""The frames that were read last, by file and number: readers that share one keep no more together than one alone."""


class PackedWriter:
    """Writes the new file `path`, which is whole after `finish`. A context manager. Raises: AccessError."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._compressor = ZstdCompressor(level=LEVEL)
        self._pending = bytearray()
        self._starts = array("Q")
        self._size = 0
        with within(escape(path)):
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> PackedWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def write(self, piece: bytes) -> None:
        """Append `piece`. Raises: AccessError, for instance when the disk is full."""
        self._pending += piece
        whole = len(self._pending) - len(self._pending) % FRAME
        for start in range(0, whole, FRAME):
            self._add(self._pending[start : start + FRAME])
        del self._pending[:whole]

    def finish(self) -> None:
        """Write what is left. Raises: AccessError."""
        if self._pending:
            self._add(self._pending)
        self._starts.append(len(self._starts))
        with within(escape(self._path)):
            write_all(self._descriptor, self._starts.tobytes())

    def _add(self, data: bytearray) -> None:
        frame = self._compressor.compress(data, ZstdCompressor.FLUSH_FRAME)
        self._starts.append(self._size)
        self._size += len(frame)
        with within(escape(self._path)):
            write_all(self._descriptor, frame)


class PackedFile:
    """The finished file `path`, open for reading, with `kept` frames. Raises: NotFoundError, AccessError."""

    def __init__(self, path: str, kept: Frames) -> None:
        self._path = path
        self._descriptor = open_regular(path)
        self._kept = kept
        try:
            self._starts = self._read_starts()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)

    def read(self, size: int, position: int) -> bytes:
        """At most `size` bytes from `position` on; none at the end. Raises: AccessError, MalformedError."""
        number, start = divmod(position, FRAME)
        return self._frame(number)[start : start + size] if number < len(self._starts) - 1 else b""

    def _frame(self, number: int) -> bytes:
        key = (self._path, number)
        data = self._kept.get(key)
        if data is None:
            start, end = self._starts[number : number + 2]
            data = self._kept[key] = self._decompress(self._pread(end - start, start))
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return data

    def _decompress(self, frame: bytes) -> bytes:
        try:
            return ZstdDecompressor().decompress(frame, FRAME)
        except ZstdError as error:
            raise MalformedError(f"not as it was written: {error}", where=escape(self._path)) from None

    def _read_starts(self) -> array[int]:
        """Where each frame begins, and where the last one ends."""
        end = os.fstat(self._descriptor).st_size - _NUMBER
        count = int.from_bytes(self._pread(_NUMBER, end), sys.byteorder)
        end -= count * _NUMBER
        starts = array("Q", self._pread(count * _NUMBER, end))
        starts.append(end)
        return starts

    def _pread(self, size: int, position: int) -> bytes:
        with within(escape(self._path)):
            return os.pread(self._descriptor, size, position)
