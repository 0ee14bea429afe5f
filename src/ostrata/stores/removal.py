"""Removing a tree of ours, whatever is in it.

Images may hold directories nested deeper than functions can call each other or than there are file descriptors, paths
longer than any system call takes, and directories that are closed to their owner. So each directory is first moved up
to the top, where one name leads to it, then opened up and emptied: what it holds moves up in turn.
"""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str) -> None:
    """Remove the directory `path` with all that is in it, as far as the system lets us. No symlink is followed."""
    with suppress(OSError):
        top = _open(path)
        try:
            pending = _empty(top, top)
            while pending:
                pending += _remove(pending.pop(), top)
        finally:
            os.close(top)
        os.rmdir(path)


def _remove(name: str, top: int) -> list[str]:
    """Remove a directory of the top; the result is what moved to the top from within."""
    moved: list[str] = []
    with suppress(OSError):
        directory = _open(name, top)
        try:
            moved = _empty(directory, top)
        finally:
            os.close(directory)
        os.rmdir(name, dir_fd=top)
    return moved


def _empty(directory: int, top: int) -> list[str]:
    with os.scandir(directory) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    moved = []
    for name, is_directory in found:
        with suppress(OSError):
            if is_directory:
                moved.append(name if directory == top else _move_up(name, directory, top))
            else:
                os.unlink(name, dir_fd=directory)
    return moved


def _move_up(name: str, directory: int, top: int) -> str:
    os.close(_open(name, directory))  # only a directory that may be written can change its parent
    new = secrets.token_hex(16)
    os.rename(name, new, src_dir_fd=directory, dst_dir_fd=top)
    return new


def _open(name: str, parent: int | None = None) -> int:
    """Open a directory of ours for whatever is to be done with it."""
    found = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        place = f"/proc/self/fd/{found}"
        if stat.S_IMODE(os.fstat(found).st_mode) & stat.S_IRWXU != stat.S_IRWXU:
            os.chmod(place, stat.S_IRWXU)
        return os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(found)
