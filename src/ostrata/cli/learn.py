"""`ostrata learn`: a history from published releases, for `simulate` and `plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ostrata.cli.common import format_count, jobs_option, open_progress, quiet_option
from ostrata.errors import escape

if TYPE_CHECKING:
    from ostrata.model.history import History

EPILOG = """\b
Examples:
  ostrata learn oci:os:39.1 oci:os:39.2 oci:os:39.3 -o history.json
  ostrata learn oci:os:39.1 oci:os:39.2 --packages -o history.json
  ostrata learn releases/*/contentmeta.json --repo repo -o history.json.gz
  ostrata learn oci:os:39.1 oci:os:39.2 --no-layers -o history.json
"""


@click.command(epilog=EPILOG)
@click.argument("sources", nargs=-1, required=True, metavar="IMAGE|FILE...")
@click.option("-o", "--output", required=True, type=click.Path(), metavar="FILE", help="Compressed if it ends in .gz.")
@click.option("--repo", metavar="PATH", help="An OSTree repository: sizes for contentmeta files.")
@click.option("--layers/--no-layers", default=True, help="Read layers, to see what changed in them.  [default: yes]")
@click.option(
    "--packages", "by_package", is_flag=True, help="Components are the source packages in the images' databases."
)
@click.option("--title", help="What this is, for people.")
@jobs_option
@quiet_option
def command(
    sources: tuple[str, ...],
    output: str,
    repo: str | None,
    layers: bool,
    by_package: bool,
    title: str | None,
    jobs: int,
    quiet: bool,
) -> None:
    """Learn from images or contentmeta files of one system when its components changed.

    They are put in the order of their creation dates. Layers that name one component also tell which of its paths
    changed. Components that share a layer are told apart by --packages, or by the package versions in rechunk's label.
    """
    from ostrata.pipeline.learn import learn, write_history
    from ostrata.stores.ostree_repository import open_repository

    repository = open_repository(repo) if repo is not None else None
    with open_progress(quiet) as progress:
        history = learn(
            sources,
            repository=repository,
            read_layers=layers,
            by_package=by_package,
            title=title,
            jobs=jobs,
            progress=progress,
        )
        for note in history.notes:
            progress.warn(note)
    write_history(output, history)
    if not quiet:
        click.echo(f"{_summary(history)}, written to {escape(output)}", err=True)


def _summary(history: History) -> str:
    updates = sum(len(component.updates) for component in history.components)
    days = {day for component in history.components for day in component.updates}
    when = f" on {format_count(len(days), 'day')}" if days else ""
    return f"{format_count(len(history.components), 'component')}, {format_count(updates, 'update')}{when}"
