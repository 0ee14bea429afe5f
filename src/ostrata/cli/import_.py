"""`ostrata import`: an encapsulated image becomes an OSTree commit again.

The fields of --json are stable: commit, ref (null without one), image (the manifest's digest), layers {commit, read,
left_out}, new_objects, new_bytes. `layers.commit` are the layers that hold the commit, `layers.read` those of them that
were read, `layers.left_out` those on top of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ostrata.cli.common import (
    fetched_image_options,
    format_size,
    jobs_option,
    json_option,
    new_repo_mode_option,
    open_progress,
    print_json,
    quiet_option,
    repo_option,
)

if TYPE_CHECKING:
    from ostrata.pipeline.import_image import ImportedCommit
    from ostrata.stores.skopeo import SkopeoOptions

EPILOG = """\b
Examples:
  ostrata import oci:image:latest --repo repo --write-ref os/stable
  ostrata import oci-archive:os.tar --repo repo --mode archive
  ostrata import docker://registry.example/os:41 --repo repo --authfile auth.json
  ostrata import oci:image:latest --repo repo --json | jq -r .commit

\b
The commit's checksum is the only thing on stdout. oci: and oci-archive: are
read by ostrata itself, all else through skopeo. Layers whose objects are all
in REPO are not read again.
"""


@click.command(epilog=EPILOG)
@click.argument("image")
@repo_option
@click.option("--write-ref", "ref", metavar="REF", help="The ref to move to the commit.")
@new_repo_mode_option
@fetched_image_options
@jobs_option
@json_option
@quiet_option
def command(
    image: str, repo: str, ref: str | None, as_json: bool, quiet: bool, authfile: str | None, **options: Any
) -> None:
    """Import the OSTree commit in IMAGE to the repository REPO, which is made if it does not exist."""
    from ostrata.stores.skopeo import SkopeoOptions

    skopeo = SkopeoOptions(authfile=authfile)
    digest, left_out, result = run(image, repo, ref, skopeo=skopeo, quiet=quiet or as_json, **options)
    if as_json:
        print_json(
            {
                "commit": result.checksum,
                "ref": ref,
                "image": digest,
                "layers": {"commit": result.layers, "read": result.layers_read, "left_out": left_out},
                "new_objects": result.new_objects,
                "new_bytes": result.new_bytes,
            }
        )
        return
    click.echo(result.checksum)
    if not quiet:
        click.echo(
            f"ostrata: {result.layers_read} of {result.layers} layers read; "
            f"new: {result.new_objects} objects, {format_size(result.new_bytes)}",
            err=True,
        )


def run(
    image: str,
    repo: str,
    ref: str | None,
    *,
    mode: str,
    max_size: int | None,
    tmpdir: str | None,
    skopeo: SkopeoOptions,
    jobs: int,
    quiet: bool,
) -> tuple[str, int, ImportedCommit]:
    """Import; the result is the manifest's digest, the number of layers left out, and what was imported."""
    from ostrata.pipeline.import_image import MAX_TAR, import_image
    from ostrata.pipeline.places import open_source
    from ostrata.stores.ostree_writer import init_repository, is_repository

    with open_progress(quiet) as progress, open_source(image, skopeo=skopeo, tmpdir=tmpdir) as (store, found):
        if not is_repository(repo):
            init_repository(repo, mode)
        result = import_image(repo, store, found, ref=ref, max_size=max_size or MAX_TAR, jobs=jobs, progress=progress)
    return str(found.descriptor.digest), len(found.layers) - result.layers, result
