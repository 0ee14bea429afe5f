"""The demo of the README: a part of this machine becomes an OSTree commit and then an image, and is checked.

What it makes stays in ./demo-output for a look; everything is done by the same commands that users type.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from ostrata.sources.ostree_commit import read_commit_tree
from ostrata.stores.ostree_repository import open_repository

OUTPUT = Path("demo-output")
TREE, REPO, META, IMAGE = OUTPUT / "tree", OUTPUT / "repo", OUTPUT / "contentmeta.json", OUTPUT / "image"
REF = "demo/stable"
OSTRATA = Path(sys.executable).parent / "ostrata"


def main() -> None:
    shutil.rmtree(OUTPUT, ignore_errors=True)
    gather()
    ostrata("commit", "--repo", REPO, "--branch", REF, "--subject", "a part of this machine", TREE)
    META.write_text(json.dumps(contentmeta_by_directory(), indent=1))
    image = f"oci:{IMAGE}:latest"
    ostrata("encapsulate", "--repo", REPO, REF, image, "--contentmeta", META)
    ostrata("verify", image, "--repo", REPO, REF)
    ostrata("inspect", image)


def gather() -> None:
    """Copy this Python's library and the machine's documentation: real files, readable by everybody."""
    library = Path(os.__file__).parent
    wanted = {f"usr/lib/{library.name}": library, "usr/share/doc": Path("/usr/share/doc")}
    for name, source in wanted.items():
        if source.is_dir():
            print(f"$ cp -a {source} {TREE / name}", flush=True)
            shutil.copytree(
                source, TREE / name, symlinks=True, ignore=unwanted, copy_function=copy_readable, dirs_exist_ok=True
            )


def unwanted(directory: str, names: list[str]) -> list[str]:
    """What an OSTree commit cannot hold, and what is not ours to read."""
    return [name for name in names if name == "site-packages" or not is_wanted(os.path.join(directory, name))]


def is_wanted(path: str) -> bool:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    if os.path.islink(path):
        return True
    return os.path.isdir(path) or (os.path.isfile(path) and os.access(path, os.R_OK))


def copy_readable(source: str, target: str) -> None:
    shutil.copy2(source, target, follow_symlinks=False)


def contentmeta_by_directory() -> dict[str, object]:
    """A layer for each of the twelve largest directories, one for all else."""
    repository = open_repository(str(REPO))
    mapping: dict[str, str] = {}
    sizes: Counter[str] = Counter()
    for path, checksum in read_commit_tree(repository, REF).files:
        if checksum not in mapping:
            mapping[checksum] = "/".join(path.split("/")[:4])
            sizes[mapping[checksum]] += repository.estimated_size(checksum)
    kept = [directory for directory, _ in sizes.most_common(12)]
    mapping = {checksum: layer if layer in kept else "others" for checksum, layer in mapping.items()}
    return {"version": 1, "layers": {layer: f"/{layer}" for layer in kept} | {"others": "all else"}, "mapping": mapping}


def ostrata(*arguments: object) -> None:
    line = [str(argument) for argument in arguments]
    print(f"$ ostrata {' '.join(line)}", flush=True)
    subprocess.run([str(OSTRATA), *line], check=True)


if __name__ == "__main__":
    main()
