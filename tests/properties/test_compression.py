"""decompress(compress(x)) == x; a blob has one form; damaged blobs are refused, and nothing but refused."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from ostrata.codecs.decompression import decompress
from ostrata.errors import LimitError, MalformedError, UnsupportedError
from ostrata.layers.compressors import Compressor, Gzip, Plain, Zstd
from ostrata.model.image import LAYER_GZIP, LAYER_TAR, LAYER_ZSTD

COMPRESSORS: list[Compressor] = [
    Gzip(),
    Gzip(1),
    Gzip(9, whole_limit=0, block_size=100),
    Gzip(whole_limit=300, block_size=1000),
    Gzip(1, whole_limit=0, block_size=333),
    Zstd(),
    Zstd(1),
    Plain(),
]
MEDIA_TYPES = [LAYER_GZIP, LAYER_ZSTD, LAYER_TAR]

compressors = st.sampled_from(COMPRESSORS)
packed = st.sampled_from(COMPRESSORS[:-1])
# Few distinct words repeated often: there is something to compress, over the borders of blocks too.
tars = st.lists(st.sampled_from([b"\0" * 97, b"usr/lib/a b\n\xff", b"x", bytes(range(256))]), max_size=60).map(b"".join)
cuts = st.lists(st.integers(1, 700), min_size=1, max_size=9)


def pieces(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    at = turn = 0
    while at < len(data):
        yield data[at : at + sizes[turn % len(sizes)]]
        at += sizes[turn % len(sizes)]
        turn += 1


def blob(compressor: Compressor, tar: bytes) -> bytes:
    return b"".join(compressor.compress(iter([tar]), 1))


@given(compressors, tars | st.binary(max_size=3000), cuts)
def test_what_was_compressed_decompresses_to_the_same(compressor: Compressor, tar: bytes, sizes: list[int]) -> None:
    packed = blob(compressor, tar)
    assert b"".join(decompress(pieces(packed, sizes), compressor.media_type, limit=len(tar))) == tar


@given(compressors, tars, cuts, st.integers(1, 5))
def test_a_tar_has_one_blob(compressor: Compressor, tar: bytes, sizes: list[int], threads: int) -> None:
    assert b"".join(compressor.compress(pieces(tar, sizes), threads)) == blob(compressor, tar)


@given(packed, tars, st.data())
def test_a_blob_cut_anywhere_is_refused(compressor: Compressor, tar: bytes, data: st.DataObject) -> None:
    whole = blob(compressor, tar)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        list(decompress([cut], compressor.media_type, limit=None))
    except MalformedError:
        return
    raise AssertionError("a truncated blob was read without complaint")


@given(packed, tars, st.binary(min_size=1, max_size=40))
def test_a_blob_with_other_bytes_behind_it_is_refused(compressor: Compressor, tar: bytes, rest: bytes) -> None:
    try:
        list(decompress([blob(compressor, tar), rest], compressor.media_type, limit=None))
    except MalformedError:
        return
    raise AssertionError("trailing bytes were read without complaint")


@given(st.sampled_from(MEDIA_TYPES), st.binary(max_size=300), cuts)
def test_any_bytes_decode_or_are_refused(media_type: str, data: bytes, sizes: list[int]) -> None:
    read_or_refuse(data, media_type, sizes)


@given(packed, tars, cuts, st.data())
def test_a_damaged_blob_decodes_or_is_refused(
    compressor: Compressor, tar: bytes, sizes: list[int], data: st.DataObject
) -> None:
    damaged = bytearray(blob(compressor, tar))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    read_or_refuse(bytes(damaged), compressor.media_type, sizes)


def read_or_refuse(data: bytes, media_type: str, sizes: list[int]) -> None:
    try:
        for piece in decompress(pieces(data, sizes), media_type, limit=1 << 24):
            assert piece
    except (MalformedError, UnsupportedError, LimitError):
        pass
