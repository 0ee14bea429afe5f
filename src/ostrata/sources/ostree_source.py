"""An OSTree commit as a `protocols.Source`: its whole tree, and the content of its files.

The tree is the commit's own: the configuration lies in usr/etc, and no entry has a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ostrata.errors import NotFoundError, escape, within
from ostrata.model.ostree import CommitTree
from ostrata.model.tree import RegularFile, Tree
from ostrata.sources.ostree_commit import read_tree
from ostrata.stores.ostree_repository import OstreeRepository


@dataclass(frozen=True, slots=True)
class OstreeSource:
    """The commit `commit` in `repository`. Picklable; open it with `open_commit`."""

    repository: OstreeRepository
    commit: CommitTree
    tree: Tree

    def open(self, path: str) -> Iterator[bytes]:
        """The content of the regular file at `path`, in pieces, compared with its checksum at the end.

        Raises: NotFoundError for what is no regular file in the tree; MalformedError, AccessError.
        """
        entry = self.tree.entries.get(path)
        if not isinstance(entry, RegularFile):
            raise NotFoundError("no regular file of that name in the commit", where=f"/{escape(path)}")
        return self._read(path, entry.content)

    def _read(self, path: str, checksum: str) -> Iterator[bytes]:
        with within(f"/{escape(path)}"):
            yield from self.repository.open_file(checksum).content


def open_commit(repository: OstreeRepository, revision: str, *, jobs: int = 1) -> OstreeSource:
    """The commit that `revision` names. Raises: as `read_tree`."""
    commit, tree = read_tree(repository, revision, jobs=jobs)
    return OstreeSource(repository, commit, tree)
