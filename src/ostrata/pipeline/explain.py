"""Why a path is where it is: which rule gave it to which component, and the planner that component to which layer.

A directory has no such place: it is in every layer that has files of its own. Its files are told by their components.
"""

from __future__ import annotations

from dataclasses import dataclass

from ostrata.errors import NotFoundError, UnsupportedError, escape
from ostrata.model.component import Component
from ostrata.model.package import Package
from ostrata.model.tree import Directory, Entry, RegularFile
from ostrata.packages.tree_files import TreeFiles
from ostrata.pipeline.plan import PlanSource, TreePlan
from ostrata.planning.forecast import LayerForecast


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a path is where it is.

    `rule` and `why` are those of the claim on the path itself; `object_rule` and `object_why` those of the claim that
    has its object, which has more paths (`twins`, without this one) when they differ. `packages` are of the component.
    """

    path: str
    component: Component
    rule: str
    why: str
    object_component: str
    object_rule: str
    object_why: str
    checksum: str
    twins: tuple[str, ...]
    packages: tuple[Package, ...]
    layer: str
    layer_components: tuple[str, ...]
    layer_forecast: LayerForecast


@dataclass(frozen=True, slots=True)
class ComponentShare:
    """What of a component lies in a directory: `paths` are counted, `size` are the bytes of its objects there."""

    component: str
    layer: str
    paths: int
    size: int


def explain(planned: PlanSource, tree_plan: TreePlan, path: str) -> Explanation:
    """Why `path` (with or without a leading slash) is where it is.

    Symlinks on the way to it are followed, as for paths in package databases: /bin/sh may be /usr/bin/sh. Raises:
    NotFoundError for a path that is not in the tree, UnsupportedError for a directory.
    """
    where = f"/{escape(path.strip('/'))}"
    path, entry = _find(planned, path)
    if isinstance(entry, Directory):
        raise UnsupportedError(
            "directories are in every layer that has files of theirs", where=where, hint="name a file in it"
        )
    checksum = planned.objects[path]
    own, chosen = tree_plan.claims.by_path[path], tree_plan.components.claims[checksum]
    component = next(item for item in tree_plan.components.components if item.name == chosen.component)
    number = next(index for index, names in enumerate(tree_plan.plan.layers) if component.name in names)
    return Explanation(
        path=path,
        component=component,
        rule=own.rule,
        why=own.why,
        object_component=chosen.component,
        object_rule=chosen.rule,
        object_why=chosen.why,
        checksum=checksum,
        twins=tuple(other for other in component.paths if other != path and planned.objects[other] == checksum),
        packages=tree_plan.components.packages.get(component.name, ()),
        layer=list(tree_plan.contentmeta.layers)[number],
        layer_components=tree_plan.plan.layers[number],
        layer_forecast=tree_plan.forecasts[number],
    )


def explain_directory(planned: PlanSource, tree_plan: TreePlan, path: str) -> tuple[ComponentShare, ...] | None:
    """The components of what is in the directory `path` or below, the largest share first; None for other paths.

    Raises: NotFoundError for a path that is not in the tree.
    """
    path, entry = _find(planned, path)
    if not isinstance(entry, Directory):
        return None
    start = f"{path}/" if path else ""
    entries, objects = planned.source.tree.entries, planned.objects
    layers = zip(tree_plan.contentmeta.layers, tree_plan.plan.layers, strict=True)
    layer_of = {name: layer for layer, names in layers for name in names}
    shares = []
    for component in tree_plan.components.components:
        inside = [inner for inner in component.paths if inner.startswith(start)]
        if inside:
            sizes = {objects[inner]: _size(entries[inner]) for inner in inside}
            shares.append(ComponentShare(component.name, layer_of[component.name], len(inside), sum(sizes.values())))
    return tuple(sorted(shares, key=lambda share: (-share.size, -share.paths, share.component)))


def _find(planned: PlanSource, path: str) -> tuple[str, Entry]:
    """Where `path` is in the tree, and what is there."""
    place = TreeFiles(planned.source).locate(path.rstrip("/"))
    entry = planned.source.tree.entries.get(place)
    if entry is None:
        raise NotFoundError("no such path in the tree", where=f"/{escape(path.strip('/'))}")
    return place, entry


def _size(entry: Entry) -> int:
    return entry.size if isinstance(entry, RegularFile) else 0
