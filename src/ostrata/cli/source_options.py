"""The options of `build` and `lint` that say what the source is, and how it is made fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ostrata.cli.common import fetched_image_options, warn
from ostrata.errors import escape

if TYPE_CHECKING:
    from ostrata.pipeline.build_sources import PreparedSource, SourceOptions
    from ostrata.pipeline.fitting import Step
    from ostrata.progress import Progress

Function = TypeVar("Function", bound=Callable[..., Any])

TMPDIR = "/var/tmp"
SOURCES = """\b
SOURCE is a directory, a tar file, oci:PATH[:TAG], oci-archive:PATH[:TAG],
docker-archive:PATH, or another transport of skopeo, through skopeo; with
--repo it is a revision in an OSTree repository.
"""

_SOURCE = (
    click.option("--repo", metavar="PATH", type=click.Path(), help="The OSTree repository that has SOURCE."),
    click.option(
        "--exclude",
        "excludes",
        multiple=True,
        metavar="PATH",
        help="Leave PATH out with all that is in it: a path, or a glob (** crosses directories). Repeatable.",
    ),
    click.option(
        "--owners",
        metavar="FILE",
        help="The true owners and modes of a directory: lines 'UID:GID MODE PATH', or the manifest of `extract`.",
    ),
    click.option("--one-file-system", is_flag=True, help="Leave out what is mounted in a directory."),
    click.option(
        "--arch", metavar="NAME", help="The architecture, by Go's name.  [default: the source's, or this one]"
    ),
)


def source_options(function: Function) -> Function:
    """What `open_source` takes."""
    for option in reversed(_SOURCE):
        function = option(function)
    return fetched_image_options(function)


@contextmanager
def open_source(
    reference: str, given: dict[str, Any], progress: Progress, *, bare: frozenset[str] = frozenset()
) -> Iterator[PreparedSource]:
    """The source, open for a ``with`` block; `bare` as of `SourceOptions`."""
    from ostrata.pipeline.build_sources import prepare

    tmpdir = given["tmpdir"] or TMPDIR
    with prepare(reference, _options(given, bare), tmpdir=tmpdir, jobs=given["jobs"], progress=progress) as prepared:
        yield prepared


def _options(given: dict[str, Any], bare: frozenset[str]) -> SourceOptions:
    from ostrata.model.image import Platform
    from ostrata.pipeline.build_sources import SourceOptions, read_owners
    from ostrata.sources.image import MAX_TAR
    from ostrata.stores.skopeo import SkopeoOptions

    return SourceOptions(
        repository=given["repo"],
        excludes=given["excludes"],
        owners=read_owners(given["owners"]) if given["owners"] is not None else None,
        one_file_system=given["one_file_system"],
        bare=bare,
        platform=Platform(given["arch"]) if given["arch"] is not None else None,
        max_size=given["max_size"] or MAX_TAR,
        skopeo=SkopeoOptions(authfile=given["authfile"]),
    )


_STEPS = (
    click.option(
        "--fix",
        "fixes",
        multiple=True,
        metavar="STEP",
        help="Take this step, too; `ostrata lint` names them. Repeatable.",
    ),
    click.option(
        "--without-step", "left_out", multiple=True, metavar="STEP", help="Do not take this default step. Repeatable."
    ),
    click.option(
        "--selinux",
        metavar="TREE|source",
        help="Label files by the policy in this root, or in the source itself.",
    ),
    click.option(
        "--selinux-labeling-epoch",
        type=click.IntRange(0, 1),
        default=1,
        show_default=True,
        metavar="N",
        help="1: label /usr/etc as /etc.",
    ),
)


def step_options(function: Function) -> Function:
    """What `open_steps` takes."""
    for option in reversed(_STEPS):
        function = option(function)
    return function


@contextmanager
def open_steps(prepared: PreparedSource, steps: tuple[Step, ...], given: dict[str, Any]) -> Iterator[list[Step]]:
    """The steps to take, of all those of a format, for a ``with`` block: a policy may be in temporary files."""
    from ostrata.pipeline.fitting import choose_steps
    from ostrata.pipeline.fitting_steps import selinux_labels
    from ostrata.pipeline.policy_source import policy_of
    from ostrata.sources.selinux import open_policy

    chosen = choose_steps(steps, added=given["fixes"], left_out=given["left_out"])
    place, epoch = given["selinux"], given["selinux_labeling_epoch"]
    if place is None:
        yield chosen
    elif place == "source":
        with policy_of(prepared, tmpdir=given["tmpdir"] or TMPDIR, epoch=epoch) as policy:
            yield [*chosen, selinux_labels(policy)] if policy is not None else _unlabelled(chosen, place)
    else:
        policy = open_policy(place, epoch=epoch)
        yield [*chosen, selinux_labels(policy)] if policy is not None else _unlabelled(chosen, place)


def _unlabelled(steps: list[Step], place: str) -> list[Step]:
    warn(f"SELinux is off in {escape(place)}: no labels are set")
    return steps
