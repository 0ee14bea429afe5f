"""`ostrata inspect`: the layers of an image.

The fields of --json are stable: digest, architecture, os, created, commit, size, labels, layers [{digest, diff_id,
media_type, size, share, kind, name, components}]; sizes in bytes, share as a fraction.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ostrata.cli.common import format_size, json_option, print_json
from ostrata.errors import escape, some_of

if TYPE_CHECKING:
    from ostrata.inspection.inspect import ImageSummary, LayerSummary

EPILOG = """\b
Examples:
  ostrata inspect oci:image:latest
  ostrata inspect oci-archive:os.tar --json | jq '.layers | max_by(.size)'
"""


@click.command(epilog=EPILOG)
@click.argument("image")
@json_option
@click.option("--labels", "show_labels", is_flag=True, help="Show the labels too.")
def command(image: str, as_json: bool, show_labels: bool) -> None:
    """Show the layers of IMAGE: what is in each, its size, and its share of the image. No layer is read."""
    from ostrata.inspection.inspect import summarise
    from ostrata.pipeline.places import open_image

    summary = summarise(open_image(image)[1])
    if as_json:
        print_json(_to_json(summary))
    else:
        _print_table(summary, show_labels)


def _to_json(summary: ImageSummary) -> dict[str, Any]:
    return {
        "digest": str(summary.digest),
        "architecture": summary.architecture,
        "os": summary.os,
        "created": summary.created,
        "commit": summary.commit,
        "size": summary.size,
        "labels": dict(summary.labels),
        "layers": [
            {
                "digest": str(layer.digest),
                "diff_id": str(layer.diff_id),
                "media_type": layer.media_type,
                "size": layer.size,
                "share": round(layer.share, 6),
                "kind": layer.kind,
                "name": layer.name,
                "components": list(layer.components),
            }
            for layer in summary.layers
        ],
    }


def _print_table(summary: ImageSummary, show_labels: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("#", "size", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("digest", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    table.add_column("what", overflow="fold")
    for number, layer in enumerate(summary.layers):
        table.add_row(
            str(number),
            format_size(layer.size),
            f"{layer.share:.1%}",
            layer.digest.encoded[:12],
            layer.kind,
            Text(escape(_what(layer))),
        )
    console.print(table)
    console.print()
    commit = f", commit {summary.commit}" if summary.commit else ""
    line = f"{len(summary.layers)} layers, {format_size(summary.size)}, {summary.os}/{summary.architecture}"
    console.print(Text(escape(f"{line}, created {summary.created}{commit}")), soft_wrap=True)
    console.print(Text(f"digest {summary.digest}"), soft_wrap=True)
    if show_labels:
        for key, value in sorted(summary.labels.items()):
            console.print(Text(escape(f"{key}={value}")), soft_wrap=True)


def _what(layer: LayerSummary) -> str:
    if len(layer.components) > 1:
        return some_of(layer.components, 6)
    return layer.components[0] if layer.components else layer.name
