"""`ostrata plan`: which files should share a layer?

The fields of --json are stable: strategy, max_layers, clock, coverage {paths, all_paths, bytes, all_bytes, percent (of
bytes)}, layers [{id, components, size, compressed_size, weekly_chance, weekly_bytes}], carried (null without a previous
plan) {layers, all_layers, kept, renamed, joined, new, gone, repeated, given_up}, rebalanced (null)
{weekly_bytes_before, weekly_bytes_after, moved, once_bytes}, steps [{max_layers, weekly_bytes}], previous (a line, or
null), labels, notes; sizes in bytes.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ostrata.cli.common import (
    authfile_option,
    format_count,
    format_size,
    jobs_option,
    json_option,
    open_progress,
    print_json,
    quiet_option,
)
from ostrata.cli.planning_options import (
    label_options,
    open_plan_source,
    plan_options,
    planning_options,
    read_label_options,
    read_previous,
    source_options,
)

if TYPE_CHECKING:
    from rich.console import Console

    from ostrata.pipeline.plan import TreePlan

EPILOG = """\b
Examples:
  ostrata plan --repo repo os/stable -o contentmeta.json
  ostrata plan --repo repo os/stable -o contentmeta.json --previous oci:image:latest
  ostrata plan rootfs/ -o contentmeta.json --max-layers auto --map components.yml
  ostrata plan --repo repo os/stable -o contentmeta.json --version '41.<date>' --label 'kernel=<version:kernel>'
  ostrata encapsulate --repo repo os/stable oci:image:new --contentmeta contentmeta.json
"""

_SHOWN = 3


@click.command(epilog=EPILOG)
@click.argument("source")
@click.option("-o", "--output", metavar="FILE", help="Where to write the contentmeta.  [default: nowhere]")
@click.option("--previous", metavar="IMAGE|FILE", help="Carry on the plan of this image, or contentmeta file.")
@planning_options
@click.option("-l", "--label", "labels", multiple=True, metavar="K=TEMPLATE", help="A label of the image. Repeatable.")
@label_options
@authfile_option
@jobs_option
@quiet_option
@json_option
def command(source: str, output: str | None, quiet: bool, as_json: bool, **given: Any) -> None:
    """Plan the layers of SOURCE: a revision in the repository --repo, or a directory.

    Writes a contentmeta file, which `ostrata encapsulate` follows, and shows the layers.
    """
    from ostrata.pipeline.plan import plan_tree, write_contentmeta

    labels = read_label_options(given)
    with open_progress(quiet or as_json) as progress:
        previous = read_previous(given)
        planned = open_plan_source(source, given, progress)
        options = plan_options(given, planned.timestamp, labels)
        result = plan_tree(planned, options, previous, jobs=given["jobs"], progress=progress)
        for note in result.notes:
            progress.warn(note)
        if output is not None:
            write_contentmeta(output, result.contentmeta)
    if as_json:
        print_json(to_json(result))
    elif not quiet:
        _print(result)


source_options(command)


def to_json(result: TreePlan) -> dict[str, Any]:
    """The document of --json."""
    rows = zip(result.contentmeta.layers, result.plan.layers, result.forecasts, strict=True)
    coverage = result.components.coverage
    return {
        "strategy": result.strategy,
        "max_layers": result.max_layers,
        "clock": result.clock.isoformat(),
        "coverage": asdict(coverage) | {"percent": round(coverage.percent, 2)},
        "layers": [
            {
                "id": identifier,
                "components": list(names),
                "size": layer.size,
                "compressed_size": layer.compressed_size,
                "weekly_chance": round(layer.weekly_chance, 6),
                "weekly_bytes": round(layer.weekly_bytes),
            }
            for identifier, names, layer in rows
        ],
        "carried": None if result.carried is None else asdict(result.carried),
        "rebalanced": None if result.carried is None or result.figures is None else asdict(result.figures),
        "steps": [asdict(step) for step in result.steps],
        "previous": result.previous,
        "labels": dict(result.contentmeta.labels),
        "notes": list(result.notes),
    }


def _print(result: TreePlan) -> None:
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    _print_steps(console, result)
    _print_layers(console, result)
    coverage = result.components.coverage
    weekly = sum(layer.weekly_bytes for layer in result.forecasts)
    total = sum(layer.compressed_size for layer in result.forecasts)
    count = format_count(len(result.components.components), "component")
    layers = format_count(len(result.plan.layers), "layer")
    known = f"{coverage.percent:.1f} % of {format_size(coverage.all_bytes)}"
    lines = [
        "",
        f"{count} in {layers} and the one with the commit; {known} are of known origin",
        f"expected: about {format_size(total)} compressed, {format_size(round(weekly))} of it for a weekly update "
        f"(planned for {result.clock.isoformat()}, strategy {result.strategy})",
    ]
    figures = result.figures
    if result.previous is not None:
        lines.append(result.previous)
    if result.carried is not None and figures is not None and figures.moved:
        lines.append(
            f"rebalanced: {format_count(figures.moved, 'component')} moved, {format_size(figures.once_bytes)} once; "
            "a weekly update "
            f"{format_size(round(figures.weekly_bytes_before))} -> {format_size(round(figures.weekly_bytes_after))}"
        )
    for line in lines:
        console.print(line, soft_wrap=True)


def _print_steps(console: Console, result: TreePlan) -> None:
    if not result.steps:
        return
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("layers", "weekly update, afresh", ""):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for step in result.steps:
        chosen = "<- chosen" if step.max_layers == result.max_layers else ""
        table.add_row(str(step.max_layers), format_size(round(step.weekly_bytes)), chosen)
    console.print(table)
    console.print()


def _print_layers(console: Console, result: TreePlan) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False, expand=True)
    for name in ("layer", "size", "compressed", "changes weekly", "expected"):
        table.add_column(name, justify="left" if name == "layer" else "right", no_wrap=True)
    table.add_column("components", no_wrap=True, overflow="ellipsis", ratio=1)
    for identifier, names, layer in zip(result.contentmeta.layers, result.plan.layers, result.forecasts, strict=True):
        table.add_row(
            identifier,
            format_size(layer.size),
            format_size(layer.compressed_size),
            f"{100 * layer.weekly_chance:.1f} %",
            format_size(round(layer.weekly_bytes)),
            Text(_describe(result, names)),
        )
    console.print(table)


def _describe(result: TreePlan, names: tuple[str, ...]) -> str:
    """The largest components of a layer, and how many more."""
    from ostrata.errors import escape, some_of

    sizes = {component.name: component.size for component in result.components.components}
    largest = sorted(names, key=lambda name: (-sizes[name], name))
    return some_of([escape(name) for name in largest], _SHOWN)
