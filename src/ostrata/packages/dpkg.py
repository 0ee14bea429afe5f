"""dpkg's database: var/lib/dpkg, or usr/lib/sysimage/dpkg where /var is not part of the image.

`status` names the packages, what a killed dpkg has left in `updates` replaces its paragraphs,
`info` has the lists of their files. Images without dpkg (distroless ones) have a file for each package in `status.d`
instead, and its MD5 sums tell the files; elsewhere the sums are read only where the tree lacks what a list names. Paths
go through the diversions first, then through the tree's symlinks.

The days of changes come from the changelog in /usr/share/doc. Binary packages of one source have the same one, so
it is read once; a rebuild without a change of the source (binNMU) has a changelog of its own beside it. A changelog
that is damaged or missing is a note, not an error: dpkg does not know these files either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TypeVar

from ostrata.codecs import debian_changelog, dpkg
from ostrata.codecs.dpkg import Diversion, Paragraph
from ostrata.codecs.gzip import decompress_head
from ostrata.errors import LimitError, OstrataError, escape, within
from ostrata.model.package import Package
from ostrata.packages.tree_files import TreeFiles
from ostrata.parallel import aside
from ostrata.protocols import Source

Value = TypeVar("Value")

DIRECTORIES = ("var/lib/dpkg", "usr/lib/sysimage/dpkg")
DOCUMENTATION = "usr/share/doc"
MAX_STATUS = 64 << 20
MAX_LIST = 64 << 20
MAX_CHANGELOG = 32 << 20
"""Bytes of a changelog, plain; of a longer one the head is read, which has the newest entries."""
MAX_CHANGELOGS = 1 << 30
"""Bytes of all changelogs, plain."""

_CHANGELOGS = ("changelog.Debian.gz", "changelog.Debian", "changelog.gz", "changelog")


@dataclass(frozen=True, slots=True)
class DpkgDatabase:
    """Reads the packages of a dpkg database: those that have files in the tree."""

    name: str = "dpkg"

    def read(self, source: Source, *, jobs: int = 1) -> list[Package] | None:
        """As `protocols.PackageDatabase`."""
        files = TreeFiles(source)
        for directory in DIRECTORIES:
            database = _Database(files, directory)
            if database.is_there:
                return sorted(database.packages(jobs), key=lambda package: (package.name, package.arch))
        return None


class _Database:
    """The database in `directory`."""

    def __init__(self, files: TreeFiles, directory: str) -> None:
        self._files = files
        self._directory = directory
        self._status = f"{directory}/status"
        names = files.names_in(f"{directory}/status.d")
        self._parts = [f"{directory}/status.d/{name}" for name in names if not name.endswith((".md5sums", ".list"))]

    @property
    def is_there(self) -> bool:
        return self._files.find(self._status) is not None or bool(self._parts)

    def packages(self, jobs: int) -> list[Package]:
        listed = self._paragraphs()
        paragraphs = [paragraph for paragraph, _ in listed]
        with aside(_Changelogs(self._files).read, paragraphs, jobs=jobs, by_fork=True) as read_changes:
            diversions = self._diversions()
            packages = [self._package(paragraph, base, diversions) for paragraph, base in listed]
            changes = read_changes()
        return [
            _with_changes(package, changes.get(_source_of(paragraph)))
            for package, paragraph in zip(packages, paragraphs, strict=True)
        ]

    def _paragraphs(self) -> list[tuple[Paragraph, str]]:
        """The packages that are there, and what the names of their files begin with."""
        found = {}
        for paragraph in self._status_paragraphs():
            found[paragraph.name, paragraph.arch] = (paragraph, self._base(paragraph))
        for path in self._parts:
            for paragraph in self._decode(path, dpkg.decode_status, MAX_STATUS):
                there = paragraph if paragraph.state else replace(paragraph, state="installed")
                found.setdefault((paragraph.name, paragraph.arch), (there, path))
        return [pair for pair in found.values() if pair[0].is_there]

    def _status_paragraphs(self) -> Iterator[Paragraph]:
        if self._files.find(self._status):
            yield from self._decode(self._status, dpkg.decode_status, MAX_STATUS)
            for name in self._files.names_in(f"{self._directory}/updates"):
                if name.isdigit():
                    yield from self._decode(f"{self._directory}/updates/{name}", dpkg.decode_status, MAX_STATUS)

    def _base(self, paragraph: Paragraph) -> str:
        base = f"{self._directory}/info/{paragraph.name}"
        with_arch = f"{base}:{paragraph.arch}"
        return with_arch if self._files.find(f"{with_arch}.list") else base

    def _diversions(self) -> dict[str, Diversion]:
        path = f"{self._directory}/diversions"
        if self._files.find(path) is None:
            return {}
        return {diversion.path: diversion for diversion in self._decode(path, dpkg.decode_diversions, MAX_STATUS)}

    def _package(self, paragraph: Paragraph, base: str, diversions: Mapping[str, Diversion]) -> Package:
        """The package without its changes."""
        notes: list[str] = []
        listed = self._listed(base, notes)
        real = listed if diversions.keys().isdisjoint(listed) else _diverted(listed, paragraph.name, diversions)
        places = self._files.locate_all(real)
        digests: dict[str, tuple[str, str]] = {}
        if self._files.misses_any(places):
            by_name = dict(zip(listed, places, strict=True))
            known = [*self._sums(base, notes), *paragraph.conffiles]
            digests = {by_name[path]: ("md5", value) for path, value in known if path in by_name}
        return Package(
            name=paragraph.name,
            version=paragraph.version,
            arch=paragraph.arch,
            source=paragraph.source,
            paths=tuple(dict.fromkeys(places)),
            digests=digests,
            size=paragraph.size,
            notes=tuple(notes),
        )

    def _sums(self, base: str, notes: list[str]) -> list[tuple[str, str]]:
        path = f"{base}.md5sums"
        if self._files.find(path) is None:
            return []
        try:
            return [(f"/{name}", value) for value, name in self._decode(path, dpkg.decode_md5sums, MAX_LIST)]
        except OstrataError:
            notes.append("its MD5 sums cannot be read")
            return []

    def _listed(self, base: str, notes: list[str]) -> Sequence[str]:
        """The paths as they are written."""
        path = f"{base}.list"
        if self._files.find(path):
            return self._decode(path, dpkg.decode_paths, MAX_LIST)
        names = [name for name, _ in self._sums(base, notes)]
        if not names:
            notes.append("its list of files is missing")
        return names

    def _decode(self, path: str, decode: Callable[[bytes], list[Value]], limit: int) -> list[Value]:
        with within(f"/{escape(path)}"):
            return decode(self._files.read(path, limit))


def _diverted(paths: Sequence[str], package: str, diversions: Mapping[str, Diversion]) -> list[str]:
    """Where the paths of the package lie, diversions taken into account."""
    own = {path for path in paths if path in diversions and diversions[path].package == package}
    return [diversions[path].place if path in diversions and path not in own else path for path in paths]


@dataclass(frozen=True, slots=True)
class _Changes:
    """What the changelog of a source says."""

    days: tuple[date, ...] = ()
    dropped: int = 0
    notes: tuple[str, ...] = ()


def _with_changes(package: Package, changes: _Changes | None) -> Package:
    if changes is None:
        return package
    notes = (*changes.notes, *package.notes)
    return replace(package, changed=changes.days, dropped_dates=changes.dropped, notes=notes)


_SourceVersion = tuple[str, str]


def _source_of(paragraph: Paragraph) -> _SourceVersion:
    return paragraph.source, paragraph.source_version


class _Changelogs:
    """The changelogs in a tree."""

    def __init__(self, files: TreeFiles) -> None:
        self._files = files
        self._left = MAX_CHANGELOGS

    def read(self, paragraphs: Sequence[Paragraph]) -> dict[_SourceVersion, _Changes]:
        """The changes of every source, from the first of its packages that has a changelog."""
        found: dict[_SourceVersion, _Changes] = {}
        for paragraph in paragraphs:
            source = _source_of(paragraph)
            if source not in found or not found[source].days:
                changes = self._changes(f"{DOCUMENTATION}/{paragraph.name}", paragraph.arch)
                if changes is not None:
                    found[source] = changes
        return found

    def _changes(self, directory: str, arch: str) -> _Changes | None:
        """None without a changelog."""
        path = next(filter(self._files.find, (f"{directory}/{name}" for name in _CHANGELOGS)), None)
        if path is None:
            return None
        rebuilds = f"{directory}/changelog.Debian.{arch}.gz"
        try:
            texts = [self._text(path)] + ([self._text(rebuilds)] if self._files.find(rebuilds) else [])
        except OstrataError:
            return _Changes(notes=("its changelog cannot be read",))
        days, dropped = debian_changelog.decode_days(b"\n".join(texts))
        return _Changes(days, dropped if days else 0)  # without a day it is the changelog of something else

    def _text(self, path: str) -> bytes:
        data = self._files.read(path, MAX_CHANGELOG)
        if self._left <= 0:
            raise LimitError(f"expected at most {MAX_CHANGELOGS:,} bytes of changelogs, found more")
        text = decompress_head(data, MAX_CHANGELOG) if path.endswith(".gz") else data
        self._left -= len(text)
        return text
