"""The bars of the build, on a real tree: ratios against the named commands in the same run.

Usage: python bench/building.py TREE WORK [--only ROW,...]

TREE is a root filesystem with a dpkg database; WORK an empty directory on the same disk. Needs tar, gzip, zstd and
ostree. Planning is a part of every build. The exit code is 4 when a bar does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from desktop import MEMORY_BAR, OSTRATA, REF, warm
from measure import Measured, Watcher, measure
from table import Row, print_table, ratio_row

OPTIONS = ("--max-layers", "96", "--created", "2024-05-17T12:00:00Z", "--jobs", "2", "--json", "-q")
VICTIM = "usr/bin/ping"
MODEL_BYTES = 10 << 30


class Bench:
    """The rows, in an order in which later ones use what earlier ones made."""

    def __init__(self, tree: str, work: Path) -> None:
        self.tree = tree
        self.work = work
        self.memory: dict[str, int] = {}
        self.first: Measured | None = None

    def rows(self) -> dict[str, Callable[[], Iterator[Row]]]:
        return {
            "zstd": lambda: self.against_tar("ostree", "zstd", "zstd -3 -T0 -q", 2.0),
            "again": lambda: self.again("gzip"),
            "again-zstd": lambda: self.again("zstd"),
            "image": self.from_image,
            "plain-zstd": lambda: self.against_tar("plain", "zstd", "zstd -3 -T0 -q", 1.5),
            "gzip": lambda: self.against_tar("ostree", "gzip", "gzip -6", 0.3),
            "chain": self.against_chain,
            "plain-gzip": lambda: self.against_tar("plain", "gzip", "gzip -6", 0.25),
            "disk": self.scratch_on_disk,
            "model": self.large_file,
            "memory": self.peak_memory,
        }

    def against_tar(self, image_format: str, compression: str, program: str, bar: float) -> Iterator[Row]:
        warm(self.tree)
        packed = self.work / "peer"
        peer = measure(f"tar -C {self.tree} -c . | {program} > {packed}", shell=True)
        peer_size = packed.stat().st_size
        packed.unlink()
        warm(self.tree)
        name = f"{image_format}-{compression}"
        ours = self.build(self.tree, name, image_format, compression)
        size = sum(layer["size"] for layer in json.loads(ours.stdout)["layers"])
        self.memory[name] = ours.memory
        yield ratio_row(f"build --format {image_format}, {compression}", ours, f"tar | {program}", peer, bar)
        yield Row(
            "  its size", f"{size / 1e6:.0f} MB", f"{peer_size / 1e6:.0f} MB", f"{size / peer_size:.3f}", "", True
        )

    def against_chain(self) -> Iterator[Row]:
        """What `build --format ostree` with gzip replaces; the row `gzip` must have run."""
        ours = self.build(self.tree, "ostree-gzip", "ostree", "gzip")
        repo = self._fresh("repo")
        measure("ostree", f"--repo={repo}", "init", "--mode=bare-user")
        started = time.perf_counter()
        measure("ostree", f"--repo={repo}", "commit", "-b", REF, f"--tree=dir={self.tree}")
        measure(f"ostree --repo={repo} export {REF} | gzip -6 > {self.work / 'peer'}", shell=True)
        chain = time.perf_counter() - started
        ratio = chain / ours.wall
        against = f"{chain:.1f} s ostree commit, export, gzip -6"
        yield Row("build --format ostree, gzip", f"{ours.wall:.1f} s", against, f"{ratio:.1f}", ">= 6", ratio >= 6)
        shutil.rmtree(repo)
        (self.work / "peer").unlink()

    def again(self, compression: str) -> Iterator[Row]:
        """One package changes; all files hashed, or with the cache. Memory is not watched: that takes time."""
        first = self.build(self.tree, "first", "ostree", compression, watch_memory=False)
        changed = self.work / "changed"
        shutil.rmtree(changed, ignore_errors=True)
        measure("cp", "-al", self.tree, str(changed), watch_memory=False)
        cache = str(self.work / "cache")
        time.sleep(3)  # links change times of change: the cache keeps no file that was changed just now
        self.build(str(changed), "first", "ostree", compression, "--cache", cache)
        data = (changed / VICTIM).read_bytes()
        (changed / VICTIM).unlink()
        (changed / VICTIM).write_bytes(data + b"\0")
        previous = ("--previous", f"oci:{self.work / 'first'}")
        for what, bar, more in (("", 0.25, ()), (", --cache", 0.10, ("--cache", cache))):
            ours = self.build(str(changed), "second", "ostree", compression, *previous, *more, watch_memory=False)
            built = json.loads(ours.stdout)["built"]["layers"]
            name = f"one package changed, {compression}, --previous{what}: {built} layers built"
            yield ratio_row(name, ours, "the first", first, bar)
        shutil.rmtree(changed)

    def from_image(self) -> Iterator[Row]:
        """From an image of the same tree; against the build from the directory and one decompression."""
        directory = self.build(self.tree, "first", "ostree", "zstd")
        self.build(self.tree, "image", "plain", "gzip")
        blobs = self.work / "image/blobs/sha256"
        unpack = f"for blob in {blobs}/*; do gzip -dcf $blob; done > /dev/null"
        decompression = measure(unpack, shell=True, watch_memory=False)
        ours = self.build(f"oci:{self.work / 'image'}", "second", "ostree", "zstd", "--tmpdir", str(self.work))
        self.memory["from an image"] = ours.memory
        ratio = (ours.wall - decompression.wall) / directory.wall
        against = f"{directory.wall:.1f} s from the directory, {decompression.wall:.1f} s to decompress"
        yield Row("from an image", f"{ours.wall:.1f} s", against, f"{ratio:.2f}", "<= 1.5", ratio <= 1.5)

    def scratch_on_disk(self) -> Iterator[Row]:
        """What lies in --tmpdir beside the output, at most, from an image of the same tree."""
        for compression in ("gzip", "none"):
            image = self.build(self.tree, "image", "plain", compression)
            layer = max(found["size"] for found in json.loads(image.stdout)["layers"])
            scratch = self._fresh("scratch")
            scratch.mkdir()
            watcher = Watcher(partial(_on_disk, scratch))
            ours = self.build(f"oci:{self.work / 'image'}", "second", "ostree", "zstd", "--tmpdir", str(scratch))
            peak = watcher.stop()
            output = sum(found["size"] for found in json.loads(ours.stdout)["layers"])
            against = f"{output / 1e6:.0f} MB output, {layer / 1e6:.0f} MB the largest layer"
            holds = peak <= output + layer
            yield Row(
                f"scratch on disk, from an image in {compression}", f"{peak / 1e6:.0f} MB", against,
                f"{peak / output:.2f}", "<= their sum", holds,
            )  # fmt: skip

    def large_file(self) -> Iterator[Row]:
        """A single file without compression; its peer reads it for two digests (object and layer), and copies it."""
        tree = self._fresh("model-tree")
        tree.mkdir()
        model, copy = tree / "model", self.work / "copy"
        measure(f"head -c {MODEL_BYTES} /dev/urandom > {model}", shell=True, watch_memory=False)
        peer = measure(f"sha256sum {model}; sha256sum {model}; cp {model} {copy}; sync {copy}", shell=True)
        copy.unlink()
        ours = self.build(str(tree), "second", "ostree", "none")
        self.memory["a large file"] = ours.memory
        yield ratio_row(f"a file of {MODEL_BYTES >> 30} GiB, none", ours, "two sha256sum, cp, sync", peer, 1.0)
        shutil.rmtree(tree)
        shutil.rmtree(self.work / "second")

    def peak_memory(self) -> Iterator[Row]:
        for name, peak in self.memory.items():
            holds = peak <= MEMORY_BAR
            yield Row(f"peak memory of all processes, {name}", f"{peak / 1e6:.0f} MB", "", "", "<= 1074 MB", holds)

    def build(
        self, source: str, name: str, image_format: str, compression: str, *more: str, watch_memory: bool = True
    ) -> Measured:
        image = self._fresh(name)
        how = ("--format", image_format, "--compression", compression)
        return measure(OSTRATA, "build", source, f"oci:{image}", *how, *OPTIONS, *more, watch_memory=watch_memory)

    def _fresh(self, name: str) -> Path:
        shutil.rmtree(self.work / name, ignore_errors=True)
        measure("sync", watch_memory=False)
        return self.work / name


def _on_disk(directory: Path) -> int:
    """How many bytes the files in `directory` take."""
    return sum(map(_blocks, directory.rglob("*")))


def _blocks(path: Path) -> int:
    try:
        return path.lstat().st_blocks * 512
    except FileNotFoundError:
        return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tree")
    parser.add_argument("work")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    os.makedirs(options.work, exist_ok=True)
    bench = Bench(options.tree, Path(options.work))
    return print_table(options.tree, bench.rows(), options.only)


if __name__ == "__main__":
    sys.exit(main())
