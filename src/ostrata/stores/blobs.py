"""Blobs: the two doors to them, and the directory that workers write them into.

A blob is written under a temporary name, hashed on its way, and gets its digest as its name when it is
complete: a blob that can be seen is whole. `BlobDirectory` is a plain value that can be sent to worker
processes.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Protocol

from ostrata.errors import DigestMismatchError, LimitError, MalformedError, NotFoundError, escape, within
from ostrata.model.digest import Digest
from ostrata.model.image import Descriptor, Index
from ostrata.stores.files import (
    COPY_PIECE,
    TemporaryFile,
    link_or_copy,
    open_regular,
    remove_stale,
    sync_directory,
)


class BlobStore(Protocol):
    """A place that holds images: a layout directory or an archive."""

    def index(self) -> Index:
        """Raises: MalformedError, NotFoundError when there is no index."""

    def open_blob(self, digest: Digest) -> BinaryIO:
        """The blob's bytes, not verified. Raises: NotFoundError."""

    def blob_size(self, digest: Digest) -> int | None:
        """In bytes; None when the blob is not there."""

    def blob_path(self, digest: Digest) -> str | None:
        """A file that holds this blob and nothing else, if there is one."""


@dataclass(frozen=True, slots=True)
class BlobDirectory:
    """The directory ``blobs/sha256`` of a layout, as a destination for blobs. Picklable."""

    path: str

    def create(self) -> BlobWriter:
        """A writer for one blob; a context manager."""
        return BlobWriter(self.path)

    def write(self, data: bytes) -> Digest:
        """Write a small blob. Raises: AccessError."""
        with self.create() as writer:
            writer.write(data)
            digest, _ = writer.complete()
        return digest

    def has(self, digest: Digest, size: int) -> bool:
        """Is there a blob of that name and size?"""
        return self.size(digest) == size

    def is_whole(self, digest: Digest, size: int) -> bool:
        """Is there a blob of that name and size, and are its bytes the ones that the name promises? They are read."""
        if not self.has(digest, size):
            return False
        path = os.path.join(self.path, digest.encoded)
        with within(escape(path)), open(open_regular(path), "rb", buffering=0) as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest.encoded

    def size(self, digest: Digest) -> int | None:
        """In bytes; None when the blob is not there."""
        with within(escape(self.path)):
            return _size_of_file(os.path.join(self.path, digest.encoded))

    def adopt(self, store: BlobStore, descriptor: Descriptor, *, checked: bool = False) -> None:
        """Take the blob over from another store: its bytes are verified, then linked, reflinked or copied.

        `checked`: `check_blob` has found it whole, and it has not changed since. Nothing happens when the blob is there
        already, whole; a damaged one is replaced. Raises: NotFoundError, AccessError; DigestMismatchError when the copy
        there is damaged.
        """
        path = store.blob_path(descriptor.digest)
        if (checked and self._has_file(descriptor.digest, path)) or self.is_whole(descriptor.digest, descriptor.size):
            return
        is_damaged = self.size(descriptor.digest) is not None
        with within(f"blob {descriptor.digest}"), store.open_blob(descriptor.digest) as source:
            if path is None or is_damaged:
                with self.create() as writer:
                    _verify(source, descriptor, writer)
                    writer.complete()
            else:
                if not checked:
                    _verify(source, descriptor, None)
                link_or_copy(path, self.path, descriptor.digest.encoded)

    def _has_file(self, digest: Digest, path: str | None) -> bool:
        """Is the blob the very file at `path`?"""
        own = os.path.join(self.path, digest.encoded)
        return path is not None and os.path.exists(own) and os.path.samefile(own, path)

    def sync(self) -> None:
        """Make the names of all blobs durable: before an index names them."""
        sync_directory(self.path)

    def remove_stale(self) -> None:
        """Remove what killed runs left half-written."""
        remove_stale(self.path)


class BlobWriter:
    """One blob on its way: write, then complete. Without `complete` nothing stays."""

    def __init__(self, directory: str) -> None:
        self._file = TemporaryFile(directory)
        self._hash = hashlib.sha256()
        self._size = 0

    def __enter__(self) -> BlobWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.discard()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Raises: AccessError."""
        self._file.write(data)
        self._hash.update(data)
        self._size += len(data)

    def complete(self) -> tuple[Digest, int]:
        """The blob's digest and size in bytes, now that it is there and durable. Raises: AccessError.

        A blob that was there already is kept when it is whole, and replaced when it is damaged.
        """
        digest = Digest("sha256", self._hash.hexdigest())
        if BlobDirectory(self._file.directory).is_whole(digest, self._size):
            self._file.discard()
        else:
            self._file.complete(digest.encoded)
        return digest, self._size


class BlobInMemory:
    """A small blob on its way, like a `BlobWriter`'s; `data` has its bytes."""

    def __init__(self) -> None:
        self.data = bytearray()

    def __enter__(self) -> BlobInMemory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See `BlobWriter`."""
        self.data += data

    def complete(self) -> tuple[Digest, int]:
        """See `BlobWriter`."""
        return Digest.of(bytes(self.data)), len(self.data)


def read_blob(store: BlobStore, digest: Digest, limit: int) -> bytes:
    """A whole blob, verified. Raises: NotFoundError, DigestMismatchError; LimitError beyond `limit` bytes."""
    with within(f"blob {digest}"):
        size = store.blob_size(digest)
        if size is None:
            raise missing_blob()
        if size > limit:
            raise LimitError(f"expected at most {limit:,} bytes, found {size:,}")
        with store.open_blob(digest) as file:
            data = file.read(limit + 1)
        actual = Digest.of(data)
        if actual != digest:
            raise DigestMismatchError(f"expected the digest {digest}, found {actual}")
        return data


def check_blob(store: BlobStore, descriptor: Descriptor) -> None:
    """Read a blob to its end.

    Raises: NotFoundError, AccessError; MalformedError or DigestMismatchError for other bytes than were promised.
    """
    with within(f"blob {descriptor.digest}"), store.open_blob(descriptor.digest) as source:
        _verify(source, descriptor, None)


def missing_blob() -> NotFoundError:
    """The error for a blob that is named but not there."""
    return NotFoundError("no such blob", hint="the image is incomplete; copy or build it again")


def _size_of_file(path: str) -> int | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _verify(source: BinaryIO, descriptor: Descriptor, writer: BlobWriter | None) -> None:
    hashed = hashlib.sha256()
    size = 0
    while piece := source.read(COPY_PIECE):
        hashed.update(piece)
        size += len(piece)
        if writer is not None:
            writer.write(piece)
    if size != descriptor.size:
        raise MalformedError(f"expected {descriptor.size:,} bytes, found {size:,}")
    if hashed.hexdigest() != descriptor.digest.encoded:
        raise DigestMismatchError(f"expected the digest {descriptor.digest}, found sha256:{hashed.hexdigest()}")
