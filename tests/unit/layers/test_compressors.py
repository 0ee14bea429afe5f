"""Compressors: equal tars give equal blobs, whatever the threads and pieces; a gzip blob is one member."""

from __future__ import annotations

import gzip
import pickle
import random
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator

import pytest

from ostrata.codecs.decompression import decompress
from ostrata.errors import UnsupportedError
from ostrata.layers.compressors import COMPRESSORS, Compressor, Gzip, Plain, Zstd, compressor
from ostrata.model.image import LAYER_GZIP, LAYER_TAR, LAYER_ZSTD

STREAMED = Gzip(whole_limit=100_000, block_size=70_000)
EVERY = [Gzip(), Gzip(1), Gzip(9), STREAMED, Gzip(1, whole_limit=0), Zstd(), Zstd(1), Zstd(19), Plain()]


def sample(size: int) -> bytes:
    """Words and noise, so that matches reach over every border between blocks."""
    source = random.Random(1)
    words = [source.randbytes(source.randrange(2, 40)) for _ in range(200)]
    return b"".join(source.choices(words, k=size // 15))[:size].ljust(size, b"\0")


SAMPLE = sample(400_000)


def cut(data: bytes, *sizes: int) -> Iterator[bytes]:
    """`data` in pieces whose sizes repeat `sizes`."""
    at = turn = 0
    while at < len(data):
        yield data[at : at + sizes[turn % len(sizes)]]
        at += sizes[turn % len(sizes)]
        turn += 1


def blob(compressor: Compressor, data: bytes = SAMPLE, threads: int = 2) -> bytes:
    return b"".join(compressor.compress(cut(data, 65536), threads))


@pytest.mark.parametrize("compressor", EVERY)
@pytest.mark.parametrize("size", [0, 1, 69_999, 70_000, 70_001, 100_000, 100_001, 140_000, 400_000])
def test_what_goes_in_comes_out(compressor: Compressor, size: int) -> None:
    data = SAMPLE[:size]
    assert b"".join(decompress([blob(compressor, data)], compressor.media_type, limit=size)) == data


@pytest.mark.parametrize("compressor", EVERY)
def test_a_blob_depends_neither_on_threads_nor_on_pieces(compressor: Compressor) -> None:
    expected = blob(compressor)
    for threads in (0, 1, 2, 4, 9):
        for sizes in ((len(SAMPLE),), (1 << 16,), (70_000,), (333, 90_001, 1)):
            pieces = compressor.compress(cut(SAMPLE, *sizes), threads)
            assert b"".join(pieces) == expected


def test_a_zstd_blob_of_several_jobs_depends_neither_on_threads_nor_on_pieces() -> None:
    data = SAMPLE * 60  # 24 MB: three jobs
    expected = blob(Zstd(), data, 1)
    for threads, size in ((2, 1 << 20), (4, 3_333_333), (1, 77_777), (3, len(data)), (1000, 1 << 20)):
        assert b"".join(Zstd().compress(cut(data, size), threads)) == expected


@pytest.mark.parametrize(("level", "extra_flags"), [(1, 4), (2, 0), (6, 0), (8, 0), (9, 2)])
@pytest.mark.parametrize("whole_limit", [0, 1 << 30])
def test_a_gzip_blob_is_one_member_without_time_name_or_system(level: int, extra_flags: int, whole_limit: int) -> None:
    member = blob(Gzip(level, whole_limit, 70_000))
    assert member[:10] == bytes.fromhex("1f8b080000000000") + bytes([extra_flags, 0xFF])
    decoder = zlib.decompressobj(wbits=31)
    assert decoder.decompress(member) == SAMPLE
    assert decoder.eof
    assert decoder.unused_data == b""
    assert member[-8:] == zlib.crc32(SAMPLE).to_bytes(4, "little") + len(SAMPLE).to_bytes(4, "little")


def test_the_way_of_a_gzip_layer_is_chosen_by_its_size_alone() -> None:
    assert blob(STREAMED, SAMPLE[:100_000]) == blob(Gzip(), SAMPLE[:100_000])
    assert blob(STREAMED, SAMPLE[:100_001]) != blob(Gzip(), SAMPLE[:100_001])


def test_blocks_of_a_streamed_gzip_layer_know_what_came_before() -> None:
    phrase = random.Random(2).randbytes(20_000)
    data = phrase * 20
    # Without the 32 KiB before it each block would hold the phrase once more.
    assert len(blob(Gzip(whole_limit=0, block_size=len(phrase)), data)) < 1.2 * len(phrase)


def test_a_streamed_layer_needs_no_more_memory_than_a_few_blocks() -> None:
    taken = given = 0

    def blocks() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(200):
            taken += 1
            yield SAMPLE[:10_000]

    ahead = []
    for _ in Gzip(whole_limit=0, block_size=10_000).compress(blocks(), threads=2):
        given += 1
        ahead.append(taken - given)
    assert max(ahead) <= 4
    assert given == 202  # header, blocks, end


def test_a_streamed_layer_left_half_way_leaves_no_thread_behind() -> None:
    program = (
        "import threading\n"
        "from ostrata.layers.compressors import Gzip\n"
        "pieces = Gzip(whole_limit=0, block_size=1000).compress(iter([bytes(900)] * 1000), 4)\n"
        "next(pieces), next(pieces), pieces.close()\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_an_error_of_the_reader_passes_through_every_compressor() -> None:
    def broken() -> Iterator[bytes]:
        yield SAMPLE
        raise UnsupportedError("the disk is on fire")

    for each in EVERY:
        with pytest.raises(UnsupportedError, match="on fire"):
            list(each.compress(broken(), 2))


def test_the_level_reaches_both_ways_of_a_gzip_layer_and_zstd() -> None:
    for low, high in (
        (Gzip(1, 0, 70_000), Gzip(6, 0, 70_000)),
        (Gzip(1, 1 << 30), Gzip(6, 1 << 30)),
        (Zstd(1), Zstd(19)),
    ):
        assert len(blob(low)) > len(blob(high))


def test_compressors_are_found_by_name_and_survive_pickling() -> None:
    assert list(COMPRESSORS) == ["gzip", "zstd", "none"]
    for name, media_type in (("gzip", LAYER_GZIP), ("zstd", LAYER_ZSTD), ("none", LAYER_TAR)):
        found = compressor(name)
        assert (found.name, found.media_type) == (name, media_type)
        assert pickle.loads(pickle.dumps(found)) == found


def test_options_are_stable_strings_of_name_level_and_scheme() -> None:
    assert compressor("gzip").options() == "gzip level=6 scheme=4"
    assert compressor("gzip", fast=True).options() == "gzip level=1 scheme=4"
    assert compressor("zstd").options() == "zstd level=3 scheme=4"
    assert compressor("zstd", level=19).options() == "zstd level=19 scheme=4"
    assert compressor("none", fast=True).options() == "none level=0 scheme=4"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: compressor("lz4\n"), r"one of gzip, zstd, none, found lz4\\n"),
        (lambda: compressor("gzip", level=0), "gzip should be 1 to 9, found 0"),
        (lambda: compressor("gzip", level=10), "gzip should be 1 to 9, found 10"),
        (lambda: compressor("zstd", level=20), "zstd should be 1 to 19, found 20"),
        (lambda: compressor("none", level=1), "none should be 0, found 1"),
        (lambda: compressor("gzip", level=6, fast=True), "exclude each other"),
    ],
)
def test_a_compressor_there_is_not_is_refused(make: Callable[[], Compressor], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        make()


def test_pythons_gzip_reads_every_gzip_blob() -> None:
    for each in EVERY:
        if isinstance(each, Gzip):
            assert gzip.decompress(blob(each)) == SAMPLE


@pytest.mark.interop
@pytest.mark.parametrize("compressor", [each for each in EVERY if not isinstance(each, Plain)])
def test_the_command_line_programs_read_every_blob(compressor: Compressor) -> None:
    program = compressor.name
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    found = subprocess.run([program, "-dc"], input=blob(compressor), capture_output=True, check=True, timeout=60)
    assert (found.stdout, found.stderr) == (SAMPLE, b"")
