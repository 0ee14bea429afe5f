"""A tree made fit for a format: named steps, each a function from a tree to a tree.

A step says path by path what it changed, and changes nothing else. Which ones are taken is the user's choice; the
default are those without which the format could not hold the tree. `fit` takes them in the order of their list. The
steps themselves are in `fitting_steps`.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ostrata.errors import UnsupportedError, escape
from ostrata.model.tree import Directory, Entry, RegularFile, SpecialFile, Tree
from ostrata.sources.image_union import IMPLIED


def _nothing(_: RegularFile) -> bytes:
    return b""


@dataclass(frozen=True, slots=True)
class TreeView:
    """Entries by path, in no order, and those that a `Tree` cannot hold.

    `read` gives the content of a small file; `made` are contents, by key, that no source has.
    """

    entries: Mapping[str, Entry]
    special: Mapping[str, SpecialFile] = field(default_factory=dict)
    read: Callable[[RegularFile], bytes] = _nothing
    made: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """What a step did to `path`, in words."""

    path: str
    what: str


@dataclass(frozen=True, slots=True)
class Fitted:
    """The tree after a step, and its changes."""

    view: TreeView
    changes: Sequence[Change]


@dataclass(frozen=True, slots=True)
class Step:
    """`why` says in a few words what is wrong without it; `is_default`: the format cannot do without it."""

    name: str
    why: str
    take: Callable[[TreeView], Fitted]
    is_default: bool = True


@dataclass(frozen=True, slots=True)
class TakenStep:
    """A step that was taken and changed something."""

    name: str
    changes: Sequence[Change]


@dataclass(frozen=True, slots=True)
class FittedTree:
    """The tree after all steps."""

    tree: Tree
    special: Mapping[str, SpecialFile]
    taken: tuple[TakenStep, ...]
    made: Mapping[str, bytes] = field(default_factory=dict)


def fit(view: TreeView, steps: Iterable[Step]) -> FittedTree:
    """Take the steps, in order. Raises: UnsupportedError where one cannot tell what to do."""
    taken = []
    for step in steps:
        fitted = step.take(view)
        view = fitted.view
        if fitted.changes:
            taken.append(TakenStep(step.name, fitted.changes))
    return FittedTree(in_walk_order(view.entries), view.special, tuple(taken), view.made)


def choose_steps(steps: Iterable[Step], *, added: Iterable[str] = (), left_out: Iterable[str] = ()) -> list[Step]:
    """The default ones of `steps`, and by name those `added` and not those `left_out`.

    Raises: UnsupportedError for a name that no step has.
    """
    steps, added, left_out = list(steps), set(added), set(left_out)
    unknown = sorted((added | left_out) - {step.name for step in steps})
    if unknown:
        known = ", ".join(step.name for step in steps)
        raise UnsupportedError(f"no step is called '{escape(unknown[0])}'", hint=f"there are: {known}")
    return [step for step in steps if (step.is_default or step.name in added) and step.name not in left_out]


def in_walk_order(entries: Mapping[str, Entry]) -> Tree:
    """The entries as a tree. A directory that is missing above one is made, 0755 and root's."""
    files: dict[str, list[str]] = defaultdict(list)
    directories: dict[str, list[str]] = defaultdict(list)
    for path, entry in entries.items():
        (directories if isinstance(entry, Directory) else files)[path.rpartition("/")[0]].append(path)
    missing: dict[str, Entry] = {}
    for parent in [*files, *directories]:
        path = parent
        while path not in entries and path not in missing:
            missing[path] = Directory(IMPLIED)
            directories[path.rpartition("/")[0]].append(path)
            path = path.rpartition("/")[0]
    directories[""] = [path for path in directories[""] if path]  # the root is in itself
    everything = {**entries, **missing} if missing else entries
    return Tree({path: everything[path] for path in _walk(files, directories)})


def _walk(files: Mapping[str, list[str]], directories: Mapping[str, list[str]]) -> Iterator[str]:
    pending = [""]
    while pending:
        path = pending.pop()
        yield path
        yield from _sorted(files.get(path, []))
        pending += reversed(_sorted(directories.get(path, [])))


def _sorted(paths: list[str]) -> list[str]:
    """By name as bytes."""
    return sorted(paths) if all(map(str.isascii, paths)) else sorted(paths, key=os.fsencode)


def without(view: TreeView, dropped: Mapping[str, str]) -> Fitted:
    """The tree without those paths; `dropped`: path -> why."""
    if not dropped:
        return Fitted(view, [])
    entries = {path: entry for path, entry in view.entries.items() if path not in dropped}
    special = {path: entry for path, entry in view.special.items() if path not in dropped}
    return Fitted(
        replace(view, entries=entries, special=special),
        [Change(path, f"dropped: {why}") for path, why in dropped.items()],
    )
