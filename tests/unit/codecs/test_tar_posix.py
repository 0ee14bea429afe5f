from __future__ import annotations

import io
import tarfile

import pytest

from ostrata.codecs import tar_posix
from ostrata.codecs.tar_posix import PosixEntry, encode
from ostrata.errors import UnsupportedError


def entry(name: bytes, kind: bytes = tar_posix.REGULAR, **more: object) -> PosixEntry:
    return PosixEntry(name, kind, 0o644, 0, 0, 0, **more)  # type: ignore[arg-type]


def read(data: bytes) -> tarfile.TarInfo:
    with tarfile.open(fileobj=io.BytesIO(data + bytes(1024)), encoding="utf-8", errors="surrogateescape") as archive:
        (member,) = archive
        return member


def test_an_entry_that_fits_is_one_header_of_these_bytes() -> None:
    header = encode(PosixEntry(b"usr/bin/sudo", b"0", 0o4111, 1, 35, 1_500_000_000, 7))
    assert header == (
        b"usr/bin/sudo".ljust(100, b"\0")
        + b"0004111\0" + b"0000001\0" + b"0000043\0" + b"00000000007\0" + b"13132027400\0"
        + b"011510\0 " + b"0" + bytes(100)
        + b"ustar\x0000" + bytes(64) + b"0000000\0" + b"0000000\0" + bytes(167)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "records"),
    [
        (b"n" * 100, 0),
        (b"p" * 155 + b"/" + b"n" * 100, 0),
        (b"p" * 155 + b"/" + b"n" * 99 + b"/", 0),
        (b"p/" * 60 + b"n", 0),
        (b"n" * 101, 1),
        (b"p" * 156 + b"/" + b"n", 1),
        (b"p/" + b"n" * 101, 1),
        (b"/" + b"n" * 100, 1),
        (b"n" * 100 + b"/", 1),
        ("é".encode(), 1),
        (b"\xff", 1),
    ],
)
def test_a_name_is_recorded_only_where_the_header_has_no_room(name: bytes, records: int) -> None:
    kind = tar_posix.DIRECTORY if name.endswith(b"/") else tar_posix.REGULAR
    data = encode(entry(name, kind))
    found = read(data)
    assert found.name.encode("utf-8", "surrogateescape") == name.removesuffix(b"/")
    assert len(found.pax_headers) == records


@pytest.mark.parametrize(
    ("field", "value", "records"),
    [
        ("uid", 0o7777777, 0),
        ("uid", 0o10000000, 1),
        ("gid", 4_294_967_294, 1),
        ("mtime", 0o77777777777, 0),
        ("mtime", 0o100000000000, 1),
        ("mtime", -1, 1),
    ],
)
def test_a_number_is_recorded_only_where_the_header_has_no_room(field: str, value: int, records: int) -> None:
    numbers = {"uid": 0, "gid": 0, "mtime": 0, field: value}
    data = encode(PosixEntry(b"f", b"0", 0o644, numbers["uid"], numbers["gid"], numbers["mtime"]))
    found = read(data)
    assert getattr(found, field) == value
    assert list(found.pax_headers) == [field] * records


@pytest.mark.parametrize(("size", "records"), [((8 << 30) - 1, {}), (8 << 30, {"size": "8589934592"})])
def test_sizes_of_eight_gib_and_more_are_recorded(size: int, records: dict[str, str]) -> None:
    data = encode(entry(b"f", size=size))
    found = tarfile.TarFile(fileobj=io.BytesIO(data + bytes(1024))).next()
    assert found is not None
    assert (found.size, found.pax_headers) == (size, records)


def test_a_link_target_is_recorded_where_the_header_has_no_room() -> None:
    for target, records in ((b"t" * 100, 0), (b"t" * 101, 1), (b"\xfe", 1)):
        found = read(encode(entry(b"l", tar_posix.SYMLINK, link=target)))
        assert found.linkname.encode("utf-8", "surrogateescape") == target
        assert len(found.pax_headers) == records


def test_records_stand_in_the_order_of_their_keywords() -> None:
    data = encode(entry(b"n" * 101, records=((b"SCHILY.xattr.user.b", b"\0="), (b"SCHILY.xattr.user.a", b""))))
    assert data[512:].startswith(b"24 SCHILY.xattr.user.a=\n26 SCHILY.xattr.user.b=\0=\n111 path=nnn")


def test_devices_have_their_numbers() -> None:
    found = read(encode(entry(b"null", tar_posix.CHARACTER_DEVICE, device=(1, 3))))
    assert (found.ischr(), found.devmajor, found.devminor) == (True, 1, 3)


@pytest.mark.parametrize("device", [(0o10000000, 0), (0, 1 << 32), (-1, 0)])
def test_devices_that_no_kernel_has_are_refused(device: tuple[int, int]) -> None:
    with pytest.raises(UnsupportedError, match="no device"):
        encode(entry(b"d", tar_posix.BLOCK_DEVICE, device=device))


def test_an_attribute_with_an_equals_sign_in_its_name_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"'SCHILY\.xattr\.user\.a=b'"):
        encode(entry(b"f", records=((b"SCHILY.xattr.user.a=b", b"1"),)))
