"""What of a container's tree can be in a commit: a pure decision, and what it leaves out is told.

As ostree-ext does it (its `tar/write.rs`, `container/store.rs`), but for the last point, where it fails:

* /etc is moved to /usr/etc. Where both have a path, that of /etc is kept.
* Below /dev, /proc, /run, /sys and /tmp only what the base has is kept: runtimes mount something there.
* Objects in /sysroot/ostree are the base commit's own; what a layer puts there is dropped.
* An empty /etc/hostname or /etc/resolv.conf is what builders mount over: dropped.
* Devices and FIFOs, names and symlink targets that are not UTF-8, and extended attributes without a value cannot be
  in a commit: dropped.

What lies in /var, and other directories beside /usr, stays: since libostree 2024.3 a deployment takes /var from the
commit, and a transient or composefs root has the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ostrata.errors import escape
from ostrata.model.tree import Directory, Entry, RegularFile, Symlink, Tree
from ostrata.sources.image_union import IMPLIED, UnionTree

_MOUNTED = ("dev", "proc", "run", "sys", "tmp")
_INJECTED = ("usr/etc/hostname", "usr/etc/resolv.conf")
_OSTREE = "sysroot/ostree"
_REPOSITORY = "copies of repository objects, whose files a commit has by their paths"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A path as the container sees it, and why it, or what of it, is not in the commit."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class FittingTree:
    """Entries by their paths in a commit, in no order, and what had to go."""

    entries: Mapping[str, Entry]
    left_out: tuple[LeftOut, ...]


def fit(union: UnionTree, base: Tree | None = None) -> FittingTree:
    """The tree of a container, made fit for a commit; `base` is the tree that is kept as it is."""
    left_out = [LeftOut(path, f"a {entry.kind}: a commit has none") for path, entry in union.special.items()]
    kept: dict[str, Entry] = {}
    in_repository = 0
    for path, entry in union.tree:
        reason = _refusal(path, entry, base)
        if reason == _REPOSITORY:
            in_repository += 1
        elif reason is None:
            kept[path] = _without_empty_xattrs(path, entry, left_out)
        else:
            left_out.append(LeftOut(path, reason))
    if in_repository:  # not each of its objects, whose files the commit has by their paths
        left_out.append(LeftOut(_OSTREE, f"{_REPOSITORY}: {in_repository} entries"))
    entries = _with_usr_etc(kept, left_out)
    for path in _INJECTED:
        injected = entries.get(path)
        if isinstance(injected, RegularFile) and not injected.size:
            left_out.append(LeftOut(path.removeprefix("usr/"), "empty: builders leave it behind"))
            del entries[path]
    return FittingTree(entries, tuple(left_out))


def _refusal(path: str, entry: Entry, base: Tree | None) -> str | None:
    if not _is_utf8(path):
        return "its name is not UTF-8"
    if isinstance(entry, Symlink) and not _is_utf8(entry.target):
        return f"its target '{escape(entry.target)}' is not UTF-8"
    if base is not None and path in base.entries:
        return None
    top, slash, _ = path.partition("/")
    if slash and top in _MOUNTED:
        return f"runtimes mount something on /{top}"
    if path == _OSTREE or path.startswith(f"{_OSTREE}/"):
        return _REPOSITORY
    return None


def _is_utf8(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _without_empty_xattrs(path: str, entry: Entry, left_out: list[LeftOut]) -> Entry:
    xattrs = entry.attributes.xattrs
    if all(value for _, value in xattrs):
        return entry
    empty = ", ".join(escape(name) for name, value in xattrs if not value)
    left_out.append(LeftOut(path, f"extended attributes without a value: {empty}"))
    full = tuple(pair for pair in xattrs if pair[1])
    return replace(entry, attributes=replace(entry.attributes, xattrs=full))


def _with_usr_etc(kept: dict[str, Entry], left_out: list[LeftOut]) -> dict[str, Entry]:
    """/etc moved to /usr/etc; it stays when it, or /usr, is no directory."""
    usr: Entry = Directory(IMPLIED)
    if not isinstance(kept.get("etc"), Directory) or not isinstance(kept.get("usr", usr), Directory):
        return kept
    moved = {f"usr/{path}": entry for path, entry in kept.items() if path == "etc" or path.startswith("etc/")}
    entries = {"usr": usr}
    for path, entry in kept.items():
        if path == "etc" or path.startswith("etc/"):
            continue
        if (path == "usr/etc" or path.startswith("usr/etc/")) and _is_replaced(path, entry, moved):
            left_out.append(LeftOut(path, "/etc has one too, which is kept"))
        else:
            entries[path] = entry
    return entries | moved


def _is_replaced(path: str, entry: Entry, moved: Mapping[str, Entry]) -> bool:
    other = moved.get(path)
    if other is not None and not (isinstance(entry, Directory) and isinstance(other, Directory)):
        return True
    while path != "usr/etc":
        path = path.rpartition("/")[0]
        if path in moved and not isinstance(moved[path], Directory):
            return True
    return False
