"""RPM headers and databases, made by hand: right ones, and ones that lie."""

from __future__ import annotations

import sqlite3
import struct
import zlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

NAME, VERSION, RELEASE, EPOCH, BUILDTIME, SIZE, ARCH = 1000, 1001, 1002, 1003, 1006, 1009, 1022
OLDFILENAMES, FILEDIGESTS, FILEFLAGS, SOURCERPM, CHANGELOGTIME = 1027, 1035, 1037, 1044, 1080
DIRINDEXES, BASENAMES, DIRNAMES, LONGSIZE, FILEDIGESTALGO = 1116, 1117, 1118, 5009, 5011
GHOST = 64
SHA256, MD5 = 8, 1

Value = str | Sequence[str] | Sequence[int]

BASH: dict[int, Value] = {
    NAME: "bash",
    VERSION: "5.2.26",
    RELEASE: "3.fc40",
    EPOCH: [1],
    ARCH: "x86_64",
    SOURCERPM: "bash-5.2.26-3.fc40.src.rpm",
    BUILDTIME: [1_700_000_000],
    SIZE: [8_000_000],
    DIRNAMES: ["/usr/bin/", "/etc/", "/usr/share/doc é/"],
    DIRINDEXES: [0, 0, 1, 2],
    BASENAMES: ["bash", "sh", "bash rc\n", "ghost"],
    FILEFLAGS: [0, 0, 1, GHOST],
    FILEDIGESTALGO: [SHA256],
    FILEDIGESTS: ["ab" * 32, "", "CD" * 32, "ef" * 32],
    CHANGELOGTIME: [1_699_963_200, 1_699_963_200, 1_600_000_000],
}


def header(tags: Mapping[int, Value]) -> bytes:
    """`tags` as rpm stores them; integers of LONGSIZE have 64 bits, all others 32."""
    index, data = [], bytearray()
    for tag, value in tags.items():
        kind, content, count = _encode(tag, value)
        data += bytes(-len(data) % 8)
        index.append(struct.pack(">IIII", tag, kind, len(data), count))
        data += content
    return struct.pack(">II", len(index), len(data)) + b"".join(index) + data


def _encode(tag: int, value: Value) -> tuple[int, bytes, int]:
    if isinstance(value, str):
        return 6, value.encode("utf-8", "surrogateescape") + b"\0", 1
    if all(isinstance(item, int) for item in value):
        wide = tag == LONGSIZE
        return (5 if wide else 4), struct.pack(f">{len(value)}{'Q' if wide else 'I'}", *value), len(value)
    return 8, b"".join(str(item).encode("utf-8", "surrogateescape") + b"\0" for item in value), len(value)


def ndb(blobs: Sequence[bytes]) -> bytes:
    """A Packages.db; package indexes from 1."""
    slots = [struct.pack("<4sIII16x", b"RpmP", 0, 7, 1)]
    pages = bytearray()
    for index, blob in enumerate(blobs, 1):
        stored = struct.pack("<4sIII", b"BlbS", index, index, len(blob)) + blob
        stored += bytes(-(len(stored) + 12) % 16)
        stored += struct.pack("<II4s", zlib.adler32(stored), len(blob), b"BlbE")
        slots.append(struct.pack("<4sIII", b"Slot", index, (4096 + len(pages)) // 16, len(stored) // 16))
        pages += stored
    free = (4096 - sum(map(len, slots))) // 16
    return b"".join(slots) + struct.pack("<4sIII", b"Slot", 0, 0, 0) * free + bytes(pages)


def sqlite(blobs: Sequence[bytes], *statements: str) -> bytes:
    """An rpmdb.sqlite; `statements` are run in it at the end."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT,blob BLOB NOT NULL)")
        connection.executemany("INSERT INTO Packages (blob) VALUES (?)", [(blob,) for blob in blobs])
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        return connection.serialize()


def sqlite_of(*statements: str) -> bytes:
    """An SQLite database that is what `statements` make."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        return connection.serialize()


def sqlite_with_log(place: Path, first: Sequence[bytes], logged: Sequence[bytes]) -> tuple[bytes, bytes]:
    """(rpmdb.sqlite, rpmdb.sqlite-wal): `first` are in the former, `logged` in the latter alone."""
    path = place / "rpmdb.sqlite"
    path.write_bytes(sqlite(first))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.executemany("INSERT INTO Packages (blob) VALUES (?)", [(blob,) for blob in logged])
        connection.commit()
        return path.read_bytes(), path.with_name("rpmdb.sqlite-wal").read_bytes()
