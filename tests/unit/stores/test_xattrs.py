import os

import pytest

from ostrata.stores.xattrs import read_xattrs


def test_xattrs_are_sorted_and_may_be_empty_and_no_symlink_is_followed(tmp_path):
    path = tmp_path / "a file\nž"
    path.write_bytes(b"")
    (tmp_path / "link").symlink_to(path.name)
    try:
        for name, value in (("user.b", b"2"), ("user.a", b"1\0"), ("user.empty", b"")):
            os.setxattr(path, name, value)
    except OSError:
        pytest.skip("the file system has no user.* extended attributes")
    expected = [(b"user.a", b"1\0"), (b"user.b", b"2"), (b"user.empty", b"")]
    with open(path, "rb") as file:
        for target in (str(path), file.fileno()):
            assert [pair for pair in read_xattrs(target) if pair[0].startswith(b"user.")] == expected
    assert not [pair for pair in read_xattrs(str(tmp_path / "link")) if pair[0].startswith(b"user.")]


def test_a_file_system_without_xattrs_has_none():
    assert read_xattrs("/proc/self/status") == ()
    with pytest.raises(FileNotFoundError):
        read_xattrs("/proc/self/missing")
