"""All package databases of a tree: several at once are read, and one that cannot be read does not hide the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ostrata.errors import OstrataError, escape
from ostrata.model.package import Package
from ostrata.packages.alpm import AlpmDatabase
from ostrata.packages.apk import ApkDatabase
from ostrata.packages.dpkg import DpkgDatabase
from ostrata.packages.rpm import RpmDatabase
from ostrata.protocols import PackageDatabase, Source

DATABASES: Mapping[str, PackageDatabase] = {
    database.name: database for database in (RpmDatabase(), DpkgDatabase(), AlpmDatabase(), ApkDatabase())
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a database, in one line that names it. `error` is there when it could not be read at all."""

    database: str
    what: str
    error: OstrataError | None = None


def read_packages(
    source: Source, databases: Mapping[str, PackageDatabase] = DATABASES, *, jobs: int = 1
) -> tuple[dict[str, list[Package]], list[Finding]]:
    """The packages by database, of those databases that the tree has and that can be read; and what is wrong.

    Raises nothing for a database that cannot be read: who needs it raises the `error` of its finding.
    """
    packages: dict[str, list[Package]] = {}
    findings: list[Finding] = []
    for name, database in databases.items():
        try:
            found = database.read(source, jobs=jobs)
        except OstrataError as error:
            findings.append(Finding(name, f"the {name} database cannot be read: {_in_a_line(error)}", error))
            continue
        if found is not None:
            packages[name] = found
            findings += [Finding(name, f"the {name} database: {what}") for what in _doubts(found)]
    return packages, findings


def _in_a_line(error: OstrataError) -> str:
    """What an error says, and the way out."""
    return "; ".join(str(error).splitlines())


def _doubts(packages: Sequence[Package]) -> Iterator[str]:
    if not packages:
        yield "it has no packages"
    dropped = [package for package in packages if package.dropped_dates]
    if dropped:
        count = sum(package.dropped_dates for package in dropped)
        yield f"dates in changelogs that cannot be read: {count}, {_of(len(dropped), dropped[0])}"
    for note, count in Counter(note for package in packages for note in package.notes).items():
        first = next(package for package in packages if note in package.notes)
        yield f"{note}, {_of(count, first)}"


def _of(count: int, first: Package) -> str:
    name = escape(first.name)
    return f"in the package {name}" if count == 1 else f"in {count} packages ({name} and others)"
