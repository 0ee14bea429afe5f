"""Files that were moved after their package was installed, recognised by what is in them.

A package's file that is not where the database says may be elsewhere: a kernel in usr/lib/ostree-boot, say. Where the
database knows the digest of a missing file, files that nobody claims are read and compared. Empty files prove nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, KeysView, Mapping

from ostrata.errors import escape
from ostrata.model.package import Package
from ostrata.model.tree import RegularFile
from ostrata.protocols import Source

MAX_READ = 1 << 30
"""Bytes of the files that are read, the smaller ones first."""


def moved_files(source: Source, paths: Iterable[str], packages: Iterable[Package]) -> Mapping[str, tuple[Package, str]]:
    """Those of `paths` whose content a package misses: its package, and the path it should be at."""
    missing = _missing(packages, source.tree.entries.keys())
    if not missing:
        return {}
    algorithms = sorted({algorithm for algorithm, _ in missing} & hashlib.algorithms_available)
    found = {}
    known: dict[str, tuple[Package, str] | None] = {}
    for path, entry in _candidates(source, paths):
        if entry.content not in known:
            digests = _digests(source, path, algorithms)
            known[entry.content] = next((missing[digest] for digest in digests if digest in missing), None)
        match = known[entry.content]
        if match is not None:
            found[path] = match
    return found


def why_moved(package: Package, path: str) -> str:
    """For people."""
    return f"it is what the package {escape(package.name)} misses at /{escape(path)}"


def _missing(packages: Iterable[Package], there: KeysView[str]) -> dict[tuple[str, str], tuple[Package, str]]:
    """Digest of a file that is not there -> its package and path; the first one by name counts."""
    missing: dict[tuple[str, str], tuple[Package, str]] = {}
    for package in packages:
        if not package.digests.keys() <= there:
            for path in sorted(package.digests.keys() - there):
                missing.setdefault(package.digests[path], (package, path))
    return missing


def _candidates(source: Source, paths: Iterable[str]) -> list[tuple[str, RegularFile]]:
    files = [
        (path, entry)
        for path in paths
        if isinstance(entry := source.tree.entries.get(path), RegularFile) and entry.size > 0
    ]
    files.sort(key=lambda item: (item[1].size, item[0]))
    chosen, total = [], 0
    for path, entry in files:
        total += entry.size
        if total > MAX_READ:
            break
        chosen.append((path, entry))
    return chosen


def _digests(source: Source, path: str, algorithms: list[str]) -> list[tuple[str, str]]:
    hashers = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
    for piece in source.open(path):
        for hasher in hashers.values():
            hasher.update(piece)
    return [(name, hasher.hexdigest()) for name, hasher in hashers.items()]
