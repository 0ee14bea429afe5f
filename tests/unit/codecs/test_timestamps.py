import pytest

from ostrata.codecs.timestamps import format_rfc3339, parse_rfc3339
from ostrata.errors import MalformedError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2024-02-29T23:59:59.999999999Z", 1709251199),
        ("2024-05-17T12:00:00+02:00", 1715940000),
        ("1969-12-31T23:59:59-23:59", 86339),
        ("0001-01-01T00:00:00Z", -62135596800),
    ],
)
def test_a_time_is_seconds_since_1970(text, seconds):
    assert parse_rfc3339(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2024-05-17",
        "2024-05-17T12:00:00",
        "2024-05-17 12:00:00Z",
        "2024-05-17t12:00:00z",
        "2023-02-29T00:00:00Z",
        "2024-05-17T24:00:00Z",
        "2016-12-31T23:59:60Z",
        "2024-05-17T12:00:00+24:00",
        "2024-05-17T12:00:00.Z",
        "0000-01-01T00:00:00Z",
        "٢٠٢٤-05-17T12:00:00Z",
        "2024-05-17T12:00:00Z\n",
    ],
)
def test_what_go_could_not_read_is_refused(text):
    with pytest.raises(MalformedError, match="expected a time like"):
        parse_rfc3339(text)


def test_seconds_are_written_in_utc_without_a_fraction():
    assert format_rfc3339(0) == "1970-01-01T00:00:00Z"
    assert format_rfc3339(253402300799) == "9999-12-31T23:59:59Z"
    assert format_rfc3339(-62135596800) == "0001-01-01T00:00:00Z"


@pytest.mark.parametrize("seconds", [253402300800, (1 << 64) - 1, -(1 << 63)])
def test_a_time_outside_of_four_digit_years_is_refused(seconds):
    with pytest.raises(MalformedError, match="expected a time before the year 10000"):
        format_rfc3339(seconds)
