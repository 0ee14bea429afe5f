from __future__ import annotations

import io
import tarfile

import pytest

from ostrata.codecs import tar

OBJECT = b"sysroot/ostree/repo/objects/27/" + b"a" * 62 + b".file"


def plain(name: bytes, **numbers: int) -> bytes:
    defaults = {"mode": 0o644, "uid": 0, "gid": 0, "size": 0}
    return tar.header(tar.fill(tar.EMPTY_FIELD, name)[0], **(defaults | numbers), kind=tar.REGULAR)


def test_a_header_has_the_checksum_in_seven_digits_and_no_other_zeros() -> None:
    header = plain(b"usr/bin/sh", mode=0o4755, uid=1000, gid=5, size=10)
    assert len(header) == 512
    assert header[100:148] == b"0004755\x000001750\x000000005\x0000000000012\x0000000000000\x00"
    assert header[148:156] == b"%07o\0" % (sum(header) - sum(header[148:156]) + 8 * 32)
    assert header[156:157] == b"0"
    assert header[257:265] == b"ustar  \0"
    assert not any(header[265:])


def test_large_numbers_are_written_in_base_256() -> None:
    assert plain(b"a", uid=2097151)[108:116] == b"7777777\0"
    assert plain(b"a", uid=2097152)[108:116] == bytes.fromhex("8000000000200000")
    assert plain(b"a", size=8589934591)[124:136] == b"77777777777\0"
    assert plain(b"a", size=8589934592)[124:136] == bytes.fromhex("800000000000000200000000")


def test_long_name_and_long_link_headers_are_those_of_the_tar_crate() -> None:
    name = tar.long_entry(b"L", b"a" * 110)
    assert name[:13] == b"././@LongLink"
    assert name[124:136] == b"00000000157\0"
    assert name[148:156] == b"0007776\0"
    assert name[512:] == b"a" * 110 + bytes(512 - 110)
    assert tar.long_entry(b"K", b"a" * 105)[124:136] == b"00000000152\0"


def test_what_stood_in_a_field_behind_the_name_stays() -> None:
    before = tar.fill(tar.EMPTY_FIELD, OBJECT)[0]
    field, fits = tar.fill(before, b"usr/bin/sh")
    assert fits
    assert field == b"usr/bin/sh\0" + OBJECT[11:] + b"\0\0"


@pytest.mark.parametrize("length", [98, 99, 100])
def test_names_of_up_to_100_bytes_need_no_second_entry(length: int) -> None:
    long_name, field = tar.name_fields(b"a" * length)
    assert long_name == b""
    assert field == (b"a" * length).ljust(100, b"\0")


def test_a_longer_name_is_in_an_entry_of_its_own_and_cut_in_the_field() -> None:
    path = b"d" * 50 + b"/" + b"e" * 60
    long_name, field = tar.name_fields(path)
    assert long_name == tar.long_entry(b"L", path)
    assert field == path[:100]


def test_a_cut_name_ends_with_a_whole_character() -> None:
    path = b"a" * 99 + "é".encode() * 10
    long_name, field = tar.name_fields(path)
    assert long_name == tar.long_entry(b"L", path)
    # The one component does not fit at all, so only the cut name is in the field.
    assert field == b"a" * 99 + b"\0"


def test_a_leading_dot_counts_but_is_not_stored() -> None:
    path = b"./" + b"a" * 60 + b"/" + b"b" * 60
    long_name, field = tar.name_fields(path)
    assert long_name == tar.long_entry(b"L", path)
    # 98 bytes of the name; the first try had written 61 and one NUL, which the second covers.
    assert field == (path[2:100]).ljust(100, b"\0")
    assert tar.name_fields(b"./") == (b"", b"./".ljust(100, b"\0"))
    # 99 bytes with the dot removed fit, though the path has 101.
    assert tar.name_fields(b"./" + b"a" * 99) == (b"", b"a" * 99 + b"\0")


def test_bytes_of_the_first_try_show_behind_a_shorter_cut_name() -> None:
    # The first 100 stored bytes end with a whole piece, then the next does not fit; the cut has 98.
    path = b"./" + b"a" * 98 + b"/" + b"b/c"
    _, field = tar.name_fields(path)
    assert field[:98] == b"a" * 98
    assert field[98:] == b"\0b"


def test_a_dot_left_over_by_the_cut_is_not_stored() -> None:
    path = b"a" * 98 + b"/.0"
    assert tar.name_fields(path) == (tar.long_entry(b"L", path), b"a" * 98 + b"\0\0")


def test_two_dots_left_over_by_the_cut_are_stored() -> None:
    path = b"a" * 97 + b"/..000"
    assert tar.name_fields(path) == (tar.long_entry(b"L", path), path[:100])


@pytest.mark.parametrize(
    "target",
    [
        b"bin/sh",
        b"../x",
        b"/usr/lib",
        b"/usr/",
        b"./x",
        b".",
        b"..",
        b"a" * 100,
        b"x//y",
        b"../..//sbin/chkconfig",
    ],
)
def test_ordinary_targets_stand_in_the_field(target: bytes) -> None:
    assert tar.link_fields(target) == (b"", target.ljust(100, b"\0"))


@pytest.mark.parametrize("target", [b"/", b"a/./b", b"foo/.", b"./.", b"/."])
def test_targets_that_the_tar_crate_damages_are_kept_raw(target: bytes) -> None:
    assert tar.link_fields(target) == (b"", target.ljust(100, b"\0"))


def test_a_long_target_leaves_the_pieces_that_fit_in_the_field() -> None:
    target = b"d" * 60 + b"/" + b"e" * 60
    assert tar.link_fields(target) == (tar.long_entry(b"K", target), (b"d" * 60 + b"/").ljust(100, b"\0"))
    alone = b"x" * 150
    assert tar.link_fields(alone) == (tar.long_entry(b"K", alone), bytes(100))


def test_long_targets_that_the_tar_crate_refuses_or_damages_are_kept_raw() -> None:
    denormal = b"a//" + b"b" * 120
    assert tar.link_fields(denormal) == (tar.long_entry(b"K", denormal), denormal[:100])
    shrinking = b"a/./" * 30 + b"b"  # 121 bytes, 61 when normalised
    assert tar.link_fields(shrinking) == (tar.long_entry(b"K", shrinking), shrinking[:100])


@pytest.mark.parametrize("size", [0, 1, 62, 70, 71, 72, 962, 970, 980, 5000])
def test_a_pax_record_counts_its_own_length(size: int) -> None:
    entry = tar.pax_entry([(b"SCHILY.xattr.user.a", b"v" * size)])
    length = int(entry[124:135], 8)
    record = entry[512 : 512 + length]
    assert int(record.split(b" ")[0]) == length
    assert record.endswith(b"SCHILY.xattr.user.a=" + b"v" * size + b"\n")
    assert len(entry) % 512 == 0


def test_pythons_tar_module_reads_what_is_written() -> None:
    target = "t" * 90 + "/" + "u" * 90
    long_link, link = tar.link_fields(target.encode())
    path = "n" * 90 + "/" + "m" * 90
    long_name, name = tar.name_fields(path.encode())
    stream = b"".join(
        [
            tar.pax_entry([(b"SCHILY.xattr.user.a", b"1\n2")]),
            plain(b"file", size=3) + b"abc" + tar.padding(3),
            long_name + long_link + tar.header(name, 0o777, 1, 2, 0, tar.SYMLINK, link),
            tar.END,
        ]
    )
    with tarfile.open(fileobj=io.BytesIO(stream)) as archive:
        file, symlink = archive.getmembers()
        assert archive.extractfile(file).read() == b"abc"  # type: ignore[union-attr]
    assert file.pax_headers["SCHILY.xattr.user.a"] == "1\n2"
    assert (symlink.name, symlink.linkname, symlink.uid, symlink.gid) == (path, target, 1, 2)
