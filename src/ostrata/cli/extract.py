"""`ostrata extract`: the flattened tree of an image, as files.

The fields of --json are stable: image (the manifest's digest), directory, files, links, symlinks, directories, special,
content_bytes, unset {owner, mode, xattrs, missing, copies} (numbers of entries), manifest (null without one), findings
[{what, path, count}].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ostrata.cli.common import (
    fetched_image_options,
    format_size,
    jobs_option,
    json_option,
    open_progress,
    print_json,
    quiet_option,
    warn,
)
from ostrata.errors import escape

if TYPE_CHECKING:
    from ostrata.pipeline.extract import Extraction

EPILOG = """\b
Examples:
  ostrata extract oci:image:latest rootfs
  ostrata extract oci-archive:os.tar etc --path /etc/os-release --path /usr/share/doc
  ostrata extract docker://registry.example/os:41 rootfs --manifest unset.json

\b
Owners, setuid bits, devices and most extended attributes need root. What could
not be set is counted, and listed path by path in the file that --manifest
names. Nothing outside of DIR is touched: no symlink is followed, and hard links
stay within. DIR appears when it is complete.
"""


@click.command(epilog=EPILOG)
@click.argument("image")
@click.argument("directory", metavar="DIR", type=click.Path())
@click.option("--path", "paths", multiple=True, metavar="PATH", help="Only this path and what is below it; repeatable.")
@click.option("--overwrite", is_flag=True, help="Write to a DIR that is not empty; files of the same names go.")
@click.option("--manifest", metavar="FILE", type=click.Path(), help="Record what could not be set, as JSON.")
@fetched_image_options
@jobs_option
@json_option
@quiet_option
def command(
    image: str,
    directory: str,
    paths: tuple[str, ...],
    overwrite: bool,
    manifest: str | None,
    max_size: int | None,
    authfile: str | None,
    tmpdir: str | None,
    jobs: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Extract the tree of IMAGE, its layers on top of each other, to the directory DIR, which is made."""
    from ostrata.pipeline.extract import ExtractOptions, extract
    from ostrata.pipeline.places import open_source
    from ostrata.sources.image import MAX_TAR, TMPDIR
    from ostrata.stores.skopeo import SkopeoOptions

    options = ExtractOptions(paths, overwrite, manifest, max_size or MAX_TAR, tmpdir or TMPDIR)
    with (
        open_progress(quiet or as_json) as progress,
        open_source(image, skopeo=SkopeoOptions(authfile=authfile), tmpdir=tmpdir) as (store, found),
    ):
        result = extract(store, found, directory, options, jobs=jobs, progress=progress)
    if as_json:
        print_json(_to_json(str(found.descriptor.digest), directory, manifest, result))
        return
    _warn(result, manifest)
    if not quiet:
        click.echo(_summary(result), err=True)


def _to_json(digest: str, directory: str, manifest: str | None, result: Extraction) -> dict[str, Any]:
    return {
        "image": digest,
        "directory": directory,
        "files": result.files,
        "links": result.links,
        "symlinks": result.symlinks,
        "directories": result.directories,
        "special": result.special,
        "content_bytes": result.size,
        "unset": dict(result.count_unset()),
        "manifest": manifest,
        "findings": [
            {"what": finding.what, "path": f"/{finding.path}", "count": finding.count} for finding in result.findings
        ],
    }


def _summary(result: Extraction) -> str:
    return (
        f"ostrata: {result.files} files, {format_size(result.size)}, {result.links} more hard links, "
        f"{result.symlinks} symlinks, {result.directories} directories, {result.special} devices and FIFOs"
    )


_UNSET = {
    "owner": "without their owner",
    "mode": "without their setuid or setgid bit",
    "xattrs": "without all of their extended attributes",
    "missing": "missing (devices)",
    "copies": "copies in place of hard links",
}


def _warn(result: Extraction, manifest: str | None) -> None:
    for finding in result.findings:
        warn(f"{finding.what} ({finding.count} times, first: /{escape(finding.path)})")
    counts = [f"{count} {_UNSET[kind]}" for kind, count in result.count_unset().items() if count]
    if counts:
        where = f"listed in {escape(manifest)}" if manifest is not None else "list them with --manifest FILE"
        warn(f"entries {', '.join(counts)}; {where}")
