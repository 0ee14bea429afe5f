"""A commit as one tar: layer 0 of an encapsulated image with all content in it, without an image around it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from ostrata.errors import LimitError, MalformedError, UnsupportedError, within
from ostrata.formats import encapsulated
from ostrata.formats.encapsulated import Layout
from ostrata.layers.writer import tar_blocks
from ostrata.model.tar import TarMember
from ostrata.pipeline.import_commit import StagedLayer, publish_commit, stage_tar
from ostrata.planning.contentmeta import plan_one_layer, planned_objects
from ostrata.progress import SILENT, Progress
from ostrata.sources.image import MAX_TAR
from ostrata.sources.ostree_commit import read_commit_tree
from ostrata.stores.ostree_repository import OstreeRepository
from ostrata.stores.ostree_staging import StagePlace
from ostrata.stores.ostree_writer import check_ref_name, open_writer

PIECE = 1 << 20

_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ": "xz", b"BZh": "bzip2"}


@dataclass(frozen=True, slots=True)
class ImportedTar:
    """A tar's commit, now in the repository; `new_*` is what it did not have yet, bytes are of content."""

    checksum: str
    new_objects: int
    new_bytes: int


def export_tar(
    repository: OstreeRepository,
    revision: str,
    output: BinaryIO,
    layout: Layout | None = None,
    progress: Progress = SILENT,
) -> str:
    """Write the commit that `revision` names to `output` as a tar; the result is the commit's checksum.

    The tar's bytes are a function of the commit, its detached metadata and the layout (bootc without one).
    Raises: NotFoundError, MalformedError, UnsupportedError for what no tar can hold; AccessError.
    """
    layout = layout or Layout()
    commit = read_commit_tree(repository, revision)
    with within(f"commit {commit.checksum}"):
        for message in encapsulated.check_encapsulable(commit, layout):
            progress.warn(message)

    def members() -> Iterator[TarMember]:
        detached = repository.read_detached_metadata(commit.checksum)
        yield from encapsulated.ostree_layer(commit, detached, repository.read_metadata, layout)
        yield from encapsulated.content(plan_one_layer(planned_objects(commit.files)), {}, repository.open_file, layout)

    progress.start("writing the tar", None)
    for block in tar_blocks(members()):
        with within("the tar"):
            output.write(block)
        progress.advance(len(block))
    return commit.checksum


def import_tar(
    repo_path: str,
    source: BinaryIO,
    *,
    ref: str | None = None,
    max_size: int = MAX_TAR,
    progress: Progress = SILENT,
) -> ImportedTar:
    """Import the commit in the tar that `source` gives to the repository `repo_path`, and let `ref` point to it.

    The rules are those of layers (see `import_image`). Raises: UnsupportedError for a compressed tar; MalformedError,
    LimitError beyond `max_size` bytes, NotFoundError, AccessError. Then no ref has moved.
    """
    if ref is not None:
        check_ref_name(ref)
    with open_writer(repo_path) as writer:
        progress.start("importing the tar", None)
        staged = _stage(source, writer.place, max_size, progress)
        commit = staged.record.commit
        if commit is None:
            raise MalformedError("no commit object in the tar")
        progress.start("writing to disk", None)
        publish_commit(writer, commit, [staged.record])
        if ref is not None:
            writer.write_ref(ref, commit)
    return ImportedTar(commit, staged.objects, staged.bytes)


def _stage(source: BinaryIO, place: StagePlace, max_size: int, progress: Progress) -> StagedLayer:
    with within("the tar"):
        pieces = _limited(iter(lambda: source.read(PIECE), b""), max_size, progress)
        return stage_tar(_refuse_compressed(pieces), place, first=True)


def _limited(pieces: Iterator[bytes], limit: int, progress: Progress) -> Iterator[bytes]:
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > limit:
            raise LimitError(f"expected at most {limit} bytes, found more")
        progress.advance(len(piece))
        yield piece


def _refuse_compressed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    first = next(pieces, b"")
    for magic, name in _COMPRESSED.items():
        if first.startswith(magic):
            hint = f"decompress it on the way: {name} -dc FILE | ostrata tar import --repo REPO"
            raise UnsupportedError(f"expected a tar, found {name} data", hint=hint)
    return itertools.chain((first,), pieces)
