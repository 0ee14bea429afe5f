"""A directory as a source: all that is in it, as it lies there."""

import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from ostrata.errors import AccessError, LimitError, NotFoundError
from ostrata.model.tree import Directory, RegularFile, Symlink
from ostrata.protocols import Source
from ostrata.sources import directory
from ostrata.sources.directory import DirectorySource, file_state, hash_contents, open_directory
from ostrata.sources.exclusions import Exclusions
from ostrata.sources.rootfs import TreeReader

HOSTILE = ("a b", "new\nline", "\u00fc", os.fsdecode(b"\xff\xfe"), "x" * 255)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "usr/lib").mkdir(parents=True)
    for name in HOSTILE:
        (root / "usr" / name).write_text(name[:3], errors="surrogateescape")
    os.link(root / "usr/a b", root / "usr/lib/again")
    (root / "usr/lib/twin").write_text("a b")
    (root / "usr/link").symlink_to(os.fsdecode(b"to\xff"))
    os.mkfifo(root / "usr/fifo")
    os.chmod(root / "usr/a b", 0o4711)
    os.utime(root / "usr/a b", (0, 1234))
    return root


def test_a_tree_lists_files_before_directories_each_by_name_as_bytes(tree: Path) -> None:
    found = open_directory(str(tree))
    names = ["a b", "link", "new\nline", "x" * 255, "\u00fc", os.fsdecode(b"\xff\xfe")]
    assert list(found.tree.entries) == [
        "",
        "usr",
        *(f"usr/{name}" for name in names),
        "usr/lib",
        "usr/lib/again",
        "usr/lib/twin",
    ]


def test_an_entry_has_what_the_file_system_keeps(tree: Path) -> None:
    entries = open_directory(str(tree)).tree.entries
    file, link = entries["usr/a b"], entries["usr/link"]
    assert isinstance(file, RegularFile)
    assert (file.size, file.attributes.mode, file.attributes.mtime) == (3, 0o4711, 1234)
    assert (file.attributes.uid, file.attributes.gid) == (os.geteuid(), os.stat(tree / "usr/a b").st_gid)
    assert isinstance(link, Symlink)
    assert link.target == os.fsdecode(b"to\xff")
    assert isinstance(entries[""], Directory)


def test_hard_links_share_their_content_key_and_twins_do_not(tree: Path) -> None:
    entries = open_directory(str(tree)).tree.entries
    contents = [entries[path].content for path in ("usr/a b", "usr/lib/again", "usr/lib/twin")]  # type: ignore[union-attr]
    assert contents[0] == contents[1] != contents[2]


def test_what_no_tree_holds_is_listed_apart(tree: Path) -> None:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(os.path.relpath(tree / "sock"))
    listening.close()
    found = open_directory(str(tree))
    assert {path: special.kind for path, special in found.special.items()} == {"usr/fifo": "FIFO", "sock": "socket"}
    assert not found.special.keys() & found.tree.entries.keys()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes")
def test_a_device_is_listed_with_its_numbers(tree: Path) -> None:
    os.mknod(tree / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    special = open_directory(str(tree)).special["null"]
    assert (special.kind, special.rdev) == ("character device", (1, 3))


def test_empty_extended_attributes_are_kept(tree: Path) -> None:
    try:
        os.setxattr(tree / "usr/a b", "user.empty", b"")
        os.setxattr(tree / "usr/lib", "user.of a directory", b"1")
    except OSError:
        pytest.skip("no user xattrs on this file system")
    entries = open_directory(str(tree)).tree.entries
    assert (b"user.empty", b"") in entries["usr/a b"].attributes.xattrs
    assert (b"user.of a directory", b"1") in entries["usr/lib"].attributes.xattrs


def test_excluded_paths_go_with_all_that_is_in_them(tree: Path) -> None:
    found = open_directory(str(tree), excluded=["usr/lib", "usr/fifo", "lib"])
    assert not [path for path in found.tree.entries if path.startswith("usr/lib")]
    assert "usr/a b" in found.tree.entries
    assert not found.special


@pytest.fixture
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "_UPPER", 1)
    monkeypatch.setattr(directory, "_DIRECTORIES_PER_UNIT", 1)


@pytest.mark.usefixtures("small_units")
@pytest.mark.parametrize("jobs", [1, 2])
def test_files_that_are_known_to_have_no_attributes_are_not_asked(tree: Path, jobs: int) -> None:
    (tree / "usr/lib/deep").mkdir(parents=True)
    names = ("usr/a b", "usr/lib/deep/one", "usr/lib/deep/two")
    try:
        for name in names:
            (tree / name).touch()
            os.setxattr(tree / name, "user.x", b"1")
    except OSError:
        pytest.skip("no user xattrs on this file system")
    bare = frozenset(file_state(os.lstat(tree / name)) for name in names[:2])
    entries = open_directory(str(tree), bare=bare, jobs=jobs).tree.entries
    assert [entries[name].attributes.xattrs for name in names] == [(), (), ((b"user.x", b"1"),)]
    os.setxattr(tree / names[0], "user.y", b"2")  # another state: it is asked
    entries = open_directory(str(tree), bare=bare, jobs=jobs).tree.entries
    assert [len(entries[name].attributes.xattrs) for name in names] == [2, 0, 1]


@pytest.mark.usefixtures("small_units")
def test_a_walk_by_several_finds_the_same(tree: Path) -> None:
    for path in ("usr/lib/deep/er", "usr/aa/x", "usr/zz", "var/lib/y"):
        (tree / path).mkdir(parents=True)
        os.link(tree / "usr/a b", tree / path / "same")
        os.mkfifo(tree / path / "fifo")
        (tree / path / "left out").touch()
    excluded = ["usr/lib/deep/er/left out", "usr/zz/left out", "usr/aa"]
    alone, together = (open_directory(str(tree), excluded=excluded, jobs=jobs) for jobs in (1, 3))
    assert together == alone
    assert list(together.tree.entries) == list(alone.tree.entries)
    assert "usr/lib/deep/er/same" in alone.tree.entries
    assert "usr/lib/deep/er/left out" not in alone.tree.entries


@pytest.mark.usefixtures("small_units")
def test_what_workers_leave_out_counts_as_matched(tree: Path) -> None:
    (tree / "usr/lib/deep").mkdir()
    exclusions = Exclusions(["usr/lib/deep", "usr/lib/tw*"])
    open_directory(str(tree), excluded=exclusions, jobs=2)
    exclusions.check_used()


class Meddler:
    """Somebody who does something to the tree while it is walked through: when it is asked about a path."""

    def __init__(self, asked: str, does: Callable[[], object]) -> None:
        self.asked, self.does = asked, does

    def __contains__(self, path: object) -> bool:
        if path == self.asked:
            self.does()
        return False


def test_what_vanishes_during_the_walk_is_an_error_with_its_name(tree: Path) -> None:
    meddler = Meddler("usr/lib/again", (tree / "usr/lib/twin").unlink)
    with pytest.raises(NotFoundError, match="/usr/lib: vanished while the tree was read"):
        open_directory(str(tree), excluded=meddler)


def test_a_directory_that_becomes_a_symlink_during_the_walk_is_not_followed(tree: Path, tmp_path: Path) -> None:
    def replace() -> None:
        os.rename(tree / "usr/lib", tmp_path / "lib")
        (tree / "usr/lib").symlink_to(tmp_path / "lib")

    with pytest.raises(AccessError, match="/usr/lib: changed while it was read"):
        open_directory(str(tree), excluded=Meddler("usr/a b", replace))


def test_a_directory_that_changes_while_it_is_listed_is_an_error(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = TreeReader.entries

    def listed(reader: TreeReader) -> Iterator[os.DirEntry[str]]:
        yield from entries(reader)
        if not (tree / "usr/lib/new").exists():
            (tree / "usr/lib/new").touch()
            os.utime(tree / "usr/lib", ns=(0, 0))

    monkeypatch.setattr(TreeReader, "entries", listed)
    with pytest.raises(AccessError, match="changed while it was read"):
        open_directory(str(tree / "usr/lib"))


def test_a_file_is_opened_by_its_path_whatever_its_name(tree: Path) -> None:
    source: Source = open_directory(str(tree))
    for name in HOSTILE:
        content = b"".join(bytes(piece) for piece in source.open(f"usr/{name}"))
        assert content == os.fsencode(name[:3])


@pytest.mark.parametrize("path", ["usr", "usr/link", "usr/missing", "../tree/usr/a b", ""])
def test_only_regular_files_of_the_tree_can_be_opened(path: str, tree: Path) -> None:
    with pytest.raises(NotFoundError, match="no regular file of that name"):
        open_directory(str(tree)).open(path)


def test_a_directory_replaced_by_a_symlink_is_not_followed(tree: Path, tmp_path: Path) -> None:
    source = open_directory(str(tree))
    os.rename(tree / "usr", tmp_path / "elsewhere")
    (tree / "usr").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AccessError, match="changed while it was read"):
        list(source.open("usr/a b"))


def test_a_file_replaced_by_another_is_noticed(tree: Path) -> None:
    source = open_directory(str(tree))
    (tree / "usr/new").write_text("a b")
    os.rename(tree / "usr/new", tree / "usr/lib/twin")
    with pytest.raises(AccessError, match=r"usr/lib/twin: changed while it was read"):
        list(source.open("usr/lib/twin"))
    with pytest.raises(AccessError, match=r"usr/lib/twin: changed while it was read"):
        hash_contents(source, ["usr/lib/twin"])


def test_a_file_that_grew_is_noticed(tree: Path) -> None:
    source = open_directory(str(tree))
    (tree / "usr/lib/twin").write_text("longer")
    with pytest.raises(AccessError, match="changed while it was read"):
        list(source.open("usr/lib/twin"))


@pytest.mark.parametrize("jobs", [1, 2])
def test_contents_are_hashed_and_the_result_does_not_depend_on_jobs(
    jobs: int, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "FILES_PER_UNIT", 2)
    source = open_directory(str(tree))
    read: list[int] = []
    digests = hash_contents(source, [*source.tree.entries, "missing"], jobs=jobs, on_advance=read.append)
    assert digests == {
        path: sha256((tree / path).read_bytes()).hexdigest()
        for path, entry in source.tree.entries.items()
        if isinstance(entry, RegularFile)
    }
    assert sum(read) == 3 * 4 + 2 + 2  # the hard link is not read again


def test_a_tree_deeper_than_any_path_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "MAX_DEPTH", 5)
    (tmp_path / "1/2/3/4/5").mkdir(parents=True)
    assert "1/2/3/4/5" in open_directory(str(tmp_path)).tree.entries
    (tmp_path / "1/2/3/4/5/6").mkdir()
    with pytest.raises(LimitError, match="deeper than 5"):
        open_directory(str(tmp_path))


def test_a_tree_that_is_not_there_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such tree"):
        open_directory(str(tmp_path / "no such tree"))


def as_nobody(tree: str) -> tuple[str, DirectorySource, dict[str, str | None]]:
    """What somebody else than the owner sees: an error, and a lenient look."""
    refused = "nothing was refused"
    try:
        open_directory(tree)
    except AccessError as error:
        refused = str(error)
    found = open_directory(tree, lenient=True)
    return refused, found, hash_contents(found, found.tree.entries, lenient=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_what_may_not_be_read_ends_the_walk_or_is_told(tree: Path) -> None:
    (tree / "usr/secret").write_text("s")
    os.chmod(tree / "usr/secret", 0o600)
    (tree / "usr/closed/below").mkdir(parents=True)
    os.chmod(tree / "usr/closed", 0o700)
    (tree / "usr/listed/below").mkdir(parents=True)
    os.chmod(tree / "usr/listed", 0o744)
    with tempfile.TemporaryDirectory() as place:  # pytest's own directories are closed to others
        os.chmod(place, 0o755)
        moved = shutil.move(os.fspath(tree), place)
        os.seteuid(65534)
        try:
            refused, found, digests = as_nobody(moved)
        finally:
            os.seteuid(0)
    assert "permission denied" in refused
    assert {"usr/closed", "usr/listed", "usr/secret"} <= found.tree.entries.keys()
    assert not {"usr/closed/below", "usr/listed/below"} & found.tree.entries.keys()
    assert found.unreadable["usr/closed"] == found.unreadable["usr/listed"] == "permission denied"
    assert digests["usr/secret"] is None
    assert digests["usr/lib/twin"] == sha256(b"a b").hexdigest()
