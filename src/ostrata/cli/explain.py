"""`ostrata explain`: why is a file in its layer?

The fields of --json are stable: path, checksum, component, rule, why, object {component, rule, why}, paths (others of
the object), packages [{name, version}], updates (dates), interval, exclusive, size, compressed_size (of the component),
layer {id, components, size, compressed_size, weekly_chance}. Of a directory: path, components [{component, layer,
paths, size}].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    open_plan_source,
    plan_options,
    planning_options,
    read_previous,
    source_options,
)
from ostrata.errors import escape, some_of

if TYPE_CHECKING:
    from ostrata.pipeline.explain import ComponentShare, Explanation

EPILOG = """\b
Examples:
  ostrata explain --repo repo os/stable /usr/bin/bash
  ostrata explain --repo repo os/stable /usr/lib/firmware/blob.bin --map components.yml
  ostrata explain rootfs/ /etc/passwd --json
  ostrata explain rootfs/ /usr/lib/firmware
"""

_SHOWN = 8
_SHOWN_SHARES = 20


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
    """Say which component and layer PATH of SOURCE is in, by which rule, and why. Options as for `ostrata plan`.

    Of a directory, which is in many layers, say which components are in it.
    """
    from ostrata.pipeline.explain import explain, explain_directory
    from ostrata.pipeline.plan import plan_tree

    with open_progress(quiet or as_json) as progress:
        previous = read_previous(given)
        planned = open_plan_source(source, given, progress)
        result = plan_tree(
            planned, plan_options(given, planned.timestamp), previous, jobs=given["jobs"], progress=progress
        )
        shares = explain_directory(planned, result, path)
        if shares is not None:
            document, lines = _directory_to_json(path, shares), _describe_directory(path, shares)
        else:
            explanation = explain(planned, result, path)
            document, lines = to_json(explanation), describe(explanation)
    if as_json:
        print_json(document)
        return
    for line in lines:
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


def _directory_to_json(path: str, shares: Sequence[ComponentShare]) -> dict[str, Any]:
    return {"path": path.strip("/"), "components": [asdict(share) for share in shares]}


def describe(found: Explanation) -> Iterator[str]:
    """Lines for people."""
    component, layer = found.component, found.layer_forecast
    yield f"/{escape(found.path)}"
    yield f"  rule       {found.rule}: {found.why}"
    if (found.object_rule, found.object_why) != (found.rule, found.why):
        yield f"  object     another path of the same object counts more: {found.object_rule}: {found.object_why}"
    if found.twins:
        yield f"  same file  {some_of([f'/{escape(path)}' for path in found.twins], _SHOWN)}"
    yield (
        f"  component  {escape(component.name)}: {format_count(len(component.paths), 'path')}, "
        f"{format_size(component.size)}, about {format_size(component.compressed_size)} compressed"
    )
    if found.packages:
        packages = [escape(f"{package.name} {package.version}") for package in found.packages]
        yield f"  packages   {some_of(packages, _SHOWN)}"
    yield f"  updates    {_updates(found)}"
    if component.exclusive is not None:
        yield f"  exclusive  it asks for the layer {escape(component.exclusive)}"
    yield (
        f"  layer      {found.layer}: {format_count(len(found.layer_components), 'component')}, about "
        f"{format_size(layer.compressed_size)} compressed, changes in {100 * layer.weekly_chance:.1f} % of all weeks"
    )
    others = [escape(name) for name in found.layer_components if name != component.name]
    if others:
        yield f"             with {some_of(others, _SHOWN)}"


def _describe_directory(path: str, shares: Sequence[ComponentShare]) -> Iterator[str]:
    yield f"/{escape(path.strip('/'))}: a directory with files of {format_count(len(shares), 'component')}"
    for share in shares[:_SHOWN_SHARES]:
        paths = format_count(share.paths, "path")
        yield f"  {format_size(share.size):>8}  {paths:>12}  {share.layer}  {escape(share.component)}"
    if len(shares) > _SHOWN_SHARES:
        yield f"  and {len(shares) - _SHOWN_SHARES} more (--json has all)"


def _updates(found: Explanation) -> str:
    component = found.component
    if component.interval is not None:
        return f"taken to come every {f'{component.interval:g} days' if component.interval != 1 else 'day'}"
    if not component.updates:
        return "none are known: taken to come as often as those of all components in the mean"
    return f"{len(component.updates)} known, the last on {component.updates[-1].isoformat()}"
