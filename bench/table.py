"""The tables that the benches print: a row for each bar."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from measure import Measured


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    what: str
    measured: str
    against: str
    ratio: str
    bar: str
    holds: bool


def print_table(subject: str, tables: Mapping[str, Callable[[], Iterable[Row]]], only: str) -> int:
    """Print the rows of all tables, or of those that `only` names with commas; exit code 4 when a bar is missed."""
    print(f"{os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}, {subject}")
    print("| what | ostrata | against | ratio | bar | holds |\n|---|---|---|---|---|---|")
    all_hold = True
    for name in only.split(",") if only else tables:
        for row in tables[name]():
            all_hold &= row.holds
            holds = "yes" if row.holds else "NO"
            print(f"| {row.what} | {row.measured} | {row.against} | {row.ratio} | {row.bar} | {holds} |", flush=True)
    return 0 if all_hold else 4


def ratio_row(what: str, ours: Measured, peer_name: str, peer: Measured, bar: float | None) -> Row:
    ratio = ours.wall / peer.wall
    return Row(
        what,
        f"{ours.wall:.1f} s (cpu {ours.cpu:.1f})",
        f"{peer.wall:.1f} s (cpu {peer.cpu:.1f}) {peer_name}",
        f"{ratio:.2f}",
        f"<= {bar}" if bar else "",
        bar is None or ratio <= bar,
    )


def best_of(count: int, run: Callable[[], Measured]) -> Measured:
    return min((run() for _ in range(count)), key=lambda measured: measured.wall)
