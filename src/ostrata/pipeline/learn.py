"""A history from published releases: a series of images, or of contentmeta files.

What an image's layer holds is said by its annotation ``ostree.components``, or else by a label of the config: ours or
rechunk's, whose package versions tell exactly what changed. A layer of one component tells as exactly by its contents:
it is read, unless the release before had the same one, and gives the paths that changed. Several components that share
a layer are told apart by versions only; without them each has the dates of the layer, and its size is an equal share.

With `by_package` the components are the source packages of the package databases in the images: contents tell exactly,
whoever shares a layer. Paths that no package owns belong to the one component that their layer names, or are unclaimed.

A contentmeta file's layers are its components, by name; contents are its checksums. It has no sizes: with a repository
they are those of its objects there, otherwise an object counts as one byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from ostrata import parallel
from ostrata.codecs import history as history_codec
from ostrata.codecs import plan_label, rechunk_label
from ostrata.codecs.rechunk_label import RechunkInfo
from ostrata.codecs.timestamps import parse_rfc3339
from ostrata.errors import MalformedError, NotFoundError, PlanError, escape, within
from ostrata.inspection.inspect import CHUNK, OSTREE, LayerSummary, summarise
from ostrata.inspection.layer_check import check_layer
from ostrata.model.digest import Digest
from ostrata.model.history import History
from ostrata.model.image import Layer, StoredImage
from ostrata.model.plan import Contentmeta
from ostrata.packages.databases import read_packages
from ostrata.pipeline.places import open_image, read_contentmeta
from ostrata.pipeline.previous_plan import clean_names
from ostrata.progress import SILENT, Progress
from ostrata.protocols import BlobStore
from ostrata.simulation.learning import Learner, PublishedComponent, PublishedRelease
from ostrata.sources.image import open_image_source
from ostrata.stores.files import write_atomically
from ostrata.stores.images import open_store
from ostrata.stores.layer_reader import LayerReader
from ostrata.stores.ostree_repository import OstreeRepository
from ostrata.stores.reference import parse_reference

MAX_TAR = 1 << 40
"""Bytes of the largest tar that is read."""

UNCLAIMED = "unclaimed"
"""The component of paths that no package owns, in layers that do not name one."""


@dataclass(frozen=True, slots=True)
class LearnUnit:
    """A work unit: read the paths in one layer of the image in the store that `reference` names.

    `first` is the layer with the commit, which has content in images of one layer.
    """

    reference: str
    layer: Layer
    first: bool


@dataclass(frozen=True, slots=True)
class _Contents:
    """What is in a layer: path -> object checksum, and object checksum -> bytes."""

    paths: Mapping[str, str]
    sizes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _OpenImage:
    """An image of the series; `reference` is that of its store."""

    day: date
    reference: str
    store: BlobStore
    image: StoredImage


@dataclass(frozen=True, slots=True)
class _OpenContentmeta:
    """A contentmeta file of the series."""

    day: date
    contentmeta: Contentmeta


def learn(
    sources: Sequence[str],
    *,
    repository: OstreeRepository | None = None,
    read_layers: bool = True,
    by_package: bool = False,
    title: str | None = None,
    jobs: int = 1,
    progress: Progress = SILENT,
) -> History:
    """The history of `sources`, image references and contentmeta files, which are put in the order of their dates.

    `repository` gives sizes of the objects in contentmeta files. Raises: NotFoundError for a source without a date and,
    `by_package`, for an image without packages; what opening images and files raises; PlanError when nothing can be
    learned.
    """
    opened = [_open(source) for source in sources]
    if len({type(item) for item in opened}) > 1:
        raise PlanError("expected images or contentmeta files, found both: what they say cannot be compared")
    opened.sort(key=lambda item: item.day)  # stable: releases of one day stay in the order in which they were named
    learner = Learner()
    known: dict[Digest, _Contents] = {}
    for source in opened:
        if isinstance(source, _OpenContentmeta):
            learner.add(PublishedRelease(source.day, _components_of_file(source.contentmeta, repository)))
        else:
            info = _rechunk_info(source.image, progress)
            held = _held_by_layer(source.image, info, progress)
            wanted = _layers_to_read(source.image, held, read_layers=read_layers, by_package=by_package)
            known = _read_contents(source, wanted, known, jobs, progress)
            if by_package:
                components = _components_by_package(source, held, known, jobs, progress)
            else:
                components = _components_of_image(source.image, held, info, known)
            learner.add(PublishedRelease(source.day, components))
    return learner.finish(title)


def write_history(path: str, history: History) -> None:
    """Write the file whole or not at all; a name that ends in ``.gz`` asks for compression. Raises: AccessError."""
    directory, _, name = path.rpartition("/")
    data = history_codec.encode(history, compressed=path.endswith(".gz"))
    with within(escape(path)):
        write_atomically(directory or ("/" if path.startswith("/") else "."), name, data)


def _open(source: str) -> _OpenImage | _OpenContentmeta:
    transport, colon, _ = source.partition(":")
    if not colon or "/" in transport:
        contentmeta = read_contentmeta(source)
        return _OpenContentmeta(_day(source, contentmeta.created), contentmeta)
    reference = parse_reference(source)
    store, image = open_image(source)
    place = f"{reference.transport}:{reference.path}"
    return _OpenImage(_day(source, image.config.created), place, store, image)


def _day(source: str, created: str | None) -> date:
    with within(escape(source)):
        if created is None:
            raise NotFoundError("it does not say when it was created", hint="a release needs a date: the key 'created'")
        return datetime.fromtimestamp(parse_rfc3339(created), UTC).date()


# Images


def _rechunk_info(image: StoredImage, progress: Progress) -> RechunkInfo:
    label = image.config.labels.get(rechunk_label.LABEL)
    if label is None:
        return RechunkInfo()
    try:
        return rechunk_label.decode(label)
    except MalformedError as error:
        progress.warn(f"{image.descriptor.digest}: not used: {error}")
        return RechunkInfo()


def _held_by_layer(image: StoredImage, info: RechunkInfo, progress: Progress) -> list[tuple[str, ...]]:
    """The names of the components in each layer; none for those that do not say, and for the one with the commit."""
    layers = summarise(image).layers
    own = _names_in_our_label(image, progress)
    chunks = [number for number, layer in enumerate(layers) if layer.kind == CHUNK]
    theirs = dict(zip(chunks, info.layers, strict=True)) if len(chunks) == len(info.layers) else {}
    return [_held(layer, own.get(number), theirs.get(number, ())) for number, layer in enumerate(layers)]


def _names_in_our_label(image: StoredImage, progress: Progress) -> dict[int, str]:
    """Layer number -> the name that the plan label gives it."""
    try:
        carried = plan_label.decode(image.config.labels, image.config.diff_ids)
    except MalformedError as error:
        progress.warn(f"{image.descriptor.digest}: not used: {error}")
        return {}
    return {number: name for number, (_, name) in enumerate(carried.layers)}


def _held(layer: LayerSummary, own: str | None, theirs: tuple[str, ...]) -> tuple[str, ...]:
    if layer.kind == OSTREE:
        return ()
    said = layer.components or clean_names((own or "").split(",")) or theirs
    return clean_names(said) or ((layer.name,) if layer.kind == CHUNK and layer.name else ())


def _layers_to_read(
    image: StoredImage, held: list[tuple[str, ...]], *, read_layers: bool, by_package: bool
) -> list[Layer]:
    """Those that name components; for packages all that hold a commit's files."""
    kinds = [layer.kind for layer in summarise(image).layers]
    if by_package:
        return [layer for layer, kind in zip(image.layers, kinds, strict=True) if kind in (OSTREE, CHUNK)]
    if not read_layers:
        return []
    return [layer for layer, kind, names in zip(image.layers, kinds, held, strict=True) if kind == CHUNK and names]


def _read_contents(
    source: _OpenImage, wanted: list[Layer], known: Mapping[Digest, _Contents], jobs: int, progress: Progress
) -> dict[Digest, _Contents]:
    """The contents of the layers by diff_id; those that the release before had are not read again."""
    first = source.image.layers[0].diff_id if wanted else None
    new = list({layer.diff_id: layer for layer in wanted if layer.diff_id not in known}.values())
    sizes = [layer.descriptor.size for layer in new]
    progress.start(f"reading layers of {source.day.isoformat()}", sum(sizes))
    units = [LearnUnit(source.reference, layer, layer.diff_id == first) for layer in new]
    read = parallel.run(learn_unit, units, jobs=jobs, weights=sizes, on_advance=progress.advance)
    found = dict(zip((layer.diff_id for layer in new), read, strict=True))
    return {layer.diff_id: found.get(layer.diff_id) or known[layer.diff_id] for layer in wanted}


def learn_unit(unit: LearnUnit) -> _Contents:
    """The work unit's function."""
    store: BlobStore = open_store(parse_reference(unit.reference))
    reader = LayerReader(store, unit.layer, MAX_TAR)
    with within(f"layer {unit.layer.diff_id}"):
        contents = check_layer(reader.tar_pieces(), first=unit.first)
        reader.finish()
    return _Contents(dict(contents.paths), {checksum: item.size for checksum, item in contents.objects.items()})


def _components_of_image(
    image: StoredImage, held: list[tuple[str, ...]], info: RechunkInfo, known: Mapping[Digest, _Contents]
) -> dict[str, PublishedComponent]:
    components: dict[str, PublishedComponent] = {}
    for layer, names in zip(image.layers, held, strict=True):
        for component in _components_of_layer(layer, names, info.packages, known.get(layer.diff_id)):
            components.setdefault(component.name, component)
    return components


def _components_of_layer(
    layer: Layer, names: tuple[str, ...], versions: Mapping[str, str], contents: _Contents | None
) -> Iterator[PublishedComponent]:
    size = layer.descriptor.size if contents is None else sum(contents.sizes.values())
    alone = contents if len(names) == 1 else None
    for name in names:
        yield PublishedComponent(
            name,
            size // len(names),
            layer.descriptor.size // len(names),
            None if alone is None else frozenset(alone.paths.values()),
            versions.get(name),
            layer.diff_id,
            {} if alone is None else alone.paths,
        )


# Packages


class _Collected:
    """What of a component was found so far, layer by layer."""

    def __init__(self) -> None:
        self.paths: dict[str, str] = {}
        self.size = 0
        self.compressed_size = 0.0

    def finish(self, name: str) -> PublishedComponent:
        contents = frozenset(self.paths.values())
        return PublishedComponent(name, self.size, round(self.compressed_size), contents=contents, paths=self.paths)


def _components_by_package(
    source: _OpenImage, held: list[tuple[str, ...]], known: Mapping[Digest, _Contents], jobs: int, progress: Progress
) -> dict[str, PublishedComponent]:
    owners = _owners(source, jobs, progress)
    packages = set(owners.values())
    collected: dict[str, _Collected] = {}
    for layer, names in zip(source.image.layers, held, strict=True):
        if layer.diff_id in known:
            unowned = names[0] if len(names) == 1 and names[0] not in packages else UNCLAIMED
            _collect(known[layer.diff_id], layer.descriptor.size, owners, unowned, collected)
    return {name: found.finish(name) for name, found in collected.items()}


def _collect(
    contents: _Contents, blob_size: int, owners: Mapping[str, str], unowned: str, collected: dict[str, _Collected]
) -> None:
    """Share out a layer's paths; an object's size counts where it is met first, the blob's size by those sizes."""
    sizes = dict(contents.sizes)
    ratio = blob_size / max(1, sum(sizes.values()))
    for path, checksum in contents.paths.items():
        found = collected.setdefault(owners.get(path, unowned), _Collected())
        size = sizes.pop(checksum, 0)
        found.paths[path] = checksum
        found.size += size
        found.compressed_size += size * ratio


def _owners(source: _OpenImage, jobs: int, progress: Progress) -> dict[str, str]:
    """Path -> the source package of the first package, by name, that owns it."""
    with (
        within(escape(source.reference)),
        open_image_source(source.store, source.image, jobs=jobs, progress=progress) as tree,
    ):
        databases, findings = read_packages(tree)
        for finding in findings:
            if finding.error is not None:
                raise finding.error
        packages = [package for found in databases.values() for package in found]
        if not packages:
            raise NotFoundError("no package database with packages")
        return {path: package.source for package in reversed(packages) for path in package.paths}


# Contentmeta files


def _components_of_file(contentmeta: Contentmeta, repository: OstreeRepository | None) -> dict[str, PublishedComponent]:
    members: dict[str, set[str]] = {layer: set() for layer in contentmeta.layers}
    for checksum, layer in contentmeta.mapping.items():
        members[layer].add(checksum)
    components: dict[str, PublishedComponent] = {}
    for layer, checksums in members.items():
        names = clean_names((contentmeta.layers[layer] or layer).split(",")) if checksums else ()
        size = len(checksums) if repository is None else sum(repository.read_header(item)[1] for item in checksums)
        contents = frozenset(checksums)
        for name in names:
            each = size // len(names)
            alone = contents if len(names) == 1 else None
            components.setdefault(name, PublishedComponent(name, each, each, alone, None, contents))
    return components
