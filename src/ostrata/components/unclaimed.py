"""What nobody claims: big files one by one, the rest together.

In a tree without package database the rest is taken by directories instead: at most three names deep, whatever is in
them, so that components stay the same from one build to the next.
"""

from __future__ import annotations

from ostrata.components.claim import Claim
from ostrata.components.names import path_name
from ostrata.model.tree import Entry, RegularFile

BIG_FILE = 1 << 20
"""Bytes from which on a file is a component of its own."""

UNCLAIMED = "unclaimed"
DEPTH = 3
"""Names in the longest path of a directory that is a component."""

_REST = Claim(UNCLAIMED, "unclaimed", "no package lists it, and nothing else tells whose it is", 7.0)
_BIG = f"no package lists it, and it has at least {BIG_FILE >> 20} MiB"


def big_claim(path: str, entry: Entry) -> Claim | None:
    """The claim of a big file; None for others."""
    if isinstance(entry, RegularFile) and entry.size >= BIG_FILE:
        return Claim(path_name(path), "big", _BIG)
    return None


def rest_claim(path: str, *, by_directory: bool) -> Claim:
    """The claim of what nothing else claims."""
    if not by_directory:
        return _REST
    directory = "/".join(path.split("/")[:-1][:DEPTH])
    return Claim(path_name(directory), "directory", "no packages are known, and it lies in this directory")
