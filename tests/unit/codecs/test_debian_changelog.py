from __future__ import annotations

import gzip
from datetime import date

import pytest

from ostrata.codecs.debian_changelog import decode_days
from ostrata.codecs.gzip import decompress_head
from ostrata.errors import MalformedError


def entries(*lines: str) -> bytes:
    return "\n\n".join(f"x (1) unstable; urgency=low\n\n  * Change -- it.\n\n -- {line}" for line in lines).encode()


def day(text: str) -> date | None:
    days, dropped = decode_days(entries(f"A B <a@b>  {text}"))
    assert len(days) + dropped == 1
    return days[0] if days else None


def test_days_are_ascending_and_unique() -> None:
    text = entries(
        "Ä Žluť <a@b.c>  Fri, 05 Jan 2024 10:00:00 +0000",
        "B <b>  Mon, 01 Jan 2024 10:00:00 +0000",
        "C <c>  Mon, 01 Jan 2024 12:00:00 +0000",
    )
    assert decode_days(text) == ((date(2024, 1, 1), date(2024, 1, 5)), 0)
    assert decode_days(b"") == ((), 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mon, 01 Jan 2024 00:30:00 +0100", date(2023, 12, 31)),
        ("Sun, 31 Dec 2023 23:30:00 -0100", date(2024, 1, 1)),
        ("Mon, 01 Jan 2024 13:59:59 +1400", date(2023, 12, 31)),
        ("Tue, 1 January 2024 1:02:03 +0000", date(2024, 1, 1)),
        ("Mon,  1 Jan 2024 10:00 +0000", date(2024, 1, 1)),
        ("01 Jan 2024 10:00:00", date(2024, 1, 1)),
        ("Wed, 29 Feb 2096 10:00:00 +0000", date(2096, 2, 29)),
        ("Thu, 31 Dec 2099 10:00:00 +0000", date(2099, 12, 31)),
        ("Thu, 31 Dec 2026 10:00:00 +0000", date(2026, 12, 31)),  # in week 53
        ("Wed, 31 Dec 1969 10:00:00 +0000", date(1969, 12, 31)),
        ("Fri, 31 Dec 9999 23:00:00 -0800", None),
        ("Mon, 01 Jan 0001 00:00:00 +0100", None),
        ("Mon, 01 Jan 0000 00:00:00 +0000", None),
        ("Mon, 30 Feb 2024 10:00:00 +0000", None),
        ("Mon, 00 Jan 2024 10:00:00 +0000", None),
        ("Mon, 01 Foo 2024 10:00:00 +0000", None),
        ("Mon, 01 Jan 2024 25:00:00 +0000", None),
        ("Mon, 01 Jan 2024 10:60:00 +0000", None),
        ("(not uploaded)", None),
        ("", None),
    ],
)
def test_a_date_is_a_day_in_utc_or_counted(text: str, expected: date | None) -> None:
    assert day(text) == expected


def test_the_head_of_a_gzip_file_is_read() -> None:
    text = b"x" * 100_000
    data = gzip.compress(text, mtime=0)
    assert decompress_head(data, 200_000) == decompress_head(data, 100_000) == text
    assert decompress_head(data, 10) == text[:10]
    assert decompress_head(gzip.compress(b"", mtime=0), 10) == b""


@pytest.mark.parametrize(
    "data", [b"", b"text", gzip.compress(b"x" * 1000, mtime=0)[:-9], gzip.compress(b"x", mtime=0)[:-8] + bytes(8)]
)
def test_a_damaged_gzip_file_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError, match="the gzip data is"):
        decompress_head(data, 1 << 20)
