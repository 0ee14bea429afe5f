"""Files that tell owners."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostrata.codecs import owners
from ostrata.codecs.owners import Ownership
from ostrata.errors import LimitError, MalformedError


def test_lines_are_read_with_any_name() -> None:
    found = owners.decode("0:35 4755 /usr/a b\n7:8 0755 usr/ž\r\n\n0:0 755 /\n".encode() + b"1:1 644 \xff\n")
    assert found == {
        "usr/a b": Ownership((0, 35), 0o4755),
        "usr/ž\r": Ownership((7, 8), 0o755),
        "": Ownership((0, 0), 0o755),
        "\udcff": Ownership((1, 1), 0o644),
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("root:root 755 a", "line 2: expected UID:GID MODE PATH, found 'root:root 755 a'"),
        ("0:0 0788 a", "line 2: expected UID:GID MODE PATH"),
        ("4294967295:0 755 a", "line 2: expected user and group ids from 0 to 4294967294"),
        ("0:0 755 /first", "line 2: the path /first is there twice"),
    ],
)
def test_a_line_that_is_none_is_refused_with_its_number(line: str, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        owners.decode(f"0:0 644 first\n{line}\n".encode())


def test_a_manifest_of_extract_is_read() -> None:
    records = [
        {"path": "/a", "reason": "r", "owner": [1, 2], "mode": "4755", "xattrs": {"user.ž": "AAE="}},
        {"path": "/b", "reason": "r"},
        {"path": "/dev/null", "reason": "r", "missing": "character device 1:3"},
    ]
    found = owners.decode(json.dumps({"version": 1, "unset": records}).encode())
    assert found == {"a": Ownership((1, 2), 0o4755, (("user.ž".encode(), b"\0\1"),)), "b": Ownership()}


@pytest.mark.parametrize(
    "document",
    [
        "{",
        "{}",
        '{"unset": {}}',
        '{"unset": [1]}',
        '{"unset": [{"path": 1}]}',
        '{"unset": [{"path": "/a", "owner": [1]}]}',
        '{"unset": [{"path": "/a", "owner": ["1", 2]}]}',
        '{"unset": [{"path": "/a", "owner": [true, 2]}]}',
        '{"unset": [{"path": "/a", "mode": "9"}]}',
        '{"unset": [{"path": "/a", "mode": 493}]}',
        '{"unset": [{"path": "/a", "xattrs": {"a": "!"}}]}',
        '{"unset": [{"path": "/a", "xattrs": []}]}',
        '{"unset": [{"path": "/a"}, {"path": "a/"}]}',
    ],
)
def test_a_manifest_that_is_none_is_refused(document: str) -> None:
    with pytest.raises(MalformedError):
        owners.decode(document.encode())


@given(st.binary() | st.binary().map(lambda data: b"{" + data))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(MalformedError, LimitError):
        owners.decode(data)
