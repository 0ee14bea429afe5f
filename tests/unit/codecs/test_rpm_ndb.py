from __future__ import annotations

import struct

import pytest

from ostrata.codecs import rpm_ndb
from ostrata.errors import MalformedError, UnsupportedError
from rpm_databases import ndb

BLOBS = [b"first", b"x" * 4, b"", b"y" * 5000]


def patched(offset: int, layout: str, *values: int) -> bytes:
    data = bytearray(ndb(BLOBS))
    struct.pack_into(layout, data, offset, *values)
    return bytes(data)


def test_headers_come_by_package_index() -> None:
    assert rpm_ndb.decode(ndb(BLOBS)) == BLOBS
    data = bytearray(ndb(BLOBS))
    data[32:48], data[48:64] = data[48:64], data[32:48]
    assert rpm_ndb.decode(bytes(data)) == BLOBS


def test_a_database_without_packages_is_read() -> None:
    assert rpm_ndb.decode(ndb([])) == []


def test_a_freed_slot_is_no_package() -> None:
    assert rpm_ndb.decode(patched(36, "<III", 0, 0, 0)) == BLOBS[1:]


@pytest.mark.parametrize("size", [0, 31, 4095, 4096 + 10, len(ndb(BLOBS)) - 1])
def test_a_cut_database_is_refused(size: int) -> None:
    with pytest.raises(MalformedError):
        rpm_ndb.decode(ndb(BLOBS)[:size])


def test_another_version_is_named() -> None:
    with pytest.raises(UnsupportedError, match="found version 9"):
        rpm_ndb.decode(patched(4, "<I", 9))


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (0, 0, "found another file"),
        (12, 0, "slot pages"),
        (12, 1 << 31, "slot pages"),
        (32, 0, "expected a slot"),
        (36, 2, "index 2 twice"),
        (36, 77, "points to something else"),
        (40, 0, "points to something else"),
        (40, 0xFFFFFFFF, "behind the file's"),
        (44, 1 << 31, "behind the file's"),
        (44, 1, "too few"),
        (44, 0, "too few"),
        (4096 + 12, 0xFFFFFFFF, "points to something else"),
        (4096 + 16, 0x12345678, "checksum"),
        (4096 + 8, 0x12345678, "checksum"),
    ],
)
def test_a_database_that_lies_is_refused(offset: int, value: int, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        rpm_ndb.decode(patched(offset, "<I", value))


def test_a_blob_longer_than_its_blocks_is_refused() -> None:
    data = bytearray(patched(4096 + 12, "<I", 4000))
    struct.pack_into("<I", data, 4096 + 48 - 8, 4000)
    with pytest.raises(MalformedError, match="4000 bytes, too many"):
        rpm_ndb.decode(bytes(data))
