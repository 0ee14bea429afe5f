"""`ostrata verify`: is every byte of an image right? With --against: is its tree that of a directory or another image?

The fields of --json are stable: ok, digest, commit, layers, objects, paths, tar_bytes, problems {count, shown},
unreferenced {count, shown}. With --against: ok, digest, commit, against, entries, notes, differences {count, shown
[{path, what, image, against, reason}]}, all of them. Exit code 4 when there are problems or differences.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from ostrata.cli.common import (
    format_size,
    jobs_option,
    json_option,
    open_progress,
    parse_size,
    print_json,
    quiet_option,
)

if TYPE_CHECKING:
    from ostrata.inspection.findings import Findings
    from ostrata.model.image import StoredImage
    from ostrata.pipeline.verify import Verification
    from ostrata.pipeline.verify_against import TreeVerification
    from ostrata.progress import Progress
    from ostrata.protocols import BlobStore

EPILOG = """\b
Examples:
  ostrata verify oci:image:latest
  ostrata verify oci-archive:os.tar --repo repo os/stable
  ostrata verify oci:image:latest --against rootfs/
  ostrata verify docker://example.com/os:42 --against oci:rebuilt --mtime
  ostrata verify oci:image:latest --json | jq .problems
"""

DIFFERENT = 4
SHOWN_DIFFERENCES = 100


@click.command(epilog=EPILOG)
@click.argument("image")
@click.argument("rev", required=False)
@click.option("--repo", metavar="PATH", help="Compare with commit REV of this OSTree repository.")
@click.option("--against", metavar="DIR|IMAGE", help="Compare the tree with that of a directory or another image.")
@click.option("--mtime", "times", is_flag=True, help="With --against: compare times too.")
@click.option(
    "--max-size", metavar="SIZE", callback=parse_size, help="Refuse layers that decompress to more.  [default: 1TiB]"
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
    against: str | None,
    times: bool,
    max_size: int | None,
    jobs: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Read every byte of IMAGE: digests, tars, every OSTree object, completeness. With --repo, also: is it REV?

    With --against, compare its tree, as a booted system or a container sees it, with another one.
    """
    from ostrata.pipeline.places import open_image
    from ostrata.pipeline.verify import MAX_TAR, verify
    from ostrata.stores.ostree_repository import open_repository
    from ostrata.stores.reference import parse_reference

    if (repo is None) != (rev is None):
        raise click.UsageError("--repo and REV go together.")
    if against is not None:
        if repo is not None:
            raise click.UsageError("--against and --repo exclude each other.")
        with open_progress(quiet) as progress:
            ctx.exit(_verify_against(image, against, times, max_size, jobs, progress, as_json))
    if times:
        raise click.UsageError("--mtime goes with --against.")
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


# --against


def _verify_against(
    image: str, against: str, times: bool, max_size: int | None, jobs: int, progress: Progress, as_json: bool
) -> int:
    """Compare, print; the result is the exit code."""
    from ostrata.pipeline.places import open_source
    from ostrata.pipeline.verify_against import verify_against
    from ostrata.sources.image import MAX_TAR

    with ExitStack() as stack:
        opened = stack.enter_context(open_source(image))
        other: str | tuple[BlobStore, StoredImage] = against
        if _is_reference(against):
            other = stack.enter_context(open_source(against))
        result = verify_against(opened, other, times=times, max_size=max_size or MAX_TAR, jobs=jobs, progress=progress)
    digest = str(opened[1].descriptor.digest)
    if as_json:
        print_json(_tree_to_json(result, digest, against))
    else:
        _print_differences(result, digest, against)
    return DIFFERENT if result.differences else 0


def _is_reference(text: str) -> bool:
    """An image, or the path of a directory? A directory called `oci:x` is written ./oci:x."""
    import os

    from ostrata.errors import MalformedError, UnsupportedError
    from ostrata.stores.reference import parse_reference

    try:
        parse_reference(text)
    except (MalformedError, UnsupportedError):
        if not os.path.isdir(text):
            raise
        return False
    return True


def _tree_to_json(result: TreeVerification, digest: str, against: str) -> dict[str, Any]:
    return {
        "ok": not result.differences,
        "digest": digest,
        "commit": result.commit,
        "against": against,
        "entries": result.entries,
        "notes": list(result.notes),
        "differences": {
            "count": len(result.differences),
            "shown": [
                {
                    "path": f"/{each.path}",
                    "what": each.what,
                    "image": each.image,
                    "against": each.against,
                    "reason": each.reason,
                }
                for each in result.differences
            ],
        },
    }


def _print_differences(result: TreeVerification, digest: str, against: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ostrata.errors import escape
    from ostrata.stores.skopeo import without_secrets

    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("path", "what", "image", "against", "reason"):
        table.add_column(name, overflow="fold")
    for each in result.differences[:SHOWN_DIFFERENCES]:
        words = (f"/{each.path}", each.what, each.image or "-", each.against or "-", each.reason or "")
        table.add_row(*(Text(escape(word)) for word in words))
    if result.differences:
        console.print(table)
        if len(result.differences) > SHOWN_DIFFERENCES:
            click.echo(f"... and {len(result.differences) - SHOWN_DIFFERENCES} more")
        console.print()
    for note in result.notes:
        click.echo(f"note: {note}")
    found = f"{len(result.differences)} differences" if result.differences else "no difference"
    known = sum(each.reason is not None for each in result.differences)
    reasons = f", {known} of them with a known reason" if known else ""
    click.echo(f"{digest}: {found}{reasons} in {result.entries} entries, compared with {without_secrets(against)}")
