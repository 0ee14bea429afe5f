"""The steps that make a tree fit for a format. Each does one thing, and tells of it.

The steps for the format `ostree`, with the default ones marked:

| step                 |     | what it does                                                                      |
|----------------------|-----|-----------------------------------------------------------------------------------|
| drop-special         | x   | devices, FIFOs and sockets go                                                     |
| drop-empty-xattrs    | x   | extended attributes without a value go                                            |
| drop-other-encodings |     | names and symlink targets that are not UTF-8 go                                   |
| split-passwd         |     | users but root go to /usr/lib/passwd, groups but root and wheel to /usr/lib/group |
| passwd-locks         |     | locks and backups of /etc/passwd and its like go                                  |
| builder-leftovers    |     | /.dockerenv, /run/.containerenv, empty /etc/hostname and /etc/resolv.conf go      |
| merge-etc            |     | of what both /etc and /usr/etc have, that of /usr/etc goes                        |
| etc-to-usr-etc       | x   | /etc becomes /usr/etc, where a commit has defaults; refused when both have a path |
| empty-sysroot        | x   | what is in /sysroot and /ostree goes: images keep their repository there          |
| var-to-factory       |     | what is in /var is moved to /usr/share/factory/var                                |
| keep-var-out         | x   | what is in /var goes: it belongs to the machine                                   |
| empty-mounts         |     | what is in /dev, /proc, /run, /sys and /tmp goes: something is mounted there      |
| selinux              |     | labels are set as a policy says                                                   |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain

from ostrata.errors import LimitError, UnsupportedError, escape, some_of
from ostrata.model.tree import Directory, Entry, RegularFile, Symlink
from ostrata.pipeline.fitting import Change, Fitted, Step, TreeView, without
from ostrata.pipeline.import_labels import relabelled
from ostrata.sources.contents import made_key
from ostrata.sources.rootfs import is_utf8
from ostrata.sources.selinux import SelinuxPolicy

MAX_PASSWD = 16 << 20
"""Bytes of the largest file of users or groups."""

_SHOWN = 10
_ETC, _USR_ETC = "etc", "usr/etc"
_FACTORY = "usr/share/factory/var"
_MOUNTS = ("dev", "proc", "run", "sys", "tmp")
_LOCKS = (".pwd.lock", "passwd-", "group-", "shadow-", "gshadow-", "subuid-", "subgid-")
_LEFT_BY_BUILDERS = (".dockerenv", "run/.containerenv")
_MOUNTED_BY_BUILDERS = ("hostname", "resolv.conf")


# What a commit cannot hold


def drop_special(view: TreeView) -> Fitted:
    """Devices, FIFOs and sockets go."""
    return without(view, {path: f"a {entry.kind}" for path, entry in view.special.items()})


def drop_sockets(view: TreeView) -> Fitted:
    """Sockets go, which no tar can hold."""
    return without(view, {path: "a socket" for path, entry in view.special.items() if entry.kind == "socket"})


def drop_empty_xattrs(view: TreeView) -> Fitted:
    """Extended attributes without a value go."""
    changed: dict[str, Entry] = {}
    changes = []
    for path, entry in view.entries.items():
        xattrs = entry.attributes.xattrs
        if xattrs and not all(value for _, value in xattrs):
            names = ", ".join(escape(name) for name, value in xattrs if not value)
            changes.append(Change(path, f"extended attributes without a value dropped: {names}"))
            kept = tuple(pair for pair in xattrs if pair[1])
            changed[path] = replace(entry, attributes=replace(entry.attributes, xattrs=kept))
    return Fitted(replace(view, entries={**view.entries, **changed}) if changed else view, changes)


def drop_other_encodings(view: TreeView) -> Fitted:
    """What is not UTF-8 goes, with all that is in it."""
    dropped: dict[str, str] = {}
    for path in _paths(view):
        if not is_utf8(path):
            dropped[path] = "its name is not UTF-8"
    for path, entry in view.entries.items():
        if isinstance(entry, Symlink) and not is_utf8(entry.target):
            dropped.setdefault(path, f"its target '{escape(entry.target)}' is not UTF-8")
    return without(view, dropped)


# Configuration


def merge_etc(view: TreeView) -> Fitted:
    """What both /etc and /usr/etc have goes from /usr/etc, unless both are directories."""
    below = _below(view, _USR_ETC)
    conflicts = set(_etc_conflicts(view, below, keeps_twins=False))
    starts = tuple(f"{path}/" for path in conflicts)
    dropped = [path for path in below if path in conflicts or path.startswith(starts)]
    return without(view, dict.fromkeys(dropped, "/etc has one too, which is kept"))


def etc_to_usr_etc(view: TreeView) -> Fitted:
    """/etc becomes /usr/etc; an /etc that is no directory stays. Raises: UnsupportedError when both have a path."""
    if not isinstance(view.entries.get(_ETC), Directory):
        return Fitted(view, ())
    below_usr_etc = _below(view, _USR_ETC)
    conflicts = sorted(_etc_conflicts(view, below_usr_etc, keeps_twins=True))
    if conflicts:
        shown = some_of([f"/{escape(path)}" for path in conflicts], _SHOWN)
        raise UnsupportedError(
            f"the tree has both /etc and /usr/etc, and both have {shown}",
            hint="--fix merge-etc takes those of /etc",
        )
    below_etc = _below(view, _ETC)
    return _moved(view, _ETC, below_etc, _USR_ETC, keeps_target=bool(below_usr_etc) and not below_etc)


def _etc_conflicts(view: TreeView, below_usr_etc: Iterable[str], *, keeps_twins: bool) -> Iterator[str]:
    """The paths of /usr/etc that /etc has too, but as something else; with `keeps_twins` the same twice is none."""
    for path in below_usr_etc:
        twin = path.removeprefix("usr/")
        ours, theirs = view.entries.get(path), view.entries.get(twin)
        if twin in view.special or (path in view.special and theirs is not None):
            yield path
        elif theirs is None or (isinstance(ours, Directory) and isinstance(theirs, Directory)):
            continue
        elif not (keeps_twins and ours == theirs):
            yield path


def _moved(view: TreeView, old: str, below: Iterable[str], new: str, *, keeps_target: bool) -> Fitted:
    """The directory `old`, and what is `below` it, as `new`; with `keeps_target` the attributes of `new` stay."""
    entries, special = dict(view.entries), dict(view.special)
    changes = []
    for path in [old, *below]:
        target = new + path[len(old) :]
        changes.append(Change(path, f"moved to /{escape(target)}"))
        if path in special:
            special[target] = special.pop(path)
            continue
        entry = entries.pop(path)
        if path != old or not keeps_target:
            entries[target] = entry
    return Fitted(replace(view, entries=entries, special=special), changes)


# Directories that belong to the machine


def empty_sysroot(view: TreeView) -> Fitted:
    """What is in /sysroot and /ostree goes."""
    return _dropped_below(view, ("sysroot", "ostree"), "an image keeps its repository there")


def keep_var_out(view: TreeView) -> Fitted:
    """What is in /var goes."""
    return _dropped_below(view, ("var",), "/var belongs to the machine")


def var_to_factory(view: TreeView) -> Fitted:
    """What is in /var is moved to /usr/share/factory/var. What is there already stays."""
    entries, special = dict(view.entries), dict(view.special)
    changes = []
    for path in _below(view, "var"):
        if path in special:
            changes.append(Change(path, f"dropped: a {special.pop(path).kind}"))
            continue
        entry = entries.pop(path)
        target = f"{_FACTORY}{path[len('var') :]}"
        if _is_taken(target, entry, view.entries):
            changes.append(Change(path, f"dropped: /{escape(target)} is there already"))
        else:
            entries.setdefault(target, entry)
            changes.append(Change(path, f"moved to /{escape(target)}"))
    return Fitted(replace(view, entries=entries, special=special), changes)


def _is_taken(path: str, entry: Entry, entries: Mapping[str, Entry]) -> bool:
    other = entries.get(path)
    if other is not None and not (isinstance(other, Directory) and isinstance(entry, Directory)):
        return True
    while path != "usr":
        path = path.rpartition("/")[0]
        if path in entries and not isinstance(entries[path], Directory):
            return True
    return False


def empty_mounts(view: TreeView) -> Fitted:
    """What is in /dev, /proc, /run, /sys and /tmp goes."""
    return _dropped_below(view, _MOUNTS, "something is mounted over it")


# Leftovers


def builder_leftovers(view: TreeView) -> Fitted:
    """What container builds leave behind goes."""
    dropped = {path: "container builds leave it behind" for path in _LEFT_BY_BUILDERS if path in view.entries}
    for directory in (_ETC, _USR_ETC):
        for name in _MOUNTED_BY_BUILDERS:
            entry = view.entries.get(f"{directory}/{name}")
            if isinstance(entry, RegularFile) and not entry.size:
                dropped[f"{directory}/{name}"] = "empty: container builds leave it behind"
    return without(view, dropped)


def passwd_locks(view: TreeView) -> Fitted:
    """Locks and backups of /etc/passwd and its like go."""
    places = [f"{directory}/{name}" for directory in (_ETC, _USR_ETC) for name in _LOCKS]
    return without(view, {path: "a lock or backup file" for path in places if path in view.entries})


# Users


def split_passwd(view: TreeView) -> Fitted:
    """Users but root, and groups but root and wheel, go to /usr/lib/passwd and /usr/lib/group, where nss-altfiles looks
    for them. Those that are there already stay as they are there."""
    changes: list[Change] = []
    for name, kept in (("passwd", (b"root",)), ("group", (b"root", b"wheel"))):
        for directory in (_ETC, _USR_ETC):
            entry = view.entries.get(f"{directory}/{name}")
            if isinstance(entry, RegularFile):
                view = _split(view, f"{directory}/{name}", entry, f"usr/lib/{name}", kept, changes)
    return Fitted(view, changes)


def _split(
    view: TreeView, path: str, entry: RegularFile, target: str, kept: tuple[bytes, ...], changes: list[Change]
) -> TreeView:
    there = view.entries.get(target)
    if there is not None and not isinstance(there, RegularFile):
        return view
    lines = _lines(view, path, entry)
    before = [] if there is None else _lines(view, target, there)
    known = {_name_in(line) for line in before}
    staying = [line for line in lines if _name_in(line) in kept]
    moving = [line for line in lines if _name_in(line) not in kept]
    if not moving:
        return view
    added = [line for line in moving if _name_in(line) not in known]
    names = ", ".join(escape(_name_in(line)) for line in moving)
    changes.append(Change(path, f"moved to /{target}: {names}"))
    written = {path: (entry, staying), target: (there or entry, before + added)}
    made = {key: b"".join(found) for key, (_, found) in written.items()}
    entries = {
        key: RegularFile(like.attributes, len(made[key]), made_key(made[key])) for key, (like, _) in written.items()
    }
    contents = {made_key(data): data for data in made.values()}
    return replace(view, entries={**view.entries, **entries}, made={**view.made, **contents})


def _lines(view: TreeView, path: str, entry: RegularFile) -> list[bytes]:
    if entry.size > MAX_PASSWD:
        raise LimitError(f"expected at most {MAX_PASSWD:,} bytes, found {entry.size:,}", where=f"/{escape(path)}")
    data = view.made[entry.content] if entry.content in view.made else view.read(entry)
    return [line + b"\n" for line in data.split(b"\n") if line]


def _name_in(line: bytes) -> bytes:
    return line.partition(b":")[0].strip()


def selinux_labels(policy: SelinuxPolicy) -> Step:
    """The step that labels by `policy`. Its changes are not told path by path: nearly all have one."""

    def take(view: TreeView) -> Fitted:
        changed = relabelled(view.entries, policy)
        changes = [Change("", f"labels set by the policy {escape(policy.name)}: {len(changed)} entries")]
        return Fitted(replace(view, entries={**view.entries, **changed}), changes if changed else ())

    return Step("selinux", "labels are those of the policy", take, is_default=False)


# Helpers


def _paths(view: TreeView) -> Iterator[str]:
    return chain(view.entries, view.special)


def _below(view: TreeView, *directories: str) -> list[str]:
    """The paths of what is in these directories."""
    starts = tuple(f"{directory}/" for directory in directories)
    start = starts[0] if len(starts) == 1 else starts  # one alone is asked for faster
    return [path for path in _paths(view) if path.startswith(start)]


def _dropped_below(view: TreeView, directories: Iterable[str], why: str) -> Fitted:
    return without(view, dict.fromkeys(_below(view, *directories), why))


# The lists

OSTREE_STEPS: tuple[Step, ...] = (
    Step("drop-special", "a commit holds no devices, FIFOs and sockets", drop_special),
    Step("drop-empty-xattrs", "a commit holds no extended attributes without a value", drop_empty_xattrs),
    Step("drop-other-encodings", "a commit holds UTF-8 names only", drop_other_encodings, is_default=False),
    Step("passwd-locks", "locks and backups would be in every deployment", passwd_locks, is_default=False),
    Step("builder-leftovers", "leftovers of a container build", builder_leftovers, is_default=False),
    Step("split-passwd", "users of packages in /etc are not updated", split_passwd, is_default=False),
    Step("merge-etc", "/etc and /usr/etc have the same paths", merge_etc, is_default=False),
    Step("etc-to-usr-etc", "a commit has its configuration in /usr/etc", etc_to_usr_etc),
    Step("empty-sysroot", "an image keeps its repository in /sysroot/ostree", empty_sysroot),
    Step("var-to-factory", "/var belongs to the machine", var_to_factory, is_default=False),
    Step("keep-var-out", "/var belongs to the machine", keep_var_out),
    Step("empty-mounts", "something is mounted over /dev, /proc, /run, /sys and /tmp", empty_mounts, is_default=False),
)
"""Those for the format `ostree`, in their order."""

PLAIN_STEPS: tuple[Step, ...] = (
    Step("drop-sockets", "a tar holds no sockets", drop_sockets),
    Step("passwd-locks", "locks and backups would be in every deployment", passwd_locks, is_default=False),
    Step("builder-leftovers", "leftovers of a container build", builder_leftovers, is_default=False),
)
"""Those for the format `plain`, in their order."""
