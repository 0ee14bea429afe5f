"""The plan of the previous image: which components shared a layer, as far as it can be told.

Asked in this order, the first that tells counts:

1. our label `ostrata.plan`;
2. rechunk's label `dev.hhd.rechunk.info`, whose names are those of packages and of its own groups;
3. the annotations `ostree.components` of the layers.

A contentmeta file tells by the names of its layers. Whatever is damaged or foreign is passed over with a note: a
previous plan saves downloads, and is never needed. What labels say is data: names to compare, nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from ostrata.codecs import oci, plan_label, rechunk_label
from ostrata.codecs.rechunk_label import RechunkInfo
from ostrata.errors import MalformedError, NotFoundError, OstrataError, escape, within
from ostrata.formats.encapsulated_config import VERSION
from ostrata.inspection.inspect import CHUNK, summarise
from ostrata.model.component import Component, ComponentPlan
from ostrata.model.image import Descriptor, StoredImage
from ostrata.model.package import Package
from ostrata.pipeline.places import open_image, read_contentmeta
from ostrata.planning.planned_contentmeta import split_names
from ostrata.planning.splitting import STABLE
from ostrata.stores.manifests import read_config, read_manifest
from ostrata.stores.reference import parse_reference
from ostrata.stores.skopeo import SkopeoOptions, without_secrets

REVISION = "org.opencontainers.image.revision"
CLOCK = "ostrata.plan-clock"
"""The label with the day for which the layers were planned."""

_PREFIXES = ("dedi:", "meta:")
_UNPACKAGED = "unpackaged"
_UNCLAIMED = "unclaimed"


@dataclass(frozen=True, slots=True)
class PreviousPlan:
    """`layers`: names by layer; `told_by` says in words where they are from, None when nothing tells.

    `version` and `revision` are the image's labels, `package_versions` those of rechunk's. `mapping` is a contentmeta
    file's: object checksum -> layer id.
    """

    layers: tuple[tuple[str, ...], ...] = ()
    told_by: str | None = None
    clock: date | None = None
    version: str | None = None
    revision: str | None = None
    package_versions: Mapping[str, str] = field(default_factory=dict)
    mapping: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


NO_PREVIOUS_PLAN = PreviousPlan()


def read_previous_plan(
    name: str | None, *, required: bool = False, skopeo: SkopeoOptions | None = None
) -> PreviousPlan:
    """The plan of the image or contentmeta file `name`.

    Raises: NotFoundError when it is `required` and there is none, or what kept it from being read.
    """
    if name is None:
        if required:
            raise NotFoundError("no previous plan was named", hint="name one with --previous")
        return NO_PREVIOUS_PLAN
    try:
        found = _read(name, skopeo)
    except OstrataError as error:
        if required:
            raise
        return PreviousPlan(notes=(f"the previous plan cannot be read, and is not used: {str(error).splitlines()[0]}",))
    if required and found.told_by is None:
        raise NotFoundError(
            "expected a previous plan, found none", where=without_secrets(name), hint="\n  ".join(found.notes)
        )
    return found


def component_plan(
    previous: PreviousPlan, components: Sequence[Component], packages: Mapping[str, Sequence[Package]]
) -> ComponentPlan | None:
    """The previous plan in the names of today's components; `packages`: component -> those in it.

    A name of before that is a package of today stands for its component: on the layer that names most of its packages,
    if the component itself is not named anywhere.
    """
    if not any(previous.layers):
        return None
    known = {component.name for component in components}
    layers = [[_of_today(name, known) for name in names] for names in previous.layers]
    named = {name for names in layers for name in names}
    component_of = {package.name: name for name, inside in packages.items() for package in inside if name in known}
    votes: dict[str, Counter[int]] = {}
    for number, names in enumerate(layers):
        for name in names:
            component = component_of.get(name)
            if name not in known and component is not None and component not in named:
                votes.setdefault(component, Counter())[number] += 1
    for component, counted in sorted(votes.items()):
        layers[min(counted, key=lambda number: (-counted[number], number))].append(component)
    kept = [[name for name in names if name in known or name not in component_of] for names in layers]
    return ComponentPlan(tuple(map(tuple, kept)), previous.clock)


def changed_components(
    previous: PreviousPlan,
    component_of: Mapping[str, str],
    packages: Mapping[str, Sequence[Package]],
    versions: Mapping[str, str],
) -> frozenset[str] | None:
    """The components that are not what they were, where the previous plan tells; None where it does not.

    `component_of` is object -> component, `versions` those of today's packages, with their releases. Versions do not
    tell of stable parts, which seldom change with their package.
    """
    if previous.mapping:
        return frozenset(name for checksum, name in component_of.items() if checksum not in previous.mapping)
    if previous.package_versions:
        names = {name for name in component_of.values() if not name.endswith(STABLE)}
        same = {
            name
            for name in names
            if packages.get(name)
            and all(previous.package_versions.get(item.name) == versions[item.name] for item in packages[name])
        }
        return frozenset(names - same)
    return None


def _of_today(name: str, known: set[str]) -> str:
    return _UNCLAIMED if name == _UNPACKAGED and name not in known else name


def _read(name: str, skopeo: SkopeoOptions | None) -> PreviousPlan:
    transport, colon, _ = name.partition(":")
    if not colon or "/" in transport:
        return _of_file(name)
    with within(without_secrets(name)):
        return _of_image(_open(name, skopeo))


def _of_file(path: str) -> PreviousPlan:
    contentmeta = read_contentmeta(path)
    labels = contentmeta.labels
    notes: list[str] = []
    info = _rechunk_info(labels, notes)
    return PreviousPlan(
        layers=tuple(clean_names(split_names(name)) for name in contentmeta.layers.values()),
        told_by="the layers of the contentmeta file",
        clock=_clock(labels, notes),
        version=labels.get(VERSION),
        revision=labels.get(REVISION) or info.revision,
        package_versions=info.packages,
        mapping=contentmeta.mapping,
        notes=tuple(notes),
    )


def _open(name: str, skopeo: SkopeoOptions | None) -> StoredImage:
    """Manifest and config; from a registry without any layer."""
    reference = parse_reference(name)
    if reference.is_native:
        return open_image(name)[1]
    digest, manifest = read_manifest(reference, skopeo=skopeo)
    config = read_config(reference, digest, manifest, skopeo=skopeo)
    descriptor = Descriptor(manifest.media_type, digest, 0)
    return StoredImage(descriptor, manifest, config, oci.join_layers(manifest, config))


def _of_image(image: StoredImage) -> PreviousPlan:
    labels = image.config.labels
    notes: list[str] = []
    info = _rechunk_info(labels, notes)
    layers, told_by = next(_tellers(image, info, notes), ((), None))
    if told_by is None:
        notes.append("the previous image does not say what its layers hold")
    return PreviousPlan(
        layers=layers,
        told_by=told_by,
        clock=_clock(labels, notes),
        version=labels.get(VERSION),
        revision=labels.get(REVISION) or info.revision,
        package_versions=info.packages,
        notes=tuple(notes),
    )


def _tellers(
    image: StoredImage, info: RechunkInfo, notes: list[str]
) -> Iterator[tuple[tuple[tuple[str, ...], ...], str]]:
    """What tells about layers, the best first: names by layer, and where they are from."""
    try:
        carried = plan_label.decode(image.config.labels, image.config.diff_ids)
        named = (clean_names(split_names(name)) for _, name in carried.layers[1:])  # the first holds the commit
        own = tuple(filter(None, named))  # others are those of a base, which is not planned
    except MalformedError as error:
        notes.append(f"not used: {error.what}")
        own = ()
    if any(own):
        yield own, f"the label {plan_label.PLAN}"
    theirs = tuple(map(clean_names, info.layers))
    if any(theirs):
        yield theirs, f"the label {rechunk_label.LABEL}"
    annotated = tuple(clean_names(layer.components) for layer in summarise(image).layers if layer.kind == CHUNK)
    if any(annotated):
        yield annotated, "the annotations of its layers"


def _rechunk_info(labels: Mapping[str, str], notes: list[str]) -> RechunkInfo:
    label = labels.get(rechunk_label.LABEL)
    if label is None:
        return RechunkInfo()
    try:
        return rechunk_label.decode(label)
    except OstrataError as error:
        notes.append(f"not used: {error}")
        return RechunkInfo()


def _clock(labels: Mapping[str, str], notes: list[str]) -> date | None:
    text = labels.get(CLOCK)
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        notes.append(f"not used: the label {CLOCK} is no date: '{escape(text[:40])}'")
        return None


def clean_names(names: Sequence[str]) -> tuple[str, ...]:
    """The names of components as they are planned by: without the prefixes of rechunk's layers, each once."""
    return tuple(dict.fromkeys(cleaned for name in names if (cleaned := _without_prefixes(name.strip()))))


def _without_prefixes(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name
