"""Files that nobody claims, and whose surroundings tell whose they are.

*Compiled* files are named after what they come from: ``__pycache__/module.cpython-311.pyc`` from ``module.py``.

*Beside*: all claimed files of the nearest directory that has any, in itself or below, are of one component. In /etc
and /var that proves nothing: the system writes there what it likes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ostrata.components.claim import Claim
from ostrata.errors import escape

_COMPILED = (
    (re.compile(r"(.*/|)__pycache__/([^/.]+)\.[^/]*\.pyc", re.DOTALL), r"\1\2.py"),
    (re.compile(r"(.*/|)([^/]+)\.py[co]", re.DOTALL), r"\1\2.py"),
    (re.compile(r"(.*/|)([^/]+)\.elc", re.DOTALL), r"\1\2.el"),
)
_STATE = ("var/", "etc/", "usr/etc/", "run/", "tmp/")
_DEPTH = 2  # slashes in the shortest directory that can tell: usr/lib/x can, usr/lib cannot
_MANY = ""


def compiled_from(path: str) -> str | None:
    """The path of the file that a compiled one comes from; None for others."""
    if not path.endswith(("c", "o")):
        return None
    for pattern, replacement in _COMPILED:
        match = pattern.fullmatch(path)
        if match is not None:
            return match.expand(replacement)
    return None


class Surroundings:
    """Which component is around, from the claimed paths."""

    def __init__(self, claims: Iterable[tuple[str, Claim]]) -> None:
        self._components = _components_by_directory(claims)

    def claim(self, path: str) -> Claim | None:
        """The claim of what is around `path`; None where nothing or too much is."""
        if path.startswith(_STATE):
            return None
        directory = path.rpartition("/")[0]
        while directory.count("/") >= _DEPTH:
            component = self._components.get(directory)
            if component is not None:
                why = f"all that is claimed in /{escape(directory)} is of this component"
                return None if component == _MANY else Claim(component, "beside", why)
            directory = directory.rpartition("/")[0]
        return None


def _components_by_directory(claims: Iterable[tuple[str, Claim]]) -> Mapping[str, str]:
    """Directory -> the one component of all that is in it, or _MANY."""
    found: dict[str, str] = {}
    for path, claim in claims:
        directory = path.rpartition("/")[0]
        if found.setdefault(directory, claim.component) != claim.component:
            found[directory] = _MANY
    for directory in sorted(found, key=len, reverse=True):
        component, above = found[directory], directory.rpartition("/")[0]
        while above and found.get(above) != _MANY:
            if found.setdefault(above, component) != component:
                found[above] = _MANY
            above = above.rpartition("/")[0]
    return found
