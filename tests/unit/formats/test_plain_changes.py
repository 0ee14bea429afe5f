from __future__ import annotations

from dataclasses import replace

import pytest

from ostrata.formats.plain import Item
from ostrata.formats.plain_changes import Changes, files_to_compare, find_changes
from ostrata.model.tree import Attributes, Directory, RegularFile, SpecialFile, Symlink

FILE = RegularFile(Attributes(0o644, mtime=9), 3, "f")
LINK = Symlink(Attributes(0o777, mtime=9), "to", "s")
PIPE = SpecialFile(Attributes(0o600, mtime=9), "FIFO")
DIRECTORY = Directory(Attributes(0o755, mtime=9))
BASE: dict[str, Item] = {"": DIRECTORY, "d": DIRECTORY, "d/f": FILE, "d/l": LINK, "d/p": PIPE}


def changes(
    base: dict[str, Item], tree: dict[str, Item], *, clamped: dict[str, Item] | None = None, links: bool = True
) -> Changes:
    """Contents are equal when their keys are."""
    candidates = files_to_compare(base, tree, clamped or tree)
    equal = {pair for pair in candidates if pair[0] == pair[1]}
    return find_changes(base, tree, clamped or tree, equal, compares_links=links)


def test_the_same_tree_has_no_changes() -> None:
    assert changes(BASE, dict(reversed(BASE.items()))) == Changes(frozenset(), (), 3, 0)


def attributes(item: Item, **more: object) -> Item:
    return replace(item, attributes=replace(item.attributes, **more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "item"),
    [
        ("d", attributes(DIRECTORY, mode=0o700)),
        ("d/f", attributes(FILE, mode=0o600)),
        ("d/f", attributes(FILE, uid=1)),
        ("d/f", attributes(FILE, gid=1)),
        ("d/f", attributes(FILE, mtime=8)),
        ("d/f", attributes(FILE, xattrs=((b"user.a", b""),))),
        ("d/f", replace(FILE, content="other")),
        ("d/f", replace(FILE, size=4)),
        ("d/f", replace(LINK, content="new")),
        ("d/f", DIRECTORY),
        ("d/l", replace(LINK, target="elsewhere")),
        ("d/l", FILE),
        ("d/p", replace(PIPE, kind="socket")),
        ("d/p", replace(PIPE, rdev=(1, 3))),
        ("d/p", FILE),
    ],
    ids=str,
)
def test_a_path_of_which_anything_differs_is_written(path: str, item: Item) -> None:
    item = replace(item, content="new") if isinstance(item, RegularFile) and path != "d/f" else item
    assert changes(BASE, {**BASE, path: item}).written == {path}


@pytest.mark.parametrize(
    ("path", "item"),
    [
        ("d", attributes(DIRECTORY, mtime=1)),
        ("d/f", attributes(FILE, xattrs=((b"security.selinux", b"label"),))),
        ("d/l", attributes(LINK, mode=0o755)),
        ("d/l", attributes(LINK, mtime=1)),
        ("d/f", attributes(FILE, mtime=None)),
    ],
    ids=str,
)
def test_what_layers_do_not_tell_is_no_change(path: str, item: Item) -> None:
    assert changes(BASE, {**BASE, path: item}).written == set()


def test_a_time_is_right_before_or_after_it_was_clamped() -> None:
    younger: dict[str, Item] = {**BASE, "d/f": attributes(FILE, mtime=50)}
    assert changes(BASE, younger, clamped=BASE).written == set()
    assert changes(BASE, BASE, clamped={**BASE, "d/f": attributes(FILE, mtime=1)}).written == set()
    assert changes(BASE, younger, clamped=younger).written == {"d/f"}


def test_of_what_is_gone_only_the_topmost_directory_is_hidden() -> None:
    base: dict[str, Item] = {**BASE, "d/e": DIRECTORY, "d/e/x": replace(FILE, content="x"), "g": LINK}
    found = changes(base, BASE)
    assert (found.deleted, found.written) == (("d/e", "g"), set())
    assert (found.base_bytes, found.hidden_bytes) == (6, 3)


@pytest.mark.parametrize("item", [replace(FILE, content="new"), replace(LINK, content="new"), PIPE])
def test_below_what_is_no_directory_any_more_nothing_is_hidden(item: Item) -> None:
    found = changes(BASE, {"": DIRECTORY, "d": item})
    assert (found.deleted, found.written) == ((), {"d"})


def test_files_are_compared_only_when_nothing_else_differs() -> None:
    other = replace(FILE, content="other")
    assert files_to_compare(BASE, {**BASE, "d/f": other}, BASE) == {("f", "other"): (FILE, other)}
    assert files_to_compare(BASE, {**BASE, "d/f": attributes(other, mode=0)}, BASE) == {}
    assert files_to_compare(BASE, {**BASE, "d/f": replace(other, size=9)}, BASE) == {}


# Hard links

LINKED: dict[str, Item] = {"": DIRECTORY, "a": FILE, "b": FILE, "c": replace(FILE, content="c")}


@pytest.mark.parametrize(
    ("tree", "written", "deleted"),
    [
        ({"n": FILE}, {"a", "b", "n"}, ()),
        ({"b": replace(FILE, content="b")}, {"a", "b"}, ()),
        ({"c": FILE}, {"a", "b", "c"}, ()),
        ({"b": LINK}, {"b"}, ()),
        ({"b": None}, set(), ("b",)),
    ],
    ids=["a new name", "other content", "one content", "a symlink", "a deletion"],
)
def test_names_of_one_file_are_written_together(
    tree: dict[str, Item | None], written: set[str], deleted: tuple[str, ...]
) -> None:
    after = {path: item for path, item in {**LINKED, **tree}.items() if item is not None}
    equal = {("f", "f"), ("f", "b"), ("c", "c"), ("c", "f")}
    found = find_changes(LINKED, after, after, equal, compares_links=True)
    assert (found.written, found.deleted) == (written, deleted)


def test_links_of_a_source_that_tells_of_none_are_no_change() -> None:
    after: dict[str, Item] = {**LINKED, "b": replace(FILE, content="b")}
    assert (
        find_changes(LINKED, after, after, {("f", "f"), ("f", "b"), ("c", "c")}, compares_links=False).written == set()
    )
