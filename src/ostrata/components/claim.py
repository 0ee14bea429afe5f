"""Claims: who says that a path belongs to which component, and by which rule.

Rules, the strongest first; the first that claims a path has it:

| rule        | a path is claimed because                                                              |
|-------------|----------------------------------------------------------------------------------------|
| map         | a rule of the map file matches it; the last one that does                              |
| attribute   | it, or the nearest directory above that has one, has the attribute `user.component`    |
| package     | a package lists it, and brings its content                                             |
| database    | it tells of one package in the package database                                        |
| volatile    | every build writes it anew: initramfs, package databases, caches                       |
| ghost       | a package lists it and does not bring its content                                      |
| moved       | its content is what a package's missing file should have                               |
| compiled    | it was compiled from a file beside it                                                  |
| beside      | all that is claimed around it is of one component                                      |
| big         | it is large, and nobody's                                                              |
| directory   | nobody's, and no packages are known: the directory it lies in                          |
| unclaimed   | nobody's                                                                               |

Directories are not claimed: each layer has those that its files need.
"""

from __future__ import annotations

from dataclasses import dataclass

ASKED = ("map", "attribute")
"""The rules by which users say where a path belongs."""

RULES = (
    "map",
    "attribute",
    "package",
    "database",
    "volatile",
    "ghost",
    "moved",
    "compiled",
    "beside",
    "big",
    "directory",
    "unclaimed",
)
STRENGTH = {rule: strength for strength, rule in enumerate(RULES)}
"""0 for the strongest."""

COVERED = frozenset(RULES[: RULES.index("big")])
"""The rules that know where a path comes from: what they claim counts as covered."""


@dataclass(frozen=True, slots=True)
class Claim:
    """`why` is for people: what is behind the rule. `interval` and `exclusive` as in `Component`."""

    component: str
    rule: str
    why: str
    interval: float | None = None
    exclusive: str | None = None
