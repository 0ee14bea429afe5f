"""RPM's database: SQLite, or ndb. Berkeley DB (before rpm 4.16) is named and not read.

The database lies in one of three places, of which the others are often symlinks to it. The first place with a
database that has packages counts.

An SQLite file comes from the image and is hostile until shown otherwise: its schema can hold views, triggers and
generated columns that run code when they are read. So it is opened as a private copy, `trusted_schema` is off, and
nothing is asked of it but two plain columns of a plain table. With a write-ahead log beside it the newest packages are
in the log alone: SQLite itself applies it, to copies of both files in a private directory.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from urllib.parse import quote

from ostrata.codecs import rpm_header, rpm_ndb
from ostrata.codecs.rpm_header import RpmPackage
from ostrata.errors import MalformedError, UnsupportedError, escape, within
from ostrata.model.package import Package
from ostrata.packages.dates import day_of, days_of
from ostrata.packages.tree_files import TreeFiles
from ostrata.protocols import Source
from ostrata.stores.files import TemporaryDirectory, remove_stale

DIRECTORIES = ("usr/lib/sysimage/rpm", "usr/share/rpm", "var/lib/rpm")
MAX_DATABASE = 1 << 30
"""Bytes of a database that is read; real ones have at most about 300 MB."""

_LABEL = "rpmdb"
_SQLITE_MAGIC = b"SQLite format 3\0"
_BERKELEY_MAGICS = (b"\x61\x15\x06\x00", b"\x00\x06\x15\x61", b"\x62\x31\x05\x00", b"\x00\x05\x31\x62")
_JOURNAL_MAGIC = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
_ROW_OVERHEAD = 4  # a row without content takes so many bytes of a file, at least


@dataclass(frozen=True, slots=True)
class RpmDatabase:
    """Reads the packages of an rpm database."""

    name: str = "rpm"

    def read(self, source: Source, *, jobs: int = 1) -> list[Package] | None:
        """As `protocols.PackageDatabase`; gpg-pubkey, which rpm lists too, is among them."""
        files = TreeFiles(source)
        places = _find(files)
        for path, read_headers in places.items():
            with within(f"/{escape(path)}"):
                packages = [_package(rpm_header.decode(blob), files) for blob in read_headers(files, path)]
            if packages:
                return sorted(packages, key=lambda package: (package.name, package.version, package.arch))
        return [] if places else None


_HeaderReader = Callable[[TreeFiles, str], Iterable[bytes]]


def _find(files: TreeFiles) -> dict[str, _HeaderReader]:
    """The database files in the tree, in the order in which they count, and how to read each."""
    found: dict[str, _HeaderReader] = {}
    for directory in DIRECTORIES:
        for name, reader in _READERS.items():
            path = files.find(f"{directory}/{name}")
            if path is not None:
                found.setdefault(path, reader)
    return found


def _package(found: RpmPackage, files: TreeFiles) -> Package:
    places = dict(zip(found.paths, files.locate_all(found.paths), strict=True))
    changed, dropped = days_of(found.times)
    return Package(
        name=found.name,
        version=found.full_version,
        arch=found.arch,
        source=found.source,
        paths=tuple(dict.fromkeys(places.values())),
        changed=changed,
        built=day_of(found.build_time),
        digests={places[path]: digest for path, digest in found.digests.items()},
        size=found.size,
        ghosts=frozenset(places[path] for path in found.ghosts),
        dropped_dates=dropped,
    )


def _read_sqlite(files: TreeFiles, path: str) -> Iterator[bytes]:
    data = files.read_large(path, MAX_DATABASE)
    if not data.startswith(_SQLITE_MAGIC):
        raise MalformedError("expected an SQLite database, found another file")
    if files.find(f"{path}-journal") and files.read_head(f"{path}-journal", len(_JOURNAL_MAGIC)) == _JOURNAL_MAGIC:
        raise UnsupportedError(
            "the database is in the middle of a transaction: there is a journal beside it",
            hint="let rpm finish it: run any rpm command that writes, in the tree",
        )
    log = files.read_large(f"{path}-wal", MAX_DATABASE) if files.find(f"{path}-wal") else bytearray()
    size = len(data) + len(log)
    try:
        with _with_log(data, log) if log else _without_log(data) as connection:
            data.clear()
            log.clear()
            yield from _select_blobs(connection, size)
    except (sqlite3.Error, UnicodeError) as error:  # UnicodeError: SQLite's message has names as they are in the file
        raise MalformedError(f"the SQLite database cannot be read: {escape(str(error))}") from None


@contextmanager
def _without_log(data: bytearray) -> Iterator[sqlite3.Connection]:
    data[18:20] = b"\1\1"  # a database that is marked to have a log is not opened from memory; this one has none
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(data)
        yield connection


@contextmanager
def _with_log(data: bytearray, log: bytearray) -> Iterator[sqlite3.Connection]:
    parent = tempfile.gettempdir()
    remove_stale(parent, _LABEL)
    with TemporaryDirectory(parent, _LABEL) as directory, within(escape(directory.path)):
        path = f"{directory.path}/rpmdb.sqlite"
        for name, content in ((path, data), (f"{path}-wal", log)):
            with open(name, "wb") as file:
                file.write(content)
        with closing(sqlite3.connect(f"file:{quote(path)}?mode=rw", uri=True)) as connection:
            yield connection


def _select_blobs(connection: sqlite3.Connection, size: int) -> Iterator[bytes]:
    """The headers in the database, of `size` bytes with its log.

    Rows come in the order of their numbers, and each takes its bytes from the file: other numbers, and more bytes in
    all, are a tree of pages that was tied into a knot.
    """
    for pragma in ("trusted_schema=OFF", "query_only=ON", "cell_size_check=ON", "mmap_size=0"):
        connection.execute(f"PRAGMA {pragma}")
    _check_plain(connection)
    total, last = 0, None
    for number, blob in connection.execute("SELECT hnum, blob FROM main.Packages NOT INDEXED"):
        if not isinstance(blob, bytes) or not isinstance(number, int):
            raise MalformedError("expected numbered package headers in the table Packages, found other values")
        if last is not None and number <= last:
            raise MalformedError(f"expected the rows of Packages by number, found {number} after {last}")
        last = number
        total += len(blob) + _ROW_OVERHEAD
        if total > size:
            raise MalformedError(f"the table Packages has more bytes than its file of {size:,}")
        yield blob


def _check_plain(connection: sqlite3.Connection) -> None:
    """Raises: MalformedError unless Packages is a table that holds its own values."""
    kinds = connection.execute("SELECT type, sql FROM main.sqlite_master WHERE name = 'Packages'").fetchall()
    if [kind for kind, _ in kinds] != ["table"]:
        raise MalformedError("expected a table Packages in the SQLite database, found none or something else")
    if str(kinds[0][1]).upper().split()[:2] != ["CREATE", "TABLE"]:
        raise MalformedError("expected Packages to be a plain table, found a virtual one")
    hidden = {row[1]: row[6] for row in connection.execute("PRAGMA main.table_xinfo(Packages)")}
    if hidden.get("blob") != 0 or hidden.get("hnum") != 0:
        raise MalformedError("expected the plain columns hnum and blob in the table Packages")


def _read_ndb(files: TreeFiles, path: str) -> list[bytes]:
    return rpm_ndb.decode(files.read(path, MAX_DATABASE))


def _refuse_berkeley(files: TreeFiles, path: str) -> list[bytes]:
    if files.read_head(path, 16)[12:] not in _BERKELEY_MAGICS:
        raise MalformedError("expected a package database, found another file")
    directory = escape(path.rpartition("/")[0])
    raise UnsupportedError(
        "a Berkeley DB package database (rpm before 4.16) is not read",
        hint="convert it with rpm 4.16 or newer, TREE an absolute path: "
        f"rpmdb --dbpath TREE/{directory} --define '_db_backend sqlite' --rebuilddb",
    )


_READERS: dict[str, _HeaderReader] = {
    "rpmdb.sqlite": _read_sqlite,
    "Packages.db": _read_ndb,
    "Packages": _refuse_berkeley,
}
