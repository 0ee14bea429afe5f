"""A history: which components a system consists of, and on which days each of them changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from ostrata.model.component import Component

ChangedPaths = Mapping[str, Mapping[str, tuple[date, ...]]]
"""Component name -> path -> the days on which its content changed, ascending."""


@dataclass(frozen=True, slots=True)
class History:
    """Components by name, with their update dates.

    `changed_paths` says for some components which of their paths changed, and when; what is not named there is not
    known. `notes` are about the file that it was read from: what was put right.
    """

    components: tuple[Component, ...]
    title: str | None = None
    changed_paths: ChangedPaths = field(default_factory=dict)
    notes: tuple[str, ...] = field(default=(), compare=False)
