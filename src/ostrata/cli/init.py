"""`ostrata init`: an empty OSTree repository."""

from __future__ import annotations

import click

from ostrata.cli.common import REPO_MODES, json_option, print_json, repo_option

EPILOG = """\b
Examples:
  ostrata init --repo repo
  ostrata init --repo /srv/repo --mode archive
"""


@click.command(epilog=EPILOG)
@repo_option
@click.option(
    "--mode",
    type=click.Choice(REPO_MODES),
    default=REPO_MODES[0],
    show_default=True,
    help="How objects are kept: bare-user (owners in xattrs, needs no root), archive (compressed, to be served), "
    "bare (as root, with real owners), bare-user-only (owners and xattrs are dropped).",
)
@json_option
def command(repo: str, mode: str, as_json: bool) -> None:
    """Make an empty OSTree repository. One of the same mode that is there already is left as it is."""
    from ostrata.stores.ostree_writer import init_repository

    made = init_repository(repo, mode)
    if as_json:
        print_json({"repo": repo, "mode": mode, "made": made})
