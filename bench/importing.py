"""The bars of the import, on a real image: ratios against the named commands in the same run.

Usage: python bench/importing.py TREE REPO IMAGE WORK [--update IMAGE] [--only ROW,...]

TREE is the root filesystem that ref `bench` of REPO was committed from, IMAGE a layout (`oci:PATH:TAG`, gzip layers,
since umoci reads no others) with that commit, as bench/desktop.py makes them; WORK an empty directory on the same disk.
`--update` is an image of the same plan with one package changed: its first layer and one other differ.
Needs ostree and umoci. The exit code is 4 when a bar does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from desktop import OSTRATA, REF
from measure import Measured, measure
from table import Row, print_table, ratio_row

MEMORY_BAR = 512 << 20


class Bench:
    """The rows, in an order in which later ones use what earlier ones made."""

    def __init__(self, tree: str, repo: str, image: str, work: Path, update: str | None) -> None:
        self.tree = tree
        self.repo = repo
        self.image = image
        self.work = work
        self.update = update
        self.ours: Measured | None = None

    def rows(self) -> dict[str, Callable[[], Iterator[Row]]]:
        return {
            "commit": self.against_commit,
            "umoci": self.against_umoci,
            "again": self.again,
            "update": self.updated,
            "tar": self.one_tar,
        }

    def imported(self) -> Measured:
        """The import into an empty bare-user repository, measured once."""
        if self.ours is None:
            self._fresh("imported")
            measure(f"cat {self._layout()}/blobs/sha256/* > /dev/null", shell=True, watch_memory=False)
            self.ours = self._import(self.image)
        return self.ours

    def against_commit(self) -> Iterator[Row]:
        ours = self.imported()
        theirs = self._fresh("theirs")
        measure("ostree", f"--repo={theirs}", "init", "--mode=bare-user")
        peer = measure("ostree", f"--repo={theirs}", "commit", "-b", REF, f"--tree=dir={self.tree}")
        yield ratio_row("import into an empty bare-user repository", ours, "ostree commit", peer, 0.5)
        expected = measure("ostree", f"--repo={self.repo}", "rev-parse", REF).stdout.strip()
        found = json.loads(ours.stdout)["commit"]
        yield Row("  same commit checksum", found[:12], expected[:12], "", "equal", found == expected)
        holds = ours.memory <= MEMORY_BAR
        yield Row("  peak memory of all processes, 2 jobs", f"{ours.memory / 1e6:.0f} MB", "", "", "<= 537 MB", holds)
        shutil.rmtree(theirs)

    def against_umoci(self) -> Iterator[Row]:
        ours = self.imported()
        bundle = self._fresh("bundle")
        peer = measure("umoci", "unpack", "--image", self.image.removeprefix("oci:"), str(bundle))
        yield ratio_row("import into an empty bare-user repository", ours, "umoci unpack", peer, 1.5)
        shutil.rmtree(bundle)

    def again(self) -> Iterator[Row]:
        self.imported()
        ours = self._import(self.image)
        read = json.loads(ours.stdout)["layers"]["read"]
        yield Row("the same image again: layers read", f"{read} ({ours.wall:.1f} s)", "", "", "0", read == 0)

    def updated(self) -> Iterator[Row]:
        """What an update costs beyond reading the layers that changed is looking for the objects of the others."""
        if self.update is None:
            return
        first = self.imported()
        ours = self._import(self.update)
        read = json.loads(ours.stdout)["layers"]["read"]
        yield Row("one package changed: layers read", f"{read} ({ours.wall:.1f} s)", "", "", "2", read == 2)
        yield ratio_row("  the time that it takes", ours, "the first import", first, None)

    def one_tar(self) -> Iterator[Row]:
        """The whole commit as one stream: one process does all."""
        command = (
            f"{OSTRATA} tar export --repo {self.repo} {REF} -q | {OSTRATA} tar import --repo {self._fresh('tar')} -q"
        )
        ours = measure(command, shell=True)
        yield Row("tar export | tar import", f"{ours.wall:.1f} s (cpu {ours.cpu:.1f})", "", "", "", True)

    def _import(self, image: str) -> Measured:
        repo = str(self.work / "imported")
        return measure(OSTRATA, "import", image, "--repo", repo, "--write-ref", REF, "--jobs", "2", "--json")

    def _fresh(self, name: str) -> Path:
        shutil.rmtree(self.work / name, ignore_errors=True)
        measure("sync", watch_memory=False)
        return self.work / name

    def _layout(self) -> str:
        return self.image.removeprefix("oci:").partition(":")[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("tree", "repo", "image", "work"):
        parser.add_argument(name)
    parser.add_argument("--update")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    os.makedirs(options.work, exist_ok=True)
    bench = Bench(options.tree, options.repo, options.image, Path(options.work), options.update)
    return print_table(options.image, bench.rows(), options.only)


if __name__ == "__main__":
    sys.exit(main())
