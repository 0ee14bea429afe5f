"""Any bytes are read or refused, never worse; what other programs write is read back equal."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ostrata.codecs.tar_paths import normalise
from ostrata.codecs.tar_reader import Kind, TarEntry, read_members
from ostrata.errors import LimitError, MalformedError, UnsupportedError
from tarbuilder import END, Header, file_entry, long_entry, pax_entry, symlink_entry

GOOD = (
    pax_entry([(b"path", b"p" * 120), (b"SCHILY.xattr.user.a", b"\0")])
    + file_entry("f", b"content")
    + symlink_entry("l" * 130, b"t" * 130)
    + END
)
PIECES = [GOOD[start : start + 512] for start in range(0, len(GOOD), 512)]
KINDS = {
    tarfile.REGTYPE: Kind.FILE,
    tarfile.LNKTYPE: Kind.HARD_LINK,
    tarfile.SYMTYPE: Kind.SYMLINK,
    tarfile.DIRTYPE: Kind.DIRECTORY,
    tarfile.FIFOTYPE: Kind.FIFO,
    tarfile.CHRTYPE: Kind.CHARACTER_DEVICE,
}


def read(tar: bytes, step: int = 4096) -> list[tuple[TarEntry, bytes]]:
    chunks = [tar[start : start + step] for start in range(0, len(tar), step)]
    return [(entry, b"".join(content)) for entry, content in read_members(chunks)]


def read_or_refuse(tar: bytes) -> None:
    try:
        read(tar)
    except (MalformedError, UnsupportedError, LimitError) as error:
        assert "offset" in str(error)


@given(st.binary(max_size=3000))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    read_or_refuse(data)


@given(st.lists(st.sampled_from([*PIECES, bytes(512), b"x" * 512]), max_size=12))
def test_blocks_of_an_archive_in_any_order_are_read_or_refused(blocks: list[bytes]) -> None:
    read_or_refuse(b"".join(blocks))


@given(
    st.binary(min_size=512, max_size=512),
    st.sampled_from([b"0", b"1", b"5", b"L", b"x", b"g"]),
    st.binary(max_size=700),
)
def test_headers_of_any_bytes_with_a_right_checksum_are_read_or_refused(block: bytes, kind: bytes, data: bytes) -> None:
    head = Header()
    head.buffer[:] = block
    head.number(124, 12, len(data))
    head.buffer[156:157] = kind
    head.buffer[257:265] = b"ustar  \0"
    read_or_refuse(head.finished() + data + bytes(-len(data) % 512) + file_entry("x", b"") + END)


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_one_changed_byte_is_read_or_refused(position: int, value: int) -> None:
    read_or_refuse(GOOD[:position] + bytes([value]) + GOOD[position + 1 :])


@given(st.binary(max_size=400), st.sampled_from([b"L", b"K"]))
def test_long_names_of_any_bytes_are_read_or_refused(name: bytes, kind: bytes) -> None:
    read_or_refuse(long_entry(kind, name) + symlink_entry("s", b"t") + END)


# What Python writes

components = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]) | st.sampled_from(" \n\\é\udcff"),
    min_size=1,
    max_size=60,
).filter(lambda name: name not in (".", "..") and "\ud800" not in name)
paths = st.lists(components, min_size=1, max_size=5).map("/".join)


@st.composite
def members(draw: st.DrawFn, largest_id: int) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(draw(paths))
    info.type = draw(st.sampled_from(sorted(KINDS)))
    info.mode = draw(st.integers(0, 0o7777))
    info.uid, info.gid = draw(st.integers(0, largest_id)), draw(st.integers(0, largest_id))
    info.mtime = draw(st.integers(0, 2**33 - 1))
    if info.type in (tarfile.LNKTYPE, tarfile.SYMTYPE):
        info.linkname = draw(paths)
    if info.type == tarfile.CHRTYPE:
        info.devmajor, info.devminor = draw(st.integers(0, 2**20)), draw(st.integers(0, 2**20))
    data = draw(st.binary(max_size=1500)) if info.type == tarfile.REGTYPE else b""
    info.size = len(data)
    return info, data


def written(members: list[tuple[tarfile.TarInfo, bytes]], format: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def assert_equal(info: tarfile.TarInfo, data: bytes, entry: TarEntry, content: bytes) -> None:
    slash = "/" if info.type == tarfile.DIRTYPE else ""
    assert entry.path == info.name + slash
    assert (entry.kind, content) == (KINDS[info.type], data)
    assert (entry.mode, entry.uid, entry.gid, entry.mtime) == (info.mode, info.uid, info.gid, info.mtime)
    assert entry.link_target == info.linkname
    assert entry.device == (info.devmajor, info.devminor)


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
@given(st.lists(members(2**32 - 1), max_size=4), st.integers(1, 2000))
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_what_python_writes_is_read_back(format: int, archive: list[tuple[tarfile.TarInfo, bytes]], step: int) -> None:
    found = read(written(archive, format), step)
    assert len(found) == len(archive)
    for (info, data), (entry, content) in zip(archive, found, strict=True):
        assert_equal(info, data, entry, content)


@given(st.lists(members(2**21 - 1), max_size=4))
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_what_python_writes_as_ustar_is_read_back(archive: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    try:
        tar = written(archive, tarfile.USTAR_FORMAT)
    except ValueError:
        return  # a name that ustar cannot hold
    for (info, data), (entry, content) in zip(archive, read(tar), strict=True):
        assert_equal(info, data, entry, content)


# What GNU tar writes


def tree_of(top: Path) -> dict[str, tuple[object, ...]]:
    """Path -> what a tar can say about it."""
    found: dict[str, tuple[object, ...]] = {}
    for directory, names, files in os.walk(top):
        for name in [*names, *files]:
            path = Path(directory, name)
            status = path.lstat()
            data: object = None
            if path.is_symlink():
                data = os.readlink(path)
            elif path.is_file():
                data = path.read_bytes()
            attributes = (status.st_mode & 0o7777, status.st_uid, status.st_gid, int(status.st_mtime))
            found[str(path.relative_to(top))] = (attributes, data)
    return found


def read_tree(chunks: Iterator[bytes]) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for entry, content in read_members(chunks):
        path = normalise(entry.path)
        data: object = b"".join(content) if entry.kind is Kind.FILE else None
        if entry.kind is Kind.SYMLINK:
            data = entry.link_target
        if entry.kind is Kind.HARD_LINK:
            data = found[normalise(entry.link_target)][1]
        if path:
            found[path] = ((entry.mode, entry.uid, entry.gid, entry.mtime), data)
    return found


@pytest.mark.interop
@pytest.mark.parametrize("format", ["v7", "oldgnu", "gnu", "ustar", "posix"])
def test_what_gnu_tar_writes_is_read_back(
    format: str, tmp_path: Path, need: Callable[..., None], run: Callable[..., str]
) -> None:
    need("tar")
    top = tmp_path / "top"
    deep = top / "with space\nand newline" / ("é" * 20)
    deep.mkdir(parents=True)
    (top / "empty").write_bytes(b"")
    (deep / "file").write_bytes(b"content" * 500)
    (deep / "file").chmod(0o4711)
    os.link(deep / "file", top / "hard link")
    (top / "symlink").symlink_to("../" + "t" * 80)
    os.utime(deep / "file", (1, 1_600_000_000))
    if format in ("gnu", "posix", "oldgnu"):
        very_deep = deep / ("d" * 200) / ("e" * 200)
        very_deep.mkdir(parents=True)
        (very_deep / "f").write_bytes(b"x")
        (top / "long symlink").symlink_to("t" * 1000)
    archive = tmp_path / "archive.tar"
    run("tar", "-C", top, "-cf", archive, f"--format={format}", ".")
    data = archive.read_bytes()
    assert read_tree(iter([data[:1000], data[1000:]])) == tree_of(top)
