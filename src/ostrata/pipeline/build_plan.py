"""The plan of a build: packages, claims and layers of a source's fitted tree.

Claims need no checksums: another process makes them while files are hashed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ostrata import parallel
from ostrata.components.claim import Claim
from ostrata.components.package_claims import all_packages
from ostrata.model.package import Package
from ostrata.model.tree import Directory, Tree
from ostrata.pipeline.build_sources import PreparedSource
from ostrata.pipeline.plan import ClaimedTree, PlanOptions, PlanSource, TreePlan, claim_tree, plan_tree
from ostrata.pipeline.previous_plan import NO_PREVIOUS_PLAN, PreviousPlan
from ostrata.progress import SILENT, Progress
from ostrata.sources.contents import Contents, TreeSource, open_contents


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
        packages = _databases(prepared, tree, contents) if claimed is None else None
        if only is not None:
            tree = Tree({path: entry for path, entry in tree if isinstance(entry, Directory) or path in only})
        source = PlanSource(TreeSource(tree, contents), objects, timestamp, packages)
        plan = plan_tree(source, options, previous, claimed=claimed, progress=progress)
    for note in plan.notes:
        progress.warn(note)
    return plan


def _databases(prepared: PreparedSource, tree: Tree, contents: Contents) -> TreeSource:
    """Where package databases are: in the fitted tree, or in what it left out of /var."""
    in_var = {path: entry for path, entry in prepared.tree if path.startswith("var/")}
    return TreeSource(Tree({**in_var, **tree.entries}), contents)


@dataclass(frozen=True, slots=True)
class ClaimUnit:
    """A work unit: claim the paths of the source's fitted tree."""

    prepared: PreparedSource
    tree: Tree
    options: PlanOptions


def claim_unit(unit: ClaimUnit) -> tuple[ClaimedTree, list[Claim]]:
    """The work unit's function: what `plan_source` needs to know beside checksums, without paths, and the claims of
    all paths in the order of the tree. Raises: as `plan_tree`."""
    with open_contents(unit.prepared.at) as contents:
        packages = _databases(unit.prepared, unit.tree, contents)
        claimed = claim_tree(TreeSource(unit.tree, contents), packages, unit.options)
    return _without_paths(claimed), list(claimed.claims.by_path.values())


def _without_paths(claimed: ClaimedTree) -> ClaimedTree:
    """Sending paths takes longest: whoever has the tree knows them, and of packages planning needs none."""
    light: dict[int, Package] = {}
    for package in all_packages(claimed.databases):
        light[id(package)] = replace(package, paths=(), digests={}, ghosts=frozenset())
    databases = {name: [light[id(package)] for package in packages] for name, packages in claimed.databases.items()}
    owners = {path: light[id(package)] for path, package in claimed.claims.owners.items()}
    return replace(claimed, databases=databases, claims=replace(claimed.claims, by_path={}, owners=owners))


def _with_paths(claimed: ClaimedTree, claims: list[Claim], tree: Tree) -> ClaimedTree:
    """`claimed` as it was before `claim_unit` sent it."""
    paths = [path for path, entry in tree if not isinstance(entry, Directory)]
    by_path = dict(zip(paths, claims, strict=True))
    return replace(claimed, claims=replace(claimed.claims, by_path=by_path))


@contextmanager
def claiming(
    prepared: PreparedSource, tree: Tree, options: PlanOptions | None, jobs: int
) -> Iterator[Callable[[], ClaimedTree | None]]:
    """Claim the paths, if there is to be a plan, while this process does something else."""
    if options is None:
        yield lambda: None
        return
    with parallel.aside(claim_unit, ClaimUnit(prepared, tree, options), jobs=jobs) as claimed:
        yield lambda: _with_paths(*claimed(), tree)
