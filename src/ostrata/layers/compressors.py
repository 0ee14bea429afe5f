"""Compressors: the tar stream of a layer becomes its blob.

Rule: the blob is a pure function of (tar bytes, compressor, level). It never depends on the number of
threads, on where the stream was cut into pieces, or on timing: every choice below is made by the tar's size.

gzip   One member, since importers read no further. A tar of at most `whole_limit` bytes is collected and
       compressed by one call of libdeflate: as fast as anything near its size, and smaller than zlib's.
       libdeflate takes whole buffers only, so a larger tar streams through zlib-ng, in blocks that threads
       compress side by side:

           header | block | block | ... | empty final block | CRC-32, size

       Each block is primed with the 32 KiB before it, as if they had just been compressed, and ends with a
       sync flush, on a byte boundary: joined they are one deflate stream.
zstd   One frame. Always in zstd's multi-threaded mode, with a fixed job size: the frame
       is then the same for any number of workers (its single-threaded mode gives another).
       Level 3 searches in smaller tables than zstd's own: they stay in a core's cache.
none   The tar itself.

The numbers behind the choices are in docs/decisions/0003-compressors.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import ClassVar, TypeAlias

import deflate
from zlib_ng import zlib_ng

from ostrata.codecs.zstd import CompressionParameter, ZstdCompressor
from ostrata.errors import UnsupportedError, escape
from ostrata.model.image import LAYER_GZIP, LAYER_TAR, LAYER_ZSTD

SCHEME = 4
"""Goes into recipes: raise it when a change in this module gives other bytes for the same tar and level."""

WHOLE_LIMIT = 192 << 20
"""The largest tar that is compressed in memory: a worker then needs this twice at most (tar and blob)."""

BLOCK_SIZE = 1 << 20
ZSTD_JOB_SIZE = 8 << 20
ZSTD_MOST_WORKERS = 64  # the library refuses more than 64 or 256, by its build
ZSTD_TABLES: Mapping[int, Mapping[int, int]] = {
    3: {CompressionParameter.hash_log: 14, CompressionParameter.chain_log: 15}
}
"""By level: sizes of the tables (log2 of entries) that are not the library's."""
PIECE = 1 << 18

DEFLATE_WINDOW = 32 << 10
DEFLATE_WINDOW_BITS = -15  # negative: no header, no trailer
FINAL_EMPTY_BLOCK = b"\x03\x00"
MEMORY_LEVEL = 8

# By gzip's level: the library's level that comes near gzip's size in the least time.
WHOLE_LEVEL = {4: 3, 5: 3, 6: 4, 7: 6, 8: 7}
STREAMED_LEVEL = {1: 2, 6: 5}
EXTRA_FLAGS = {1: 4, 9: 2}  # RFC 1952: "fastest algorithm", "maximum compression"


@dataclass(frozen=True, slots=True)
class Gzip:
    """gzip, levels 1 to 9. `whole_limit` and `block_size` (bytes) are the scheme's; tests change them."""

    level: int = 6
    whole_limit: int = WHOLE_LIMIT
    block_size: int = BLOCK_SIZE
    name: ClassVar[str] = "gzip"
    media_type: ClassVar[str] = LAYER_GZIP
    levels: ClassVar[range] = range(1, 10)

    def options(self) -> str:
        """What decides the blob besides the tar, as a stable string for recipes."""
        return _options(self.name, self.level)

    def compress(self, blocks: Iterable[bytes], threads: int) -> Iterator[bytes]:
        """The blob of the tar that `blocks` make up, in pieces; `threads` only decides how fast."""
        yield _gzip_header(self.level)
        rest = iter(blocks)
        with _room() as room:
            size, beyond = _collect(rest, self.whole_limit, room)
            with memoryview(room) as whole, whole[:size] as start:
                if beyond is None:
                    yield from _deflate_whole(start, self.level)
                else:
                    yield from _deflate_streamed(chain(_in_pieces(start), [beyond], rest), self, threads)


@dataclass(frozen=True, slots=True)
class Zstd:
    """zstd, levels 1 to 19 (those above ask more memory of whoever reads the layer)."""

    level: int = 3
    name: ClassVar[str] = "zstd"
    media_type: ClassVar[str] = LAYER_ZSTD
    levels: ClassVar[range] = range(1, 20)

    def options(self) -> str:
        """See Gzip.options."""
        return _options(self.name, self.level)

    def compress(self, blocks: Iterable[bytes], threads: int) -> Iterator[bytes]:
        """See Gzip.compress."""
        frame = ZstdCompressor(
            options={
                CompressionParameter.compression_level: self.level,
                CompressionParameter.nb_workers: min(max(1, threads), ZSTD_MOST_WORKERS),
                CompressionParameter.job_size: ZSTD_JOB_SIZE,
                **ZSTD_TABLES.get(self.level, {}),
            }
        )
        for block in filter(None, blocks):  # an empty first block would change the frame
            if piece := frame.compress(block):
                yield piece
        yield frame.flush()


@dataclass(frozen=True, slots=True)
class Plain:
    """No compression."""

    level: int = 0
    name: ClassVar[str] = "none"
    media_type: ClassVar[str] = LAYER_TAR
    levels: ClassVar[range] = range(1)

    def options(self) -> str:
        """See Gzip.options."""
        return _options(self.name, self.level)

    def compress(self, blocks: Iterable[bytes], threads: int) -> Iterator[bytes]:
        """See Gzip.compress."""
        return iter(blocks)


Compressor: TypeAlias = Gzip | Zstd | Plain

COMPRESSORS: Mapping[str, type[Gzip] | type[Zstd] | type[Plain]] = MappingProxyType(
    {kind.name: kind for kind in (Gzip, Zstd, Plain)}
)
"""By the name that the command line and recipes use."""


def compressor(name: str, *, level: int | None = None, fast: bool = False) -> Compressor:
    """The compressor called `name`, at its default level unless `level` or `fast` (the lowest) is given.

    Raises: UnsupportedError for a name or level there is not, or for a level and `fast` together.
    """
    kind = COMPRESSORS.get(name)
    if kind is None:
        raise UnsupportedError(f"the compression should be one of {', '.join(COMPRESSORS)}, found {escape(name)}")
    if level is None:
        return kind(kind.levels[0]) if fast else kind()
    if fast:
        raise UnsupportedError("a compression level and fast compression exclude each other")
    if level not in kind.levels:
        allowed = f"{kind.levels[0]} to {kind.levels[-1]}" if len(kind.levels) > 1 else str(kind.levels[0])
        raise UnsupportedError(f"the level of {name} should be {allowed}, found {level}")
    return kind(level)


def _options(name: str, level: int) -> str:
    return f"{name} level={level} scheme={SCHEME}"


def _gzip_header(level: int) -> bytes:
    """RFC 1952, 2.3: deflate, no flags, no time, no operating system, so that equal tars give equal blobs."""
    return b"\x1f\x8b\x08\x00" + bytes(4) + bytes((EXTRA_FLAGS.get(level, 0), 0xFF))


def _gzip_trailer(crc: int, size: int) -> bytes:
    return crc.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")


_spare: list[bytearray] = []
"""The room that the last tar was collected in: getting fresh memory from the kernel costs more than the copying."""


@contextmanager
def _room() -> Iterator[bytearray]:
    room = _spare.pop() if _spare else bytearray()
    try:
        yield room
    finally:
        _spare[:] = [room]


def _collect(blocks: Iterator[bytes], limit: int, room: bytearray) -> tuple[int, bytes | None]:
    """Write blocks into `room` as long as they are at most `limit` bytes: their size, and the block that was too much.

    What `room` held before is written over, or stays behind them.
    """
    size = 0
    for block in blocks:
        if size + len(block) > limit:
            return size, block
        room[size : size + len(block)] = block
        size += len(block)
    return size, None


def _deflate_whole(tar: memoryview, level: int) -> Iterator[bytes]:
    body = deflate.deflate_compress(tar, WHOLE_LEVEL.get(level, level))
    with memoryview(body) as view:
        yield from _in_pieces(view)
    yield _gzip_trailer(deflate.crc32(tar), len(tar))


def _in_pieces(data: memoryview) -> Iterator[bytes]:
    for start in range(0, len(data), PIECE):
        yield bytes(data[start : start + PIECE])


def _deflate_streamed(blocks: Iterator[bytes], gzip: Gzip, threads: int) -> Iterator[bytes]:
    level = STREAMED_LEVEL.get(gzip.level, gzip.level)
    crc = size = 0
    before = b""
    with _Ordered(threads) as queue:
        for block in _of_size(blocks, gzip.block_size):
            crc = zlib_ng.crc32(block, crc)
            size += len(block)
            yield from queue.put(_deflate_block, block, before, level)
            before = (before + block[-DEFLATE_WINDOW:])[-DEFLATE_WINDOW:]
        yield from queue.rest()
    yield FINAL_EMPTY_BLOCK + _gzip_trailer(crc, size)


def _of_size(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The same bytes in blocks of `size`, the last one perhaps smaller."""
    block = bytearray()
    for piece in pieces:
        view = memoryview(piece)
        while view:
            taken = view[: size - len(block)]
            block += taken
            view = view[len(taken) :]
            if len(block) == size:
                yield bytes(block)
                block.clear()
    if block:
        yield bytes(block)


def _deflate_block(block: bytes, before: bytes, level: int) -> bytes:
    stream = zlib_ng.compressobj(level, zlib_ng.DEFLATED, DEFLATE_WINDOW_BITS, MEMORY_LEVEL, zdict=before)
    return stream.compress(block) + stream.flush(zlib_ng.Z_SYNC_FLUSH)


class _Ordered:
    """Calls in threads, results in the order of the calls; at most one more than threads is under way."""

    def __init__(self, threads: int) -> None:
        self._most = max(1, threads) + 1
        self._pool = ThreadPoolExecutor(max(1, threads))
        self._pending: deque[Future[bytes]] = deque()

    def __enter__(self) -> _Ordered:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def put(
        self, function: Callable[[bytes, bytes, int], bytes], block: bytes, before: bytes, level: int
    ) -> Iterator[bytes]:
        """Start a call; yield the results that must go out to make room for the next."""
        self._pending.append(self._pool.submit(function, block, before, level))
        while len(self._pending) > self._most:
            yield self._pending.popleft().result()

    def rest(self) -> Iterator[bytes]:
        """Yield all results still to come."""
        while self._pending:
            yield self._pending.popleft().result()
