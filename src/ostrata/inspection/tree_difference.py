"""In what do two trees differ, and why?

Each entry is compared by type, mode, owner, group, size, content, link target, extended attributes, hard links, and
times when they are asked for. What is missing is told once, for the topmost directory. Many differences have one of a
few causes that are no mistake of anybody: what a commit cannot hold, what a user may not read or write, what container
runtimes make. Where the cause shows, it stands with the difference; a difference it is all the same.

Two things are not compared where a commit is on one side, since no commit records them: times and hard links.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ostrata.formats.plain import MAX_LINKS
from ostrata.model.tree import Directory, Entry, RegularFile, SpecialFile, Symlink

COMMIT = "commit"
LAYERS = "layers"
DIRECTORY = "directory"

Item = Entry | SpecialFile
Digests = Mapping[str, str | None]
"""SHA-256 (hex) by content key; None for what may not be read."""

_MAX_VALUE = 64
_SELINUX = b"security.selinux"
_MOUNTED = ("dev", "proc", "run", "sys")
_RUNTIME = frozenset((".dockerenv", "etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf"))
_REPOSITORY = "sysroot/ostree"
_TOO_MANY_LINKS = f"plain layers write a file again after {MAX_LINKS:,} names: file systems hold no more"
_TYPES = {Directory: "directory", RegularFile: "file", Symlink: "symlink"}


@dataclass(frozen=True, slots=True)
class TreeView:
    """One side: everything in a tree by path, and what is known about where it comes from.

    `kind` is COMMIT, LAYERS or DIRECTORY. Content keys are equal for hard links. `unreadable` are paths of which a
    part could not be read, and why; `is_root` says whether it was root who read.
    """

    kind: str
    items: Mapping[str, Item]
    unreadable: Mapping[str, str] = field(default_factory=dict)
    is_root: bool = True

    @property
    def owner(self) -> int:
        """The uid of the tree's root."""
        root = self.items.get("")
        return root.attributes.uid if root is not None else 0


@dataclass(frozen=True, slots=True)
class Difference:
    """At `path`, `what` is one thing in the image and another in what it is compared with; None: not there."""

    path: str
    what: str
    image: str | None
    against: str | None
    reason: str | None = None


def contents_to_read(image: TreeView, against: TreeView) -> tuple[set[str], set[str]]:
    """The content keys of the files of either side that only their contents can tell apart."""
    ours: set[str] = set()
    theirs: set[str] = set()
    for path, one in image.items.items():
        other = against.items.get(path)
        if isinstance(one, RegularFile) and isinstance(other, RegularFile) and one.size == other.size:
            ours.add(one.content)
            theirs.add(other.content)
    return ours, theirs


def notes(image: TreeView, against: TreeView, *, times: bool) -> list[str]:
    """What is not compared, in words."""
    found = []
    if COMMIT in (image.kind, against.kind):
        found.append("hard links are not compared: OSTree does not record them, it keeps equal files once")
        if times:
            found.append("times are not compared: OSTree keeps none")
    return found


def compare_trees(
    image: TreeView, against: TreeView, digests: tuple[Digests, Digests], *, times: bool = False
) -> list[Difference]:
    """All differences, by path. `digests` are those of `contents_to_read`, of the image and of the other side."""
    comparison = _Comparison(image, against, digests, times)
    found = [difference for path in _paths(image, against) for difference in comparison.at(path)]
    if COMMIT not in (image.kind, against.kind):
        found += _compare_links(image.items, against.items)
    return sorted(found, key=lambda difference: difference.path)


def _paths(image: TreeView, against: TreeView) -> Iterator[str]:
    """All paths, but those in directories that could not be read and those below what is only on one side."""
    closed = {
        path for view in (image, against) for path in view.unreadable if isinstance(view.items.get(path), Directory)
    }
    skipped: set[str] = set()
    # A directory comes before what is in it: its path is a prefix.
    for path in sorted(image.items.keys() | against.items.keys()):
        parent = path.rpartition("/")[0]
        if path and (parent in closed or parent in skipped):
            skipped.add(path)
            continue
        if path not in image.items or path not in against.items:
            skipped.add(path)
        yield path


class _Comparison:
    def __init__(self, image: TreeView, against: TreeView, digests: tuple[Digests, Digests], times: bool) -> None:
        self._views = image, against
        self._digests = digests
        self._times = times and COMMIT not in (image.kind, against.kind)
        self._below = [_count_below(view.items) for view in self._views]

    def at(self, path: str) -> Iterator[Difference]:
        one, other = (view.items.get(path) for view in self._views)
        if one is None or other is None:
            yield self._absence(path, one, other)
            return
        if _type(one) != _type(other):
            yield self._difference(path, "type", _describe(one), _describe(other))
            return
        yield from self._attributes(path, one, other)
        yield from self._contents(path, one, other)
        yield from self._unreadable_directories(path, one)

    def _difference(
        self, path: str, what: str, image: str | None, against: str | None, reason: str | None = None
    ) -> Difference:
        return Difference(
            path, what, image, against, reason or (_made_by_runtimes(path) if DIRECTORY in self._kinds else None)
        )

    @property
    def _kinds(self) -> tuple[str, str]:
        return self._views[0].kind, self._views[1].kind

    def _absence(self, path: str, one: Item | None, other: Item | None) -> Difference:
        there = 0 if one is not None else 1
        item = one or other
        assert item is not None
        words = _describe(item)
        below = self._below[there].get(path, 0)
        if below:
            words += f" with {below} more in it"
        reason = _reason_of_absence(path, item, self._views[1 - there])
        return self._difference(path, "entry", words if there == 0 else None, words if there == 1 else None, reason)

    def _attributes(self, path: str, one: Item, other: Item) -> Iterator[Difference]:
        ours, theirs = one.attributes, other.attributes
        if ours.mode != theirs.mode and not isinstance(one, Symlink):  # Linux has no mode of a symlink
            yield self._difference(path, "mode", f"{ours.mode:04o}", f"{theirs.mode:04o}")
        for what, mine, yours in (("uid", ours.uid, theirs.uid), ("gid", ours.gid, theirs.gid)):
            if mine != yours:
                yield self._difference(path, what, str(mine), str(yours), self._reason_of_owner(one, other))
        if self._times and ours.mtime != theirs.mtime and None not in (ours.mtime, theirs.mtime):
            yield self._difference(path, "mtime", str(ours.mtime), str(theirs.mtime))
        mine_x, yours_x = dict(ours.xattrs), dict(theirs.xattrs)
        for name in sorted(mine_x.keys() | yours_x.keys()):
            values = mine_x.get(name), yours_x.get(name)
            if values[0] != values[1]:
                what = f"xattr {name.decode('utf-8', 'surrogateescape')}"
                reason = self._reason_of_xattr(path, name, values)
                yield self._difference(path, what, _show(values[0]), _show(values[1]), reason)

    def _contents(self, path: str, one: Item, other: Item) -> Iterator[Difference]:
        if isinstance(one, Symlink) and isinstance(other, Symlink) and one.target != other.target:
            yield self._difference(path, "target", one.target, other.target)
        if isinstance(one, SpecialFile) and isinstance(other, SpecialFile) and one.rdev != other.rdev:
            yield self._difference(path, "device", _describe(one), _describe(other))
        if not isinstance(one, RegularFile) or not isinstance(other, RegularFile):
            return
        if one.size != other.size:
            yield self._difference(path, "size", str(one.size), str(other.size))
            return
        found = self._digests[0][one.content], self._digests[1][other.content]
        if None in found:
            yield self._difference(path, "content", _digest(found[0]), _digest(found[1]), "this user may not read it")
        elif found[0] != found[1]:
            yield self._difference(path, "content", _digest(found[0]), _digest(found[1]))

    def _unreadable_directories(self, path: str, one: Item) -> Iterator[Difference]:
        told = [view.unreadable.get(path) for view in self._views]
        if isinstance(one, Directory) and any(told):
            shown = [f"not compared: {reason}" if reason else "not compared" for reason in told]
            yield self._difference(path, "entries", shown[0], shown[1], "this user may not read it")

    def _reason_of_owner(self, one: Item, other: Item) -> str | None:
        for view, item in zip(self._views, (one, other), strict=True):
            if view.kind == DIRECTORY and view.owner == item.attributes.uid != 0:
                return "the directory was written by a user, who cannot give files away"
        return None

    def _reason_of_xattr(self, path: str, name: bytes, values: tuple[bytes | None, bytes | None]) -> str | None:
        if None not in values:
            return None
        view = self._views[values.index(None)]
        if path in view.unreadable:
            return "this user may not read it"
        if view.kind == COMMIT:
            if b"" in values:
                return "OSTree drops extended attributes with an empty value"
            return "the commit was made without labels" if name == _SELINUX else None
        if name == _SELINUX:
            if view.kind == LAYERS:
                return "layers carry no SELinux labels"
            return "labels come with a commit or from the running system"
        if view.kind == DIRECTORY and not view.is_root and name.startswith(b"trusted."):
            return "only root sees trusted attributes"
        if view.kind == DIRECTORY and view.owner != 0 and not name.startswith(b"user."):
            return "only root can write it"
        return None


def _count_below(items: Iterable[str]) -> Mapping[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for path in items:
        parent = path.rpartition("/")[0]
        while parent:
            counts[parent] += 1
            parent = parent.rpartition("/")[0]
    return counts


def _reason_of_absence(path: str, item: Item, absent: TreeView) -> str | None:
    if path == _REPOSITORY or path.startswith(f"{_REPOSITORY}/") or path == "sysroot":
        return "encapsulated images carry a repository there"
    if path == "var/tmp":
        return "writers of encapsulated images add it"
    if path == "usr/etc" and absent.kind == COMMIT:
        return "a booted system keeps the commit's /etc there"
    runtime = _made_by_runtimes(path)
    if runtime is None and isinstance(item, SpecialFile) and absent.kind == COMMIT:
        return f"a commit holds no {item.kind}"
    return runtime


def _made_by_runtimes(path: str) -> str | None:
    if path in _RUNTIME or path.partition("/")[0] in _MOUNTED:
        return "container runtimes make it"
    return None


# Hard links


def _compare_links(image: Mapping[str, Item], against: Mapping[str, Item]) -> Iterator[Difference]:
    """Which of the paths that both sides have, with one type, are one file?"""
    common = [
        path
        for path, item in image.items()
        if isinstance(item, (RegularFile, Symlink)) and path in against and _type(against[path]) == _type(item)
    ]
    ours, theirs = (_link_groups(items, common) for items in (image, against))
    is_same: dict[tuple[int, int], bool] = {}  # a file can have tens of thousands of names: compared once
    for path in common:
        one, other = ours[path], theirs[path]
        key = id(one), id(other)
        if key not in is_same:
            is_same[key] = one == other
        if not is_same[key]:
            reason = _TOO_MANY_LINKS if max(len(one), len(other)) > MAX_LINKS else None
            yield Difference(path, "hard links", _show_links(path, one), _show_links(path, other), reason)


def _link_groups(items: Mapping[str, Item], paths: list[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    keys = {path: _content_key(items[path]) for path in paths}
    for path in sorted(paths):
        groups[keys[path]].append(path)
    return {path: groups[key] for path, key in keys.items()}


def _content_key(item: Item) -> str:
    assert isinstance(item, (RegularFile, Symlink))
    return item.content


def _show_links(path: str, group: list[str]) -> str:
    others = [f"/{other}" for other in group[:4] if other != path][:3]
    more = len(group) - 1 - len(others)
    if not others:
        return "none"
    return ", ".join(others) + (f" and {more} more" if more else "")


# Words


def _type(item: Item) -> str:
    return item.kind if isinstance(item, SpecialFile) else _TYPES[type(item)]


def _describe(item: Item) -> str:
    if isinstance(item, SpecialFile) and item.rdev != (0, 0):
        return f"{item.kind} {item.rdev[0]}:{item.rdev[1]}"
    return _type(item)


def _digest(digest: str | None) -> str:
    return "not readable" if digest is None else f"sha256:{digest}"


def _show(value: bytes | None) -> str | None:
    if value is None:
        return None
    shown = _show_text(value.removesuffix(b"\0")) or f"0x{value.hex()}"
    return shown if len(shown) <= _MAX_VALUE else f"{shown[:_MAX_VALUE]}... ({len(value)} bytes)"


def _show_text(value: bytes) -> str | None:
    return f"'{value.decode('ascii')}'" if value.isascii() and value.decode("ascii").isprintable() else None
