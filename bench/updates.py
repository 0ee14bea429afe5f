"""What a client downloads for real updates: a tree, the same tree with security updates, and a plan of each strategy.

    python bench/updates.py OLD NEW WORK [--layers N] [--strategy S,...]

OLD and NEW are root filesystems without device nodes, with their package databases; WORK is an empty directory. For
each strategy OLD is planned and encapsulated, then NEW with the first image as `--previous`: each strategy carries its
plan on in its own way. A plan knows the changelogs in its own tree only. Such a pair is made by, for instance,

    mmdebstrap --variant=important --include=linux-image-amd64,... bookworm OLD "deb MIRROR bookworm main"
    mmdebstrap --variant=important --include=linux-image-amd64,... bookworm NEW "deb MIRROR bookworm main" \\
        "deb MIRROR bookworm-updates main" "deb MIRROR-security bookworm-security main"
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from measure import measure
from ostrata.components.sizes import compressed_size
from ostrata.model.package import Package
from ostrata.model.tree import RegularFile
from ostrata.packages.databases import read_packages
from ostrata.sources.ostree_source import OstreeSource, open_commit
from ostrata.stores.ostree_repository import open_repository

OSTRATA = os.path.join(os.path.dirname(sys.executable), "ostrata")
OLD, NEW = "old", "new"
STRATEGIES = ("ostrata", "rechunk", "rpm-ostree", "chunkah")


@dataclass(frozen=True, slots=True)
class Release:
    """A committed tree: `clock` is the day behind the newest date in its changelogs."""

    source: OstreeSource
    packages: Mapping[str, Package]

    @property
    def clock(self) -> date:
        return max(day for package in self.packages.values() for day in package.changed) + timedelta(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("work", type=Path)
    parser.add_argument("--layers", type=int, default=64)
    parser.add_argument("--strategy", default=",".join(STRATEGIES))
    options = parser.parse_args()
    repo = options.work / "repo"
    old, new = (make_release(repo, name, tree) for name, tree in ((OLD, options.old), (NEW, options.new)))
    print_changes(old, new)
    print(f"\n| strategy, {options.layers} layers | image MB | layers downloaded | MB downloaded |\n|---|---|---|---|")
    for strategy in options.strategy.split(","):
        print(f"| {strategy} | {' | '.join(update(options.work, strategy, options.layers, old, new))} |", flush=True)


def make_release(repo: Path, ref: str, tree: str) -> Release:
    if not (repo / "refs/heads" / ref).exists():
        measure(OSTRATA, "commit", "--repo", str(repo), "-b", ref, "-q", "--timestamp", "@0", tree, watch_memory=False)
    source = open_commit(open_repository(str(repo)), ref)
    databases, _ = read_packages(source)
    return Release(source, {package.name: package for packages in databases.values() for package in packages})


def print_changes(old: Release, new: Release) -> None:
    changed = [
        package
        for name, package in new.packages.items()
        if name not in old.packages or old.packages[name].version != package.version
    ]
    known = set(dict(old.source.commit.files).values())
    objects = {checksum: path for path, checksum in new.source.commit.files if checksum not in known}
    sizes = {path: _size(new.source, path) for path in objects.values()}
    packed = sum(compressed_size(path, size) for path, size in sizes.items())
    print(f"known by {old.clock} and {new.clock}; {len(old.packages)} and {len(new.packages)} packages,")
    sources = {package.source for package in changed}
    print(f"{len(changed)} packages of {len(sources)} sources are new or updated;")
    print(f"{len(objects)} new objects: {sum(sizes.values()) / 1e6:.0f} MB, about {packed / 1e6:.0f} MB compressed")


def update(work: Path, strategy: str, layers: int, old: Release, new: Release) -> list[str]:
    """MB of the new image, and layers and MB that a client with the old one downloads."""
    image = work / strategy
    shutil.rmtree(image, ignore_errors=True)
    first, second = f"oci:{image}:{OLD}", f"oci:{image}:{NEW}"
    encapsulate(work, strategy, layers, OLD, first, old.clock)
    encapsulate(work, strategy, layers, NEW, second, new.clock, "--previous", first)
    found = json.loads(measure(OSTRATA, "compare", first, second, "--json", watch_memory=False).stdout)
    shutil.rmtree(image)
    size = found["shared"]["bytes"] + found["added"]["bytes"]
    return [f"{size / 1e6:.0f}", str(len(found["added"]["layers"])), f"{found['download_bytes'] / 1e6:.0f}"]


def encapsulate(work: Path, strategy: str, layers: int, ref: str, destination: str, clock: date, *more: str) -> None:
    measure(
        OSTRATA, "encapsulate", "--repo", str(work / "repo"), ref, destination, "-q", "--compression", "zstd",
        "--plan", "--strategy", strategy, "--max-layers", str(layers), "--plan-clock", clock.isoformat(), *more,
        watch_memory=False,
    )  # fmt: skip


def _size(source: OstreeSource, path: str) -> int:
    entry = source.tree.entries[path]
    return entry.size if isinstance(entry, RegularFile) else 0


if __name__ == "__main__":
    main()
