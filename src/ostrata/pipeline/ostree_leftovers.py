"""What an encapsulated image has beside its tree, and a plain image must not: the OSTree repository with its objects.

Most of an object's names are those of the tree; only the one in the repository goes. /sysroot stays, empty: systems
mount their disk there. So does /ostree, a symlink into it.
"""

from __future__ import annotations

from itertools import chain

from ostrata.pipeline.fitting import Fitted, Step, TreeView, without

_REPOSITORY = "sysroot/ostree"


def drop_ostree_leftovers(view: TreeView) -> Fitted:
    """/sysroot/ostree goes, with all that is in it."""
    inside = f"{_REPOSITORY}/"
    gone = [path for path in chain(view.entries, view.special) if path == _REPOSITORY or path.startswith(inside)]
    return without(view, dict.fromkeys(gone, "of the OSTree repository of an encapsulated image"))


OSTREE_LEFTOVERS = Step(
    "ostree-leftovers", "an encapsulated image has its objects in /sysroot/ostree", drop_ostree_leftovers
)
