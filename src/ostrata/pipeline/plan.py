"""The story of a plan: from a tree to a contentmeta document.

    tree -> packages -> claims -> components, split where a history knows their paths
         -> the planner, with the previous plan -> layers -> contentmeta

SOURCE is an OSTree commit, or a directory whose file objects are hashed as a commit of it would name them. Everything
but reading is a function of what was read and of the options; the day for which a plan is made is one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta

from ostrata.codecs import component_map as component_map_codec
from ostrata.codecs import contentmeta as contentmeta_codec
from ostrata.codecs import history as history_codec
from ostrata.codecs.timestamps import format_rfc3339
from ostrata.components.claims import NO_MAP, Claims, claim_paths
from ostrata.components.components import Components, form_components
from ostrata.errors import NotFoundError, PlanError, escape, some_of, within
from ostrata.model.component import Component, ComponentPlan
from ostrata.model.component_map import ComponentMap, MapRule
from ostrata.model.history import History
from ostrata.model.package import Package
from ostrata.model.plan import Contentmeta
from ostrata.packages.databases import read_packages
from ostrata.packages.tree_files import TreeFiles
from ostrata.pipeline.commit import file_checksums
from ostrata.pipeline.labels import LabelOptions, describe_previous, make_labels
from ostrata.pipeline.previous_plan import (
    NO_PREVIOUS_PLAN,
    PreviousPlan,
    changed_components,
    component_plan,
)
from ostrata.pipeline.split_components import split_components
from ostrata.planning.carried import Carried
from ostrata.planning.forecast import LayerForecast, forecast
from ostrata.planning.labels import package_versions
from ostrata.planning.layer_counts import LAYER_COUNTS, compare_layer_counts
from ostrata.planning.ostrata_planner import Figures, OstrataPlanner, Rebalance
from ostrata.planning.planned_contentmeta import plan_contentmeta
from ostrata.planning.strategies import DEFAULT, planner
from ostrata.progress import SILENT, Progress
from ostrata.protocols import Source
from ostrata.sources.directory import open_directory
from ostrata.sources.modifiers import Modifiers
from ostrata.sources.ostree_source import open_commit
from ostrata.stores.files import read_limited, write_atomically
from ostrata.stores.ostree_repository import OstreeRepository

DEFAULT_LAYERS = 96
"""Layers of an image, the one with the commit included."""

_FIRST_SANE_YEAR = 1980  # times before it are resets for reproducibility, not times
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class PlanSource:
    """What is planned: `objects` is path -> checksum of the file object there; `timestamp` is the commit's, if any.

    `packages` is where package databases are read when that is not the tree itself.
    """

    source: Source
    objects: Mapping[str, str]
    timestamp: int | None = None
    packages: Source | None = None


@dataclass(frozen=True, slots=True)
class ClaimedTree:
    """What a plan needs to know of a tree beside the checksums of its files."""

    databases: Mapping[str, Sequence[Package]]
    claims: Claims
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """How to plan. `clock`: only updates before that day are known; `max_layers` is exact for the whole image, the
    layer with the commit included, None to choose one."""

    clock: date
    max_layers: int | None = DEFAULT_LAYERS
    strategy: str = DEFAULT
    rebalance: Rebalance = "auto"
    component_map: ComponentMap = NO_MAP
    history: History | None = None
    by_package: bool = False
    require_packages: bool = False
    labels: LabelOptions = field(default_factory=LabelOptions)


@dataclass(frozen=True, slots=True)
class Step:
    """A number of layers that was tried: of the image, and the expected bytes of a weekly update."""

    max_layers: int
    weekly_bytes: float


@dataclass(frozen=True, slots=True)
class TreePlan:
    """A planned tree. `forecasts` are the layers', in the order of the plan.

    `steps` are those of `auto`, planned afresh, none otherwise; `carried` and `figures` are those of the strategy
    `ostrata`. `previous` says in a line what was used of the previous plan; `notes` say what could not be used of all
    the rest.
    """

    contentmeta: Contentmeta
    plan: ComponentPlan
    forecasts: tuple[LayerForecast, ...]
    claims: Claims
    components: Components
    clock: date
    max_layers: int
    strategy: str
    steps: tuple[Step, ...] = ()
    carried: Carried | None = None
    figures: Figures | None = None
    previous: str | None = None
    notes: tuple[str, ...] = ()


def open_commit_to_plan(repository: OstreeRepository, revision: str, *, jobs: int = 1) -> PlanSource:
    """The commit that `revision` names. Raises: as `open_commit`."""
    source = open_commit(repository, revision, jobs=jobs)
    return PlanSource(source, dict(source.commit.files), source.commit.commit.timestamp)


def open_directory_to_plan(
    path: str, modifiers: Modifiers, *, jobs: int = 1, progress: Progress = SILENT
) -> PlanSource:
    """The directory, as `ostrata commit` would take it with these modifiers. Raises: as `commit`.

    Device nodes, sockets and FIFOs, which no commit holds, are left out with a warning: a plan does not need them.
    """
    source = open_directory(path, excluded={skipped.lstrip("/") for skipped in modifiers.skip})
    if source.special:
        shown = some_of([f"/{escape(name)}" for name in sorted(source.special)], _SHOWN)
        progress.warn(f"not planned, since a commit cannot hold them: {shown}")
        modifiers = replace(modifiers, skip=modifiers.skip | {f"/{name}" for name in source.special})
    return PlanSource(source, file_checksums(path, modifiers, jobs=jobs, progress=progress))


def default_clock(timestamp: int | None, today: date) -> date:
    """The day after a commit was made; `today` where there is no commit or its time says nothing."""
    if timestamp is None:
        return today
    try:
        made = datetime.fromtimestamp(timestamp, UTC).date()
    except (OverflowError, OSError, ValueError):
        return today
    return made + timedelta(days=1) if _FIRST_SANE_YEAR <= made.year < date.max.year else today


def plan_tree(
    planned: PlanSource,
    options: PlanOptions,
    previous: PreviousPlan = NO_PREVIOUS_PLAN,
    *,
    claimed: ClaimedTree | None = None,
    jobs: int = 1,
    progress: Progress = SILENT,
) -> TreePlan:
    """The plan of a tree, which may be `claimed` already.

    Raises: PlanError for a number of layers that is not enough; MalformedError for patterns that are none; with
    `require_packages` what keeps a package database from being read, or NotFoundError; what reading files raises.
    """
    if options.max_layers is not None and options.max_layers < 2:
        raise PlanError(
            f"expected at least 2 layers, found {options.max_layers}", hint="one of them holds the commit itself"
        )
    if claimed is None:
        progress.start("reading packages", None)
        claimed = claim_tree(planned.source, planned.packages or planned.source, options, jobs=jobs)
    progress.start("finding components", None)
    databases, claims, notes = claimed.databases, claimed.claims, [*claimed.notes]
    components = form_components(
        claims,
        planned.source.tree.entries,
        planned.objects,
        databases,
        by_package=options.by_package,
        history=options.history.components if options.history is not None else (),
    )
    if options.history is not None:
        changed = options.history.changed_paths
        claims, components = split_components(
            claims, components, changed, planned.source.tree.entries, planned.objects, options.clock
        )
    notes += [*claims.notes, *_unused_hints(claims)]
    progress.start("planning", None)
    component_of = {checksum: claim.component for checksum, claim in components.claims.items()}
    chosen = _choose_layers(components, component_of, databases, options, previous)
    notes += previous.notes
    packages = _in_order(databases)
    labels, label_notes = make_labels(options.labels, previous, packages, chosen.plan, components.packages)
    contentmeta = plan_contentmeta(
        chosen.plan, component_of, created=_created(planned.timestamp, options.clock), labels=labels
    )
    return TreePlan(
        contentmeta=contentmeta,
        plan=chosen.plan,
        forecasts=tuple(chosen.forecasts),
        claims=claims,
        components=components,
        clock=options.clock,
        max_layers=chosen.max_layers,
        strategy=options.strategy,
        steps=tuple(chosen.steps),
        carried=chosen.carried,
        figures=chosen.figures,
        previous=describe_previous(
            previous,
            chosen.before,
            chosen.plan,
            chosen.carried,
            planner(options.strategy),
            rebalance=options.rebalance,
        ),
        notes=(*notes, *label_notes),
    )


def claim_tree(source: Source, packages: Source, options: PlanOptions, *, jobs: int = 1) -> ClaimedTree:
    """Read the package databases in `packages`, and claim the paths of `source`. Raises: as `plan_tree`."""
    databases, notes = _read_packages(packages, options.require_packages, jobs)
    claims = claim_paths(
        source,
        databases,
        options.component_map,
        by_package=options.by_package,
        locate=TreeFiles(source).locate,
    )
    return ClaimedTree(databases, claims, tuple(notes))


def write_contentmeta(path: str, contentmeta: Contentmeta) -> None:
    """Write the file whole or not at all. Raises: AccessError; MalformedError for labels that are not UTF-8."""
    directory, _, name = path.rpartition("/")
    data = contentmeta_codec.encode(contentmeta)
    with within(escape(path)):
        write_atomically(directory or ("/" if path.startswith("/") else "."), name, data)


def read_component_map(path: str) -> ComponentMap:
    """A map file. Raises: NotFoundError, AccessError, MalformedError, UnsupportedError, LimitError."""
    with within(escape(path)):
        return component_map_codec.decode(read_limited(path, component_map_codec.MAX_MAP), name=path)


def read_history_file(path: str) -> History:
    """A history, as `ostrata learn` writes it. Raises: as `read_component_map`."""
    with within(escape(path)):
        return history_codec.decode(read_limited(path, history_codec.MAX_HISTORY))


# Packages


def _read_packages(source: Source, required: bool, jobs: int) -> tuple[dict[str, list[Package]], list[str]]:
    databases, findings = read_packages(source, jobs=jobs)
    for finding in findings:
        if required and finding.error is not None:
            raise finding.error
    notes = [finding.what for finding in findings]
    if not any(databases.values()):
        if required:
            raise NotFoundError("the tree has no package database with packages")
        unread = any(finding.error is not None for finding in findings)
        why = "no package database could be read" if unread else "no package database"
        notes.append(f"{why}: planned by big files and by directories, whose dates nobody knows")
    return databases, notes


def _in_order(databases: Mapping[str, Sequence[Package]]) -> list[Package]:
    return [package for packages in databases.values() for package in packages]


def _unused_hints(claims: Claims) -> Iterable[str]:
    if claims.unused:
        shown = some_of([f"'{_written(rule)}' ({rule.place})" for rule in claims.unused], _SHOWN)
        yield f"rules of the map that match nothing: {len(claims.unused)}: {shown}"


def _written(rule: MapRule) -> str:
    prefix = component_map_codec.PACKAGE if rule.syntax == "package" else ""
    return prefix + escape(rule.pattern)


# Layers


@dataclass(frozen=True, slots=True)
class _Chosen:
    plan: ComponentPlan
    forecasts: list[LayerForecast]
    max_layers: int
    steps: list[Step] = field(default_factory=list)
    carried: Carried | None = None
    figures: Figures | None = None
    before: ComponentPlan | None = None
    """The previous plan in the names of today."""


def _choose_layers(
    components: Components,
    component_of: Mapping[str, str],
    databases: Mapping[str, Sequence[Package]],
    options: PlanOptions,
    previous: PreviousPlan,
) -> _Chosen:
    before = component_plan(previous, components.components, components.packages)
    changed = None
    if before is not None:
        versions = package_versions(_in_order(databases))
        changed = changed_components(previous, component_of, components.packages, versions)

    def attempt(max_layers: int) -> _Chosen:
        return _plan(components.components, options, max_layers, before, changed)

    if options.max_layers is not None:
        return attempt(options.max_layers)
    # A layer of each is the commit's.
    tried = [count - 1 for count in LAYER_COUNTS]
    counts = compare_layer_counts(components.components, options.clock, tried, planner(options.strategy))
    chosen = attempt(_count_carried_on(before, components.components, options) or counts.knee.max_layers + 1)
    return replace(chosen, steps=[Step(row.max_layers + 1, row.weekly_bytes) for row in counts.rows])


def _count_carried_on(
    before: ComponentPlan | None, components: Iterable[Component], options: PlanOptions
) -> int | None:
    """The step that holds as many layers as there were: a knee that wanders would move half of an image at once.

    None where nothing is carried on, or more than the steps allow.
    """
    if before is None or options.rebalance == "full" or not planner(options.strategy).carries:
        return None
    if {component.name for component in components}.isdisjoint(name for names in before.layers for name in names):
        return None
    return next((count for count in LAYER_COUNTS if count > len(before.layers)), None)


def _plan(
    components: Sequence[Component],
    options: PlanOptions,
    max_layers: int,
    before: ComponentPlan | None,
    changed: frozenset[str] | None,
) -> _Chosen:
    strategy = planner(options.strategy)
    carried = figures = None
    if isinstance(strategy, OstrataPlanner):
        own = OstrataPlanner(rebalance=options.rebalance, changed=changed)
        found = own.plan_with_figures(components, max_layers - 1, options.clock, before)
        plan, carried, figures = found.plan, found.carried, found.figures
    else:
        plan = strategy.plan(components, max_layers - 1, options.clock, before)
    plan = ComponentPlan(tuple(names for names in plan.layers if names), plan.clock)
    return _Chosen(plan, forecast(components, plan, options.clock), max_layers, [], carried, figures, before)


def _created(timestamp: int | None, clock: date) -> str:
    """A commit's own time where it is one; otherwise the day of the plan, so that a series of plans has an order."""
    if timestamp is not None and default_clock(timestamp, date.min) != date.min:
        return format_rfc3339(timestamp)
    moment = datetime.combine(clock, time(), UTC)
    return format_rfc3339(int(moment.timestamp()))
