"""apk's database of installed packages, in usr/lib/apk/db or lib/apk/db.

It has the day of each package's build, and no changelog.
"""

from __future__ import annotations

from dataclasses import dataclass

from ostrata.codecs import apk
from ostrata.codecs.apk import ApkPackage
from ostrata.errors import escape, within
from ostrata.model.package import Package
from ostrata.packages.dates import day_of
from ostrata.packages.tree_files import TreeFiles
from ostrata.protocols import Source

PLACES = ("lib/apk/db/installed", "usr/lib/apk/db/installed")
MAX_DATABASE = 256 << 20


@dataclass(frozen=True, slots=True)
class ApkDatabase:
    """Reads the packages of an apk database."""

    name: str = "apk"

    def read(self, source: Source, *, jobs: int = 1) -> list[Package] | None:
        """As `protocols.PackageDatabase`."""
        files = TreeFiles(source)
        place = next((found for found in map(files.find, PLACES) if found is not None), None)
        if place is None:
            return None
        with within(f"/{escape(place)}"):
            installed = apk.decode(files.read(place, MAX_DATABASE))
        return sorted((_package(found, files) for found in installed), key=lambda package: package.name)


def _package(found: ApkPackage, files: TreeFiles) -> Package:
    places = dict(zip(found.paths, files.locate_all(found.paths), strict=True))
    return Package(
        name=found.name,
        version=found.version,
        arch=found.arch,
        source=found.source,
        paths=tuple(dict.fromkeys(places.values())),
        built=day_of(found.built),
        digests={places[path]: digest for path, digest in found.digests.items()},
        size=found.size,
    )
