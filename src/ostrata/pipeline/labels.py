"""The labels of the image to come: the user's templates filled in, its version, rechunk's label, the plan's day.

`<commits>` asks git for what lies between the revision of the previous image and this one's. The former is a label of
that image: it is compared with what a revision looks like and handed over as one word, never to a shell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ostrata.codecs import rechunk_label, tag_list
from ostrata.codecs.rechunk_label import RechunkInfo
from ostrata.errors import OstrataError, escape, within
from ostrata.formats.encapsulated_config import VERSION
from ostrata.model.component import ComponentPlan
from ostrata.model.package import Package
from ostrata.pipeline.previous_plan import CLOCK, REVISION, PreviousPlan
from ostrata.planning.carried import Carried
from ostrata.planning.labels import (
    DEFAULT_FORMATS,
    CommitLine,
    Facts,
    Filler,
    format_date,
    next_version,
    package_versions,
)
from ostrata.planning.ostrata_planner import Rebalance
from ostrata.protocols import Planner
from ostrata.stores.files import read_limited
from ostrata.stores.git_log import read_commits

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LabelOptions:
    """What the user asks for. `templates`: (label, template) in order; `moment` is what `<date>` shows.

    `version` may hold `<date>`; `taken` are versions that exist beside the previous image's. `formats` replace some of
    `planning.labels.DEFAULT_FORMATS`.
    """

    templates: Sequence[tuple[str, str]] = ()
    moment: datetime = _EPOCH
    version: str | None = None
    taken: Sequence[str] = ()
    pretty: str | None = None
    changelog: str | None = None
    revision: str | None = None
    git_directory: str | None = None
    formats: Mapping[str, str] = field(default_factory=dict)
    rechunk_label: bool = False


def make_labels(
    options: LabelOptions,
    previous: PreviousPlan,
    packages: Sequence[Package],
    plan: ComponentPlan,
    inside: Mapping[str, Sequence[Package]],
) -> tuple[dict[str, str], list[str]]:
    """The labels, and notes about what could not be filled in. `inside`: component -> its packages.

    Raises: MalformedError for a rechunk label that cannot be written.
    """
    labels: dict[str, str] = {}
    notes: list[str] = []
    if plan.clock is not None:
        labels[CLOCK] = plan.clock.isoformat()
    version = _version(options, previous)
    info = rechunk_label.encode(_rechunk_info(options, version, packages, plan, inside))
    facts = Facts(
        moment=options.moment,
        version=version,
        previous=previous.version,
        pretty=options.pretty,
        changelog=options.changelog,
        image_info=info,
        packages=packages,
        previous_versions=previous.package_versions,
        commits=_commits(options, previous, notes),
        formats={**DEFAULT_FORMATS, **options.formats},
    )
    if version is not None:
        labels[VERSION] = version
    if options.revision is not None:
        labels[REVISION] = options.revision
    if options.rechunk_label:
        labels[rechunk_label.LABEL] = info
    filler = Filler(facts)
    labels |= {key: filler.fill(template) for key, template in options.templates}
    if _asks(options, "<pkgupd>") and not previous.package_versions:
        notes.append("<pkgupd>: the previous image does not say which packages it has (--rechunk-label would)")
    if filler.unknown:
        notes.append(f"tags of labels without a value: {', '.join(sorted(filler.unknown))}")
    return labels, notes


def read_tags_file(path: str) -> tuple[str, ...]:
    """The versions that exist, as skopeo lists them, or a line each. Raises: as `read_limited`; MalformedError."""
    with within(escape(path)):
        return tag_list.decode(read_limited(path, tag_list.MAX_TAGS))


def describe_previous(
    previous: PreviousPlan,
    before: ComponentPlan | None,
    plan: ComponentPlan,
    carried: Carried | None,
    strategy: Planner,
    *,
    rebalance: Rebalance,
) -> str | None:
    """One line that says what was used of the previous plan and what was not; None without one.

    `before` is the previous plan in today's names; `carried` is told by the strategy `ostrata` alone, which is also
    the only one that `rebalance` is for.
    """
    if previous.told_by is None:
        return None
    if carried is None:
        used = _use(before, plan, strategy)
    elif rebalance == "full":
        used = f"the strategy {strategy.name} plans afresh, as a full rebalance asks it to"
    else:
        used = _carried(carried)
    return f"the previous plan, by {previous.told_by}: {used}"


def _use(before: ComponentPlan | None, plan: ComponentPlan, strategy: Planner) -> str:
    """What a strategy that does not tell did with the layers of `before`."""
    who = f"the strategy {strategy.name}"
    if not strategy.carries:
        return f"{who} has no memory and does not use it"
    layers = before.layers if before is not None else ()
    layer_of = {name: number for number, names in enumerate(plan.layers) for name in names}
    # A name counts where it stands first.
    homes = [{layer_of.pop(name) for name in dict.fromkeys(names) if name in layer_of} for names in layers]
    known = [numbers for numbers in homes if numbers]
    if not known:
        return f"{who} plans afresh, since it names nothing that is here"
    if any(len(numbers) > 1 for numbers in known) or len(set().union(*known)) < len(known):
        return f"{who} plans afresh, since it has more layers than are allowed"
    return f"{who} carries {len(known)} of {len(layers)} layers on in its own way"


def _carried(carried: Carried) -> str:
    counts = (
        (carried.renamed, "known by another version's name"),
        (carried.joined, "put to the rest of a source"),
        (carried.new, "new"),
        (carried.gone, "gone"),
        (carried.repeated, "named twice"),
    )
    parts = [f"{carried.kept} kept", *(f"{count} {what}" for count, what in counts if count)]
    joined = f", {carried.given_up} joined with others" if carried.given_up else ""
    return f"{carried.layers} of {carried.all_layers} layers carried on{joined}; components: {', '.join(parts)}"


def _version(options: LabelOptions, previous: PreviousPlan) -> str | None:
    if options.version is None:
        return None
    wanted = options.version.replace("<date>", format_date(options.moment))
    return next_version(wanted, previous.version, options.taken)


def _rechunk_info(
    options: LabelOptions,
    version: str | None,
    packages: Sequence[Package],
    plan: ComponentPlan,
    inside: Mapping[str, Sequence[Package]],
) -> RechunkInfo:
    """Its layers name packages, which is what rechunk compares with; components of none are named as they are."""
    layers = tuple(
        tuple(dict.fromkeys(name for component in names for name in _rechunk_names(component, inside)))
        for names in plan.layers
    )
    return RechunkInfo(layers, package_versions(packages), version or "", options.revision)


def _rechunk_names(component: str, inside: Mapping[str, Sequence[Package]]) -> list[str]:
    names = sorted(package.name for package in inside.get(component, ()))
    if names:
        return names
    return ["unpackaged" if component == "unclaimed" else component]


def _commits(options: LabelOptions, previous: PreviousPlan, notes: list[str]) -> list[CommitLine]:
    if not _asks(options, "<commits>"):
        return []
    known = {
        "--git-dir": options.git_directory,
        "--revision": options.revision,
        "a revision of the previous image": previous.revision,
    }
    missing = [name for name, value in known.items() if not value]
    if missing or options.git_directory is None or options.revision is None or previous.revision is None:
        notes.append(f"<commits>: not known without {' and '.join(missing)}")
        return []
    try:
        commits = read_commits(options.git_directory, previous.revision, options.revision)
    except OstrataError as error:
        notes.append(f"<commits>: {str(error).splitlines()[0]}")
        return []
    return [CommitLine(commit.short, commit.full, commit.subject) for commit in commits]


def _asks(options: LabelOptions, tag: str) -> bool:
    texts = [template for _, template in options.templates]
    if any("<changelog>" in text for text in texts) and options.changelog is not None:
        texts.append(options.changelog)
    return any(tag in text for text in texts)
