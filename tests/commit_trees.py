"""Trees of `tarbuilder` as the library's own values, without a repository on disk."""

from __future__ import annotations

from dataclasses import dataclass

import tarbuilder
from ostrata.codecs import ostree
from ostrata.model.ostree import CommitDirectory, CommitTree, FileHeader, FileObject
from ostrata.model.tree import Attributes
from tarbuilder import Node, Tree


def attributes(node: Node) -> Attributes:
    return Attributes(node.mode, node.uid, node.gid, tuple(sorted(node.xattrs)))


@dataclass(frozen=True)
class MemoryCommit:
    """A tree as a commit: what a repository would be asked for."""

    tree: Tree
    data: bytes

    @classmethod
    def of(cls, tree: Tree) -> MemoryCommit:
        return cls(tree, tarbuilder.commit_bytes(tree))

    @property
    def commit(self) -> CommitTree:
        directories: list[CommitDirectory] = []
        self._walk("", directories)
        files = tuple((path, tarbuilder.file_checksum(self.tree[path])) for path in tarbuilder.walk(self.tree))
        return CommitTree(tarbuilder.checksum_of(self.data), ostree.decode_commit(self.data), tuple(directories), files)

    def _walk(self, path: str, found: list[CommitDirectory]) -> None:
        node = self.tree[path]
        dirtree = tarbuilder.checksum_of(tarbuilder.dirtree_bytes(self.tree, path))
        dirmeta = tarbuilder.checksum_of(tarbuilder.dirmeta_bytes(node))
        found.append(CommitDirectory(path, dirtree, dirmeta, attributes(node)))
        for _, child in tarbuilder.split(self.tree, path)[1]:
            self._walk(child, found)

    def read_metadata(self, kind: str, checksum: str) -> bytes:
        for path, node in self.tree.items():
            if node.kind == "directory":
                made = {
                    "dirtree": tarbuilder.dirtree_bytes(self.tree, path),
                    "dirmeta": tarbuilder.dirmeta_bytes(node),
                }
                if kind in made and tarbuilder.checksum_of(made[kind]) == checksum:
                    return made[kind]
        assert (kind, checksum) == ("commit", tarbuilder.checksum_of(self.data))
        return self.data

    def node(self, checksum: str) -> Node:
        return next(
            node
            for node in self.tree.values()
            if node.kind != "directory" and tarbuilder.file_checksum(node) == checksum
        )

    def open_file(self, checksum: str) -> FileObject:
        node = self.node(checksum)
        if node.kind == "symlink":
            return FileObject(FileHeader(attributes(node), node.data.decode()), 0, iter(()))
        return FileObject(FileHeader(attributes(node)), len(node.data), iter([node.data]))
