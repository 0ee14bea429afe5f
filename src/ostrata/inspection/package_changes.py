"""Which packages came, went, or have another version: two lists of packages compared by name.

One name can be installed in several versions (kernels) and for several architectures: what counts is which (version,
architecture) pairs are on one side only. Sizes are the installed ones of all packages of the name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ostrata.model.package import Package


@dataclass(frozen=True, slots=True)
class PackageChange:
    """A name: the versions that went and that came, ascending as text, and its sizes before and after.

    A size is 0 where there is no such package, None where a package does not tell.
    """

    name: str
    old: tuple[str, ...]
    new: tuple[str, ...]
    old_size: int | None
    new_size: int | None


@dataclass(frozen=True, slots=True)
class PackageChanges:
    """By name; `updated` are those that are on both sides. `unchanged` counts names."""

    added: tuple[PackageChange, ...]
    removed: tuple[PackageChange, ...]
    updated: tuple[PackageChange, ...]
    unchanged: int

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.updated)


def compare_packages(old: Iterable[Package], new: Iterable[Package]) -> PackageChanges:
    """What is different in `new`."""
    before, after = _by_name(old), _by_name(new)
    added: list[PackageChange] = []
    removed: list[PackageChange] = []
    updated: list[PackageChange] = []
    for name in sorted(before.keys() | after.keys()):
        change = _change(name, before.get(name, []), after.get(name, []))
        if change is None:
            continue
        (added if name not in before else removed if name not in after else updated).append(change)
    unchanged = len(before.keys() & after.keys()) - len(updated)
    return PackageChanges(tuple(added), tuple(removed), tuple(updated), unchanged)


def _by_name(packages: Iterable[Package]) -> dict[str, list[Package]]:
    found: dict[str, list[Package]] = {}
    for package in packages:
        found.setdefault(package.name, []).append(package)
    return found


def _change(name: str, old: list[Package], new: list[Package]) -> PackageChange | None:
    before = {(package.version, package.arch) for package in old}
    after = {(package.version, package.arch) for package in new}
    if before == after:
        return None
    went = tuple(sorted({version for version, _ in before - after}))
    came = tuple(sorted({version for version, _ in after - before}))
    return PackageChange(name, went, came, _size(old), _size(new))


def _size(packages: list[Package]) -> int | None:
    sizes = [package.size for package in packages]
    return None if None in sizes else sum(size for size in sizes if size is not None)
