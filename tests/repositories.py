"""OSTree repositories made by hand, in all five modes, from the trees of `tarbuilder`: whole ones, and broken ones.

Nothing here uses the library's writer, so that what is read was stated twice.
"""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import tarbuilder
from commit_trees import attributes
from ostrata.codecs import ostree
from ostrata.model.ostree import Commit, Metadata
from ostrata.model.tree import Directory, Entry, RegularFile, Symlink
from tarbuilder import Node, Tree

ROOT = os.geteuid() == 0
MODES = ("archive", "bare", "bare-user", "bare-user-only", "bare-split-xattrs")
SUFFIX = {"archive": ".filez"}
"""Suffix of file objects by mode, where it is not ``.file``."""

TIMESTAMP = 1_700_000_000
CREATED = "2023-11-14T22:13:20Z"
"""The time of every commit made here, and the same as images write it."""

_DIRECTORY = Node("directory", 0o755)
TREE: dict[str, Node] = {
    "": _DIRECTORY,
    "bin": Node("symlink", 0o777, data=b"usr/bin"),
    "usr": _DIRECTORY,
    "usr/bin": _DIRECTORY,
    "usr/bin/sh": Node("file", 0o755, 1000, 1001, data=b"#!shell\n" * 100),
    "usr/bin/twin of sh": Node("file", 0o755, 1000, 1001, data=b"#!shell\n" * 100),
    "usr/bin/new\nline \x1b[31m ž": Node("file", 0o644, data=b"content"),
    "usr/bin/empty": Node("file", 0o644),
    "usr/share": Node("directory", 0o2711, 5, 6, ((b"user.d", b"1"), (b"user.z", b"\0\xff"))),
    "usr/share/a": Node("file", 0o600, xattrs=((b"user.a", b"value"), (b"user.b", b"\xff\0")), data=b"a" * 70000),
    "usr/share/link": Node("symlink", 0o777, data="../žluť/new\nline".encode()),
}
"""Every kind of entry, hostile names, twins, an empty file, xattrs."""


def tree_for(mode: str, tree: Tree = TREE) -> dict[str, Node]:
    """`tree` as a repository of `mode` can keep it, when made by this user."""
    return {path: node if node.kind == "directory" else _fitting(mode, node) for path, node in tree.items()}


def _fitting(mode: str, node: Node) -> Node:
    if mode == "bare-user-only":
        return replace(node, uid=0, gid=0, xattrs=(), mode=node.mode & 0o775 if node.kind == "file" else node.mode)
    if mode in ("bare", "bare-split-xattrs") and not ROOT:
        return replace(node, uid=os.geteuid(), gid=os.getegid())
    return node


def expected_entries(tree: Tree) -> dict[str, Entry]:
    """What reading a commit of `tree` must give, in any order."""
    found: dict[str, Entry] = {}
    for path, node in tree.items():
        if node.kind == "directory":
            found[path] = Directory(attributes(node))
        elif node.kind == "symlink":
            found[path] = Symlink(attributes(node), node.data.decode(), tarbuilder.file_checksum(node))
        else:
            found[path] = RegularFile(attributes(node), len(node.data), tarbuilder.file_checksum(node))
    return found


class HandmadeRepository:
    """A repository at `path`; every method puts something into it."""

    def __init__(self, path: Path, mode: str = "archive", *, parent: str | None = None) -> None:
        self.path = path
        self.mode = mode
        for name in ("objects", "refs/heads", "refs/remotes", "state", "tmp"):
            (path / name).mkdir(parents=True)
        self.write_config(f"parent={parent}\n" if parent else "")

    def write_config(self, more: str = "") -> None:
        stored = "archive-z2" if self.mode == "archive" else self.mode
        (self.path / "config").write_text(f"[core]\nrepo_version=1\nmode={stored}\n{more}")

    def object_path(self, kind: str, checksum: str) -> Path:
        suffix = SUFFIX.get(self.mode, ".file") if kind == "file" else f".{kind}"
        return self.path / "objects" / checksum[:2] / (checksum[2:] + suffix)

    def put_metadata(self, kind: str, data: bytes, checksum: str | None = None) -> str:
        """A commit, dirtree, dirmeta or commitmeta object, under its true checksum if no other is given."""
        checksum = checksum or tarbuilder.checksum_of(data)
        path = self.object_path(kind, checksum)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return checksum

    def put_file(self, node: Node) -> str:
        checksum = tarbuilder.file_checksum(node)
        path = self.object_path("file", checksum)
        path.parent.mkdir(exist_ok=True)
        if not os.path.lexists(path):
            _WRITERS[self.mode](path, node)
        return checksum

    def put_tree(
        self,
        tree: Tree,
        *,
        parent: str | None = None,
        subject: str = "a subject",
        metadata: Metadata | None = None,
    ) -> str:
        """All objects of a commit of `tree`; returns its checksum."""
        for path, node in tree.items():
            if node.kind != "directory":
                self.put_file(node)
                continue
            self.put_metadata("dirmeta", tarbuilder.dirmeta_bytes(node))
            self.put_metadata("dirtree", tarbuilder.dirtree_bytes(tree, path))
        if parent is None and metadata is None:
            return self.put_metadata("commit", tarbuilder.commit_bytes(tree, subject, TIMESTAMP))
        root = tarbuilder.checksum_of(tarbuilder.dirtree_bytes(tree, ""))
        dirmeta = tarbuilder.checksum_of(tarbuilder.dirmeta_bytes(tree[""]))
        return self.put_commit(root, dirmeta, parent=parent, subject=subject, metadata=metadata)

    def put_commit(
        self,
        dirtree: str,
        dirmeta: str,
        *,
        parent: str | None = None,
        subject: str = "",
        metadata: Metadata | None = None,
    ) -> str:
        commit = Commit(dirtree, dirmeta, TIMESTAMP, subject, parent=parent, metadata=metadata or {})
        return self.put_metadata("commit", ostree.encode_commit(commit))

    def put_dirtree_commit(self, dirtree: bytes) -> str:
        """A commit whose root is this dirtree object, whatever is in it."""
        return self.put_commit(self.put_metadata("dirtree", dirtree), self.put_default_dirmeta())

    def put_default_dirmeta(self) -> str:
        return self.put_metadata("dirmeta", tarbuilder.dirmeta_bytes(_DIRECTORY))

    def put_ref(self, name: str, checksum: str, *, under: str = "heads") -> Path:
        path = self.path / "refs" / under / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(checksum + "\n")
        return path


def make_repository(path: Path, mode: str, tree: Tree = TREE, ref: str = "os/stable") -> HandmadeRepository:
    """A repository with one commit of `tree` (as the mode can keep it) and a ref to it."""
    repository = HandmadeRepository(path, mode)
    repository.put_ref(ref, repository.put_tree(tree_for(mode, tree)))
    return repository


def copy_repository(source: Path, target: Path) -> Path:
    """A copy that keeps xattrs and owners."""
    shutil.copytree(source, target, symlinks=True)
    return target


# File objects by mode


def _write_archived(path: Path, node: Node) -> None:
    is_file = node.kind == "file"
    kind, target = (0o100000, b"") if is_file else (0o120000, node.data)
    size = len(node.data) if is_file else 0
    head = struct.pack(">QIIII", size, node.uid, node.gid, kind | node.mode, 0) + target + b"\0"
    variant = tarbuilder.framed(head + tarbuilder.xattrs_bytes(node.xattrs), [len(head)])
    compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
    content = compressor.compress(node.data) + compressor.flush() if is_file else b""
    path.write_bytes(struct.pack(">II", len(variant), 0) + variant + content)


def _write_bare_user(path: Path, node: Node) -> None:
    is_file = node.kind == "file"
    path.write_bytes(node.data if is_file else node.data + b"\0")
    mode = node.mode | (0o100000 if is_file else 0o120000)
    meta = struct.pack(">III", node.uid, node.gid, mode) + tarbuilder.xattrs_bytes(node.xattrs)
    os.setxattr(path, "user.ostreemeta", meta)


def _write_inode(path: Path, node: Node) -> None:
    if node.kind == "symlink":
        os.symlink(node.data, path)
    else:
        path.write_bytes(node.data)
    if ROOT:
        os.chown(path, node.uid, node.gid, follow_symlinks=False)
    if node.kind == "file":
        path.chmod(node.mode)


def _write_bare(path: Path, node: Node) -> None:
    _write_inode(path, node)
    for name, value in node.xattrs:
        os.setxattr(path, name, value, follow_symlinks=False)


def _write_split_xattrs(path: Path, node: Node) -> None:
    _write_inode(path, node)
    Path(f"{path}-xattrs-link").write_bytes(tarbuilder.xattrs_bytes(node.xattrs))


_WRITERS: Mapping[str, Callable[[Path, Node], None]] = {
    "archive": _write_archived,
    "bare": _write_bare,
    "bare-user": _write_bare_user,
    "bare-user-only": _write_inode,
    "bare-split-xattrs": _write_split_xattrs,
}
