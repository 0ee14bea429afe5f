"""What to put on top of a base image's layers so that its tree becomes another one.

A path is written above the base when anything about it differs: type, owner, mode, extended attributes, content,
target, device numbers, time. A time is right if it is that of the tree, before or after it was clamped; those of
directories and symlinks do not count, which many tools do not keep. Names of one file are written together or not at
all, since a hard link into a lower layer breaks where runtimes keep each layer by itself.

A path of the base that the tree lacks is hidden by a whiteout: one for the topmost directory. None is needed below
what is no directory any more, for an entry replaces all that was there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from ostrata.formats.plain import SELINUX, Item
from ostrata.model.tree import Attributes, Directory, RegularFile, SpecialFile, Symlink

Pair = tuple[str, str]
"""The content keys of a file, in the base and in the tree."""


@dataclass(frozen=True, slots=True)
class Changes:
    """`written` are the tree's paths that the base does not have as they are, `deleted` those to hide.

    Of the `base_bytes` of content in the base, `hidden_bytes` are seen no more.
    """

    written: frozenset[str]
    deleted: tuple[str, ...]
    base_bytes: int
    hidden_bytes: int


def files_to_compare(
    base: Mapping[str, Item], tree: Mapping[str, Item], clamped: Mapping[str, Item]
) -> dict[Pair, tuple[RegularFile, RegularFile]]:
    """The files that only their contents can tell apart."""
    found: dict[Pair, tuple[RegularFile, RegularFile]] = {}
    for path, one, other in _common(base, tree):
        if isinstance(one, RegularFile) and isinstance(other, RegularFile) and _alike(one, other, clamped[path]):
            found[one.content, other.content] = one, other
    return found


def find_changes(
    base: Mapping[str, Item],
    tree: Mapping[str, Item],
    clamped: Mapping[str, Item],
    equal: Collection[Pair],
    *,
    compares_links: bool,
) -> Changes:
    """What turns `base` into `tree`; `clamped` is the tree with the times that layers have.

    `equal` are those of `files_to_compare` that have the same content. `compares_links`: the tree knows hard links.
    """
    same = {path for path, one, other in _common(base, tree) if _is_same(one, other, clamped[path], equal)}
    if compares_links:
        same -= _relinked(base, tree, same)
    deleted = sorted(
        path for path in base if path not in tree and isinstance(tree.get(path.rpartition("/")[0]), Directory)
    )
    sizes = {item.content: item.size for item in base.values() if isinstance(item, RegularFile)}
    seen = {item.content for path in same if isinstance(item := base[path], RegularFile)}
    hidden = sum(size for content, size in sizes.items() if content not in seen)
    return Changes(frozenset(tree.keys() - same), tuple(deleted), sum(sizes.values()), hidden)


def _common(base: Mapping[str, Item], tree: Mapping[str, Item]) -> Iterator[tuple[str, Item, Item]]:
    for path, other in tree.items():
        one = base.get(path)
        if one is not None:
            yield path, one, other


def _is_same(one: Item, other: Item, clamped: Item, equal: Collection[Pair]) -> bool:
    if not _alike(one, other, clamped):
        return False
    if isinstance(one, RegularFile) and isinstance(other, RegularFile):
        return (one.content, other.content) in equal
    return True


def _alike(one: Item, other: Item, clamped: Item) -> bool:
    """Is all the same but, perhaps, the content?"""
    if type(one) is not type(other) or not _times_agree(one, other, clamped):
        return False
    if _compared(one.attributes, one) != _compared(other.attributes, other):
        return False
    if isinstance(one, RegularFile) and isinstance(other, RegularFile):
        return one.size == other.size
    if isinstance(one, Symlink) and isinstance(other, Symlink):
        return one.target == other.target
    if isinstance(one, SpecialFile) and isinstance(other, SpecialFile):
        return (one.kind, one.rdev) == (other.kind, other.rdev)
    return True


def _times_agree(one: Item, other: Item, clamped: Item) -> bool:
    times = (other.attributes.mtime, clamped.attributes.mtime)
    return isinstance(one, Directory | Symlink) or None in times or one.attributes.mtime in times


def _compared(attributes: Attributes, item: Item) -> Attributes:
    """What layers tell, without the time. Linux has no mode of a symlink."""
    xattrs = tuple(pair for pair in attributes.xattrs if pair[0] != SELINUX)
    mode = 0 if isinstance(item, Symlink) else attributes.mode
    return replace(attributes, mode=mode, xattrs=xattrs, mtime=None)


def _relinked(base: Mapping[str, Item], tree: Mapping[str, Item], same: Collection[str]) -> set[str]:
    """Of the `same` paths, those that do not share a file with the very paths with which they do in the base."""
    before = {path: group for group in _link_groups(base, same) for path in group}
    return {path for group in _link_groups(tree, tree) if before.get(group[0]) != group for path in group}


def _link_groups(items: Mapping[str, Item], paths: Iterable[str]) -> Iterable[list[str]]:
    """Those of `paths` that are names of one file."""
    groups: dict[str | int, list[str]] = defaultdict(list)
    for path in sorted(paths):
        key = _link_key(items[path])
        if key is not None:
            groups[key].append(path)
    return groups.values()


def _link_key(item: Item) -> str | int | None:
    if isinstance(item, Directory):
        return None
    return id(item) if isinstance(item, SpecialFile) else item.content
