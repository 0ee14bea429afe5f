from __future__ import annotations

from datetime import date

import pytest

from ostrata.errors import MalformedError
from ostrata.model.package import Package
from ostrata.packages.apk import ApkDatabase
from sources import Link, MemorySource

INSTALLED = b"P:musl\nV:1\nA:x86_64\nt:1700000000\nF:lib\nR:libc\n\nP:busybox\nV:1\nt:99999999999999\nF:bin\n\n"


@pytest.mark.parametrize("place", ["lib/apk/db/installed", "usr/lib/apk/db/installed"])
def test_both_places_are_read(place: str) -> None:
    packages = ApkDatabase().read(MemorySource({place: INSTALLED}))
    assert packages == [
        Package("busybox", "1", "", "busybox", ("bin",)),
        Package("musl", "1", "x86_64", "musl", ("lib", "lib/libc"), built=date(2023, 11, 14)),
    ]


def test_paths_are_those_of_a_merged_usr() -> None:
    packages = ApkDatabase().read(MemorySource({"lib": Link("usr/lib"), "usr/lib/apk/db/installed": INSTALLED}))
    assert packages is not None
    assert packages[1].paths == ("lib", "usr/lib/libc")


def test_a_tree_without_a_database_has_none() -> None:
    assert ApkDatabase().read(MemorySource({"lib/apk/db/lock": b""})) is None


def test_a_damaged_database_is_an_error_with_its_place() -> None:
    with pytest.raises(MalformedError, match=r"^/lib/apk/db/installed: the package at line 1: "):
        ApkDatabase().read(MemorySource({"lib/apk/db/installed": b"garbage\n"}))
