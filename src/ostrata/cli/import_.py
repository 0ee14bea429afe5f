"""`ostrata import`: an image of any kind becomes an OSTree commit.

The fields of --json are stable: commit (the one that has all of the image), base (the image's own commit when layers
lie on top of it, null otherwise), ref (null without one), image (the manifest's digest), layers {commit, read,
merged, merged_read}, selinux (the policy that labelled the merged commit, null without one), new_objects, new_bytes,
left_out [{path, reason}], findings [{what, path, count}]. `layers.commit` are the layers that hold the image's own
commit, `layers.read` those of them that were read, `layers.merged` the others, `layers.merged_read` those of the others
that were read.
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
    warn,
)
from ostrata.errors import escape

if TYPE_CHECKING:
    from ostrata.pipeline.import_image import ImportedImage
    from ostrata.sources.selinux import SelinuxPolicy
    from ostrata.stores.skopeo import SkopeoOptions

SHOWN = 10

EPILOG = """\b
Examples:
  ostrata import oci:image:latest --repo repo --write-ref os/stable
  ostrata import oci-archive:os.tar --repo repo --mode archive
  ostrata import docker://registry.example/os:41 --repo repo --authfile auth.json
  ostrata import oci:derived:latest --repo repo --json | jq '.commit, .base, .left_out'

\b
The commit's checksum is the only thing on stdout. Layers on top of an
encapsulated commit become a second commit, whose parent is the first; the
checksum and REF are the second's. An image without an encapsulated commit
becomes one. What a commit cannot hold is left out and listed.

\b
Layers of builds have no SELinux labels: they are labelled by the policy in the
image, if it has one that is on. oci: and oci-archive: are read by ostrata
itself, all else through skopeo. Layers of an encapsulated commit whose objects
are all in REPO are not read again.
"""


@click.command(epilog=EPILOG)
@click.argument("image")
@repo_option
@click.option("--write-ref", "ref", metavar="REF", help="The ref to move to the commit.")
@new_repo_mode_option
@click.option(
    "--selinux-policy",
    metavar="TREE",
    type=click.Path(),
    help="Label the merged commit by the policy in this root.  [default: the image's own]",
)
@click.option("--no-selinux", is_flag=True, help="Set no labels.")
@fetched_image_options
@jobs_option
@json_option
@quiet_option
def command(
    image: str,
    repo: str,
    ref: str | None,
    selinux_policy: str | None,
    no_selinux: bool,
    as_json: bool,
    quiet: bool,
    authfile: str | None,
    **options: Any,
) -> None:
    """Import IMAGE as an OSTree commit to the repository REPO, which is made if it does not exist."""
    from ostrata.stores.skopeo import SkopeoOptions

    if selinux_policy is not None and no_selinux:
        raise click.UsageError("--selinux-policy and --no-selinux exclude each other.")
    policy = _policy(selinux_policy)
    labels = policy is not None if selinux_policy is not None else not no_selinux
    skopeo = SkopeoOptions(authfile=authfile)
    digest, result = run(image, repo, ref, policy, labels, skopeo=skopeo, quiet=quiet or as_json, **options)
    if policy is not None and result.merged is None:
        warn("the image is one commit, which keeps its labels: --selinux-policy has nothing to label")
    if as_json:
        print_json(_to_json(digest, ref, result))
        return
    warn_of_losses(result)
    click.echo(result.checksum)
    if not quiet:
        click.echo(_summary(result), err=True)


def _policy(tree: str | None) -> SelinuxPolicy | None:
    from ostrata.sources.selinux import open_policy

    if tree is None:
        return None
    policy = open_policy(tree)
    if policy is None:
        warn(f"SELinux is off in {escape(tree)}: no labels are set")
    return policy


def run(
    image: str,
    repo: str,
    ref: str | None,
    policy: SelinuxPolicy | None = None,
    labels: bool = True,
    *,
    mode: str,
    max_size: int | None,
    tmpdir: str | None,
    skopeo: SkopeoOptions,
    jobs: int,
    quiet: bool,
) -> tuple[str, ImportedImage]:
    """Import; the result is the manifest's digest, and what was imported."""
    from ostrata.pipeline.import_image import import_image
    from ostrata.pipeline.places import open_source
    from ostrata.sources.image import MAX_TAR
    from ostrata.stores.ostree_writer import init_repository, is_repository

    with open_progress(quiet) as progress, open_source(image, skopeo=skopeo, tmpdir=tmpdir) as (store, found):
        if not is_repository(repo):
            init_repository(repo, mode)
        result = import_image(
            repo,
            store,
            found,
            ref=ref,
            policy=policy,
            labels=labels,
            max_size=max_size or MAX_TAR,
            jobs=jobs,
            progress=progress,
        )
    return str(found.descriptor.digest), result


def warn_of_losses(result: ImportedImage) -> None:
    """What is not in the commit, and what is strange, on stderr."""
    if result.merged is None:
        return
    for finding in result.merged.findings:
        warn(f"{finding.what} ({finding.count} times, first: /{escape(finding.path)})")
    left_out = result.merged.left_out
    if left_out:
        entries = "1 entry is" if len(left_out) == 1 else f"{len(left_out)} entries are"
        warn(f"{entries} not in the commit, or not whole:")
        for each in left_out[:SHOWN]:
            click.echo(f"  /{escape(each.path)}: {each.reason}", err=True)
        if len(left_out) > SHOWN:
            click.echo(f"  and {len(left_out) - SHOWN} more: --json lists all", err=True)


def _to_json(digest: str, ref: str | None, result: ImportedImage) -> dict[str, Any]:
    commit, merged = result.commit, result.merged
    findings = merged.findings if merged is not None else ()
    return {
        "commit": result.checksum,
        "base": merged.base if merged is not None else None,
        "ref": ref,
        "image": digest,
        "layers": {
            "commit": commit.layers if commit is not None else 0,
            "read": commit.layers_read if commit is not None else 0,
            "merged": merged.layers if merged is not None else 0,
            "merged_read": merged.layers_read if merged is not None else 0,
        },
        "selinux": merged.policy if merged is not None else None,
        "new_objects": result.new_objects,
        "new_bytes": result.new_bytes,
        "resumed": {
            "layers": result.resumed.layers,
            "objects": result.resumed.objects,
            "bytes": result.resumed.bytes,
        },
        "left_out": [{"path": f"/{each.path}", "reason": each.reason} for each in result.left_out],
        "findings": [{"what": each.what, "path": f"/{each.path}", "count": each.count} for each in findings],
    }


def _summary(result: ImportedImage) -> str:
    parts = []
    if result.resumed.objects:
        parts.append(f"{result.resumed.objects} objects of an interrupted import taken over")
    if result.commit is not None:
        of_commit = f" of commit {result.commit.checksum}" if result.merged is not None else ""
        parts.append(f"{result.commit.layers_read} of {result.commit.layers} layers{of_commit} read")
    if result.merged is not None:
        where = "on top of it" if result.commit is not None else "into one commit"
        labels = f", labelled by the policy {escape(result.merged.policy)}" if result.merged.policy else ""
        layers = "1 layer" if result.merged.layers == 1 else f"{result.merged.layers} layers"
        read = (
            "" if result.merged.layers_read == result.merged.layers else f", {result.merged.layers_read} of them read"
        )
        parts.append(f"{layers} merged {where}{read}{labels}")
    new = f"new: {result.new_objects} objects, {format_size(result.new_bytes)}"
    return f"ostrata: {'; '.join([*parts, new])}"
