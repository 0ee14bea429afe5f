"""How fast and how small: our compressors, and the programs that a user would run instead.

    python bench/compressors.py TAR_OR_DIRECTORY [--megabytes 400] [--threads 2]

Every line is one run over the same tar bytes, in memory, compared with `gzip -6` or `zstd -3 -T0`.
`peak` is the growth of the resident memory of a process of its own that compresses the tar from disk.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial

from ostrata.layers.compressors import WHOLE_LIMIT, Compressor, Gzip, Plain, Zstd

PIECE = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", help="a tar file, or a directory to make one of")
    parser.add_argument("--megabytes", type=int, default=400, help="use that much of it")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak_of:
        print(measure_peak(arguments.input, candidate(arguments.peak_of), arguments.threads))
        return
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "sample.tar")
        take_sample(arguments.input, path, arguments.megabytes * 1_000_000)
        print_table(path, arguments.threads)


def take_sample(source: str, path: str, size: int) -> None:
    with open(path, "wb") as file:
        if os.path.isdir(source):
            tar = subprocess.Popen(["tar", "--sort=name", "-C", source, "-c", "."], stdout=subprocess.PIPE)
            assert tar.stdout is not None
            stream = tar.stdout
        else:
            tar, stream = None, open(source, "rb")
        with stream:
            while size > 0 and (piece := stream.read(min(PIECE, size))):
                file.write(piece)
                size -= len(piece)
        if tar is not None:
            tar.wait()


def print_table(path: str, threads: int) -> None:
    with open(path, "rb") as file:
        data = file.read()
    print(f"{len(data) / 1e6:.0f} MB of tar, {threads} threads, {len(os.sched_getaffinity(0))} CPUs\n")
    print(f"| {'compressor':<34} |    bytes    | ratio |  MB/s | MB/s of CPU | size to program | peak MiB |")
    print(f"|{'-' * 36}|{'-' * 13}|{'-' * 7}|{'-' * 7}|{'-' * 13}|{'-' * 17}|{'-' * 10}|")
    base: dict[str, int] = {}
    for name, family, peak, run in rows(path, data, threads):
        cpu, wall = cpu_seconds(), time.perf_counter()
        size = run()
        cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
        base.setdefault(family, size)
        print(
            f"| {name:<34} | {size:>11} | {len(data) / size:>5.2f} | {len(data) / wall / 1e6:>5.0f} "
            f"| {len(data) / cpu / 1e6:>11.0f} | {size / base[family]:>15.3f} | {peak:>8} |",
            flush=True,
        )


def rows(path: str, data: bytes, threads: int) -> Iterator[tuple[str, str, str, Callable[[], int]]]:
    """(name, family, peak memory, run). A family's first row is what the others are compared with."""
    for program, family in (("gzip -6", "gzip"), ("pigz -6", "gzip"), ("zstd -3 -T0 -q", "zstd")):
        if shutil.which(program.split()[0]):
            yield program, family, "", partial(run_program, program.split(), path)
    yield "zlib 6 (Python's)", "gzip", "", lambda: len(zlib.compress(data, 6))
    for name in CANDIDATES:
        compressor = candidate(name)
        yield (
            name,
            compressor.name,
            peak_of(name, path, threads),
            partial(compress, compressor, data, threads),
        )


CANDIDATES: dict[str, Callable[[], Compressor]] = {
    "gzip 6, in memory (libdeflate)": lambda: Gzip(whole_limit=1 << 40),
    "gzip 6, streamed (zlib-ng)": lambda: Gzip(whole_limit=0),
    "gzip 6, streamed, 4 MiB blocks": lambda: Gzip(whole_limit=0, block_size=4 << 20),
    "gzip 7, streamed": lambda: Gzip(7, whole_limit=0),
    "gzip 9, streamed": lambda: Gzip(9, whole_limit=0),
    "gzip 1, in memory": lambda: Gzip(1, whole_limit=1 << 40),
    "gzip 1, streamed": lambda: Gzip(1, whole_limit=0),
    "gzip 6, layers of 128 MiB": lambda: Gzip(whole_limit=WHOLE_LIMIT),
    "zstd 3": Zstd,
    "zstd 1": lambda: Zstd(1),
    "none": Plain,
}


def candidate(name: str) -> Compressor:
    return CANDIDATES[name]()


def compress(compressor: Compressor, data: bytes, threads: int) -> int:
    """The bytes that come out. A compressor that is to be judged by layers gets them one after the other."""
    step = WHOLE_LIMIT if isinstance(compressor, Gzip) and compressor.whole_limit == WHOLE_LIMIT else len(data)
    total = 0
    for start in range(0, len(data), step):
        layer = memoryview(data)[start : start + step]
        blocks = (bytes(layer[at : at + PIECE]) for at in range(0, len(layer), PIECE))
        total += sum(map(len, compressor.compress(blocks, threads)))
    return total


def run_program(command: list[str], path: str) -> int:
    with (
        open(path, "rb") as file,
        subprocess.Popen(command, stdin=file, stdout=subprocess.PIPE) as process,
    ):
        assert process.stdout is not None
        size = 0
        while piece := process.stdout.read(PIECE):
            size += len(piece)
        return size


def peak_of(name: str, path: str, threads: int) -> str:
    command = [sys.executable, __file__, path, "--threads", str(threads), "--peak-of", name]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def measure_peak(path: str, compressor: Compressor, threads: int) -> str:
    """MiB of growth while one layer of at most WHOLE_LIMIT bytes is read from disk and compressed."""
    size = min(os.path.getsize(path), WHOLE_LIMIT)
    before = peak_kib()
    with open(path, "rb") as file:
        blocks = (file.read(min(PIECE, size - at)) for at in range(0, size, PIECE))
        for _ in compressor.compress(blocks, threads):
            pass
    return str((peak_kib() - before) >> 10)


def peak_kib() -> int:
    """This process's own peak: ru_maxrss would begin with that of the process which started it."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))


def cpu_seconds() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


if __name__ == "__main__":
    main()
