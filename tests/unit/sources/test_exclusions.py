"""What is left out of a tree."""

from __future__ import annotations

import pytest

from ostrata.errors import MalformedError, NotFoundError, UnsupportedError
from ostrata.sources.exclusions import Exclusions


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("usr/a b", ["usr/a b"], ["usr/a", "usr/a b c", "a b"]),
        ("/usr/", ["usr"], ["usr2"]),
        ("*.pyc", ["a.pyc"], ["usr/a.pyc"]),
        ("**/*.pyc", ["a.pyc", "usr/lib/a.pyc"], ["usr/a.py"]),
        ("usr/[ab]?", ["usr/ax", "usr/bž"], ["usr/cx", "usr/a/", "usr/a"]),
        ("var/**", ["var/a", "var/a/b"], ["var", "variable"]),
    ],
)
def test_a_pattern_matches_paths_whole(pattern: str, inside: list[str], outside: list[str]) -> None:
    exclusions = Exclusions([pattern])
    assert [path for path in inside + outside if path in exclusions] == inside
    exclusions.check_used()


def test_without_patterns_nothing_is_left_out() -> None:
    assert "a" not in Exclusions()
    Exclusions().check_used()


def test_what_matched_nothing_is_listed() -> None:
    exclusions = Exclusions(["a", "/b\n", "*.c"])
    assert "a" in exclusions
    with pytest.raises(NotFoundError, match=r"excluded: '/b\\n', '\*\.c'$"):
        exclusions.check_used()


@pytest.mark.parametrize("pattern", ["", "/", "//", "**", "a//b", "..", "a/./b"])
def test_a_pattern_that_is_none_or_leaves_nothing_is_refused(pattern: str) -> None:
    with pytest.raises((MalformedError, UnsupportedError)):
        Exclusions([pattern])


def test_a_glob_that_is_none_is_refused() -> None:
    with pytest.raises(MalformedError, match="not a pattern"):
        Exclusions(["[z-a]"])
