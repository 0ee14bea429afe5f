"""`ostrata tar export|import`: a commit as one tar, as ostree-ext-cli's `tar` writes and reads it.

The fields of `tar import --json` are stable: commit, ref (null without one), new_objects, new_bytes.
"""

from __future__ import annotations

import sys

import click

from ostrata.cli.common import (
    format_size,
    json_option,
    new_repo_mode_option,
    open_progress,
    parse_size,
    print_json,
    quiet_option,
    repo_option,
)

EPILOG = """\b
Examples:
  ostrata tar export --repo repo os/stable > os.tar
  ostrata tar import --repo other os.tar --write-ref os/stable
  ostrata tar export --repo repo os/stable | ssh host ostrata tar import --repo repo
  zstd -dc os.tar.zst | ostrata tar import --repo other
"""


@click.group(epilog=EPILOG)
def command() -> None:
    """A commit as one tar, and back."""


@command.command("export", epilog=EPILOG)
@repo_option
@click.argument("rev")
@click.option(
    "--layout",
    type=click.Choice(["bootc", "ostree-ext-0.15"]),
    default="bootc",
    show_default=True,
    help="How extended attributes are written.",
)
@click.option("--format-version", type=click.IntRange(1, 1), default=1, hidden=True)
@quiet_option
def export(repo: str, rev: str, layout: str, format_version: int, quiet: bool) -> None:
    """Write commit REV of the repository to stdout, as a tar with all of its objects and paths."""
    from ostrata.formats.encapsulated import Layout
    from ostrata.pipeline.tar_files import export_tar
    from ostrata.stores.ostree_repository import open_repository

    if sys.stdout.isatty():
        raise click.UsageError("A tar is not written to a terminal: send stdout to a file or a program.")
    with open_progress(quiet) as progress:
        export_tar(open_repository(repo), rev, sys.stdout.buffer, Layout(layout, format_version), progress)
        sys.stdout.buffer.flush()


@command.command("import", epilog=EPILOG)
@repo_option
@click.argument("file", required=False)
@click.option("--write-ref", "ref", metavar="REF", help="The ref to move to the commit.")
@new_repo_mode_option
@click.option("--max-size", metavar="SIZE", callback=parse_size, help="Refuse a tar of more.  [default: 64GiB]")
@json_option
@quiet_option
def import_(
    repo: str, file: str | None, ref: str | None, mode: str, max_size: int | None, as_json: bool, quiet: bool
) -> None:
    """Import the commit in the tar FILE (stdin by default) to the repository. The tar must not be compressed."""
    from ostrata.pipeline.tar_files import import_tar
    from ostrata.sources.image import MAX_TAR
    from ostrata.stores.files import open_regular
    from ostrata.stores.ostree_writer import init_repository, is_repository

    source = sys.stdin.buffer if file in (None, "-") else open(open_regular(str(file)), "rb")
    with source, open_progress(quiet or as_json) as progress:
        if not is_repository(repo):
            init_repository(repo, mode)
        result = import_tar(repo, source, ref=ref, max_size=max_size or MAX_TAR, progress=progress)
    if as_json:
        found = {"new_objects": result.new_objects, "new_bytes": result.new_bytes}
        print_json({"commit": result.checksum, "ref": ref, **found})
        return
    click.echo(result.checksum)
    if not quiet:
        new = f"{result.new_objects} objects, {format_size(result.new_bytes)}"
        click.echo(f"ostrata: new: {new}", err=True)
