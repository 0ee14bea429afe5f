from __future__ import annotations

import pytest

from ostrata.codecs import alpm
from ostrata.errors import MalformedError


def test_a_key_has_all_lines_up_to_an_empty_one() -> None:
    fields = alpm.decode_fields(b"%NAME%\nbash\n\n%FILES%\nusr/\nusr/%ODD%\nusr/\xff\n\n%EMPTY%\n\n\n")
    assert fields == {"NAME": ["bash"], "FILES": ["usr/", "usr/%ODD%", "usr/\udcff"], "EMPTY": []}
    assert alpm.decode_fields(b"") == {}


def test_a_value_that_looks_like_a_key_is_a_value() -> None:
    assert alpm.decode_fields(b"%FILES%\n%NAME%\n") == {"FILES": ["%NAME%"]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"%NAME%\nbash", "the file is cut"),
        (b"bash\n", "line 1: expected a key"),
        (b"%NAME%\na\n\n%NAME%\nb\n", "line 4: the key %NAME% is there twice"),
        (b"%name%\n", "expected a key"),
    ],
)
def test_a_damaged_file_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        alpm.decode_fields(data)


def test_backup_lines_without_a_digest_are_left_out() -> None:
    md5 = "0123456789abcdef" * 2
    assert alpm.decode_backup([f"etc/a\tb\t{md5}", "etc/x\t(null)", "etc/y", f"\t{md5}"]) == {"etc/a\tb": ("md5", md5)}


def test_an_mtree_file_tells_digests() -> None:
    sha256, md5 = "ab" * 32, "cd" * 16
    text = f"""#mtree
/set type=file uid=0 gid=0 mode=644
./.PKGINFO time=1.0 size=408 sha256digest={sha256}
./etc time=1.0 type=dir
./usr/a\\040b\\134\\303\\251 size=1 md5digest={md5} sha256digest={sha256}
./old md5digest={md5}
./bad sha256digest={sha256[1:]}
./link type=link link=x
garbage
"""
    assert alpm.decode_mtree(text.encode()) == {
        ".PKGINFO": ("sha256", sha256),
        "usr/a b\\é": ("sha256", sha256),
        "old": ("md5", md5),
    }
