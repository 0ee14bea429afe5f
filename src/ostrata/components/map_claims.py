"""Claims of a map file: its rules against the tree's paths and packages.

The last rule that matches counts. A rule for packages stands for the paths that these list. Rules are looked up by the
directories that they begin with, so that a path meets those alone that can match it. These directories are the
running system's: /etc may be usr/etc in the tree, and /lib a symlink to usr/lib.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import translate

from ostrata.codecs.globs import WILD, compile_glob
from ostrata.components.claim import Claim
from ostrata.components.names import component_name
from ostrata.errors import MalformedError, escape
from ostrata.model.component_map import ComponentMap, MapRule
from ostrata.model.package import Package

_Found = tuple[int, Claim]


class MapClaims:
    """What the rules claim; `locate` tells where a path of the running system lies in the tree.

    Raises: MalformedError for a pattern that is none.
    """

    def __init__(
        self, component_map: ComponentMap, packages: Sequence[Package], locate: Callable[[str], str] = str
    ) -> None:
        self._rules = component_map.rules
        self._claims = [_claim(rule) for rule in self._rules]
        self._locate = locate
        self._used: set[int] = set()
        self._literal: dict[str, int] = {}
        self._wild: dict[str, list[tuple[int, re.Pattern[str]]]] = {}
        for number, rule in enumerate(self._rules):
            if rule.syntax != "package":
                self._add(number, rule)
        self._packaged = self._package_rules(packages)

    def claims(self, paths: Iterable[str]) -> dict[str, Claim]:
        """The claimed ones of `paths`."""
        found: dict[str, Claim] = {}
        if self._literal or self._wild or self._packaged:
            in_directory: dict[str, tuple[int, list[tuple[int, re.Pattern[str]]]]] = {}
            for path in paths:
                directory = path.rpartition("/")[0]
                if directory not in in_directory:
                    in_directory[directory] = self._for_directory(directory)
                number = self._match(path, *in_directory[directory])
                if number >= 0:
                    self._used.add(number)
                    found[path] = self._claims[number]
        return found

    def unused(self) -> list[MapRule]:
        """The rules that matched no path, of those that stand in the file."""
        return [rule for number, rule in enumerate(self._rules) if number not in self._used and rule.place]

    def _add(self, number: int, rule: MapRule) -> None:
        pattern = _placed(rule.pattern.rstrip("/"), self._locate)
        wild = WILD.search(pattern)
        if wild is None:
            self._literal[pattern] = number
            return
        try:
            regex = re.compile(translate(pattern), re.DOTALL) if rule.syntax == "fnmatch" else compile_glob(pattern)
        except (re.error, MalformedError):
            raise MalformedError(f"not a pattern: '{escape(rule.pattern)}'", where=rule.place or None) from None
        start = pattern[: wild.start()].rpartition("/")[0]
        self._wild.setdefault(start, []).append((number, regex))

    def _package_rules(self, packages: Sequence[Package]) -> dict[str, int]:
        """Path -> the last rule for packages that matches."""
        rules = [(number, rule) for number, rule in enumerate(self._rules) if rule.syntax == "package"]
        matchers = [(number, re.compile(translate(rule.pattern)).match) for number, rule in rules]
        found: dict[str, int] = {}
        for package in packages if matchers else ():
            numbers = [number for number, match in matchers if match(package.name) or match(package.source)]
            if numbers:
                for path in package.paths:
                    found[path] = max(found.get(path, -1), numbers[-1])
        return found

    def _for_directory(self, directory: str) -> tuple[int, list[tuple[int, re.Pattern[str]]]]:
        """The last literal rule for the directory or one above it, and the patterns to try, the last one first."""
        literal, patterns = -1, list(self._wild.get("", ()))
        above = directory
        while above:
            literal = max(literal, self._literal.get(above, -1))
            patterns += self._wild.get(above, ())
            above = above.rpartition("/")[0]
        return literal, sorted(patterns, key=lambda item: -item[0])

    def _match(self, path: str, literal: int, patterns: Sequence[tuple[int, re.Pattern[str]]]) -> int:
        best = max(literal, self._literal.get(path, -1), self._packaged.get(path, -1))
        for number, regex in patterns:
            if number < best:
                break
            if regex.match(path):
                return number
        return best


def _placed(pattern: str, locate: Callable[[str], str]) -> str:
    """`pattern`, the directory that it begins with where that is in the tree."""
    wild = WILD.search(pattern)
    if wild is None:
        return locate(pattern)
    directory, slash, _ = pattern[: wild.start()].rpartition("/")
    place = locate(f"{directory}/_").removesuffix("_") if slash else ""
    return pattern if not slash or WILD.search(place) else place + pattern[len(directory) + 1 :]


def _claim(rule: MapRule) -> Claim:
    what = "the packages" if rule.syntax == "package" else "/" if rule.syntax == "glob" else "the pattern"
    shown = f"{what}{'' if what == '/' else ' '}{escape(rule.pattern)}"
    place = f", {rule.place}" if rule.place else ""
    return Claim(component_name(rule.component), "map", f"{shown}{place}", rule.interval, _exclusive(rule))


def _exclusive(rule: MapRule) -> str | None:
    return None if rule.exclusive is None else component_name(rule.exclusive)
