"""SELinux labels as `ostree commit --selinux-policy TREE` gives them (libostree, ostree-sepolicy.c).

The policy is that of a tree: ``etc/selinux``, or ``usr/etc/selinux`` when there is no such directory. Its file
``config`` says whether SELinux is on (``SELINUX=``, enforcing or permissive) and which policy holds (``SELINUXTYPE=``,
a directory beside the file). Then, for every path of a commit:

* the label is what libselinux finds in ``contexts/files/file_contexts`` for the absolute path and the file type; it
  replaces the ``security.selinux`` that the file has, and ends with a NUL;
* where the policy has no label, the file keeps what it has;
* /proc is looked up as /mnt, since policies give it no label;
* in labelling epoch 1, /usr/etc and what is in it is looked up as /etc.

A tree in which SELinux is off labels nothing. A policy without its compiled form (``policy/policy.N``) is refused, as
libostree does: it was not installed to the end.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from functools import lru_cache

from ostrata.errors import MalformedError, NotFoundError, UnsupportedError, escape, within
from ostrata.model.tree import Xattrs
from ostrata.sources.libselinux import LIBRARY, LabelHandle
from ostrata.stores.files import check_regular, read_limited

XATTR = b"security.selinux"
EPOCHS = (0, 1)
MAX_CONFIG = 1 << 20

_DIRECTORIES = ("etc/selinux", "usr/etc/selinux")
_CONTEXTS = "contexts/files"
_COMPILED = re.compile(r"policy\.[0-9]+")
_ON = ("enforcing", "permissive")

FileStamp = tuple[str, int, int, int]
"""A file's name, inode, size and time of change: other values, another file."""


@dataclass(frozen=True, slots=True)
class SelinuxPolicy:
    """A policy that labels. Picklable: every process opens the files of `stamp` for itself.

    `name` is the policy's type, `file_contexts` an absolute path, `library` what is given to dlopen.
    """

    name: str
    file_contexts: str
    stamp: tuple[FileStamp, ...]
    epoch: int = 0
    library: str = LIBRARY

    def label(self, path: str, mode: int) -> bytes | None:
        """The label of the tree path `path`, without a NUL; None where the policy has none.

        Raises: UnsupportedError without libselinux; NotFoundError, MalformedError, AccessError.
        """
        return _open(self.file_contexts, self.stamp, self.library).look_up(self._looked_up(f"/{path}"), mode)

    def relabelled(self, path: str, mode: int, xattrs: Xattrs) -> Xattrs:
        """`xattrs` with the label of the tree path `path`. Raises: as `label`."""
        label = self.label(path, mode)
        if label is None:
            return xattrs
        others = [pair for pair in xattrs if pair[0] != XATTR]
        return tuple(sorted([*others, (XATTR, label + b"\0")]))

    def _looked_up(self, path: str) -> str:
        if path == "/proc":
            return "/mnt"
        if self.epoch >= 1 and (path == "/usr/etc" or path.startswith("/usr/etc/")):
            return path[len("/usr") :]
        return path


@lru_cache(maxsize=1)
def _open(file_contexts: str, stamp: tuple[FileStamp, ...], library: str) -> LabelHandle:
    """The handle of this process. A process labels by one policy at a time."""
    return LabelHandle(file_contexts, library)


def open_policy(tree: str, *, epoch: int = 0, library: str = LIBRARY) -> SelinuxPolicy | None:
    """The policy of the directory `tree`; None when SELinux is off there.

    Raises: NotFoundError, MalformedError or UnsupportedError for a policy that cannot be used; UnsupportedError
    without libselinux; AccessError.
    """
    if epoch not in EPOCHS:
        raise UnsupportedError(f"expected a labelling epoch of 0 or 1, found {epoch}")
    with within(escape(tree)):
        if not os.path.isdir(tree):
            raise NotFoundError("no such directory")
        directory = _first_directory(tree)
        name = _read_config(tree, directory)
        if name is None:
            return None
        with within(f"policy {escape(name)}"):
            policy = _find(tree, os.path.join(directory, name), name, epoch, library)
            if policy.label("", stat.S_IFDIR) is None:
                raise MalformedError("the policy has no label for /")
            return policy


def _first_directory(tree: str) -> str:
    places = [os.path.join(tree, place) for place in _DIRECTORIES]
    return places[0] if os.path.exists(places[0]) else places[1]


def _read_config(tree: str, directory: str) -> str | None:
    """The type of the policy that holds, None when SELinux is off."""
    path = os.path.join(directory, "config")
    if not os.path.exists(path):
        return None
    _check_inside(tree, path)
    is_on, name = False, None
    for line in read_limited(path, MAX_CONFIG).decode("utf-8", "surrogateescape").split("\n"):
        key, _, value = line.partition("=")
        if key == "SELINUXTYPE":
            name = value.strip()
        elif key == "SELINUX":
            is_on = is_on or value.lower().startswith(_ON)
    if not is_on:
        return None
    if not name or "/" in name or name in (".", "..") or "\0" in name:
        raise MalformedError(
            f"expected the name of a policy as SELINUXTYPE, found '{escape((name or '')[:100])}'", where=escape(path)
        )
    return name


def _find(tree: str, root: str, name: str, epoch: int, library: str) -> SelinuxPolicy:
    compiled = os.path.join(root, "policy")
    if not any(_COMPILED.fullmatch(file) for file in _list(compiled)):
        raise NotFoundError("no compiled policy: expected policy/policy.VERSION", hint="is the policy installed?")
    contexts = os.path.join(root, _CONTEXTS)
    stamp = tuple(_stamp(tree, contexts, file) for file in _list(contexts) if file.startswith("file_contexts"))
    return SelinuxPolicy(name, os.path.realpath(f"{contexts}/file_contexts"), stamp, epoch, library)


def _list(directory: str) -> list[str]:
    return sorted(os.listdir(directory)) if os.path.isdir(directory) else []


def _stamp(tree: str, directory: str, name: str) -> FileStamp:
    """Looks at a file that libselinux will open by its name: no FIFO, and nothing outside of the tree."""
    path = os.path.join(directory, name)
    _check_inside(tree, path)
    with within(escape(path)):
        status = os.stat(path)
        check_regular(status.st_mode)
    return name, status.st_ino, status.st_size, status.st_ctime_ns


def _check_inside(tree: str, path: str) -> None:
    root = os.path.realpath(tree)
    if os.path.commonpath([root, os.path.realpath(path)]) != root:
        raise UnsupportedError("a symlink leads out of the tree", where=escape(path))
