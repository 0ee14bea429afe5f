"""What a check found, bounded: the first findings in words, and how many there are in all.

A damaged image can be wrong in every one of its files; who reads the report needs the first few, and the
number.
"""

from __future__ import annotations

from dataclasses import dataclass

from ostrata.errors import MalformedError, escape

MAX_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Findings:
    """At most `MAX_SHOWN` findings, each ``place: what``, and the `count` of all."""

    shown: tuple[str, ...] = ()
    count: int = 0

    def raise_if_any(self) -> None:
        """Raises: MalformedError with the first finding and the number of the others."""
        if self.count:
            more = f", and {self.count - 1} more problems" if self.count > 1 else ""
            raise MalformedError(self.shown[0] + more)


class FindingList:
    """Collects findings while a check runs."""

    def __init__(self) -> None:
        self._shown: list[str] = []
        self._count = 0

    def add(self, place: str, what: str) -> None:
        """`place` is the name of an entry or object as found; it is escaped here."""
        self._count += 1
        if len(self._shown) < MAX_SHOWN:
            self._shown.append(f"{escape(place)}: {what}")

    def extend(self, findings: Findings, where: str = "") -> None:
        """Take over `findings`, each with `where` in front."""
        self._count += findings.count
        room = MAX_SHOWN - len(self._shown)
        self._shown += [f"{where}: {finding}" if where else finding for finding in findings.shown[:room]]

    def finish(self) -> Findings:
        """All that was collected."""
        return Findings(tuple(self._shown), self._count)
