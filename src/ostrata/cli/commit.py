"""`ostrata commit`: a directory becomes an OSTree commit.

The fields of --json are stable: checksum, parent (null without one), branch (null with --orphan), files, symlinks,
directories, content_bytes, new_objects, new_bytes.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import click

from ostrata.cli.common import (
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

EPILOG = """\b
Examples:
  ostrata commit --repo repo --branch os/stable rootfs/
  ostrata commit --repo repo -b os/stable -s 'Release 41' --add-metadata-string version=41 rootfs/
  ostrata commit --repo repo --orphan --canonical-permissions --timestamp 2024-05-17T12:00:00Z rootfs/
  ostrata commit --repo repo -b os/stable --selinux-policy rootfs/ rootfs/
  echo /dev/console > skip; ostrata commit --repo repo -b os/stable --skip-list skip rootfs/

\b
The checksum is the only thing on stdout. It equals that of `ostree commit`
for the same tree and options (not with --bootable: the keys' order differs).
"""


@click.command(epilog=EPILOG)
@click.argument("tree", type=click.Path(exists=True, file_okay=False))
@repo_option
@new_repo_mode_option
@click.option("-b", "--branch", metavar="REF", help="The ref to move to the new commit.")
@click.option("--orphan", is_flag=True, help="Write no ref.")
@click.option("-s", "--subject", default="", metavar="TEXT", help="One line that describes the commit.")
@click.option("-m", "--body", default="", metavar="TEXT", help="A longer description.")
@click.option("--timestamp", metavar="TIME", help="RFC 3339, or @ and seconds since 1970.  [default: now]")
@click.option("--parent", metavar="REV", help='Parent commit, or "none".  [default: what the branch holds]')
@click.option("--no-bindings", is_flag=True, help="Do not write into the commit which refs it is for.")
@click.option("--bind-ref", "bind_refs", multiple=True, metavar="REF", help="Another ref the commit is for.")
@click.option(
    "--add-metadata-string",
    "metadata",
    multiple=True,
    metavar="KEY=VALUE",
    help="Metadata, in the order given.",
)
@click.option("--bootable", is_flag=True, help="Say that the tree can be booted, and with which kernel.")
@click.option("--owner-uid", type=click.IntRange(0), metavar="UID", help="Owner of everything.")
@click.option("--owner-gid", type=click.IntRange(0), metavar="GID", help="Group of everything.")
@click.option("--canonical-permissions", is_flag=True, help="Owner 0:0, modes within 0755, no xattrs.")
@click.option("--no-xattrs", is_flag=True, help="Leave extended attributes out.")
@click.option("--mode-ro-executables", is_flag=True, help="Take write permission from executables.")
@click.option(
    "--statoverride",
    metavar="FILE",
    type=click.Path(),
    help="Lines 'MODE PATH' (decimal; added) or '=MODE PATH'.",
)
@click.option("--skip-list", metavar="FILE", type=click.Path(), help="Absolute paths to leave out, one a line.")
@click.option("--selinux-policy", metavar="TREE", type=click.Path(), help="Label files by the policy in this root.")
@click.option("-P", "--selinux-policy-from-base", is_flag=True, help="Label files by the policy in TREE itself.")
@click.option(
    "--selinux-labeling-epoch",
    type=click.IntRange(0, 1),
    default=0,
    show_default=True,
    metavar="N",
    help="1: label /usr/etc as /etc.",
)
@jobs_option
@json_option
@quiet_option
def command(**given: Any) -> None:
    """Commit the directory TREE to the OSTree repository REPO, which is made if it does not exist."""
    from ostrata.pipeline.commit import commit
    from ostrata.stores.ostree_writer import init_repository, is_repository

    options = _options(given)
    if not is_repository(given["repo"]):
        init_repository(given["repo"], given["mode"])
    with open_progress(given["quiet"] or given["as_json"]) as progress:
        result = commit(given["repo"], given["tree"], options, jobs=given["jobs"], progress=progress)
    if given["as_json"]:
        print_json(asdict(result) | {"branch": options.branch})
        return
    click.echo(result.checksum)
    if not given["quiet"]:
        click.echo(
            f"ostrata: {result.files} files, {result.symlinks} symlinks and {result.directories} directories, "
            f"{format_size(result.content_bytes)}; new: {result.new_objects} objects, {format_size(result.new_bytes)}",
            err=True,
        )


def _options(given: dict[str, Any]) -> Any:
    from ostrata.pipeline.commit import CommitOptions

    if bool(given["branch"]) == given["orphan"]:
        raise click.UsageError("Give either --branch REF or --orphan.")
    return CommitOptions(
        branch=given["branch"] or None,
        timestamp=_timestamp(given["timestamp"]),
        subject=given["subject"],
        body=given["body"],
        parent=given["parent"],
        no_bindings=given["no_bindings"],
        bind_refs=given["bind_refs"],
        metadata_strings=tuple(_key_value(text) for text in given["metadata"]),
        bootable=given["bootable"],
        modifiers=read_modifiers(given),
    )


def read_modifiers(given: dict[str, Any]) -> Any:
    """What the options say about owners, modes, xattrs and what is left out; `plan` takes the same ones."""
    from ostrata.sources.modifiers import Modifiers
    from ostrata.sources.rootfs import read_skip_list, read_statoverride

    if given["canonical_permissions"] and (given["owner_uid"] or given["owner_gid"]):
        raise click.UsageError("--canonical-permissions excludes an owner other than 0.")
    return Modifiers(
        owner_uid=given["owner_uid"],
        owner_gid=given["owner_gid"],
        canonical_permissions=given["canonical_permissions"],
        no_xattrs=given["no_xattrs"],
        mode_ro_executables=given["mode_ro_executables"],
        statoverride=read_statoverride(given["statoverride"]) if given["statoverride"] else {},
        skip=read_skip_list(given["skip_list"]) if given["skip_list"] else frozenset(),
        selinux=_policy(given),
    )


def _policy(given: dict[str, Any]) -> Any:
    from ostrata.sources.selinux import open_policy

    if given["selinux_policy"] and given["selinux_policy_from_base"]:
        raise click.UsageError("--selinux-policy and --selinux-policy-from-base exclude each other.")
    place = given["tree"] if given["selinux_policy_from_base"] else given["selinux_policy"]
    if place is None:
        return None
    policy = open_policy(place, epoch=given["selinux_labeling_epoch"])
    if policy is None:
        warn(f"SELinux is off in {escape(place)}: no labels are set")
    return policy


def _timestamp(text: str | None) -> int:
    from ostrata.codecs.timestamps import parse_rfc3339
    from ostrata.errors import MalformedError

    if text is None:
        return int(time.time())
    try:
        return int(text[1:]) if text[:1] == "@" and text[1:].isdecimal() else parse_rfc3339(text)
    except MalformedError as error:
        raise click.BadParameter(str(error), param_hint="'--timestamp'") from None


def _key_value(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.BadParameter(f"expected KEY=VALUE, found '{text}'", param_hint="'--add-metadata-string'")
    return key, value
