"""The bars of planning: what updates cost by strategy, fresh and carried over a year, and how long plans take.

    python bench/planning.py HISTORY [--repo REPO REV] [--only TABLE,...]

HISTORY is a file in the schema of docs/simulate.md; everything is replayed with ostrata's own simulator. MB are 10^6
compressed bytes. The carried part is seeded: 4 % of the source packages appear and 4 % vanish over 52 weekly releases.
REV is a desktop tree with a dpkg database: how long its plan takes, packages included. Every row prints its figure, the
bar and whether it holds; rows without a bar are data that nothing was chosen by. The exit code is 4 when a bar does
not hold. Seconds are the best of five runs; nothing else should run beside them.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path

from measure import measure
from ostrata.codecs import history as history_codec
from ostrata.model.component import Component, ComponentPlan
from ostrata.packages.databases import read_packages
from ostrata.planning.layer_counts import compare_layer_counts
from ostrata.planning.ostrata_planner import OstrataPlanner
from ostrata.planning.strategies import planner as strategy
from ostrata.protocols import Planner
from ostrata.simulation.releases import PlannedRelease, WithoutMemory, plan_release
from ostrata.simulation.updates import Replay
from ostrata.sources.ostree_source import open_commit
from ostrata.stores.ostree_repository import open_repository

OSTRATA = os.path.join(os.path.dirname(sys.executable), "ostrata")
BAR_DATE = date(2021, 9, 1)
OTHER_DATES = (date(2019, 9, 1), date(2020, 3, 1), date(2020, 9, 1), date(2021, 3, 1))
YEAR = timedelta(364)
CADENCES = {"daily": 1, "weekly": 7, "4-weekly": 28}
BARS = {64: (74, 382, 820), 128: (48, 283, 690)}
PEERS = {
    64: {"rechunk": (192, 510, 871), "rpm-ostree": (206, 647, 918), "chunkah": (158, 525, 819)},
    128: {"rechunk": (153, 395, 762), "rpm-ostree": (113, 466, 812), "chunkah": (74, 365, 727)},
}
"""What the tools themselves planned: the reference strategies come within 10 % of it."""
RELEASES = 52
TURNOVER = 0.04
SEEDS = (1, 2, 3)
CARRIED_LAYERS = 64
SECONDS = {2_500: 2.0, 10_000: 15.0}
"""Components -> seconds for a plan with 95 layers."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table; a row without a bar is for information."""

    what: str
    figure: str
    bar: str = ""
    holds: bool = True

    def __str__(self) -> str:
        verdict = ("holds" if self.holds else "MISSES") if self.bar else ""
        return f"| {self.what} | {self.figure} | {self.bar} | {verdict} |"


@dataclass(frozen=True, slots=True)
class Year:
    """The components of each weekly release."""

    days: tuple[date, ...]
    components: tuple[tuple[Component, ...], ...]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("history")
    parser.add_argument("--repo", nargs=2, metavar=("REPO", "REV"))
    parser.add_argument("--only", metavar="TABLE,...", help="seconds, tree, encapsulated, fresh, ...")
    options = parser.parse_args()
    components = history_codec.decode(Path(options.history).read_bytes()).components
    tables: dict[str, Callable[[], Iterable[Row]]] = {
        "seconds": seconds_rows,
        "tree": lambda: tree_rows(*options.repo) if options.repo else (),
        "encapsulated": lambda: encapsulated_rows(*options.repo) if options.repo else (),
        "fresh": lambda: fresh_rows(components),
        "peers": lambda: peer_rows(components),
        "carried": lambda: carried_rows(components),
        "others": lambda: other_rows(components),
        "counts": lambda: layer_count_rows(components),
    }
    print("| what | figure | bar | |\n|---|---|---|---|")
    all_hold = True
    for name in options.only.split(",") if options.only else tables:
        for row in tables[name]():
            all_hold &= row.holds
            print(row, flush=True)
    return 0 if all_hold else 4


def fresh_rows(components: Sequence[Component]) -> Iterator[Row]:
    for layers, bars in BARS.items():
        costs = replay(strategy("ostrata"), components, layers, BAR_DATE)
        for cadence, cost, bar in zip(CADENCES, costs, bars, strict=True):
            what = f"fresh plan, {layers} layers, {cadence}: MB per update"
            yield Row(what, f"{cost:.1f}", f"<= {bar}", cost <= bar)


def peer_rows(components: Sequence[Component]) -> Iterator[Row]:
    for layers, peers in PEERS.items():
        for name, figures in peers.items():
            costs = replay(strategy(name), components, layers, BAR_DATE)
            worst = max(abs(cost / figure - 1) for cost, figure in zip(costs, figures, strict=True))
            yield Row(
                f"{name}, {layers} layers, {' / '.join(CADENCES)}: MB per update",
                f"{show(costs)}, {100 * worst:.1f} % off at most",
                f"{show(figures, 0)}, 10 %",
                worst <= 0.1,
            )


def carried_rows(components: Sequence[Component]) -> Iterator[Row]:
    for seed in SEEDS:
        yield from carried_year(make_year(components, BAR_DATE, seed), f"seed {seed}")
    yield from carried_year(make_year(components, OTHER_DATES[0], 1), f"from {OTHER_DATES[0]}", barred=False)


def carried_year(year: Year, name: str, *, barred: bool = True) -> Iterator[Row]:
    """Rows of a year of weekly releases; `name` says which."""
    ours = OstrataPlanner()
    carried = total(ours, year)
    others: list[tuple[str, Planner, float]] = [
        ("freeze and insert well", OstrataPlanner(rebalance="never"), 1.0),
        ("re-plan afresh each week", WithoutMemory(ours), 0.7),
        ("rechunk, carried its way", strategy("rechunk"), 0.8),
        ("rpm-ostree, carried its way", strategy("rpm-ostree"), 0.8),
        ("chunkah", strategy("chunkah"), 0.9),
    ]
    for other, planner, bar in others:
        bytes_ = total(planner, year)
        yield Row(
            f"carried plan, {RELEASES} weekly releases, {name}: MB, of {other}",
            f"{carried:.0f} of {bytes_:.0f}: {carried / bytes_:.3f}",
            f"<= {bar}" if barred else "",
            carried <= bar * bytes_ or not barred,
        )


def seconds_rows() -> Iterator[Row]:
    for count, bar in SECONDS.items():
        components = make_components(count)
        plan = partial(strategy("ostrata").plan, components, 95, BAR_DATE)
        yield seconds_row(f"plan of {count:,} components", plan, bar)


def tree_rows(repo: str, revision: str) -> Iterator[Row]:
    source = open_commit(open_repository(repo), revision)
    count = sum(map(len, read_packages(source)[0].values()))
    yield seconds_row(f"{count:,} packages, read from the commit", partial(read_packages, source, jobs=2), 1.0)
    command = (OSTRATA, "plan", "--repo", repo, revision, "--max-layers", "64", "-q")
    files = len(source.commit.files)
    yield seconds_row(f"`ostrata plan` of {files:,} files", partial(measure, *command, watch_memory=False), 5.0)


def encapsulated_rows(repo: str, revision: str) -> Iterator[Row]:
    """What `ostrata plan` writes drives `ostrata encapsulate`; every byte of the image is looked at."""
    with tempfile.TemporaryDirectory() as place:
        plan, image = f"{place}/plan.json", f"oci:{place}/image"
        layers = 64
        options = ("--repo", repo, revision, "-q")
        measure(OSTRATA, "plan", *options, "--max-layers", str(layers), "-o", plan, watch_memory=False)
        written = ("--contentmeta", plan, "--compression", "zstd", "--jobs", "2")
        ran = measure(OSTRATA, "encapsulate", *options, image, *written, watch_memory=False)
        found = json.loads(measure(OSTRATA, "inspect", image, "--json", watch_memory=False).stdout)["layers"]
        measure(OSTRATA, "verify", image, "--repo", repo, revision, "-q", watch_memory=False)  # or it ends here
        size = sum(layer["size"] for layer in found)
        figure = f"{len(found)} ({ran.wall:.1f} s, {size / 1e6:.0f} MB)"
        yield Row("layers encapsulated by the plan, verified", figure, f"= {layers}", len(found) == layers)


def seconds_row(what: str, run: Callable[[], object], bar: float) -> Row:
    """The quickest of five runs; its processor time shows whether it had to wait for others.

    Without garbage collection, as in the command.
    """
    gc.disable()
    wall, cpu = min(_timed(run) for _ in range(5))
    gc.enable()
    return Row(f"{what}: s (of processors)", f"{wall:.2f} ({cpu:.2f})", f"<= {bar:.0f}", wall <= bar)


def _timed(run: Callable[[], object]) -> tuple[float, float]:
    before, started = os.times(), time.perf_counter()
    run()
    wall, after = time.perf_counter() - started, os.times()
    return wall, sum(after[:4]) - sum(before[:4])


def other_rows(components: Sequence[Component]) -> Iterator[Row]:
    """Other plan dates, and halves of the sources at the bar's date."""
    data = {f"planned {day}": (components, day) for day in OTHER_DATES}
    for half in (0, 1):
        part = [item for item in components if zlib.crc32(item.source.encode()) % 2 == half]
        data[f"half {half} of the sources"] = (part, BAR_DATE)
    for name, (part, day) in data.items():
        for layers in BARS:
            ours, theirs = (replay(strategy(each), part, layers, day) for each in ("ostrata", "chunkah"))
            yield Row(f"{name}, {layers} layers: MB per update", f"{show(ours)} (chunkah {show(theirs)})")


def layer_count_rows(components: Sequence[Component]) -> Iterator[Row]:
    table = compare_layer_counts([item for item in components if exists(item, BAR_DATE)], BAR_DATE)
    for row in table.rows:
        knee = ", the knee" if row == table.knee else ""
        yield Row(
            f"`auto`, {row.max_layers} layers: expected MB of a weekly update", f"{row.weekly_bytes / 1e6:.1f}{knee}"
        )


def make_components(count: int) -> list[Component]:
    """Components without sources, of all sizes, that change every 9 to 700 days."""
    chance = random.Random(1)
    return [
        Component(
            f"c{number}", f"c{number}", 0, int(chance.lognormvariate(12, 1.8)), None,
            tuple(BAR_DATE - timedelta(age) for age in range(1400, 0, -chance.randrange(9, 700))),
        )
        for number in range(count)
    ]  # fmt: skip


def make_year(components: Sequence[Component], start: date, seed: int) -> Year:
    """Weekly releases from `start` on, with sources that appear and vanish."""
    chosen = random.Random(seed)
    now = [item for item in components if exists(item, start)]
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
    return Year(tuple(start + timedelta(7 * week) for week in weeks), tuple(map(release, weeks)))


def total(planner: Planner, year: Year) -> float:
    """MB of all updates of a client that takes every release."""
    downloaded = 0.0
    before = None
    for release in plan_year(planner, year):
        if before is not None:
            downloaded += Replay([before, release], release.day).cost(7).mean_bytes or 0.0
        before = release
    return downloaded / 1e6


def plan_year(planner: Planner, year: Year) -> Iterator[PlannedRelease]:
    previous: ComponentPlan | None = None
    for day, components in zip(year.days, year.components, strict=True):
        release = plan_release(planner, components, CARRIED_LAYERS, day, previous)
        previous = release.plan
        yield release


def replay(planner: Planner, components: Sequence[Component], layers: int, day: date) -> tuple[float, ...]:
    """Mean MB per update for each cadence, with the components that exist on `day`."""
    release = plan_release(planner, [item for item in components if exists(item, day)], layers, day)
    year = Replay([release], day + YEAR)
    return tuple((year.cost(every).mean_bytes or 0.0) / 1e6 for every in CADENCES.values())


def exists(component: Component, day: date) -> bool:
    return component.since is None or component.since < day


def show(values: Sequence[float], digits: int = 1) -> str:
    return " / ".join(f"{value:.{digits}f}" for value in values)


if __name__ == "__main__":
    sys.exit(main())
