"""What a commit changes about the files it takes: owners, modes, xattrs, and what it leaves out.

The order is `ostree commit`'s: owner, read-only executables, statoverride, then canonical permissions; SELinux labels
are there whatever becomes of the other xattrs. Paths are absolute within the tree (`/usr/bin/su`), as they stand in the
two files:

* *statoverride*: lines ``MODE PATH`` (MODE, decimal, is or-ed into the file's mode) or ``=MODE PATH`` (it replaces the
  permission bits). `ostree` takes text for the number 0 and forgives unmatched ``=`` lines; here both are errors.
* *skip list*: lines ``PATH``; a directory goes with all that is in it.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from ostrata.errors import MalformedError, UnsupportedError, escape
from ostrata.model.tree import Attributes, Xattrs
from ostrata.sources.selinux import SelinuxPolicy

PERMISSIONS = 0o7777
CANONICAL = 0o755
MAX_OWNER = 0xFFFF_FFFE

_OVERRIDE = re.compile(r"(=?)\+?([0-9]{1,9}) (.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ModeChange:
    """A statoverride entry: `bits` are or-ed into the mode, or with `replaces` stand in its place."""

    bits: int
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class Modifiers:
    """How the attributes in a commit differ from those on disk. Raises: UnsupportedError for a contradiction."""

    owner_uid: int | None = None
    owner_gid: int | None = None
    canonical_permissions: bool = False
    no_xattrs: bool = False
    mode_ro_executables: bool = False
    statoverride: Mapping[str, ModeChange] = field(default_factory=dict)
    skip: frozenset[str] = frozenset()
    selinux: SelinuxPolicy | None = None

    def __post_init__(self) -> None:
        if self.canonical_permissions and (self.owner_uid or self.owner_gid):
            raise UnsupportedError("canonical permissions exclude an owner other than 0")
        for owner in (self.owner_uid, self.owner_gid):
            if owner is not None and not 0 <= owner <= MAX_OWNER:
                raise UnsupportedError(f"expected a user or group id from 0 to {MAX_OWNER}, found {owner}")

    def for_mode(self, mode: str, *, without_xattrs: bool = False) -> Modifiers:
        """These modifiers as a repository of `mode` needs them: bare-user-only keeps canonical permissions only."""
        if mode == "bare-user-only":
            return replace(self, owner_uid=None, owner_gid=None, canonical_permissions=True)
        return replace(self, no_xattrs=self.no_xattrs or without_xattrs)

    @property
    def drops_xattrs(self) -> bool:
        return self.no_xattrs or self.canonical_permissions

    def apply(self, path: str, mode: int, uid: int, gid: int, xattrs: Xattrs) -> Attributes:
        """The attributes in the commit of what lies at `path`; `mode` with its file type.

        Raises: UnsupportedError when a symlink's mode would change; what looking up a label raises.
        """
        uid = uid if self.owner_uid is None else self.owner_uid
        gid = gid if self.owner_gid is None else self.owner_gid
        changed = self._mode(path, mode)
        if self.canonical_permissions:
            uid = gid = 0
            changed = changed if stat.S_ISLNK(mode) else changed & CANONICAL
        kept = () if self.drops_xattrs else xattrs
        if self.selinux is not None:
            kept = self.selinux.relabelled(path, mode, kept)
        return Attributes(changed, uid, gid, kept)

    def _mode(self, path: str, mode: int) -> int:
        permissions = mode & PERMISSIONS
        if self.mode_ro_executables and stat.S_ISREG(mode) and mode & 0o111:
            permissions &= ~0o222
        change = self.statoverride.get(f"/{path}") if self.statoverride else None
        if change is None:
            return permissions
        overridden = change.bits if change.replaces else permissions | change.bits
        if stat.S_ISLNK(mode) and overridden != permissions:
            raise UnsupportedError("statoverride cannot change the mode of a symlink")
        return overridden


def parse_statoverride(text: str) -> dict[str, ModeChange]:
    """The entries of a statoverride file by path. Raises: MalformedError with the line's number."""
    changes: dict[str, ModeChange] = {}
    for number, line in _lines(text):
        match = _OVERRIDE.fullmatch(line)
        if match is None or int(match[2]) & ~PERMISSIONS:
            raise MalformedError(
                f"expected MODE PATH with a decimal MODE up to {PERMISSIONS}, found '{escape(line[:100])}'",
                where=f"line {number}",
            )
        changes[match[3]] = ModeChange(int(match[2]), bool(match[1]))
    return changes


def parse_skip_list(text: str) -> frozenset[str]:
    """The paths of a skip list."""
    return frozenset(line for _, line in _lines(text))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    # Not splitlines(): a file name may hold any of the other characters that it splits at.
    return ((number, line) for number, line in enumerate(text.split("\n"), 1) if line)
