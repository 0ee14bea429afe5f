"""`ostrata ls`: what is in a commit.

The fields of --json and --csv are stable: path, type, checksum, dirmeta (directories only), size, mode (octal), uid,
gid, target (symlinks only), xattrs (name -> value, in base64; in CSV the same as JSON, empty when there are none).
"""

from __future__ import annotations

import base64
import csv
import io
import sys
from collections.abc import Iterator
from typing import Any

import click

from ostrata.cli.common import format_size, jobs_option, json_option, repo_option
from ostrata.errors import NotFoundError, escape
from ostrata.model.ostree import CommitTree
from ostrata.model.tree import Directory, Entry, RegularFile, Symlink, Tree, Xattrs

EPILOG = """\b
Examples:
  ostrata ls --repo repo os/stable
  ostrata ls --repo repo os/stable /usr/bin
  ostrata ls --repo repo os/stable^ --json | jq '.entries[] | select(.size > 1000000) | .path'
  ostrata ls --repo repo os/stable --csv > files.csv
"""

FIELDS = ("path", "type", "checksum", "dirmeta", "size", "mode", "uid", "gid", "target", "xattrs")
_LETTER = {"directory": "d", "file": "-", "symlink": "l"}


@click.command(epilog=EPILOG)
@repo_option
@click.argument("rev")
@click.argument("path", default="/")
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Write CSV with a line of field names to stdout.")
@click.option("--bytes", "exact", is_flag=True, help="Sizes in bytes rather than human units.")
@jobs_option
def command(repo: str, rev: str, path: str, as_json: bool, as_csv: bool, exact: bool, jobs: int) -> None:
    """List every entry of commit REV at or below PATH: type, mode, owner, size, checksum, path, xattrs."""
    from ostrata.sources.ostree_commit import read_tree
    from ostrata.stores.ostree_repository import open_repository

    repository = open_repository(repo)
    commit, tree = read_tree(repository, rev, jobs=jobs)
    selected = _select(tree, path)
    if as_json:
        _write(_json(commit, selected))
    elif as_csv:
        _write(_csv(commit, selected))
    else:
        _write(_lines(commit, selected, exact))


def _select(tree: Tree, path: str) -> Iterator[tuple[str, Entry]]:
    wanted = path.strip("/")
    if wanted not in tree.entries:
        raise NotFoundError(f"no '{escape(path)}' in the commit")
    return ((name, entry) for name, entry in tree if not wanted or name == wanted or name.startswith(wanted + "/"))


def _write(lines: Iterator[str]) -> None:
    out = sys.stdout.buffer
    batch: list[str] = []
    for line in lines:
        batch.append(line)
        if len(batch) == 4096:
            out.write("".join(batch).encode("utf-8", "surrogateescape"))
            batch.clear()
    out.write("".join(batch).encode("utf-8", "surrogateescape"))
    out.flush()


def _records(commit: CommitTree, entries: Iterator[tuple[str, Entry]]) -> Iterator[dict[str, Any]]:
    directories = {directory.path: directory for directory in commit.directories}
    for path, entry in entries:
        attributes = entry.attributes
        record: dict[str, Any] = {"path": "/" + path}
        if isinstance(entry, Directory):
            found = directories[path]
            record |= {"type": "directory", "checksum": found.dirtree, "dirmeta": found.dirmeta, "size": 0}
        elif isinstance(entry, Symlink):
            record |= {"type": "symlink", "checksum": entry.content, "size": 0, "target": entry.target}
        else:
            record |= {"type": "file", "checksum": entry.content, "size": entry.size}
        record |= {"mode": f"{attributes.mode:04o}", "uid": attributes.uid, "gid": attributes.gid}
        record["xattrs"] = _xattrs(attributes.xattrs)
        yield record


def _xattrs(xattrs: Xattrs) -> dict[str, str]:
    return {name.decode("utf-8", "backslashreplace"): base64.b64encode(value).decode() for name, value in xattrs}


def _json(commit: CommitTree, entries: Iterator[tuple[str, Entry]]) -> Iterator[str]:
    import json

    yield f'{{"commit": "{commit.checksum}", "entries": [\n'
    separator = ""
    for record in _records(commit, entries):
        yield separator + json.dumps(record, ensure_ascii=False)
        separator = ",\n"
    yield "\n]}\n"


def _csv(commit: CommitTree, entries: Iterator[tuple[str, Entry]]) -> Iterator[str]:
    import json

    buffer = io.StringIO()
    # All in quotes: before Python 3.13 a carriage return in a name would stand without.
    writer = csv.DictWriter(buffer, FIELDS, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writeheader()
    for record in _records(commit, entries):
        record["xattrs"] = json.dumps(record["xattrs"], ensure_ascii=False) if record["xattrs"] else ""
        writer.writerow(record)
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def _lines(commit: CommitTree, entries: Iterator[tuple[str, Entry]], exact: bool) -> Iterator[str]:
    directories = {directory.path: directory for directory in commit.directories}
    for path, entry in entries:
        attributes = entry.attributes
        size, suffix, letter, checksum = 0, "", "d", ""
        if isinstance(entry, RegularFile):
            letter, size, checksum = "-", entry.size, entry.content
        elif isinstance(entry, Symlink):
            letter, suffix, checksum = "l", f" -> {escape(entry.target)}", entry.content
        else:
            checksum = directories[path].dirtree
        shown = str(size) if exact else format_size(size)
        xattrs = "".join(f" {escape(name)}={len(value)}B" for name, value in attributes.xattrs)
        owner = f"{attributes.uid}:{attributes.gid}"
        yield (f"{letter}{attributes.mode:05o} {owner:>9} {shown:>10} {checksum} /{escape(path)}{suffix}{xattrs}\n")
