"""Layers that decompress to a thousand times their size and more: --max-size ends them; memory and disk are bounded."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import tarbuilder
from layer_images import TarImage, digest, tar_image
from measured_program import PROGRAM, peak_of
from ostrata.codecs.zstd import CompressionParameter, ZstdCompressor
from tarbuilder import BOOTC, END, Header, Node, commit_bytes, file_checksum

MIB = 1 << 20
LIMIT = 8 * MIB
BASE = {"": Node("directory", 0o755)}
BASE_TARS = tarbuilder.encapsulated_layers(BASE, commit_bytes(BASE), None)


@dataclass(frozen=True)
class Used:
    """Of a command: exit code, what it said, and the most memory and disk it used, in bytes."""

    code: int
    err: str
    memory: int
    disk: int


def run(directory: Path, *arguments: str) -> Used:
    """Run a command with its temporary files in `directory`; disk is what is in `directory`, looked at all the time."""
    line = [sys.executable, "-c", PROGRAM, *arguments, "--max-size", str(LIMIT), "--jobs", "1", "--quiet"]
    before, most = disk_of(directory), 0
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    ended = threading.Event()

    def watch() -> None:
        nonlocal most
        while not ended.is_set():
            most = max(most, disk_of(directory))
            time.sleep(0.01)

    watcher = threading.Thread(target=watch)
    watcher.start()
    out, err = process.communicate()
    ended.set()
    watcher.join()
    return Used(process.returncode, err, peak_of(out), max(0, most - before))


def disk_of(directory: Path) -> int:
    total = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def gzip_bomb(head: bytes, zeros: int) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    pieces = [compressor.compress(head)]
    pieces += [compressor.compress(bytes(MIB)) for _ in range(zeros // MIB)]
    return b"".join([*pieces, compressor.compress(END), compressor.flush()])


def zstd_bomb(head: bytes, zeros: int) -> bytes:
    compressor = ZstdCompressor(options={CompressionParameter.compression_level: 3})
    pieces = [compressor.compress(head)]
    pieces += [compressor.compress(bytes(MIB)) for _ in range(zeros // MIB)]
    return b"".join([*pieces, compressor.compress(END), compressor.flush()])


BOMBS = {"gzip": (gzip_bomb, 1_000, 64 * MIB), "zstd": (zstd_bomb, 30_000, 256 * MIB)}
"""How it is made, how many times its size it is at least, and how much that is."""


def bomb_image(path: Path, tars: list[bytes], compression: str, head: bytes) -> TarImage:
    """An image whose last layer is `head` and behind it zeros."""
    make, factor, zeros = BOMBS[compression]
    blob = make(head, zeros)
    assert zeros > factor * len(blob)
    image = tar_image(path, [*tars, b"to be replaced"], compression, encapsulated=len(BASE_TARS))
    image.blobs[-1] = blob
    image.manifest["layers"][-1] |= {"digest": digest(blob), "size": len(blob)}
    return image


def named_head(compression: str) -> bytes:
    head = Header().attributes(0o644, 0, 0, BOMBS[compression][2], b"0")
    head.buffer[0:4] = b"bomb"
    return head.finished()


def commands(place: Path) -> dict[str, Callable[[str], list[str]]]:
    (place / "work").mkdir(exist_ok=True)
    return {
        "import": lambda image: ["import", image, "--repo", str(place / "work/repo"), "--tmpdir", str(place / "work")],
        "extract": lambda image: ["extract", image, str(place / "work/tree"), "--tmpdir", str(place / "work")],
    }


@pytest.mark.parametrize("command", ["import", "extract"])
@pytest.mark.parametrize("compression", BOMBS)
def test_a_file_that_is_a_bomb_ends_at_the_limit(compression: str, command: str, tmp_path: Path) -> None:
    image = bomb_image(tmp_path / "image", BASE_TARS, compression, named_head(compression)).write()
    line = commands(tmp_path)[command](image.reference)
    ended(run(tmp_path / "work", *line))
    assert not (tmp_path / "work/tree").exists()


@pytest.mark.parametrize("compression", BOMBS)
def test_an_object_that_is_a_bomb_ends_at_the_limit(compression: str, tmp_path: Path) -> None:
    """As a large file object of the commit's own layers, which is written while it is read."""
    node = Node("file", 0o644, data=b"not hashed to the end")
    checksum = file_checksum(node)
    head = Header().attributes(0o644, 0, 0, BOMBS[compression][2], b"0")
    assert tarbuilder.set_path(head, tarbuilder.object_path("file", checksum).encode()) == b""
    first = tarbuilder.xattrs_entries(checksum, node, BOOTC, set())
    image = bomb_image(tmp_path / "image", BASE_TARS, compression, first + head.finished())
    image.config["config"]["Labels"]["ostree.final-diffid"] = image.config["rootfs"]["diff_ids"][-1]
    line = commands(tmp_path)["import"](image.write().reference)
    ended(run(tmp_path / "work", *line))


@pytest.mark.parametrize("command", ["import", "extract"])
def test_a_bomb_of_names_ends_at_the_limit(command: str, tmp_path: Path) -> None:
    """64,000 entries in a few kilobytes."""
    names = b"".join(tarbuilder.directory_entry(f"d{number}") for number in range(64))
    blob = zlib.compressobj(9, zlib.DEFLATED, 31)
    data = b"".join([*(blob.compress(names) for _ in range(1_000)), blob.compress(END), blob.flush()])
    image = tar_image(tmp_path / "image", [*BASE_TARS, names + END], "gzip", encapsulated=len(BASE_TARS))
    image.blobs[-1] = data
    image.manifest["layers"][-1] |= {"digest": digest(data), "size": len(data)}
    ended(run(tmp_path / "work", *commands(tmp_path)[command](image.write().reference)))


def ended(used: Used) -> None:
    assert used.code == 1, used
    assert used.err.count("\n") == 1 and "at most 8388608 bytes" in used.err, used
    assert used.memory < 160 * MIB, used
    assert used.disk < LIMIT + 2 * MIB, used
