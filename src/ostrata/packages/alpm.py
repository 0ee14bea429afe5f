"""pacman's local database (alpm): var/lib/pacman, where etc/pacman.conf says, or below usr/lib/sysimage.

Of each package desc and files are read, and mtree for the digests of its files; one that is damaged is a note. pacman
keeps no changelog: packages have a day of their build, and no days of changes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ostrata.codecs import alpm
from ostrata.codecs.gzip import decompress_head
from ostrata.errors import MalformedError, OstrataError, escape, within
from ostrata.model.package import Package
from ostrata.packages.dates import day_of
from ostrata.packages.tree_files import TreeFiles
from ostrata.protocols import Source

DIRECTORIES = ("var/lib/pacman", "usr/lib/sysimage/lib/pacman", "usr/lib/sysimage/pacman")
CONFIGURATION = "etc/pacman.conf"
MAX_FILE = 64 << 20

_DB_PATH = re.compile(rb"^[ \t]*DBPath[ \t]*=[ \t]*(\S.*?)[ \t\r]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class AlpmDatabase:
    """Reads the packages of pacman's local database."""

    name: str = "alpm"

    def read(self, source: Source, *, jobs: int = 1) -> list[Package] | None:
        """As `protocols.PackageDatabase`."""
        files = TreeFiles(source)
        for directory in (*_configured(files), *DIRECTORIES):
            places = [f"{directory}/local/{name}" for name in files.names_in(f"{directory}/local")]
            if places:
                # What is a file is none of a package's: ALPM_DB_VERSION.
                packages = [_read_package(files, place) for place in places if files.find(place) is None]
                return sorted(packages, key=lambda package: package.name)
        return None


def _configured(files: TreeFiles) -> list[str]:
    if files.find(CONFIGURATION) is None:
        return []
    match = _DB_PATH.search(files.read(CONFIGURATION, MAX_FILE))
    return [match[1].decode("utf-8", "surrogateescape").strip("/")] if match else []


def _read_package(files: TreeFiles, directory: str) -> Package:
    with within(f"/{escape(directory)}"):
        desc = alpm.decode_fields(files.read(f"{directory}/desc", MAX_FILE))
        path = f"{directory}/files"
        # A package without files (a group of others) may have no such file.
        listed = alpm.decode_fields(files.read(path, MAX_FILE)) if files.find(path) else {}
        return _package(files, desc, listed, *_mtree(files, f"{directory}/mtree"))


def _mtree(files: TreeFiles, path: str) -> tuple[dict[str, tuple[str, str]], tuple[str, ...]]:
    """Digests, and notes."""
    if files.find(path) is None:
        return {}, ()
    try:
        return alpm.decode_mtree(decompress_head(files.read(path, MAX_FILE), MAX_FILE)), ()
    except OstrataError:
        return {}, ("its mtree file cannot be read",)


def _package(
    files: TreeFiles,
    desc: dict[str, list[str]],
    listed: dict[str, list[str]],
    digests: dict[str, tuple[str, str]],
    notes: tuple[str, ...],
) -> Package:
    name = _value(desc, "NAME")
    if not name:
        raise MalformedError("expected the name of a package (%NAME%), found none")
    paths = listed.get("FILES", [])
    places = dict(zip(paths, files.locate_all(path.removesuffix("/") for path in paths), strict=True))
    known = {**alpm.decode_backup(listed.get("BACKUP", [])), **digests}
    built = _number(_value(desc, "BUILDDATE"))
    return Package(
        name=name,
        version=_value(desc, "VERSION"),
        arch=_value(desc, "ARCH"),
        source=_value(desc, "BASE") or name,
        paths=tuple(dict.fromkeys(places.values())),
        built=day_of(built),
        digests={places[path]: digest for path, digest in known.items() if path in places},
        size=_number(_value(desc, "SIZE")),
        notes=notes,
    )


def _value(fields: dict[str, list[str]], key: str) -> str:
    """The first value of `key`, empty without one."""
    return next(iter(fields.get(key, ())), "")


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
