"""A contentmeta with one layer per dpkg source package, for measuring; real plans come from a planner.

Usage: python bench/dpkg_contentmeta.py REPO REV OUT.json [MAX_LAYERS]

The dpkg database is read from the commit itself. With MAX_LAYERS, the largest source packages keep layers of their own
and all others share one. What no package owns is in a layer of its own.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict

from ostrata.sources.ostree_commit import read_commit_tree
from ostrata.stores.ostree_repository import OstreeRepository, open_repository

DPKG = "var/lib/dpkg/"
UNOWNED = "unowned"
OTHERS = "small packages"


def main() -> None:
    repository = open_repository(sys.argv[1])
    most = int(sys.argv[4]) if len(sys.argv) > 4 else None
    document = contentmeta(repository, sys.argv[2], most)
    with open(sys.argv[3], "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
    print(f"{len(document['layers'])} layers, {len(document['mapping'])} objects")


def contentmeta(repository: OstreeRepository, revision: str, most: int | None = None) -> dict[str, dict[str, str]]:
    """The document: layers by descending size, objects by the first source package that owns a path of theirs."""
    commit = read_commit_tree(repository, revision)
    files = dict(commit.files)
    owners = owners_by_path(repository, files)
    mapping = {}
    sizes: Counter[str] = Counter()
    for path, checksum in commit.files:
        if checksum not in mapping:
            mapping[checksum] = owners.get(path, UNOWNED)
            sizes[mapping[checksum]] += repository.estimated_size(checksum)
    if most is not None:
        kept = {name for name, _ in sizes.most_common(most - 1)}
        mapping = {checksum: name if name in kept else OTHERS for checksum, name in mapping.items()}
    names = [name for name, _ in sizes.most_common() if name in set(mapping.values())]
    if OTHERS in mapping.values():
        names.append(OTHERS)
    return {"layers": {name: name for name in names}, "mapping": mapping}


def owners_by_path(repository: OstreeRepository, files: dict[str, str]) -> dict[str, str]:
    """Path in the commit -> source package, following merged-/usr symlinks."""
    merged = {name: f"usr/{name}" for name in ("bin", "sbin", "lib", "lib64", "lib32", "libx32") if name in files}
    sources = source_packages(read_text(repository, files, DPKG + "status"))
    owners: dict[str, str] = {}
    for path in files:
        if path.startswith(DPKG + "info/"):
            package, _, kind = path[len(DPKG + "info/") :].rpartition(".")
            package = package.partition(":")[0]
            source = sources.get(package, package)
            owners[path] = UNOWNED
            if kind == "list":
                for listed in read_text(repository, files, path).splitlines():
                    owners.setdefault(unmerge(listed.lstrip("/"), merged), source)
    return owners


def unmerge(path: str, merged: dict[str, str]) -> str:
    top, slash, rest = path.partition("/")
    return merged.get(top, top) + slash + rest


def source_packages(status: str) -> dict[str, str]:
    """Binary package -> source package, from dpkg's status file."""
    sources = defaultdict(str)
    for stanza in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and line[0] != " ")
        if "Package" in fields:
            sources[fields["Package"]] = fields.get("Source", fields["Package"]).split(" ")[0]
    return sources


def read_text(repository: OstreeRepository, files: dict[str, str], path: str) -> str:
    return b"".join(repository.open_file(files[path]).content).decode("utf-8", "replace")


if __name__ == "__main__":
    main()
