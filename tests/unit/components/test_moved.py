"""Files that are elsewhere than their package says."""

import hashlib

from ostrata.components import moved
from ostrata.components.moved import moved_files
from ostrata.model.package import Package
from sources import Link, MemorySource


class Counting(MemorySource):
    """Counts what is read."""

    def __init__(self, files):
        super().__init__(files)
        self.read = []

    def open(self, path):
        self.read.append(path)
        return super().open(path)


def package(name, algorithm="sha256", **contents):
    digests = {
        path: (algorithm, hashlib.new(algorithm, content, usedforsecurity=False).hexdigest())
        for path, content in contents.items()
    }
    return Package(name, "1", "x", name, tuple(contents), digests=digests)


def moved_in(files, *packages):
    """Path -> the package it is of, and the path there; and what was read."""
    source = Counting(files)
    found = moved_files(source, [path for path in files if path.startswith("new")], packages)
    return {path: (owner.name, missing) for path, (owner, missing) in found.items()}, source.read


def test_each_of_the_algorithms_that_databases_use_finds_a_file():
    files = {"new/1": b"one", "new/2": b"two", "new/3": b"three"}
    packages = package("a", "md5", gone1=b"one"), package("b", "sha1", gone2=b"two"), package("c", gone3=b"three")
    assert moved_in(files, *packages)[0] == {
        "new/1": ("a", "gone1"),
        "new/2": ("b", "gone2"),
        "new/3": ("c", "gone3"),
    }


def test_nothing_is_read_where_nothing_is_missing():
    assert moved_in({"here": b"x", "new": b"x"}, package("a", here=b"x")) == ({}, [])
    assert moved_in({"new": b"x"}, package("a")) == ({}, [])


def test_hard_links_and_twins_are_read_once_and_all_found():
    found, read = moved_in({"new/1": b"same", "new/2": b"same"}, package("a", gone=b"same"))
    assert found == {"new/1": ("a", "gone"), "new/2": ("a", "gone")}
    assert read == ["new/1"]


def test_of_two_packages_that_miss_the_same_the_first_counts():
    assert moved_in({"new": b"x"}, package("a", b=b"x", a=b"x"), package("b", c=b"x"))[0] == {"new": ("a", "a")}


def test_empty_files_and_symlinks_prove_nothing():
    files = {"new/1": b"", "new/2": Link("target")}
    assert moved_in(files, package("a", gone1=b"", gone2=b"target")) == ({}, [])


def test_the_smaller_files_are_read_up_to_a_limit(monkeypatch):
    monkeypatch.setattr(moved, "MAX_READ", 5)
    found, read = moved_in({"new/big": b"4444", "new/small": b"22"}, package("a", gone=b"4444"))
    assert (found, read) == ({}, ["new/small"])
