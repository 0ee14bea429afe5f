"""Checksums of the files of a directory, kept from one build to the next: what did not change is not read again.

A file is known by device, inode, size, and its times of change and modification to the nanosecond: the kernel sets the
former whenever content or attributes change. A line for each file: the content key of `sources.directory`, its size,
what its object's header hashes to, and the checksum.

A file that was changed less than two seconds before the cache was written is not kept: it could change once more in the
same tick of the file system's clock, and nobody could tell. That clock is asked by writing a file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache

from ostrata.codecs import ostree
from ostrata.errors import NotFoundError, UnsupportedError, escape, within
from ostrata.model.ostree import FileHeader
from ostrata.model.tree import Attributes, RegularFile, Tree, Xattrs
from ostrata.sources.contents import DirectoryAt, MadeAt, SourceAt, is_made
from ostrata.sources.directory import split_key
from ostrata.stores.files import TemporaryFile, read_limited

MAX_CACHE = 1 << 30
HEAD = b"ostrata checksums 1\n"
"""The first line of a cache; a file that begins otherwise is not touched."""
TICKS = 2_000_000_000
"""Nanoseconds."""


class ChecksumCache:
    """The cache in the file `path`, which need not exist; without a path nothing is known, and nothing kept.

    Raises: UnsupportedError for a source that is no directory, and for a file that is something else; AccessError.
    """

    def __init__(self, path: str | None, at: SourceAt) -> None:
        self._path = path
        self._known: dict[str, str] = {}
        if path is None:
            return
        source = at.source if isinstance(at, MadeAt) else at
        if not isinstance(source, DirectoryAt):
            raise UnsupportedError("a cache of checksums is for directories only", where=escape(path))
        if f"{os.path.realpath(path)}/".startswith(f"{os.path.realpath(source.path)}/"):
            raise UnsupportedError("the cache lies within the source, and would be a part of it", where=escape(path))
        with within(escape(path)):
            self._known = _read(path)

    def find(self, entry: RegularFile) -> str | None:
        """The checksum of the file's object, if it is known."""
        return self._known.get(_key(entry)) if self._known else None

    def write(self, tree: Tree, checksums: Mapping[str, str]) -> None:
        """Keep these checksums, by path, and no others. Raises: AccessError."""
        if self._path is None:
            return
        directory, name = os.path.split(os.path.abspath(self._path))
        with within(escape(self._path)), TemporaryFile(directory) as file:
            file.write(HEAD)
            limit = os.stat(file.path).st_mtime_ns - TICKS
            kept = self._kept(tree, checksums, limit)
            if kept and kept.keys() == self._known.keys():
                return
            file.write("".join([f"{key} {checksum}\n" for key, checksum in kept.items()]).encode("ascii"))
            file.publish(name)

    def _kept(self, tree: Tree, checksums: Mapping[str, str], limit: int) -> dict[str, str]:
        files = ((path, entry) for path, entry in tree if isinstance(entry, RegularFile) and not is_made(entry.content))
        keys = ((_key(entry), path, entry) for path, entry in files)
        return {key: checksums[path] for key, path, entry in keys if key in self._known or _changed(entry) < limit}


def _key(entry: RegularFile) -> str:
    """Content that was made has one too, which is never kept."""
    attributes = entry.attributes
    header = _header_key(attributes.mode, attributes.uid, attributes.gid, attributes.xattrs)
    return f"{split_key(entry.content)[0]} {entry.size} {header}"


@lru_cache(maxsize=4096)
def _header_key(mode: int, uid: int, gid: int, xattrs: Xattrs) -> str:
    header = FileHeader(Attributes(mode, uid, gid, xattrs))
    return hashlib.sha256(ostree.encode_file_header(header)).hexdigest()[:32]


def _changed(entry: RegularFile) -> int:
    return max(int(time, 16) for time in split_key(entry.content)[0].split(":")[2:])


def _read(path: str) -> dict[str, str]:
    data = b""
    with suppress(NotFoundError):
        data = read_limited(path, MAX_CACHE)
    if data and not data.startswith(HEAD):
        raise UnsupportedError("expected a cache of checksums, found something else")
    known = {}
    for line in data[len(HEAD) :].decode("ascii", "replace").split("\n"):
        key, _, checksum = line.rpartition(" ")
        if len(checksum) == 64 and not checksum.strip("0123456789abcdef"):
            known[key] = checksum
    return known
