"""The index of one layer: names, whiteouts, attributes, and what is refused."""

from __future__ import annotations

import pytest

import tarbuilder
from ostrata.errors import LimitError, MalformedError, OstrataError, UnsupportedError
from ostrata.model.tree import Attributes
from ostrata.sources import image_layer
from ostrata.sources.image_layer import Change as Kind
from ostrata.sources.image_layer import LayerEntry, LayerIndex, index_layer
from plain_images import Change, directory, layer_tar, link, opaque, symlink, whiteout


def index(*changes: Change) -> LayerIndex:
    return index_layer([layer_tar(changes)])


def entry(change: Change) -> LayerEntry:
    return index(change).entries[0]


def test_a_files_content_lies_where_the_index_says() -> None:
    tar = layer_tar([Change("x" * 200, data=b"first", xattrs={"user.a": b"1"}), Change("é\n", data=b"second")])

    entries = index_layer([tar]).entries

    assert [tar[each.offset : each.offset + each.size] for each in entries] == [b"first", b"second"]


def test_attributes_are_taken_from_the_header_and_equal_ones_are_kept_once() -> None:
    found = index(
        Change("a", mode=0o4711, uid=5, gid=6, mtime=7, xattrs={"user.z": b"\xff\0", "security.capability": b"1"}),
        Change("b"),
        Change("c"),
    )

    assert found.attributes == (
        Attributes(0o4711, 5, 6, ((b"security.capability", b"1"), (b"user.z", b"\xff\0")), 7),
        Attributes(0o644, mtime=1_000_000_000),
    )
    assert [each.attributes for each in found.entries] == [0, 1, 1]


def test_every_kind_of_entry_is_in_the_index() -> None:
    found = index(
        directory("d"),
        symlink("s", "../any//where"),
        link("h", "d/./x"),
        Change("c", "char", device=(1, 3)),
        Change("b", "block", device=(8, 1)),
        Change("p", "fifo"),
        whiteout("d/w"),
        opaque("d"),
    )

    assert [(each.path, each.change, each.target, each.device) for each in found.entries] == [
        ("d", Kind.DIRECTORY, "", (0, 0)),
        ("s", Kind.SYMLINK, "../any//where", (0, 0)),
        ("h", Kind.HARD_LINK, "d/x", (0, 0)),
        ("c", Kind.CHARACTER_DEVICE, "", (1, 3)),
        ("b", Kind.BLOCK_DEVICE, "", (8, 1)),
        ("p", Kind.FIFO, "", (0, 0)),
        ("d/w", Kind.WHITEOUT, "", (0, 0)),
        ("d", Kind.OPAQUE, "", (0, 0)),
    ]


@pytest.mark.parametrize("name", ["a/b", "./a/b", "a//b", "a/./b", "/a/b", "//a/b", "/./a/b"])
def test_one_path_has_one_spelling(name: str) -> None:
    assert entry(Change(name)).path == "a/b"


@pytest.mark.parametrize("name", ["/", "./", "/./", "//"])
def test_the_root_has_several_names(name: str) -> None:
    data = tarbuilder.Header().attributes(0o755, 0, 0, 0, b"5")
    data.put(0, [name.encode()])

    assert index_layer([data.finished() + tarbuilder.END]).entries[0].path == ""


def test_an_absolute_name_or_target_is_a_finding() -> None:
    found = index(Change("/a"), link("b", "/a"))

    assert found.entries[1].target == "a"
    assert [(each.path, each.count) for each in found.findings] == [("a", 2)]


@pytest.mark.parametrize("name", ["..", "../a", "a/..", "a/../b", "/..", "/../../etc/passwd", "a/b/../../../c"])
@pytest.mark.parametrize("kind", ["file", "directory", "target"])
def test_names_that_lead_upwards_are_refused(name: str, kind: str) -> None:
    change = link("a", name) if kind == "target" else Change(name, kind)

    with pytest.raises(MalformedError, match="a path that leads upwards"):
        index(change)


@pytest.mark.parametrize("name", [".wh.", "d/.wh.", ".wh..", "d/.wh..", ".wh...", "d/.wh..."])
def test_whiteouts_without_a_name_are_refused(name: str) -> None:
    with pytest.raises(MalformedError, match="is no whiteout: a name must follow"):
        index(Change(name))


@pytest.mark.parametrize("name", [".wh.d/x", "a/.wh.d/x", ".wh.d/.wh.x", ".wh../x", ".wh.d/.wh..wh..opq"])
def test_an_entry_below_a_whiteout_is_refused(name: str) -> None:
    with pytest.raises(MalformedError, match="an entry below a whiteout"):
        index(Change(name))


@pytest.mark.parametrize("kind", ["directory", "symlink", "fifo", "char"])
@pytest.mark.parametrize("name", [".wh.x", "d/.wh..wh..opq"])
def test_a_whiteout_that_is_no_file_is_refused(name: str, kind: str) -> None:
    with pytest.raises(MalformedError, match="expected a file as whiteout"):
        index(Change(name, kind, to="x"))


def test_a_name_that_only_looks_like_a_whiteout_is_an_entry() -> None:
    found = index(Change("x.wh.y"), Change(".whx"), Change("d/.w.wh."), whiteout(".hidden"), whiteout("...")).entries

    assert [(each.path, each.change) for each in found] == [
        ("x.wh.y", Kind.FILE),
        (".whx", Kind.FILE),
        ("d/.w.wh.", Kind.FILE),
        (".hidden", Kind.WHITEOUT),
        ("...", Kind.WHITEOUT),
    ]


def test_the_notes_of_aufs_are_passed_over() -> None:
    found = index(directory(".wh..wh.plnk"), Change(".wh..wh.plnk/1.2"), Change("d/.wh..wh.aufs"), whiteout("x"))

    assert [each.path for each in found.entries] == ["x"]
    assert [each.count for each in found.findings] == [3]


@pytest.mark.parametrize("name", ["/", "."])
@pytest.mark.parametrize("kind", ["symlink", "link", "fifo", "char"])
def test_the_root_is_a_directory(name: str, kind: str) -> None:
    with pytest.raises(MalformedError, match="the root of the tree is a directory"):
        index(Change(name, kind, to="a"))


def test_a_pax_path_with_a_nul_is_refused() -> None:
    head = tarbuilder.pax_entry([(b"path", b"a\0b")])

    with pytest.raises(MalformedError, match="a name with a NUL"):
        index_layer([head + tarbuilder.file_entry("a", b"") + tarbuilder.END])


@pytest.mark.parametrize("key", [b"SCHILY.xattr.", b"SCHILY.xattr.a\0b"])
def test_an_xattr_without_a_name_or_with_a_nul_in_it_is_refused(key: bytes) -> None:
    head = tarbuilder.pax_entry([(key, b"v")])

    with pytest.raises(MalformedError, match=r"without a (name|key)"):
        index_layer([head + tarbuilder.file_entry("a", b"") + tarbuilder.END])


def test_an_xattr_twice_is_refused() -> None:
    head = tarbuilder.pax_entry([(b"SCHILY.xattr.user.a", b"1"), (b"SCHILY.xattr.user.a", b"2")])

    with pytest.raises(MalformedError, match="twice in one header"):
        index_layer([head + tarbuilder.file_entry("a", b"") + tarbuilder.END])


def test_pax_records_of_other_writers_are_a_finding() -> None:
    head = tarbuilder.pax_entry([(b"LIBARCHIVE.xattr.user.a", b"MQ"), (b"LIBARCHIVE.xattr.user.b", b"MQ")])

    found = index_layer([head + tarbuilder.file_entry("a", b"") + tarbuilder.END])

    assert [(each.what, each.count) for each in found.findings] == [
        ("a PAX record LIBARCHIVE.xattr.*, which is not read", 2)
    ]


@pytest.mark.parametrize(("name", "value"), [("MAX_ENTRIES", 2), ("MAX_CHARACTERS", 50), ("MAX_XATTRS", 40)])
def test_an_index_is_bounded(monkeypatch: pytest.MonkeyPatch, name: str, value: int) -> None:
    changes = [Change(f"name {number}" + "x" * 10, xattrs={"user.a": b"%020d" % number}) for number in range(4)]
    monkeypatch.setattr(image_layer, name, value)

    with pytest.raises(LimitError, match=f"expected at most .*{value}"):
        index(*changes)


@pytest.mark.parametrize("length", [4097, 20_000])
def test_longer_names_than_linux_has_are_refused(length: int) -> None:
    with pytest.raises(LimitError, match="at most 4096 bytes"):
        index(Change("d/" * (length // 2) + "x"))


@pytest.mark.parametrize("position", [512, 700, 1023])
def test_a_truncated_layer_is_refused(position: int) -> None:
    with pytest.raises(MalformedError):
        index_layer([layer_tar([Change("a", data=b"x" * 100)])[:position]])


def test_errors_name_the_entry() -> None:
    with pytest.raises(OstrataError) as caught:
        index(Change("d/\x1b[31m/.wh."))

    assert str(caught.value).startswith(r"d/\x1b[31m/.wh.: ")


def test_sparse_files_are_refused() -> None:
    head = tarbuilder.Header().attributes(0o644, 0, 0, 0, b"S")
    head.put(0, [b"a"])

    with pytest.raises(UnsupportedError, match="a sparse file"):
        index_layer([head.finished() + tarbuilder.END])
