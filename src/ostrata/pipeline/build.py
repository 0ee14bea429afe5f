"""The story of a build: from anything with a tree in it to an image, in one pass and without a repository.

    a source, open -> its tree, made fit for the format -> what an object is called -> the plan -> the layers

For the format `ostree` the objects and the commit are computed (`build_commit`), and the layers are written from the
source by the very code that writes them from a repository: an image has the same digest as `ostrata commit` and
`ostrata encapsulate` would give it. For the format `plain`, see `build_plain`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from ostrata import parallel
from ostrata.codecs import json
from ostrata.codecs.oci import MAX_DOCUMENT
from ostrata.components.package_claims import all_packages
from ostrata.errors import MalformedError, OstrataError, UnsupportedError, escape, some_of, within
from ostrata.layers.writer import LayerBytes
from ostrata.model.ostree import Metadata, Variant
from ostrata.model.package import Package
from ostrata.model.tree import Directory, Entry, RegularFile, Symlink, Tree
from ostrata.pipeline.build_cache import BuildCache
from ostrata.pipeline.build_commit import BuiltCommit, build_commit, hash_files
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
from ostrata.pipeline.plan import ClaimedTree, PlanOptions, PlanSource, TreePlan, claim_tree, plan_tree
from ostrata.pipeline.previous import NO_PREVIOUS, PreviousImage, checked_aside
from ostrata.pipeline.previous_plan import NO_PREVIOUS_PLAN, PreviousPlan
from ostrata.progress import SILENT, Progress
from ostrata.protocols import Destination
from ostrata.sources.contents import CommitAt, Contents, MadeAt, TreeSource, open_contents
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
        _claiming(prepared, fitted.tree, options.plan, jobs) as claimed,
        _written(cache, progress),
    ):
        known = _named_by_commit(prepared, fitted.tree) or cache.find_files(fitted.tree)
        checksums = hash_files(prepared.at, fitted.tree, known=known, jobs=jobs, progress=progress)
        cache.keep_files(prepared.tree, fitted.tree, checksums)
        metadata = _metadata(text, fitted.tree)
        commit = build_commit(
            prepared.at, fitted.tree, checksums, timestamp=text.timestamp, subject=text.subject, metadata=metadata
        )
        plan, image = None, options.image
        with _first_made(commit, options, before, jobs) as first:
            if options.plan is not None:
                plan = plan_source(
                    *(prepared, fitted.tree, checksums, text.timestamp, options.plan, previous_plan, progress),
                    claimed=claimed(),
                )
                image = replace(image, contentmeta=plan.contentmeta)
            result = encapsulate_tree(
                commit, commit.tree, destination, image, previous=before, first=first, jobs=jobs, progress=progress
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
class ClaimUnit:
    """A work unit: claim the paths of the source's fitted tree."""

    prepared: PreparedSource
    tree: Tree
    options: PlanOptions


def claim_unit(unit: ClaimUnit) -> ClaimedTree:
    """The work unit's function: what `plan_source` needs to know beside checksums. Raises: as `plan_tree`."""
    with open_contents(unit.prepared.at) as contents:
        packages = _packages(unit.prepared, unit.tree, contents)
        return _without_paths(claim_tree(TreeSource(unit.tree, contents), packages, unit.options))


def _without_paths(claimed: ClaimedTree) -> ClaimedTree:
    """Planning needs no more of packages than names, versions and dates; sending their paths takes longest."""
    light: dict[int, Package] = {}
    for package in all_packages(claimed.databases):
        light[id(package)] = replace(package, paths=(), digests={}, ghosts=frozenset())
    databases = {name: [light[id(package)] for package in packages] for name, packages in claimed.databases.items()}
    owners = {path: light[id(package)] for path, package in claimed.claims.owners.items()}
    return replace(claimed, databases=databases, claims=replace(claimed.claims, owners=owners))


@contextmanager
def _claiming(
    prepared: PreparedSource, tree: Tree, options: PlanOptions | None, jobs: int
) -> Iterator[Callable[[], ClaimedTree | None]]:
    """Claim the paths, if there is to be a plan, while this process does something else."""
    if options is None:
        yield lambda: None
        return
    with parallel.aside(claim_unit, ClaimUnit(prepared, tree, options), jobs=jobs) as claimed:
        yield claimed


@contextmanager
def _first_made(
    commit: BuiltCommit, options: BuildOptions, previous: PreviousImage, jobs: int
) -> Iterator[Callable[[], tuple[LayerBytes, bytes]] | None]:
    """Have layer 0 made by another process while this one plans the others, unless it will have the content too.

    With one job, or a tree so large that memory would be full of it, it is made with the others.
    """
    unit = None
    if options.plan is not None and jobs > 1 and sum(map(len, commit.metadata.values())) <= MAX_IN_MEMORY:
        unit = first_layer(commit, commit.tree, options.image, previous)
    if unit is None:
        yield None
        return
    with parallel.aside(make_blob, unit, jobs=jobs) as first:
        yield first


def plan_source(
    prepared: PreparedSource,
    tree: Tree,
    objects: Mapping[str, str],
    timestamp: int,
    options: PlanOptions,
    previous: PreviousPlan = NO_PREVIOUS_PLAN,
    progress: Progress = SILENT,
    *,
    only: Collection[str] | None = None,
    claimed: ClaimedTree | None = None,
) -> TreePlan:
    """The plan of the fitted `tree`, which may be `claimed` already; `objects`: path -> what is planned, for all but
    directories.

    With `only`, no other paths are planned; packages and their dates are known from all. Package databases in /var are
    read even where /var is not in the image. Raises: as `plan_tree`.
    """
    with open_contents(prepared.at) as contents:
        packages = _packages(prepared, tree, contents) if claimed is None else None
        if only is not None:
            tree = Tree({path: entry for path, entry in tree if isinstance(entry, Directory) or path in only})
        source = PlanSource(TreeSource(tree, contents), objects, timestamp, packages)
        plan = plan_tree(source, options, previous, claimed=claimed, progress=progress)
    for note in plan.notes:
        progress.warn(note)
    return plan


def _packages(prepared: PreparedSource, tree: Tree, contents: Contents) -> TreeSource:
    databases = {path: entry for path, entry in prepared.tree if path.startswith("var/")}
    return TreeSource(Tree({**databases, **tree.entries}), contents)


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
