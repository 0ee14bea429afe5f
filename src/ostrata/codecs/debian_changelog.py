"""The days on which a Debian package changed: debian/changelog, as it is installed in /usr/share/doc.

The format (deb-changelog(5)): each entry ends with a line `` -- NAME <MAIL>  DAY, DD MONTH YYYY HH:MM:SS +ZZZZ``.
Twenty-five years of hands have written these lines, so dates that are none are counted and left out. The day of the
week is not looked at: it is wrong now and then, and the date is meant.

All of it is read with few passes over the bytes: a desktop has 25 MB of changelogs.
"""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache

_TRAILER = b"\n -- "
_ENTRY = re.compile(
    rb"\n -- [^\n>]*> {1,3}(?:[A-Za-z]{3,9}, *)?(\d{1,2}) +([A-Za-z]{3})[a-z]* +(\d{4}) +"
    rb"([01]?\d|2[0-3]):([0-5]\d)(?::\d\d)?(?: +([+-](?:0\d|1[0-4])[0-5]\d))?"
)
_MONTHS = {
    name: number
    for number, name in enumerate(
        (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"), 1
    )
}
_MINUTES_PER_DAY = 24 * 60


def decode_days(text: bytes) -> tuple[tuple[date, ...], int]:
    """The days (UTC) of all entries, ascending and unique, and the number of dates that are none."""
    days = [_day(*fields) for fields in _ENTRY.findall(text)]
    found = {day for day in days if day is not None}
    return tuple(sorted(found)), text.count(_TRAILER) - len(days) + days.count(None)


def _day(day: bytes, month: bytes, year: bytes, hours: bytes, minutes: bytes, zone: bytes) -> date | None:
    minute = int(hours) * 60 + int(minutes) - _offset(zone)
    return _shifted(day, month, year, minute // _MINUTES_PER_DAY)


@lru_cache(maxsize=1 << 14)  # the days of twenty-five years repeat from changelog to changelog
def _shifted(day: bytes, month: bytes, year: bytes, days: int) -> date | None:
    try:
        local = date(int(year), _MONTHS[month.lower()], int(day))
        return date.fromordinal(local.toordinal() + days)
    except (ValueError, KeyError):
        return None


@lru_cache(maxsize=256)
def _offset(zone: bytes) -> int:
    """Minutes east of UTC."""
    if not zone:
        return 0
    return (int(zone[1:3]) * 60 + int(zone[3:])) * (-1 if zone[:1] == b"-" else 1)
