"""Everything that can be built from, opened: a tree with its attributes, and a place from which workers read contents.

| SOURCE                                   | owners, modes, xattrs       | content is read from                        |
|------------------------------------------|-----------------------------|---------------------------------------------|
| a directory                              | as on disk, or `owners`     | the files                                   |
| `oci:`, `oci-archive:`, `docker-archive:`| as the layers have them     | the layers' tars: where they lie if they    |
| and what skopeo fetches                  |                             | are uncompressed, else packed on disk       |
| a tar file                               | as the tar has them         | the tar, the same way                       |
| a commit in an OSTree repository         | as the commit has them      | its file objects                            |

Layers are applied as an index, see `sources.image_union`: nothing is extracted, so that whoever reads an image gets the
same tree. While a layer is decompressed it is indexed and compared with its digests, all in one reading.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace

from ostrata import parallel
from ostrata.codecs import owners as owners_codec
from ostrata.codecs.decompression import GZIP_MAGIC, decompress
from ostrata.codecs.oci import MAX_DOCUMENT
from ostrata.codecs.owners import Owners
from ostrata.codecs.timestamps import parse_rfc3339
from ostrata.errors import MalformedError, UnsupportedError, escape, within
from ostrata.model.image import DOCKER_LAYER_TAR, LAYER_GZIP, LAYER_TAR, LAYER_ZSTD, Layer, Platform, StoredImage
from ostrata.model.ostree import Commit
from ostrata.model.tree import Attributes, Entry, SpecialFile, Tree
from ostrata.pipeline.places import open_image, open_source
from ostrata.progress import SILENT, Progress
from ostrata.protocols import BlobStore
from ostrata.sources.contents import CommitAt, DirectoryAt, SourceAt, TarPlace, TarsAt
from ostrata.sources.directory import open_directory
from ostrata.sources.exclusions import Exclusions
from ostrata.sources.image import MAX_TAR
from ostrata.sources.image_layer import Finding, LayerIndex, index_layer
from ostrata.sources.image_union import Union
from ostrata.sources.ostree_source import open_commit
from ostrata.stores.blobs import read_blob
from ostrata.stores.docker_archive import DockerArchive, open_docker_archive
from ostrata.stores.files import TemporaryDirectory, label_of, open_regular, read_limited, remove_stale
from ostrata.stores.layer_reader import LayerReader
from ostrata.stores.oci_archive import OciArchive
from ostrata.stores.ostree_repository import open_repository
from ostrata.stores.packed_file import PackedWriter
from ostrata.stores.podman import STORAGE, is_installed, saved_image
from ostrata.stores.reference import DOCKER_ARCHIVE, parse_reference
from ostrata.stores.skopeo import SkopeoOptions

PIECE = 1 << 20

_UNCOMPRESSED = (LAYER_TAR, DOCKER_LAYER_TAR)
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_FOREIGN = {b"\xfd7zXZ": "xz", b"BZh": "bzip2"}


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How to read a source.

    `repository` says that the source is a revision in it. `platform` is what an image should be for. `excludes` are
    paths and globs; `owners`, `one_file_system` and `bare` (see `open_directory`) are for directories. `max_size`
    bounds each layer's tar.
    """

    repository: str | None = None
    excludes: tuple[str, ...] = ()
    owners: Owners | None = None
    one_file_system: bool = False
    bare: frozenset[str] = frozenset()
    platform: Platform | None = None
    max_size: int = MAX_TAR
    skopeo: SkopeoOptions | None = None


@dataclass(frozen=True, slots=True)
class PreparedSource:
    """An open source. `special` are the paths that no `Tree` holds; `created` is in seconds since 1970.

    `config` is an image's config as it is stored, `image` and `store` where all of it is; `commit` is a commit's own.
    Paths that are hard links to each other have the same content key.
    """

    at: SourceAt
    tree: Tree
    special: Mapping[str, SpecialFile] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    config: bytes | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Platform | None = None
    created: int | None = None
    image: StoredImage | None = None
    store: BlobStore | None = None
    commit: Commit | None = None


@contextmanager
def prepare(
    reference: str, options: SourceOptions, *, tmpdir: str, jobs: int = 1, progress: Progress = SILENT
) -> Iterator[PreparedSource]:
    """The source that `reference` names, in a ``with`` block: at its end, what was packed in `tmpdir` goes.

    Raises: NotFoundError, also for excluded paths that are not there; MalformedError, UnsupportedError, LimitError for
    what cannot be read; AccessError; TransferError.
    """
    if options.owners is not None and not _is_directory(reference, options):
        raise UnsupportedError("owners are told of a directory only: other sources have them", where=escape(reference))
    if options.repository is not None:
        yield _prepare_commit(options.repository, reference, options, jobs)
    elif _is_image(reference):
        with (
            _open_image(reference, options, tmpdir) as (store, image),
            _prepare_image(store, image, options, tmpdir, jobs, progress) as prepared,
        ):
            yield prepared
    elif os.path.isdir(reference):
        progress.start("reading the tree", None)
        yield _prepare_directory(reference, options, jobs)
    else:
        with _prepare_tar(reference, options, tmpdir, progress) as prepared:
            yield prepared


def read_owners(path: str) -> Owners:
    """A file of owners. Raises: NotFoundError, AccessError, MalformedError, LimitError."""
    with within(escape(path)):
        return owners_codec.decode(read_limited(path, owners_codec.MAX_OWNERS))


def _is_image(reference: str) -> bool:
    transport, colon, _ = reference.partition(":")
    return bool(colon) and "/" not in transport and not os.path.lexists(reference)


def _is_directory(reference: str, options: SourceOptions) -> bool:
    return options.repository is None and not _is_image(reference) and os.path.isdir(reference)


# Directories


def _prepare_directory(path: str, options: SourceOptions, jobs: int) -> PreparedSource:
    exclusions = Exclusions(options.excludes)
    path = os.path.realpath(path)
    source = open_directory(
        path,
        excluded=exclusions if options.excludes else (),
        one_file_system=options.one_file_system,
        bare=options.bare,
        jobs=jobs,
    )
    exclusions.check_used()
    tree, special = source.tree, source.special
    if options.owners is not None:
        entries = _owned({**tree.entries, **special}, options.owners)
        tree = Tree({path: entries[path] for path in tree.entries})  # type: ignore[misc]  # each kind stays what it is
        special = {path: entries[path] for path in special}  # type: ignore[misc]
    return PreparedSource(DirectoryAt(path), tree, special)


def _owned(entries: Mapping[str, Entry | SpecialFile], owners: Owners) -> dict[str, Entry | SpecialFile]:
    changed = dict(entries)
    for path, ownership in owners.items():
        entry = entries.get(path)
        if entry is not None:
            attributes = entry.attributes
            uid, gid = ownership.owner or (attributes.uid, attributes.gid)
            mode = attributes.mode if ownership.mode is None else ownership.mode
            xattrs = tuple(sorted({**dict(attributes.xattrs), **dict(ownership.xattrs)}.items()))
            changed[path] = replace(entry, attributes=Attributes(mode, uid, gid, xattrs, attributes.mtime))
    return changed


# Commits


def _prepare_commit(repository: str, revision: str, options: SourceOptions, jobs: int) -> PreparedSource:
    source = open_commit(open_repository(repository), revision, jobs=jobs)
    tree, special = _without_excluded(source.tree, {}, options.excludes)
    commit = source.commit.commit
    return PreparedSource(CommitAt(source.repository), tree, special, created=commit.timestamp, commit=commit)


# Images


@contextmanager
def _open_image(reference: str, options: SourceOptions, tmpdir: str) -> Iterator[tuple[BlobStore, StoredImage]]:
    parsed = parse_reference(reference)
    if parsed.transport == DOCKER_ARCHIVE:
        path, _, tag = parsed.path.partition(":")
        yield open_docker_archive(path, tag or None)
        return
    if parsed.transport == STORAGE and not is_installed("skopeo"):
        with saved_image(parsed.path, tmpdir=tmpdir) as saved:
            yield open_image(str(saved), platform=options.platform)
        return
    with open_source(reference, skopeo=options.skopeo, tmpdir=tmpdir, platform=options.platform) as opened:
        yield opened


@contextmanager
def _prepare_image(
    store: BlobStore, image: StoredImage, options: SourceOptions, tmpdir: str, jobs: int, progress: Progress
) -> Iterator[PreparedSource]:
    _check_platform(image, options.platform)
    with within("the image's config"):
        config = read_blob(store, image.manifest.config.digest, MAX_DOCUMENT)
    with _scratch(tmpdir, str(image.descriptor.digest)) as scratch:
        tars, indexes = _read_layers(store, image, options.max_size, scratch, jobs, progress)
        union = Union()
        for number, index in enumerate(indexes):
            with within(f"layer {number}"):
                union.apply(number, index)
        found = union.finish()
        tree, special = _without_excluded(found.tree, found.special, options.excludes)
        yield PreparedSource(
            at=TarsAt(tars),
            tree=tree,
            special=special,
            findings=found.findings,
            config=config,
            annotations=image.manifest.annotations,
            platform=image.config.platform,
            created=_created(image),
            image=image,
            store=store,
        )


@contextmanager
def _scratch(tmpdir: str, label: str) -> Iterator[str]:
    label = label_of(label)
    remove_stale(tmpdir, label)
    with TemporaryDirectory(os.path.abspath(tmpdir), label) as scratch:
        yield scratch.path


def _check_platform(image: StoredImage, wanted: Platform | None) -> None:
    found = image.config.platform
    if wanted is not None and wanted != found:
        raise UnsupportedError(
            f"expected an image for {wanted.os}/{wanted.architecture}, "
            f"found one for {escape(found.os)}/{escape(found.architecture)}"
        )


def _created(image: StoredImage) -> int | None:
    try:
        return None if image.config.created is None else max(0, parse_rfc3339(image.config.created))
    except MalformedError:
        return None


@dataclass(frozen=True, slots=True)
class SpoolUnit:
    """A work unit: read one layer's index, and keep its tar in the packed file `spool`, if there is to be one."""

    store: BlobStore
    number: int
    layer: Layer
    max_size: int
    spool: str | None


def _read_layers(
    store: BlobStore, image: StoredImage, max_size: int, scratch: str, jobs: int, progress: Progress
) -> tuple[tuple[TarPlace, ...], list[LayerIndex]]:
    units, places = [], []
    for number, layer in enumerate(image.layers):
        place = _in_place(store, layer) or TarPlace(os.path.join(scratch, str(number)), is_packed=True)
        units.append(SpoolUnit(store, number, layer, max_size, place.path if place.is_packed else None))
        places.append(place)
    sizes = [unit.layer.descriptor.size for unit in units]
    progress.start("reading layers", sum(sizes))
    results = parallel.run(spool_unit, units, jobs=jobs, weights=sizes, on_advance=progress.advance)
    with closing(results):
        return tuple(places), list(results)


def _in_place(store: BlobStore, layer: Layer) -> TarPlace | None:
    """Where an uncompressed layer lies."""
    if layer.descriptor.media_type not in _UNCOMPRESSED:
        return None
    digest = layer.descriptor.digest
    if isinstance(store, OciArchive | DockerArchive):
        member = store.blob_member(digest)
        return None if member is None else TarPlace(os.path.abspath(store.path), member.offset)
    path = store.blob_path(digest)
    return None if path is None else TarPlace(os.path.abspath(path))


def spool_unit(unit: SpoolUnit) -> LayerIndex:
    """The work unit's function."""
    with within(f"layer {unit.number}"):
        reader = LayerReader(unit.store, unit.layer, unit.max_size)
        pieces = reader.tar_pieces()
        index = index_layer(pieces if unit.spool is None else _packed(pieces, unit.spool))
        reader.finish()
        return index


def _packed(pieces: Iterable[bytes], path: str) -> Iterator[bytes]:
    with PackedWriter(path) as file:
        for piece in pieces:
            file.write(piece)
            yield piece
        file.finish()


def _without_excluded(
    tree: Tree, special: Mapping[str, SpecialFile], excludes: tuple[str, ...]
) -> tuple[Tree, Mapping[str, SpecialFile]]:
    if not excludes:
        return tree, special
    exclusions = Exclusions(excludes)
    dropped: set[str] = set()

    def is_dropped(path: str) -> bool:
        drops = path.rpartition("/")[0] in dropped or path in exclusions
        if drops:
            dropped.add(path)
        return drops

    entries = {path: entry for path, entry in tree if not is_dropped(path)}
    kept = {path: entry for path, entry in special.items() if not is_dropped(path)}
    exclusions.check_used()
    return Tree(entries), kept


# Tar files


@contextmanager
def _prepare_tar(path: str, options: SourceOptions, tmpdir: str, progress: Progress) -> Iterator[PreparedSource]:
    path = os.path.realpath(path)
    with open(open_regular(path), "rb", buffering=0) as file, _scratch(tmpdir, path) as scratch:
        media_type = _media_type(path, file.read(8))
        file.seek(0)
        progress.start("reading the tar", os.fstat(file.fileno()).st_size)
        pieces = decompress(_watched(iter(lambda: file.read(PIECE), b""), progress), media_type, limit=options.max_size)
        place = TarPlace(path) if media_type == LAYER_TAR else TarPlace(os.path.join(scratch, "0"), is_packed=True)
        union = Union()
        with within(escape(path)):
            union.apply(0, index_layer(_packed(pieces, place.path) if place.is_packed else pieces))
        found = union.finish()
        tree, special = _without_excluded(found.tree, found.special, options.excludes)
        yield PreparedSource(TarsAt((place,)), tree, special, found.findings)


def _media_type(path: str, start: bytes) -> str:
    for magic, name in _FOREIGN.items():
        if start.startswith(magic):
            hint = f"decompress it first: {name} -dk FILE"
            raise UnsupportedError(
                f"expected a tar, or one in gzip or zstd, found {name}", where=escape(path), hint=hint
            )
    if start.startswith(GZIP_MAGIC):
        return LAYER_GZIP
    return LAYER_ZSTD if start.startswith(_ZSTD_MAGIC) else LAYER_TAR


def _watched(pieces: Iterator[bytes], progress: Progress) -> Iterator[bytes]:
    for piece in pieces:
        progress.advance(len(piece))
        yield piece
