"""What a build of a directory keeps for the next one, in a file, so that what has not changed is not read again.

Of each file and symlink a line: its state (see `sources.directory`), and in one word whether it has extended
attributes (``+`` or ``-``), what the header of its object hashes to, and the object's checksum. The kernel sets the
time of change, which is part of the state, whenever content or attributes change. A file that was changed less than two
seconds before the cache was opened is not kept: it could change once more in the same tick of the file system's clock,
and nobody could tell. That clock is asked by making a file. Nor is a file kept whose time of change is in whole
seconds: images of file systems (squashfs, erofs) tell what they were made with, and two of them can tell the same.

Of each layer's blob a line: device, inode, size and time of modification, and its digest. Links to it change the other
time; nobody changes its bytes, but whoever did would change this one.

The first line names the user, and whether they see attributes of the kind trusted.*: others see other attributes.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress

from ostrata.codecs import ostree
from ostrata.errors import NotFoundError, UnsupportedError, escape, within
from ostrata.model.digest import Digest
from ostrata.model.image import Descriptor
from ostrata.model.ostree import FileHeader
from ostrata.model.tree import Attributes, Directory, Leaf, Tree
from ostrata.protocols import BlobDirectory, BlobStore
from ostrata.sources.contents import DirectoryAt, MadeAt, SourceAt, is_made
from ostrata.sources.directory import split_key
from ostrata.stores.files import TemporaryFile, read_limited, write_all

MAX_CACHE = 1 << 30
HEAD = "ostrata checksums "
"""How a cache begins, of any version; a file that begins otherwise is not touched."""
VERSION = 3
TICKS = 2_000_000_000
"""Nanoseconds."""

_CHECKSUMS = re.compile("[0-9a-f]*")
_CHECKSUM = 64
_HEADER = 32
_LENGTHS = {_CHECKSUM, len("-") + _HEADER + _CHECKSUM}
_STALE = 1 / 8
"""The share of lines of no more use with which a cache is not written anew: what is new is added."""
_BLOB = "blob:"
_ALL_USERS = ["0", "0", str((1 << 32) - 1)]
_CAP_SYS_ADMIN = 21


class BuildCache:
    """The cache in the file `path`, which need not exist; without a path nothing is known, and nothing kept.

    Raises: UnsupportedError for a file that is something else, and for one within the directory `source`; AccessError.
    """

    def __init__(self, path: str | None = None, source: str | None = None) -> None:
        self._path = None if path is None else os.path.realpath(path)
        self._known: dict[str, str] = {}
        self._found: list[str] = []
        self._new: dict[str, str] = {}
        self._missed: list[tuple[str, Leaf]] = []
        self._headers: dict[int, tuple[Attributes, str]] = {}
        self._blobs: dict[str, str] = {}
        self._blob_keys: dict[Digest, str | None] = {}
        self._is_complete = False
        if path is None or self._path is None:
            return
        if source is not None and os.path.isdir(source) and _is_in(self._path, os.path.realpath(source)):
            raise UnsupportedError("the cache lies within the source, and would be a part of it", where=escape(path))
        with within(escape(path)):
            self._known = _read(self._path)
            with TemporaryFile(os.path.dirname(self._path)) as file:
                self._limit = os.stat(file.path).st_mtime_ns - TICKS

    def check_source(self, at: SourceAt) -> None:
        """Raises: UnsupportedError for a source that is no directory."""
        source = at.source if isinstance(at, MadeAt) else at
        if self._path is not None and not isinstance(source, DirectoryAt):
            raise UnsupportedError("a cache of checksums is for directories only", where=escape(self._path))

    def bare_files(self) -> frozenset[str]:
        """The states of the files that are known to have no extended attributes."""
        return frozenset(state for state, value in self._known.items() if value.startswith("-"))

    def find_files(self, tree: Tree) -> dict[str, str]:
        """Path -> checksum of the file objects in `tree` that are known. They are kept."""
        found: dict[str, str] = {}
        if self._path is None:
            return found
        for path, entry in tree:
            if not isinstance(entry, Directory):
                attributes = entry.attributes
                _, header = self._headers.get(id(attributes)) or self._hash_header(attributes)
                state = entry.content.partition("/")[0]
                value = self._known.get(state)
                if value is not None and value[1 : 1 + _HEADER] == header:
                    found[path] = value[1 + _HEADER :]
                    self._found.append(state)
                else:
                    self._missed.append((path, entry))
        if _CHECKSUMS.fullmatch("".join(found.values())) is None:
            self._known, self._found, self._missed = {}, [], []  # where anything is damaged, nothing is known
            return self.find_files(tree)
        return found

    def is_whole(self, store: BlobStore, descriptor: Descriptor) -> bool:
        """Is the blob in `store` known to be what its descriptor says?"""
        path = None if self._path is None else store.blob_path(descriptor.digest)
        key = self._blob_keys[descriptor.digest] = None if path is None else _blob_key(path)
        return key is not None and self._known.get(key) == descriptor.digest.encoded

    def keep_files(self, source: Tree, checksums: Mapping[str, str]) -> None:
        """Keep the checksums, by path, of files that were not found; `source` has them as they are on disk."""
        self._is_complete = True
        for path, entry in self._missed:
            if is_made(entry.content):
                continue
            state, place = split_key(entry.content)
            if state in self._known or _is_telling(state, self._limit):
                there = source.entries.get(place)
                mark = "+" if there is None or there.attributes.xattrs else "-"
                _, header = self._hash_header(entry.attributes)
                self._new[state] = f"{mark}{header}{checksums[path]}"

    def keep_blobs(self, blobs: BlobDirectory, digests: Iterable[Digest]) -> None:
        """Keep these blobs, which are whole. One that `is_whole` was asked of must be as it was then."""
        if self._path is None:
            return
        for digest in digests:
            key = _blob_key(os.path.join(blobs.path, digest.encoded))
            if key is not None and self._blob_keys.get(digest, key) == key:
                self._blobs[key] = digest.encoded

    def write(self) -> None:
        """Write what was kept, and little else; nothing before files were, and without blobs those that were known.

        Raises: AccessError.
        """
        if self._path is None or not self._is_complete:
            return
        blobs = self._blobs or {key: value for key, value in self._known.items() if key.startswith(_BLOB)}
        new = {key: value for key, value in (blobs | self._new).items() if self._known.get(key) != value}
        found = {*self._found, *(key for key in blobs | self._new if key in self._known)}
        stale = len(self._known) - len(found)
        if not new and not stale:
            return
        with within(escape(self._path)):
            if self._known and stale <= len(found) * _STALE:
                _append(self._path, new)
                return
            with TemporaryFile(os.path.dirname(self._path)) as file:
                lines = _lines({key: value for key, value in self._known.items() if key in found} | new)
                file.write(f"{_head()}{lines}".encode("ascii"))
                file.publish(os.path.basename(self._path))

    def _hash_header(self, attributes: Attributes) -> tuple[Attributes, str]:
        """By identity: many files have the very same attributes, which stay where they are as long as the hash."""
        header = FileHeader(Attributes(attributes.mode, attributes.uid, attributes.gid, attributes.xattrs))
        hashed = hashlib.sha256(ostree.encode_file_header(header)).hexdigest()[:_HEADER]
        return self._headers.setdefault(id(attributes), (attributes, hashed))


def _lines(kept: Mapping[str, str]) -> str:
    return "".join([f"{key} {value}\n" for key, value in kept.items()])


def _append(path: str, new: Mapping[str, str]) -> None:
    """Of two lines with one key the last counts. One that is cut says nothing, and ends where the next one begins."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        write_all(descriptor, f"\n{_lines(new)}".encode("ascii"))
    finally:
        os.close(descriptor)


def _is_in(path: str, directory: str) -> bool:
    return os.path.commonpath([path, directory]) == directory


def _head() -> str:
    trusted = "with" if _sees_trusted() else "without"
    return f"{HEAD}{VERSION} of user {os.geteuid()} {trusted} trusted attributes\n"


def _sees_trusted() -> bool:
    """The kernel shows attributes of the kind trusted.* to who has CAP_SYS_ADMIN outside of all user namespaces."""
    try:
        with open("/proc/self/uid_map", encoding="ascii") as file:
            uid_map = file.read().split()
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            capabilities = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
    except (OSError, ValueError, StopIteration):
        return False
    return uid_map == _ALL_USERS and bool(capabilities >> _CAP_SYS_ADMIN & 1)


def _read(path: str) -> dict[str, str]:
    text = ""
    with suppress(NotFoundError):
        text = read_limited(path, MAX_CACHE).decode("ascii", "replace")
    if text and not text.startswith(HEAD):
        raise UnsupportedError("expected a cache of checksums, found something else")
    if not text.startswith(_head()):
        return {}
    words = text.split()[len(_head().split()) :]
    if {*map(len, words[1::2])} <= _LENGTHS:  # nearly always, and much faster
        return dict(zip(words[::2], words[1::2], strict=False))
    lines = (line.partition(" ") for line in text.split("\n")[1:])
    return {key: value for key, _, value in lines if len(value) in _LENGTHS}


def _is_telling(state: str, limit: int) -> bool:
    """Will the state be another one whenever the file is?"""
    modified, changed = (int(time, 16) for time in state.split(":")[3:])
    return max(modified, changed) < limit and changed % 1_000_000_000 != 0


def _blob_key(path: str) -> str | None:
    """None of a file that is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return f"{_BLOB}{status.st_dev:x}:{status.st_ino:x}:{status.st_size:x}:{status.st_mtime_ns:x}"
