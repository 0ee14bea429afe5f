"""Which files of two sources have the same content? Read side by side, and only where reading is needed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass

from ostrata import parallel
from ostrata.formats.plain_changes import Pair
from ostrata.model.tree import RegularFile
from ostrata.pipeline.build_sources import PreparedSource
from ostrata.progress import Progress
from ostrata.sources.contents import Contents, SourceAt, open_contents
from ostrata.sources.image_union import content_place

FILES_PER_UNIT = 512
BYTES_PER_UNIT = 64 << 20

Files = Mapping[Pair, tuple[RegularFile, RegularFile]]


@dataclass(frozen=True, slots=True)
class CompareUnit:
    """A work unit: compare these files of `one` and `other`."""

    one: SourceAt
    other: SourceAt
    files: tuple[tuple[RegularFile, RegularFile], ...]


def equal_contents(
    one: PreparedSource, other: PreparedSource, files: Files, *, jobs: int, progress: Progress
) -> set[Pair]:
    """The `files`, of `one` and `other`, that have equal contents. Raises: what reading them raises.

    What both images have in a layer that they share is not read: it is the same.
    """
    shared = _shared_layers(one, other)
    equal = {pair for pair, (first, _) in files.items() if not first.size or _is_shared(pair, shared)}
    left = {pair: found for pair, found in files.items() if pair not in equal}
    units = list(_units(one.at, other.at, left.values()))
    weights = [sum(2 * first.size for first, _ in unit.files) for unit in units]
    progress.start("comparing with the base", sum(weights))
    results = parallel.run(compare_unit, units, jobs=jobs, weights=weights, on_advance=progress.advance)
    with closing(results):
        answers = [answer for result in results for answer in result]
    return equal | {pair for pair, is_equal in zip(left, answers, strict=True) if is_equal}


def _shared_layers(one: PreparedSource, other: PreparedSource) -> int:
    """How many layers, from the lowest on, both have."""
    if one.image is None or other.image is None:
        return 0
    count = 0
    for first, second in zip(one.image.layers, other.image.layers, strict=False):
        if first.diff_id != second.diff_id:
            break
        count += 1
    return count


def _is_shared(pair: Pair, shared: int) -> bool:
    place = content_place(pair[0]) if shared and pair[0] == pair[1] else None
    return place is not None and place[0] < shared


def _units(one: SourceAt, other: SourceAt, files: Iterable[tuple[RegularFile, RegularFile]]) -> Iterator[CompareUnit]:
    collected: list[tuple[RegularFile, RegularFile]] = []
    size = 0
    for pair in files:
        collected.append(pair)
        size += pair[0].size
        if len(collected) >= FILES_PER_UNIT or size >= BYTES_PER_UNIT:
            yield CompareUnit(one, other, tuple(collected))
            collected, size = [], 0
    if collected:
        yield CompareUnit(one, other, tuple(collected))


def compare_unit(unit: CompareUnit) -> list[bool]:
    """The work unit's function."""
    with open_contents(unit.one) as ones, open_contents(unit.other) as others:
        return [_digest(ones, first) == _digest(others, second) for first, second in unit.files]


def _digest(contents: Contents, file: RegularFile) -> bytes:
    hashed = hashlib.sha256()
    for piece in contents.open(file):
        hashed.update(piece)
        parallel.advance(len(piece))
    return hashed.digest()
