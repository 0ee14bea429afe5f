"""What the past says about the future: how often a group changes, and which groups change at the same time.

**Rate.** A group's updates per day: its past ones, weighted by exp(-age / 548 days), over the time that it was watched
(since its first update, at least 30 days, weighted alike), shrunk towards the mean of all groups as if everybody had
been watched for 90 more days at that mean. One update a day counts.

**Cadences.** Clients update every day, every 7 or every 28 days. For each cadence the last 1092 days are cut into
windows of that length, which stand for the windows to come, recent ones more (exp(-age / 1092 days)). In window w a
group survives, that is: does not change, with chance

    survival[w] = (1 - a * changed[w]) * b

where `changed` is 1 when it did change in that window, a = 0.8 * min(1, p / e), p = 1 - exp(-rate * days) is the chance
of a change in any window, e the share of windows with a change, and b makes the mean survival 1 - p. A layer survives a
window with the product over its groups. So groups that used to change in the same windows are cheap together (the
release trains of a desktop, say), and a group without a past is as cheap or dear as its rate makes it.

The windows of all cadences stand side by side in one matrix. `weights` are what a change in a window costs for each
byte: cadences count 1, 2 and 3, each divided by the bytes that change in its mean window, so that none of them
dominates by its length.

Values are rounded to 24 bits: the last bits of `exp` differ from one processor to the next, plans must not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from ostrata.planning.groups import Group

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CADENCES = ((1, 1.0), (7, 2.0), (28, 3.0))
"""Days between updates -> how much such clients count."""

WEEKLY = 7
PAYBACK_UPDATES = 13
"""Weekly updates within which a move must have saved the bytes that it costs once."""

WATCHED_DAYS = 30
"""Days for which whatever has an update was watched at least."""

_RATE_DAYS = 548.0
_PRIOR_DAYS = 90.0
_SPAN_DAYS = 1092
_CONCURRENCE = 0.8
_MOST_CERTAIN = 1 - 1e-6  # a chance of 1 could not be taken out of a product again
_BITS = 2.0**24


@dataclass(frozen=True, slots=True)
class Expectations:
    """About groups, by their index.

    `sizes` in bytes, `rates` in updates per day; `survival` by group and window, `weights` by window; `starts` are the
    first windows of the cadences; `weekly` marks the windows of clients that update every 7 days by their share of all
    such windows; `once` is what a byte costs that is downloaded once, in the unit of `weights`.
    """

    sizes: Floats
    rates: Floats
    survival: Floats
    weights: Floats
    starts: tuple[int, ...]
    weekly: Floats
    once: float


def expect(groups: Sequence[Group]) -> Expectations:
    """What is to be expected of `groups`, of which there is at least one."""
    import numpy as np

    sizes = np.array([group.size for group in groups], dtype=np.float64)
    rates = _round(update_rates(groups))
    survival, weights, weekly = [], [], []
    once = 0.0
    for days, weight in CADENCES:
        chances = np.minimum(1 - np.exp(-rates * days), _MOST_CERTAIN)
        shares = _shares_of_windows(days)
        changing = _total(sizes * chances)
        survival.append(_survival(_changes(groups, days), shares, chances))
        weights.append(weight / changing * shares)
        weekly.append(shares if days == WEEKLY else np.zeros_like(shares))
        if days == WEEKLY:
            once = sum(weight for _, weight in CADENCES) / (PAYBACK_UPDATES * changing)
    starts = tuple(accumulate((len(each) for each in weights[:-1]), initial=0))
    return Expectations(sizes, rates, np.hstack(survival), np.hstack(weights), starts, np.hstack(weekly), once)


def update_rates(groups: Sequence[Group]) -> Floats:
    """Updates per day of each group."""
    import numpy as np

    seen = np.array([_weighted_count(group.ages) for group in groups])
    watched = np.array([max((*group.ages[-1:], WATCHED_DAYS)) for group in groups], dtype=np.float64)
    exposure = _RATE_DAYS * (1 - np.exp(-watched / _RATE_DAYS))
    mean = _total(seen) / _total(exposure)
    rates: Floats = (seen + _PRIOR_DAYS * mean) / (exposure + _PRIOR_DAYS)
    asked = [(index, group.interval) for index, group in enumerate(groups) if group.interval is not None]
    for index, interval in asked:
        rates[index] = 1 / interval
    return np.clip(rates, 1e-6, 20.0)


def _weighted_count(ages: tuple[int, ...]) -> float:
    import numpy as np

    return _total(np.exp(-np.array(ages, dtype=np.float64) / _RATE_DAYS))


def _shares_of_windows(days: int) -> Floats:
    import numpy as np

    shares = np.exp(-(np.arange(_SPAN_DAYS // days) + 0.5) * days / _SPAN_DAYS)
    return shares / _total(shares)


def _changes(groups: Sequence[Group], days: int) -> Floats:
    """1 where a group changed in a window, the latest window first."""
    import numpy as np

    windows = _SPAN_DAYS // days
    changes = np.zeros((len(groups), windows))
    for index, group in enumerate(groups):
        hit = {(age - 1) // days for age in group.ages if age <= windows * days}
        changes[index, sorted(hit)] = 1.0
    return changes


def _survival(changes: Floats, shares: Floats, chances: Floats) -> Floats:
    import numpy as np

    changed = np.einsum("gw,w->g", changes, shares)
    concurrence = _CONCURRENCE * np.minimum(1.0, chances / np.maximum(changed, 1e-12)) * (changed > 0)
    elsewhere = np.minimum(1.0, (1 - chances) / (1 - concurrence * changed))
    return _round((1 - concurrence[:, None] * changes) * elsewhere[:, None])


def _round(values: Floats) -> Floats:
    import numpy as np

    return np.maximum(np.rint(values * _BITS), 1.0) / _BITS


def _total(values: Floats) -> float:
    """A sum whose order no library chooses."""
    return math.fsum(values.tolist())
