"""The differences of two trees, and their reasons."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from ostrata.inspection.tree_difference import (
    COMMIT,
    DIRECTORY,
    LAYERS,
    Difference,
    Item,
    TreeView,
    compare_trees,
    contents_to_read,
    notes,
)
from ostrata.model.tree import Attributes, Directory, RegularFile, SpecialFile, Symlink

PLAIN = Attributes(0o644, 0, 0, (), 100)
ROOT = Directory(Attributes(0o755, 0, 0, (), 100))
FILE = RegularFile(PLAIN, 3, "one")
LINK = Symlink(PLAIN, "target", "two")
DEVICE = SpecialFile(PLAIN, "character device", (1, 3))


def view(items: Mapping[str, Item], kind: str = LAYERS, **more: object) -> TreeView:
    return TreeView(kind, {"": ROOT, **items}, **more)  # type: ignore[arg-type]


def differences(
    one: TreeView, other: TreeView, digests: tuple[dict[str, str | None], dict[str, str | None]] | None = None,
    *, times: bool = False,
) -> list[Difference]:  # fmt: skip
    if digests is None:
        digests = tuple(dict.fromkeys(keys, "same") for keys in contents_to_read(one, other))  # type: ignore[assignment]
    assert digests is not None
    return compare_trees(one, other, digests, times=times)


def only(one: TreeView, other: TreeView, *, times: bool = False) -> Difference:
    found = differences(one, other, times=times)
    assert len(found) == 1, found
    return found[0]


def with_attributes(item: Item, **changes: object) -> Item:
    return replace(item, attributes=replace(item.attributes, **changes))  # type: ignore[arg-type]


def test_equal_trees_have_no_difference() -> None:
    one = view({"f": FILE, "l": LINK, "d": ROOT, "d/n": DEVICE})
    assert differences(one, one, times=True) == []


CHANGES = {
    "mode": (with_attributes(FILE, mode=0o4755), ("mode", "0644", "4755")),
    "uid": (with_attributes(FILE, uid=5), ("uid", "0", "5")),
    "gid": (with_attributes(FILE, gid=6), ("gid", "0", "6")),
    "size": (replace(FILE, size=4), ("size", "3", "4")),
    "xattr": (with_attributes(FILE, xattrs=((b"user.a", b"\xff\0"),)), ("xattr user.a", None, "0xff00")),
    "text xattr": (with_attributes(FILE, xattrs=((b"user.\xff", b"a\0"),)), ("xattr user.\udcff", None, "'a'")),
    "long xattr": (
        with_attributes(FILE, xattrs=((b"user.a", b"x" * 99),)),
        ("xattr user.a", None, "'" + "x" * 63 + "... (99 bytes)"),
    ),
    "type": (LINK, ("type", "file", "symlink")),
    "device for file": (DEVICE, ("type", "file", "character device 1:3")),
}


@pytest.mark.parametrize(("changed", "expected"), CHANGES.values(), ids=CHANGES)
def test_each_property_is_compared(changed: Item, expected: tuple[str, str | None, str | None]) -> None:
    found = only(view({"a\nb": FILE}), view({"a\nb": changed}))
    assert (found.path, found.what, found.image, found.against, found.reason) == ("a\nb", *expected, None)


def test_contents_of_one_size_are_told_apart_by_their_digests() -> None:
    alone = replace(FILE, content="alone")
    one = view({"f": FILE, "g": alone})
    other = view({"f": replace(FILE, content="x"), "g": replace(alone, size=9)})
    assert contents_to_read(one, other) == ({"one"}, {"x"})
    found = differences(one, other, ({"one": "aa"}, {"x": "bb"}))
    assert [(each.path, each.what) for each in found] == [("f", "content"), ("g", "size")]
    assert (found[0].image, found[0].against) == ("sha256:aa", "sha256:bb")


def test_a_content_that_may_not_be_read_is_a_difference_with_a_reason() -> None:
    one, other = view({"f": FILE}), view({"f": replace(FILE, content="x")}, DIRECTORY)
    (found,) = differences(one, other, ({"one": "aa"}, {"x": None}))
    assert (found.against, found.reason) == ("not readable", "this user may not read it")


def test_targets_and_device_numbers_are_compared() -> None:
    assert only(view({"l": LINK}), view({"l": replace(LINK, target="x")})).what == "target"
    found = only(view({"n": DEVICE}), view({"n": replace(DEVICE, rdev=(1, 5))}))
    assert (found.what, found.image, found.against) == ("device", "character device 1:3", "character device 1:5")


def test_a_symlink_has_no_mode() -> None:
    assert differences(view({"l": LINK}), view({"l": with_attributes(LINK, mode=0o777)})) == []


def test_times_are_compared_when_asked_for_and_there() -> None:
    one, other = view({"f": FILE}), view({"f": with_attributes(FILE, mtime=7)})
    assert differences(one, other) == []
    assert only(one, other, times=True).what == "mtime"
    assert differences(view({"f": with_attributes(FILE, mtime=None)}, COMMIT), other, times=True) == []
    assert any("times are not compared" in note for note in notes(view({}, COMMIT), other, times=True))
    assert notes(one, other, times=True) == []


def test_a_missing_directory_is_told_once_with_the_number_of_what_is_in_it() -> None:
    there = view({"d": ROOT, "d/e": ROOT, "d/e/f": FILE, "d-": FILE, "d/g": FILE})
    found = differences(view({"d-": FILE}), there)
    assert [(each.path, each.image, each.against) for each in found] == [("d", None, "directory with 3 more in it")]
    assert only(there, view({"d-": FILE})).image == "directory with 3 more in it"


def test_a_directory_that_was_replaced_is_told_and_what_is_in_it_too() -> None:
    found = differences(view({"d": FILE}), view({"d": ROOT, "d/f": FILE}))
    assert [(each.path, each.what) for each in found] == [("d", "type"), ("d/f", "entry")]


def test_hard_links_are_compared_among_the_paths_of_both_sides() -> None:
    other = replace(FILE, content="other")
    one = view({"a": FILE, "b": FILE, "c": other, "only here": FILE})
    two = view({"a": FILE, "b": other, "c": other})
    digests: tuple[dict[str, str | None], dict[str, str | None]] = ({"one": "x", "other": "x"},) * 2
    found = [each for each in differences(one, two, digests) if each.what == "hard links"]
    assert [(each.path, each.image, each.against) for each in found] == [
        ("a", "/b", "none"),
        ("b", "/a", "/c"),
        ("c", "none", "/b"),
    ]


def test_hard_links_are_not_compared_with_a_commit_and_this_is_said() -> None:
    one, two = view({"a": FILE, "b": FILE}, COMMIT), view({"a": FILE, "b": replace(FILE, content="x")}, DIRECTORY)
    assert differences(one, two) == []
    assert any("hard links are not compared" in note for note in notes(one, two, times=False))


def test_many_hard_links_are_counted() -> None:
    names = [f"n{number}" for number in range(6)]
    one = view(dict.fromkeys(names, FILE))
    two = view({name: replace(FILE, content=name) for name in names})
    found = [each for each in differences(one, two) if each.what == "hard links"]
    assert found[0].image == "/n1, /n2, /n3 and 2 more"


def test_what_lies_in_a_directory_that_may_not_be_read_is_not_said_to_be_missing() -> None:
    one = view({"d": ROOT, "d/e": ROOT, "d/e/f": FILE})
    two = view({"d": ROOT}, DIRECTORY, unreadable={"d": "permission denied"}, is_root=False)
    found = only(one, two)
    assert (found.path, found.what, found.against) == ("d", "entries", "not compared: permission denied")
    assert found.reason == "this user may not read it"


REASONS = {
    "an empty xattr": (
        ("f", FILE, COMMIT), ("f", with_attributes(FILE, xattrs=((b"user.e", b""),)), DIRECTORY), "empty value",
    ),
    "a label in a directory": (
        ("f", FILE, COMMIT), ("f", with_attributes(FILE, xattrs=((b"security.selinux", b"l\0"),)), DIRECTORY),
        "made without labels",
    ),
    "a label in a commit": (
        ("f", with_attributes(FILE, xattrs=((b"security.selinux", b"l\0"),)), COMMIT), ("f", FILE, DIRECTORY),
        "labels come with a commit",
    ),
    "a label against layers": (
        ("f", with_attributes(FILE, xattrs=((b"security.selinux", b"l\0"),)), COMMIT), ("f", FILE, LAYERS),
        "layers carry no SELinux labels",
    ),
    "a FIFO": ((None, FILE, COMMIT), ("p", SpecialFile(PLAIN, "FIFO"), DIRECTORY), "a commit holds no FIFO"),
    "a file of a container": ((None, FILE, COMMIT), (".dockerenv", FILE, DIRECTORY), "container runtimes make it"),
    "a mount point": (("proc", ROOT, COMMIT), ("proc", with_attributes(ROOT, mode=0o555), DIRECTORY), "runtimes"),
    "the repository": ((None, FILE, COMMIT), ("sysroot", ROOT, LAYERS), "carry a repository"),
    "the pristine /etc": ((None, FILE, COMMIT), ("usr/etc", FILE, DIRECTORY), "a booted system keeps"),
    "/var/tmp": ((None, FILE, COMMIT), ("var/tmp", ROOT, LAYERS), "add it"),
}  # fmt: skip


@pytest.mark.parametrize(("one", "other", "reason"), REASONS.values(), ids=REASONS)
def test_a_known_reason_stands_with_the_difference(
    one: tuple[str | None, Item, str], other: tuple[str, Item, str], reason: str
) -> None:
    parents: dict[str, Item] = {"usr": ROOT, "var": ROOT}
    ours = parents | ({one[0]: one[1]} if one[0] is not None else {})
    found = only(view(ours, one[2]), view({**parents, other[0]: other[1]}, other[2]))
    assert found.reason is not None
    assert reason in found.reason


def test_a_directory_that_a_user_wrote_explains_owners_and_privileged_xattrs() -> None:
    mine = {"": with_attributes(ROOT, uid=1000), "f": with_attributes(FILE, uid=1000)}
    found = differences(
        view({"f": with_attributes(FILE, xattrs=((b"security.capability", b"\1"), (b"user.a", b"1")))}, COMMIT),
        TreeView(DIRECTORY, mine, is_root=False),
    )
    reasons = {(each.path, each.what): each.reason for each in found}
    assert (
        reasons[("f", "uid")]
        == reasons[("", "uid")]
        == ("the directory was written by a user, who cannot give files away")
    )
    assert reasons[("f", "xattr security.capability")] == "only root can write it"
    assert reasons[("f", "xattr user.a")] is None


def test_trusted_attributes_are_for_root_alone() -> None:
    one = view({"f": with_attributes(FILE, xattrs=((b"trusted.x", b"1"),))}, COMMIT)
    assert only(one, view({"f": FILE}, DIRECTORY, is_root=False)).reason == "only root sees trusted attributes"
    assert only(one, view({"f": FILE}, DIRECTORY)).reason is None
