"""`ostrata container encapsulate|export`: the command line of ostree-ext-cli, so that scripts can stay as they are.

The same options in the same order, the manifest's digest on stdout. Layout bootc, format version 1 by default; what is
written is what `ostrata encapsulate` writes with those two options.
"""

from __future__ import annotations

from typing import Any

import click

from ostrata.cli.common import jobs_option, open_progress, quiet_option, repo_option

EPILOG = """\b
Examples:
  ostrata container encapsulate --repo repo os/stable oci:image:latest --contentmeta meta.json
  ostrata container export --repo repo os/stable registry:registry.example/os:latest --authfile auth.json
"""


@click.group(epilog=EPILOG)
def command() -> None:
    """The command line of ostree-ext-cli's `container`, for scripts that use it."""


@click.command(epilog=EPILOG)
@repo_option
@click.argument("rev")
@click.argument("imgref")
@click.option("-l", "--label", "labels", multiple=True, metavar="K=V", help="Additional label. Repeatable.")
@click.option("--authfile", metavar="FILE", help="Passed on to skopeo.")
@click.option("--config", metavar="FILE", help="A JSON file with the image config's `config` object to start from.")
@click.option("--copymeta", multiple=True, metavar="KEY", help="Copy the commit's metadata KEY to a label. Repeatable.")
@click.option("--copymeta-opt", multiple=True, metavar="KEY", help="The same, if the commit has KEY. Repeatable.")
@click.option("--cmd", multiple=True, metavar="ARG", help="The image's command, an argument each time.")
@click.option("--compression-fast", is_flag=True, help="Compress at the fastest level.")
@click.option("--contentmeta", metavar="FILE", help="Which objects share a layer: a contentmeta file (JSON).")
@click.option("--reserved-layer", is_flag=True, help="End with an empty layer, reserved for new packages, as upstream.")
@click.option("--format-version", type=click.IntRange(1, 2), default=1, show_default=True)
@jobs_option
@quiet_option
def encapsulate(imgref: str, quiet: bool, **options: Any) -> None:
    """Wrap OSTree commit REV into a container image at IMGREF. Prints the manifest's digest."""
    from ostrata.cli.encapsulate import run

    with open_progress(quiet) as progress:
        result = run(
            dest=imgref,
            unmapped=None,
            layout="bootc",
            compression="gzip",
            compression_level=None,
            previous=None,
            created=None,
            arch=None,
            tmpdir=None,
            progress=progress,
            **options,
        )
    click.echo(str(result.manifest.digest))


command.add_command(encapsulate, "encapsulate")
command.add_command(encapsulate, "export")
