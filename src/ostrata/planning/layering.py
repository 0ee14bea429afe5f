"""Groups on layers, what that costs, and moves that make it cheaper.

A layer costs its size times the weighted chances of a change in each window (see `expectations`), and, in a carried
plan, its size once more when it changes in this release anyway: a **dirty** layer. `once` is what a byte of that costs;
a fresh plan has 0. Moving a group makes two layers dirty, so that a move is done only if it pays that back.

The search takes the groups by size, the largest first, and gives each to the layer where everything together costs
least. Most groups changed in few windows, and survive all others of a cadence with one chance: so what the layers would
survive with a group is told from their sums over each cadence and from those few windows. The search ends when a pass
over all groups moves none, or after a fixed number of passes. Among equals the layer with the lower number wins, and a
group stays where it is unless it gains more than rounding can.

`einsum` is used for its fixed order of additions: a matrix library that uses threads may add in another order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from ostrata.planning.expectations import Expectations

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

PASSES = 5
NOWHERE = -1
_GAIN = 1e-9  # of the cost of everything in one layer


class Layering:
    """The layer of each group, and the cost of every layer, kept up to date."""

    def __init__(
        self,
        expectations: Expectations,
        identities: Sequence[str],
        layer_of: Sequence[int],
        layers: int,
        fixed: int = 0,
    ) -> None:
        """`layer_of` is NOWHERE for groups that are still to be inserted; `identities` as in `Group`.

        The last `fixed` layers stay as they are.
        """
        import numpy as np

        self.layer_of = list(layer_of)
        self._open = layers - fixed
        self.dirty = np.zeros(layers, dtype=bool)
        self.sizes = np.zeros(layers)
        self._expectations = expectations
        self._once = 0.0
        self._twins = _twins(identities)
        self._identities = identities
        self._members: list[set[int]] = [set() for _ in range(layers)]
        for group, layer in enumerate(self.layer_of):
            if layer != NOWHERE:
                self._members[layer].add(group)
        self._everything = float(np.cumsum(expectations.weights)[-1])
        self._survival = np.ones((layers, len(expectations.weights)))
        self._survived = np.zeros((layers, len(expectations.starts)))
        self._costs = np.zeros(layers)
        self._windows = _Windows(expectations)
        self._renew_all()

    @property
    def layers(self) -> list[list[int]]:
        """The groups of each layer, ascending."""
        return [sorted(members) for members in self._members]

    def charge(self, once: float, dirty: Iterable[int]) -> None:
        """From now on bytes of dirty layers cost `once` each; `dirty` layers change in this release anyway."""
        import numpy as np

        self._once = once
        self.dirty[np.array(sorted(dirty), dtype=np.intp)] = True

    def weekly_bytes(self) -> float:
        """Expected bytes of an update after a week."""
        import numpy as np

        survival = np.einsum("lw,w->l", self._survival, self._expectations.weekly)
        return float(np.cumsum(self.sizes * (1 - survival))[-1])

    def cost(self) -> float:
        """Of everything, without what dirty layers cost once."""
        import numpy as np

        return float(np.cumsum(self._costs)[-1])

    def insert(self, group: int) -> None:
        """Put a group that is nowhere where it costs least."""
        self._put(group, int(self._added_costs(group).argmin()))

    def improve(self, passes: int = PASSES) -> int:
        """Move groups as long as that pays. Returns how many moves there were."""
        sizes = self._expectations.sizes
        movable = [group for group, layer in enumerate(self.layer_of) if layer < self._open]
        order = sorted(movable, key=lambda group: (-sizes[group], group))
        moves = 0
        for _ in range(passes):
            moved = sum(map(self._improve, order))
            self._renew_all()
            moves += moved
            if not moved:
                break
        return moves

    def dissolve(self, most: int) -> list[int]:
        """Join layers until at most `most` are used, the pairs first that cost least. Returns the layers given up.

        `most` does not count the fixed layers.
        """
        given_up = []
        joins = _Joins(self, [layer for layer, members in enumerate(self._members[: self._open]) if members])
        while joins.used > most:
            kept, gone = joins.pop()
            given_up.append(gone)
            for group in sorted(self._members[gone]):
                self._move(group, kept)
            joins.renew(kept)
        return given_up

    def joined_costs(self, layer: int, others: Sequence[int]) -> Floats:
        """What joining `layer` with each of `others` adds, both being dirty from then on."""
        import numpy as np

        both = np.einsum("lw,w->l", self._survival[others], self._survival[layer] * self._expectations.weights)
        apart = self._costs + self._once * self.sizes * self.dirty
        joined = (self.sizes[layer] + self.sizes[others]) * (self._everything - both + self._once)
        costs: Floats = joined - apart[layer] - apart[others]
        return costs

    def _improve(self, group: int) -> bool:
        here = self.layer_of[group]
        costs = self._added_costs(group)
        stay = self._saved_cost(group)
        costs[here] = stay
        best = int(costs.argmin())
        if best == here or stay - costs[best] <= _GAIN * self._everything:
            return False
        self._move(group, best)
        return True

    def _added_costs(self, group: int) -> Floats:
        """What the group adds to the cost of each layer that it may be on."""
        size, end = self._expectations.sizes[group], self._open
        survived = self._windows.survived(group, self._survival[:end], self._survived[:end])
        for twin in self._twins.get(self._identities[group], ()):
            layer = self.layer_of[twin]
            if NOWHERE < layer < end and twin != group:
                survived[layer] = self._everything - self._costs[layer] / self.sizes[layer]
        already = (self._costs + self._once * self.sizes * self.dirty)[:end]
        added: Floats = (self.sizes[:end] + size) * (self._everything - survived + self._once) - already
        return added

    def _saved_cost(self, group: int) -> float:
        """What its layer would save without the group."""
        layer = self.layer_of[group]
        left = self.sizes[layer] - self._expectations.sizes[group]
        now = self._costs[layer] + self._once * self.sizes[layer] * self.dirty[layer]
        if len(self._members[layer]) == 1:
            return float(now)
        survival = self._survival[layer]
        if not self._has_twin(group):
            survival = survival / self._expectations.survival[group]
        survived = (survival * self._expectations.weights).sum()
        return float(now - left * (self._everything - survived + self._once))

    def _has_twin(self, group: int) -> bool:
        """Whether its layer changes with it even if it goes."""
        twins = self._twins.get(self._identities[group], ())
        return any(twin != group and self.layer_of[twin] == self.layer_of[group] for twin in twins)

    def _move(self, group: int, layer: int) -> None:
        left = self.layer_of[group]
        self._members[left].discard(group)
        if not self._members[left]:
            self._survival[left] = 1.0
        elif not self._has_twin(group):
            self._survival[left] /= self._expectations.survival[group]
        self._resize(left, -self._expectations.sizes[group])
        self._put(group, layer)

    def _put(self, group: int, layer: int) -> None:
        self.layer_of[group] = layer
        self._members[layer].add(group)
        if not self._has_twin(group):
            self._survival[layer] *= self._expectations.survival[group]
        self._resize(layer, self._expectations.sizes[group])

    def _resize(self, layer: int, size: float) -> None:
        self.sizes[layer] += size
        self.dirty[layer] = True
        self._price(layer)

    def _price(self, layer: int) -> None:
        import numpy as np

        weighted = self._survival[layer] * self._expectations.weights
        self._survived[layer] = np.add.reduceat(weighted, self._expectations.starts)
        self._costs[layer] = self.sizes[layer] * (self._everything - float(self._survived[layer].sum()))

    def _renew_all(self) -> None:
        """Every layer from its members in their order, so that rounding does not add up over many moves."""
        for layer, members in enumerate(self._members):
            ordered = sorted(members)
            self.sizes[layer] = sum(int(self._expectations.sizes[group]) for group in ordered)
            self._survival[layer] = 1.0
            for group in {self._identities[group]: group for group in ordered}.values():
                self._survival[layer] *= self._expectations.survival[group]
            self._price(layer)


class _Windows:
    """For each group the windows in which it changed, and the chance with which it survives all others of a cadence."""

    def __init__(self, expectations: Expectations) -> None:
        import numpy as np

        survival, starts = expectations.survival, expectations.starts
        lengths = np.diff([*starts, survival.shape[1]])
        self._quiet = np.maximum.reduceat(survival, starts, axis=1)
        lost = (np.repeat(self._quiet, lengths, axis=1) - survival) * expectations.weights
        groups, windows = np.nonzero(lost)
        ends = np.searchsorted(groups, np.arange(len(survival) + 1))
        self._changed = [windows[first:end] for first, end in pairwise(ends.tolist())]
        self._lost = [lost[group, changed] for group, changed in enumerate(self._changed)]

    def survived(self, group: int, survival: Floats, survived: Floats) -> Floats:
        """The weighted survival of each layer with the group, from its `survival` by window, `survived` by cadence."""
        import numpy as np

        changed = self._changed[group]
        quiet = np.einsum("lc,c->l", survived, self._quiet[group])
        found: Floats = quiet - np.einsum("lw,w->l", survival.take(changed, axis=1), self._lost[group])
        return found


class _Joins:
    """For each layer, the one that it is cheapest to join with."""

    def __init__(self, layering: Layering, layers: list[int]) -> None:
        import numpy as np

        self._layering = layering
        self._layers = layers
        self._costs = np.full((len(layers), len(layers)), np.inf)
        for layer in layers:
            self.renew(layer)

    @property
    def used(self) -> int:
        return len(self._layers)

    def pop(self) -> tuple[int, int]:
        """The cheapest pair: the layer that stays (the larger one), and the one that is given up."""
        import numpy as np

        first, second = (self._layers[int(at)] for at in np.unravel_index(self._costs.argmin(), self._costs.shape))
        sizes = self._layering.sizes
        kept, gone = sorted((first, second), key=lambda layer: (-sizes[layer], layer))
        at = self._layers.index(gone)
        self._layers.remove(gone)
        self._costs = np.delete(np.delete(self._costs, at, axis=0), at, axis=1)
        return kept, gone

    def renew(self, layer: int) -> None:
        """Compute the costs of joining `layer` again."""
        at = self._layers.index(layer)
        costs = self._layering.joined_costs(layer, self._layers)
        costs[at] = float("inf")
        self._costs[at, :] = costs
        self._costs[:, at] = costs


def _twins(identities: Sequence[str]) -> dict[str, list[int]]:
    """Groups that change together although they are apart, by what they have in common."""
    found: dict[str, list[int]] = {}
    for group, identity in enumerate(identities):
        found.setdefault(identity, []).append(group)
    return {identity: groups for identity, groups in found.items() if len(groups) > 1}
