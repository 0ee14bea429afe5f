"""`ostrata lint`: what would keep a tree from being built, or would be changed on the way?

Exits with 4 when there is something. The fields of --json are stable: findings [{severity (refused, changed or advice),
what, step (null when none helps), paths [{path, what}]}].
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ostrata.cli.common import jobs_option, json_option, open_progress, print_json, quiet_option
from ostrata.cli.source_options import SOURCES, open_source, source_options

if TYPE_CHECKING:
    from ostrata.pipeline.lint import LintFinding

EPILOG = f"""\b
Examples:
  ostrata lint rootfs/
  ostrata lint oci:image:latest --json
  ostrata lint --repo repo os/stable

{SOURCES}
\b
refused: `ostrata build` fails unless the step is taken with --fix; changed: a
default step sees to it (--without-step leaves it out); advice: the tree can
be built as it is, and --fix takes the step.
"""

_DIFFERENT = 4
_SHOWN = 3


@click.command(epilog=EPILOG)
@click.argument("source")
@source_options
@jobs_option
@quiet_option
@json_option
@click.pass_context
def command(ctx: click.Context, /, source: str, quiet: bool, as_json: bool, **given: Any) -> None:
    """List all at once what stands between SOURCE and an image of the format ostree; nothing is changed."""
    from ostrata.pipeline.lint import lint

    with open_progress(quiet or as_json) as progress, open_source(source, given, progress) as prepared:
        findings = lint(prepared)
    if as_json:
        print_json({"findings": [_to_json(finding) for finding in findings]})
    else:
        _print(findings)
    if findings:
        ctx.exit(_DIFFERENT)


def _to_json(finding: LintFinding) -> dict[str, Any]:
    paths = [{"path": change.path, "what": change.what} for change in finding.paths]
    return {"severity": finding.severity, "what": finding.what, "step": finding.step, "paths": paths}


def _print(findings: list[LintFinding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not findings:
        click.echo("nothing: the tree is fit as it is")
        return
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("", "step", "paths", "why, and which"):
        table.add_column(name, justify="right" if name == "paths" else "left", no_wrap=not name.startswith("why"))
    for finding in findings:
        count = str(len(finding.paths)) if finding.paths else ""
        table.add_row(finding.severity, finding.step or "", count, Text(_describe(finding)))
    console.print(table)


def _describe(finding: LintFinding) -> str:
    from ostrata.errors import escape

    shown = [f"/{escape(change.path)}: {change.what}" for change in finding.paths[:_SHOWN]]
    if len(finding.paths) > _SHOWN:
        shown.append(f"and {len(finding.paths) - _SHOWN} more (--json has all)")
    return "\n".join([finding.what, *(f"  {line}" for line in shown)])
