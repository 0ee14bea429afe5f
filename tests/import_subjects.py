"""Imports to be tried by faults: each imports an update into a repository that has a ref, and knows what is right."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import tarbuilder
from derived_images import content_of, entries_of
from layer_images import tar_image
from ostrata.model.tree import RegularFile, Symlink
from ostrata.sources.ostree_commit import read_tree
from ostrata.stores.ostree_repository import open_repository
from plain_images import Change, directory, layer_tar, link, symlink, whiteout, write_image
from tarbuilder import Node, checksum_of, commit_bytes, file_checksum

SIZE = 5000
SEEDS = (1, 2)
"""Of the old image and of the new one."""


class Import:
    """Of an encapsulated image, into a bare-user repository."""

    name = "import"
    mode = "bare-user"

    def __init__(self, place: Path) -> None:
        self.images = [self.make_image(place / f"image{seed}", seed) for seed in SEEDS]
        self.before = place / "before"
        self.commits = [import_now(self.line(self.before, self.images[0]))]
        self.prepare(place / "after")
        self.commits.append(import_now(self.line(place / "after")))
        self.check(self.before, SEEDS[0])
        self.check(place / "after", SEEDS[1])

    def make_image(self, place: Path, seed: int) -> str:
        return tar_image(place, encapsulated(make_tree(seed)), "gzip").reference

    def check(self, home: Path, seed: int) -> None:
        """Without a fault the commit is the one that went into the image."""
        assert shown(home, "os") == checksum_of(commit_bytes(make_tree(seed)))

    def line(self, home: Path, image: str | None = None, jobs: str = "1") -> list[str]:
        words = ["import", image or self.images[1], "--mode", self.mode, "--jobs", jobs]
        return ostrata(*words, "--repo", str(home), "--write-ref", "os", "--json", "--quiet")

    def prepare(self, home: Path) -> None:
        shutil.copytree(self.before, home, symlinks=True)

    def is_as_before(self, home: Path) -> bool:
        return shown(home, "os") == self.commits[0]

    def is_done(self, home: Path) -> bool:
        return shown(home, "os") == self.commits[1]

    def result(self, home: Path) -> object:
        """All but the notes on layers: one that could not be read is made anew when it is needed."""
        return {name: data for name, data in contents(home).items() if "ostrata" not in name.split("/")}

    def leftovers(self, home: Path) -> list[str]:
        return sorted(set(os.listdir(home / "tmp")) - {"cache"})


class ImportToArchive(Import):
    name = "import to archive"
    mode = "archive"


class ImportToBare(Import):
    """As root only: files keep their owners."""

    name = "import to bare"
    mode = "bare"


class ImportDerived(Import):
    """Of an image with two layers on top of an encapsulated commit: two commits."""

    name = "import derived"

    def make_image(self, place: Path, seed: int) -> str:
        own = encapsulated(make_tree(seed))
        tars = [*own, layer_tar(make_layer(seed)), layer_tar([whiteout("f1"), whiteout("opt/f0")])]
        return tar_image(place, tars, "gzip", encapsulated=len(own)).reference

    def check(self, home: Path, seed: int) -> None:
        assert {"f0", "f1", "opt/f0", "opt/f1"} & set(entries_of(home, "os")) == {"f0", "opt/f1"}
        assert content_of(home, "os", "usr/etc/x") == b"%d" % seed


class ImportPlain(Import):
    """Of an image without a commit in it."""

    name = "import plain"

    def make_image(self, place: Path, seed: int) -> str:
        write_image(place, [make_layer(seed), [whiteout("opt/f0"), Change("upper", data=b"%d" % seed)]])
        return f"oci:{place}:t"

    def check(self, home: Path, seed: int) -> None:
        assert content_of(home, "os", "upper") == b"%d" % seed
        assert "opt/f0" not in entries_of(home, "os")


class ImportTar(Import):
    """`ostrata tar import`."""

    name = "tar import"

    def make_image(self, place: Path, seed: int) -> str:
        return str(make_tar(place, make_tree(seed)))

    def line(self, home: Path, image: str | None = None, jobs: str = "1") -> list[str]:
        words = ["tar", "import", image or self.images[1], "--mode", self.mode]  # which knows no jobs
        return ostrata(*words, "--repo", str(home), "--write-ref", "os", "--json", "--quiet")


# What the images are made of


def make_tree(seed: int) -> dict[str, Node]:
    chance = random.Random(seed)
    files = {f"f{number}": Node("file", 0o644, data=chance.randbytes(SIZE)) for number in range(4)}
    return {"": Node("directory", 0o755), "s": Node("symlink", 0o777, data=b"f0")} | files


def encapsulated(tree: dict[str, Node], chunks: int = 2) -> list[bytes]:
    """The tars of the tree's encapsulated image: layer 0, and layers with its files."""
    checksums = sorted({file_checksum(node) for node in tree.values() if node.kind != "directory"})
    return tarbuilder.encapsulated_layers(tree, commit_bytes(tree), [checksums[at::chunks] for at in range(chunks)])


def make_layer(seed: int) -> list[Change]:
    chance = random.Random(-seed)
    return [
        directory("opt", 0o750),
        *(Change(f"opt/f{number}", data=chance.randbytes(SIZE), xattrs={"user.a": b"1"}) for number in range(4)),
        link("opt/l", "opt/f1"),
        symlink("opt/s", "f2"),
        Change("etc/x", data=b"%d" % seed),
    ]


def make_tar(path: Path, tree: dict[str, Node]) -> Path:
    """A tar as `ostrata tar export` writes it."""
    path.write_bytes(tarbuilder.encapsulated_layers(tree, commit_bytes(tree), None)[0])
    return path


# What a repository shows


def shown(repo: Path, ref: str) -> str:
    """The commit that the ref shows; it is all there, and every object that can be seen is right."""
    is_sound(repo)
    repository = open_repository(str(repo))
    for entry in read_tree(repository, ref)[1].entries.values():
        if isinstance(entry, RegularFile | Symlink):
            read_file(repo, entry.content)
    return repository.resolve(ref)


def is_sound(repo: Path) -> None:
    """Every object that can be seen is right."""
    repository = open_repository(str(repo))
    for path in repo.glob("objects/??/*"):
        checksum, kind = path.parent.name + path.stem, path.suffix[1:]
        if kind in ("file", "filez"):
            read_file(repo, checksum)
        else:
            repository.read_metadata(kind, checksum)


def read_file(repo: Path, checksum: str) -> None:
    """Raises: when the object is not there, or is not what its name says."""
    for _ in open_repository(str(repo)).open_file(checksum).content:
        pass


def contents(repo: Path) -> dict[str, bytes]:
    """Every file and symlink."""
    found = {}
    for path in repo.rglob("*"):
        if path.is_symlink():
            found[str(path.relative_to(repo))] = os.fsencode(path.readlink())
        elif path.is_file():
            found[str(path.relative_to(repo))] = path.read_bytes()
    return found


# The program


def ostrata(*words: str) -> list[str]:
    return [sys.executable, "-m", "ostrata", *words]


def import_now(line: list[str]) -> str:
    """Run it; the result is the commit."""
    done = subprocess.run(line, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["commit"])
