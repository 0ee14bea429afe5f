"""`ostrata verify`: is every byte of an image right?

The fields of --json are stable: ok, digest, commit, layers, objects, paths, tar_bytes, problems {count, shown},
unreferenced {count, shown}. Exit code 4 when there are problems.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ostrata.cli.common import format_size, jobs_option, json_option, open_progress, print_json, quiet_option

if TYPE_CHECKING:
    from ostrata.inspection.findings import Findings
    from ostrata.pipeline.verify import Verification

EPILOG = """\b
Examples:
  ostrata verify oci:image:latest
  ostrata verify oci-archive:os.tar --repo repo os/stable
  ostrata verify oci:image:latest --json | jq .problems
"""

DIFFERENT = 4


@click.command(epilog=EPILOG)
@click.argument("image")
@click.argument("rev", required=False)
@click.option("--repo", metavar="PATH", help="Compare with commit REV of this OSTree repository.")
@click.option(
    "--max-size",
    type=click.IntRange(min=1),
    metavar="BYTES",
    help="Refuse layers that decompress to more.  [default: 1 TiB]",
)
@jobs_option
@quiet_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    image: str,
    rev: str | None,
    repo: str | None,
    max_size: int | None,
    jobs: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Read every byte of IMAGE: digests, tars, every OSTree object, completeness. With --repo, also: is it REV?"""
    from ostrata.pipeline.places import open_image
    from ostrata.pipeline.verify import MAX_TAR, verify
    from ostrata.stores.ostree_repository import open_repository
    from ostrata.stores.reference import parse_reference

    if (repo is None) != (rev is None):
        raise click.UsageError("--repo and REV go together.")
    repository = open_repository(repo) if repo is not None else None
    with open_progress(quiet) as progress:
        result = verify(
            parse_reference(image),
            open_image(image)[1],
            repository=repository,
            revision=rev,
            max_size=max_size or MAX_TAR,
            jobs=jobs,
            progress=progress,
        )
    if as_json:
        print_json(_to_json(result))
    else:
        _print(result)
    if result.problems.count:
        ctx.exit(DIFFERENT)


def _to_json(result: Verification) -> dict[str, Any]:
    return {
        "ok": result.problems.count == 0,
        "digest": str(result.image.digest),
        "commit": result.commit,
        "layers": len(result.image.layers),
        "objects": result.objects,
        "paths": result.paths,
        "tar_bytes": result.tar_bytes,
        "problems": {"count": result.problems.count, "shown": list(result.problems.shown)},
        "unreferenced": {"count": result.unreferenced.count, "shown": list(result.unreferenced.shown)},
    }


def _print(result: Verification) -> None:
    _print_findings("problems", result.problems)
    _print_findings("objects that the commit does not need", result.unreferenced)
    layers = f"{len(result.image.layers)} layers, {format_size(result.tar_bytes)} of tar"
    if result.problems.count:
        click.echo(f"{result.image.digest}: NOT RIGHT: {result.problems.count} problems; {layers}")
    elif result.commit is None:
        click.echo(f"{result.image.digest}: right: {layers}; no OSTree commit inside")
    else:
        click.echo(
            f"{result.image.digest}: right: {layers}, {result.objects} objects, {result.paths} paths, "
            f"commit {result.commit}"
        )


def _print_findings(title: str, findings: Findings) -> None:
    if not findings.count:
        return
    click.echo(f"{title}:")
    for finding in findings.shown:
        click.echo(f"  {finding}")
    if findings.count > len(findings.shown):
        click.echo(f"  ... and {findings.count - len(findings.shown)} more")
