"""The story of a build: from anything with a tree in it to an image, in one pass and without a repository.

    a source, open -> its tree, made fit for the format -> what an object is called -> the plan -> the layers

For the format `ostree` the objects and the commit are computed (`build_commit`), and the layers are written from the
source by the very code that writes them from a repository: an image has the same digest as `ostrata commit` and
`ostrata encapsulate` would give it. For the format `plain`, see `build_plain`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from ostrata import parallel
from ostrata.codecs import json
from ostrata.codecs.oci import MAX_DOCUMENT
from ostrata.errors import MalformedError, OstrataError, UnsupportedError, escape, some_of, within
from ostrata.layers.writer import LayerBytes
from ostrata.model.ostree import Metadata, Variant
from ostrata.model.tree import Directory, Entry, RegularFile, Symlink, Tree
from ostrata.pipeline.build_cache import BuildCache
from ostrata.pipeline.build_commit import CommitMetadata, built_commit, commit_metadata, committed_files, hash_files
from ostrata.pipeline.build_plan import claiming, plan_source
from ostrata.pipeline.build_sources import PreparedSource
from ostrata.pipeline.commit import MODULES, one_kernel
from ostrata.pipeline.encapsulate import (
    EncapsulateOptions,
    EncapsulateResult,
    encapsulate_tree,
    first_layer,
    make_blob,
)
from ostrata.pipeline.fitting import FittedTree, Step, TakenStep, TreeView, fit
from ostrata.pipeline.plan import PlanOptions, TreePlan
from ostrata.pipeline.previous import NO_PREVIOUS, PreviousImage, checked_aside
from ostrata.pipeline.previous_plan import NO_PREVIOUS_PLAN, PreviousPlan
from ostrata.planning.contentmeta import planned_objects
from ostrata.progress import SILENT, Progress
from ostrata.protocols import Destination
from ostrata.sources.contents import CommitAt, MadeAt, SourceAt, open_contents
from ostrata.sources.rootfs import is_utf8
from ostrata.stores.reference import parse_reference

MAX_IN_MEMORY = 64 << 20
"""Bytes of a commit's metadata with which layer 0 is made in memory; 150,000 files have 8 MB."""

_SHOWN = 10
_NOT_OURS = ("ostree.", "dev.hhd.rechunk.", "ostrata.")
"""Labels that begin so say of an image what is not true of the one that is built from it."""


@dataclass(frozen=True, slots=True)
class CommitText:
    """What the commit says beside its tree. `timestamp` is in seconds since 1970; `metadata` in order."""

    timestamp: int
    subject: str = ""
    metadata: tuple[tuple[str, str], ...] = ()
    bootable: bool = False


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How to build an image of the format `ostree`.

    Without a `plan`, layers follow the contentmeta of `image`, or there is one. `cache` has what a build of the same
    directory has read before.
    """

    commit: CommitText
    image: EncapsulateOptions
    plan: PlanOptions | None = None
    cache: BuildCache = field(default_factory=BuildCache)


@dataclass(frozen=True, slots=True)
class BuildResult:
    """The image, the steps that changed something, and the plan, if one was made."""

    image: EncapsulateResult
    taken: tuple[TakenStep, ...] = ()
    plan: TreePlan | None = None


def check_apart(source: str, destination: str) -> None:
    """Raises: UnsupportedError for a directory to build from within the destination, or the other way round."""
    reference = parse_reference(destination)
    if not reference.is_native or not os.path.isdir(source):
        return
    tree, image = os.path.realpath(source), os.path.realpath(reference.path)
    if os.path.commonpath([tree, image]) == tree:
        raise UnsupportedError("the destination lies within the source, and would be taken for a part of it")
    if os.path.commonpath([tree, image]) == image:
        raise UnsupportedError("the source lies within the destination")


def fit_source(
    prepared: PreparedSource, steps: Iterable[Step], progress: Progress = SILENT
) -> tuple[PreparedSource, FittedTree]:
    """The source's tree after the steps, and the source with contents that they made. Raises: UnsupportedError."""
    progress.start("fitting the tree", None)
    with view_of(prepared) as view:
        fitted = fit(view, steps)
    if fitted.made and not isinstance(prepared.at, MadeAt):
        prepared = replace(prepared, at=MadeAt(prepared.at, fitted.made))
    return prepared, fitted


@contextmanager
def view_of(prepared: PreparedSource) -> Iterator[TreeView]:
    """The source's tree for steps, with its contents open."""
    with open_contents(prepared.at) as contents:

        def read(entry: RegularFile) -> bytes:
            return b"".join(bytes(piece) for piece in contents.open(entry))

        yield TreeView(prepared.tree.entries, prepared.special, read)


def build_ostree(
    prepared: PreparedSource,
    fitted: FittedTree,
    destination: Destination,
    options: BuildOptions,
    *,
    previous: PreviousImage = NO_PREVIOUS,
    previous_plan: PreviousPlan = NO_PREVIOUS_PLAN,
    jobs: int = 1,
    progress: Progress = SILENT,
) -> BuildResult:
    """Write the tree to `destination` as an encapsulated image.

    Raises: every family of OstrataError; AccessError also for files that change meanwhile. The destination then shows
    what it showed before.
    """
    _check(fitted)
    text, cache = options.commit, options.cache
    cache.check_source(prepared.at)
    with (
        checked_aside(previous, is_whole=cache.is_whole, jobs=jobs) as before,
        claiming(prepared, fitted.tree, options.plan, jobs) as claimed,
        _written(cache, progress),
    ):
        known = _named_by_commit(prepared, fitted.tree) or cache.find_files(fitted.tree)
        checksums = hash_files(prepared.at, fitted.tree, known=known, jobs=jobs, progress=progress)
        cache.keep_files(prepared.tree, checksums)
        image, plan, is_planned = options.image, None, options.plan is not None
        metadata = _metadata(text, fitted.tree)
        unit = CommitUnit(prepared.at, fitted.tree, checksums, text, metadata, image, is_planned, before)
        with parallel.aside(commit_unit, unit, jobs=jobs if is_planned else 1, by_fork=True) as made:
            files = committed_files(fitted.tree, checksums)
            objects = planned_objects(files)
            if options.plan is not None:
                plan = plan_source(
                    *(prepared, fitted.tree, checksums, text.timestamp, options.plan, previous_plan, progress),
                    claimed=claimed(),
                )
                image = replace(image, contentmeta=plan.contentmeta)
            described, first = made()
            commit = built_commit(prepared.at, fitted.tree, described, files, objects)
            result = encapsulate_tree(
                *(commit, commit.tree, destination, image),
                previous=before,
                objects=objects,
                first=first,
                jobs=jobs,
                progress=progress,
            )
        cache.keep_blobs(destination.blobs, (report.layer.descriptor.digest for report in result.layers))
    return BuildResult(result, fitted.taken, plan)


@contextmanager
def _written(cache: BuildCache, progress: Progress) -> Iterator[None]:
    """Write the cache at the end, also of a build that fails: what was read once needs no second reading.

    An image that is there is no failure because the next one will take longer.
    """
    try:
        yield
    finally:
        try:
            cache.write()
        except OstrataError as error:
            progress.warn(f"the cache is not kept: {error}")


@dataclass(frozen=True, slots=True)
class CommitUnit:
    """A work unit: compute the commit while this process plans; `checksums` are those of `hash_files`."""

    at: SourceAt
    tree: Tree
    checksums: Mapping[str, str]
    text: CommitText
    metadata: Metadata
    image: EncapsulateOptions
    is_planned: bool
    previous: PreviousImage


def commit_unit(unit: CommitUnit) -> tuple[CommitMetadata, tuple[LayerBytes, bytes] | None]:
    """The work unit's function: the commit, and layer 0 if the image has its content in other layers.

    Then the objects are in the layer only. There is no layer of a tree so large that memory would be full of it, and of
    one whose layer the previous image has.
    """
    text = unit.text
    made = commit_metadata(
        unit.tree, unit.checksums, timestamp=text.timestamp, subject=text.subject, metadata=unit.metadata
    )
    if not unit.is_planned or sum(map(len, made.objects.values())) > MAX_IN_MEMORY:
        return made, None
    commit = built_commit(unit.at, unit.tree, made, (), {})
    layer = first_layer(commit, commit.tree, unit.image, unit.previous)
    return (made, None) if layer is None else (replace(made, objects={}), make_blob(layer))


def base_config(prepared: PreparedSource) -> Mapping[str, object]:
    """The ``config`` object of the source's own config, for an image of the format `ostree`: unknown keys are kept.

    Labels that say what the source is, and not what is in it, are left out. Raises: MalformedError.
    """
    if prepared.config is None:
        return {}
    with within("the source's config"):
        document = json.decode(prepared.config, what="config", limit=MAX_DOCUMENT, allow_floats=True)
        config = {} if document.get("config") is None else document["config"]
        if not isinstance(config, dict):
            raise MalformedError("expected an object as 'config'")
        labels = {} if config.get("Labels") is None else config["Labels"]
        if not (isinstance(labels, dict) and all(isinstance(value, str) for value in labels.values())):
            raise MalformedError("expected an object of strings as 'Labels'")
    return config | {"Labels": {key: value for key, value in labels.items() if not key.startswith(_NOT_OURS)}}


def _check(fitted: FittedTree) -> None:
    """Refuse, all at once, what a commit cannot hold."""
    refused = [f"/{escape(path)} ({entry.kind})" for path, entry in fitted.special.items()]
    refused += [f"/{escape(path)} ({why})" for path, why in _not_utf8(fitted.tree)]
    refused += [f"/{escape(path)} (an empty extended attribute)" for path, entry in fitted.tree if _has_empty(entry)]
    if refused:
        raise UnsupportedError(
            f"a commit cannot hold {some_of(sorted(refused), _SHOWN)}",
            hint="leave them out with --exclude, or take the steps that do; `ostrata lint` lists all of them",
        )


def _not_utf8(tree: Tree) -> Iterator[tuple[str, str]]:
    for path, entry in tree:
        if not path.isascii() and not is_utf8(path):
            yield path, "its name is not UTF-8"
        elif isinstance(entry, Symlink) and not is_utf8(entry.target):
            yield path, "its target is not UTF-8"


def _has_empty(entry: Entry) -> bool:
    xattrs = entry.attributes.xattrs
    return bool(xattrs) and not all(value for _, value in xattrs)


# The commit


def _named_by_commit(prepared: PreparedSource, tree: Tree) -> dict[str, str]:
    """Path -> checksum of a commit's files that no step changed: they are called what they were."""
    if not isinstance(prepared.at, CommitAt):
        return {}
    unchanged = {(entry.content, entry.attributes) for _, entry in prepared.tree if isinstance(entry, RegularFile)}
    files = ((path, entry) for path, entry in tree if isinstance(entry, RegularFile))
    return {path: entry.content for path, entry in files if (entry.content, entry.attributes) in unchanged}


def _metadata(text: CommitText, tree: Tree) -> Metadata:
    """The commit's metadata; the order of the keys is that of `ostrata commit`."""
    metadata = {key: Variant("s", value) for key, value in text.metadata}
    if len(metadata) < len(text.metadata) or "" in metadata:
        raise MalformedError("a metadata key is empty or there twice")
    if text.bootable:
        metadata["ostree.bootable"] = Variant("b", True)
        metadata["ostree.linux"] = Variant("s", one_kernel(kernels(tree)))
    return metadata


def kernels(tree: Tree) -> Iterator[str]:
    """The versions of the kernels in the tree."""
    for path, entry in tree:
        if path.startswith(f"{MODULES}/") and path.endswith("/vmlinuz") and not isinstance(entry, Directory):
            version = path[len(MODULES) + 1 : -len("/vmlinuz")]
            if "/" not in version:
                yield version
