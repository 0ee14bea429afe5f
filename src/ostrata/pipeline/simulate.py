"""What would updates have cost? Strategies compared on a history of which they know only the past."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from ostrata.codecs import history as history_codec
from ostrata.errors import PlanError, escape, within
from ostrata.model.component import Component
from ostrata.model.history import History
from ostrata.progress import SILENT, Progress
from ostrata.protocols import Planner
from ostrata.simulation.releases import WithoutMemory, plan_releases
from ostrata.simulation.updates import CadenceCost, Replay
from ostrata.stores.files import read_limited

DEFAULT_DAYS = 364
EVERY = (1, 7, 28)
RELEASE_EVERY = 7
MAX_RELEASES = 10_000


@dataclass(frozen=True, slots=True)
class SimulateOptions:
    """What is replayed: planned on `plan_at`, updated until `until` (exclusive) every so many days.

    With `present_only` there is one plan, of the components that exist on `plan_at`; otherwise there is a release
    every `release_every` days, which carries on the plan of the one before or, with `afresh`, does not.
    """

    plan_at: date
    until: date
    max_layers: int
    every: tuple[int, ...] = EVERY
    present_only: bool = False
    release_every: int = RELEASE_EVERY
    afresh: bool = False


@dataclass(frozen=True, slots=True)
class StrategyCost:
    """A strategy's result; `plan_seconds` is the mean over its plans, `layers` and `components` are of the last."""

    name: str
    max_layers: int
    plan_seconds: float
    plans: int
    layers: int
    components: int
    cadences: tuple[CadenceCost, ...]


def read_history(path: str) -> History:
    """A history file, compressed or not. Raises: NotFoundError, AccessError, MalformedError, LimitError,
    UnsupportedError."""
    with within(escape(path)):
        return history_codec.decode(read_limited(path, history_codec.MAX_HISTORY))


def default_period(history: History) -> tuple[date, date]:
    """(plan at, until): the 364 days that end with the last update.

    Raises: PlanError for a history without an update.
    """
    last = max((component.updates[-1] for component in history.components if component.updates), default=None)
    if last is None:
        raise PlanError("no component has an update", hint="name the days with --plan-at and --until")
    ordinal = min(last.toordinal() + 1, date.max.toordinal())
    return date.fromordinal(max(ordinal - DEFAULT_DAYS, 1)), date.fromordinal(ordinal)


def simulate(
    history: History,
    planners: Sequence[Planner],
    options: SimulateOptions,
    *,
    timer: Callable[[], float],
    progress: Progress = SILENT,
) -> Iterator[StrategyCost]:
    """The cost of each planner, in their order; `timer` gives seconds, for `plan_seconds`.

    Raises: PlanError for a period without a day or with too many releases, for a day on which nothing exists, and for
    planners that make no plan.
    """
    days = _release_days(options)
    # By name: the order of a history means nothing, so no result may depend on it.
    components = sorted(history.components, key=lambda component: component.name)
    progress.start("planning", None)
    for planner in planners:
        chosen = WithoutMemory(planner) if options.afresh else planner
        yield _cost(chosen, components, days, options, timer)


def _release_days(options: SimulateOptions) -> list[date]:
    length = (options.until - options.plan_at).days
    if length < 1:
        raise PlanError(f"expected an end after {options.plan_at.isoformat()}, found {options.until.isoformat()}")
    if options.present_only:
        return [options.plan_at]
    count = length // options.release_every + 1
    if count > MAX_RELEASES:
        raise PlanError(f"expected at most {MAX_RELEASES:,} releases, found {count:,}")
    return [options.plan_at + timedelta(number * options.release_every) for number in range(count)]


def _cost(
    planner: Planner,
    components: Sequence[Component],
    days: Sequence[date],
    options: SimulateOptions,
    timer: Callable[[], float],
) -> StrategyCost:
    started = timer()
    releases = list(plan_releases(planner, components, options.max_layers, days))
    seconds = timer() - started
    replay = Replay(releases, options.until)
    return StrategyCost(
        planner.name,
        options.max_layers,
        seconds / len(releases),
        len(releases),
        sum(map(bool, releases[-1].plan.layers)),
        len(releases[-1].components),
        tuple(replay.cost(every) for every in options.every),
    )
