from __future__ import annotations

import gzip

from ostrata.errors import MalformedError
from ostrata.packages.databases import DATABASES, read_packages
from rpm_databases import BASH, header, sqlite
from sources import MemorySource

RPM = {"var/lib/rpm/rpmdb.sqlite": sqlite([header(BASH)])}
DPKG = {"var/lib/dpkg/status": b"Package: a\nStatus: install ok installed\n", "var/lib/dpkg/info/a.list": b"/.\n"}
ALPM = {"var/lib/pacman/local/a-1/desc": b"%NAME%\na\n"}
APK = {"lib/apk/db/installed": b"P:a\n"}


def test_a_database_is_known_by_its_name() -> None:
    assert {name: database.name for name, database in DATABASES.items()} == {name: name for name in DATABASES}


def test_several_databases_are_read_at_once() -> None:
    packages, findings = read_packages(MemorySource({**RPM, **DPKG, **ALPM, **APK}))
    assert {name: len(found) for name, found in packages.items()} == {"rpm": 1, "dpkg": 1, "alpm": 1, "apk": 1}
    assert findings == []


def test_a_tree_without_databases_has_no_packages_and_no_findings() -> None:
    assert read_packages(MemorySource({"usr/bin/sh": b""})) == ({}, [])


def test_an_unreadable_database_is_a_finding_and_the_others_are_read() -> None:
    packages, findings = read_packages(MemorySource({"var/lib/rpm/rpmdb.sqlite": b"garbage", **DPKG}))
    assert list(packages) == ["dpkg"]
    (finding,) = findings
    assert finding.database == "rpm"
    assert finding.what == (
        "the rpm database cannot be read: /var/lib/rpm/rpmdb.sqlite: expected an SQLite database, found another file"
    )
    assert isinstance(finding.error, MalformedError)


def test_a_finding_says_in_its_line_what_can_be_done() -> None:
    berkeley = bytes(12) + b"\x61\x15\x06\x00" + bytes(4096)
    packages, (finding,) = read_packages(MemorySource({"var/lib/rpm/Packages": berkeley}))
    assert packages == {}
    assert "a Berkeley DB package database" in finding.what
    assert "; convert it with rpm 4.16 or newer" in finding.what
    assert "\n" not in finding.what


def test_one_path_can_be_owned_by_packages_of_two_databases() -> None:
    apk = {"lib/apk/db/installed": b"P:a\nF:usr/bin\nR:bash\n"}
    packages, _ = read_packages(MemorySource({**RPM, **apk}))
    assert all("usr/bin/bash" in found[0].paths for found in packages.values())


def test_a_database_without_packages_does_not_pass_in_silence() -> None:
    packages, findings = read_packages(MemorySource({"var/lib/rpm/rpmdb.sqlite": sqlite([])}))
    assert packages == {"rpm": []}
    assert [(finding.what, finding.error) for finding in findings] == [("the rpm database: it has no packages", None)]


def test_what_could_not_be_used_is_said_once_for_all_packages() -> None:
    status = "\n\n".join(f"Package: {name}\nStatus: install ok installed" for name in ("a", "b", "c é")) + "\n"
    changelog = gzip.compress(b"\n -- A <a>  Mon, 01 Jan 2024 10:00:00 +0000\n -- A <a>  never\n -- A <a>  later")
    tree = {
        "var/lib/dpkg/status": status.encode(),
        "var/lib/dpkg/info/b.list": b"/.\n",
        "usr/share/doc/b/changelog.Debian.gz": changelog,
    }
    _, findings = read_packages(MemorySource(tree))
    assert [finding.what for finding in findings] == [
        "the dpkg database: dates in changelogs that cannot be read: 2, in the package b",
        "the dpkg database: its list of files is missing, in 2 packages (a and others)",
    ]
