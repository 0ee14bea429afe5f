"""The bars of the encapsulation, on a real tree: ratios against the named commands in the same run.

Usage: python bench/desktop.py TREE WORK [--only ROW,...] [--layers N]

TREE is a root filesystem with a dpkg database and no device nodes; WORK an empty directory on the same disk. Needs
ostree, tar, gzip and zstd. Every row prints what was measured and whether the bar holds; the exit code is 4 when one
does not. Run it on an idle machine: everything is read once before, so that the page cache is warm.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from dpkg_contentmeta import contentmeta
from measure import Measured, measure
from ostrata.sources.ostree_commit import read_commit_tree, read_tree
from ostrata.stores.ostree_repository import open_repository
from table import Row, best_of, print_table, ratio_row

OSTRATA = os.path.join(os.path.dirname(sys.executable), "ostrata")
REF = "bench"
MEMORY_BAR = 1 << 30
SPARSE_BYTES = 20 << 30


class Bench:
    """The rows, in an order in which later ones use what earlier ones made."""

    def __init__(self, tree: str, work: str, layers: int | None) -> None:
        self.tree = tree
        self.work = Path(work)
        self.layers = layers
        self.repo = self.work / "repo"
        self.meta = self.work / "contentmeta.json"
        self.memory: dict[str, int] = {}

    def rows(self) -> dict[str, Callable[[], Iterator[Row]]]:
        return {
            "start": self.start,
            "commit": self.commit,
            "read": self.read,
            "gzip": lambda: self.compression("gzip", "gzip -6", 0.25, 1.02),
            "zstd": lambda: self.compression("zstd", "zstd -3 -T0 -q", 1.5, 1.04),
            "unchanged": self.unchanged,
            "changed": self.changed,
            "sparse": self.sparse,
            "memory": self.peak_memory,
        }

    def start(self) -> Iterator[Row]:
        best = min(measure(OSTRATA, "--help", watch_memory=False).wall for _ in range(5))
        yield Row("`ostrata --help`, best of 5", _ms(best), "", "", "<= 150 ms", best <= 0.150)

    def commit(self) -> Iterator[Row]:
        warm(self.tree)
        theirs = self.work / "theirs"
        for path in (self.repo, theirs):
            shutil.rmtree(path, ignore_errors=True)
        ours = measure(OSTRATA, "commit", "--repo", str(self.repo), "-b", REF, "-q", "--timestamp", "@0", self.tree)
        measure("sync", watch_memory=False)
        measure("ostree", f"--repo={theirs}", "init", "--mode=bare-user")
        peer = measure(
            "ostree", f"--repo={theirs}", "commit", "-b", REF, f"--tree=dir={self.tree}", "--timestamp", "@0"
        )
        self.memory["commit"] = ours.memory
        same = ours.stdout.strip() == peer.stdout.strip()
        yield ratio_row("commit into an empty bare-user repository", ours, "ostree commit", peer, 0.5)
        yield Row("  same commit checksum", ours.stdout[:12], peer.stdout[:12], "", "equal", same)
        shutil.rmtree(theirs)

    def read(self) -> Iterator[Row]:
        repository = open_repository(str(self.repo))
        measure("ostree", f"--repo={self.repo}", "ls", "-R", "-C", REF)
        peer = best_of(3, lambda: measure("ostree", f"--repo={self.repo}", "ls", "-R", "-C", REF, watch_memory=False))
        ours = best_of(3, lambda: measure(sys.executable, __file__, "--read", str(self.repo), watch_memory=False))
        listed = best_of(3, lambda: measure(OSTRATA, "ls", "--repo", str(self.repo), REF, watch_memory=False))
        count = len(read_commit_tree(repository, REF).files)
        yield ratio_row(f"read a commit of {count} files, all metadata (best of 3)", ours, "ostree ls -R -C", peer, 0.5)
        yield ratio_row("  `ostrata ls`, printed (best of 3)", listed, "ostree ls -R -C", peer, None)

    def compression(self, name: str, program: str, wall_bar: float, size_bar: float) -> Iterator[Row]:
        self._write_contentmeta()
        warm(self.tree)
        packed = self.work / "peer"
        peer = measure(f"tar -C {self.tree} -c . | {program} > {packed}", shell=True)
        peer_size = packed.stat().st_size
        packed.unlink()
        image = self.work / name
        shutil.rmtree(image, ignore_errors=True)
        warm(str(self.repo))
        ours = measure(*self._encapsulate(f"oci:{image}:1", "--compression", name, "--contentmeta", str(self.meta)))
        result = json.loads(ours.stdout)
        size = sum(layer["size"] for layer in result["layers"])
        self.memory[name] = ours.memory
        yield ratio_row(
            f"encapsulate, {name}, {len(result['layers'])} layers", ours, f"tar | {program}", peer, wall_bar
        )
        yield Row(
            f"  its size, {name}",
            _mb(size),
            _mb(peer_size),
            f"{size / peer_size:.3f}",
            f"<= {size_bar}",
            size <= size_bar * peer_size,
        )

    def unchanged(self) -> Iterator[Row]:
        self._write_contentmeta()
        image = self.work / "again"
        previous = ("--previous", f"oci:{self.work / 'zstd'}:1")
        command = self._encapsulate(
            f"oci:{image}:1", "--compression", "zstd", "--contentmeta", str(self.meta), *previous
        )

        def once() -> Measured:
            shutil.rmtree(image, ignore_errors=True)
            return measure(*command)

        ours = best_of(5, once)
        built = json.loads(ours.stdout)["built"]["layers"]
        self.memory["unchanged"] = ours.memory
        yield Row("nothing changed, --previous, best of 5", f"{ours.wall:.1f} s", "", "", "<= 5 s", ours.wall <= 5)
        yield Row("  layers built", str(built), "", "", "0", built == 0)
        shutil.rmtree(image)

    def changed(self) -> Iterator[Row]:
        """One file of one package changes: another commit on another branch, the same plan but for that object."""
        overlay = self.work / "changed"
        shutil.rmtree(overlay, ignore_errors=True)
        measure("cp", "-al", self.tree, str(overlay), watch_memory=False)
        victim = overlay / "usr/bin/ping"
        data = victim.read_bytes()
        victim.unlink()
        victim.write_bytes(data + b"\0")
        measure(OSTRATA, "commit", "--repo", str(self.repo), "-b", "changed", "-q", str(overlay))
        meta = self.work / "changed.json"
        meta.write_text(json.dumps(contentmeta(open_repository(str(self.repo)), "changed", self.layers)))
        image = self.work / "again"
        previous = ("--previous", f"oci:{self.work / 'zstd'}:1")
        command = self._encapsulate(
            f"oci:{image}:1", "--compression", "zstd", "--contentmeta", str(meta), *previous, rev="changed"
        )
        ours = measure(*command)
        built = [layer["id"] for layer in json.loads(ours.stdout)["layers"] if layer["how"] == "built"]
        yield Row(
            "one package changed: layers built",
            f"{len(built)} ({ours.wall:.1f} s)",
            "",
            "",
            "2",
            len(built) == 2,
        )
        shutil.rmtree(image)
        shutil.rmtree(overlay)

    def sparse(self) -> Iterator[Row]:
        """A sparse file of 20 GiB in a layer of its own, written without compression to a place that is removed."""
        tree = self.work / "sparse-tree"
        tree.mkdir(exist_ok=True)
        with open(tree / "model", "wb") as file:
            file.truncate(SPARSE_BYTES)
        repo = str(self.work / "sparse-repo")
        committed = measure(OSTRATA, "commit", "--repo", repo, "-b", REF, "-q", str(tree))
        for name in ("zstd", "gzip"):
            image = self.work / "sparse-image"
            ours = measure(*self._encapsulate(f"oci:{image}", "--compression", name, repo=repo))
            peak = max(ours.memory, committed.memory)
            yield Row(
                f"a sparse file of 20 GiB, {name}: memory", _mb(peak), "", f"{ours.wall:.0f} s", "<= 1074 MB",
                peak <= MEMORY_BAR,
            )  # fmt: skip
            shutil.rmtree(image)
        shutil.rmtree(repo)
        shutil.rmtree(tree)

    def peak_memory(self) -> Iterator[Row]:
        for name, peak in self.memory.items():
            yield Row(f"peak memory of all processes, {name}", _mb(peak), "", "", "<= 1074 MB", peak <= MEMORY_BAR)

    def _encapsulate(self, destination: str, *more: str, rev: str = REF, repo: str | None = None) -> list[str]:
        return [
            OSTRATA, "encapsulate", "--repo", repo or str(self.repo), rev, destination, "--json", "-q", "--jobs", "2",
            *more,
        ]  # fmt: skip

    def _write_contentmeta(self) -> None:
        if not self.meta.exists():
            self.meta.write_text(json.dumps(contentmeta(open_repository(str(self.repo)), REF, self.layers)))


def warm(tree: str) -> None:
    """Read everything once; and let the disk finish what earlier rows wrote."""
    measure("sync", watch_memory=False)
    measure(f"tar -C {tree} -c . | cat > /dev/null", shell=True, watch_memory=False)


def read_everything(repo: str) -> None:
    """What the row `read` measures, in a process of its own as its peer is."""
    import gc

    from ostrata.parallel import available_jobs

    gc.disable()
    repository = open_repository(repo)
    read_tree(repository, REF, jobs=available_jobs())


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB"


def main() -> int:
    if sys.argv[1:2] == ["--read"]:
        read_everything(sys.argv[2])
        return 0
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tree")
    parser.add_argument("work")
    parser.add_argument("--only", default="")
    parser.add_argument(
        "--layers", type=int, help="at most this many layers of content; default one per source package"
    )
    options = parser.parse_args()
    os.makedirs(options.work, exist_ok=True)
    bench = Bench(options.tree, options.work, options.layers)
    return print_table(options.tree, bench.rows(), options.only)


if __name__ == "__main__":
    sys.exit(main())
