"""A package that is installed in a tree, as its database tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date


@dataclass(frozen=True, slots=True)
class Package:
    """A binary package.

    `version` is written as the packaging system writes it (epoch and release included), `source` is the name of the
    source package it was built from, without a version (the package's own name where the database has no other).
    `paths` are tree paths (relative, surrogateescape) in the database's order, each once; where the tree reaches one
    through symlinked directories, its real place. They need not be in the tree. `digests` is what the database says
    about the content of some of them, at least of those that are not in the tree: path -> (algorithm, lower-case hex).
    `ghosts` are the paths whose content the package does not bring: the database lists them, and something else writes
    them. `changed` are the days on which the source changed, ascending and unique, from its changelog; `built` is the
    day of the build, None where nobody says. `size` is the installed size in bytes that the database states.
    `dropped_dates` counts what should have been dates of the changelog and is not; `notes` say, in words, what else of
    the database could not be used.
    """

    name: str
    version: str
    arch: str
    source: str
    paths: tuple[str, ...]
    changed: tuple[date, ...] = ()
    built: date | None = None
    digests: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    size: int | None = None
    ghosts: frozenset[str] = frozenset()
    dropped_dates: int = 0
    notes: tuple[str, ...] = ()
