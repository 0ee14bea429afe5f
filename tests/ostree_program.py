"""What `ostree` says about repositories, and the judges' odd tree committed by it or by us."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from encapsulated_images import ostrata
from judge import rootfs

REF = "images/stable"
SHAPES = ("chunked", "single")
needs_ostree = pytest.mark.skipif(shutil.which("ostree") is None, reason="ostree is not installed")


@dataclass(frozen=True)
class Source:
    """A repository with one commit, and what `ostree` says about it."""

    repository: Path
    checksum: str
    listing: str


def ostree(repository: Path, verb: str, *arguments: str | Path) -> str:
    """Run it, return its stdout; its stderr is the test's failure message."""
    done = subprocess.run(
        ["ostree", f"--repo={repository}", verb, *arguments],
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def listing(repository: Path, revision: str) -> str:
    """Every path with its checksums, modes, owners and extended attributes."""
    return ostree(repository, "ls", "-R", "-C", "-X", revision)


def fsck(repository: Path) -> None:
    """Every object is right."""
    assert "no errors found" in ostree(repository, "fsck", "--quiet")


def make_tree(place: Path) -> Path:
    """The odd tree below `place`; skips for users, who cannot make its owners."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a tree with owners")
    (place / "program").write_bytes(b"\x7fELF, perhaps\n" * 1000)
    return rootfs.make(place / "rootfs", place / "program")


def commit_tree(tree: Path, repository: Path, program: str, mode: str, *options: str) -> Source:
    """Commit `tree` with `ostree` or `ostrata` (the `program`) into a new repository."""
    branch = (f"--branch={REF}", "--timestamp=@1577836800", *options)
    if program == "ostree":
        ostree(repository, "init", f"--mode={mode}")
        checksum = ostree(repository, "commit", *branch, f"--tree=dir={tree}").strip()
    else:
        checksum = ostrata("commit", "--quiet", "--repo", repository, "--mode", mode, *branch, tree)
    return Source(repository, checksum, listing(repository, checksum))
