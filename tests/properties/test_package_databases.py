"""Bytes that were changed anywhere in a package database: it is read, or refused with our errors."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from ostrata.codecs import alpm, apk, debian_changelog, dpkg, rpm_header, rpm_ndb
from ostrata.codecs.gzip import decompress_head
from ostrata.components.claims import claim_paths
from ostrata.errors import LimitError, MalformedError, UnsupportedError
from ostrata.packages.databases import DATABASES, read_packages
from rpm_databases import BASH, NAME, header, ndb, sqlite
from sources import MemorySource

REFUSALS = (MalformedError, UnsupportedError, LimitError)
BLOBS = [header({**BASH, NAME: f"p{number}"}) for number in range(6)]
STATUS = (
    b"Package: bash\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\nSource: x (1)\n"
    b"Installed-Size: 5\nConffiles:\n /etc/x 0123456789abcdef0123456789abcdef\n\nPackage: b\nVersion: 2\n"
)
CHANGELOG = (
    b"x (1) y; z\n\n  * a\n\n -- A <a>  Mon, 01 Jan 2024 10:00:00 +0000\n\n -- B <b>  Mon, 01 Jan 2024 10:00:00 +0000\n"
)
DESC = b"%NAME%\nbash\n\n%FILES%\nusr/\nusr/bin\n\n%BUILDDATE%\n1700000000\n"
MTREE = b"#mtree\n./usr/a\\040b time=1 sha256digest=" + b"ab" * 32 + b"\n"
APK = b"P:a\nV:1\nf:S\nt:17\nF:bin\nR:b\nZ:Q1AAECAwQFBgcICQoLDA0ODxAREhM=\n\nP:b\n"
DECODERS: list[tuple[Callable[[bytes], Any], bytes]] = [
    (rpm_header.decode, BLOBS[0]),
    (rpm_ndb.decode, ndb(BLOBS[:2])),
    (dpkg.decode_status, STATUS),
    (dpkg.decode_paths, b"/.\n/usr\n"),
    (dpkg.decode_md5sums, b"0123456789abcdef0123456789abcdef  usr/x\n"),
    (dpkg.decode_diversions, b"/a\n/b\nc\n"),
    (debian_changelog.decode_days, CHANGELOG),
    (alpm.decode_fields, DESC),
    (alpm.decode_mtree, MTREE),
    (apk.decode, APK),
    (lambda data: decompress_head(data, 1000), gzip.compress(CHANGELOG)),
]
FILES = {
    "usr/lib/sysimage/rpm/rpmdb.sqlite": ("rpm", sqlite(BLOBS)),
    "var/lib/rpm/Packages.db": ("rpm", ndb(BLOBS)),
    "var/lib/dpkg/status": ("dpkg", STATUS),
    "var/lib/pacman/local/bash-1/desc": ("alpm", DESC),
    "lib/apk/db/installed": ("apk", APK),
}
FLIPS = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6)


def flipped(data: bytes, flips: list[tuple[float, int]], cut: float | None) -> bytes:
    changed = bytearray(data)
    for place, value in flips:
        changed[int(place * len(data))] = value
    return bytes(changed if cut is None else changed[: int(cut * len(data))])


def assert_refused_in_one_line(error: Exception) -> None:
    assert str(error).splitlines()[0].isprintable()


@settings(deadline=None)
@given(st.sampled_from(DECODERS), st.binary())
def test_decoders_refuse_any_bytes_with_our_errors_only(decoder, data):
    decode, _ = decoder
    try:
        decode(data)
    except REFUSALS as error:
        assert_refused_in_one_line(error)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(DECODERS), FLIPS, st.none() | st.floats(0, 1))
def test_decoders_refuse_changed_bytes_with_our_errors_only(decoder, flips, cut):
    decode, data = decoder
    try:
        decode(flipped(data, flips, cut))
    except REFUSALS as error:
        assert_refused_in_one_line(error)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(FILES)), FLIPS, st.none() | st.floats(0, 1))
@example("usr/lib/sysimage/rpm/rpmdb.sqlite", [(0.0045, 2)], None)
def test_databases_refuse_changed_bytes_with_our_errors_only(path, flips, cut):
    name, data = FILES[path]
    try:
        DATABASES[name].read(MemorySource({path: flipped(data, flips, cut)}))
    except REFUSALS as error:
        assert_refused_in_one_line(error)


EVERYTHING = {
    "usr/lib/sysimage/rpm/rpmdb.sqlite": sqlite(BLOBS),
    "usr/lib/sysimage/rpm/rpmdb.sqlite-wal": b"7\x7f\x06\x83" + bytes(60),
    "var/lib/dpkg/status": STATUS,
    "var/lib/dpkg/diversions": b"/usr/bin/a\n/usr/bin/b\n:\n/usr/x\n/usr/y\nbash\n",
    "var/lib/dpkg/info/bash.list": b"/.\n/usr\n/usr/bin\n/usr/bin/a\n/bin/sh\n/usr/gone\n",
    "var/lib/dpkg/info/bash.md5sums": b"0123456789abcdef0123456789abcdef  usr/gone\n",
    "usr/share/doc/bash/changelog.Debian.gz": gzip.compress(CHANGELOG),
    "etc/pacman.conf": b"[options]\n#DBPath = /x\nDBPath = /usr/lib/pacman/\n",
    "usr/lib/pacman/local/p-1-1/desc": DESC,
    "usr/lib/pacman/local/p-1-1/files": b"%FILES%\nusr/\nusr/a b\n\n%BACKUP%\netc/x\t" + b"ab" * 16 + b"\n",
    "usr/lib/pacman/local/p-1-1/mtree": gzip.compress(MTREE),
    "lib/apk/db/installed": APK,
    "usr/bin/a": b"a",
    "usr/nobodys": b"n",
}


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(EVERYTHING)), FLIPS, st.none() | st.floats(0, 1))
def test_a_damaged_file_of_any_database_leaves_a_tree_that_can_be_planned(path, flips, cut):
    source = MemorySource({**EVERYTHING, path: flipped(EVERYTHING[path], flips, cut)})
    packages, findings = read_packages(source)
    elsewhere = {"alpm"} if path == "etc/pacman.conf" else set()  # it names the place
    assert packages.keys() | {finding.database for finding in findings} | elsewhere == DATABASES.keys()
    assert all(finding.what.isprintable() for finding in findings)
    claims = claim_paths(source, packages)
    assert claims.by_path.keys() == EVERYTHING.keys()


@settings(deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), unique=True))
def test_any_names_of_packages_survive_in_both_formats_of_rpm(names):
    blobs = [header({**BASH, NAME: name}) for name in names]
    for path, data in (("var/lib/rpm/rpmdb.sqlite", sqlite(blobs)), ("var/lib/rpm/Packages.db", ndb(blobs))):
        packages = DATABASES["rpm"].read(MemorySource({path: data}))
        assert [package.name for package in packages] == sorted(names)
