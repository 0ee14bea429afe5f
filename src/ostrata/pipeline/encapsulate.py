"""An OSTree commit becomes an OCI image.

1. The commit's paths are read, without touching a file object.
2. The contentmeta says which objects share a layer; without it everything is in one layer.
3. A layer whose recipe the previous image knows is taken from there, unread.
4. The others are work units, written side by side into the destination's blobs.
5. Config and manifest follow, and make the image visible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

from ostrata import parallel
from ostrata.codecs import json, oci, plan_label
from ostrata.errors import within
from ostrata.formats import encapsulated, encapsulated_config
from ostrata.formats.encapsulated import Layout
from ostrata.formats.encapsulated_config import ConfigOptions
from ostrata.layers.compressors import Compressor, Gzip
from ostrata.layers.writer import LayerBytes, tar_blocks, write_layer
from ostrata.model.digest import Digest
from ostrata.model.image import Descriptor, Image, Layer, Platform
from ostrata.model.ostree import CommitTree
from ostrata.model.plan import Contentmeta, PlannedObject
from ostrata.model.tar import TarMember
from ostrata.model.tree import Attributes
from ostrata.pipeline.image_layers import (
    BUILT,
    MAX_LAYERS,
    SAME_DIFF_ID,
    SAME_RECIPE,
    LayerReport,
    take_over,
    threads_for,
)
from ostrata.pipeline.previous import NO_PREVIOUS, PreviousImage, checked_aside
from ostrata.planning.contentmeta import plan_layers, plan_one_layer, planned_objects
from ostrata.progress import SILENT, Progress
from ostrata.protocols import BlobDirectory, CommitObjects, CommitStore, Destination, Objects, ObjectsAt
from ostrata.sources.ostree_commit import read_commit_tree
from ostrata.stores.blobs import BlobInMemory, BlobWriter

_TAR_BYTES_PER_OBJECT = 3600


@dataclass(frozen=True, slots=True)
class EncapsulateOptions:
    """How to encapsulate. `unmapped` is the id of the layer for objects that the contentmeta does not name."""

    layout: Layout = field(default_factory=Layout)
    compressor: Compressor = field(default_factory=Gzip)
    contentmeta: Contentmeta | None = None
    unmapped: str | None = None
    reserved_layer: bool = False
    config: ConfigOptions = field(default_factory=ConfigOptions)
    architecture: str = "amd64"


@dataclass(frozen=True, slots=True)
class EncapsulateResult:
    """The image that was written."""

    commit: str
    manifest: Descriptor
    layers: tuple[LayerReport, ...]


@dataclass(frozen=True, slots=True)
class LayerUnit:
    """A work unit: write one layer. With a `tree` it is layer 0 (and all content with it, if there are objects)."""

    part: ObjectsAt
    layout: Layout
    compressor: Compressor
    blobs: BlobDirectory | None
    objects: tuple[PlannedObject, ...]
    parents: Mapping[str, Attributes]
    known: frozenset[Digest]
    threads: int
    tree: CommitTree | None = None


@dataclass(frozen=True)
class _Draft:
    """A layer before it is written: `id` is for machines and the history line, `name` says what is in it."""

    id: str
    name: str
    objects: tuple[PlannedObject, ...]
    parents: Mapping[str, Attributes]
    make_recipe: Callable[[], str]
    tree: CommitTree | None = None

    @cached_property
    def recipe(self) -> str:
        """What decides the layer's bytes: asked for at once when an earlier image may have it, else while writing."""
        return self.make_recipe()


def encapsulate(
    repository: CommitStore,
    revision: str,
    destination: Destination,
    options: EncapsulateOptions,
    *,
    previous: PreviousImage = NO_PREVIOUS,
    jobs: int = 1,
    progress: Progress = SILENT,
) -> EncapsulateResult:
    """Write the commit that `revision` names to `destination` as an image.

    The manifest's digest is a function of the commit, the options, the previous image and the versions of the
    compression libraries; not of `jobs`, the day, or the order of directories.

    Raises: every family of OstrataError; the destination then shows what it showed before.
    """
    with checked_aside(previous, jobs=jobs) as before:
        commit = read_commit_tree(repository, revision)
        return encapsulate_tree(repository, commit, destination, options, previous=before, jobs=jobs, progress=progress)


def encapsulate_tree(
    repository: CommitObjects,
    commit: CommitTree,
    destination: Destination,
    options: EncapsulateOptions,
    *,
    previous: PreviousImage = NO_PREVIOUS,
    objects: Mapping[str, PlannedObject] | None = None,
    first: tuple[LayerBytes, bytes] | None = None,
    jobs: int = 1,
    progress: Progress = SILENT,
) -> EncapsulateResult:
    """The same for a commit whose paths are known. `objects` are its `planned_objects`, if somebody has them already;
    `first` is layer 0, if `make_blob` has made it already.

    Raises: as `encapsulate`.
    """
    with within(f"commit {commit.checksum}"):
        for message in encapsulated.check_encapsulable(commit, options.layout):
            progress.warn(message)
        if objects is None:
            objects = planned_objects(commit.files)
        drafts = _draft_layers(repository, commit, objects, options, progress)
    contentmeta = options.contentmeta
    text = encapsulated_config.describe(
        commit,
        options.config,
        contentmeta.created if contentmeta else None,
        contentmeta.labels if contentmeta else {},
    )
    with within("the architecture"):
        json.encode_canonical(options.architecture)
    if len(drafts) > MAX_LAYERS:
        progress.warn(f"{len(drafts)} layers: container runtimes start images of at most {MAX_LAYERS}")
    reports = _write_layers(repository, drafts, destination, options, previous, first, jobs, progress)
    image = _image(text, drafts, reports, options)
    manifest = _write_image(image, destination)
    return EncapsulateResult(commit.checksum, manifest, tuple(reports))


def first_layer(
    repository: CommitObjects,
    commit: CommitTree,
    options: EncapsulateOptions,
    previous: PreviousImage = NO_PREVIOUS,
) -> LayerUnit | None:
    """Layer 0 of an image whose content will be in other layers: it need not wait for a plan of these.

    None when the previous image has it. It is for `make_blob`: no destination is touched before there is a plan.
    """
    media_type = options.compressor.media_type
    draft = _first_layer(repository, commit, options, None)
    if previous.has_recipes and previous.by_recipe(draft.recipe, media_type) is not None:
        return None
    return _unit(repository, draft, None, options, previous.diff_ids(media_type), 1)


def make_blob(unit: LayerUnit) -> tuple[LayerBytes, bytes]:
    """A work unit's function: what `write_unit` tells, and the blob, which is nowhere else."""
    blob = BlobInMemory()
    written = _write(unit, lambda: blob)
    return written, bytes(blob.data)


# Which layers


def _draft_layers(
    repository: CommitObjects,
    commit: CommitTree,
    all_objects: Mapping[str, PlannedObject],
    options: EncapsulateOptions,
    progress: Progress,
) -> list[_Draft]:
    more = _compression(options)
    attributes = encapsulated.parent_attributes(commit.directories)

    def chunk(identifier: str, name: str, objects: tuple[PlannedObject, ...]) -> _Draft:
        parents = encapsulated.parents_of(objects, attributes, options.layout)
        recipe = partial(encapsulated.recipe, objects, parents, options.layout, *more)
        return _Draft(identifier, name, objects, parents, recipe)

    first = _first_layer(repository, commit, options, all_objects if options.contentmeta is None else None)
    chunks = []
    if options.contentmeta is not None:
        plan = plan_layers(options.contentmeta, all_objects, unmapped=options.unmapped)
        _warn_about(plan.empty_layers, plan.unknown_objects, progress)
        chunks = [chunk(layer.id, layer.name, layer.objects) for layer in plan.layers]
    if options.reserved_layer:
        chunks.append(chunk(encapsulated_config.RESERVED_LAYER, "", ()))
    return [first, *chunks]


def _first_layer(
    repository: CommitObjects,
    commit: CommitTree,
    options: EncapsulateOptions,
    content: Mapping[str, PlannedObject] | None,
) -> _Draft:
    objects = () if content is None else plan_one_layer(content)
    detached = repository.read_detached_metadata(commit.checksum)
    more = ("without content" if content is None else "with content", *_compression(options))
    recipe = partial(encapsulated.ostree_layer_recipe, commit, detached, options.layout, *more)
    history = encapsulated_config.ostree_layer_history(commit)
    # No parents: layer 0 has every directory already.
    return _Draft(history, "", objects, {}, recipe, replace(commit, files=()))


def _compression(options: EncapsulateOptions) -> tuple[str, str]:
    """What decides a blob's bytes beside its layer's."""
    return options.compressor.media_type, options.compressor.options()


def _warn_about(empty_layers: tuple[str, ...], unknown_objects: int, progress: Progress) -> None:
    if unknown_objects:
        progress.warn(f"{unknown_objects} objects of the mapping are not in the commit")
    if empty_layers:
        progress.warn(f"{len(empty_layers)} layers of the contentmeta have no objects and are left out")


# Writing them


def _write_layers(
    repository: CommitObjects,
    drafts: list[_Draft],
    destination: Destination,
    options: EncapsulateOptions,
    previous: PreviousImage,
    first: tuple[LayerBytes, bytes] | None,
    jobs: int,
    progress: Progress,
) -> list[LayerReport]:
    media_type = options.compressor.media_type
    reused = {
        position: found
        for position, draft in enumerate(drafts)
        if previous.has_recipes and (found := previous.by_recipe(draft.recipe, media_type)) is not None
    }
    written = []
    if first is not None:
        layer, blob = first
        if layer.blob is not None:
            destination.blobs.write(blob)
        written.append(layer)
    to_write = [draft for position, draft in enumerate(drafts) if position not in reused][len(written) :]
    known = previous.diff_ids(media_type)
    written += _write_drafts(repository, to_write, destination.blobs, options, known, jobs, progress)
    in_order = iter(written)
    reports = []
    for position, draft in enumerate(drafts):
        if position in reused:
            diff_id, descriptor = reused[position]
            reports.append(_report(draft, diff_id, descriptor, None, SAME_RECIPE))
        else:
            reports.append(_report_written(draft, next(in_order), previous, media_type))
    taken_over = [report.layer.descriptor for report in reports if report.how != BUILT]
    if previous.store is not None and taken_over:
        take_over(taken_over, previous.store, destination, jobs, progress, whole=previous.whole())
    return reports


def _write_drafts(
    repository: CommitObjects,
    drafts: list[_Draft],
    blobs: BlobDirectory,
    options: EncapsulateOptions,
    known: frozenset[Digest],
    jobs: int,
    progress: Progress,
) -> list[LayerBytes]:
    weights = [_weight(repository, draft) for draft in drafts]
    total = sum(weights)
    units = [
        _unit(repository, draft, blobs, options, known, threads_for(weight, total, jobs))
        for draft, weight in zip(drafts, weights, strict=True)
    ]
    if units:
        progress.start("writing layers", total)

    def make_recipes() -> None:
        for draft in drafts:
            draft.recipe  # noqa: B018

    written = parallel.run(
        write_unit, units, jobs=jobs, weights=weights, on_advance=progress.advance, meanwhile=make_recipes
    )
    return list(written)


def _unit(
    repository: CommitObjects,
    draft: _Draft,
    blobs: BlobDirectory | None,
    options: EncapsulateOptions,
    known: frozenset[Digest],
    threads: int,
) -> LayerUnit:
    return LayerUnit(
        repository.part(draft.objects, has_metadata=draft.tree is not None),
        options.layout,
        options.compressor,
        blobs,
        draft.objects,
        draft.parents,
        known,
        threads,
        draft.tree,
    )


def _weight(repository: CommitObjects, draft: _Draft) -> int:
    """About how many bytes the layer's tar will have."""
    return sum(repository.estimated_size(item.checksum) + _TAR_BYTES_PER_OBJECT for item in draft.objects)


def write_unit(unit: LayerUnit) -> LayerBytes:
    """The work unit's function."""
    assert unit.blobs is not None
    return _write(unit, unit.blobs.create)


def _write(unit: LayerUnit, create_blob: Callable[[], BlobWriter | BlobInMemory]) -> LayerBytes:
    with unit.part.opened() as objects:

        def blocks() -> Iterator[bytes]:
            for block in tar_blocks(_members(unit, objects)):
                parallel.advance(len(block))
                yield block

        return write_layer(blocks, unit.compressor, create_blob, known=unit.known, threads=unit.threads)


def _members(unit: LayerUnit, objects: Objects) -> Iterator[TarMember]:
    layout = unit.layout
    if unit.tree is None:
        yield from encapsulated.chunk_layer(unit.objects, unit.parents, objects.open_file, layout)
        return
    detached = objects.read_detached_metadata(unit.tree.checksum)
    yield from encapsulated.ostree_layer(unit.tree, detached, objects.read_metadata, layout)
    yield from encapsulated.content(unit.objects, unit.parents, objects.open_file, layout)


def _report_written(draft: _Draft, written: LayerBytes, previous: PreviousImage, media_type: str) -> LayerReport:
    if written.blob is None:
        known = previous.by_diff_id(written.diff_id, media_type)
        return _report(draft, written.diff_id, known, written.tar_size, SAME_DIFF_ID)
    descriptor = Descriptor(media_type, written.blob, written.blob_size)
    return _report(draft, written.diff_id, descriptor, written.tar_size, BUILT)


def _report(draft: _Draft, diff_id: Digest, descriptor: Descriptor, tar_size: int | None, how: str) -> LayerReport:
    annotations = {encapsulated_config.COMPONENTS: draft.name} if draft.tree is None else {}
    layer = Layer(replace(descriptor, annotations=annotations), diff_id, draft.id)
    return LayerReport(layer, tar_size, len(draft.objects), how)


# The image


def _image(
    text: encapsulated_config.ImageText,
    drafts: list[_Draft],
    reports: list[LayerReport],
    options: EncapsulateOptions,
) -> Image:
    final = {encapsulated_config.FINAL_DIFF_ID: str(reports[-1].layer.diff_id)}
    carried = [
        plan_label.CarriedLayer(draft.id, draft.name, draft.recipe, report.layer.diff_id, report.layer.descriptor.size)
        for draft, report in zip(drafts, reports, strict=True)
    ]
    text = encapsulated_config.with_labels(text, final, config_only=plan_label.encode(carried))
    return Image(
        Platform(options.architecture),
        text.created,
        tuple(report.layer for report in reports),
        text.container_config,
        text.labels,
    )


def _write_image(image: Image, destination: Destination) -> Descriptor:
    config = oci.encode_config(image)
    manifest = oci.encode_manifest(image, oci.config_descriptor(config))
    return destination.write_image(config, manifest, image.platform)
