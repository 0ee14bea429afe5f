"""The bars of planning: what updates cost by strategy, on plan dates and halves, and carried over a year of releases.

    python bench/planning.py HISTORY [--quick]

HISTORY is a file in the schema of docs/simulate.md. Everything is replayed with ostrata's own simulator. MB are 10^6
compressed bytes. The carried part is seeded: 4 % of the source packages appear and 4 % vanish over 52 weekly releases.
"""

from __future__ import annotations

import random
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from ostrata.codecs import history as history_codec
from ostrata.model.component import Component, ComponentPlan
from ostrata.planning.layer_counts import compare_layer_counts
from ostrata.planning.ostrata_planner import OstrataPlanner
from ostrata.planning.strategies import planner as strategy
from ostrata.protocols import Planner
from ostrata.simulation.releases import PlannedRelease, WithoutMemory, plan_release
from ostrata.simulation.updates import Replay

BAR_DATE = date(2021, 9, 1)
OTHER_DATES = (date(2019, 9, 1), date(2020, 3, 1), date(2020, 9, 1), date(2021, 3, 1))
YEAR = timedelta(364)
CADENCES = (1, 7, 28)
REFERENCES = ("rechunk", "rpm-ostree", "chunkah")
BARS = {64: (74, 382, 820), 128: (48, 283, 690)}
RELEASES = 52
TURNOVER = 0.04
SEEDS = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class Year:
    """The components of each weekly release."""

    days: tuple[date, ...]
    components: tuple[tuple[Component, ...], ...]


def main(path: str, quick: bool = False) -> None:
    """Print all tables."""
    components = history_codec.decode(Path(path).read_bytes()).components
    print_bars(components)
    if not quick:
        print_other_data(components)
    print_layer_counts(components)
    for seed in SEEDS[: 1 if quick else None]:
        print_carried(components, seed)


def print_bars(components: Sequence[Component]) -> None:
    print(f"MB per update, planned {BAR_DATE}, 364 days, components present then")
    for layers, bars in BARS.items():
        print(f"{layers:4d} bar          " + show(bars))
        for name in ("ostrata", *REFERENCES):
            started = time.perf_counter()
            costs = replay(strategy(name), components, layers, BAR_DATE)
            print(
                f"{layers:4d} {name:12s} {show(costs)}   planned and replayed in {time.perf_counter() - started:.1f} s"
            )


def print_other_data(components: Sequence[Component]) -> None:
    print("\nNot tuned on: other plan dates, and halves of the sources at the bar's date (64 layers)")
    for day in OTHER_DATES:
        print_one(f"{day}", components, day)
    for half in (0, 1):
        part = [item for item in components if zlib.crc32(item.source.encode()) % 2 == half]
        print_one(f"half {half}", part, BAR_DATE)


def print_one(what: str, components: Sequence[Component], day: date) -> None:
    ours = replay(strategy("ostrata"), components, 64, day)
    theirs = replay(strategy("chunkah"), components, 64, day)
    print(f"{what:12s} ostrata {show(ours)}   chunkah {show(theirs)}")


def print_layer_counts(components: Sequence[Component]) -> None:
    table = compare_layer_counts([item for item in components if exists(item, BAR_DATE)], BAR_DATE)
    print("\nExpected MB of a weekly update by number of layers")
    for row in table.rows:
        print(f"{row.max_layers:4d} {row.weekly_bytes / 1e6:8.1f}" + ("   the knee" if row == table.knee else ""))


def print_carried(components: Sequence[Component], seed: int) -> None:
    year = make_year(components, seed)
    print(f"\nMB downloaded over {RELEASES} weekly releases, 64 layers, seed {seed}")
    ours = OstrataPlanner()
    auto = total(ours, year, 64)
    print(f"{'carried':28s} {auto:9.0f}")
    others: list[tuple[str, Planner, float]] = [
        ("freeze and insert well", OstrataPlanner(rebalance="never"), 1.0),
        ("afresh every week", WithoutMemory(ours), 0.7),
        ("rechunk", strategy("rechunk"), 0.8),
        ("rpm-ostree", strategy("rpm-ostree"), 0.8),
        ("chunkah", strategy("chunkah"), 0.9),
    ]
    for name, other, bar in others:
        bytes_ = total(other, year, 64)
        print(f"{name:28s} {bytes_:9.0f}   carried is {auto / bytes_:.3f} of it, bar {bar}")


def make_year(components: Sequence[Component], seed: int) -> Year:
    """Weekly releases from the bar's date on, with sources that appear and vanish."""
    chosen = random.Random(seed)
    now = [item for item in components if exists(item, BAR_DATE)]
    sources = sorted({item.source for item in now})
    count = round(TURNOVER * len(sources))
    changing = chosen.sample(sources, 2 * count)
    appears = {source: chosen.randrange(1, RELEASES + 1) for source in changing[:count]}
    vanishes = {source: chosen.randrange(1, RELEASES + 1) for source in changing[count:]}

    def release(week: int) -> tuple[Component, ...]:
        return tuple(
            item for item in now if appears.get(item.source, 0) <= week < vanishes.get(item.source, RELEASES + 1)
        )

    weeks = range(RELEASES + 1)
    return Year(tuple(BAR_DATE + timedelta(7 * week) for week in weeks), tuple(map(release, weeks)))


def total(planner: Planner, year: Year, layers: int) -> float:
    """MB of all updates of a client that takes every release."""
    downloaded = 0.0
    before = None
    for release in plan_year(planner, year, layers):
        if before is not None:
            downloaded += Replay([before, release], release.day).cost(7).mean_bytes or 0.0
        before = release
    return downloaded / 1e6


def plan_year(planner: Planner, year: Year, layers: int) -> Iterator[PlannedRelease]:
    previous: ComponentPlan | None = None
    for day, components in zip(year.days, year.components, strict=True):
        release = plan_release(planner, components, layers, day, previous)
        previous = release.plan
        yield release


def replay(planner: Planner, components: Sequence[Component], layers: int, day: date) -> tuple[float, ...]:
    """Mean MB per update for each cadence, with the components that exist on `day`."""
    release = plan_release(planner, [item for item in components if exists(item, day)], layers, day)
    year = Replay([release], day + YEAR)
    return tuple((year.cost(every).mean_bytes or 0.0) / 1e6 for every in CADENCES)


def exists(component: Component, day: date) -> bool:
    return component.since is None or component.since < day


def show(values: Sequence[float]) -> str:
    return " / ".join(f"{value:6.1f}" for value in values)


if __name__ == "__main__":
    main(sys.argv[1], quick="--quick" in sys.argv)
