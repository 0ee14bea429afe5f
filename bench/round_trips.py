"""Round trips of a real tree: encapsulated in every layout and compression, imported into every mode, the same commit.

Usage: python bench/round_trips.py REPO REV CONTENTMETA WORK [--only LAYOUT,...]

REPO and CONTENTMETA are as bench/desktop.py makes them; WORK an empty directory, which takes one image and one
repository at a time. `ostree fsck` looks at every repository. The exit code is 4 when a commit is not the same.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from desktop import OSTRATA, REF
from measure import measure
from table import Row, print_table

LAYOUTS = {
    "bootc-2": ("--layout", "bootc", "--format-version", "2"),
    "bootc-1": ("--layout", "bootc", "--format-version", "1"),
    "ostree-ext-0.15": ("--layout", "ostree-ext-0.15", "--format-version", "1"),
}
COMPRESSIONS = ("zstd", "gzip", "none")
MODES = ("bare-user", "archive", "bare")


def trips(repo: str, revision: str, contentmeta: str, work: Path, layout: str) -> Iterator[Row]:
    expected = measure(OSTRATA, "ls", "--repo", repo, revision, "--json", watch_memory=False)
    commit = json.loads(expected.stdout)["commit"]
    for compression in COMPRESSIONS:
        image, repository = f"oci:{work}/image", work / "repo"
        options = ("--contentmeta", contentmeta, "--compression", compression, "--jobs", "2", "-q")
        ran = measure(
            *(OSTRATA, "encapsulate", "--repo", repo, revision, image, *options, *LAYOUTS[layout]), watch_memory=False
        )
        yield Row(f"{layout}, {compression}: encapsulated", f"{ran.wall:.0f} s", "", "", "", True)
        for mode in MODES:
            measure(OSTRATA, "init", "--repo", str(repository), "--mode", mode, watch_memory=False)
            ran = measure(
                *(OSTRATA, "import", image, "--repo", str(repository), "--write-ref", REF, "--jobs", "2", "--json"),
                watch_memory=False,
            )
            found = json.loads(ran.stdout)["commit"]
            measure("ostree", "fsck", "--quiet", f"--repo={repository}", watch_memory=False)  # or it ends here
            what = f"{layout}, {compression}, {mode}: commit"
            yield Row(what, f"{found[:12]} ({ran.wall:.0f} s)", commit[:12], "", "equal", found == commit)
            shutil.rmtree(repository)
        shutil.rmtree(work / "image")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("repo", "revision", "contentmeta", "work"):
        parser.add_argument(name)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    os.makedirs(given.work, exist_ok=True)
    place = (given.repo, given.revision, given.contentmeta, Path(given.work))
    rows: dict[str, Callable[[], Iterator[Row]]] = {layout: partial(trips, *place, layout) for layout in LAYOUTS}
    return print_table(f"{given.repo} {given.revision}", rows, given.only)


if __name__ == "__main__":
    sys.exit(main())
