"""What the commands share: options, JSON on stdout, sizes for people, warnings."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from ostrata.progress import Progress

Function = TypeVar("Function", bound=Callable[..., Any])

REPO_MODES = ("bare-user", "archive", "bare", "bare-user-only")
"""Those that a repository can be made with, the default first."""


def jobs_option(function: Function) -> Function:
    """``--jobs N``, passed as `jobs`; the default is the number of CPUs available to this process."""
    return click.option(
        "-j",
        "--jobs",
        type=click.IntRange(1, 1024),
        default=_default_jobs,
        show_default="CPUs available",
        metavar="N",
        help="Work on N things side by side. The result does not depend on it.",
    )(function)


def _default_jobs() -> int:
    from ostrata.parallel import available_jobs

    return available_jobs()


def quiet_option(function: Function) -> Function:
    """``--quiet``, passed as `quiet`."""
    return click.option("-q", "--quiet", is_flag=True, help="Show no progress; errors and warnings only.")(function)


def json_option(function: Function) -> Function:
    """``--json``, passed as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Write JSON to stdout.")(function)


def repo_option(function: Function) -> Function:
    """``--repo PATH``, required, passed as `repo`."""
    return click.option(
        "--repo",
        required=True,
        metavar="PATH",
        type=click.Path(),
        help="The OSTree repository.",
    )(function)


def new_repo_mode_option(function: Function) -> Function:
    """``--mode MODE``, passed as `mode`: of a repository that the command makes when there is none."""
    return click.option(
        "--mode",
        type=click.Choice(REPO_MODES),
        default=REPO_MODES[0],
        show_default=True,
        help="Mode of a REPO that does not exist.",
    )(function)


def authfile_option(function: Function) -> Function:
    """``--authfile FILE``, passed as `authfile`."""
    return click.option("--authfile", metavar="FILE", help="Passed on to skopeo.")(function)


def fetched_image_options(function: Function) -> Function:
    """``--max-size``, ``--authfile``, ``--tmpdir``: for commands that read the layers of an image from anywhere."""
    maximum = click.option(
        "--max-size",
        metavar="SIZE",
        callback=parse_size,
        help="Refuse layers that decompress to more: bytes, or a number with kB, MB, GB, KiB, MiB, GiB.  "
        "[default: 64GiB]",
    )
    tmpdir = click.option("--tmpdir", metavar="DIR", help="Where images that skopeo fetches wait.  [default: /var/tmp]")
    return maximum(authfile_option(tmpdir(function)))


_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_UNITS |= {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
_SIZE = re.compile(r"([0-9]{1,18}) ?([A-Za-z]*)")


def parse_size(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    """A callback for options: a number of bytes, or a number and its unit (500MB, 64GiB)."""
    if text is None:
        return None
    match = _SIZE.fullmatch(text)
    size = int(match[1]) * _UNITS.get(match[2].lower(), 0) if match else 0
    if not size:
        raise click.BadParameter(f"expected a size as 1000000, 500MB or 64GiB, found '{text}'")
    return size


@contextmanager
def open_progress(quiet: bool) -> Iterator[Progress]:
    """A watcher for one run: bars on a terminal, a line every ten seconds elsewhere, warnings only when `quiet`."""
    from ostrata.cli.progress import progress_for

    watcher = progress_for(quiet, sys.stderr)
    try:
        yield watcher
    finally:
        watcher.close()


def print_json(value: Any) -> None:
    """One JSON document on stdout; undecodable bytes in names become replacement escapes."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    click.echo(text.encode("utf-8", "backslashreplace"))


def format_size(size: int) -> str:
    """Bytes for people, in powers of 1000: ``999 B``, ``1.2 kB``, ``34 MB``."""
    if size < 1000:
        return f"{size} B"
    number = float(size)
    for unit in ("kB", "MB", "GB", "TB"):
        number /= 1000
        if number < 999.5 or unit == "TB":
            break
    return f"{number:.1f} {unit}" if number < 99.95 else f"{number:.0f} {unit}"


def format_count(number: int, thing: str) -> str:
    """``1 layer``, ``2 layers``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def warn(message: str) -> None:
    """One line on stderr."""
    click.echo(f"ostrata: warning: {message}", err=True)
