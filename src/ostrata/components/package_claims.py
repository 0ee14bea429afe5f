"""Claims of package databases.

A package claims what it lists. Where two list one path, the one that lists fewer paths has it (a package that lists
everything would otherwise leave nothing to the others), then the first by name, version, architecture.

The components of packages are their sources: binary packages of one source change together. `by_package` makes each
package a component of its own.

A few files of the databases themselves tell of one package alone and change with it: they belong to it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ostrata.components.claim import Claim
from ostrata.components.names import component_name
from ostrata.errors import escape
from ostrata.model.package import Package

_DPKG = re.compile(
    r"(?:var/lib|usr/lib/sysimage)/dpkg/(?:info/([^/:]+)(?::[^/.]+)?\.[^/.]+|status\.d/([^/.]+)(?:\.[^/]+)?)"
)
_ALPM = re.compile(r"(?:var/lib|usr/lib/sysimage/lib)/pacman/local/([^/]+)-[^/-]+-[^/-]+/(?:files|mtree|install)")


@dataclass(frozen=True, slots=True)
class PackageClaims:
    """`owned` and `ghosts`: path -> the claim of the package that brings it, or that lists it without content.

    `by_name`: the package of that name.
    """

    owned: Mapping[str, Claim]
    ghosts: Mapping[str, Claim]
    by_name: Mapping[str, Package]

    def database(self, path: str) -> Package | None:
        """The package that a database's own file tells of."""
        match = _DPKG.fullmatch(path) or _ALPM.fullmatch(path)
        return None if match is None else self.by_name.get(next(filter(None, match.groups()), ""))


def claim_packages(databases: Mapping[str, Sequence[Package]], *, by_package: bool = False) -> PackageClaims:
    """The claims of the packages in `databases`, by the names of these."""
    listed = _by_precedence(databases)
    owned: dict[str, Claim] = {}
    ghosts: dict[str, Claim] = {}
    for database, package in reversed(listed):  # the one that counts comes last
        why = f"the {database} package {escape(package.name)} {escape(package.version)} lists it"
        claim = package_claim(package, "package", why, by_package)
        if package.ghosts:
            ghost = package_claim(package, "ghost", f"{why} without content", by_package)
            ghosts.update(dict.fromkeys(package.ghosts, ghost))
            owned.update(dict.fromkeys((path for path in package.paths if path not in package.ghosts), claim))
        else:
            owned.update(dict.fromkeys(package.paths, claim))
    by_name = {package.name: package for _, package in reversed(listed)}
    return PackageClaims(owned, ghosts, by_name)


def owners(databases: Mapping[str, Sequence[Package]], paths: Collection[str]) -> dict[str, Package]:
    """The packages that bring those of `paths` that any brings."""
    found: dict[str, Package] = {}
    for _, package in reversed(_by_precedence(databases)) if paths else ():
        found.update((path, package) for path in package.paths if path in paths and path not in package.ghosts)
    return found


def _by_precedence(databases: Mapping[str, Sequence[Package]]) -> list[tuple[str, Package]]:
    """(database, package), the one whose claim counts first."""
    listed = [(name, package) for name, packages in databases.items() for package in packages]
    return sorted(listed, key=lambda item: (len(item[1].paths), item[1].name, item[1].version, item[1].arch, item[0]))


def package_claim(package: Package, rule: str, why: str, by_package: bool = False) -> Claim:
    """A claim for the component of `package`."""
    return Claim(component_of(package, by_package), rule, why)


def component_of(package: Package, by_package: bool = False) -> str:
    """The name of the component that the package is in."""
    return component_name(package.name if by_package else package.source or package.name) or "unnamed"


def all_packages(databases: Mapping[str, Sequence[Package]]) -> Iterable[Package]:
    """Those of all databases."""
    return (package for packages in databases.values() for package in packages)
