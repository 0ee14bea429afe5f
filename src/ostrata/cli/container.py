"""`ostrata container ...`: the command line of ostree-ext-cli, so that scripts can stay as they are.

`encapsulate` (or `export`): the same options in the same order, the manifest's digest on stdout. Layout bootc, format
version 1 by default; what is written is what `ostrata encapsulate` writes with those two options.

`unencapsulate` (or `import`): the same options in the same order, and the same line on stdout. Image references may
have upstream's prefixes; those that ask for a verified signature are refused, since none is verified here. Upstream
refuses layers on top of the commit here, and merges them in its `container image pull`; here they are merged.
"""

from __future__ import annotations

from typing import Any

import click

from ostrata.cli.common import authfile_option, jobs_option, open_progress, quiet_option, repo_option

EPILOG = """\b
Examples:
  ostrata container encapsulate --repo repo os/stable oci:image:latest --contentmeta meta.json
  ostrata container export --repo repo os/stable registry:registry.example/os:latest --authfile auth.json
  ostrata container unencapsulate --repo repo --write-ref os/stable ostree-unverified-registry:registry.example/os
"""


@click.group(epilog=EPILOG)
def command() -> None:
    """The command line of ostree-ext-cli's `container`, for scripts that use it."""


@click.command(epilog=EPILOG)
@repo_option
@click.argument("rev")
@click.argument("imgref")
@click.option("-l", "--label", "labels", multiple=True, metavar="K=V", help="Additional label. Repeatable.")
@authfile_option
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


_UNVERIFIED = {"ostree-unverified-image": "", "ostree-unverified-registry": "docker://"}
_SIGNED = ("ostree-image-signed", "ostree-remote-image", "ostree-remote-registry")


@click.command(epilog=EPILOG)
@repo_option
@click.argument("imgref")
@click.option("--auth-anonymous", is_flag=True, help="Use no authentication files.")
@authfile_option
@click.option("--cert-dir", metavar="DIR", help="Certificates for the registry; passed on to skopeo.")
@click.option("--insecure-skip-tls-verification", is_flag=True, help="Do not verify the registry's certificate.")
@click.option("--write-ref", metavar="REF", help="The ref to move to the commit.")
@jobs_option
@quiet_option
def unencapsulate(
    repo: str,
    imgref: str,
    auth_anonymous: bool,
    authfile: str | None,
    cert_dir: str | None,
    insecure_skip_tls_verification: bool,
    write_ref: str | None,
    jobs: int,
    quiet: bool,
) -> None:
    """Import the image at IMGREF to the repository, as `ostrata import` does."""
    from ostrata.cli.import_ import run, warn_of_losses
    from ostrata.stores.ostree_repository import open_repository
    from ostrata.stores.skopeo import SkopeoOptions

    open_repository(repo)  # upstream makes none
    skopeo = SkopeoOptions(authfile, auth_anonymous, cert_dir, not insecure_skip_tls_verification)
    _, result = run(
        _reference(imgref),
        repo,
        write_ref,
        mode="",
        max_size=None,
        tmpdir=None,
        skopeo=skopeo,
        jobs=jobs,
        quiet=quiet,
    )
    warn_of_losses(result)
    click.echo(f"Imported: {write_ref} => {result.checksum}" if write_ref else f"Imported: {result.checksum}")


def _reference(imgref: str) -> str:
    """The reference behind upstream's prefixes. Raises: UnsupportedError for those that ask for a signature."""
    from ostrata.errors import UnsupportedError

    prefix, _, rest = imgref.partition(":")
    if prefix in _SIGNED:
        raise UnsupportedError(
            f"'{prefix}:' asks for a verified signature, and signatures are not verified here",
            hint="verify the image first, then import it by its plain name or with ostree-unverified-image:",
        )
    return _UNVERIFIED[prefix] + rest if prefix in _UNVERIFIED else imgref


command.add_command(encapsulate, "encapsulate")
command.add_command(encapsulate, "export")
command.add_command(unencapsulate, "unencapsulate")
command.add_command(unencapsulate, "import")
