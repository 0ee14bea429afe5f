"""The walk of a directory: what is listed, what is refused, what is noticed."""

import os
import socket
import stat

import pytest

from ostrata.errors import AccessError, LimitError, MalformedError, NotFoundError, OstrataError, UnsupportedError
from ostrata.model.tree import Attributes
from ostrata.sources.modifiers import ModeChange, Modifiers, parse_skip_list, parse_statoverride
from ostrata.sources.rootfs import (
    MAX_DEPTH,
    TreeReader,
    read_blocks,
    read_kept_xattrs,
    read_skip_list,
    read_small,
    read_statoverride,
    scan,
)

PLAIN = Modifiers()


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    root.mkdir()
    return root


def refused(tree, modifiers=PLAIN):
    with pytest.raises(OstrataError) as caught:
        scan(str(tree), modifiers)
    return caught.value


def test_directories_come_parents_first_with_sorted_names(tree):
    (tree / "b/inner").mkdir(parents=True)
    (tree / "a").mkdir()
    (tree / "z").write_bytes(b"12")
    (tree / "new\nline").write_bytes(b"")
    (tree / "link").symlink_to("z")
    found = scan(str(tree), PLAIN)
    assert [directory.path for directory in found] == ["", "a", "b", "b/inner"]
    assert found[0].files == (("new\nline", 0), ("z", 2))
    assert found[0].symlinks == ("link",)
    assert found[0].directories == ("a", "b")


def test_a_symlink_to_a_directory_is_not_walked(tree, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_bytes(b"secret")
    (tree / "door").symlink_to("../outside")
    (found,) = scan(str(tree), PLAIN)
    assert found.symlinks == ("door",)
    with TreeReader(str(tree)) as reader, pytest.raises(AccessError, match="changed while"):
        reader.enter("door")


def test_fifos_sockets_and_bad_names_are_refused_all_at_once_and_escaped(tree):
    os.mkfifo(tree / "pipe\x1b[2J")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tree / "sock"))
    with open(os.fsencode(tree) + b"/latin\xe9", "wb"):
        pass
    error = refused(tree)
    assert isinstance(error, UnsupportedError)
    assert error.what == (
        r"cannot commit 3 entries: /latin\xe9 (name is not UTF-8), /pipe\x1b[2J (FIFO), /sock (socket)"
    )


def test_of_many_refused_entries_ten_are_shown_and_all_are_counted(tree):
    for number in range(25):
        os.mkfifo(tree / f"pipe{number:02}")
    error = refused(tree)
    assert error.what.startswith("cannot commit 25 entries: /pipe00 (FIFO), ")
    assert error.what.endswith("/pipe09 (FIFO) and 15 more")


@pytest.mark.skipif(os.geteuid() != 0, reason="making device nodes needs root")
def test_devices_are_refused_and_named(tree):
    os.mknod(tree / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(tree / "disk", stat.S_IFBLK | 0o600, os.makedev(7, 0))
    os.mknod(tree / "whiteout", stat.S_IFCHR, os.makedev(0, 0))
    assert refused(tree).what == (
        "cannot commit 3 entries: /disk (block device), /null (character device), /whiteout (character device)"
    )


def test_what_the_skip_list_names_is_left_out_and_may_be_of_any_kind(tree):
    os.mkfifo(tree / "pipe")
    (tree / "gone/inner").mkdir(parents=True)
    (tree / "kept").write_bytes(b"")
    found = scan(str(tree), Modifiers(skip=frozenset({"/pipe", "/gone"})))
    assert [directory.path for directory in found] == [""]
    assert found[0].files == (("kept", 0),)


def test_entries_of_the_lists_that_match_nothing_are_errors(tree):
    assert "in the skip list: /nope" in refused(tree, Modifiers(skip=frozenset({"/nope"}))).what
    override = {"/no": ModeChange(1), "/pe": ModeChange(1, replaces=True), "/": ModeChange(0)}
    assert "in the statoverride: 2 entries: /no, /pe" in refused(tree, Modifiers(statoverride=override)).what
    assert "nothing would be left" in refused(tree, Modifiers(skip=frozenset({"/"}))).what


def test_a_repository_within_the_tree_is_refused(tree):
    (tree / "srv/repo").mkdir(parents=True)
    with pytest.raises(UnsupportedError, match="lies within the tree"):
        scan(str(tree), PLAIN, repository=str(tree / "srv/repo"))
    assert len(scan(str(tree), Modifiers(skip=frozenset({"/srv/repo"})), repository=str(tree / "srv/repo"))) == 2


def test_a_tree_that_is_missing_or_a_file_is_an_error_that_names_it(tree):
    (tree / "file").write_bytes(b"")
    assert isinstance(refused(tree / "missing"), NotFoundError)
    assert "file: not a directory" in str(refused(tree / "file"))


def test_directories_that_nest_too_deeply_are_refused(tree):
    descriptor = os.open(tree, os.O_RDONLY)
    for _ in range(MAX_DEPTH + 2):
        os.mkdir("d", dir_fd=descriptor)
        inner = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)
    try:
        assert isinstance(refused(tree), LimitError)
    finally:
        _remove_chain(tree)


def _remove_chain(top):
    """What neither pytest nor shutil can remove: they recurse."""
    side = top.with_name("side")
    while (top / "d").exists():
        os.rename(top / "d", side)
        os.rmdir(top)
        os.rename(side, top)


def test_a_file_that_vanishes_is_named(tree):
    with TreeReader(str(tree)) as reader:
        reader.enter("")
        with pytest.raises(NotFoundError, match="vanished"):
            reader.open_file("gone")
        with pytest.raises(NotFoundError, match="vanished"):
            reader.read_symlink("gone", PLAIN)
        with pytest.raises(NotFoundError, match="vanished"):
            reader.enter("gone")


def test_a_file_that_became_something_else_is_never_opened_through(tree, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    (tree / "file").symlink_to("../secret")
    os.mkfifo(tree / "pipe")
    (tree / "plain").write_bytes(b"")
    with TreeReader(str(tree)) as reader:
        for name in ("file", "pipe"):
            with pytest.raises(AccessError, match="changed while"):
                reader.open_file(name)
        with pytest.raises(AccessError, match="changed while"):
            reader.read_symlink("plain", PLAIN)


@pytest.mark.parametrize("change", ["grow", "shrink", "rewrite", "chmod"])
@pytest.mark.parametrize("read", [read_small, lambda *given: b"".join(read_blocks(*given))], ids=["small", "large"])
def test_a_file_that_changes_while_it_is_read_is_an_error(tree, change, read):
    path = tree / "file"
    path.write_bytes(b"0123456789")
    os.utime(path, ns=(0, 0))
    with TreeReader(str(tree)) as reader:
        descriptor, status = reader.open_file("file")
        if change == "grow":
            path.write_bytes(b"0123456789A")
        elif change == "shrink":
            path.write_bytes(b"012345678")
        elif change == "rewrite":
            path.write_bytes(b"9876543210")
        else:
            path.chmod(0o4711)
        with pytest.raises(AccessError, match="changed while it was read"):
            read(descriptor, status)
        os.close(descriptor)


def test_a_directory_that_changes_while_it_is_read_is_an_error(tree):
    os.utime(tree, ns=(0, 0))
    with TreeReader(str(tree)) as reader:
        before = reader.enter("")
        (tree / "new").write_bytes(b"")
        with pytest.raises(AccessError, match="changed"):
            reader.check_directory(before)


def test_a_symlink_target_that_is_not_utf8_is_refused_and_escaped(tree):
    os.symlink(b"caf\xe9", os.fsencode(tree) + b"/link")
    with TreeReader(str(tree)) as reader, pytest.raises(UnsupportedError) as caught:
        reader.read_symlink("link", PLAIN)
    assert caught.value.what == r"the symlink target 'caf\xe9' is not UTF-8"


def test_xattrs_are_sorted_and_those_without_a_value_are_left_out(tree):
    path = tree / "file"
    path.write_bytes(b"")
    try:
        for name, value in (("user.b", b"2"), ("user.a", b"1\0"), ("user.empty", b"")):
            os.setxattr(path, name, value)
    except OSError:
        pytest.skip("the file system has no user.* extended attributes")
    expected = ((b"user.a", b"1\0"), (b"user.b", b"2"))
    assert [pair for pair in read_kept_xattrs(str(path)) if pair[0].startswith(b"user.")] == list(expected)
    with open(path, "rb") as file:
        assert [pair for pair in read_kept_xattrs(file.fileno()) if pair[0].startswith(b"user.")] == list(expected)


# Modifiers


REGULAR, LINK, DIRECTORY = stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR
XATTRS = ((b"user.a", b"1"),)


@pytest.mark.parametrize(
    ("modifiers", "mode", "expected"),
    [
        (PLAIN, REGULAR | 0o4755, Attributes(0o4755, 1, 2, XATTRS)),
        (Modifiers(owner_uid=0), REGULAR | 0o644, Attributes(0o644, 0, 2, XATTRS)),
        (Modifiers(owner_gid=7), DIRECTORY | 0o755, Attributes(0o755, 1, 7, XATTRS)),
        (Modifiers(no_xattrs=True), REGULAR | 0o644, Attributes(0o644, 1, 2)),
        (Modifiers(canonical_permissions=True), REGULAR | 0o6777, Attributes(0o755)),
        (Modifiers(canonical_permissions=True), DIRECTORY | 0o2777, Attributes(0o755)),
        (Modifiers(canonical_permissions=True), LINK | 0o777, Attributes(0o777)),
        (Modifiers(mode_ro_executables=True), REGULAR | 0o775, Attributes(0o555, 1, 2, XATTRS)),
        (Modifiers(mode_ro_executables=True), REGULAR | 0o664, Attributes(0o664, 1, 2, XATTRS)),
        (Modifiers(mode_ro_executables=True), DIRECTORY | 0o775, Attributes(0o775, 1, 2, XATTRS)),
        (Modifiers(statoverride={"/a/b": ModeChange(0o4000)}), REGULAR | 0o755, Attributes(0o4755, 1, 2, XATTRS)),
        (Modifiers(statoverride={"/a/b": ModeChange(0o600, True)}), REGULAR | 0o755, Attributes(0o600, 1, 2, XATTRS)),
        (Modifiers(statoverride={"/a/b": ModeChange(0o700)}), LINK | 0o777, Attributes(0o777, 1, 2, XATTRS)),
    ],
)
def test_modifiers_change_attributes_as_documented(modifiers, mode, expected):
    assert modifiers.apply("a/b", mode, 1, 2, XATTRS) == expected


def test_a_symlinks_mode_cannot_be_overridden():
    with pytest.raises(UnsupportedError, match="symlink"):
        Modifiers(statoverride={"/l": ModeChange(0o600, True)}).apply("l", LINK | 0o777, 0, 0, ())


@pytest.mark.parametrize(
    "given", [{"canonical_permissions": True, "owner_uid": 1}, {"owner_gid": -1}, {"owner_uid": 1 << 32}]
)
def test_contradictions_are_refused(given):
    with pytest.raises(UnsupportedError):
        Modifiers(**given)


def test_statoverride_lines_are_decimal_and_paths_may_hold_spaces():
    text = "2048 /usr/bin/su\n\n=384 /with  two spaces \n+2 /plus\n1 /carriage\rreturn\n"
    assert parse_statoverride(text) == {
        "/usr/bin/su": ModeChange(0o4000),
        "/with  two spaces ": ModeChange(0o600, True),
        "/plus": ModeChange(2),
        "/carriage\rreturn": ModeChange(1),
    }


@pytest.mark.parametrize(
    "line", ["/usr/bin/su", "abc /x", "4096 /x", "-1 /x", "0x1 /x", "=", "12 ", "9" * 5000 + " /x", "٣ /x"]
)
def test_a_broken_statoverride_line_is_refused_with_its_number(line):
    with pytest.raises(MalformedError) as caught:
        parse_statoverride(f"1 /ok\n{line}\n")
    assert caught.value.places == ["line 2"]


def test_a_skip_list_is_one_path_a_line():
    assert parse_skip_list("/a\n\n/b c\n/d") == {"/a", "/b c", "/d"}


def test_list_files_that_are_no_text_files_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "latin").write_bytes(b"/caf\xe9\n")
    for name, kind in (
        ("pipe", UnsupportedError),
        ("latin", MalformedError),
        ("missing", NotFoundError),
        ("", OstrataError),
    ):
        for read in (read_skip_list, read_statoverride):
            with pytest.raises(kind, match=str(tmp_path)):
                read(str(tmp_path / name))
