from __future__ import annotations

import os
import sqlite3
import struct
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ostrata.errors import MalformedError, OstrataError, UnsupportedError
from ostrata.model.package import Package
from ostrata.packages.rpm import RpmDatabase
from rpm_databases import ARCH, BASH, NAME, VERSION, header, ndb, sqlite, sqlite_of, sqlite_with_log
from sources import Link, MemorySource

PLACE = "usr/lib/sysimage/rpm"


def named(name: str, version: str = "1") -> bytes:
    return header({**BASH, NAME: name, VERSION: version})


def read(files: dict[str, bytes | Link]) -> list[Package]:
    packages = RpmDatabase().read(MemorySource(files))
    assert packages is not None
    return packages


def names(files: dict[str, bytes | Link]) -> list[str]:
    return [package.name for package in read(files)]


def test_a_package_has_what_its_header_says_and_paths_of_the_tree() -> None:
    tree = {f"{PLACE}/rpmdb.sqlite": sqlite([header(BASH)]), "usr/bin": Link("sbin"), "usr/etc/bash rc\n": b""}
    (package,) = read(tree)
    assert package == Package(
        name="bash",
        version="1:5.2.26-3.fc40",
        arch="x86_64",
        source="bash",
        paths=("usr/sbin/bash", "usr/sbin/sh", "usr/etc/bash rc\n", "usr/share/doc é/ghost"),
        changed=(date(2020, 9, 13), date(2023, 11, 14)),
        built=date(2023, 11, 14),
        digests={"usr/sbin/bash": ("sha256", "ab" * 32), "usr/etc/bash rc\n": ("sha256", "cd" * 32)},
        size=8_000_000,
        ghosts=frozenset(["usr/share/doc é/ghost"]),
    )


def test_a_tree_without_a_database_has_none() -> None:
    assert RpmDatabase().read(MemorySource({"usr/bin/rpm": b""})) is None


@pytest.mark.parametrize("place", ["usr/lib/sysimage/rpm", "usr/share/rpm", "var/lib/rpm"])
@pytest.mark.parametrize(("file", "make"), [("rpmdb.sqlite", sqlite), ("Packages.db", ndb)])
def test_both_formats_are_read_from_all_places(place: str, file: str, make: object) -> None:
    assert callable(make)
    assert names({f"{place}/{file}": make([named("b"), named("a"), named("b", "0")])}) == ["a", "b", "b"]


def test_packages_of_one_name_are_in_the_order_of_their_versions() -> None:
    packages = read({f"{PLACE}/rpmdb.sqlite": sqlite([named("kernel", "2"), named("kernel", "1")])})
    assert [package.version for package in packages] == ["1:1-3.fc40", "1:2-3.fc40"]


def test_places_count_in_their_order_and_through_symlinks() -> None:
    database = {"usr/share/rpm/rpmdb.sqlite": sqlite([named("real")])}
    links = {"var/lib/rpm": Link("../../usr/share/rpm"), PLACE: Link("/usr/share/rpm")}
    assert names({**database, **links}) == ["real"]
    assert names({**database, "var/lib/rpm/rpmdb.sqlite": sqlite([named("old")])}) == ["real"]
    assert names({**database, f"{PLACE}/Packages.db": ndb([named("new")])}) == ["new"]


def test_an_empty_database_does_not_hide_a_full_one() -> None:
    full = {"var/lib/rpm/Packages.db": ndb([named("full")])}
    assert names({f"{PLACE}/rpmdb.sqlite": sqlite([]), **full}) == ["full"]
    assert names({f"{PLACE}/rpmdb.sqlite": sqlite([])}) == []


def test_packages_that_are_in_the_log_alone_are_read(tmp_path: Path) -> None:
    database, log = sqlite_with_log(tmp_path, [named("first")], [named("logged"), named("too")])
    before = set(os.listdir(tempfile.gettempdir()))
    tree = {f"{PLACE}/rpmdb.sqlite": database, f"{PLACE}/rpmdb.sqlite-wal": log}
    assert names(tree) == ["first", "logged", "too"]
    assert not [name for name in set(os.listdir(tempfile.gettempdir())) - before if "rpmdb" in name]
    assert names({f"{PLACE}/rpmdb.sqlite": database}) == ["first"]
    assert names({f"{PLACE}/rpmdb.sqlite": database, f"{PLACE}/rpmdb.sqlite-wal": b""}) == ["first"]


def test_a_copy_of_a_damaged_database_with_a_log_is_removed_too(tmp_path: Path) -> None:
    _, log = sqlite_with_log(tmp_path, [named("first")], [named("logged")])
    broken = sqlite_of("CREATE TABLE other (x)")
    before = set(os.listdir(tempfile.gettempdir()))
    with pytest.raises(MalformedError):
        read({f"{PLACE}/rpmdb.sqlite": broken, f"{PLACE}/rpmdb.sqlite-wal": b"x" * 100 + log})
    assert not [name for name in set(os.listdir(tempfile.gettempdir())) - before if "rpmdb" in name]


def test_a_database_in_the_middle_of_a_transaction_is_not_read() -> None:
    tree = {f"{PLACE}/rpmdb.sqlite": sqlite([named("a")])}
    journal = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(504)
    with pytest.raises(UnsupportedError, match="middle of a transaction"):
        read({**tree, f"{PLACE}/rpmdb.sqlite-journal": journal})
    assert names({**tree, f"{PLACE}/rpmdb.sqlite-journal": bytes(512)}) == ["a"]


@pytest.mark.parametrize("magic", [b"\x61\x15\x06\x00", b"\x00\x06\x15\x61"])
def test_berkeley_db_is_named_as_not_read(magic: bytes) -> None:
    with pytest.raises(UnsupportedError, match="/var/lib/rpm/Packages: a Berkeley DB package database") as caught:
        read({"var/lib/rpm/Packages": bytes(12) + magic + bytes(4096)})
    assert "rpmdb --dbpath TREE/var/lib/rpm --define '_db_backend sqlite' --rebuilddb" in str(caught.value)


def test_berkeley_db_beside_a_database_of_today_is_not_looked_at() -> None:
    old = {"var/lib/rpm/Packages": bytes(12) + b"\x61\x15\x06\x00" + bytes(4096)}
    assert names({**old, f"{PLACE}/rpmdb.sqlite": sqlite([named("a")])}) == ["a"]


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE other (x)"],
        ["CREATE TABLE real (hnum, blob)", "CREATE VIEW Packages AS SELECT hnum, blob FROM real"],
        ["CREATE VIEW Packages AS SELECT 1 AS hnum, randomblob(1000000000) AS blob"],
        ["CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, x, blob AS (zeroblob(100000000)))"],
        ["CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, x, blob AS (hex(x)) STORED)"],
        ["CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, content BLOB)"],
        ["CREATE VIRTUAL TABLE Packages USING fts5(hnum, blob)"],
        ["CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob)", "INSERT INTO Packages VALUES (1, 'text')"],
        ["CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob)", "INSERT INTO Packages VALUES (1, NULL)"],
    ],
)
def test_a_schema_that_is_not_rpms_is_refused(statements: list[str]) -> None:
    with pytest.raises(MalformedError):
        read({f"{PLACE}/rpmdb.sqlite": sqlite_of(*statements)})


def test_a_schema_that_is_not_text_is_refused() -> None:
    database = sqlite([named("a")]).replace(b"CREATE TABLE 'Packages'", b"CREATE T\x95BLE 'Packages'")
    with pytest.raises(MalformedError, match="the SQLite database cannot be read"):
        read({f"{PLACE}/rpmdb.sqlite": database})


def test_a_schema_runs_no_function_that_is_not_innocuous(monkeypatch: pytest.MonkeyPatch) -> None:
    """A generated column is a plain column to who reads it; `trusted_schema` decides what it may call."""
    called: list[None] = []
    connect = sqlite3.connect

    def probe() -> bytes:
        called.append(None)
        return named("a")

    def connect_with_probe(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.create_function("probe", 0, probe, deterministic=True)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect_with_probe)
    database = sqlite_of(
        "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB AS (probe()) VIRTUAL)",
        "INSERT INTO Packages (hnum) VALUES (1)",
    )
    called.clear()
    with pytest.raises(MalformedError, match="unsafe use of probe"):
        read({f"{PLACE}/rpmdb.sqlite": database})
    assert called == []


def test_a_database_is_not_written_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not even the private copy: what SQL there is in a database has nothing to write to."""
    connect = sqlite3.connect
    tried: list[str] = []

    class Writing(sqlite3.Connection):
        def close(self) -> None:
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                self.execute("DELETE FROM Packages")
            tried.append("DELETE")
            super().close()

    first, log = sqlite_with_log(tmp_path, [named("a")], [named("b")])
    monkeypatch.setattr(
        sqlite3, "connect", lambda *arguments, **options: connect(*arguments, factory=Writing, **options)
    )
    assert names({f"{PLACE}/rpmdb.sqlite": first, f"{PLACE}/rpmdb.sqlite-wal": log}) == ["a", "b"]
    assert tried == ["DELETE"]


def test_triggers_views_and_indexes_beside_the_table_are_not_asked() -> None:
    database = sqlite(
        [named("a")],
        "CREATE VIEW v AS SELECT randomblob(1000000000)",
        "CREATE TRIGGER t AFTER INSERT ON Packages BEGIN DELETE FROM Packages; END",
        "CREATE INDEX i ON Packages (abs(-9223372036854775807), hnum)",
    )
    assert names({f"{PLACE}/rpmdb.sqlite": database}) == ["a"]


PAGE = 4096


def test_a_page_that_is_named_twice_is_refused() -> None:
    database = bytearray(sqlite([named(f"p{number}") for number in range(40)]))
    inner = next(page for page in range(PAGE, len(database), PAGE) if database[page] == 5)
    first, second = struct.unpack_from(">HH", database, inner + 12)  # where the inner page names its children
    database[inner + second : inner + second + 4] = database[inner + first : inner + first + 4]
    with pytest.raises(MalformedError, match="rows of Packages by number"):
        read({f"{PLACE}/rpmdb.sqlite": bytes(database)})


def test_rows_that_share_their_bytes_are_refused() -> None:
    long = header({**BASH, 9999: "x" * 10_000})
    database = sqlite_of(
        "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY)",
        "INSERT INTO Packages WITH n(i) AS (SELECT 1 UNION SELECT i + 1 FROM n WHERE i < 100) SELECT i FROM n",
        f"ALTER TABLE Packages ADD COLUMN blob BLOB NOT NULL DEFAULT x'{long.hex()}'",
    )
    with pytest.raises(MalformedError, match="more bytes than its file"):
        read({f"{PLACE}/rpmdb.sqlite": database})


@pytest.mark.parametrize("name", ["rpmdb.sqlite", "Packages.db", "Packages"])
@pytest.mark.parametrize("data", [b"", b"garbage", b"SQLite format 3\0", b"\0" * 5000, b"SQLite format 3\0" * 400])
def test_another_file_of_that_name_is_refused(name: str, data: bytes) -> None:
    with pytest.raises(OstrataError, match=f"^/{PLACE}/{name}: "):
        read({f"{PLACE}/{name}": data})


def test_a_cut_database_is_refused() -> None:
    database = sqlite([named(f"p{number}") for number in range(40)])
    for size in (100, 4096, 8192, len(database) // 2, len(database) - 4096):
        with pytest.raises(MalformedError):
            read({f"{PLACE}/rpmdb.sqlite": database[:size]})


def test_two_packages_can_own_one_path_and_names_can_be_odd() -> None:
    odd = "../../odd né\n"
    packages = read({f"{PLACE}/rpmdb.sqlite": sqlite([named(odd), header({**BASH, ARCH: "i686"})])})
    assert [package.name for package in packages] == [odd, "bash"]
    assert packages[0].paths == packages[1].paths
