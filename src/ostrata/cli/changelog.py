"""`ostrata changelog`: packages added, removed and updated.

The fields of --json are stable: added, removed, updated [{name, old, new (lists of versions), old_size, new_size (in
bytes, null where nobody tells)}], unchanged (a count), commits [{short, full, subject}].
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ostrata.cli.common import format_size, jobs_option, json_option, open_progress, print_json, quiet_option

if TYPE_CHECKING:
    from ostrata.inspection.package_changes import PackageChange, PackageChanges
    from ostrata.pipeline.changelog import Changelog

EPILOG = """\b
Examples:
  ostrata changelog oci:os:41.1 oci:os:41.2
  ostrata changelog --repo repo os/stable^ os/stable
  ostrata changelog docker://example.com/os:41 oci:new --md --git-dir . > notes.md
  ostrata changelog old-root/ new-root/ --json | jq -r '.updated[].name'
"""

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~&])")


@click.command(epilog=EPILOG)
@click.argument("old")
@click.argument("new")
@click.option("--repo", metavar="PATH", help="An OSTree repository: names that are no images are its revisions.")
@click.option("--sizes", is_flag=True, help="Read the package databases even of images whose labels have the versions.")
@click.option("--git-dir", metavar="PATH", help="Also list the git commits between the revisions the images name.")
@click.option("--md", "--markdown", "as_markdown", is_flag=True, help="Write Markdown to stdout, for release notes.")
@jobs_option
@quiet_option
@json_option
def command(
    old: str,
    new: str,
    repo: str | None,
    sizes: bool,
    git_dir: str | None,
    as_markdown: bool,
    jobs: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """List the packages that NEW has otherwise than OLD: images, directories or, with --repo, commits."""
    from ostrata.pipeline.changelog import changelog
    from ostrata.stores.ostree_repository import open_repository

    if as_json and as_markdown:
        raise click.UsageError("--json and --md exclude each other.")
    repository = open_repository(repo) if repo is not None else None
    with open_progress(quiet) as progress:
        result = changelog(
            old, new, repository=repository, git_directory=git_dir, read_databases=sizes, jobs=jobs, progress=progress
        )
    if as_json:
        print_json(_to_json(result))
    elif as_markdown:
        for line in _markdown(result):
            click.echo(line)
    else:
        _print_table(result)


def _to_json(result: Changelog) -> dict[str, Any]:
    groups = {name: [_change_to_json(change) for change in group] for name, group in _groups(result.changes)}
    commits = [{"short": item.short, "full": item.full, "subject": item.subject} for item in result.commits]
    return groups | {"unchanged": result.changes.unchanged, "commits": commits}


def _change_to_json(change: PackageChange) -> dict[str, Any]:
    return {
        "name": change.name,
        "old": list(change.old),
        "new": list(change.new),
        "old_size": change.old_size,
        "new_size": change.new_size,
    }


def _groups(changes: PackageChanges) -> tuple[tuple[str, tuple[PackageChange, ...]], ...]:
    return ("added", changes.added), ("removed", changes.removed), ("updated", changes.updated)


def _markdown(result: Changelog) -> Iterator[str]:
    yield _summary(result.changes)
    for title, group in _groups(result.changes):
        if group:
            yield f"\n### {title.capitalize()}\n"
            yield "| package | old | new | size |"
            yield "|---|---|---|---:|"
        for change in group:
            name, old, new = map(_as_markdown, (change.name, _versions(change.old), _versions(change.new)))
            yield f"| {name} | {old} | {new} | {_size(change)} |"
    if result.commits:
        yield "\n### Commits\n"
        for commit in result.commits:
            yield f"- {_as_markdown(commit.short)} {_as_markdown(commit.subject)}"


def _print_table(result: Changelog) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ostrata.errors import escape

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in ("package", "old", "new"):
        table.add_column(name, overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    for word, group in _groups(result.changes):
        for change in group:
            cells = (change.name, _versions(change.old), _versions(change.new))
            table.add_row(word, *(Text(escape(cell)) for cell in cells), _size(change))
    if table.row_count:
        console.print(table)
        console.print()
    console.print(_summary(result.changes), soft_wrap=True)
    for commit in result.commits:
        console.print(Text(escape(f"{commit.short} {commit.subject}")), soft_wrap=True)


def _summary(changes: PackageChanges) -> str:
    counts = ", ".join(f"{len(group)} {title}" for title, group in _groups(changes))
    return f"{counts}, {changes.unchanged} unchanged packages"


def _versions(versions: tuple[str, ...]) -> str:
    return ", ".join(versions)


def _size(change: PackageChange) -> str:
    """The size of what came or went, and the difference of what was updated."""
    if change.old_size is None or change.new_size is None:
        return ""
    if change.old_size and change.new_size:
        difference = change.new_size - change.old_size
        return f"{'-' if difference < 0 else '+'}{format_size(abs(difference))}"
    return format_size(change.old_size or change.new_size)


def _as_markdown(text: str) -> str:
    """`text` as plain words: names come from the image."""
    from ostrata.errors import escape

    return _MARKDOWN.sub(r"\\\1", escape(text))
