from __future__ import annotations

import struct

import pytest

from ostrata.codecs import rpm_header
from ostrata.errors import LimitError, MalformedError
from rpm_databases import (
    BASENAMES,
    BASH,
    CHANGELOGTIME,
    DIRINDEXES,
    DIRNAMES,
    EPOCH,
    FILEDIGESTALGO,
    FILEDIGESTS,
    FILEFLAGS,
    LONGSIZE,
    MD5,
    NAME,
    OLDFILENAMES,
    SIZE,
    SOURCERPM,
    header,
)


def without(*tags: int) -> bytes:
    return header({tag: value for tag, value in BASH.items() if tag not in tags})


def with_entry(tag: int, **changes: int) -> bytes:
    """BASH, with one entry of its index changed."""
    blob = bytearray(header(BASH))
    fields = dict(zip(("tag", "kind", "offset", "count"), struct.unpack_from(">IIII", blob, at(tag)), strict=True))
    struct.pack_into(">IIII", blob, at(tag), *{**fields, **changes}.values())
    return bytes(blob)


def at(tag: int) -> int:
    return 8 + 16 * list(BASH).index(tag)


def test_a_header_says_what_rpm_would_say() -> None:
    package = rpm_header.decode(header(BASH))
    assert (package.name, package.full_version, package.arch) == ("bash", "1:5.2.26-3.fc40", "x86_64")
    assert (package.source, package.build_time, package.size) == ("bash", 1_700_000_000, 8_000_000)
    assert package.paths == ("/usr/bin/bash", "/usr/bin/sh", "/etc/bash rc\n", "/usr/share/doc é/ghost")
    assert package.ghosts == {"/usr/share/doc é/ghost"}
    assert package.digests == {"/usr/bin/bash": ("sha256", "ab" * 32), "/etc/bash rc\n": ("sha256", "cd" * 32)}
    assert package.times == (1_699_963_200, 1_699_963_200, 1_600_000_000)


def test_bytes_that_are_not_utf8_survive_in_paths() -> None:
    package = rpm_header.decode(header({**BASH, BASENAMES: ["a\udcff", "b", "c", "d"]}))
    assert package.paths[0].encode("utf-8", "surrogateescape") == b"/usr/bin/a\xff"


def test_an_epoch_of_zero_is_not_no_epoch() -> None:
    assert rpm_header.decode(header({**BASH, EPOCH: [0]})).full_version == "0:5.2.26-3.fc40"
    assert rpm_header.decode(without(EPOCH)).full_version == "5.2.26-3.fc40"


def test_a_later_entry_takes_the_place_of_an_earlier_one() -> None:
    blob = bytearray(header(BASH))
    struct.pack_into(">I", blob, at(SOURCERPM), NAME)
    assert rpm_header.decode(bytes(blob)).name == "bash-5.2.26-3.fc40.src.rpm"


@pytest.mark.parametrize(
    ("source_rpm", "source"),
    [("a-b-1-2.src.rpm", "a-b"), ("x-1-2.nosrc.rpm", "x"), ("(none)", "bash"), ("-1-2", "bash"), ("nothing", "bash")],
)
def test_the_source_is_the_name_without_version_and_release(source_rpm: str, source: str) -> None:
    assert rpm_header.decode(header({**BASH, SOURCERPM: source_rpm})).source == source


def test_a_package_without_files_source_and_arch_is_one() -> None:
    package = rpm_header.decode(header({NAME: "gpg-pubkey", 1001: "a15b79cc", 1002: "63d04c2c"}))
    assert (package.arch, package.source, package.paths, package.digests) == ("", "gpg-pubkey", (), {})
    assert (package.times, package.build_time, package.size) == ((), None, None)


def test_a_size_beyond_32_bits_is_in_its_own_tag() -> None:
    assert rpm_header.decode(header({**BASH, LONGSIZE: [1 << 40]})).size == 1 << 40
    assert rpm_header.decode(without(SIZE)).size is None


def test_digests_are_md5_where_nothing_is_said() -> None:
    tags = {**BASH, FILEDIGESTS: ["ab" * 16, "", "", ""]}
    del tags[FILEDIGESTALGO]
    assert rpm_header.decode(header(tags)).digests == {"/usr/bin/bash": ("md5", "ab" * 16)}
    assert rpm_header.decode(header({**tags, FILEDIGESTALGO: [MD5]})).digests["/usr/bin/bash"][0] == "md5"
    assert rpm_header.decode(header({**tags, FILEDIGESTALGO: [99]})).digests == {}


def test_whole_paths_of_old_packages_are_read() -> None:
    tags = {NAME: "old", 1001: "1", 1002: "1", OLDFILENAMES: ["/etc/x", "/bin/y"]}
    assert rpm_header.decode(header(tags)).paths == ("/etc/x", "/bin/y")


@pytest.mark.parametrize("tag", [NAME, 1001, 1002])
def test_a_header_without_name_version_or_release_is_refused(tag: int) -> None:
    with pytest.raises(MalformedError, match=f"no tag {tag}"):
        rpm_header.decode(without(tag))


@pytest.mark.parametrize("tag", [NAME, EPOCH, BASENAMES, DIRINDEXES, FILEDIGESTS, CHANGELOGTIME])
@pytest.mark.parametrize("offset", [1 << 31, 0xFFFFFFFF, 5000])
def test_an_offset_beyond_the_data_is_refused(tag: int, offset: int) -> None:
    with pytest.raises(MalformedError, match=f"tag {tag} reaches beyond"):
        rpm_header.decode(with_entry(tag, offset=offset))


@pytest.mark.parametrize("tag", [EPOCH, BASENAMES, DIRINDEXES, FILEDIGESTS, CHANGELOGTIME])
@pytest.mark.parametrize("count", [1 << 31, 0xFFFFFFFF])
def test_a_count_beyond_the_data_is_refused(tag: int, count: int) -> None:
    with pytest.raises(MalformedError, match=f"tag {tag} reaches beyond"):
        rpm_header.decode(with_entry(tag, count=count))


def test_a_string_without_an_end_is_refused() -> None:
    blob = header({**BASH, 9999: "last"})
    unended = blob[:-1] + b"x"
    assert rpm_header.decode(blob) == rpm_header.decode(unended)  # nobody asks for that tag
    with pytest.raises(MalformedError, match="reaches beyond"):
        rpm_header.decode(header({1001: "1", 1002: "1", NAME: "x"})[:-1] + b"x")


@pytest.mark.parametrize("tag", [NAME, EPOCH, BASENAMES, DIRINDEXES])
def test_a_tag_of_another_type_is_refused(tag: int) -> None:
    with pytest.raises(MalformedError, match=f"tag {tag}: expected type"):
        rpm_header.decode(with_entry(tag, kind=7))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({DIRINDEXES: [0, 0, 1]}, "4 directory indexes"),
        ({DIRINDEXES: [0, 0, 1, 3]}, "index of 3"),
        ({DIRINDEXES: [0, 0, 1, 0xFFFFFFFF]}, "index of 4294967295"),
        ({FILEFLAGS: [0]}, "4 flags"),
        ({FILEDIGESTS: ["ab" * 32]}, "4 digests"),
        ({FILEDIGESTS: ["zz" * 32, "", "", ""]}, "64 hex digits"),
        ({FILEDIGESTS: ["ab" * 31, "", "", ""]}, "64 hex digits"),
    ],
)
def test_arrays_that_do_not_fit_each_other_are_refused(change: dict[int, list[int]], message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        rpm_header.decode(header({**BASH, **change}))


def test_a_few_bytes_cannot_name_gigabytes_of_paths() -> None:
    many = 100_000
    tags = {**BASH, BASENAMES: [""] * many, DIRINDEXES: [0] * many, DIRNAMES: ["/" + "x" * 4000]}
    for tag in (FILEFLAGS, FILEDIGESTS):
        del tags[tag]
    with pytest.raises(LimitError, match="64 times the header's size"):
        rpm_header.decode(header(tags))
    with pytest.raises(LimitError, match="at most 4096 characters"):
        rpm_header.decode(header({**BASH, DIRNAMES: ["/" + "x" * 5000, "/", "/"]}))


@pytest.mark.parametrize("blob", [b"", b"\0" * 7, b"\0" * 9, b"\xff" * 8, header(BASH)[:-1], header(BASH) + b"\0"])
def test_a_header_of_another_size_than_it_says_is_refused(blob: bytes) -> None:
    with pytest.raises((MalformedError, LimitError)):
        rpm_header.decode(blob)
