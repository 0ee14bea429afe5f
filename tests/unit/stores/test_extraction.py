"""Whatever names a tree has and whatever lies in the destination: nothing outside of it is reached."""

from __future__ import annotations

import os
import resource
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from canary import Canary
from ostrata.errors import AccessError, MalformedError, NotFoundError, OstrataError, UnsupportedError
from ostrata.model.tree import Attributes
from ostrata.stores.extraction import TreeWriter
from ostrata.stores.removal import remove_tree
from unprivileged import as_nobody

ROOT = os.geteuid() == 0
MINE = Attributes(0o644, os.geteuid(), os.getegid(), mtime=1_000_000_000)
DIRECTORY = Attributes(0o755, os.geteuid(), os.getegid(), mtime=1_000_000_000)
NAME = "a name\nwith \udcff ž"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "destination"
    path.mkdir()
    return path


# What is written


def test_every_kind_of_entry_gets_its_attributes(root: Path) -> None:
    with TreeWriter(str(root)) as writer:
        writer.make_directory(NAME)
        writer.write_file(f"{NAME}/file", MINE, [b"con", memoryview(b"tent"), b""])
        assert writer.link(f"{NAME}/file", "link")
        writer.make_symlink(f"{NAME}/symlink", "\udcfe/..", MINE)
        assert writer.make_special("fifo", stat.S_IFIFO, (0, 0), Attributes(0o640, os.geteuid(), os.getegid(), mtime=5))
        writer.finish_directory(NAME, Attributes(0o511, os.geteuid(), os.getegid(), mtime=7))
        writer.finish_directory("", DIRECTORY)
        assert writer.unset == []
    assert (root / "link").read_bytes() == b"content"
    assert (root / "link").samefile(root / NAME / "file")
    assert (root / NAME / "file").stat().st_mtime == 1_000_000_000
    assert os.readlink(os.fsencode(root / NAME / "symlink")) == b"\xfe/.."
    assert (root / NAME / "symlink").lstat().st_mtime == 1_000_000_000
    fifo = (root / "fifo").lstat()
    assert (stat.S_ISFIFO(fifo.st_mode), stat.S_IMODE(fifo.st_mode), fifo.st_mtime) == (True, 0o640, 5)
    inner = (root / NAME).stat()
    assert (stat.S_IMODE(inner.st_mode), inner.st_mtime) == (0o511, 7)


def test_a_directory_is_closed_to_others_while_it_is_written(root: Path) -> None:
    with TreeWriter(str(root)) as writer:
        writer.make_directory("d")
        assert stat.S_IMODE((root / "d").stat().st_mode) == 0o700
        writer.write_file("d/f", Attributes(0o666, os.geteuid(), os.getegid()), watched(root / "d/f"))
        writer.finish_directory("d", DIRECTORY)
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o755
    assert stat.S_IMODE((root / "d/f").stat().st_mode) == 0o666


def watched(path: Path) -> Iterator[bytes]:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    yield b"x"


def test_the_umask_changes_nothing(root: Path) -> None:
    before = os.umask(0o077)
    try:
        with TreeWriter(str(root)) as writer:
            writer.make_directory("d")
            writer.write_file("d/f", Attributes(0o646, os.geteuid(), os.getegid()), [b""])
            writer.finish_directory("d", DIRECTORY)
    finally:
        os.umask(before)
    assert [stat.S_IMODE((root / name).stat().st_mode) for name in ("d", "d/f")] == [0o755, 0o646]


def test_files_that_may_not_be_read_by_their_owner_can_still_be_written_and_linked(root: Path) -> None:
    with TreeWriter(str(root)) as writer:
        writer.write_file("f", Attributes(0, os.geteuid(), os.getegid()), [b"x" * 3_000_000])
        assert writer.link("f", "g")
    assert (root / "g").stat().st_size == 3_000_000


@pytest.mark.parametrize("mtime", [-(1 << 62), (1 << 62), 1 << 33])
def test_times_that_no_clock_shows_are_cut(mtime: int, root: Path) -> None:
    with TreeWriter(str(root)) as writer:
        writer.write_file("f", Attributes(0o644, os.geteuid(), os.getegid(), mtime=mtime), [])
    assert (root / "f").stat().st_mtime_ns // 10**9 != 0


# Names


UPWARDS = ["../x", "a/../../x", "a/..", "..", "a/../x", "./..", "../canary/file", "a/b/../../../canary/new"]


@pytest.mark.parametrize("path", UPWARDS)
@pytest.mark.parametrize("replaces", [False, True])
def test_a_name_that_leads_upwards_is_refused(path: str, replaces: bool, root: Path, canary: Canary) -> None:
    with TreeWriter(str(root), replaces=replaces) as writer:
        writer.make_directory("a")
        writer.make_directory("a/b")
        writer.write_file("own", MINE, [])
        for act in actions(writer, path):
            with pytest.raises(MalformedError):
                act()
    assert sorted(os.listdir(root)) == ["a", "own"]
    assert os.listdir(root / "a") == ["b"]
    assert sorted(os.listdir(root.parent)) == ["canary", "destination"]


def actions(writer: TreeWriter, path: str) -> list[Callable[[], object]]:
    return [
        lambda: writer.make_directory(path),
        lambda: writer.write_file(path, MINE, [b"out"]),
        lambda: writer.make_symlink(path, "x", MINE),
        lambda: writer.make_special(path, stat.S_IFIFO, (0, 0), MINE),
        lambda: writer.link("own", path),
        lambda: writer.link(path, "new"),
        lambda: writer.copy(path, "new", MINE),
        lambda: writer.finish_directory(path, DIRECTORY) if path.endswith("..") else writer.make_directory(path),
    ]


@pytest.mark.parametrize("path", ["", ".", "a/", "a/."])
def test_a_path_without_a_name_at_its_end_is_refused(path: str, root: Path) -> None:
    with TreeWriter(str(root)) as writer:
        writer.make_directory("a")
        with pytest.raises(MalformedError, match="a path without a name"):
            writer.write_file(path, MINE, [])


def test_an_absolute_name_lies_below_the_destination(root: Path, canary: Canary) -> None:
    path = str(canary.path / "new")
    with TreeWriter(str(root)) as writer:
        with pytest.raises(NotFoundError):  # nobody made the directories below the destination
            writer.write_file(path, MINE, [b"out"])
        for parent in reversed(Path(path).parents):
            writer.make_directory(str(parent).lstrip("/"))
        writer.write_file(path, MINE, [b"in"])
    assert Path(f"{root}{path}").read_bytes() == b"in"


@pytest.mark.parametrize("name", ["n" * 256, "n" * 5000, "/".join(["n" * 200] * 30) + "/f"])
def test_a_name_that_the_system_does_not_take_is_one_clear_error(name: str, root: Path) -> None:
    with TreeWriter(str(root)) as writer, pytest.raises(OstrataError) as caught:
        for depth in range(1, name.count("/") + 1):
            writer.make_directory("/".join(name.split("/")[:depth]))
            if depth == 25:  # longer than PATH_MAX, and no trouble
                raise UnsupportedError("deep enough")
        writer.write_file(name, MINE, [])
    assert str(caught.value).isprintable()


def test_paths_longer_than_any_system_call_takes_are_written_one_directory_at_a_time(root: Path) -> None:
    path = "/".join(["d" * 250] * 40)
    with TreeWriter(str(root)) as writer:
        for depth in range(1, 41):
            writer.make_directory("/".join(["d" * 250] * depth))
        writer.write_file(f"{path}/f", MINE, [b"deep"])
        assert writer.link(f"{path}/f", "shallow")
    assert (root / "shallow").read_bytes() == b"deep"
    remove_tree(str(root))  # pytest would fail to


def test_1500_directories_inside_each_other_keep_one_descriptor_open(root: Path) -> None:
    depth = 1_500
    before = len(os.listdir("/proc/self/fd"))
    with TreeWriter(str(root)) as writer:
        path = ""
        for _ in range(depth):
            path = f"{path}/d" if path else "d"
            writer.make_directory(path)
        assert len(os.listdir("/proc/self/fd")) <= before + 3
        writer.write_file(f"{path}/f", MINE, [b"deep"])
        assert writer.link(f"{path}/f", "shallow")
    assert len(os.listdir("/proc/self/fd")) == before
    assert (root / "shallow").read_bytes() == b"deep"
    remove_tree(str(root))  # pytest would fail to


# Symlinks


def plant(root: Path, target: Path) -> None:
    (root / "out").symlink_to(target)
    (root / "file out").symlink_to(target / "file")
    (root / "dangling").symlink_to(target / "new")
    (root / "dir").mkdir()
    (root / "dir/out").symlink_to(target)


THROUGH = ["out/new", "out/file", "dir/out/new", "out/directory/inner"]


@pytest.mark.parametrize("replaces", [False, True])
@pytest.mark.parametrize("path", THROUGH)
def test_no_symlink_on_the_way_is_followed(path: str, replaces: bool, root: Path, canary: Canary) -> None:
    plant(root, canary.path)
    with TreeWriter(str(root), replaces=replaces) as writer:
        writer.write_file("own", MINE, [])
        for act in actions(writer, path):
            with pytest.raises(AccessError, match=r"not a directory|too many levels"):
                act()
        with pytest.raises(AccessError):
            writer.finish_directory("out", DIRECTORY)
    assert not (canary.path / "new").exists()


@pytest.mark.parametrize("name", ["file out", "dangling", "out"])
def test_a_symlink_in_the_way_is_refused_or_replaced_and_never_written_through(
    name: str, root: Path, canary: Canary
) -> None:
    plant(root, canary.path)
    with TreeWriter(str(root)) as writer, pytest.raises(UnsupportedError, match="something else is in the way"):
        writer.write_file(name, MINE, [b"out"])
    with TreeWriter(str(root)) as writer, pytest.raises(UnsupportedError, match="something else is in the way"):
        writer.make_directory(name)
    with TreeWriter(str(root), replaces=True) as writer:
        writer.write_file(name, Attributes(0o777, os.geteuid(), os.getegid(), mtime=3), [b"in"])
    assert not (root / name).is_symlink()
    assert (root / name).read_bytes() == b"in"


def test_attributes_of_symlinks_fifos_and_devices_are_their_own(root: Path, canary: Canary) -> None:
    """Owner, xattrs and time of a symlink whose target is there: a slip would reach the target."""
    attributes = Attributes(0o777, os.geteuid(), os.getegid(), ((b"user.x", b"1"), (b"trusted.x", b"2")), mtime=3)
    with TreeWriter(str(root)) as writer:
        writer.make_symlink("out", str(canary.path / "file"), attributes)
        writer.make_symlink("dir", str(canary.path / "directory"), attributes)
        assert [each.path for each in writer.unset] == ["out", "dir"]  # user.* is not for symlinks
    assert (root / "out").lstat().st_mtime == 3
    assert os.listxattr(root / "out", follow_symlinks=False) == (["trusted.x"] if ROOT else [])


def test_a_directory_that_becomes_a_symlink_meanwhile_is_not_followed(root: Path, canary: Canary) -> None:
    with TreeWriter(str(root)) as writer:
        writer.make_directory("d")
        writer.make_directory("d/e")
        writer.write_file("d/e/before", MINE, [b"1"])
        os.rename(root / "d", root / "moved")
        os.symlink(canary.path, root / "d")
        writer.write_file("d/e/after", MINE, [b"2"])  # the directory that was opened is still the one
        with pytest.raises(AccessError):
            writer.write_file("d/new", MINE, [b"3"]) if writer.link("moved/e/before", "x") else None
    assert sorted(os.listdir(root / "moved/e")) == ["after", "before"]


def test_a_symlink_that_takes_a_files_place_between_two_calls_is_not_written_through(
    root: Path, canary: Canary
) -> None:
    def swap() -> Iterator[bytes]:
        os.unlink(root / "f")
        os.symlink(canary.path / "file", root / "f")
        yield b"to the file that was made"

    with TreeWriter(str(root)) as writer:
        writer.write_file("f", Attributes(0o777, os.geteuid(), os.getegid(), mtime=1), swap())
    assert (root / "f").is_symlink()


def test_the_destination_itself_may_not_be_a_symlink(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    with pytest.raises(AccessError):
        TreeWriter(str(tmp_path / "link"))


# The ladder of CVE-2025-4517: directories with long names, each with a short symlink to it; the short path is easily
# followed, and the real one is too long for a check that resolves it


def climb(writer: TreeWriter, steps: int) -> tuple[str, str]:
    """Make the ladder; the result is the long way to its end, and the short one."""
    long, rungs = "", []
    for step in range(steps):
        name = "d" * 247
        writer.make_directory(f"{long}/{name}".lstrip("/"))
        writer.make_symlink(f"{long}/{step:x}".lstrip("/"), name, MINE)
        long = f"{long}/{name}".lstrip("/")
        rungs.append(f"{step:x}")
    return long, "/".join(rungs)


@pytest.mark.parametrize("steps", [1, 15, 16, 40])
def test_the_ladder_of_long_names_leads_nowhere(steps: int, root: Path, canary: Canary) -> None:
    with TreeWriter(str(root)) as writer:
        long, short = climb(writer, steps)
        top = "l" * 254
        writer.make_symlink(f"{long}/{top}", "../" * steps, MINE)
        writer.make_symlink("escape", f"{short}/{top}/../canary", MINE)
        for path in (f"{short}/{top}/../canary/file", "escape/file", "escape/new", f"{short}/{top}/new", f"{short}/f"):
            for act in actions(writer, path)[1:7]:
                with pytest.raises((MalformedError, AccessError)):
                    act()
        assert writer.link("escape", "hard")  # of the symlink, not of what it leads to
        with pytest.raises(UnsupportedError, match="in the way"):
            writer.write_file("hard", MINE, [b"overwritten"])
    assert (root / "hard").is_symlink()
    remove_tree(str(root))  # pytest would fail to


# Hard links


def test_a_hard_link_to_what_is_not_there_is_refused(root: Path, canary: Canary) -> None:
    with TreeWriter(str(root)) as writer:
        for existing in (str(canary.path / "file"), "later", "canary/file"):
            with pytest.raises(NotFoundError):
                writer.link(existing, "link")
            with pytest.raises(NotFoundError):
                writer.copy(existing, "copy", MINE)
    assert os.listdir(root) == []


def test_a_hard_link_to_a_symlink_is_one_more_name_of_the_symlink(root: Path, canary: Canary) -> None:
    with TreeWriter(str(root)) as writer:
        writer.make_symlink("s", str(canary.path / "file"), MINE)
        assert writer.link("s", "t")
    assert (root / "t").is_symlink()


def test_a_symlink_is_not_copied_as_what_it_leads_to(root: Path, canary: Canary) -> None:
    with TreeWriter(str(root)) as writer:
        writer.make_symlink("s", str(canary.path / "file"), MINE)
        with pytest.raises(AccessError):
            writer.copy("s", "t", MINE)


def test_a_hard_link_to_a_directory_is_refused_and_so_is_a_copy_of_it(root: Path) -> None:
    with TreeWriter(str(root)) as writer:
        writer.make_directory("d")
        with pytest.raises(AccessError):
            writer.link("d", "e")
        with pytest.raises(AccessError, match=r"/d: .*is a directory"):
            writer.copy("d", "e", MINE)


def test_a_copy_in_place_of_a_link_is_noted(root: Path) -> None:
    with TreeWriter(str(root)) as writer:
        writer.write_file("f", MINE, [b"x" * (1 << 20), b"y"])
        writer.copy("f", "g", MINE)
        assert [(each.path, each.copy_of) for each in writer.unset] == [("g", "f")]
    assert (root / "g").read_bytes() == (root / "f").read_bytes()
    assert not (root / "g").samefile(root / "f")


def test_a_fifo_in_place_of_a_file_does_not_block_a_copy(root: Path) -> None:
    with TreeWriter(str(root)) as writer:
        writer.make_special("fifo", stat.S_IFIFO, (0, 0), MINE)
        writer.copy("fifo", "copy", MINE)  # nobody writes into it: at its end at once
    assert (root / "copy").read_bytes() == b""


# What is in the way


def test_a_directory_that_is_there_is_kept_and_never_replaced(root: Path) -> None:
    (root / "d").mkdir()
    (root / "d/precious").write_bytes(b"1")
    with TreeWriter(str(root), replaces=True) as writer:
        writer.make_directory("d")
        for act in actions(writer, "d")[1:4]:
            with pytest.raises(UnsupportedError, match="something else is in the way"):
                act()
    assert (root / "d/precious").read_bytes() == b"1"


@pytest.mark.parametrize("kind", ["file", "symlink", "fifo", "socket", "hard link"])
def test_what_is_in_the_way_is_unlinked_and_not_written_into(kind: str, root: Path, canary: Canary) -> None:
    path = root / "f"
    if kind == "file":
        path.write_bytes(b"old")
    elif kind == "symlink":
        path.symlink_to(canary.path / "file")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            os.chdir(root)
            bound.bind("f")
    else:
        (root.parent / "outside").write_bytes(b"outside")
        os.link(root.parent / "outside", path)
    with TreeWriter(str(root), replaces=True) as writer:
        writer.write_file("f", MINE, [b"new"])
    assert path.read_bytes() == b"new"
    if kind == "hard link":
        assert (root.parent / "outside").read_bytes() == b"outside"


def test_a_file_in_place_of_a_directory_is_refused(root: Path) -> None:
    with TreeWriter(str(root), replaces=True) as writer:
        writer.write_file("f", MINE, [])
        with pytest.raises(AccessError, match="not a directory"):
            writer.write_file("f/g", MINE, [])


# What the system does not grant


@pytest.mark.parametrize("number", [(1 << 12, 0), (0, 1 << 20), (-1, 0), (1 << 40, 1 << 40)])
def test_a_device_number_that_none_has_is_refused(number: tuple[int, int], root: Path) -> None:
    with TreeWriter(str(root)) as writer, pytest.raises(MalformedError, match="expected a device number up to"):
        writer.make_special("d", stat.S_IFCHR, number, MINE)
    assert os.listdir(root) == []


@pytest.mark.skipif(not ROOT, reason="only root can make devices")
def test_devices_are_made_with_their_numbers_and_modes(root: Path) -> None:
    with TreeWriter(str(root)) as writer:
        assert writer.make_special("null", stat.S_IFCHR, (1, 3), Attributes(0o604, 0, 0, mtime=1))
        assert writer.make_special("sda", stat.S_IFBLK, (8, 0), Attributes(0o660, 0, 6, mtime=1))
    null, sda = (root / "null").stat(), (root / "sda").stat()
    assert (stat.S_ISCHR(null.st_mode), stat.S_IMODE(null.st_mode), null.st_rdev) == (True, 0o604, os.makedev(1, 3))
    assert (stat.S_ISBLK(sda.st_mode), sda.st_gid, sda.st_rdev) == (True, 6, os.makedev(8, 0))


@pytest.mark.skipif(not ROOT, reason="needs root to be somebody else")
def test_what_a_user_may_not_set_is_noted_and_never_lends_rights(root: Path) -> None:
    def work() -> None:
        with TreeWriter(str(root)) as writer:
            attributes = Attributes(0o6755, 0, 0, ((b"security.capability", b"x"), (b"user.a", b"1")), mtime=1)
            writer.write_file("setuid", attributes, [b"x"])
            assert not writer.make_special("null", stat.S_IFCHR, (1, 3), Attributes(0o666, 0, 0))
            writer.write_file("own", Attributes(0o4755, 65534, 65534), [b"x"])
            found = {each.path: each for each in writer.unset}
        assert set(found) == {"setuid", "null"}
        assert found["setuid"].owner == (0, 0) and found["setuid"].mode == 0o6755
        assert found["setuid"].xattrs == ((b"security.capability", b"x"),)
        assert found["null"].missing == "character device 1:3"

    as_nobody(work, root)
    made = (root / "setuid").stat()
    assert (made.st_uid, stat.S_IMODE(made.st_mode)) == (65534, 0o755)
    assert os.listxattr(root / "setuid") == ["user.a"]
    assert stat.S_IMODE((root / "own").stat().st_mode) == 0o4755
    assert not (root / "null").exists()


def test_extended_attributes_that_cannot_be_set_are_noted(root: Path) -> None:
    hostile = (
        (b"user." + b"n" * 300, b"1"),
        (b"nonsense", b"2"),
        (b"user.\xff\n", b"3"),
        (b"user.large", bytes(70_000)),
    )
    with TreeWriter(str(root)) as writer:
        writer.write_file("f", Attributes(0o644, os.geteuid(), os.getegid(), hostile), [])
        (found,) = writer.unset
    missing = {name for name, _ in found.xattrs}
    assert {hostile[0][0], b"nonsense", b"user.large"} <= missing
    assert found.reason


# Faults


def test_an_error_of_the_content_passes_through(root: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"x"
        raise MalformedError("the layer is broken")

    with TreeWriter(str(root)) as writer, pytest.raises(MalformedError) as caught:
        writer.write_file("f", MINE, broken())
    assert str(caught.value) == "the layer is broken"


def test_a_disk_that_is_full_in_the_middle_of_a_file_names_the_file(root: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with TreeWriter(str(root)) as writer, pytest.raises(AccessError, match=r"^/f: file too large"):
            writer.write_file("f", MINE, [bytes(7_000)] * 3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_no_descriptor_stays_open_after_errors(root: Path, canary: Canary) -> None:
    plant(root, canary.path)
    before = len(os.listdir("/proc/self/fd"))
    with TreeWriter(str(root)) as writer:
        writer.write_file("own", MINE, [])
        for path in (*UPWARDS, *THROUGH, "n" * 300, "missing/x"):
            for act in actions(writer, path):
                with pytest.raises(OstrataError):
                    act()
    assert len(os.listdir("/proc/self/fd")) == before
