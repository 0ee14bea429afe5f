"""The doors: what the stories need from the rooms below, each as small as it can be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import date
from types import TracebackType
from typing import Protocol

from ostrata.model.component import Component, ComponentPlan
from ostrata.model.image import Descriptor, Platform
from ostrata.model.ostree import Commit, FileObject
from ostrata.model.package import Package
from ostrata.model.plan import PlannedObject
from ostrata.model.tree import Tree
from ostrata.stores.blobs import BlobDirectory, BlobStore

__all__ = [
    "BlobDirectory",
    "BlobStore",
    "CommitObjects",
    "CommitStore",
    "Destination",
    "Objects",
    "ObjectsAt",
    "PackageDatabase",
    "Planner",
    "Source",
]


class Source(Protocol):
    """A tree and the content of its files."""

    @property
    def tree(self) -> Tree:
        """Paths and attributes."""

    def open(self, path: str) -> Iterator[bytes | memoryview]:
        """The content of the regular file at `path`, in pieces, each valid until the next is asked for.

        Raises: NotFoundError, MalformedError, AccessError.
        """


class Objects(Protocol):
    """Objects of a commit, by their checksums; each is compared with its own."""

    def read_metadata(self, kind: str, checksum: str) -> bytes:
        """The bytes of a commit, dirtree or dirmeta object. Raises: NotFoundError, MalformedError."""

    def read_detached_metadata(self, checksum: str) -> bytes | None:
        """What was said of a commit afterwards, if anything. Raises: MalformedError."""

    def open_file(self, checksum: str) -> FileObject:
        """A file object to be read once. Raises (here or when content is taken): NotFoundError, MalformedError,
        AccessError."""


class ObjectsAt(Protocol):
    """Where objects are; small and picklable, for a worker."""

    def opened(self) -> AbstractContextManager[Objects]:
        """The objects, for the length of a ``with`` block. Raises: NotFoundError, AccessError."""


class CommitObjects(Protocol):
    """Where the objects of commits are: a repository, or a source whose objects were never written."""

    def read_detached_metadata(self, checksum: str) -> bytes | None:
        """See `Objects`."""

    def estimated_size(self, checksum: str) -> int:
        """About how many bytes the content of a file object has."""

    def part(self, files: Sequence[PlannedObject], *, has_metadata: bool) -> ObjectsAt:
        """These file objects, and with `has_metadata` all objects that are no files."""


class CommitStore(CommitObjects, Protocol):
    """Where commits are found by their names, with all of their objects."""

    def resolve(self, revision: str) -> str:
        """The checksum of the commit that `revision` names. Raises: NotFoundError, MalformedError."""

    def read_commit(self, checksum: str) -> tuple[Commit, bytes]:
        """The commit and its bytes. Raises: as `resolve`."""

    def read_metadata(self, kind: str, checksum: str) -> bytes:
        """See `Objects`."""


class PackageDatabase(Protocol):
    """One kind of package database."""

    @property
    def name(self) -> str:
        """As people know it: rpm, dpkg, alpm, apk."""

    def read(self, source: Source, *, jobs: int = 1) -> list[Package] | None:
        """The packages installed in the tree, by name; None when it has no such database.

        With more than one of `jobs` a process of its own may read a part, where that is faster.

        Raises: MalformedError, UnsupportedError, LimitError for a database that cannot be read.
        """


class Planner(Protocol):
    """Distributes components over layers; pure and deterministic: no clock, no dependence on the input's order."""

    @property
    def name(self) -> str:
        """As `--strategy` names it."""

    @property
    def carries(self) -> bool:
        """Whether it carries a previous plan on."""

    def plan(
        self, components: Sequence[Component], max_layers: int, clock: date, previous: ComponentPlan | None = None
    ) -> ComponentPlan:
        """At most `max_layers` layers, every component in exactly one; only updates before `clock` are looked at.

        Raises: PlanError for `max_layers` below 1 or two components of one name.
        """


class Destination(Protocol):
    """A place for one image, open for the length of a ``with`` block.

    Blobs go into `blobs` in any order and from any process; nothing of them is an image before `write_image`.
    Leaving the block removes what is temporary.
    """

    @property
    def blobs(self) -> BlobDirectory:
        """Where blobs are written, and which are there already."""

    def write_image(self, config: bytes, manifest: bytes, platform: Platform) -> Descriptor:
        """Make the image visible, last and atomically; its layers are in `blobs`.

        Returns the descriptor of the manifest as the destination has it. Raises: NotFoundError when a layer
        is missing; AccessError, TransferError.
        """

    def write_index(self, index: bytes) -> Descriptor:
        """The same for several images, one for each platform, whose manifests are in `blobs` already."""

    def __enter__(self) -> Destination: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
