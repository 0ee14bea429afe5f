"""A tree becomes an image of plain layers, which any runtime takes.

1. Times are clamped: what a package brought is not younger than its build, whenever it was installed.
2. With a base, its layers stay, and only what differs from their tree is written: see `formats.plain_changes`.
3. Paths are laid out over the planned layers: see `formats.plain`.
4. Layers are work units, written side by side into the destination's blobs. Each tar is hashed first where the previous
   image has layers: what it has already is taken from there.
5. Config and manifest follow, and make the image visible.

There are no recipes here as for encapsulated images: they need a name for each content that is the same in every
source, and only a commit has one. So an unchanged layer is read and hashed, but not compressed.

The image is a function of the tree, the options and the previous image. Building again from what was built, with the
plan it carries, gives the same manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta

from ostrata import parallel
from ostrata.codecs import oci, plan_label
from ostrata.errors import UnsupportedError, escape
from ostrata.formats import plain, plain_changes, plain_config
from ostrata.formats.plain import Item, PlainLayer
from ostrata.formats.plain_changes import Changes, Pair
from ostrata.formats.plain_config import ImageSettings, Settings
from ostrata.layers.compressors import Compressor, Gzip
from ostrata.layers.writer import LayerBytes, tar_blocks, write_layer
from ostrata.model.digest import Digest
from ostrata.model.image import OCI_MEDIA_TYPE, Descriptor, Image, Layer, Platform
from ostrata.model.package import Package
from ostrata.model.tree import RegularFile, SpecialFile, Tree
from ostrata.pipeline.build_sources import PreparedSource
from ostrata.pipeline.compare_contents import equal_contents
from ostrata.pipeline.image_layers import (
    BASE,
    BUILT,
    MAX_LAYERS,
    SAME_DIFF_ID,
    LayerReport,
    take_over,
    threads_for,
)
from ostrata.pipeline.plan import TreePlan
from ostrata.pipeline.previous import NO_PREVIOUS, PreviousImage
from ostrata.progress import SILENT, Progress
from ostrata.protocols import BlobDirectory, Destination
from ostrata.sources.contents import CommitAt, Contents, SourceAt, open_contents

PlanPaths = Callable[[Collection[str]], TreePlan]
"""Makes a plan for the paths that it is given: on top of a base it is known late what these are."""

_TAR_BYTES_PER_ENTRY = 1024


@dataclass(frozen=True, slots=True)
class PlainOptions:
    """How to build a plain image.

    `created` is RFC 3339. `clamp_mtime`: no file is younger (seconds since 1970). Without it, files of a package are
    not younger than the day on which it was built, and all others not than `unpackaged_mtime`, if that is given.
    `base` is an image whose layers stay. See `ImageSettings` for the rest.
    """

    created: str
    platform: Platform
    compressor: Compressor = field(default_factory=Gzip)
    clamp_mtime: int | None = None
    unpackaged_mtime: int | None = None
    labels: Settings = ()
    annotations: Settings = ()
    cmd: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    base: PreparedSource | None = None


@dataclass(frozen=True, slots=True)
class PlainResult:
    """The image that was written; `notes` say what in it is not as in the tree, and why."""

    manifest: Descriptor
    layers: tuple[LayerReport, ...]
    notes: tuple[str, ...]


def build_plain(
    prepared: PreparedSource,
    tree: Tree,
    special: Mapping[str, SpecialFile],
    planned: TreePlan | PlanPaths | None,
    destination: Destination,
    options: PlainOptions,
    *,
    previous: PreviousImage = NO_PREVIOUS,
    jobs: int = 1,
    progress: Progress = SILENT,
) -> PlainResult:
    """Write `tree` and `special`, whose contents are those of `prepared`, to `destination`.

    `planned` is the plan, or makes one for the paths that are written; without it there is one layer.
    Raises: every family of OstrataError; the destination then shows what it showed before.
    """
    items: dict[str, Item] = {**tree.entries, **special}
    plain.check_writable(items)
    _check_platform(options)
    changes = None
    if options.base is not None:
        comparison = _Comparison(prepared, items, options.base, jobs, progress)
        changes = comparison.find(_clamp(items, None, options)[0])
    if planned is not None and not isinstance(planned, TreePlan):
        planned = planned(items.keys() if changes is None else changes.written)
    settings = _settings(planned, options)
    document = plain_config.describe(_config_source(prepared, options), settings)
    annotations = plain_config.annotate(prepared.annotations, settings)
    clamped, notes = _clamp(items, planned, options)
    if changes is not None:
        changes = comparison.find(clamped)
        notes += _waste(changes)
    layers = _lay_out(prepared, clamped, planned, changes)
    notes += _left_out(layers)
    reports = _write_layers(prepared.at, layers, destination, options, previous, jobs, progress)
    base = _keep_base(options.base, destination, jobs, progress)
    if len(base) + len(reports) > MAX_LAYERS:
        progress.warn(f"{len(base) + len(reports)} layers: container runtimes start images of at most {MAX_LAYERS}")
    written = tuple(report.layer for report in (*base, *reports))
    labels = _plan_label(layers, [*base, *reports])
    config = plain_config.encode_config(document, written, labels, _kept_history(options.base))
    image = Image(options.platform, options.created, written, annotations=annotations)
    manifest = oci.encode_manifest(image, oci.config_descriptor(config))
    return PlainResult(destination.write_image(config, manifest, options.platform), (*base, *reports), tuple(notes))


# What the image says


def _settings(planned: TreePlan | None, options: PlainOptions) -> ImageSettings:
    return ImageSettings(
        created=options.created,
        platform=options.platform,
        plan_labels=planned.contentmeta.labels if planned is not None else {},
        labels=options.labels,
        annotations=options.annotations,
        cmd=options.cmd,
        entrypoint=options.entrypoint,
        kept_layers=tuple(layer.diff_id for layer in _base_layers(options.base)),
    )


def _config_source(prepared: PreparedSource, options: PlainOptions) -> bytes | None:
    """The source's config; a base's where the source has none."""
    if prepared.config is None and options.base is not None:
        return options.base.config
    return prepared.config


def _plan_label(layers: list[PlainLayer], reports: list[LayerReport]) -> dict[str, str]:
    """`reports` are those of all layers; the base's come first, and have no name."""
    base = [(f"base-{number:03}", "") for number in range(1, len(reports) - len(layers) + 1)]
    names = [*base, *((layer.id, layer.name) for layer in layers)]
    return plan_label.encode(
        [
            plan_label.CarriedLayer(identifier, name, "", report.layer.diff_id, report.layer.descriptor.size)
            for (identifier, name), report in zip(names, reports, strict=True)
        ]
    )


# Times


def _clamp(
    items: Mapping[str, Item], planned: TreePlan | None, options: PlainOptions
) -> tuple[dict[str, Item], list[str]]:
    if options.clamp_mtime is not None:
        clamped, count = plain.clamp_times(items, {}, options.clamp_mtime)
    else:
        clamped, count = plain.clamp_times(items, _build_times(planned), options.unpackaged_mtime)
    notes = [f"times of {count} files clamped"] if count else []
    return clamped, notes


def _build_times(planned: TreePlan | None) -> dict[str, int]:
    """Content -> the end of the day on which the newest package of its component was built."""
    if planned is None:
        return {}
    built = {name: [_built(package) for package in packages] for name, packages in planned.components.packages.items()}
    ends = {name: max(map(_end_of, known)) for name, days in built.items() if (known := list(filter(None, days)))}
    claims = planned.components.claims
    return {content: ends[claim.component] for content, claim in claims.items() if claim.component in ends}


def _built(package: Package) -> date | None:
    """Where the database does not say, as dpkg's, the changelog's last day: packages are built for it."""
    return package.built or max(package.changed, default=None)


def _end_of(day: date) -> int:
    return int((datetime.combine(day, time(), UTC) + timedelta(days=1)).timestamp())


# The base


class _Comparison:
    """The tree compared with the base's; each pair of files is read once, whatever the times."""

    def __init__(
        self, prepared: PreparedSource, items: Mapping[str, Item], base: PreparedSource, jobs: int, progress: Progress
    ) -> None:
        self._prepared, self._items, self._base = prepared, items, base
        self._jobs, self._progress = jobs, progress
        self._below: dict[str, Item] = {**base.tree.entries, **base.special}
        self._compared: set[Pair] = set()
        self._equal: set[Pair] = set()

    def find(self, clamped: Mapping[str, Item]) -> Changes:
        """What is to be written, if the items have these times."""
        files = plain_changes.files_to_compare(self._below, self._items, clamped)
        new = {pair: found for pair, found in files.items() if pair not in self._compared}
        self._compared |= new.keys()
        self._equal |= equal_contents(self._base, self._prepared, new, jobs=self._jobs, progress=self._progress)
        has_links = not isinstance(self._prepared.at, CommitAt)
        return plain_changes.find_changes(self._below, self._items, clamped, self._equal, compares_links=has_links)


def _waste(changes: Changes) -> list[str]:
    if changes.hidden_bytes * 10 <= changes.base_bytes:
        return []
    percent = 100 * changes.hidden_bytes / changes.base_bytes
    return [
        f"{percent:.0f} % of the base's content is deleted or replaced, and is downloaded all the same: "
        "without --base the image would be smaller"
    ]


def _keep_base(
    base: PreparedSource | None, destination: Destination, jobs: int, progress: Progress
) -> list[LayerReport]:
    if base is None or base.store is None:
        return []
    layers = [_as_oci(layer) for layer in _base_layers(base)]
    take_over([layer.descriptor for layer in layers], base.store, destination, jobs, progress)
    return [LayerReport(layer, None, 0, BASE) for layer in layers]


def _as_oci(layer: Layer) -> Layer:
    descriptor = layer.descriptor
    media_type = OCI_MEDIA_TYPE.get(descriptor.media_type, descriptor.media_type)
    return replace(layer, descriptor=replace(descriptor, media_type=media_type))


def _kept_history(base: PreparedSource | None) -> list[dict[str, object]]:
    if base is None or base.config is None:
        return []
    return plain_config.history_of(base.config, _base_layers(base))


def _base_layers(base: PreparedSource | None) -> tuple[Layer, ...]:
    if base is None:
        return ()
    if base.image is None:
        raise UnsupportedError("expected an image as base, found a tree without layers")
    return base.image.layers


def _check_platform(options: PlainOptions) -> None:
    base = options.base.platform if options.base is not None else None
    if base is not None and base != options.platform:
        raise UnsupportedError(
            f"expected a base for {escape(options.platform.os)}/{escape(options.platform.architecture)}, "
            f"found one for {escape(base.os)}/{escape(base.architecture)}"
        )


# Layers


def _lay_out(
    prepared: PreparedSource, items: Mapping[str, Item], planned: TreePlan | None, changes: Changes | None
) -> list[PlainLayer]:
    contentmeta = planned.contentmeta if planned is not None else None
    return plain.lay_out(
        items,
        tuple(contentmeta.layers.items()) if contentmeta is not None else (),
        contentmeta.mapping if contentmeta is not None else {},
        written=changes.written if changes is not None else None,
        whiteouts=changes.deleted if changes is not None else (),
        links_empty=not isinstance(prepared.at, CommitAt),
    )


def _left_out(layers: list[PlainLayer]) -> list[str]:
    notes = []
    labelled = {member.path for layer in layers for member in layer.members if plain.has_selinux_label(member.item)}
    if labelled:
        notes.append(f"SELinux labels of {len(labelled)} entries left out: runtimes set their own")
    copies = sum(layer.copies for layer in layers)
    if copies:
        notes.append(
            f"{copies} copies in place of hard links: file systems have at most {plain.MAX_LINKS:,} names for a file"
        )
    return notes


@dataclass(frozen=True, slots=True)
class PlainUnit:
    """A work unit: write one layer."""

    at: SourceAt
    layer: PlainLayer
    compressor: Compressor
    blobs: BlobDirectory
    known: frozenset[Digest]
    threads: int


def _write_layers(
    at: SourceAt,
    layers: list[PlainLayer],
    destination: Destination,
    options: PlainOptions,
    previous: PreviousImage,
    jobs: int,
    progress: Progress,
) -> list[LayerReport]:
    media_type = options.compressor.media_type
    weights = [_weight(layer) for layer in layers]
    known = previous.diff_ids(media_type)
    units = [
        PlainUnit(at, layer, options.compressor, destination.blobs, known, threads_for(weight, sum(weights), jobs))
        for layer, weight in zip(layers, weights, strict=True)
    ]
    progress.start("writing layers", sum(weights))
    results = parallel.run(write_unit, units, jobs=jobs, weights=weights, on_advance=progress.advance)
    with closing(results):
        reports = [
            _report(layer, written, previous, media_type) for layer, written in zip(layers, results, strict=True)
        ]
    taken_over = [report.layer.descriptor for report in reports if report.how != BUILT]
    if previous.store is not None and taken_over:
        take_over(taken_over, previous.store, destination, jobs, progress)
    return reports


def _weight(layer: PlainLayer) -> int:
    """About how many bytes the layer's tar will have."""
    files = (member.item for member in layer.members if member.link is None)
    content = sum(item.size for item in files if isinstance(item, RegularFile))
    return content + _TAR_BYTES_PER_ENTRY * len(layer.members)


def write_unit(unit: PlainUnit) -> LayerBytes:
    """The work unit's function."""
    with open_contents(unit.at) as contents:

        def blocks() -> Iterator[bytes]:
            for block in tar_blocks(plain.members(unit.layer, lambda file: _content(contents, file))):
                parallel.advance(len(block))
                yield block

        return write_layer(blocks, unit.compressor, unit.blobs.create, known=unit.known, threads=unit.threads)


def _content(contents: Contents, file: RegularFile) -> Iterator[bytes]:
    """Pieces that stay valid: the layer's writer collects them."""
    return map(bytes, contents.open(file))


def _report(layer: PlainLayer, written: LayerBytes, previous: PreviousImage, media_type: str) -> LayerReport:
    if written.blob is None:
        descriptor, how = previous.by_diff_id(written.diff_id, media_type), SAME_DIFF_ID
    else:
        descriptor, how = Descriptor(media_type, written.blob, written.blob_size), BUILT
    annotations = {plain_config.COMPONENTS: layer.name} if layer.name else {}
    made = Layer(replace(descriptor, annotations=annotations), written.diff_id, layer.id)
    return LayerReport(made, written.tar_size, len(layer.members), how)
