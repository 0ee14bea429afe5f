"""Points in time as RFC 3339 text, in the strict form that Go's time package reads.

``YYYY-MM-DDTHH:MM:SS[.FRACTION](Z|+HH:MM|-HH:MM)``: capital T and Z, no leap second. RFC 3339 itself allows
small letters and second 60, but a config holding them cannot be read by skopeo, podman or docker.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from ostrata.errors import MalformedError, escape

_RFC_3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:Z|([+-])([01]\d|2[0-3]):([0-5]\d))", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_rfc3339(text: str) -> int:
    """Seconds since 1970, a fraction cut off. Raises: MalformedError."""
    match = _RFC_3339.fullmatch(text)
    if match is None:
        raise _not_a_time(text)
    *fields, sign, hours, minutes = match.groups()
    try:
        local = datetime(*map(int, fields), tzinfo=UTC)  # type: ignore[misc,arg-type]
    except ValueError:
        raise _not_a_time(text) from None
    seconds = int((local - _EPOCH).total_seconds())
    if sign is None:
        return seconds
    offset = int(hours) * 3600 + int(minutes) * 60
    return seconds - offset if sign == "+" else seconds + offset


def format_rfc3339(seconds: int) -> str:
    """``YYYY-MM-DDTHH:MM:SSZ``. Raises: MalformedError for a time outside the years 1 to 9999."""
    try:
        moment = _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        raise MalformedError(f"expected a time before the year 10000, found {seconds} seconds since 1970") from None
    return moment.replace(tzinfo=None).isoformat() + "Z"


def _not_a_time(text: str) -> MalformedError:
    return MalformedError(f"expected a time like 2024-05-17T12:00:00Z (RFC 3339), found '{escape(text[:100])}'")
