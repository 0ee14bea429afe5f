"""`ostrata compare`: what an update from one image to another downloads.

The fields of --json are stable: ok, old, new (manifest digests), download_bytes, fail_above; shared, added, removed:
bytes, layers [{digest, size, components}]. Exit code 4 when the download is larger than --fail-above.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ostrata.cli.common import format_size, json_option, parse_size, print_json, warn
from ostrata.errors import escape, some_of

if TYPE_CHECKING:
    from ostrata.inspection.compare import ComparedLayer, Comparison
    from ostrata.model.image import Platform

EPILOG = """\b
Examples:
  ostrata compare oci:old:latest oci:new:latest
  ostrata compare docker://example.com/os:41 docker://example.com/os:42 --platform linux/arm64
  ostrata compare oci-archive:old.tar oci:new --markdown >> release-notes.md
  ostrata compare docker://example.com/os:stable oci:new --fail-above 500MB --json

\b
Only the two manifests are read; from registries by skopeo.
"""

DIFFERENT = 4
SHOWN_COMPONENTS = 6

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~&])")


@click.command(epilog=EPILOG)
@click.argument("old")
@click.argument("new")
@json_option
@click.option("--markdown", "as_markdown", is_flag=True, help="Write Markdown to stdout, for release notes.")
@click.option(
    "--fail-above", callback=parse_size, metavar="SIZE", help="Exit code 4 for a larger download: 500MB, 1GiB."
)
@click.option("--platform", metavar="OS/ARCH", help="Which image of an index to compare.")
@click.pass_context
def command(
    ctx: click.Context,
    old: str,
    new: str,
    as_json: bool,
    as_markdown: bool,
    fail_above: int | None,
    platform: str | None,
) -> None:
    """Compare the layers of the images OLD and NEW: which are shared, and how much an update downloads."""
    from ostrata.inspection.compare import compare
    from ostrata.stores.manifests import read_manifest
    from ostrata.stores.reference import parse_reference

    if as_json and as_markdown:
        raise click.UsageError("--json and --markdown exclude each other.")
    wanted = _platform(platform)
    references = parse_reference(old), parse_reference(new)
    result = compare(*(read_manifest(reference, platform=wanted) for reference in references))
    is_too_large = fail_above is not None and result.download_bytes > fail_above
    if as_json:
        print_json(_to_json(result, fail_above, not is_too_large))
    elif as_markdown:
        for line in _markdown(result):
            click.echo(line)
    else:
        _print_table(result)
    if fail_above is not None and is_too_large:
        warn(f"expected a download of at most {fail_above:,} bytes, found {result.download_bytes:,}")
        ctx.exit(DIFFERENT)


def _platform(text: str | None) -> Platform | None:
    from ostrata.model.image import Platform

    if text is None:
        return None
    system, slash, architecture = text.partition("/")
    if not system or not slash or not architecture:
        raise click.BadParameter(f"expected OS/ARCH, as linux/amd64, found '{text}'", param_hint="'--platform'")
    return Platform(architecture, system)


def _to_json(result: Comparison, fail_above: int | None, ok: bool) -> dict[str, Any]:
    from ostrata.inspection.compare import total

    groups = {"shared": result.shared, "added": result.added, "removed": result.removed}
    return {
        "ok": ok,
        "old": str(result.old),
        "new": str(result.new),
        "download_bytes": result.download_bytes,
        "fail_above": fail_above,
    } | {
        name: {
            "bytes": total(layers),
            "layers": [
                {"digest": str(layer.digest), "size": layer.size, "components": list(layer.components)}
                for layer in layers
            ],
        }
        for name, layers in groups.items()
    }


def _summary(result: Comparison) -> str:
    from ostrata.inspection.compare import total

    count = len(result.shared) + len(result.added)
    return (
        f"{format_size(result.download_bytes)} to download in {len(result.added)} of {count} layers; "
        f"{format_size(total(result.shared))} in {len(result.shared)} layers are unchanged, "
        f"{format_size(total(result.removed))} in {len(result.removed)} layers are gone"
    )


def _rows(result: Comparison) -> Iterator[tuple[str, ComparedLayer]]:
    """Added layers first, then removed ones, the largest first."""
    for word, layers in (("added", result.added), ("removed", result.removed)):
        for layer in sorted(layers, key=lambda layer: (-layer.size, layer.digest)):
            yield word, layer


def _what(layer: ComparedLayer) -> str:
    if not layer.components:
        return str(layer.digest)
    return some_of(layer.components, SHOWN_COMPONENTS)


def _print_table(result: Comparison) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("layer", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("digest", no_wrap=True)
    table.add_column("what", overflow="fold")
    for word, layer in [*(("shared", layer) for layer in result.shared), *_rows(result)]:
        what = Text(escape(_what(layer)) if layer.components else "")
        table.add_row(word, format_size(layer.size), layer.digest.encoded[:12], what)
    if table.row_count:
        console.print(table)
        console.print()
    console.print(Text(f"{result.old} -> {result.new}"), soft_wrap=True)
    console.print(Text(_summary(result)), soft_wrap=True)


def _markdown(result: Comparison) -> Iterator[str]:
    yield f"**Update size**: {_summary(result)}."
    rows = list(_rows(result))
    if not rows:
        return
    yield ""
    yield "| layer | size | contents |"
    yield "|---|---:|---|"
    for word, layer in rows:
        what = f"`{layer.digest.encoded[:12]}`" if not layer.components else _as_markdown(_what(layer))
        yield f"| {word} | {format_size(layer.size)} | {what} |"


def _as_markdown(text: str) -> str:
    """`text` as plain words: names come from the image."""
    return _MARKDOWN.sub(r"\\\1", escape(text))
