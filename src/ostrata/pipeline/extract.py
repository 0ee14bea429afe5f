"""The story of an extraction: the flattened tree of any image becomes files in a directory.

    index the layers -> choose paths -> directories -> the files of each layer, side by side -> hard links, symlinks,
    devices -> the directories' attributes, the deepest first -> everything on disk -> the name

The tree is written under a temporary name beside its destination, and renamed when it is complete: what has the name is
whole. Only a destination that is in use already (it holds something, or a file system is mounted there) is written to
directly.
"""

from __future__ import annotations

import base64
import json
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass

from ostrata import parallel
from ostrata.errors import NotFoundError, UnsupportedError, escape, within
from ostrata.model.image import Layer, StoredImage
from ostrata.model.tree import Directory, Entry, RegularFile, SpecialFile, Symlink
from ostrata.progress import SILENT, Progress
from ostrata.protocols import BlobStore
from ostrata.sources.image import MAX_TAR, TMPDIR, ImageSource, Wanted, open_image_source, read_contents, wanted_of
from ostrata.sources.image_layer import Finding
from ostrata.stores.extraction import TreeWriter, Unset
from ostrata.stores.files import TemporaryDirectory, label_of, remove_stale, sync_directory, write_atomically
from ostrata.stores.ostree_writer import sync_file_system

_FILE_WEIGHT = 32 << 10  # what the work on a file costs beyond its content, in bytes of content
_FILE_TYPES = {"FIFO": stat.S_IFIFO, "character device": stat.S_IFCHR, "block device": stat.S_IFBLK}


@dataclass(frozen=True, slots=True)
class ExtractOptions:
    """What to extract, and how.

    `paths` are those of the tree that are wanted, each with all below it; all when there are none. `overwrites` allows
    a destination that is not empty. `manifest` names the file that records what could not be set.
    """

    paths: tuple[str, ...] = ()
    overwrites: bool = False
    manifest: str | None = None
    max_size: int = MAX_TAR
    tmpdir: str = TMPDIR


@dataclass(frozen=True, slots=True)
class Extraction:
    """What was extracted. `links` are names beyond the first of a file; `size` is in bytes of content."""

    files: int
    links: int
    symlinks: int
    directories: int
    special: int
    size: int
    unset: tuple[Unset, ...]
    findings: tuple[Finding, ...]

    def count_unset(self) -> Mapping[str, int]:
        """How many entries lack their owner, mode, xattrs, are missing, or are copies of what they should link to."""
        counts = Counter(kind for each in self.unset for kind in _kinds(each))
        return {kind: counts[kind] for kind in ("owner", "mode", "xattrs", "missing", "copies")}


def extract(
    store: BlobStore,
    image: StoredImage,
    directory: str,
    options: ExtractOptions | None = None,
    *,
    jobs: int = 1,
    progress: Progress = SILENT,
) -> Extraction:
    """Write the image's tree to `directory`, which is made if it does not exist.

    Raises: UnsupportedError for a destination that may not be used; NotFoundError for a path that the tree does not
    have, and for missing blobs; MalformedError, LimitError for an image that cannot be read; AccessError. Then the
    destination is as it was, unless it was in use before.
    """
    options = options or ExtractOptions()
    directory = os.path.abspath(directory)
    in_use = _check_destination(directory, options)
    with open_image_source(
        store, image, max_size=options.max_size, tmpdir=options.tmpdir, jobs=jobs, progress=progress
    ) as source:
        entries = _select(source, options.paths)
    with _destination(directory, in_use) as root:
        unset = _write(store, image, root, entries, in_use, options.max_size, jobs, progress)
        progress.start("writing to disk", None)
        _sync(root)
        if options.manifest is not None:
            _write_manifest(options.manifest, image, unset)
    return _result(entries, unset, source.findings)


# The destination


def _check_destination(directory: str, options: ExtractOptions) -> bool:
    """Is the destination in use? Raises: UnsupportedError when it may not be."""
    manifest = os.path.realpath(options.manifest) if options.manifest is not None else ""
    with within(escape(directory)):
        if manifest.startswith(os.path.realpath(directory) + "/"):
            raise UnsupportedError("the manifest lies within the destination, and would be taken for a part of it")
        if not os.path.lexists(directory):
            return False
        if not os.path.isdir(directory):
            raise UnsupportedError("expected a directory, found something else")
        if os.listdir(directory):
            if not options.overwrites:
                raise UnsupportedError(
                    "the destination is not empty", hint="name an empty or new directory, or allow to overwrite"
                )
            return True
        return os.path.ismount(directory) or os.path.islink(directory)


@contextmanager
def _destination(directory: str, in_use: bool) -> Iterator[str]:
    """The directory to write to; at the end of the block it has the destination's name."""
    if in_use:
        yield os.path.realpath(directory)
        return
    parent, label = os.path.dirname(directory), label_of(directory)
    remove_stale(parent, label)
    with TemporaryDirectory(parent, label) as temporary:
        yield temporary.path
        with within(escape(directory)):
            os.rename(temporary.path, directory)
        try:
            sync_directory(parent)
        except BaseException:
            with suppress(OSError):
                os.rename(directory, temporary.path)  # a name that may not last is not given
            raise


def _sync(root: str) -> None:
    with within(escape(root)):
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sync_file_system(descriptor)
        finally:
            os.close(descriptor)


# The entries

Selected = dict[str, Entry | SpecialFile]


def _select(source: ImageSource, paths: Iterable[str]) -> Selected:
    """The wanted entries, and the directories that lead to them; each directory before what is in it."""
    everything: Selected = {**source.tree.entries, **source.special}
    wanted = {_checked(path, everything) for path in paths}
    if not wanted or "" in wanted:
        return everything
    parents = {parent for path in wanted for parent in _parents(path)}
    return {
        path: entry
        for path, entry in everything.items()
        if path in parents or path in wanted or not wanted.isdisjoint(_parents(path))
    }


def _checked(path: str, everything: Selected) -> str:
    name = "/".join(part for part in path.split("/") if part not in ("", "."))
    if name in everything:
        return name
    for parent in _parents(name):
        entry = everything.get(parent)
        if isinstance(entry, Symlink):
            hint = f"/{escape(parent)} is a symlink to {escape(entry.target)}: name the path behind it"
            raise NotFoundError("no such path in the image", where=f"/{escape(name)}", hint=hint)
    raise NotFoundError("no such path in the image", where=f"/{escape(name)}")


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["", *("/".join(parts[: count + 1]) for count in range(len(parts)))]


# Writing


def _write(
    store: BlobStore,
    image: StoredImage,
    root: str,
    entries: Selected,
    in_use: bool,
    max_size: int,
    jobs: int,
    progress: Progress,
) -> list[Unset]:
    with TreeWriter(root, replaces=in_use) as writer:
        for path, entry in entries.items():
            if isinstance(entry, Directory):
                writer.make_directory(path)
        files = [(path, entry) for path, entry in entries.items() if isinstance(entry, RegularFile)]
        unset = _write_files(store, image, root, files, in_use, max_size, jobs, progress)
        _write_others(writer, entries)
        for path, entry in reversed(entries.items()):
            if isinstance(entry, Directory):
                writer.finish_directory(path, entry.attributes)
        return unset + writer.unset


@dataclass(frozen=True, slots=True)
class ExtractUnit:
    """A work unit: write the files of one layer."""

    store: BlobStore
    number: int
    layer: Layer
    root: str
    replaces: bool
    wanted: tuple[Wanted, ...]
    max_size: int


def _write_files(
    store: BlobStore,
    image: StoredImage,
    root: str,
    files: Iterable[tuple[str, RegularFile]],
    in_use: bool,
    max_size: int,
    jobs: int,
    progress: Progress,
) -> list[Unset]:
    units = [
        ExtractUnit(store, number, image.layers[number], root, in_use, tuple(wanted), max_size)
        for number, wanted in wanted_of(files).items()
    ]
    progress.start("extracting", sum(unit.layer.descriptor.size for unit in units))
    weights = [sum(each.size + _FILE_WEIGHT for each in unit.wanted) for unit in units]
    results = parallel.run(extract_unit, units, jobs=jobs, weights=weights, on_advance=progress.advance)
    with closing(results):
        return [each for result in results for each in result]


def extract_unit(unit: ExtractUnit) -> list[Unset]:
    """The work unit's function."""
    contents = read_contents(unit.store, unit.layer, unit.wanted, max_size=unit.max_size)
    with within(f"layer {unit.number}"), TreeWriter(unit.root, replaces=unit.replaces) as writer:
        for wanted, content in contents:
            writer.write_file(wanted.path, wanted.entry.attributes, content)
        return writer.unset


def _write_others(writer: TreeWriter, entries: Selected) -> None:
    """Symlinks, devices and FIFOs, and the names of everything beyond the first, which files have already."""
    first: dict[str | int, str] = {}
    for path, entry in entries.items():
        if isinstance(entry, Directory):
            continue
        identity = id(entry) if isinstance(entry, SpecialFile) else entry.content
        known = first.get(identity)
        if known is not None and writer.link(known, path):
            continue
        if _write_one(writer, path, entry, known):
            first[identity] = path


def _write_one(writer: TreeWriter, path: str, entry: RegularFile | Symlink | SpecialFile, known: str | None) -> bool:
    """Not as a link; `known` is another name that would have been linked. Is it there?"""
    if isinstance(entry, Symlink):
        writer.make_symlink(path, entry.target, entry.attributes)
    elif isinstance(entry, SpecialFile):
        return writer.make_special(path, _FILE_TYPES[entry.kind], entry.rdev, entry.attributes)
    elif known is not None:
        writer.copy(known, path, entry.attributes)
    return True


# The result


def _result(entries: Selected, unset: list[Unset], findings: tuple[Finding, ...]) -> Extraction:
    files = {entry.content: entry for entry in entries.values() if isinstance(entry, RegularFile)}
    names = sum(isinstance(entry, RegularFile) for entry in entries.values())
    return Extraction(
        files=len(files),
        links=names - len(files),
        symlinks=sum(isinstance(entry, Symlink) for entry in entries.values()),
        directories=sum(isinstance(entry, Directory) for entry in entries.values()),
        special=sum(isinstance(entry, SpecialFile) for entry in entries.values()),
        size=sum(entry.size for entry in files.values()),
        unset=tuple(unset),
        findings=findings,
    )


def _kinds(unset: Unset) -> list[str]:
    if unset.missing is not None:
        return ["missing"]
    found = {"owner": unset.owner, "mode": unset.mode, "xattrs": unset.xattrs or None, "copies": unset.copy_of}
    return [kind for kind, value in found.items() if value is not None]


def _write_manifest(path: str, image: StoredImage, unset: Iterable[Unset]) -> None:
    document = {
        "version": 1,
        "image": str(image.descriptor.digest),
        "unset": [_to_json(each) for each in sorted(unset, key=lambda each: os.fsencode(each.path))],
    }
    # In ASCII: names that are not UTF-8 are lone surrogates, which JSON can say in no other way.
    data = json.dumps(document, indent=1, ensure_ascii=True).encode("ascii") + b"\n"
    path = os.path.abspath(path)
    with within("the manifest"):
        write_atomically(os.path.dirname(path), os.path.basename(path), data)


def _to_json(unset: Unset) -> dict[str, object]:
    record: dict[str, object] = {"path": f"/{unset.path}", "reason": unset.reason}
    if unset.owner is not None:
        record["owner"] = list(unset.owner)
    if unset.mode is not None:
        record["mode"] = f"{unset.mode:04o}"
    if unset.xattrs:
        pairs = unset.xattrs
        record["xattrs"] = {os.fsdecode(name): base64.b64encode(value).decode("ascii") for name, value in pairs}
    if unset.missing is not None:
        record["missing"] = unset.missing
    if unset.copy_of is not None:
        record["copy_of"] = f"/{unset.copy_of}"
    return record
