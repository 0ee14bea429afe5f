from __future__ import annotations

import base64

import pytest

from ostrata.codecs import apk
from ostrata.errors import LimitError, MalformedError

SHA1, SHA256 = bytes(range(20)), bytes(range(32))
Q1 = "Q1" + base64.b64encode(SHA1).decode()
Q2 = "Q2" + base64.b64encode(SHA256).decode()
INSTALLED = f"""C:Q1abc
P:busybox
V:1.36.1-r5
A:x86_64
S:1
I:962560
o:busybox source
t:1700000000
F:
R:root file
F:bin
M:0:0:755
R:busybox
a:0:0:755
Z:{Q1}
R:sh é

P:musl
V:1
f:S
F:lib
R:libc.so
Z:{Q1}
R:other
Z:{Q2}


"""


def test_packages_have_their_paths_and_digests() -> None:
    busybox, musl = apk.decode(INSTALLED.encode())
    assert (busybox.name, busybox.version, busybox.arch) == ("busybox", "1.36.1-r5", "x86_64")
    assert (busybox.source, busybox.built, busybox.size) == ("busybox source", 1_700_000_000, 962560)
    assert busybox.paths == ("", "root file", "bin", "bin/busybox", "bin/sh é")
    assert busybox.digests == {"bin/busybox": ("sha1", SHA1.hex())}
    assert (musl.source, musl.built, musl.size) == ("musl", None, None)


def test_digests_say_what_they_are() -> None:
    _, musl = apk.decode(INSTALLED.encode())
    assert musl.digests == {"lib/libc.so": ("sha256-160", SHA1.hex()), "lib/other": ("sha256", SHA256.hex())}


def test_an_empty_database_has_no_packages() -> None:
    assert apk.decode(b"") == apk.decode(b"\n\n\n\n") == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("P:a\nV:1", "the file is cut"),
        ("P:a\n\n\nV:1\n", "the package at line 3: expected the name"),
        ("P:\n", "expected the name"),
        ("P:a\nP:b\n", "field P is there twice"),
        ("P:a\nR:file\n", "expected a directory"),
        ("P:a\nnonsense\n", "expected a letter and a colon"),
        ("P:a\nF:x\nR:y\nZ:Q1AAAA\n", "expected a digest"),
        ("P:a\nF:x\nR:y\nZ:Q1\u00e9\n", "expected a digest"),
        (f"P:a\nF:x\nR:y\nZ:Q3{Q1[2:]}\n", "expected a digest"),
    ],
)
def test_a_damaged_database_is_refused(data: str, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        apk.decode(data.encode())


def test_a_few_bytes_cannot_name_gigabytes_of_paths() -> None:
    with pytest.raises(LimitError, match="64 times"):
        apk.decode(b"P:a\nF:" + b"x" * 4000 + b"\n" + b"R:y\n" * 100_000)
    with pytest.raises(LimitError, match="at most 4096"):
        apk.decode(b"P:a\nF:" + b"x" * 5000 + b"\n")
