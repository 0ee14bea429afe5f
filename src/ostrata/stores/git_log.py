"""Commits between two revisions, told by git.

Revisions come from labels of images too, so from anybody: what is not a plain revision is refused, none reaches a
shell, and git is told that no option follows.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass

from ostrata.errors import MalformedError, NotFoundError, TransferError, escape

MAX_COMMITS = 1000
_REVISION = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_./+-]{0,199}", re.ASCII)
_FORMAT = "%h%x00%H%x00%s"
_FIELDS = 3
_QUIET = ("-c", "log.showSignature=false", "-c", "core.fsmonitor=false")


@dataclass(frozen=True, slots=True)
class GitCommit:
    """A commit of a git repository: both names of it, and the first line of its message."""

    short: str
    full: str
    subject: str


def read_commits(directory: str, old: str, new: str, *, program: str = "git") -> tuple[GitCommit, ...]:
    """The commits that `new` has and `old` has not, newest first, without merges, at most MAX_COMMITS.

    `directory` is a work tree or a bare repository. Raises: MalformedError for what is no revision, NotFoundError when
    git is not installed, TransferError with what git says.
    """
    for revision in (old, new):
        if _REVISION.fullmatch(revision) is None or ".." in revision:
            raise MalformedError(f"expected a git revision, found '{escape(revision[:100])}'")
    words = ["log", "-z", "--no-merges", "--no-color", f"--max-count={MAX_COMMITS}", f"--format={_FORMAT}"]
    output = _run(program, directory, [*words, "--end-of-options", f"{old}..{new}", "--"])
    fields = output.decode("utf-8", "replace").split("\0")
    return tuple(GitCommit(*fields[start : start + _FIELDS]) for start in range(0, len(fields) - 2, _FIELDS))


def _run(program: str, directory: str, words: list[str]) -> bytes:
    where = f"git log in {escape(directory)}"
    command = [program, *_QUIET, "-C", os.path.abspath(directory), *words]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except FileNotFoundError:
        raise NotFoundError("git is needed and is not installed", where=where) from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise TransferError(escape(said[0]), where=where, status=done.returncode)
    return done.stdout
