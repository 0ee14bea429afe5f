"""Is every byte of an image right?

Each layer is a work unit: its blob is hashed, decompressed and hashed again, and its tar is read to the end by the
strict reader. The layers of an encapsulated image are checked rule by rule, every object against its checksum; then
the layers together against their commit. What is wrong is collected, so that one run shows all of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ostrata import parallel
from ostrata.codecs.tar_reader import read_members
from ostrata.errors import OstrataError, escape
from ostrata.formats import encapsulated_config
from ostrata.inspection.findings import FindingList, Findings
from ostrata.inspection.image_check import check_image
from ostrata.inspection.inspect import CHUNK, OSTREE, PLAIN, ImageSummary, summarise
from ostrata.inspection.layer_check import LayerContents, check_layer
from ostrata.model.image import Layer, StoredImage
from ostrata.progress import SILENT, Progress
from ostrata.stores.images import open_store
from ostrata.stores.layer_reader import LayerReader
from ostrata.stores.ostree_repository import OstreeRepository
from ostrata.stores.reference import ImageReference, parse_reference

MAX_TAR = 1 << 40
"""Bytes of the largest tar that is read: what claims to be larger is refused."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found: no `problems` means that every byte is right.

    `unreferenced` are objects that the commit does not need; `objects` and `paths` count what was checked, `tar_bytes`
    what was read.
    """

    image: ImageSummary
    commit: str | None
    objects: int
    paths: int
    tar_bytes: int
    problems: Findings
    unreferenced: Findings


@dataclass(frozen=True, slots=True)
class VerifyUnit:
    """A work unit: check one layer of the image in the store that `reference` names. `kind` as in `inspect`."""

    reference: str
    layer: Layer
    kind: str
    max_size: int


@dataclass(frozen=True, slots=True)
class _Checked:
    """A layer's contents, None for one that is not of an encapsulated image or could not be read."""

    contents: LayerContents | None
    tar_bytes: int
    problem: str | None = None


def verify(
    reference: ImageReference,
    image: StoredImage,
    *,
    repository: OstreeRepository | None = None,
    revision: str | None = None,
    max_size: int = MAX_TAR,
    jobs: int = 1,
    progress: Progress = SILENT,
) -> Verification:
    """Check the image; with a `repository`, also that it holds the commit that `revision` names there.

    `max_size` bounds the bytes of each layer's tar. Raises: NotFoundError for an unknown revision; whatever is wrong
    with the image is in the result.
    """
    expected = None if repository is None or revision is None else repository.resolve(revision)
    summary = summarise(image)
    units = [
        VerifyUnit(f"{reference.transport}:{reference.path}", layer, found.kind, max_size)
        for layer, found in zip(image.layers, summary.layers, strict=True)
    ]
    sizes = [layer.descriptor.size for layer in image.layers]
    progress.start("checking layers", sum(sizes))
    checked = list(parallel.run(check_unit, units, jobs=jobs, weights=sizes, on_advance=progress.advance))
    problems = FindingList()
    for number, each in enumerate(checked):
        if each.problem is not None:
            problems.add(f"layer {number}", each.problem)
    _check_labels(summary, problems)
    tar_bytes = sum(each.tar_bytes for each in checked)
    own = [each.contents for each in checked if each.contents is not None]
    whole = all(each.problem is None for each in checked)
    if summary.commit is None or not own or not whole:
        _compare_commit(summary.commit, expected, problems)
        return Verification(summary, summary.commit, 0, 0, tar_bytes, problems.finish(), Findings())
    contents = check_image(own)
    problems.extend(contents.problems)
    found_commit = contents.tree.checksum if contents.tree else None
    if found_commit is not None and found_commit != summary.commit:
        problems.add(encapsulated_config.COMMIT, f"expected the label {found_commit}, found {escape(summary.commit)}")
    _compare_commit(found_commit, expected, problems)
    if repository is not None and expected is not None and found_commit == expected:
        _compare_detached(contents.detached, repository.read_detached_metadata(expected), problems)
    paths = len(contents.tree.files) + len(contents.tree.directories) if contents.tree else 0
    return Verification(
        summary, found_commit, len(contents.objects), paths, tar_bytes, problems.finish(), contents.unreferenced
    )


def check_unit(unit: VerifyUnit) -> _Checked:
    """The work unit's function."""
    store = open_store(parse_reference(unit.reference))
    read = LayerReader(store, unit.layer, unit.max_size)
    try:
        contents = _contents(read, unit.kind)
        read.finish()
    except OstrataError as error:
        return _Checked(None, read.tar_bytes, str(error).replace("\n", "; "))
    return _Checked(contents, read.tar_bytes)


def _contents(read: LayerReader, kind: str) -> LayerContents | None:
    if kind in (OSTREE, CHUNK):
        return check_layer(read.tar_pieces(), first=kind == OSTREE)
    for _entry, content in read_members(read.tar_pieces()):
        content.skip()
    return None


def _check_labels(summary: ImageSummary, problems: FindingList) -> None:
    if summary.commit is not None and any(layer.kind == PLAIN for layer in summary.layers):
        problems.add(
            encapsulated_config.FINAL_DIFF_ID,
            f"the image has the label {encapsulated_config.COMMIT}, but no layer has the diff_id of this label",
        )


def _compare_commit(found: str | None, expected: str | None, problems: FindingList) -> None:
    if expected is not None and found != expected:
        problems.add("commit", f"expected {expected}, found {found or 'none'}")


def _compare_detached(found: bytes | None, expected: bytes | None, problems: FindingList) -> None:
    if found != expected:
        problems.add("commit", "its detached metadata is not that of the repository")
