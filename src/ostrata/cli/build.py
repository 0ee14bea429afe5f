"""`ostrata build`: a directory, an image, a tar or a commit becomes an image whose layers are planned.

The fields of --json are stable: those of `encapsulate` (commit is null in the format plain), and steps [{name, changes
[{path, what}]}]; with several sources images [such documents] and index {digest, size}.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from ostrata.cli.common import jobs_option, json_option, open_progress, print_json, quiet_option
from ostrata.cli.encapsulate import command as encapsulate_command
from ostrata.cli.encapsulate import host_architecture, image_options, layers_of_previous, parse_label, summary, to_json
from ostrata.cli.planning_options import (
    label_options,
    moment,
    plan_options,
    planning_options,
    read_label_options,
    read_previous,
)
from ostrata.cli.source_options import SOURCES, open_source, open_steps, source_options, step_options
from ostrata.errors import escape

if TYPE_CHECKING:
    from ostrata.model.image import Descriptor
    from ostrata.pipeline.build_cache import BuildCache
    from ostrata.pipeline.build_plain import PlainOptions, PlainResult
    from ostrata.pipeline.build_sources import PreparedSource
    from ostrata.pipeline.encapsulate import EncapsulateOptions, EncapsulateResult
    from ostrata.pipeline.fitting import FittedTree, Step, TakenStep
    from ostrata.pipeline.plan import PlanOptions, TreePlan
    from ostrata.progress import Progress
    from ostrata.protocols import Destination

EPILOG = f"""\b
Examples:
  ostrata build rootfs/ oci:image:latest --max-layers 64 --bootable
  ostrata build oci:base:latest oci:image:latest --previous oci:old:latest --fix var-to-factory
  ostrata build containers-storage:localhost/os oci-archive:os.tar --compression zstd
  ostrata build rootfs.tar.gz oci:image:latest --format plain --created 2024-05-17T12:00:00Z
  ostrata build --repo repo os/stable oci:image:latest --format plain
  ostrata lint rootfs/

{SOURCES}
\b
The tree is made fit for the format by named steps; --fix adds one and
--without-step leaves one out. What they did is told, path by path with
--show-steps. The manifest's digest is the only thing on stdout.
"""

_SHARED = (
    "contentmeta",
    "unmapped",
    "reserved_layer",
    "layout",
    "format_version",
    "compression",
    "compression_level",
    "compression_fast",
    "config",
    "cmd",
)
"""The options of `encapsulate` that mean the same here."""
_ONLY_PLAIN = ("clamp_mtime", "base", "annotations", "entrypoint")
_ONLY_OSTREE = (
    *("contentmeta", "unmapped", "reserved_layer", "layout", "format_version", "config"),
    *("subject", "metadata", "bootable", "cache"),
)
_SHOWN = 3


@click.command(epilog=EPILOG)
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.argument("dest")
@click.option(
    "--format",
    "image_format",
    type=click.Choice(["ostree", "plain"]),
    default="ostree",
    show_default=True,
    help="ostree: an OSTree commit inside, for bootc and rpm-ostree; plain: ordinary layers.",
)
@source_options
@step_options
@click.option("--show-steps", is_flag=True, help="Tell every path that a step changed.")
@click.option("--previous", metavar="IMAGE", help="Carry on the plan of this image, and take unchanged layers from it.")
@planning_options
@label_options
@click.option("-l", "--label", "labels", multiple=True, metavar="K=V", help="A template as of `plan`; K- removes one.")
@click.option("--created", metavar="TIME", help="RFC 3339.  [default: SOURCE_DATE_EPOCH, else the source's, else now]")
@click.option("--subject", default="", metavar="TEXT", help="ostree: one line that describes the commit.")
@click.option(
    "--add-metadata-string", "metadata", multiple=True, metavar="K=V", help="ostree: the commit's. Repeatable."
)
@click.option("--bootable", is_flag=True, help="ostree: say that the tree can be booted, and with which kernel.")
@click.option("--cache", metavar="FILE", help="ostree: remember what was read of a directory from build to build.")
@click.option(
    "--clamp-mtime", metavar="TIME", help="plain: no file is younger; RFC 3339.  [default: see docs/plain.md]"
)
@click.option(
    "--base", metavar="IMAGE", help="plain: keep the layers of this image, and plan only what is not in them."
)
@click.option(
    "--annotation", "annotations", multiple=True, metavar="K=V", help="plain: of the manifest; K- removes one."
)
@click.option("--entrypoint", multiple=True, metavar="ARG", help="plain: the image's, an argument each time.")
@jobs_option
@quiet_option
@json_option
@click.pass_context
def command(ctx: click.Context, /, sources: tuple[str, ...], dest: str, as_json: bool, **given: Any) -> None:
    """Build the image DEST from SOURCE, in one pass, without root and without a repository.

    Several sources, of several architectures, become one index.
    """
    from ostrata.pipeline.build import check_apart
    from ostrata.pipeline.places import open_destination

    _refuse_options_of_the_other(ctx, given["image_format"])
    if given["cache"] is not None and len(sources) > 1:
        raise click.UsageError("--cache is for one source: each would forget what the others know.")
    for source in sources:
        check_apart(source, dest)
    with open_progress(given["quiet"] or as_json) as progress:
        destination = open_destination(dest, authfile=given["authfile"], tmpdir=given["tmpdir"])
        with destination as opened:
            built, index = _build_all(sources, opened, given, progress)
    if as_json:
        print_json(_to_json(built, index))
        return
    for each in built if not given["quiet"] else ():
        click.echo(f"ostrata: {summary(each.image)}", err=True)
    click.echo(str((index or built[-1].image.manifest).digest))


command.params += [parameter for parameter in encapsulate_command.params if parameter.name in _SHARED]


def _refuse_options_of_the_other(ctx: click.Context, image_format: str) -> None:
    from click.core import ParameterSource

    others = _ONLY_PLAIN if image_format == "ostree" else _ONLY_OSTREE
    for parameter in ctx.command.params:
        name = parameter.name or ""
        if name in others and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{parameter.opts[-1]} means nothing with --format {image_format}.")


@dataclass(frozen=True)
class _Built:
    """`image` has a manifest and layers, whatever the format."""

    image: EncapsulateResult | PlainResult
    taken: tuple[TakenStep, ...]


def _build_all(
    sources: tuple[str, ...], destination: Destination, given: dict[str, Any], progress: Progress
) -> tuple[list[_Built], Descriptor | None]:
    """The images, and the index of several."""
    from ostrata.destinations.several import SeveralImages

    if len(sources) == 1:
        return [_build(sources[0], destination, given, progress)], None
    images = SeveralImages(destination)
    built = [_build(source, images, given, progress) for source in sources]
    return built, images.finish()


def _build(source: str, destination: Destination, given: dict[str, Any], progress: Progress) -> _Built:
    from ostrata.pipeline.build import fit_source
    from ostrata.pipeline.build_cache import BuildCache

    is_plain = given["image_format"] == "plain"
    cache = BuildCache(given["cache"], source)
    with open_source(source, given, progress, bare=cache.bare_files()) as prepared:
        for finding in prepared.findings:
            progress.warn(f"{finding.what}: {finding.count}, the first is /{escape(finding.path)}")
        with open_steps(prepared, _steps(is_plain, keeps_base=given["base"] is not None), given) as steps:
            ready, fitted = fit_source(prepared, steps, progress)
        _tell(fitted.taken, given["show_steps"], given["quiet"])
        if is_plain:
            return _Built(_build_plain(ready, fitted, destination, given, progress), fitted.taken)
        return _Built(_build_ostree(ready, fitted, cache, destination, given, progress), fitted.taken)


def _steps(is_plain: bool, *, keeps_base: bool) -> tuple[Step, ...]:
    """All those of the format. A base that is kept may be encapsulated, and needs its repository."""
    from ostrata.pipeline.fitting_steps import OSTREE_STEPS, PLAIN_STEPS

    if not is_plain:
        return OSTREE_STEPS
    from ostrata.pipeline.ostree_leftovers import OSTREE_LEFTOVERS

    return PLAIN_STEPS if keeps_base else (OSTREE_LEFTOVERS, *PLAIN_STEPS)


def _build_ostree(
    prepared: PreparedSource,
    fitted: FittedTree,
    cache: BuildCache,
    destination: Destination,
    given: dict[str, Any],
    progress: Progress,
) -> EncapsulateResult:
    from ostrata.pipeline.build import BuildOptions, CommitText, build_ostree

    timestamp = _timestamp(prepared, given["created"])
    commit = CommitText(
        timestamp,
        given["subject"],
        tuple(_pair(text, "--add-metadata-string") for text in given["metadata"]),
        given["bootable"],
    )
    plan = _plan_options(timestamp, given) if given["contentmeta"] is None else None
    before = read_previous(given)
    for note in before.notes if plan is None else ():  # a plan tells them itself
        progress.warn(note)
    options = BuildOptions(commit, _image_options(prepared, timestamp, given), plan, cache)
    result = build_ostree(
        prepared,
        fitted,
        destination,
        options,
        previous=layers_of_previous(given["previous"], progress),
        previous_plan=before,
        jobs=given["jobs"],
        progress=progress,
    )
    return result.image


def _build_plain(
    prepared: PreparedSource, fitted: FittedTree, destination: Destination, given: dict[str, Any], progress: Progress
) -> PlainResult:
    from ostrata.model.tree import Directory
    from ostrata.pipeline.build_plain import build_plain
    from ostrata.pipeline.build_plan import plan_source

    timestamp = _timestamp(prepared, given["created"])
    with _open_base(given, progress) as base:
        plan = _plan_options(timestamp, given)
        if base is not None and base.image is not None and plan.max_layers is not None:
            plan = replace(plan, max_layers=max(2, plan.max_layers - len(base.image.layers)))
        objects = {path: entry.content for path, entry in fitted.tree if not isinstance(entry, Directory)}
        before = read_previous(given)

        def plan_paths(paths: Collection[str]) -> TreePlan:
            return plan_source(prepared, fitted.tree, objects, timestamp, plan, before, progress, only=paths)

        result = build_plain(
            prepared,
            fitted.tree,
            fitted.special,
            plan_paths,
            destination,
            _plain_options(prepared, base, timestamp, given),
            previous=layers_of_previous(given["previous"], progress),
            jobs=given["jobs"],
            progress=progress,
        )
    for note in result.notes if not given["quiet"] else ():
        click.echo(f"ostrata: {note}", err=True)
    return result


@contextmanager
def _open_base(given: dict[str, Any], progress: Progress) -> Iterator[PreparedSource | None]:
    if given["base"] is None:
        yield None
        return
    own = {"repo": None, "excludes": (), "owners": None, "one_file_system": False}
    with open_source(given["base"], given | own, progress) as base:
        if base.image is None:
            raise click.BadParameter("expected an image", param_hint="'--base'")
        yield base


def _tell(taken: tuple[TakenStep, ...], shows_all: bool, quiet: bool) -> None:
    for step in taken:
        shown = step.changes if shows_all else step.changes[: 0 if quiet else _SHOWN]
        if not quiet or shows_all:
            click.echo(f"ostrata: step {step.name}: {len(step.changes)} paths", err=True)
        for change in shown:
            click.echo(f"  /{escape(change.path)}: {change.what}", err=True)
        if len(shown) < len(step.changes) and not quiet:
            click.echo(f"  and {len(step.changes) - len(shown)} more (--show-steps)", err=True)


def _plan_options(timestamp: int, given: dict[str, Any]) -> PlanOptions:
    templates = [text for text in given["labels"] if parse_label(text)[1] is not None]
    return plan_options(given, timestamp, read_label_options(given | {"labels": templates}))


def _timestamp(prepared: PreparedSource, created: str | None) -> int:
    """In seconds since 1970."""
    if created is not None:
        return _parse_time(created, "--created")
    if prepared.created is not None and "SOURCE_DATE_EPOCH" not in os.environ:
        return prepared.created
    return int(moment().timestamp())


def _image_options(prepared: PreparedSource, timestamp: int, given: dict[str, Any]) -> EncapsulateOptions:
    """Labels that are templates come with the plan; without one they are what they are."""
    from ostrata.codecs.timestamps import format_rfc3339
    from ostrata.pipeline.build import base_config

    found = prepared.platform
    planned = given["contentmeta"] is None
    options = image_options(
        **{name: given[name] for name in _SHARED},
        created=format_rfc3339(timestamp),
        labels=[text for text in given["labels"] if not planned or parse_label(text)[1] is None],
        copymeta=(),
        copymeta_opt=(),
        arch=given["arch"] or (found.architecture if found is not None else host_architecture()),
    )
    if given["config"] is None:
        return replace(options, config=replace(options.config, base=base_config(prepared)))
    return options


def _plain_options(
    prepared: PreparedSource, base: PreparedSource | None, timestamp: int, given: dict[str, Any]
) -> PlainOptions:
    from ostrata.codecs.timestamps import format_rfc3339
    from ostrata.layers.compressors import compressor
    from ostrata.model.image import Platform
    from ostrata.pipeline.build_plain import PlainOptions

    architecture = given["arch"] or host_architecture()
    found = prepared.platform or (base.platform if base is not None else None)
    clamp = given["clamp_mtime"]
    return PlainOptions(
        created=format_rfc3339(timestamp),
        platform=Platform(architecture) if given["arch"] else found or Platform(architecture),
        compressor=compressor(given["compression"], level=given["compression_level"], fast=given["compression_fast"]),
        clamp_mtime=None if clamp is None else _parse_time(clamp, "--clamp-mtime"),
        unpackaged_mtime=int(moment().timestamp()) if "SOURCE_DATE_EPOCH" in os.environ else None,
        labels=tuple(found for found in map(parse_label, given["labels"]) if found[1] is None),
        annotations=tuple(map(parse_label, given["annotations"])),
        cmd=given["cmd"] or None,
        entrypoint=given["entrypoint"] or None,
        base=base,
    )


def _parse_time(text: str, option: str) -> int:
    from ostrata.codecs.timestamps import parse_rfc3339
    from ostrata.errors import MalformedError

    try:
        return parse_rfc3339(text)
    except MalformedError as error:
        raise click.BadParameter(str(error), param_hint=f"'{option}'") from None


def _pair(text: str, option: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.BadParameter(f"expected K=V, found '{text}'", param_hint=f"'{option}'")
    return key, value


def _to_json(built: list[_Built], index: Descriptor | None) -> dict[str, Any]:
    images = [_image_to_json(each) for each in built]
    if index is None:
        return images[0]
    return {"images": images, "index": {"digest": str(index.digest), "size": index.size}}


def _image_to_json(built: _Built) -> dict[str, Any]:
    steps = [
        {"name": step.name, "changes": [{"path": change.path, "what": change.what} for change in step.changes]}
        for step in built.taken
    ]
    return to_json(built.image) | {"steps": steps}
