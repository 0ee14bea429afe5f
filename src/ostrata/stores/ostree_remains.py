"""Objects that a killed run had staged, for the run that takes them over.

A power cut may have left any of them in part, and a kill the last one of each process. So each is read and compared
with its name before it is moved; what is wrong stays where it is, and goes with the directory. A commit and its
detached metadata are not to be taken over: they would be published with the rest, complete or not.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from ostrata.codecs import ostree
from ostrata.errors import DigestMismatchError, OstrataError
from ostrata.stores.ostree_hashing import ObjectHasher
from ostrata.stores.ostree_objects import READERS, read_whole
from ostrata.stores.ostree_staging import StagePlace, is_finished, object_name


def take_over(place: StagePlace, remains: Iterable[str], kind: str, checksum: str) -> int | None:
    """Move a ``file``, ``dirtree`` or ``dirmeta`` object to the stage at `place`.

    It comes from the first of the directories `remains` that has it whole. The result is how many bytes of content it
    has, None when none of them has it. Raises: OSError.
    """
    os.makedirs(f"{place.directory}/{checksum[:2]}", exist_ok=True)
    for directory in remains:
        path = f"{directory}/{object_name(kind, checksum, place.mode)}"
        try:
            size = _verified_size(place.mode, kind, checksum, path)
        except (OstrataError, OSError):  # what cannot be read is not whole either
            continue
        with suppress(FileNotFoundError):  # another process was faster
            os.rename(path, place.path(kind, checksum))
            return size
    return None


def _verified_size(mode: str, kind: str, checksum: str, path: str) -> int:
    """Raises: OstrataError or OSError for what is not the whole object."""
    status = os.lstat(path)
    if kind != "file":
        ostree.verify(kind, checksum, read_whole(path, ostree.MAX_METADATA_OBJECT))
        size = 0
    else:
        file = READERS[mode].open_file(path)
        size = file.size
        hasher = ObjectHasher()
        found = (
            hasher.add_large_file(file.header, size, map(memoryview, file.content))
            if file.header.target is None
            else hasher.add_symlink(file.header)
        )
        if found != checksum:
            raise DigestMismatchError(f"expected the file object {checksum}, found {found}")
    if not is_finished(mode if kind == "file" else "archive", status):
        raise DigestMismatchError("its attributes are not all set")
    return size
