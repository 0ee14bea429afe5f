"""Layers on top of each other: what stays, what goes, what is refused. (How it compares: tests/properties.)"""

from __future__ import annotations

import pytest

from ostrata.errors import LimitError, MalformedError
from ostrata.model.tree import Attributes, Directory, RegularFile, Symlink, Tree
from ostrata.sources import image_union
from ostrata.sources.image_layer import index_layer
from ostrata.sources.image_union import IMPLIED, Union, UnionTree, union
from plain_images import Change, directory, layer_tar, link, opaque, symlink, whiteout


def of(*layers: list[Change]) -> UnionTree:
    return union(index_layer([layer_tar(layer)]) for layer in layers)


def paths(*layers: list[Change]) -> list[str]:
    return [path for path, _ in of(*layers).tree]


def test_an_entry_replaces_what_has_its_name() -> None:
    tree = of([Change("a", data=b"1"), Change("a", data=b"22")], [Change("a", data=b"333", mode=0o600)]).tree

    entry = tree.entries["a"]

    assert isinstance(entry, RegularFile)
    assert (entry.size, entry.attributes.mode, entry.content.split(":")[0]) == (3, 0o600, "1")


def test_a_file_replaces_a_directory_with_all_that_is_in_it_and_back() -> None:
    assert paths([Change("d/x/y")], [Change("d")]) == ["", "d"]
    assert paths([Change("d")], [directory("d"), Change("d/x")]) == ["", "d", "d/x"]


def test_a_directory_on_a_directory_keeps_what_is_in_it_and_takes_the_new_attributes() -> None:
    tree = of(
        [directory("d", 0o700, uid=3, xattrs={"user.old": b"1"}), Change("d/x")],
        [directory("d", 0o755, xattrs={"user.new": b"2"})],
    ).tree

    assert tree.entries["d"].attributes == Attributes(0o755, 0, 0, ((b"user.new", b"2"),), 1_000_000_000)
    assert "d/x" in tree.entries


def test_a_directory_that_is_only_passed_through_keeps_its_attributes() -> None:
    tree = of([directory("d", 0o711, uid=3, xattrs={"user.a": b"1"})], [Change("d/new")]).tree

    assert tree.entries["d"].attributes == Attributes(0o711, 3, 0, ((b"user.a", b"1"),), 1_000_000_000)


def test_a_directory_that_nobody_has_an_entry_for_is_made() -> None:
    tree = of([Change("d/e/new")]).tree

    assert [path for path, entry in tree if isinstance(entry, Directory)] == ["", "d", "d/e"]
    assert tree.entries["d"].attributes == IMPLIED == Attributes(0o755, 0, 0, (), 0)


def test_the_root_has_the_attributes_of_its_entry() -> None:
    assert of([directory("./", 0o555, uid=7)]).tree.entries[""].attributes.uid == 7


def test_a_whiteout_hides_what_is_below_and_not_what_is_beside() -> None:
    low = [Change("d/x/y"), Change("d/xy"), Change("x")]

    assert paths(low, [whiteout("d/x")]) == ["", "x", "d", "d/xy"]


def test_a_whiteout_never_hides_what_its_own_layer_has() -> None:
    low = [Change("d/low"), directory("d", 0o700)]

    assert paths(low, [Change("d/up"), whiteout("d"), whiteout("d/up")]) == ["", "d", "d/up"]
    assert paths(low, [whiteout("d"), Change("d/up")]) == ["", "d", "d/up"]


@pytest.mark.parametrize("order", [1, -1])
def test_a_directory_that_was_hidden_and_is_passed_through_is_a_new_one(order: int) -> None:
    top = [whiteout("d"), Change("d/up")][::order]

    assert of([directory("d", 0o700, uid=3)], top).tree.entries["d"].attributes == IMPLIED


def test_an_opaque_whiteout_hides_what_lower_layers_have_in_the_directory() -> None:
    low = [directory("d", 0o700), Change("d/low"), Change("d/s/low"), Change("beside")]
    top = [Change("d/s/up"), opaque("d"), Change("d/up")]

    tree = of(low, top).tree

    assert [path for path, _ in tree] == ["", "beside", "d", "d/up", "d/s", "d/s/up"]
    assert tree.entries["d"].attributes.mode == 0o700


HIDDEN = Attributes(0o700, xattrs=((b"user.hidden", b"1"),))


@pytest.mark.parametrize(
    ("layer", "keeps"),
    [
        ([directory("d")], True),
        ([opaque("d")], True),
        ([Change("d/x"), opaque("d")], True),
        ([directory("d"), opaque("d")], False),
        ([opaque("d"), directory("d")], False),
        ([whiteout("d"), directory("d")], False),
        ([directory("d"), whiteout("d")], False),
    ],
)
def test_what_layers_do_not_show_of_a_directory_goes_only_with_the_directory(layer: list[Change], keeps: bool) -> None:
    result = Union(Tree({"": Directory(HIDDEN), "d": Directory(HIDDEN)}))
    result.apply(0, index_layer([layer_tar(layer)]))
    tree = result.finish().tree
    assert tree.entries["d"].attributes.xattrs == (HIDDEN.xattrs if keeps else ())
    assert tree.entries[""].attributes.xattrs == HIDDEN.xattrs


def test_an_opaque_whiteout_at_the_top_hides_everything_below() -> None:
    assert paths([Change("a/b")], [opaque(""), Change("c")]) == ["", "c"]


@pytest.mark.parametrize(
    ("top", "finding"),
    [
        (whiteout("gone/x"), "a whiteout that hides nothing"),
        (whiteout("gone"), "a whiteout that hides nothing"),
        (whiteout("a/b"), "a whiteout that hides nothing"),
        (opaque("gone"), "an opaque whiteout that hides nothing: there is no such directory"),
        (opaque("a"), "an opaque whiteout that hides nothing: there is no such directory"),
    ],
)
def test_a_whiteout_of_nothing_is_a_finding_and_makes_no_directory(top: Change, finding: str) -> None:
    found = of([Change("a")], [top])

    assert [path for path, _ in found.tree] == ["", "a"]
    assert [each.what for each in found.findings] == [finding]


def test_a_hard_link_is_one_more_name_also_of_a_file_of_a_lower_layer() -> None:
    tree = of([Change("a", mode=0o600, uid=5)], [Change("d/b", "link", to="a", mode=0o755, uid=7)]).tree

    assert tree.entries["d/b"] is tree.entries["a"]


def test_a_hard_link_keeps_what_its_target_was_at_that_moment() -> None:
    tree = of([Change("a", data=b"old")], [link("b", "a"), Change("a", data=b"newer")], [whiteout("a")]).tree

    entry = tree.entries["b"]

    assert isinstance(entry, RegularFile) and entry.size == 3
    assert "a" not in tree.entries


def test_hard_links_to_symlinks_and_fifos_are_links_to_them() -> None:
    found = of([symlink("s", "nowhere"), link("t", "s"), Change("p", "fifo"), link("q", "p")])

    assert isinstance(found.tree.entries["t"], Symlink)
    assert found.special["q"] is found.special["p"]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([[link("b", "a"), Change("a")]], "neither a lower layer has nor this one before the link"),
        ([[Change("a")], [whiteout("a"), link("b", "a")]], "neither a lower layer has"),
        ([[directory("d"), link("b", "d")]], "a hard link to a directory, 'd'"),
        ([[link("b", "./")]], "a hard link to a directory"),
        ([[Change("a"), link("a", "a")]], "a hard link to itself"),
        ([[Change("a"), Change("a/b")]], "an entry below 'a', which is no directory"),
        ([[Change("a"), link("b", "a/c")]], "a hard link to 'a/c', which neither a lower layer has"),
        ([[Change("d/a"), Change("d"), Change("d/b")]], "an entry below 'd', which is no directory"),
        ([[Change("d/a")], [Change("d/c"), whiteout("d/a"), Change("d"), Change("d/b")]], "an entry below 'd'"),
        ([[symlink("s", "s"), Change("s/x")]], "more than 40 symlinks on the way"),
        ([[symlink("s", "t"), symlink("t", "/s/x"), Change("s/x")]], "more than 40 symlinks on the way"),
    ],
)
def test_what_no_tree_can_be_is_refused(layers: list[list[Change]], message: str) -> None:
    with pytest.raises(MalformedError, match=message.replace("(", r"\(")):
        of(*layers)


def test_a_symlink_on_the_way_is_followed_within_the_tree() -> None:
    found = of([directory("usr/lib"), symlink("lib", "usr/lib")], [Change("lib/x"), whiteout("lib/nothing")])

    assert [path for path, _ in found.tree] == ["", "lib", "usr", "usr/lib", "usr/lib/x"]
    assert "a name that leads through a symlink: followed, as in a chroot" in [each.what for each in found.findings]


@pytest.mark.parametrize("target", ["../../../etc", "/etc", "/../etc", "etc/../../etc/."])
def test_a_symlink_planted_by_an_earlier_layer_leads_nowhere_outside(target: str) -> None:
    found = of([symlink("evil", target)], [Change("evil/passwd"), link("evil/shadow", "evil/passwd")])

    assert [path for path, _ in found.tree] == ["", "evil", "etc", "etc/passwd", "etc/shadow"]


def test_a_whiteout_through_a_symlink_hides_what_is_behind_it() -> None:
    low = [Change("usr/lib/x"), symlink("lib", "usr/lib")]

    assert "usr/lib/x" not in paths(low, [whiteout("lib/x")])


def test_a_directory_in_place_of_a_symlink_does_not_reach_what_was_behind_it() -> None:
    low = [directory("usr/lib", 0o711), symlink("lib", "usr/lib")]

    tree = of(low, [Change("lib/through"), directory("lib", 0o700), Change("lib/x")]).tree

    assert [path for path, _ in tree] == ["", "lib", "lib/x", "usr", "usr/lib", "usr/lib/through"]
    assert tree.entries["usr/lib"].attributes.mode == 0o711


def test_devices_and_fifos_are_listed_apart_and_replaced_like_everything() -> None:
    low = [
        Change("dev/sda", "block", mode=0o660, device=(8, 0)),
        Change("c", "char", device=(1, 3)),
        Change("p", "fifo"),
    ]

    found = of(low, [Change("p")])

    assert {path: (entry.kind, entry.rdev) for path, entry in found.special.items()} == {
        "c": ("character device", (1, 3)),
        "dev/sda": ("block device", (8, 0)),
    }
    assert found.special["dev/sda"].attributes.mode == 0o660
    assert isinstance(found.tree.entries["p"], RegularFile)


def test_the_order_is_that_of_a_commits_walk() -> None:
    layer = [Change("b/x"), Change("b.c"), Change("a/y"), Change("c"), Change("ž"), Change("\udcff"), Change("b/")]

    assert paths(layer[:6]) == ["", "b.c", "c", "ž", "\udcff", "a", "a/y", "b", "b/x"]


def test_directories_deeper_than_any_path_are_refused() -> None:
    path = "d/" * image_union.MAX_DEPTH

    assert len(paths([Change(path[:-4] + "x")])) == image_union.MAX_DEPTH
    with pytest.raises(LimitError, match="directories nest deeper than 1024"):
        of([Change(path + "x")])
    with pytest.raises(LimitError, match="directories nest deeper than 1024"):
        of([symlink("s", "d/" * 600), symlink("d/" * 600 + "s", "d/" * 600), Change("s/s/x")])


def test_a_path_made_too_long_by_symlinks_is_refused() -> None:
    long = "/".join(["n" * 250] * 10)

    with pytest.raises(LimitError, match="expected paths of at most 4,096 characters"):
        of([symlink("s", long), symlink(f"{long}/s", long), Change("s/s/x")])


def test_work_and_memory_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_union, "MAX_ENTRIES", 10)
    monkeypatch.setattr(image_union, "MAX_DETOURS", 10)
    with pytest.raises(LimitError, match="expected at most 10 entries in all layers together, found more"):
        of([Change("a/b/c/d/e/f/g/h/i/j/k")])
    with pytest.raises(LimitError, match="expected at most 10 names on the way through symlinks"):
        of([symlink("s", "a/b/c/d/../../../.."), Change("s/x"), Change("s/./s/y")])


def test_a_tree_lies_below_the_layers_and_answers_for_missing_link_targets() -> None:
    file = RegularFile(Attributes(0o644), 3, "f" * 64)
    below = Tree({"": Directory(Attributes(0o711)), "d": Directory(Attributes(0o700)), "d/a": file})
    upper = index_layer([layer_tar([link("b", "d/a"), link("c", "objects/a"), whiteout("d/a")])])

    top = Union(below, lambda path: file if path == "objects/a" else None)
    top.apply(0, upper)
    tree = top.finish().tree

    assert [path for path, _ in tree] == ["", "b", "c", "d"]
    assert tree.entries["b"] is tree.entries["c"] is file
    assert tree.entries[""].attributes.mode == 0o711
