"""The strict tar walker: what it reads, and each way in which an archive can be wrong."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest

from ostrata.codecs.tar_paths import normalise
from ostrata.codecs.tar_reader import Kind, TarEntry, read_members
from ostrata.errors import LimitError, MalformedError, UnsupportedError
from tarbuilder import (
    END,
    Header,
    directory_entry,
    file_entry,
    link_entry,
    long_entry,
    padded,
    pax_entry,
    pax_record,
    raw_pax_entry,
    symlink_entry,
)

Patch = Callable[[Header], object]


def read(tar: bytes, step: int = 1 << 20, **options: int) -> list[tuple[TarEntry, bytes]]:
    chunks = [tar[start : start + step] for start in range(0, len(tar), step)]
    return [(entry, b"".join(content)) for entry, content in read_members(chunks, **options)]


def read_one(tar: bytes) -> TarEntry:
    [(entry, _)] = read(tar + END)
    return entry


def patched(patch: Patch, kind: bytes = b"0", size: int = 0) -> bytes:
    """A header for the file `name`, changed by `patch`, with a checksum that is right."""
    head = Header().attributes(0o644, 1, 2, size, kind)
    head.put(0, [b"name"])
    patch(head)
    return head.finished()


def put(start: int, data: bytes) -> Patch:
    def patch(head: Header) -> None:
        head.buffer[start : start + len(data)] = data

    return patch


def refused(tar: bytes, match: str, family: type[Exception] = MalformedError, **options: int) -> None:
    with pytest.raises(family, match=match) as caught:
        read(tar, **options)
    assert caught.type is family
    assert "offset " in str(caught.value)
    assert "\n" not in str(caught.value)


# What is read


def test_kinds_owners_modes_and_contents_are_read() -> None:
    tar = (
        directory_entry("a b\n/", 0o1777, 1, 2)
        + file_entry("a b\n/f", b"content", 0o4755, 3, 4)
        + link_entry("l", "a b\n/f")
        + symlink_entry("s", b"../x")
        + patched(lambda head: None, b"6")
        + END
    )
    entries = read(tar)
    assert [entry.kind for entry, _ in entries] == [
        Kind.DIRECTORY,
        Kind.FILE,
        Kind.HARD_LINK,
        Kind.SYMLINK,
        Kind.FIFO,
    ]
    assert [entry.path for entry, _ in entries] == ["a b\n/", "a b\n/f", "l", "s", "name"]
    assert [(e.mode, e.uid, e.gid) for e, _ in entries[:2]] == [(0o1777, 1, 2), (0o4755, 3, 4)]
    assert [entry.link_target for entry, _ in entries] == ["", "", "a b\n/f", "../x", ""]
    assert entries[1][1] == b"content"
    assert entries[1][0].offset == 512


def test_devices_have_their_numbers() -> None:
    entry = read_one(patched(put(329, b"0000010\x000000021\0"), b"4"))
    assert (entry.kind, entry.device) == (Kind.BLOCK_DEVICE, (8, 17))


@pytest.mark.parametrize("step", [1, 7, 511, 512, 513, 100_000])
def test_pieces_may_be_cut_anywhere(step: int) -> None:
    tar = file_entry("x" * 150, bytes(range(256)) * 9) + file_entry("empty", b"") + file_entry("y", b"1") + END
    assert [data for _, data in read(tar, step)] == [bytes(range(256)) * 9, b"", b"1"]


def test_content_is_passed_on_without_a_copy() -> None:
    tar = file_entry("x", b"abc") + END
    for _, content in read_members([tar]):
        [piece] = list(content)
        assert piece.obj is tar


def test_content_that_is_not_taken_is_skipped_and_gone() -> None:
    tar = file_entry("x", b"abc" * 1000) + file_entry("y", b"d") + END
    kept = list(read_members([tar]))
    assert [entry.path for entry, _ in kept] == ["x", "y"]
    assert [list(content) for _, content in kept] == [[], []]


def test_an_entry_is_a_value_that_can_be_pickled() -> None:
    entry = read_one(pax_entry([(b"SCHILY.xattr.user.a", b"1\0\n=")]) + file_entry("x", b""))
    assert pickle.loads(pickle.dumps(entry)) == entry


def test_bytes_behind_a_nul_in_a_name_or_target_have_no_meaning() -> None:
    entry = read_one(patched(put(0, b"usr/bin/sh\0ree/repo/objects"), b"0"))
    assert entry.path == "usr/bin/sh"
    entry = read_one(patched(put(157, b"target\0stale"), b"1"))
    assert entry.link_target == "target"


def test_a_name_of_exactly_100_bytes_is_read() -> None:
    assert read_one(patched(put(0, b"n" * 100))).path == "n" * 100


def test_names_that_are_not_utf_8_survive() -> None:
    assert read_one(patched(put(0, b"caf\xe9"))).path == "caf\udce9"


def test_ustar_names_have_their_prefix_in_front() -> None:
    def patch(head: Header) -> None:
        head.buffer[257:265] = b"ustar\x0000"
        head.buffer[345:350] = b"usr/a"

    assert read_one(patched(patch)).path == "usr/a/name"


def test_the_prefix_field_of_a_gnu_header_is_no_prefix() -> None:
    assert read_one(patched(put(345, b"00000000001"))).path == "name"


def test_old_v7_headers_are_read() -> None:
    assert read_one(patched(put(257, bytes(8)), b"\0")).kind is Kind.FILE


def test_a_v7_file_with_a_slash_behind_it_is_a_directory() -> None:
    assert read_one(patched(put(0, b"name/"), b"\0")).kind is Kind.DIRECTORY


def test_long_names_and_targets_are_read() -> None:
    long_name, target = "d/" * 200 + "f", b"t" * 300
    entry = read_one(symlink_entry(long_name, target))
    assert (entry.path, entry.link_target) == (long_name, "t" * 300)
    assert entry.offset == 4 * 512


def test_base_256_numbers_are_read() -> None:
    entry = read_one(patched(lambda head: head.number(108, 8, 4_000_000_000)))
    assert entry.uid == 4_000_000_000


def test_a_negative_time_is_read() -> None:
    assert read_one(patched(put(136, b"\xff" * 12))).mtime == -1


def test_pax_records_take_the_place_of_header_fields() -> None:
    records = [
        (b"path", "é/".encode() * 200 + b"f"),
        (b"uid", b"3000000000"),
        (b"gid", b"7"),
        (b"mtime", b"-1.5"),
        (b"size", b"3"),
        (b"SCHILY.xattr.security.capability", b"\1\0\n="),
    ]
    [(entry, data)] = read(pax_entry(records) + patched(lambda head: None) + padded(b"abc") + END)
    assert (entry.path, entry.uid, entry.gid, entry.mtime) == ("é/" * 200 + "f", 3_000_000_000, 7, -2)
    assert (entry.size, data) == (3, b"abc")
    assert entry.pax["SCHILY.xattr.security.capability"] == b"\1\0\n="


def test_a_pax_linkpath_is_the_target() -> None:
    assert read_one(pax_entry([(b"linkpath", b"t" * 200)]) + link_entry("l", "x")).link_target == "t" * 200


def test_pax_records_apply_to_one_entry_only() -> None:
    tar = pax_entry([(b"gid", b"7")]) + file_entry("x", b"") + file_entry("y", b"") + END
    assert [(entry.gid, len(entry.pax)) for entry, _ in read(tar)] == [(7, 1), (0, 0)]


def test_global_records_apply_to_all_entries_until_taken_back() -> None:
    tar = (
        pax_entry([(b"gid", b"7"), (b"comment", b"c")], b"g")
        + file_entry("x", b"")
        + pax_entry([(b"gid", b"8")])
        + file_entry("y", b"")
        + pax_entry([(b"gid", b"")], b"g")
        + file_entry("z", b"")
        + END
    )
    assert [entry.gid for entry, _ in read(tar)] == [7, 8, 0]


def test_more_zeros_may_follow_the_end() -> None:
    assert read(file_entry("x", b"") + END + bytes(9 * 1024))[0][0].path == "x"


def test_an_archive_can_be_empty() -> None:
    assert read(END) == []


# What is refused


def test_a_wrong_checksum_is_refused() -> None:
    tar = bytearray(file_entry("x", b"abc") + file_entry("y", b"") + END)
    tar[1024] ^= 1
    refused(bytes(tar), "offset 1024: expected a header with the checksum")


def test_a_checksum_that_is_no_number_is_refused() -> None:
    tar = bytearray(file_entry("x", b"") + END)
    tar[148:156] = b"+0x12_3 "
    refused(bytes(tar), "octal number")


def test_every_changed_byte_of_a_header_is_noticed() -> None:
    good = file_entry("x", b"") + END
    for position in range(512):
        for change in (1, 0x80):
            tar = bytearray(good)
            tar[position] ^= change
            with pytest.raises((MalformedError, UnsupportedError)):
                read(bytes(tar))


def test_high_bytes_count_fully_in_the_checksum() -> None:
    def patch(head: Header) -> None:
        head.buffer[0:100] = b"\xff" * 100
        head.buffer[157:257] = b"\xff" * 100
        head.buffer[265:500] = b"\xff" * 235

    assert read_one(patched(patch)).path == "\udcff" * 100


def test_an_archive_without_end_blocks_is_refused() -> None:
    refused(file_entry("x", b"abc"), "offset 1024: the tar ends without its two zero blocks")
    refused(b"", "without its two zero blocks")


def test_an_archive_with_one_end_block_is_refused() -> None:
    refused(file_entry("x", b"") + bytes(512), "lone zero block")


def test_a_zero_block_between_entries_is_refused() -> None:
    refused(file_entry("x", b"") + bytes(512) + file_entry("y", b"") + END, "lone zero block")


def test_data_after_the_end_is_refused() -> None:
    refused(END + file_entry("x", b""), "offset 1024: data after the end")
    refused(END + bytes(100_000) + b"x", "offset 101024: data after the end")


def test_an_archive_cut_anywhere_is_refused() -> None:
    tar = pax_entry([(b"gid", b"7")]) + symlink_entry("n" * 120, b"t" * 120) + file_entry("x", b"abc" * 300) + END
    for end in range(0, len(tar), 37):
        with pytest.raises(MalformedError):
            read(tar[:end])


def test_a_pax_key_twice_is_refused() -> None:
    refused(pax_entry([(b"path", b"a"), (b"path", b"b")]) + file_entry("x", b"") + END, "'path' twice")


@pytest.mark.parametrize(
    "record",
    [
        b"6 a=b\nx",
        b"7 a=b\n",
        b"5 a=b\n",
        b"06 a=b\n",
        b"-6 a=b\n",
        b"+6 a=b\n",
        b" 6 a=b\n",
        b"6  a=b\n",
        b"99999999999999999999 a=b\n",
        b"a=b\n",
        b"6 a=bc",
        b"2 ",
        b"3 \n",
        b"4 a\n",
        b"5 =b\n",
        b"7 a\0=b\n",
    ],
)
def test_a_pax_record_with_a_wrong_length_or_key_is_refused(record: bytes) -> None:
    refused(raw_pax_entry(record) + file_entry("x", b"") + END, "PAX record|two")


@pytest.mark.parametrize("size", [b"-1", b"1.5", b"0x10", b"", b" 3", b"1" * 5000, b"\xd9\xa1"])
def test_a_pax_size_that_is_no_size_is_refused(size: bytes) -> None:
    tar = pax_entry([(b"size", size)]) + file_entry("x", b"") + END
    if size:
        refused(tar, "decimal number for the PAX key 'size'")
    else:
        assert read(tar)[0][0].size == 0  # an empty value takes the record back


def test_a_pax_time_that_is_no_time_is_refused() -> None:
    refused(pax_entry([(b"mtime", b"yesterday")]) + file_entry("x", b"") + END, "expected a time")


def test_a_negative_size_is_refused() -> None:
    refused(patched(put(124, b"\xff" * 12)) + END, "negative size")


@pytest.mark.parametrize(
    "field",
    [b"-0000000001\0", b"0000000008\0 ", b"0x000000001\0", b"1_000000000\0", b"1\x001\0\0\0\0\0\0\0\0\0"],
)
def test_a_size_that_is_no_number_is_refused(field: bytes) -> None:
    refused(patched(put(124, field)) + END, "octal number")


def test_an_empty_size_is_refused() -> None:
    refused(patched(put(124, bytes(12))) + END, "empty size")


def test_a_size_of_8_eib_is_refused() -> None:
    refused(patched(put(124, b"\x80\0\0\0" + (1 << 63).to_bytes(8, "big"))) + END, "below 8 EiB")
    refused(pax_entry([(b"size", b"%d" % (1 << 63))]) + file_entry("x", b"") + END, "below 8 EiB")
    refused(patched(put(124, b"\xbf" + b"\xff" * 11)) + END, "below 8 EiB")


def test_a_size_over_the_limit_is_refused() -> None:
    refused(file_entry("x", b"abcd") + END, "at most 3 bytes, found 4", LimitError, max_size=3)
    refused(patched(put(124, b"\x80\0\0\0" + (1 << 62).to_bytes(8, "big"))) + END, "at most", LimitError)


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"4", b"5", b"6"])
def test_a_size_where_no_content_can_be_is_refused(kind: bytes) -> None:
    refused(patched(put(157, b"t"), kind, 5) + padded(b"abcde") + END, "with a size: expected 0, found 5")


def test_an_owner_out_of_range_is_refused() -> None:
    refused(patched(lambda head: head.number(108, 8, 1 << 32)) + END, "out of range")
    refused(patched(put(116, b"\xff" * 8)) + END, "out of range")
    refused(pax_entry([(b"uid", b"4294967296")]) + file_entry("x", b"") + END, "out of range")


def test_a_mode_out_of_range_is_refused() -> None:
    refused(patched(put(100, b"7777777\0")) + END, "out of range")


def test_a_nul_in_a_pax_path_is_refused() -> None:
    refused(pax_entry([(b"path", b"a\0b")]) + file_entry("x", b"") + END, "a name with a NUL")
    refused(pax_entry([(b"linkpath", b"a\0b")]) + link_entry("x", "y") + END, "target with a NUL")


def test_a_nul_within_a_long_name_is_refused() -> None:
    refused(long_entry(b"L", b"a\0b") + file_entry("x", b"") + END, "a long name with a NUL")


def test_names_over_4096_bytes_are_refused() -> None:
    assert len(read_one(long_entry(b"L", b"n" * 4096) + file_entry("x", b"")).path) == 4096
    refused(long_entry(b"L", b"n" * 4097) + file_entry("x", b"") + END, "at most 4096 bytes", LimitError)
    refused(long_entry(b"K", b"n" * 4097) + link_entry("x", "y") + END, "at most 4096 bytes", LimitError)
    refused(pax_entry([(b"path", b"n" * 4097)]) + file_entry("x", b"") + END, "at most 4096", LimitError)


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_extension_data_over_1_mib_is_refused_before_it_is_read(kind: bytes) -> None:
    refused(patched(lambda head: None, kind, (1 << 20) + 1), "at most 1048576 bytes, found 1048577", LimitError)


def test_too_many_global_records_are_refused() -> None:
    headers = b"".join(pax_entry([(b"key%d" % number, b"v")], b"g") for number in range(257))
    refused(headers + END, "at most 256 global PAX records", LimitError)


@pytest.mark.parametrize("key", [b"path", b"linkpath", b"size"])
def test_a_global_name_or_size_is_refused_since_readers_differ(key: bytes) -> None:
    refused(pax_entry([(key, b"1")], b"g") + file_entry("x", b"") + END, "readers", UnsupportedError)


@pytest.mark.parametrize("kind", [b"7", b"A", b"D", b"M", b"N", b"V", b"X", b"9", b"\xff"])
def test_unknown_types_are_refused(kind: bytes) -> None:
    refused(patched(lambda head: None, kind) + END, "unknown type", UnsupportedError)


def test_sparse_files_are_refused() -> None:
    refused(patched(lambda head: None, b"S") + END, "sparse", UnsupportedError)
    sparse = pax_entry([(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0")])
    refused(sparse + file_entry("x", b"") + END, "sparse", UnsupportedError)


@pytest.mark.parametrize(
    "extension",
    [long_entry(b"L", b"n"), long_entry(b"K", b"n"), pax_entry([(b"gid", b"1")])],
    ids=["L", "K", "x"],
)
def test_an_extension_without_its_entry_is_refused(extension: bytes) -> None:
    refused(extension + END, "at the end, without its entry")
    refused(
        extension + pax_entry([(b"gid", b"1")], b"g") + file_entry("x", b"") + END,
        "global PAX header follows",
    )


@pytest.mark.parametrize("kind", [b"L", b"K"])
def test_two_long_names_for_one_entry_are_refused(kind: bytes) -> None:
    refused(long_entry(kind, b"a") + long_entry(kind, b"b") + link_entry("x", "y") + END, "for one entry")


def test_two_pax_headers_for_one_entry_are_refused() -> None:
    header = pax_entry([(b"gid", b"1")])
    refused(header + header + file_entry("x", b"") + END, "two PAX headers for one entry")


def test_a_name_or_target_given_twice_is_refused() -> None:
    refused(long_entry(b"L", b"a") + pax_entry([(b"path", b"b")]) + file_entry("x", b"") + END, "name given twice")
    refused(
        long_entry(b"K", b"a") + pax_entry([(b"linkpath", b"b")]) + link_entry("x", "y") + END,
        "target given twice",
    )


def test_a_target_for_what_is_no_link_is_refused() -> None:
    refused(long_entry(b"K", b"a") + file_entry("x", b"") + END, "no link")
    refused(pax_entry([(b"linkpath", b"a")]) + file_entry("x", b"") + END, "no link")


def test_an_empty_name_or_target_is_refused() -> None:
    refused(patched(put(0, bytes(100))) + END, "whose name is empty")
    refused(patched(lambda head: None, b"2") + END, "whose symlink's target is empty")
    refused(pax_entry([(b"path", b"")]) + file_entry("x", b"") + END, "whose name is empty")


def test_a_file_with_the_name_of_a_directory_is_refused() -> None:
    refused(patched(put(0, b"name/")) + END, "name of a directory")


def test_an_unknown_magic_is_refused() -> None:
    refused(patched(put(257, b"ustar\0\0\0")) + END, "magic")


def test_data_behind_the_ustar_prefix_is_refused() -> None:
    def patch(head: Header) -> None:
        head.buffer[257:265] = b"ustar\x0000"
        head.buffer[508:512] = b"tar\0"

    refused(patched(patch) + END, "behind its prefix")


def test_hostile_names_are_escaped_in_messages() -> None:
    refused(patched(put(0, b"\x1b[31m\n/")) + END, r"\\x1b\[31m\\n/")


def test_an_error_of_the_stream_below_keeps_its_words() -> None:
    def broken() -> object:
        yield file_entry("x", b"abc")
        raise MalformedError("the gzip data is cut")

    with pytest.raises(MalformedError, match="offset 1024: the gzip data is cut"):
        list(read_members(broken()))  # type: ignore[arg-type]


def test_pax_lengths_count_their_own_digits() -> None:
    for size in (1, 91, 92, 93, 990, 991):
        record = pax_record(b"user", b"v" * size)
        entry = read_one(raw_pax_entry(record) + file_entry("x", b""))
        assert entry.pax == {"user": b"v" * size}


# Paths


@pytest.mark.parametrize(
    ("stored", "path"),
    [
        ("./", ""),
        (".", ""),
        ("./a", "a"),
        ("a/", "a"),
        ("./a//b/./c/", "a/b/c"),
        (".a/..b", ".a/..b"),
        ("a b\n", "a b\n"),
        ("...", "..."),
    ],
)
def test_paths_have_one_spelling(stored: str, path: str) -> None:
    assert normalise(stored) == path


@pytest.mark.parametrize("stored", ["", "/", "/a", "..", "../a", "a/..", "a/../b", "./..", "a\0b", "..//"])
def test_paths_that_lead_out_are_refused(stored: str) -> None:
    with pytest.raises(MalformedError):
        normalise(stored)
