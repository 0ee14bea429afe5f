"""What a long run tells whoever watches. The library only calls; the command line draws."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A watcher of one run: phases follow each other, each counts bytes (or things) up to a total."""

    def start(self, phase: str, total: int | None) -> None:
        """A phase begins; `total` is what `advance` will add up to, or None when unknown."""

    def advance(self, amount: int) -> None:
        """`amount` more of the phase is done. Called a few times a second at most."""

    def warn(self, message: str) -> None:
        """Something the user should know that does not stop the run."""


class Silent:
    """A watcher that does nothing."""

    def start(self, phase: str, total: int | None) -> None:
        pass

    def advance(self, amount: int) -> None:
        pass

    def warn(self, message: str) -> None:
        pass


SILENT: Progress = Silent()
