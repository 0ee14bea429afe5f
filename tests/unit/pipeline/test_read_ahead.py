"""Pieces made by a thread: the same, in order, with their errors; and no thread stays."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from ostrata.errors import MalformedError
from ostrata.pipeline.read_ahead import read_ahead


def pieces(count: int, error: BaseException | None = None) -> Iterator[bytes]:
    for number in range(count):
        yield b"%d" % number
    if error is not None:
        raise error


@pytest.mark.parametrize("count", [0, 1, 8, 100])
def test_the_pieces_are_the_same(count: int) -> None:
    before = threading.active_count()
    with read_ahead(pieces(count), depth=2) as ahead:
        assert list(ahead) == list(pieces(count))
    assert threading.active_count() == before


def test_an_error_comes_where_it_would_have_come() -> None:
    before = threading.active_count()
    with pytest.raises(MalformedError, match="damaged"), read_ahead(pieces(3, MalformedError("damaged"))) as ahead:
        assert [next(ahead) for _ in range(3)] == list(pieces(3))
        next(ahead)
    assert threading.active_count() == before


def test_whoever_stops_early_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    made = []

    def endless() -> Iterator[bytes]:
        while True:
            made.append(1)
            yield b"x"

    with pytest.raises(KeyError), read_ahead(endless(), depth=3) as ahead:
        next(ahead)
        raise KeyError
    assert threading.active_count() == before
    assert len(made) <= 6
