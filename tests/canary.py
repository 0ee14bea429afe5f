"""A tree beside a destination that nobody may touch, and what would give away that somebody did."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

Seen = tuple[int, int, int, int, int, int, int, int, bytes | str, tuple[tuple[str, bytes], ...]]


@dataclass(frozen=True)
class Canary:
    """The tree at `path`, and what it looked like when it was made."""

    path: Path
    before: dict[str, Seen]

    def is_untouched(self) -> bool:
        return look(self.path) == self.before


def make_canary(path: Path) -> Canary:
    """What an escape would go for: files to overwrite, to append to, to link to, to chmod, to unlink."""
    path.mkdir()
    (path / "file").write_bytes(b"tweet")
    (path / "file").chmod(0o640)
    (path / "directory").mkdir(mode=0o750)
    (path / "directory/inner").write_bytes(b"chirp")
    os.link(path / "file", path / "hard link")
    (path / "symlink").symlink_to("file")
    os.mkfifo(path / "fifo", 0o600)
    with suppress(OSError):  # a file system without extended attributes has none to lose
        os.setxattr(path / "file", "user.canary", b"yellow")
    for name in ("file", "directory/inner", "directory", ""):
        os.utime(path / name, ns=(1_000_000_000_000_000_007, 1_000_000_000_000_000_007))
    return Canary(path, look(path))


def look(top: Path) -> dict[str, Seen]:
    """Contents, kinds, modes, links, owners, xattrs and times; the change time tells of every other call too."""
    found = {}
    for path in (top, *sorted(top.rglob("*"))):
        status = path.lstat()
        data: bytes | str = b""
        if stat.S_ISREG(status.st_mode):
            data = path.read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            data = os.readlink(path)
        names = os.listxattr(path, follow_symlinks=False) if not stat.S_ISFIFO(status.st_mode) else []
        xattrs = tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names)
        numbers = (status.st_ino, status.st_mode, status.st_nlink, status.st_uid, status.st_gid, status.st_size)
        found[str(path.relative_to(top))] = (*numbers, status.st_mtime_ns, status.st_ctime_ns, data, xattrs)
    return found
