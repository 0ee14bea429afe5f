"""Reading extended attributes."""

from __future__ import annotations

import errno
import os

from ostrata.model.tree import Xattrs


def read_xattrs(target: int | str) -> Xattrs:
    """The extended attributes of a descriptor, or of what a path names itself, sorted by name.

    None where the file system has none to give. Raises: OSError; with ENODATA when one vanishes meanwhile.
    """
    follow = isinstance(target, int)
    try:
        names = os.listxattr(target, follow_symlinks=follow)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return ()
        raise
    if not names:
        return ()
    return tuple(sorted((os.fsencode(name), os.getxattr(target, name, follow_symlinks=follow)) for name in names))
