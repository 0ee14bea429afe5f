"""The story of a commit: a directory becomes objects in an OSTree repository, and a ref points to them.

    scan the tree -> file objects, side by side -> dirmeta and dirtree objects, deepest first -> commit object
    -> everything on disk -> the ref

The checksum is that of `ostree commit` for the same tree and options; it depends neither on the number of jobs nor
on the order in which directories are read. One exception: with `bootable`, libostree orders the metadata by a hash
table of GLib's; here the order is fixed, and `ostree.bootable` and `ostree.linux` are its last two keys.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache

from ostrata import parallel
from ostrata.codecs import ostree
from ostrata.errors import MalformedError, NotFoundError, OstrataError, UnsupportedError, escape, within
from ostrata.model.ostree import Commit, Dirtree, FileHeader, Variant
from ostrata.model.tree import Attributes, Xattrs
from ostrata.progress import SILENT, Progress
from ostrata.sources.modifiers import Modifiers
from ostrata.sources.rootfs import ScannedDirectory, TreeReader, read_blocks, read_kept_xattrs, read_small, scan
from ostrata.stores.ostree_hashing import ObjectHasher
from ostrata.stores.ostree_repository import OstreeRepository
from ostrata.stores.ostree_staging import ObjectStage, StagePlace
from ostrata.stores.ostree_writer import RepositoryWriter, check_ref_name, open_writer

FILES_PER_UNIT = 256
BYTES_PER_UNIT = 64 << 20
SMALL = 1 << 20
"""Bytes up to which a file is read whole; larger ones are hashed and written block by block."""

_FILE_WEIGHT = 32 << 10  # what the work on a file costs beyond its content, in bytes of content
_ADVANCE = 4 << 20
MODULES = "usr/lib/modules"

Stage = ObjectStage | ObjectHasher


@dataclass(frozen=True, slots=True)
class CommitOptions:
    """What a commit says beside its tree. `timestamp` is in seconds since 1970.

    Without a `branch` no ref is written (`--orphan`). `parent` is a revision, ``none``, or None for the branch's
    current value. `metadata_strings` are (key, value) in order.
    """

    branch: str | None
    timestamp: int
    subject: str = ""
    body: str = ""
    parent: str | None = None
    no_bindings: bool = False
    bind_refs: tuple[str, ...] = ()
    metadata_strings: tuple[tuple[str, str], ...] = ()
    bootable: bool = False
    modifiers: Modifiers = field(default_factory=Modifiers)


@dataclass(frozen=True, slots=True)
class CommitResult:
    """What was committed. `content_bytes` is the size of all files; `new_*` what the repository did not have yet."""

    checksum: str
    parent: str | None
    files: int
    symlinks: int
    directories: int
    content_bytes: int
    new_objects: int
    new_bytes: int


def commit(
    repo_path: str, tree_path: str, options: CommitOptions, *, jobs: int = 1, progress: Progress = SILENT
) -> CommitResult:
    """Commit the directory `tree_path` to the repository `repo_path`.

    Raises: UnsupportedError for what a commit cannot hold; NotFoundError; AccessError, also for files that change
    meanwhile; MalformedError for options that are none. Then no ref has moved, and no object is there in part.
    """
    _check(options)
    tree_path = os.path.abspath(tree_path)  # workers need not share our working directory
    with open_writer(repo_path) as writer, ObjectStage(writer.place) as stage:
        mode = writer.repository.mode
        modifiers = options.modifiers.for_mode(mode, without_xattrs=writer.settings.disable_xattrs)
        parent = _parent(writer.repository, options)
        progress.start("reading the tree", None)
        directories = scan(tree_path, modifiers, repository=repo_path)
        with within(escape(tree_path)):
            linux = _find_kernel(directories) if options.bootable else None
            units = list(_units(tree_path, writer.place, modifiers, directories))
            staged = _stage_content(units, jobs, progress)
        root_dirtree, root_dirmeta = _stage_directories(stage, directories, staged.checksums)
        metadata = _metadata(options, writer.settings.collection_id, linux)
        value = Commit(root_dirtree, root_dirmeta, options.timestamp, options.subject, options.body, parent, metadata)
        checksum = stage.add_metadata("commit", ostree.encode_commit(value))
        progress.start("writing to disk", None)
        _publish(writer, options.branch, checksum)
    return _result(checksum, parent, directories, staged.objects + stage.objects, staged.bytes)


def file_checksums(
    tree_path: str, modifiers: Modifiers, *, jobs: int = 1, progress: Progress = SILENT
) -> dict[str, str]:
    """Path -> checksum of the file object that a commit of the directory would have there; nothing is written.

    Raises: as `commit`.
    """
    tree_path = os.path.abspath(tree_path)
    directories = scan(tree_path, modifiers)
    with within(escape(tree_path)):
        units = list(_units(tree_path, None, modifiers, directories))
        staged = _stage_content(units, jobs, progress, "hashing files")
    paths = [
        f"{directory}/{name}" if directory else name
        for unit in units
        for directory, files, symlinks in unit.entries
        for name in (*files, *symlinks)
    ]
    return dict(zip(paths, staged.checksums, strict=True))


def _check(options: CommitOptions) -> None:
    for name in (options.branch, *options.bind_refs):
        if name is not None:
            check_ref_name(name)
    if not 0 <= options.timestamp < 1 << 64:
        raise UnsupportedError(f"expected a timestamp from 1970 on, found {options.timestamp}")
    keys = [key for key, _ in options.metadata_strings]
    if "" in keys:
        raise MalformedError("a metadata key is empty")
    own = {"ostree.ref-binding", "ostree.collection-binding", "ostree.bootable", "ostree.linux"}
    for key in keys:
        if keys.count(key) > 1 or key in own:
            raise MalformedError(f"the metadata key '{escape(key)}' would be there twice")


def _parent(repository: OstreeRepository, options: CommitOptions) -> str | None:
    if options.parent is not None:
        return None if options.parent == "none" else repository.resolve(options.parent)
    return repository.read_ref(options.branch) if options.branch is not None else None


def _find_kernel(directories: list[ScannedDirectory]) -> str:
    return one_kernel(
        directory.path.rpartition("/")[2]
        for directory in directories
        if os.path.dirname(directory.path) == MODULES
        and any(name == "vmlinuz" for name in (*directory.symlinks, *(name for name, _ in directory.files)))
    )


def one_kernel(versions: Iterable[str]) -> str:
    """The only one of the kernels' versions in a tree. Raises: NotFoundError, UnsupportedError for more than one."""
    kernels = list(versions)
    if not kernels:
        raise NotFoundError(f"no kernel: expected /{MODULES}/VERSION/vmlinuz")
    if len(kernels) > 1:
        raise UnsupportedError(
            f"expected one kernel in /{MODULES}, found {len(kernels)}: {', '.join(map(escape, sorted(kernels)))}"
        )
    return kernels[0]


def _metadata(options: CommitOptions, collection_id: str | None, linux: str | None) -> dict[str, Variant]:
    """The commit's metadata; the order of the keys is part of the checksum."""
    metadata = {key: Variant("s", value) for key, value in options.metadata_strings}
    if not options.no_bindings:
        refs = [*options.bind_refs, *([options.branch] if options.branch is not None else [])]
        metadata["ostree.ref-binding"] = Variant("as", sorted(refs))
        if collection_id is not None:
            metadata["ostree.collection-binding"] = Variant("s", collection_id)
    if linux is not None:
        metadata["ostree.bootable"] = Variant("b", True)
        metadata["ostree.linux"] = Variant("s", linux)
    return metadata


def _publish(writer: RepositoryWriter, branch: str | None, checksum: str) -> None:
    writer.publish(checksum)
    if branch is not None:
        writer.write_ref(branch, checksum)


def _result(
    checksum: str, parent: str | None, directories: list[ScannedDirectory], objects: int, new_bytes: int
) -> CommitResult:
    return CommitResult(
        checksum=checksum,
        parent=parent,
        files=sum(len(directory.files) for directory in directories),
        symlinks=sum(len(directory.symlinks) for directory in directories),
        directories=len(directories),
        content_bytes=sum(size for directory in directories for _, size in directory.files),
        new_objects=objects,
        new_bytes=new_bytes,
    )


# File objects


@dataclass(frozen=True, slots=True)
class ContentUnit:
    """A work unit: stage these entries of these directories. `entries`: (directory, names of files, of symlinks).

    Without a `place` their checksums are told and nothing is written.
    """

    tree: str
    place: StagePlace | None
    modifiers: Modifiers
    entries: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]
    size: int


@dataclass(frozen=True, slots=True)
class Staged:
    """File checksums in the order of the unit's entries; objects and bytes that are new."""

    checksums: list[str]
    objects: int
    bytes: int


def _units(
    tree: str, place: StagePlace | None, modifiers: Modifiers, directories: Iterable[ScannedDirectory]
) -> Iterator[ContentUnit]:
    """The tree's files and symlinks in scan order, cut into units; large directories are cut too."""
    entries: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = []
    count = size = 0
    for path, files, symlinks in _slices(directories):
        entries.append((path, tuple(name for name, _ in files), symlinks))
        count += len(files) + len(symlinks)
        size += sum(length for _, length in files)
        if count >= FILES_PER_UNIT or size >= BYTES_PER_UNIT:
            yield ContentUnit(tree, place, modifiers, tuple(entries), size)
            entries, count, size = [], 0, 0
    if entries:
        yield ContentUnit(tree, place, modifiers, tuple(entries), size)


Slice = tuple[str, tuple[tuple[str, int], ...], tuple[str, ...]]


def _slices(directories: Iterable[ScannedDirectory]) -> Iterator[Slice]:
    for directory in directories:
        start = size = 0
        for position, (_, length) in enumerate(directory.files, 1):
            size += length
            if position - start >= FILES_PER_UNIT or size >= BYTES_PER_UNIT:
                yield directory.path, directory.files[start:position], ()
                start, size = position, 0
        if start < len(directory.files):
            yield directory.path, directory.files[start:], ()
        for start in range(0, len(directory.symlinks), FILES_PER_UNIT):
            yield directory.path, (), directory.symlinks[start : start + FILES_PER_UNIT]


def _stage_content(
    units: list[ContentUnit], jobs: int, progress: Progress, phase: str = "writing file objects"
) -> Staged:
    progress.start(phase, sum(unit.size for unit in units))
    weights = [
        unit.size + _FILE_WEIGHT * sum(len(files) + len(links) for _, files, links in unit.entries) for unit in units
    ]
    checksums: list[str] = []
    objects = new_bytes = 0
    results = parallel.run(stage_unit, units, jobs=jobs, weights=weights, on_advance=progress.advance)
    with closing(results):
        for result in results:
            checksums += result.checksums
            objects += result.objects
            new_bytes += result.bytes
    return Staged(checksums, objects, new_bytes)


def stage_unit(unit: ContentUnit) -> Staged:
    """The work unit's function. Raises: as `commit`, naming the entry."""
    checksums: list[str] = []
    pending = 0
    path = ""
    with TreeReader(unit.tree) as reader, _open_stage(unit.place) as stage:
        try:
            for directory, files, symlinks in unit.entries:
                path = directory
                reader.enter(directory)
                prefix = f"{directory}/" if directory else ""
                for name in files:
                    path = prefix + name
                    checksum, size = _stage_file(reader, stage, unit.modifiers, path, name)
                    checksums.append(checksum)
                    pending += size
                    if pending >= _ADVANCE:
                        parallel.advance(pending)
                        pending = 0
                for name in symlinks:
                    path = prefix + name
                    checksums.append(_stage_symlink(reader, stage, unit.modifiers, path, name))
        except OstrataError as error:
            error.places.append(f"/{escape(path)}")
            raise
        parallel.advance(pending)
        return Staged(checksums, stage.objects, stage.bytes)


def _open_stage(place: StagePlace | None) -> Stage:
    return ObjectHasher() if place is None else ObjectStage(place)


def _stage_file(reader: TreeReader, stage: Stage, modifiers: Modifiers, path: str, name: str) -> tuple[str, int]:
    descriptor, status = reader.open_file(name)
    try:
        xattrs = () if modifiers.drops_xattrs else read_kept_xattrs(descriptor)
        header = _header(modifiers, path, status, xattrs, None)
        size = status.st_size
        if size <= SMALL:
            return stage.add_file(header, read_small(descriptor, status)), size
        return stage.add_large_file(header, size, read_blocks(descriptor, status)), size
    finally:
        os.close(descriptor)


def _stage_symlink(reader: TreeReader, stage: Stage, modifiers: Modifiers, path: str, name: str) -> str:
    status, target, xattrs = reader.read_symlink(name, modifiers)
    return stage.add_symlink(_header(modifiers, path, status, xattrs, target))


def _header(modifiers: Modifiers, path: str, status: os.stat_result, xattrs: Xattrs, target: str | None) -> FileHeader:
    return FileHeader(modifiers.apply(path, status.st_mode, status.st_uid, status.st_gid, xattrs), target)


# Directory objects


def _stage_directories(
    stage: ObjectStage, directories: list[ScannedDirectory], checksums: list[str]
) -> tuple[str, str]:
    """Stage every dirtree and dirmeta; the result is the root's two checksums.

    `checksums` are those of all files and symlinks, in scan order: files first in each directory.
    """

    @cache
    def stage_dirmeta(attributes: Attributes) -> str:
        return stage.add_metadata("dirmeta", ostree.encode_dirmeta(attributes))

    done: dict[str, tuple[str, str]] = {}
    end = len(checksums)
    for directory in reversed(directories):  # children come after their parent in a scan
        names = [*(name for name, _ in directory.files), *directory.symlinks]
        start = end - len(names)
        files = sorted(zip(names, checksums[start:end], strict=True))
        prefix = f"{directory.path}/" if directory.path else ""
        below = tuple((name, *done.pop(prefix + name)) for name in directory.directories)
        # Names are UTF-8: sorted as text they are sorted as bytes too.
        dirtree = stage.add_metadata("dirtree", ostree.encode_dirtree(Dirtree(tuple(files), below)))
        done[directory.path] = (dirtree, stage_dirmeta(directory.attributes))
        end = start
    return done[""]
