"""What of a tree is left out: paths and globs, each with all that is below what it matches.

Each must match something: one that matches nothing is most likely misspelt, and what it should keep out would be in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ostrata.codecs.globs import WILD, compile_glob
from ostrata.errors import MalformedError, NotFoundError, UnsupportedError, escape, some_of

_SHOWN = 10


class Exclusions:
    """Patterns as the user writes them, with or without a leading slash. Asked with ``path in exclusions``.

    Ask for a directory before what is in it, and not for what is in one that matches. Raises: MalformedError for a
    pattern that is none, UnsupportedError for one that leaves nothing.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._unused: dict[str, None] = {}
        self._paths: dict[str, str] = {}
        self._globs: list[tuple[str, re.Pattern[str]]] = []
        for pattern in patterns:
            self._add(pattern)

    def __contains__(self, path: object) -> bool:
        if not (self._paths or self._globs) or not isinstance(path, str):
            return False
        found = [pattern for pattern, regex in self._globs if regex.match(path)]
        if path in self._paths:
            found.append(self._paths[path])
        for pattern in found:
            self._unused.pop(pattern, None)
        return bool(found)

    def check_used(self) -> None:
        """Raises: NotFoundError for patterns that matched nothing."""
        if self._unused:
            shown = some_of([f"'{escape(pattern)}'" for pattern in self._unused], _SHOWN)
            raise NotFoundError(f"nothing in the source matches what is to be excluded: {shown}")

    def _add(self, pattern: str) -> None:
        path = pattern.strip("/")
        if not path or path == "**":
            raise UnsupportedError(f"excluding '{escape(pattern)}' would leave nothing")
        if any(name in ("", ".", "..") for name in path.split("/")):
            raise MalformedError(f"expected a path within the tree to exclude, found '{escape(pattern)}'")
        self._unused[pattern] = None
        if WILD.search(path):
            self._globs.append((pattern, compile_glob(path)))
        else:
            self._paths[path] = pattern
