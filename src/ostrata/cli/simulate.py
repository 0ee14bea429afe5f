"""`ostrata simulate`: what would updates have cost?

The fields of --json are stable: strategies [{name, max_layers, plan_seconds, cadences [{every, updates, mean_bytes,
mean_changed_bytes, overfetch, mean_layers}]}]; bytes are compressed ones, the means null where there is no update.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import click

from ostrata.cli.common import format_count, format_size, json_option, open_progress, print_json, quiet_option
from ostrata.planning.strategies import STRATEGIES

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ostrata.model.history import History
    from ostrata.pipeline.simulate import StrategyCost
    from ostrata.simulation.updates import CadenceCost

EPILOG = """\b
Examples:
  ostrata simulate history.json
  ostrata simulate history.json.gz --strategy ostrata --strategy chunkah --max-layers 64,128
  ostrata simulate history.json --plan-at 2021-09-01 --until 2022-08-31 --present-only
  ostrata simulate history.json --every 7 --json | jq '.strategies[] | [.name, .cadences[0].mean_bytes]'
"""

BAR_WIDTH = 60
_MAX_DAYS = 36500
_MAX_LAYERS = 10_000
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)
_DAY = click.DateTime(formats=["%Y-%m-%d"])


def _numbers(most: int) -> Callable[[click.Context, click.Parameter, str], tuple[int, ...]]:
    """Reads whole numbers with commas between, each from 1 to `most`."""

    def convert(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
        texts = [text.strip() for text in value.split(",")]
        if not all(_NUMBER.fullmatch(text) and 1 <= int(text) <= most for text in texts):
            raise click.BadParameter(f"expected numbers from 1 to {most} with commas between, found {value!r}.")
        return tuple(dict.fromkeys(map(int, texts)))

    return convert


@click.command(epilog=EPILOG)
@click.argument("history", type=click.Path())
@click.option(
    "-s",
    "--strategy",
    "strategies",
    multiple=True,
    type=click.Choice(list(STRATEGIES)),
    help="Repeatable.  [default: all]",
)
@click.option("--plan-at", type=_DAY, metavar="DATE", help="Plan knowing what was before.  [default: 364 days before]")
@click.option("--until", type=_DAY, metavar="DATE", help="End, exclusive.  [default: behind the last update]")
@click.option(
    "--max-layers",
    callback=_numbers(_MAX_LAYERS),
    metavar="N[,N]...",
    default="64",
    show_default=True,
    help="Layers of components; the OSTree layer comes on top.",
)
@click.option(
    "--every",
    callback=_numbers(_MAX_DAYS),
    metavar="N[,N]...",
    default="1,7,28",
    show_default=True,
    help="Days from update to update.",
)
@click.option("--present-only", is_flag=True, help="Only components that exist on the day of the plan: one plan.")
@click.option(
    "--release-every",
    type=click.IntRange(1, _MAX_DAYS),
    default=7,
    show_default=True,
    metavar="DAYS",
    help="Days from release to release: each takes in new components and carries the plan on.",
)
@click.option("--afresh", is_flag=True, help="Plan each release from scratch instead, to see what carrying saves.")
@quiet_option
@json_option
def command(
    history: str,
    strategies: tuple[str, ...],
    plan_at: datetime | None,
    until: datetime | None,
    max_layers: tuple[int, ...],
    every: tuple[int, ...],
    present_only: bool,
    release_every: int,
    afresh: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Replay HISTORY: what would clients have downloaded with each strategy's plan?

    A plan knows what was before its day. From there on clients update every so many days and download each layer in
    which anything changed, whole. HISTORY is a file as `ostrata learn` writes it; docs/simulate.md has the format.
    """
    from ostrata.pipeline.simulate import SimulateOptions, read_history, simulate
    from ostrata.planning.strategies import planner

    with open_progress(quiet or as_json) as progress:
        known = read_history(history)
        for note in known.notes:
            progress.warn(note)
        start, end = _period(known, plan_at, until)
        planners = [planner(name) for name in dict.fromkeys(strategies or STRATEGIES)]
        costs = [
            cost
            for layers in max_layers
            for cost in simulate(
                known,
                planners,
                SimulateOptions(start, end, layers, every, present_only, release_every, afresh),
                timer=time.perf_counter,
                progress=progress,
            )
        ]
    if as_json:
        print_json({"strategies": [_to_json(cost) for cost in costs]})
    else:
        _print(known, start, end, costs)


def _period(history: History, plan_at: datetime | None, until: datetime | None) -> tuple[date, date]:
    from ostrata.pipeline.simulate import DEFAULT_DAYS, default_period

    end = until.date() if until is not None else default_period(history)[1]
    if plan_at is not None:
        return plan_at.date(), end
    return date.fromordinal(max(end.toordinal() - DEFAULT_DAYS, 1)), end


def _to_json(cost: StrategyCost) -> dict[str, Any]:
    return {
        "name": cost.name,
        "max_layers": cost.max_layers,
        "plan_seconds": round(cost.plan_seconds, 6),
        "cadences": [
            {
                "every": cadence.every,
                "updates": cadence.updates,
                "mean_bytes": cadence.mean_bytes,
                "mean_changed_bytes": cadence.mean_changed_bytes,
                "overfetch": cadence.overfetch,
                "mean_layers": cadence.mean_layers,
            }
            for cadence in cost.cadences
        ],
    }


def _print(history: History, start: date, end: date, costs: list[StrategyCost]) -> None:
    from rich.console import Console
    from rich.text import Text

    from ostrata.errors import escape

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    if history.title:
        console.print(Text(escape(history.title)))
    console.print(
        f"{start} to {end} (exclusive), {format_count(costs[0].components, 'component')}, "
        f"{format_count(costs[0].plans, 'plan')} each; "
        "mean download of an update, and how many times what changed that is",
        soft_wrap=True,
    )
    console.print()
    console.print(_table(costs))
    for position, cadence in enumerate(costs[0].cadences):
        if cadence.updates:
            _print_chart(console, cadence.every, [(_label(cost), cost.cadences[position]) for cost in costs])


def _table(costs: list[StrategyCost]) -> Table:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("strategy", no_wrap=True)
    for name in ("layers", "plan", *(_cadence_name(cadence.every) for cadence in costs[0].cadences)):
        table.add_column(name, justify="right", no_wrap=True)
    for cost in costs:
        cells = (_cell(cadence) for cadence in cost.cadences)
        table.add_row(cost.name, f"{cost.layers}/{cost.max_layers}", f"{cost.plan_seconds:.2f} s", *cells)
    return table


def _cell(cadence: CadenceCost) -> str:
    if cadence.mean_bytes is None:
        return "no update"
    times = "" if cadence.overfetch is None else f" {cadence.overfetch:6.2f}x"
    return f"{format_size(round(cadence.mean_bytes))}{times}"


def _print_chart(console: Console, every: int, rows: list[tuple[str, CadenceCost]]) -> None:
    """Bars of equal scale; the first is what no plan can go below."""
    changed = rows[0][1].mean_changed_bytes or 0.0
    bars = [("changed components", changed)] + [(label, cadence.mean_bytes or 0.0) for label, cadence in rows]
    largest = max(size for _, size in bars) or 1.0
    width = max(len(label) for label, _ in bars)
    console.print(f"\n[bold]{_cadence_name(every)}[/bold]")
    for label, size in bars:
        console.print(f"  {label:<{width}}  {_bar(size / largest)} {format_size(round(size))}")


def _bar(share: float) -> str:
    """A bar of eighths of a character."""
    eighths = round(share * BAR_WIDTH * 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + ("▏▎▍▌▋▊▉"[rest - 1] if rest else "")


def _label(cost: StrategyCost) -> str:
    return f"{cost.name} {cost.max_layers}"


def _cadence_name(every: int) -> str:
    return "every day" if every == 1 else f"every {every} days"
