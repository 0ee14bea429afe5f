"""`ostrata explain`: why is a file in its layer?

The fields of --json are stable: path, checksum, component, rule, why, object {component, rule, why}, paths (others of
the object), packages [{name, version}], updates (dates), interval, exclusive, size, compressed_size (of the component),
layer {id, components, size, compressed_size, weekly_chance}.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ostrata.cli.common import (
    authfile_option,
    format_size,
    jobs_option,
    json_option,
    open_progress,
    print_json,
    quiet_option,
)
from ostrata.cli.planning_options import (
    open_plan_source,
    plan_options,
    planning_options,
    read_previous,
    source_options,
)

if TYPE_CHECKING:
    from ostrata.pipeline.explain import Explanation

EPILOG = """\b
Examples:
  ostrata explain --repo repo os/stable /usr/bin/bash
  ostrata explain --repo repo os/stable /usr/lib/firmware/blob.bin --map components.yml
  ostrata explain rootfs/ /etc/passwd --json
"""

_SHOWN = 8


@click.command(epilog=EPILOG)
@click.argument("source")
@click.argument("path")
@click.option("--previous", metavar="IMAGE|FILE", help="Carry on the plan of this image, or contentmeta file.")
@planning_options
@authfile_option
@jobs_option
@quiet_option
@json_option
def command(source: str, path: str, quiet: bool, as_json: bool, **given: Any) -> None:
    """Say which component and layer PATH of SOURCE is in, by which rule, and why. Options as for `ostrata plan`."""
    from ostrata.pipeline.explain import explain
    from ostrata.pipeline.plan import plan_tree

    with open_progress(quiet or as_json) as progress:
        previous = read_previous(given)
        planned = open_plan_source(source, given, progress)
        result = plan_tree(planned, plan_options(given, planned.timestamp), previous, progress=progress)
        explanation = explain(planned, result, path)
    if as_json:
        print_json(to_json(explanation))
        return
    for line in describe(explanation):
        click.echo(line)


source_options(command)


def to_json(found: Explanation) -> dict[str, Any]:
    """The document of --json."""
    component, layer = found.component, found.layer_forecast
    return {
        "path": found.path,
        "checksum": found.checksum,
        "component": component.name,
        "rule": found.rule,
        "why": found.why,
        "object": {"component": found.object_component, "rule": found.object_rule, "why": found.object_why},
        "paths": list(found.twins),
        "packages": [{"name": package.name, "version": package.version} for package in found.packages],
        "updates": [day.isoformat() for day in component.updates],
        "interval": component.interval,
        "exclusive": component.exclusive,
        "size": component.size,
        "compressed_size": component.compressed_size,
        "layer": {
            "id": found.layer,
            "components": list(found.layer_components),
            "size": layer.size,
            "compressed_size": layer.compressed_size,
            "weekly_chance": round(layer.weekly_chance, 6),
        },
    }


def describe(found: Explanation) -> Iterator[str]:
    """Lines for people."""
    from ostrata.errors import escape

    component, layer = found.component, found.layer_forecast
    yield f"/{escape(found.path)}"
    yield f"  rule       {found.rule}: {found.why}"
    if (found.object_rule, found.object_why) != (found.rule, found.why):
        yield f"  object     another path of the same object counts more: {found.object_rule}: {found.object_why}"
    if found.twins:
        yield f"  same file  {_list([f'/{escape(path)}' for path in found.twins])}"
    yield (
        f"  component  {escape(component.name)}: {_count(len(component.paths), 'path')}, "
        f"{format_size(component.size)}, about {format_size(component.compressed_size)} compressed"
    )
    if found.packages:
        yield f"  packages   {_list([escape(f'{package.name} {package.version}') for package in found.packages])}"
    yield f"  updates    {_updates(found)}"
    if component.exclusive is not None:
        yield f"  exclusive  it asks for the layer {escape(component.exclusive)}"
    yield (
        f"  layer      {found.layer}: {_count(len(found.layer_components), 'component')}, about "
        f"{format_size(layer.compressed_size)} compressed, changes in {100 * layer.weekly_chance:.1f} % of all weeks"
    )
    others = [escape(name) for name in found.layer_components if name != component.name]
    if others:
        yield f"             with {_list(others)}"


def _updates(found: Explanation) -> str:
    component = found.component
    if component.interval is not None:
        return f"taken to come every {f'{component.interval:g} days' if component.interval != 1 else 'day'}"
    if not component.updates:
        return "none are known: taken to come as often as those of all components in the mean"
    return f"{len(component.updates)} known, the last on {component.updates[-1].isoformat()}"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _list(items: list[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more
