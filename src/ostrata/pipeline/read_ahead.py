"""A thread that makes pieces while others are used: a second CPU for the one large layer of an image."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 0.1
"""Seconds after which the thread asks whether anybody still reads."""


@contextmanager
def read_ahead(pieces: Iterator[bytes], depth: int = 8) -> Iterator[Iterator[bytes]]:
    """The same pieces, made by a thread at most `depth` ahead; it ends with the ``with`` block.

    Raises, while iterating: what making them raises.
    """
    ready: queue.Queue[bytes | BaseException | None] = queue.Queue(depth)
    is_over = threading.Event()
    thread = threading.Thread(target=_make, args=(pieces, ready, is_over))
    thread.start()
    try:
        yield _take(ready)
    finally:
        is_over.set()
        thread.join()


def _make(pieces: Iterator[bytes], ready: queue.Queue[bytes | BaseException | None], is_over: threading.Event) -> None:
    def hand_on(item: bytes | BaseException | None) -> None:
        while not is_over.is_set():
            try:
                ready.put(item, timeout=PATIENCE)
            except queue.Full:
                continue
            return

    try:
        for piece in pieces:
            hand_on(piece)
            if is_over.is_set():
                return
        hand_on(None)
    except BaseException as error:  # whatever it is, it belongs to whoever reads
        hand_on(error)


def _take(ready: queue.Queue[bytes | BaseException | None]) -> Iterator[bytes]:
    while (item := ready.get()) is not None:
        if isinstance(item, BaseException):
            raise item
        yield item
