"""The one decoder of compressed layers.

Rules, stricter than those of the libraries underneath, which return what they have when input stops early:

* the end of the compressed data must be seen: a blob cut at any byte is refused;
* a gzip blob is exactly one member. The format allows several, but importers read no further than the first,
  so the rest would be lost on them: a second member is refused, and so is anything else behind the end;
* a zstd blob is one or more frames (zstd:chunked has one per file), skippable ones among them, and no more;
* output comes in pieces of at most `PIECE` bytes, so that a bomb costs time and never memory, and stops at
  the caller's limit.

The input is fed in slices: the libraries copy what they have not used yet, and the copy must stay small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from zlib_ng import zlib_ng

from ostrata.codecs.zstd import ZstdDecompressor, ZstdError
from ostrata.errors import LimitError, MalformedError, UnsupportedError, escape
from ostrata.model.image import DOCKER_LAYER_GZIP, DOCKER_LAYER_TAR, LAYER_GZIP, LAYER_TAR, LAYER_ZSTD

PIECE = 1 << 18
"""The most bytes of one piece that comes out."""

INPUT_SLICE = 1 << 16
GZIP_MAGIC = b"\x1f\x8b"
GZIP_WINDOW_BITS = 31  # 15 for the largest window, 16 for "a gzip header and trailer, nothing else"

_GzipError: type[Exception] = zlib_ng.error  # type: ignore[assignment]  # its stub has an instance for the class


def decompress(chunks: Iterable[bytes], media_type: str, *, limit: int | None) -> Iterator[bytes]:
    """The tar inside a layer's blob, in pieces of at most `PIECE` bytes.

    `chunks` are the blob's bytes, cut anywhere; `limit` is the most bytes that may come out.

    Raises: UnsupportedError at once for a media type that is no layer's; while iterating MalformedError for
    damaged, truncated or continued data, LimitError beyond `limit`, UnsupportedError for a zstd window beyond
    128 MiB.
    """
    decode = _DECODERS.get(media_type)
    if decode is None:
        raise UnsupportedError(f"{escape(media_type[:100])} is not a layer media type that can be read")
    return _limited(decode(_slices(chunks)), limit)


def _limited(pieces: Iterator[bytes], limit: int | None) -> Iterator[bytes]:
    total = 0
    for piece in pieces:
        total += len(piece)
        if limit is not None and total > limit:
            raise LimitError(f"the layer's tar should have at most {limit} bytes, and has more")
        if piece:
            yield piece


def _slices(chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        for start in range(0, len(chunk), INPUT_SLICE):
            yield chunk[start : start + INPUT_SLICE]


def _plain(slices: Iterator[bytes]) -> Iterator[bytes]:
    return slices


def _gzip(slices: Iterator[bytes]) -> Iterator[bytes]:
    member = zlib_ng.decompressobj(GZIP_WINDOW_BITS)
    for data in slices:
        yield from _inflate(member, data)
        if member.eof:
            return _refuse_anything_behind(member.unused_data, slices)
    raise MalformedError("the gzip data is truncated: its end is missing")


def _inflate(member: zlib_ng._Decompress, data: bytes) -> Iterator[bytes]:
    while not member.eof:
        try:
            piece = member.decompress(data, PIECE)
        except _GzipError as error:
            raise MalformedError(f"the gzip data is damaged: {escape(str(error))}") from error
        yield piece
        data = member.unconsumed_tail
        # A full piece may have left more inside the decoder, with all input already taken.
        if not data and len(piece) < PIECE:
            return


def _refuse_anything_behind(rest: bytes, slices: Iterator[bytes]) -> None:
    while len(rest) < len(GZIP_MAGIC):
        more = next(slices, b"")
        if not more:
            break
        rest += more
    if rest.startswith(GZIP_MAGIC):
        raise MalformedError(
            "the gzip data should be one member, and a second one follows",
            hint="importers read no further than the first member: compress the layer again",
        )
    if rest:
        raise MalformedError("the gzip data should end with its first member, and other bytes follow")


def _zstd(slices: Iterator[bytes]) -> Iterator[bytes]:
    frame = ZstdDecompressor()
    for data in slices:
        rest = data
        while rest:
            if frame.eof:
                frame = ZstdDecompressor()
            yield from _decode_frame(frame, rest)
            rest = frame.unused_data
    if not frame.eof:
        raise MalformedError("the zstd data is truncated: the end of a frame is missing")


def _decode_frame(frame: ZstdDecompressor, data: bytes) -> Iterator[bytes]:
    while True:
        try:
            piece = frame.decompress(data, PIECE)
        except ZstdError as error:
            raise _zstd_refusal(error) from error
        yield piece
        if frame.eof or frame.needs_input:
            return
        data = b""  # the decoder has kept what it could not use yet


def _zstd_refusal(error: ZstdError) -> MalformedError | UnsupportedError:
    if "too much memory" in str(error):
        return UnsupportedError("the zstd data has a window of more than 128 MiB")
    return MalformedError(f"the zstd data is damaged: {escape(str(error))}")


_DECODERS: dict[str, Callable[[Iterator[bytes]], Iterator[bytes]]] = {
    LAYER_TAR: _plain,
    LAYER_GZIP: _gzip,
    LAYER_ZSTD: _zstd,
    DOCKER_LAYER_TAR: _plain,
    DOCKER_LAYER_GZIP: _gzip,
}
