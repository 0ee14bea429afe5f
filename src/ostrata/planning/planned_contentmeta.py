"""A plan of components as a contentmeta document.

Layers come in the order of the plan. Their ids are `layer-001`, `layer-002`, ...; their names are those of their
components with commas between (a component's name has no comma), which is what the next plan reads of this one.
"""

from __future__ import annotations

from collections.abc import Mapping

from ostrata.model.component import ComponentPlan
from ostrata.model.plan import Contentmeta

SEPARATOR = ","


def plan_contentmeta(
    plan: ComponentPlan,
    component_of: Mapping[str, str],
    *,
    created: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> Contentmeta:
    """The document of `plan`; `component_of` is object checksum -> the name of its component."""
    ids = [f"layer-{number:03}" for number in range(1, len(plan.layers) + 1)]
    layer_of = {name: identifier for identifier, names in zip(ids, plan.layers, strict=True) for name in names}
    return Contentmeta(
        layers={identifier: SEPARATOR.join(names) for identifier, names in zip(ids, plan.layers, strict=True)},
        mapping={checksum: layer_of[component_of[checksum]] for checksum in sorted(component_of)},
        created=created,
        labels=labels or {},
    )


def split_names(name: str) -> tuple[str, ...]:
    """The components that a layer's name says are in it."""
    return tuple(stripped for part in name.split(SEPARATOR) if (stripped := part.strip()))
