from __future__ import annotations

import pytest

from ostrata.cli.common import format_size


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_900, "99.9 kB"),
        (100_400, "100 kB"),
        (999_499, "999 kB"),
        (999_600, "1.0 MB"),
        (34_000_000, "34.0 MB"),
        (5_000_000_000, "5.0 GB"),
        (12_345_000_000_000_000, "12345 TB"),
    ],
)
def test_sizes_are_shown_in_powers_of_a_thousand(size: int, shown: str) -> None:
    assert format_size(size) == shown
