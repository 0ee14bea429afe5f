from __future__ import annotations

import time

import pytest

from ostrata.codecs import dpkg
from ostrata.codecs.dpkg import Diversion
from ostrata.errors import MalformedError

STATUS = b"""Package: bash
Status: install ok installed
Installed-Size: 7164
Architecture: amd64
Source: bash-source (5.2-1)
Version: 5.2-1+b1
Conffiles:
 /etc/bash rc 0123456789abcdef0123456789abcdef
 /etc/old 0123456789ABCDEF0123456789abcdef obsolete
 /etc/new newconffile
Description: GNU shell
 Package: not a field

package: libx
STATUS: deinstall ok config-files
Architecture: all
Version: 1:2


Package: half
Status: install reinstreq half-configured
Source: some
Installed-Size: many
Version: 3
"""


def test_paragraphs_say_what_dpkg_would_say() -> None:
    bash, libx, half = dpkg.decode_status(STATUS)
    assert (bash.name, bash.version, bash.arch) == ("bash", "5.2-1+b1", "amd64")
    assert (bash.source, bash.source_version, bash.size) == ("bash-source", "5.2-1", 7164 * 1024)
    assert bash.conffiles == tuple((path, "0123456789abcdef" * 2) for path in ("/etc/bash rc", "/etc/old"))
    assert (libx.source, libx.source_version, libx.size) == ("libx", "1:2", None)
    assert (half.source, half.source_version, half.size) == ("some", "3", None)
    assert [paragraph.is_there for paragraph in (bash, libx, half)] == [True, False, True]


@pytest.mark.parametrize(
    ("state", "there"),
    [
        ("not-installed", False),
        ("config-files", False),
        ("half-installed", True),
        ("unpacked", True),
        ("half-configured", True),
        ("triggers-awaited", True),
        ("triggers-pending", True),
        ("installed", True),
    ],
)
def test_a_package_is_there_when_it_has_files(state: str, there: bool) -> None:
    (paragraph,) = dpkg.decode_status(f"Package: x\nStatus: install ok {state}\n".encode())
    assert paragraph.is_there is there


def test_a_paragraph_without_a_status_is_not_there() -> None:
    (paragraph,) = dpkg.decode_status(b"Package: x\n")
    assert not paragraph.is_there


@pytest.mark.parametrize("name", ["a b", "é", "UPPER", "a,b", "a\tb", "-x", "a:b"])
def test_odd_names_are_kept(name: str) -> None:
    assert dpkg.decode_status(f"Package: {name}\n".encode())[0].name == name


@pytest.mark.parametrize("name", ["", "a/b", "../x", "..", ".", "a\0b"])
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(MalformedError, match="at line 1: expected the name of a package"):
        dpkg.decode_status(f"Package: {name}\n".encode())


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (b"Package: x", "the file is cut"),
        (b"Package: x\n\nno field\n", "line 3: expected 'Field: value'"),
        (b" continued\n", "begins with a continued line"),
        (b"Package: x\nPackage: y\n", "field package twice"),
        (b"Package: x\nStatus: installed\n", "three words"),
        (b"Package: x\nArchitecture: ../../etc\n", "expected an architecture"),
        (b": x\n", "expected 'Field: value'"),
        (b"two words: x\n", "expected 'Field: value'"),
        (b"Status: install ok installed\n", "expected the name"),
    ],
)
def test_a_status_file_that_dpkg_refuses_is_refused(status: bytes, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        dpkg.decode_status(status)


def test_empty_files_are_empty() -> None:
    for decode in (dpkg.decode_status, dpkg.decode_paths, dpkg.decode_md5sums, dpkg.decode_diversions):
        assert decode(b"") == []
    assert dpkg.decode_status(b"\n\n\n") == []


def test_one_long_line_is_read_in_a_moment() -> None:
    started = time.monotonic()
    for status in (b"Package: " + b"x" * 20_000_000 + b"\n", b"Package: x\nConffiles: " + b" /" * 10_000_000 + b"\n"):
        assert len(dpkg.decode_status(status)) == 1
    with pytest.raises(MalformedError, match="expected 'Field: value'"):
        dpkg.decode_status(b"x" * 20_000_000 + b"\n")
    with pytest.raises(MalformedError):
        dpkg.decode_md5sums(b"0" * 20_000_000)
    assert time.monotonic() - started < 10


def test_lists_keep_their_order_and_odd_paths() -> None:
    assert dpkg.decode_paths(b"/.\n/z \xff\n/a b\n") == ["/.", "/z \udcff", "/a b"]
    with pytest.raises(MalformedError, match="empty line 2"):
        dpkg.decode_paths(b"/.\n\n/a\n")
    with pytest.raises(MalformedError, match="the file is cut"):
        dpkg.decode_paths(b"/.\n/us")


def test_sums_are_read_with_and_without_a_last_newline() -> None:
    line = b"0123456789abcdef0123456789abcdef  usr/a b  c"
    expected = [("0123456789abcdef0123456789abcdef", "usr/a b  c")]
    assert dpkg.decode_md5sums(line) == dpkg.decode_md5sums(line + b"\n") == expected
    assert dpkg.decode_md5sums(line.replace(b"usr/", b"./usr/") + b"\n") == expected
    for bad in (b"x\n" + line, line + b"\n\n", line[1:], line + b"\n" + line[:20]):
        with pytest.raises(MalformedError, match="on each line"):
            dpkg.decode_md5sums(bad)


def test_diversions_are_three_lines_each() -> None:
    assert dpkg.decode_diversions(b"/a\n/a.real\nx\n/b\n/b.old\n:\n") == [
        Diversion("/a", "/a.real", "x"),
        Diversion("/b", "/b.old", ":"),
    ]
    for bad in (b"/a\n/b\n", b"/a\n/b\nx"):
        with pytest.raises(MalformedError):
            dpkg.decode_diversions(bad)
