"""What the user says about components: rules from paths and packages to names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Syntax = Literal["glob", "fnmatch", "package"]
"""How a pattern is meant: a path, `*` not crossing a slash; a path, `*` crossing it; the name of a package."""


@dataclass(frozen=True, slots=True)
class MapRule:
    """What matches `pattern` belongs to the component `component`.

    `interval` are the days between updates; `exclusive` is the name of a layer for such components alone. `place` says
    where the rule stands, for people.
    """

    pattern: str
    component: str
    syntax: Syntax = "glob"
    interval: float | None = None
    exclusive: str | None = None
    place: str = ""


@dataclass(frozen=True, slots=True)
class ComponentMap:
    """Rules in the order in which they count: of several that match, the last one does."""

    rules: tuple[MapRule, ...] = ()
