"""Claims of extended attributes: `user.component` of an entry, or of the nearest directory above that has it.

`user.update-interval`, on any of a component's entries, says how many days lie between its updates, as a number or a
word (see `codecs.component_map`). Values that are none, and contradictions, of which the smallest counts, are notes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ostrata.codecs.component_map import INTERVALS, parse_interval
from ostrata.components.claim import Claim
from ostrata.components.names import component_name
from ostrata.errors import escape
from ostrata.model.tree import Directory, Entry

COMPONENT = b"user.component"
INTERVAL = b"user.update-interval"


@dataclass(frozen=True, slots=True)
class AttributeClaims:
    """What the attributes claim, and what could not be used of them."""

    claims: Mapping[str, Claim]
    notes: tuple[str, ...]


def attribute_claims(entries: Mapping[str, Entry]) -> AttributeClaims:
    """The claims of `entries`, which have parents before what is in them."""
    marked = {path: entry for path, entry in entries.items() if entry.attributes.xattrs}
    notes: list[str] = []
    own = {path: name for path, entry in marked.items() if (name := _component(path, entry, notes)) is not None}
    if not own:
        return AttributeClaims({}, tuple(notes))
    inherited = _inherited(entries, own)
    intervals = _intervals(marked, inherited, notes)
    made: dict[tuple[str, str], Claim] = {}
    claims = {}
    for path, (name, origin) in inherited.items():
        if not isinstance(entries[path], Directory):
            if (name, origin) not in made:
                why = f"{COMPONENT.decode()} of /{escape(origin)}"
                made[name, origin] = Claim(name, "attribute", why, intervals.get(name))
            claims[path] = made[name, origin]
    return AttributeClaims(claims, tuple(notes))


def _component(path: str, entry: Entry, notes: list[str]) -> str | None:
    value = dict(entry.attributes.xattrs).get(COMPONENT)
    if value is None:
        return None
    text = value.rstrip(b"\0").decode("utf-8", "surrogateescape").strip()
    if not text:
        notes.append(f"/{escape(path)}: {COMPONENT.decode()} is empty, and not used")
        return None
    return component_name(text)


def _inherited(entries: Mapping[str, Entry], own: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Path -> name, and the path whose attribute it is, of all that have one."""
    found: dict[str, tuple[str, str]] = {}
    for path in entries:
        if path in own:
            found[path] = (own[path], path)
        elif path and (above := found.get(path.rpartition("/")[0])) is not None:
            found[path] = above
    return found


def _intervals(
    marked: Mapping[str, Entry], inherited: Mapping[str, tuple[str, str]], notes: list[str]
) -> dict[str, float]:
    """Component -> days between updates."""
    found: dict[str, float] = {}
    for path, entry in marked.items():
        value = dict(entry.attributes.xattrs).get(INTERVAL)
        if value is None:
            continue
        text = value.rstrip(b"\0").decode("utf-8", "surrogateescape").strip()
        days = parse_interval(text)
        where = f"/{escape(path)}: {INTERVAL.decode()}"
        if days is None:
            notes.append(f"{where}: expected days or one of {', '.join(INTERVALS)}, found '{escape(text[:100])}'")
        elif path not in inherited:
            notes.append(f"{where} is of no component, and not used")
        else:
            name = inherited[path][0]
            if found.setdefault(name, days) != days:
                notes.append(
                    f"{where}: another one of {escape(name)} says {found[name]:g} days; the smaller one counts"
                )
                found[name] = min(found[name], days)
    return found
