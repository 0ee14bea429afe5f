"""Every path of a tree claimed once: the rules of `claim` in their order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ostrata.components.attribute_claims import attribute_claims
from ostrata.components.beside import Surroundings, compiled_from
from ostrata.components.claim import ASKED, Claim
from ostrata.components.map_claims import MapClaims
from ostrata.components.moved import moved_files, why_moved
from ostrata.components.package_claims import PackageClaims, all_packages, claim_packages, owners, package_claim
from ostrata.components.unclaimed import big_claim, rest_claim
from ostrata.components.volatile import volatile_claim
from ostrata.errors import escape
from ostrata.model.component_map import ComponentMap, MapRule
from ostrata.model.package import Package
from ostrata.model.tree import Directory
from ostrata.protocols import Source

NO_MAP = ComponentMap()


@dataclass(frozen=True, slots=True)
class Claims:
    """Path -> claim for all paths but directories, in the tree's order.

    `owners` are the packages that bring paths which users send elsewhere; `unused` are rules of the map that match
    nothing; `notes` say, in words, what could not be used.
    """

    by_path: Mapping[str, Claim]
    owners: Mapping[str, Package] = field(default_factory=dict)
    unused: tuple[MapRule, ...] = ()
    notes: tuple[str, ...] = ()


def claim_paths(
    source: Source,
    databases: Mapping[str, Sequence[Package]],
    component_map: ComponentMap = NO_MAP,
    *,
    by_package: bool = False,
    locate: Callable[[str], str] = str,
) -> Claims:
    """Claim every path of the tree; `databases` are its packages by the database they are from.

    `locate` tells where in the tree a path lies that the map names as the running system does.

    Raises: MalformedError for a pattern of the map that is none; what opening files raises.
    """
    entries = source.tree.entries
    paths = [path for path, entry in entries.items() if not isinstance(entry, Directory)]
    packages = claim_packages(databases, by_package=by_package)
    asked = MapClaims(component_map, list(all_packages(databases)), locate)
    attributes = attribute_claims(entries)
    owned = packages.owned
    found: dict[str, Claim | None] = {path: owned.get(path) for path in paths}
    found |= attributes.claims
    found |= asked.claims(paths)
    _claim_weakly(source, found, packages, databases, by_package)
    by_path = {path: claim for path, claim in found.items() if claim is not None}
    sent_elsewhere = {path for path, claim in by_path.items() if claim.rule in ASKED}
    return Claims(by_path, owners(databases, sent_elsewhere), tuple(asked.unused()), attributes.notes)


def _claim_weakly(
    source: Source,
    found: dict[str, Claim | None],
    packages: PackageClaims,
    databases: Mapping[str, Sequence[Package]],
    by_package: bool,
) -> None:
    """Give every path in `found` that has none a claim, by the weaker rules in their order."""
    left = [path for path, claim in found.items() if claim is None]
    surroundings = Surroundings((path, claim) for path, claim in found.items() if claim and claim.rule == "package")
    for path in left:
        found[path] = _database_claim(packages, path, by_package) or volatile_claim(path) or packages.ghosts.get(path)
    left = [path for path in left if found[path] is None]
    listed = sorted(all_packages(databases), key=lambda package: (package.name, package.version, package.arch))
    for path, (package, missing) in moved_files(source, left, listed).items():
        found[path] = package_claim(package, "moved", why_moved(package, missing), by_package)
    for path in left:
        if found[path] is None:
            found[path] = (
                _compiled_claim(found, path)
                or surroundings.claim(path)
                or big_claim(path, source.tree.entries[path])
                or rest_claim(path, by_directory=not listed)
            )


def _database_claim(packages: PackageClaims, path: str, by_package: bool) -> Claim | None:
    package = packages.database(path)
    if package is None:
        return None
    return package_claim(package, "database", f"it tells of the package {escape(package.name)} alone", by_package)


def _compiled_claim(found: Mapping[str, Claim | None], path: str) -> Claim | None:
    origin = compiled_from(path)
    claim = None if origin is None else found.get(origin)
    if origin is None or claim is None:
        return None
    return Claim(claim.component, "compiled", f"it comes from /{escape(origin)}", claim.interval, claim.exclusive)
