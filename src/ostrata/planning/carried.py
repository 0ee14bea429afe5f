"""What a previous plan says about the components of today.

A fresh optimum has another membership every week, and each layer with other members is downloaded whole. So a plan is
carried on: every component stays in its layer, what is new is put where it costs least.

Previous plans come from images, thus from anybody: cut short, made by another tool or for another architecture. Each
component looks for its place in this order, and what finds none is new:

1. its name in the previous plan (where it stands first, when it stands there twice);
2. a name there that no component has any more and that differs only in versions or architecture, as those of kernel
   packages do;
3. for the stable part of a component (see `splitting`) the layer of that component, which held it until now;
4. the layer that holds most bytes of its source: they change together.

A source that the previous plan has on several layers stays there, in parts. Layers with a component that must be
exclusive, or that must no longer be, give it up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ostrata.model.component import ComponentPlan
from ostrata.planning.groups import Group
from ostrata.planning.splitting import STABLE

_VERSION = re.compile(r"\d+(?:[.+~:_-]\d+)*")
_ARCHITECTURE = re.compile(
    r"(?<![a-z0-9])(?:x86[_-]64(?:[_-]v[234])?|amd64|i[3-6]86|aarch64|arm64|armv7hl|armhf|ppc64le|ppc64el|s390x|riscv64)(?![a-z0-9])"
)


@dataclass(frozen=True, slots=True)
class Carried:
    """What was used of a previous plan, and what was not: counts.

    `layers` of it hold a component of today, of `all_layers`. Components: `kept` by name, `renamed` found under the
    name of another version, `joined` the rest of their source or component, `new` otherwise. Names of the previous
    plan: `gone` are of no component, `repeated` stood there before. `given_up`: layers joined with others since fewer
    are allowed.
    """

    layers: int = 0
    all_layers: int = 0
    kept: int = 0
    renamed: int = 0
    joined: int = 0
    new: int = 0
    gone: int = 0
    repeated: int = 0
    given_up: int = 0


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the groups (or parts of them) of today are in the previous plan: `layer_of`, None for new ones.

    `touched` are layers that lose a name or gain one by this alone.
    """

    groups: tuple[Group, ...]
    layer_of: tuple[int | None, ...]
    touched: frozenset[int]
    carried: Carried


def place(groups: Sequence[Group], sizes: dict[str, int], previous: ComponentPlan) -> Placement:
    """Find the `groups` in `previous`; `sizes` are the components' compressed bytes."""
    known, repeated, touched = _known_names(previous)
    names = [name for group in groups for name in group.names]
    kept = {name: known[name] for name in names if name in known}
    gone = {name: layer for name, layer in known.items() if name not in kept}
    renamed = _renamed([name for name in names if name not in kept], gone)
    parted = _parted(names, kept | renamed)
    joined = _joined(groups, sizes, kept | renamed | parted)
    layer_of = kept | renamed | parted | joined
    parts = [part for group in groups for part in _parts(group, sizes, layer_of)]
    carried = Carried(
        layers=len(set(layer_of.values())),
        all_layers=len(previous.layers),
        kept=len(kept),
        renamed=len(renamed),
        joined=len(parted) + len(joined),
        new=len(names) - len(layer_of),
        gone=len(gone) - len(renamed),
        repeated=repeated,
    )
    touched |= set(gone.values()) | set(renamed.values()) | set(joined.values())
    return Placement(tuple(part for part, _ in parts), tuple(layer for _, layer in parts), frozenset(touched), carried)


def _known_names(previous: ComponentPlan) -> tuple[dict[str, int], int, set[int]]:
    """Name -> layer, how many names stood there before, and the layers that lose one for that."""
    known: dict[str, int] = {}
    repeated, touched = 0, set()
    for layer, names in enumerate(previous.layers):
        for name in names:
            if name in known:
                repeated += 1
                touched.add(layer)
            else:
                known[name] = layer
    return known, repeated, touched


def _renamed(names: Iterable[str], gone: dict[str, int]) -> dict[str, int]:
    """Name -> layer of a name that is gone and differs only in versions or architecture; each is used once."""
    waiting: dict[str, list[str]] = {}
    for name in sorted(gone, reverse=True):
        waiting.setdefault(_without_version(name), []).append(name)
    found = {}
    for name in sorted(names):
        candidates = waiting.get(_without_version(name))
        if candidates:
            found[name] = gone[candidates.pop()]
    return found


def _without_version(name: str) -> str:
    return _VERSION.sub("#", _ARCHITECTURE.sub("@", name))


def _parted(names: Iterable[str], layer_of: dict[str, int]) -> dict[str, int]:
    """Stable part -> the layer of its component. It was there before it had a name, so that nothing is touched."""
    return {
        name: layer_of[whole]
        for name in names
        if name not in layer_of and name.endswith(STABLE) and (whole := name.removesuffix(STABLE)) in layer_of
    }


def _joined(groups: Iterable[Group], sizes: dict[str, int], layer_of: dict[str, int]) -> dict[str, int]:
    """Name -> layer with most bytes of the same group, for what has no layer while others of its group have."""
    found: dict[str, int] = {}
    for group in groups:
        held: dict[int, int] = {}
        for name in group.names:
            if name in layer_of:
                held[layer_of[name]] = held.get(layer_of[name], 0) + sizes[name]
        if held:
            home = min(held, key=lambda layer: (-held[layer], layer))
            found.update((name, home) for name in group.names if name not in layer_of)
    return found


def _parts(group: Group, sizes: dict[str, int], layer_of: dict[str, int]) -> list[tuple[Group, int | None]]:
    """The group, or its parts when it is on several layers."""
    names: dict[int | None, list[str]] = {}
    for name in group.names:
        names.setdefault(layer_of.get(name), []).append(name)
    if len(names) == 1:
        return [(group, layer) for layer in names]
    return [
        (replace(group, names=tuple(part), size=max(1, sum(sizes[name] for name in part))), layer)
        for layer, part in names.items()
    ]
