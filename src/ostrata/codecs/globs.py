"""Globs for paths: ``*`` and ``?`` stay within a name, ``**`` goes across them, ``[...]`` is one character of some.

A pattern also matches everything below a directory that it matches.
"""

from __future__ import annotations

import re

from ostrata.errors import MalformedError, escape

WILD = re.compile(r"[*?\[]")
"""What makes a path a pattern."""


def compile_glob(pattern: str) -> re.Pattern[str]:
    """The pattern as a regular expression for `match`. Raises: MalformedError."""
    try:
        return re.compile(_translate(pattern), re.DOTALL)
    except re.error:
        raise MalformedError(f"not a pattern: '{escape(pattern)}'") from None


def _translate(pattern: str) -> str:
    parts: list[str] = []
    position = 0
    while position < len(pattern):
        if pattern.startswith("**/", position):
            parts.append("(?:.*/)?")
            position += 3
        elif pattern.startswith("**", position):
            parts.append(".*")
            position += 2
        else:
            part, position = _translate_one(pattern, position)
            parts.append(part)
    return f"{''.join(parts)}(?:/.*)?\\Z"


def _translate_one(pattern: str, position: int) -> tuple[str, int]:
    character = pattern[position]
    if character == "*":
        return "[^/]*", position + 1
    if character == "?":
        return "[^/]", position + 1
    if character == "[":
        end = pattern.find("]", position + 2 + (pattern[position + 1 : position + 2] in "!^"))
        if end > 0:
            inside = pattern[position + 1 : end]
            negated = inside[0] in "!^"
            safe = re.sub(r"([\\\[\]&~|^])", r"\\\1", inside[negated:])
            return f"(?!/)[{'^' if negated else ''}{safe}]", end + 1
    return re.escape(character), position + 1
