from __future__ import annotations

import pytest

from ostrata.errors import LimitError, NotFoundError
from ostrata.packages import tree_files
from ostrata.packages.tree_files import TreeFiles
from sources import Link, MemorySource

TREE = {
    "bin": Link("usr/bin"),
    "lib": Link("/usr/lib"),
    "usr/sbin": Link("bin"),
    "usr/bin/sh": Link("dash"),
    "usr/bin/dash": b"dash",
    "usr/lib/deep": Link("../share/../share/deep"),
    "usr/share/deep/fil é\n": b"deep",
    "usr/etc/passwd": b"root",
    "loop": Link("loop"),
    "round": Link("about"),
    "about": Link("round/x"),
    "outside": Link("../../../../bin"),
    "dangling": Link("nowhere/at/all"),
}


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/bin/sh", "usr/bin/sh"),
        ("bin/sh", "usr/bin/sh"),
        ("/usr/sbin/dash", "usr/bin/dash"),
        ("/bin", "bin"),
        ("/lib/deep/fil é\n", "usr/share/deep/fil é\n"),
        ("/lib/deep", "usr/lib/deep"),
        ("/lib/not there/x", "usr/lib/not there/x"),
        ("/.", ""),
        ("/", ""),
        ("", ""),
        ("/usr/bin/", "usr/bin"),
        ("/usr//bin/./sh", "usr/bin/sh"),
        ("/usr/share/../bin/sh", "usr/bin/sh"),
        ("/../../etc/passwd", "usr/etc/passwd"),
        ("/etc/passwd", "usr/etc/passwd"),
        ("/etc", "usr/etc"),
        ("/outside/dash", "usr/bin/dash"),
        ("/dangling/x", "nowhere/at/all/x"),
        ("plain", "plain"),
    ],
)
def test_a_path_of_a_database_has_its_place_in_the_tree(path: str, place: str) -> None:
    files = TreeFiles(MemorySource(TREE))
    assert files.locate(path) == place
    files.locate("/usr/bin/x")
    assert files.locate(path) == place  # known directories change nothing


def test_lists_in_any_order_lead_to_the_same_places() -> None:
    paths = ["/lib/deep/fil é\n", "/lib/deep", "/lib", "/usr/lib/deep/x", "/bin/sh", "/a/b/c", "/a/b", "/a"]
    paths += ["/usr/bin/dash", "usr/bin/dash", "//usr/bin/dash", "/usr/bin/../bin/dash", "/bin", "/.", "/"]
    source = MemorySource(TREE)
    forwards, backwards = TreeFiles(source), TreeFiles(source)
    expected = {path: TreeFiles(source).locate(path) for path in paths}
    assert {path: forwards.locate(path) for path in paths} == expected
    assert {path: backwards.locate(path) for path in reversed(paths)} == expected
    assert TreeFiles(source).locate_all(paths) == list(expected.values())


@pytest.mark.parametrize("path", ["/loop/x", "/round/x", "/loop", "/about"])
def test_symlinks_that_lead_round_in_circles_end(path: str) -> None:
    files = TreeFiles(MemorySource(TREE))
    assert files.locate(path)
    assert files.find(path) is None


def test_a_real_etc_is_not_looked_for_in_usr() -> None:
    assert TreeFiles(MemorySource({**TREE, "etc/hosts": b""})).locate("/etc/passwd") == "etc/passwd"


def test_a_file_is_found_through_symlinks() -> None:
    files = TreeFiles(MemorySource(TREE))
    assert files.find("/bin/sh") == "usr/bin/dash"
    assert files.read("/bin/sh", 4) == b"dash"
    assert files.read_head("bin/sh", 2) == b"da"
    assert files.read_head("bin/sh", 100) == b"dash"
    assert files.find("usr/bin") is None
    assert files.find("dangling") is None


def test_what_is_not_there_is_not_read() -> None:
    with pytest.raises(NotFoundError, match="/usr/bin: no regular file"):
        TreeFiles(MemorySource(TREE)).read("usr/bin", 1)


def test_a_file_beyond_its_limit_is_refused() -> None:
    with pytest.raises(LimitError, match="at most 3 bytes"):
        TreeFiles(MemorySource(TREE)).read("bin/sh", 3)


def test_names_in_a_directory_are_sorted() -> None:
    files = TreeFiles(MemorySource(TREE))
    assert files.names_in("bin") == ["dash", "sh"]
    assert files.names_in("usr") == ["bin", "etc", "lib", "sbin", "share"]
    assert files.names_in("nowhere") == []


def test_a_symlink_cannot_make_paths_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_files, "MAX_CHARACTERS", 100_000)
    files = TreeFiles(MemorySource({"a": Link("x/" * 2000)}))
    with pytest.raises(LimitError, match="at most 100,000 characters"):
        for number in range(100):
            files.locate(f"/a/{number}")
