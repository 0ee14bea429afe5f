"""Why a path is where it is: which rule gave it to which component, and the planner that component to which layer."""

from __future__ import annotations

from dataclasses import dataclass

from ostrata.errors import NotFoundError, UnsupportedError, escape
from ostrata.model.component import Component
from ostrata.model.package import Package
from ostrata.model.tree import Directory
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


def explain(planned: PlanSource, tree_plan: TreePlan, path: str) -> Explanation:
    """Why `path` (with or without a leading slash) is where it is.

    Symlinks on the way to it are followed, as for paths in package databases: /bin/sh may be /usr/bin/sh. Raises:
    NotFoundError for a path that is not in the tree, UnsupportedError for a directory.
    """
    where = f"/{escape(path.strip('/'))}"
    path = TreeFiles(planned.source).locate(path.rstrip("/"))
    entry = planned.source.tree.entries.get(path)
    if entry is None:
        raise NotFoundError("no such path in the tree", where=where)
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
