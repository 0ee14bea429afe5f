"""`ostrata encapsulate`: an OSTree commit becomes an OCI image.

The fields of --json are stable: commit, manifest {digest, size}, layers [{id, name, digest, size, diff_id, objects,
how}], reused {layers, bytes}, built {layers, bytes}; sizes in bytes.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from ostrata.cli.common import (
    authfile_option,
    format_size,
    jobs_option,
    json_option,
    open_progress,
    print_json,
    quiet_option,
    repo_option,
)
from ostrata.cli.planning_options import (
    LABEL_NAMES,
    PLANNING_NAMES,
    label_options,
    open_plan_source,
    plan_options,
    planning_options,
    read_label_options,
    read_previous,
)

if TYPE_CHECKING:
    from ostrata.pipeline.build_plain import PlainResult
    from ostrata.pipeline.encapsulate import EncapsulateOptions, EncapsulateResult
    from ostrata.pipeline.previous import PreviousImage

EPILOG = """\b
Examples:
  ostrata encapsulate --repo repo os/stable oci:image:latest
  ostrata encapsulate --repo repo os/stable oci-archive:os.tar --contentmeta meta.json --compression zstd
  ostrata encapsulate --repo repo os/stable oci:image:new --contentmeta meta.json --previous oci:image:old
  ostrata encapsulate --repo repo os/stable oci:image:new --plan --max-layers 64 --previous oci:image:old
  ostrata encapsulate --repo repo os/stable oci:image:new --plan --version '41.<date>' -l 'kernel=<version:linux>'
  ostrata encapsulate --repo repo os/stable docker://registry.example/os:latest --authfile auth.json

\b
Destinations: oci:PATH[:TAG] and oci-archive:PATH[:TAG]; every other transport of skopeo, through skopeo.
"""

ONLY_WITH_PLAN = PLANNING_NAMES + LABEL_NAMES

GO_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "i686": "386",
    "loongarch64": "loong64",
}
"""Names of machines and what Go calls them, where that differs."""


@click.command(epilog=EPILOG)
@repo_option
@click.argument("rev")
@click.argument("dest")
@click.option("--contentmeta", metavar="FILE", help="Which objects share a layer: a contentmeta file (JSON).")
@click.option("--unmapped", metavar="ID", help="Put objects that the contentmeta does not name into this layer of it.")
@click.option("--reserved-layer", is_flag=True, help="End with an empty layer, reserved for new packages, as upstream.")
@click.option(
    "--layout",
    type=click.Choice(["bootc", "ostree-ext-0.15"]),
    default="bootc",
    show_default=True,
    help="Whose bytes to write; images of the two layouts share no layers.",
)
@click.option(
    "--format-version",
    type=click.IntRange(1, 2),
    help="1: sparse layers; 2: every layer has the parent directories of its files.  [default: 2 for bootc, else 1]",
)
@click.option("--compression", type=click.Choice(["gzip", "zstd", "none"]), default="gzip", show_default=True)
@click.option("--compression-level", type=int, metavar="N", help="The compressor's level.  [default: gzip 6, zstd 3]")
@click.option("--compression-fast", is_flag=True, help="The compressor's fastest level.")
@click.option(
    "--previous",
    metavar="IMAGE",
    help="Take unchanged layers from this image (oci: or oci-archive:). With --plan, carry its plan on; that can also "
    "be an image elsewhere, or a contentmeta file, which have no layers to take.",
)
@click.option("--plan", "plans", is_flag=True, help="Plan the layers now, carrying on the plan of --previous.")
@planning_options
@label_options
@click.option("--created", metavar="TIME", help="RFC 3339.  [default: the contentmeta's, else the commit's]")
@click.option(
    "-l",
    "--label",
    "labels",
    multiple=True,
    metavar="K=V",
    help="Set a label; K- removes one. With --plan, V is a template. Repeatable.",
)
@click.option("--config", metavar="FILE", help="A JSON file with the image config's `config` object to start from.")
@click.option("--copymeta", multiple=True, metavar="KEY", help="Copy the commit's metadata KEY to a label. Repeatable.")
@click.option("--copymeta-opt", multiple=True, metavar="KEY", help="The same, if the commit has KEY. Repeatable.")
@click.option("--cmd", multiple=True, metavar="ARG", help="The image's command, an argument each time.")
@click.option("--arch", metavar="NAME", help="The image's architecture, by Go's name.  [default: this machine's]")
@authfile_option
@click.option("--tmpdir", metavar="DIR", help="For temporary files of archives and skopeo's copies.")
@jobs_option
@quiet_option
@json_option
@click.pass_context
def command(ctx: click.Context, /, as_json: bool, quiet: bool, **options: Any) -> None:
    """Write commit REV as an OCI image to DEST. Prints the manifest's digest.

    Its layers follow a contentmeta file, or are planned with --plan, whose options are those of `ostrata plan`.
    """
    if not options["plans"]:
        _refuse_options_of_plans(ctx)
    with open_progress(quiet) as progress:
        result = run(progress=progress, quiet=quiet, **options)
    if as_json:
        print_json(to_json(result))
        return
    if not quiet:
        click.echo(f"ostrata: {summary(result)}", err=True)
    click.echo(str(result.manifest.digest))


def run(
    *,
    repo: str,
    rev: str,
    dest: str,
    previous: str | None,
    plans: bool = False,
    authfile: str | None,
    tmpdir: str | None,
    jobs: int,
    progress: Any,
    quiet: bool = False,
    **options: Any,
) -> EncapsulateResult:
    """Encapsulate as the options say; shared with `container encapsulate`."""
    from ostrata.pipeline.encapsulate import encapsulate
    from ostrata.pipeline.places import open_destination, open_previous
    from ostrata.stores.ostree_repository import open_repository

    planning = {name: options.pop(name) for name in ONLY_WITH_PLAN if name in options}
    chosen = image_options(**options)
    if plans:
        planning |= {"repo": repo, "previous": previous, "jobs": jobs, "authfile": authfile, "quiet": quiet}
        chosen = _planned(chosen, planning, rev, progress)
        before = layers_of_previous(previous, progress)
    else:
        before = open_previous(previous, progress)
    with open_destination(dest, authfile=authfile, tmpdir=tmpdir) as destination:
        return encapsulate(
            open_repository(repo), rev, destination, chosen, previous=before, jobs=jobs, progress=progress
        )


def image_options(
    *,
    contentmeta: str | None,
    unmapped: str | None,
    reserved_layer: bool,
    layout: str,
    format_version: int | None,
    compression: str,
    compression_level: int | None,
    compression_fast: bool,
    arch: str | None,
    **config: Any,
) -> EncapsulateOptions:
    """The options as the library takes them."""
    from ostrata.formats.encapsulated import BOOTC, Layout
    from ostrata.layers.compressors import compressor
    from ostrata.pipeline.encapsulate import EncapsulateOptions
    from ostrata.pipeline.places import read_contentmeta

    if unmapped is not None and contentmeta is None:
        raise click.UsageError("--unmapped names a layer of a --contentmeta file, which is missing.")
    default_version = 2 if layout == BOOTC else 1
    return EncapsulateOptions(
        layout=Layout(layout, format_version or default_version),
        compressor=compressor(compression, level=compression_level, fast=compression_fast),
        contentmeta=read_contentmeta(contentmeta) if contentmeta is not None else None,
        unmapped=unmapped,
        reserved_layer=reserved_layer,
        config=_config_options(**config),
        architecture=arch or host_architecture(),
    )


def _planned(options: EncapsulateOptions, planning: dict[str, Any], rev: str, progress: Any) -> EncapsulateOptions:
    """The same options with a contentmeta made for the commit, and labels filled in."""
    from dataclasses import replace

    from ostrata.pipeline.plan import plan_tree

    if options.contentmeta is not None:
        raise click.UsageError("--plan and --contentmeta exclude each other.")
    given = options.config.labels
    labels = read_label_options(planning | {"labels": [f"{key}={text}" for key, text in given if text is not None]})
    previous = read_previous(planning)
    planned = open_plan_source(rev, planning, progress)
    result = plan_tree(
        planned, plan_options(planning, planned.timestamp, labels), previous, jobs=planning["jobs"], progress=progress
    )
    for note in result.notes:
        progress.warn(note)
    if result.previous is not None and not planning["quiet"]:
        click.echo(f"ostrata: {result.previous}", err=True)
    filled = dict(result.contentmeta.labels)
    own = {key: text for key, text in filled.items() if key not in dict(given)}
    return replace(
        options,
        contentmeta=replace(result.contentmeta, labels=own),
        config=replace(options.config, labels=tuple((key, text and filled[key]) for key, text in given)),
    )


def _refuse_options_of_plans(ctx: click.Context) -> None:
    from click.core import ParameterSource

    for parameter in ctx.command.params:
        name = parameter.name or ""
        if name in ONLY_WITH_PLAN and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{parameter.opts[-1]} needs --plan.")


def layers_of_previous(previous: str | None, progress: Any) -> PreviousImage:
    """What layers can be taken from; what keeps an image from being read was told when it was asked for its plan."""
    from ostrata.errors import OstrataError
    from ostrata.pipeline.places import open_previous
    from ostrata.pipeline.previous import NO_PREVIOUS
    from ostrata.stores.reference import parse_reference

    try:
        native = previous is not None and parse_reference(previous).is_native
        return open_previous(previous, progress) if native else NO_PREVIOUS
    except OstrataError:
        return NO_PREVIOUS


def _config_options(
    *,
    created: str | None,
    labels: tuple[str, ...],
    config: str | None,
    copymeta: tuple[str, ...],
    copymeta_opt: tuple[str, ...],
    cmd: tuple[str, ...],
) -> Any:
    from ostrata.codecs.timestamps import parse_rfc3339
    from ostrata.errors import within
    from ostrata.formats.encapsulated_config import ConfigOptions
    from ostrata.pipeline.places import read_base_config

    if created is not None:
        with within("--created"):
            parse_rfc3339(created)
    return ConfigOptions(
        created=created,
        labels=tuple(map(parse_label, labels)),
        base=read_base_config(config) if config is not None else {},
        copymeta=copymeta,
        copymeta_optional=copymeta_opt,
        cmd=cmd or None,
    )


def parse_label(text: str) -> tuple[str, str | None]:
    """``K=V`` or ``K-``. Raises: click.BadParameter."""
    key, equals, value = text.partition("=")
    if equals and key:
        return key, value
    if not equals and key.endswith("-") and len(key) > 1:
        return key[:-1], None
    raise click.BadParameter(f"expected K=V, or K- to remove a label, found '{text}'", param_hint="--label")


def host_architecture() -> str:
    """This machine's architecture by Go's name."""
    machine = platform.machine()
    return GO_ARCHITECTURES.get(machine, machine)


def _name(annotations: Mapping[str, str]) -> str | None:
    return annotations.get("ostree.components", annotations.get("ostrata.components"))


def to_json(result: EncapsulateResult | PlainResult) -> dict[str, Any]:
    """The document of --json; `commit` is null in a plain image."""
    built, reused = _totals(result)
    return {
        "commit": getattr(result, "commit", None),
        "manifest": {"digest": str(result.manifest.digest), "size": result.manifest.size},
        "layers": [
            {
                "id": report.layer.created_by,
                "name": _name(report.layer.descriptor.annotations),
                "digest": str(report.layer.descriptor.digest),
                "size": report.layer.descriptor.size,
                "diff_id": str(report.layer.diff_id),
                "objects": report.objects,
                "how": report.how,
            }
            for report in result.layers
        ],
        "built": built,
        "reused": reused,
    }


def summary(result: EncapsulateResult | PlainResult) -> str:
    """One line for people: what was built, what was taken over and why."""
    from collections import Counter

    built, reused = _totals(result)
    line = f"{built['layers']} layers built ({format_size(built['bytes'])})"
    if reused["layers"]:
        reasons = Counter(report.how for report in result.layers if report.how != "built")
        why = ", ".join(f"{count} by {how}" for how, count in sorted(reasons.items()))
        line += f", {reused['layers']} reused ({format_size(reused['bytes'])}): {why}"
    return line


def _totals(result: EncapsulateResult | PlainResult) -> tuple[dict[str, int], dict[str, int]]:
    built = [report for report in result.layers if report.how == "built"]
    reused = [report for report in result.layers if report.how != "built"]

    def total(reports: list[Any]) -> dict[str, int]:
        return {"layers": len(reports), "bytes": sum(report.layer.descriptor.size for report in reports)}

    return total(built), total(reused)
