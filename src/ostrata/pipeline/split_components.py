"""Components split into a stable and a volatile part, by what a history says about their paths.

Whether it pays is decided in `planning.splitting`; here the parts take the place of their component, among the claims
too, so that `explain` tells of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date

from ostrata.components.claim import Claim
from ostrata.components.claims import Claims
from ostrata.components.components import Components
from ostrata.components.sizes import compressed_size
from ostrata.model.component import Component
from ostrata.model.history import ChangedPaths
from ostrata.model.tree import Entry, RegularFile
from ostrata.planning.splitting import STABLE, Split, joined_paths, split


def split_components(
    claims: Claims,
    components: Components,
    changed: ChangedPaths,
    entries: Mapping[str, Entry],
    objects: Mapping[str, str],
    clock: date,
) -> tuple[Claims, Components]:
    """Claims and components with the parts of those that it pays to split. `changed` as in `History`."""
    by_name = {component.name: component for component in components.components}
    splits = {
        name: parts
        for name, paths in joined_paths(changed).items()
        if name in by_name and name + STABLE not in by_name
        and (parts := split(by_name[name], objects, _sizes(by_name[name], entries, objects), paths, clock)) is not None
    }  # fmt: skip
    if not splits:
        return claims, components
    stable_paths = {path for parts in splits.values() for path in parts.stable.paths}
    stable_objects = {objects[path] for path in stable_paths}
    return (
        replace(claims, by_path=_of_parts(claims.by_path, stable_paths, splits)),
        replace(
            components,
            components=tuple(sorted(_with_parts(components.components, splits), key=lambda item: item.name)),
            claims=_of_parts(components.claims, stable_objects, splits),
        ),
    )


def _sizes(
    component: Component, entries: Mapping[str, Entry], objects: Mapping[str, str]
) -> dict[str, tuple[int, int]]:
    """Object -> bytes and compressed bytes, as its first path has them."""
    sizes: dict[str, tuple[int, int]] = {}
    for path in component.paths:
        if objects[path] not in sizes:
            entry = entries[path]
            size = entry.size if isinstance(entry, RegularFile) else 0
            sizes[objects[path]] = (size, compressed_size(path, size))
    return sizes


def _with_parts(components: Iterable[Component], splits: Mapping[str, Split]) -> Iterator[Component]:
    for component in components:
        parts = splits.get(component.name)
        if parts is None:
            yield component
        else:
            yield parts.volatile
            yield parts.stable


def _of_parts(claims: Mapping[str, Claim], stable: set[str], splits: Mapping[str, Split]) -> dict[str, Claim]:
    """`claims`, those of the keys in `stable` moved to the stable part of their component."""
    return {
        key: _of_stable(claim) if key in stable and claim.component in splits else claim
        for key, claim in claims.items()
    }


def _of_stable(claim: Claim) -> Claim:
    why = f"{claim.why}; no update that the history knows of changed it"
    return replace(claim, component=claim.component + STABLE, why=why)
