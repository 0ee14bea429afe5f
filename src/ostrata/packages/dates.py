"""Points in time, as databases write them, to days (UTC)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

_EPOCH = date(1970, 1, 1).toordinal()
_DAY = 86_400


def day_of(seconds: int | None) -> date | None:
    """The day of `seconds` since 1970; None for no time, and for one outside the years 1 to 9999."""
    if seconds is None:
        return None
    try:
        return date.fromordinal(_EPOCH + seconds // _DAY)
    except (ValueError, OverflowError):
        return None


def days_of(times: Iterable[int]) -> tuple[tuple[date, ...], int]:
    """The days of `times`, ascending and unique, and the number of times that are outside all years."""
    days = [day_of(seconds) for seconds in times]
    found = {day for day in days if day is not None}
    return tuple(sorted(found)), days.count(None)
