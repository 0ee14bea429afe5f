"""The options of `plan` and `explain`, and of `encapsulate --plan`, and what they mean.

Labels are templates for `plan` and `encapsulate --plan`: both take `label_options`, and have an option `labels`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ostrata.planning.strategies import DEFAULT, STRATEGIES

if TYPE_CHECKING:
    from ostrata.pipeline.labels import LabelOptions
    from ostrata.pipeline.plan import PlanOptions, PlanSource
    from ostrata.pipeline.previous_plan import PreviousPlan
    from ostrata.progress import Progress

Function = TypeVar("Function", bound=Callable[..., Any])

DEFAULT_LAYERS = 96
_DAY = click.DateTime(formats=["%Y-%m-%d"])
_MODIFIERS = (
    "owner_uid",
    "owner_gid",
    "canonical_permissions",
    "no_xattrs",
    "mode_ro_executables",
    "statoverride",
    "skip_list",
    "selinux_policy",
    "selinux_policy_from_base",
    "selinux_labeling_epoch",
)
"""The options of `commit` that decide what the file objects of a directory are called."""


def _layers(_: click.Context, __: click.Parameter, text: str) -> int | None:
    """A number of layers; None for ``auto``."""
    if text == "auto":
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and int(text) >= 2):
        raise click.BadParameter(f"expected 'auto' or a number from 2 on (one layer holds the commit), found '{text}'")
    return int(text)


_PLANNING = (
    click.option(
        "--max-layers",
        callback=_layers,
        default=str(DEFAULT_LAYERS),
        show_default=True,
        metavar="N|auto",
        help="Layers of the image, the one with the commit included; auto: compares some numbers and chooses.",
    ),
    click.option("-s", "--strategy", type=click.Choice(list(STRATEGIES)), default=DEFAULT, show_default=True),
    click.option("--map", "map_file", metavar="FILE", help="Which paths form which component: YAML, JSON or TSV."),
    click.option(
        "--history", "history_file", metavar="FILE", help="More update dates, as `ostrata learn` writes them."
    ),
    click.option("--by-package", is_flag=True, help="A component for each package, not for each source package."),
    click.option(
        "--plan-clock",
        type=_DAY,
        metavar="DATE",
        help="Know what was before this day.  [default: the day after the commit, else SOURCE_DATE_EPOCH, else today]",
    ),
    click.option(
        "--rebalance",
        type=click.Choice(["never", "auto", "full"]),
        default="auto",
        show_default=True,
        help="What of the previous plan may move: nothing, what pays back, everything.",
    ),
    click.option("--previous-required", is_flag=True, help="Fail when there is no previous plan to carry on."),
    click.option("--require-packages", is_flag=True, help="Fail when packages cannot be read."),
)
PLANNING_NAMES = (
    "max_layers",
    "strategy",
    "map_file",
    "history_file",
    "by_package",
    "plan_clock",
    "rebalance",
    "previous_required",
    "require_packages",
)
"""The names under which `planning_options` passes them."""

_LABELS = (
    click.option(
        "--version", metavar="TEMPLATE", help="The image's version; a number is added if it is the previous one's."
    ),
    click.option(
        "--tags-file",
        metavar="FILE",
        help="More versions that exist: from `skopeo list-tags` or `skopeo inspect`, or a line each.",
    ),
    click.option("--pretty", metavar="TEXT", help="What <pretty> becomes."),
    click.option("--changelog", metavar="TEMPLATE", help="What <changelog> becomes, its own tags filled in."),
    click.option("--formatter", "formatters", multiple=True, metavar="NAME=LINE", help="Of <commits> or <pkgupd>."),
    click.option("--revision", metavar="REV", help="The git revision that the image is built from."),
    click.option("--git-dir", metavar="DIR", help="The git repository with the commits for <commits>."),
    click.option("--rechunk-label", is_flag=True, help="Write the label dev.hhd.rechunk.info too."),
)
LABEL_NAMES = ("version", "tags_file", "pretty", "changelog", "formatters", "revision", "git_dir", "rechunk_label")
"""The names under which `label_options` passes them."""


def planning_options(function: Function) -> Function:
    """What decides a plan, passed under the names of `plan_options`."""
    for option in reversed(_PLANNING):
        function = option(function)
    return function


def label_options(function: Function) -> Function:
    """What fills in labels, passed under the names of `read_label_options`."""
    for option in reversed(_LABELS):
        function = option(function)
    return function


def source_options(command: click.Command) -> click.Command:
    """``--repo``, and those options of `commit` that matter for a directory."""
    from ostrata.cli.commit import command as commit

    repo = click.Option(["--repo"], metavar="PATH", type=click.Path(), help="The OSTree repository that has SOURCE.")
    command.params.append(repo)
    command.params += [parameter for parameter in commit.params if parameter.name in _MODIFIERS]
    return command


def open_plan_source(source: str, given: dict[str, Any], progress: Progress) -> PlanSource:
    """A commit where there is a --repo, otherwise a directory."""
    from ostrata.cli.commit import read_modifiers
    from ostrata.pipeline.plan import open_commit_to_plan, open_directory_to_plan
    from ostrata.stores.ostree_repository import open_repository

    progress.start("reading the tree", None)
    if given["repo"] is not None:
        return open_commit_to_plan(open_repository(given["repo"]), source, jobs=given["jobs"])
    modifiers = read_modifiers(given | {"tree": source})
    return open_directory_to_plan(source, modifiers, jobs=given["jobs"], progress=progress)


def plan_options(given: dict[str, Any], timestamp: int | None, labels: LabelOptions | None = None) -> PlanOptions:
    """The options as the library takes them; `timestamp` is the commit's."""
    from ostrata.pipeline.labels import LabelOptions
    from ostrata.pipeline.plan import PlanOptions, default_clock, read_component_map, read_history_file

    clock = given["plan_clock"].date() if given["plan_clock"] else default_clock(timestamp, today())
    more: dict[str, Any] = {}
    if given["map_file"] is not None:
        more["component_map"] = read_component_map(given["map_file"])
    return PlanOptions(
        clock=clock,
        max_layers=given["max_layers"],
        strategy=given["strategy"],
        rebalance=given["rebalance"],
        history=None if given["history_file"] is None else read_history_file(given["history_file"]),
        by_package=given["by_package"],
        require_packages=given["require_packages"],
        labels=labels or LabelOptions(moment=moment()),
        **more,
    )


def read_label_options(given: dict[str, Any]) -> LabelOptions:
    """Templates and what fills them in, as the library takes it. Raises: click's errors; as `read_tags_file`."""
    from ostrata.pipeline.labels import LabelOptions, read_tags_file
    from ostrata.planning.labels import DEFAULT_FORMATS

    formats = dict(_pair(text, "--formatter") for text in given["formatters"])
    for name in formats:
        if name not in DEFAULT_FORMATS:
            known = ", ".join(DEFAULT_FORMATS)
            raise click.BadParameter(f"no line is called '{name}'; there are: {known}", param_hint="--formatter")
    return LabelOptions(
        templates=tuple(_pair(text, "--label") for text in given["labels"]),
        moment=moment(),
        version=given["version"],
        taken=() if given["tags_file"] is None else read_tags_file(given["tags_file"]),
        pretty=given["pretty"],
        changelog=given["changelog"],
        revision=given["revision"],
        git_directory=given["git_dir"],
        formats={name: _unescape(line) for name, line in formats.items()},
        rechunk_label=given["rechunk_label"],
    )


def _unescape(line: str) -> str:
    return line.replace("\\n", "\n").replace("\\t", "\t").replace("\\r", "\r")


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise click.BadParameter(f"expected NAME=TEXT, found '{text}'", param_hint=option)
    return name, value


def read_previous(given: dict[str, Any]) -> PreviousPlan:
    """The previous plan that was named, if one was."""
    from ostrata.pipeline.previous_plan import read_previous_plan
    from ostrata.stores.skopeo import SkopeoOptions

    skopeo = SkopeoOptions(authfile=given.get("authfile"))
    return read_previous_plan(given["previous"], required=given["previous_required"], skopeo=skopeo)


def moment() -> datetime:
    """SOURCE_DATE_EPOCH, or now."""
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if text is None:
        return datetime.now(UTC)
    try:
        return datetime.fromtimestamp(int(text), UTC)
    except (ValueError, OverflowError, OSError):
        raise click.UsageError("SOURCE_DATE_EPOCH is not a number of seconds since 1970.") from None


def today() -> date:
    """The day of `moment`."""
    return moment().date()
