"""The planners by the names that `--strategy` takes; each is imported when it is used."""

from __future__ import annotations

from importlib import import_module

from ostrata.errors import UnsupportedError, escape
from ostrata.protocols import Planner

DEFAULT = "ostrata"
STRATEGIES = {
    "ostrata": "ostrata_planner",
    "rechunk": "rechunk",
    "rpm-ostree": "rpm_ostree",
    "chunkah": "chunkah",
}
"""Name -> module beside this one, which has the planner as PLANNER."""


def planner(name: str) -> Planner:
    """The planner of that name. Raises: UnsupportedError, with the names there are."""
    if name not in STRATEGIES:
        raise UnsupportedError(f"no strategy '{escape(name)}'", hint=f"there are: {', '.join(STRATEGIES)}")
    found: Planner = import_module(f"ostrata.planning.{STRATEGIES[name]}").PLANNER
    return found
