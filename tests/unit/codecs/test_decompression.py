"""The decoder of layers: the end must be seen, one gzip member, bounded pieces, every limit kept."""

from __future__ import annotations

import gzip
import random
import shutil
import subprocess
import zlib
from collections.abc import Iterator

import pytest

from ostrata.codecs.decompression import PIECE, decompress
from ostrata.codecs.zstd import CompressionParameter, ZstdCompressor
from ostrata.errors import LimitError, MalformedError, UnsupportedError
from ostrata.model.image import (
    DOCKER_LAYER_GZIP,
    DOCKER_LAYER_TAR,
    LAYER_GZIP,
    LAYER_TAR,
    LAYER_ZSTD,
    MANIFEST,
)

DATA = random.Random(3).randbytes(3_000) + b"a line \xff\n" * 500
GZIP = gzip.compress(DATA, mtime=0)


def zstd(data: bytes, **options: int) -> bytes:
    parameters = {CompressionParameter[name]: value for name, value in options.items()}
    compressor = ZstdCompressor(options=parameters)
    return compressor.compress(data) + compressor.flush()


ZSTD = zstd(DATA)
SKIPPABLE = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"
BLOBS = {LAYER_TAR: DATA, LAYER_GZIP: GZIP, LAYER_ZSTD: ZSTD, DOCKER_LAYER_TAR: DATA, DOCKER_LAYER_GZIP: GZIP}


def decoded(blob: bytes, media_type: str, chunk: int = 1000, limit: int | None = None) -> bytes:
    chunks = (blob[at : at + chunk] for at in range(0, len(blob), chunk))
    return b"".join(decompress(chunks, media_type, limit=limit))


@pytest.mark.parametrize("media_type", BLOBS)
@pytest.mark.parametrize("chunk", [1, 7, 1000, 1 << 20])
def test_a_blob_decodes_however_it_is_cut(media_type: str, chunk: int) -> None:
    assert decoded(BLOBS[media_type], media_type, chunk) == DATA


def test_empty_chunks_between_others_mean_nothing() -> None:
    for media_type, blob in BLOBS.items():
        assert b"".join(decompress([b"", blob[:20], b"", blob[20:], b""], media_type, limit=None)) == DATA


@pytest.mark.parametrize("media_type", [LAYER_GZIP, LAYER_ZSTD])
def test_a_truncated_blob_is_refused_wherever_it_ends(media_type: str) -> None:
    blob = BLOBS[media_type]
    for length in range(len(blob)):
        with pytest.raises(MalformedError, match="truncated"):
            decoded(blob[:length], media_type, chunk=1 << 20)


@pytest.mark.parametrize("media_type", [LAYER_GZIP, LAYER_ZSTD])
def test_bytes_behind_the_end_are_refused(media_type: str) -> None:
    for rest in (b"\0", b"\x1f", b"garbage garbage garbage", bytes(512)):
        for chunk in (1, 5, 1 << 20):
            with pytest.raises(MalformedError):
                decoded(BLOBS[media_type] + rest, media_type, chunk)


@pytest.mark.parametrize("chunk", [1, 1000, len(GZIP), 1 << 20])
def test_a_second_gzip_member_is_refused_because_importers_would_ignore_it(chunk: int) -> None:
    with pytest.raises(MalformedError, match="a second one follows\nimporters read no further"):
        decoded(GZIP + GZIP, LAYER_GZIP, chunk)


def test_a_gzip_member_with_a_name_and_a_time_decodes() -> None:
    header = b"\x1f\x8b\x08\x08\x01\x02\x03\x04\x00\x03a name\xff\n\0"
    assert decoded(header + GZIP[10:], LAYER_GZIP) == DATA


@pytest.mark.parametrize("at", [-8, -1, -4, 0, 2])
def test_a_gzip_member_with_a_wrong_checksum_size_or_header_is_refused(at: int) -> None:
    damaged = bytearray(GZIP)
    damaged[at] ^= 1
    with pytest.raises(MalformedError, match="gzip data is damaged"):
        decoded(bytes(damaged), LAYER_GZIP)


def test_bare_deflate_and_zlib_data_are_not_gzip() -> None:
    for data in (zlib.compress(DATA), zlib.compress(DATA, wbits=-15), ZSTD, DATA):
        with pytest.raises(MalformedError):
            decoded(data, LAYER_GZIP)


@pytest.mark.parametrize("chunk", [1, 9, 1000, 1 << 20])
def test_all_frames_of_a_zstd_blob_are_read_and_skippable_ones_skipped(chunk: int) -> None:
    blob = ZSTD + SKIPPABLE + zstd(b"") + zstd(b"more", checksum_flag=1) + SKIPPABLE
    assert decoded(blob, LAYER_ZSTD, chunk) == DATA + b"more"


def test_a_zstd_frame_with_a_wrong_checksum_is_refused() -> None:
    damaged = bytearray(zstd(DATA, checksum_flag=1))
    damaged[-1] ^= 1
    with pytest.raises(MalformedError, match="zstd data is damaged"):
        decoded(bytes(damaged), LAYER_ZSTD)


def test_a_zstd_frame_that_asks_for_a_huge_window_is_unsupported() -> None:
    frame = b"\x28\xb5\x2f\xfd" + bytes([0, (28 - 10) << 3]) + b"\x01\x00\x00"  # a window of 256 MiB
    with pytest.raises(UnsupportedError, match="128 MiB"):
        decoded(frame, LAYER_ZSTD)


def test_an_empty_blob_is_no_compressed_layer() -> None:
    for media_type in (LAYER_GZIP, LAYER_ZSTD):
        with pytest.raises(MalformedError, match="truncated"):
            decoded(b"", media_type)
    assert decoded(b"", LAYER_TAR) == b""


def bombs() -> dict[str, bytes]:
    """100 MiB of zeros in about a hundred kilobytes, or in a few."""
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(1 << 20)
    blob = b"".join([*(packer.compress(zeros) for _ in range(100)), packer.flush()])
    return {LAYER_GZIP: blob, LAYER_ZSTD: zstd(bytes(100 << 20))}


@pytest.mark.parametrize("media_type", [LAYER_GZIP, LAYER_ZSTD])
def test_a_bomb_comes_out_in_small_pieces(media_type: str) -> None:
    total = 0
    for piece in decompress([bombs()[media_type]], media_type, limit=None):
        assert 0 < len(piece) <= PIECE
        total += len(piece)
    assert total == 100 << 20


@pytest.mark.parametrize("media_type", [LAYER_GZIP, LAYER_ZSTD])
def test_a_bomb_stops_at_the_limit(media_type: str) -> None:
    seen = 0
    with pytest.raises(LimitError, match="at most 5000000 bytes"):
        for piece in decompress([bombs()[media_type]], media_type, limit=5_000_000):
            seen += len(piece)
    assert seen <= 5_000_000


@pytest.mark.parametrize("media_type", BLOBS)
def test_the_limit_is_the_last_size_that_is_allowed(media_type: str) -> None:
    assert decoded(BLOBS[media_type], media_type, limit=len(DATA)) == DATA
    with pytest.raises(LimitError):
        decoded(BLOBS[media_type], media_type, limit=len(DATA) - 1)


def test_large_pieces_of_an_uncompressed_layer_are_cut_small() -> None:
    assert max(map(len, decompress([bytes(10 << 20)], LAYER_TAR, limit=None))) <= PIECE


@pytest.mark.parametrize("media_type", [MANIFEST, "", "text/plain\n", LAYER_TAR + "+lz4", LAYER_GZIP.upper()])
def test_another_media_type_is_unsupported_before_anything_is_read(media_type: str) -> None:
    def untouched() -> Iterator[bytes]:
        raise AssertionError("read")
        yield b""

    with pytest.raises(UnsupportedError, match="is not a layer media type"):
        decompress(untouched(), media_type, limit=None)


@pytest.mark.interop
@pytest.mark.parametrize(
    ("command", "media_type"),
    [
        ("gzip -c", LAYER_GZIP),
        ("pigz -c -b 128", LAYER_GZIP),
        ("zstd -c", LAYER_ZSTD),
        ("zstd -c -T2 -B512K", LAYER_ZSTD),
    ],
)
def test_what_the_command_line_programs_write_is_read(command: str, media_type: str) -> None:
    program, *options = command.split()
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    data = DATA * 300
    written = subprocess.run([program, *options], input=data, capture_output=True, check=True, timeout=60)
    assert decoded(written.stdout, media_type, 100_000) == data
