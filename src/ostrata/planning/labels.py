"""Labels from templates, in the words that rechunk's users know, and the version of the next image.

| tag                          | becomes                                                          |
|------------------------------|------------------------------------------------------------------|
| `<date>`, `<timestamp>`      | the time of the plan: 240517, 2024-05-17T12:00:00Z               |
| `<version>`, `<previous>`    | this image's version, and the previous one's                     |
| `<pretty>`                   | the text given for it                                            |
| `<version:PKG>`, `<relver:PKG>` | a package's version: 6.9.1, 6.9.1-200.fc40; never an epoch    |
| `<changelog>`                | the changelog's template, its own tags filled in                 |
| `<commits>`, `<pkgupd>`      | a line for each commit, for each package that changed            |
| `<imginfo>`                  | the label `dev.hhd.rechunk.info`                                 |

A template is read once from left to right: what a value holds is never read as a template. So nothing that comes from a
previous image, a package or a git history can ask for anything. Tags without a value stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ostrata.model.package import Package

DEFAULT_FORMATS: Mapping[str, str] = {
    "commits.none": "-\n",
    "commits.commit": "- **<short>** <subject>\n",
    "pkgupd.none": "-\n",
    "pkgupd.update": " - **<package>**: <old> → <new>\n",
    "pkgupd.add": " - **<package>**: x → <new>\n",
    "pkgupd.remove": " - **<package>**: <old> → x\n",
}
"""The lines of `<commits>` and `<pkgupd>`, which the user can replace."""

_TAG = re.compile(r"<([a-z]+(?::[^<>\s]+)?)>")
_EPOCH = re.compile(r"\d+:")
_NUMBERED = re.compile(r"\.(\d{1,9})")


@dataclass(frozen=True, slots=True)
class CommitLine:
    """A commit of the git history, for `<commits>`."""

    short: str
    full: str
    subject: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What tags become. `previous_versions`: package -> version and release in the previous image."""

    moment: datetime
    version: str | None = None
    previous: str | None = None
    pretty: str | None = None
    changelog: str | None = None
    image_info: str | None = None
    packages: Sequence[Package] = ()
    previous_versions: Mapping[str, str] = field(default_factory=dict)
    commits: Sequence[CommitLine] = ()
    formats: Mapping[str, str] = field(default_factory=lambda: DEFAULT_FORMATS)


class Filler:
    """Fills templates with facts; `unknown` collects the tags that had no value."""

    def __init__(self, facts: Facts) -> None:
        self.unknown: set[str] = set()
        self._facts = facts
        self._values = _values(facts)
        if facts.changelog is not None:
            template = facts.changelog.replace("<changelog>", "")
            self._values["changelog"] = self.fill(template)

    def fill(self, template: str) -> str:
        """`template` with its tags replaced."""
        return _TAG.sub(self._replace, template)

    def _replace(self, match: re.Match[str]) -> str:
        value = self._values.get(match[1])
        if value is None:
            self.unknown.add(match[0])
            return match[0]
        return value


def split_version(version: str) -> tuple[str, str]:
    """A package's version without its release, and with it; neither has an epoch."""
    with_release = _EPOCH.sub("", version, count=1) if _EPOCH.match(version) else version
    return with_release.rpartition("-")[0] or with_release, with_release


def package_versions(packages: Iterable[Package]) -> dict[str, str]:
    """Name -> version and release; of several packages of a name the first counts."""
    versions: dict[str, str] = {}
    for package in packages:
        versions.setdefault(package.name, split_version(package.version)[1])
    return versions


def next_version(wanted: str, previous: str | None, taken: Collection[str] = ()) -> str:
    """`wanted`, or with the first number behind it that no image has: 41, 41.1, 41.2.

    `previous` is the previous image's version, `taken` are others that exist.
    """
    known = {*taken, *([previous] if previous is not None else [])}
    numbers = [0] if wanted in known else []
    for version in known:
        if version.startswith(wanted):
            match = _NUMBERED.fullmatch(version.removeprefix(wanted))
            numbers += [int(match[1])] if match else []
    return f"{wanted}.{max(numbers) + 1}" if numbers else wanted


def format_date(moment: datetime) -> str:
    """`<date>`: two digits each of year, month, day."""
    return f"{moment.year % 100:02}{moment.month:02}{moment.day:02}"


def _values(facts: Facts) -> dict[str, str]:
    moment = facts.moment
    values = {
        "date": format_date(moment),
        "timestamp": moment.replace(microsecond=0, tzinfo=None).isoformat() + "Z",
        "commits": _commits(facts.commits, facts.formats),
        "pkgupd": _package_updates(facts),
    }
    named = {
        "version": facts.version,
        "previous": facts.previous,
        "pretty": facts.pretty,
        "imginfo": facts.image_info,
    }
    values |= {tag: value for tag, value in named.items() if value is not None}
    for package in reversed(facts.packages):
        version, with_release = split_version(package.version)
        values[f"version:{package.name}"] = version
        values[f"relver:{package.name}"] = with_release
    return values


def _commits(commits: Sequence[CommitLine], formats: Mapping[str, str]) -> str:
    lines = [
        _fill_line(formats["commits.commit"], {"short": commit.short, "subject": commit.subject, "hash": commit.full})
        for commit in commits
    ]
    return "".join(lines) or formats["commits.none"]


def _package_updates(facts: Facts) -> str:
    """Packages added, updated, removed, each by name; nothing when the previous ones are not known."""
    before, after = facts.previous_versions, package_versions(facts.packages)
    if not before or not after:
        return facts.formats["pkgupd.none"]
    added = sorted(after.keys() - before.keys())
    updated = sorted(name for name in after.keys() & before.keys() if after[name] != before[name])
    removed = sorted(before.keys() - after.keys())
    lines = [_update_line(facts, "add", name, new=split_version(after[name])[0]) for name in added]
    for name in updated:
        old, new = _shortest_difference(before[name], after[name])
        lines.append(_update_line(facts, "update", name, old=old, new=new))
    lines += [_update_line(facts, "remove", name, old=split_version(before[name])[0]) for name in removed]
    return "".join(lines) or facts.formats["pkgupd.none"]


def _update_line(facts: Facts, what: str, package: str, **versions: str) -> str:
    return _fill_line(facts.formats[f"pkgupd.{what}"], {"package": package, **versions})


def _shortest_difference(old: str, new: str) -> tuple[str, str]:
    """Both versions, without releases when that is enough to tell them apart."""
    short = split_version(old)[0], split_version(new)[0]
    return short if short[0] != short[1] else (old, new)


def _fill_line(template: str, values: Mapping[str, str]) -> str:
    return _TAG.sub(lambda match: values.get(match[1], match[0]), template)
