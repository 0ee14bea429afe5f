"""Encapsulated layers: an OSTree commit as tar members (ostree-rs-ext, ``container encapsulate``).

An image is layer 0, the *ostree layer* (repository skeleton, commit, all metadata objects, all directories), and then
chunk layers (skeleton, file objects, and a hard link for every path of an object). With no plan there is one layer:
layer 0 with all content behind it.

Two layouts, which share no chunk layer:

|                       | ostree-ext-0.15                       | bootc                                        |
|-----------------------|---------------------------------------|----------------------------------------------|
| xattrs of an object   | OBJ.file-xattrs-link, a hard link to  | OBJ.file-xattrs-link, a regular file; and a  |
|                       | XSUM.file-xattrs, once per layer      | PAX entry for all but security.selinux       |
| directory of /usr/etc | ``etc/``                              | ``etc``                                      |
| var/tmp               | always, even twice                    | unless the commit has it                     |
| parents in chunks     | never                                 | with format version 2                        |

Paths are those of a booted system: what the commit has in /usr/etc is written as /etc.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from ostrata.codecs import ostree, tar
from ostrata.errors import UnsupportedError, escape, some_of
from ostrata.model.ostree import CommitDirectory, CommitTree, FileHeader, FileObject
from ostrata.model.plan import PlannedObject
from ostrata.model.tar import TarMember
from ostrata.model.tree import Attributes

ReadMetadata = Callable[[str, str], bytes]
"""(kind, checksum) -> the bytes of a commit, dirtree or dirmeta object."""
OpenFile = Callable[[str], FileObject]
"""checksum -> the open file object, which checks itself while it is read."""

REPOSITORY = b"sysroot/ostree/repo/"
OBJECTS = REPOSITORY + b"objects/"
REPOSITORY_CONFIG = b"[core]\nrepo_version=1\nmode=bare-split-xattrs\n"
SELINUX = b"security.selinux"
BOOTC = "bootc"
OSTREE_EXT_0_15 = "ostree-ext-0.15"

_DEFAULT_DIRECTORY = Attributes(0o755)
_DEFAULT_FILE = Attributes(0o644)
_VAR_TMP = Attributes(0o1777)
_WRITTEN_BY_SKELETON = {"sysroot": None}
"""Of a commit's directories, the one that every layer's skeleton has: runtimes refuse a layer with a path twice."""
_SHOWN_NAMES = 5


@dataclass(frozen=True, slots=True)
class Layout:
    """Which bytes to write: `name` is BOOTC or OSTREE_EXT_0_15, `format_version` 1 or (bootc only) 2."""

    name: str = BOOTC
    format_version: int = 2

    def __post_init__(self) -> None:
        allowed = {BOOTC: (1, 2), OSTREE_EXT_0_15: (1,)}.get(self.name)
        if allowed is None:
            raise UnsupportedError(f"unknown layout '{escape(self.name)}'", hint=f"known: {BOOTC}, {OSTREE_EXT_0_15}")
        if self.format_version not in allowed:
            versions = " or ".join(map(str, allowed))
            raise UnsupportedError(f"the layout {self.name} has format version {versions}, not {self.format_version}")

    @property
    def splits_xattrs(self) -> bool:
        return self.name == OSTREE_EXT_0_15

    @property
    def writes_parents(self) -> bool:
        return self.format_version == 2


Parents = Mapping[str, Attributes]
"""Tar path of each directory -> its attributes, for layouts that write parents."""


# What a commit must be


def check_encapsulable(commit: CommitTree, layout: Layout) -> list[str]:
    """Refuse what no encapsulated image can hold; return warnings about the rest.

    Raises: UnsupportedError for names that begin with ``.wh.`` (whiteouts in OCI layers), for content below
    /sysroot/ostree, where the image keeps the repository, and for /etc beside /usr/etc.
    """
    directories = {directory.path for directory in commit.directories}
    paths = [*directories, *(path for path, _ in commit.files)]
    _refuse(
        [path for path in paths if ".wh." in path and "/.wh." in f"/{path}"],
        "begin with .wh., which means a deletion in an image layer",
        "rename or remove them and commit again",
    )
    below_sysroot = [path for path in paths if path.startswith("sysroot/")]
    _refuse(
        [path for path in below_sysroot if f"{path}/".startswith("sysroot/ostree/")],
        "lie below /sysroot/ostree, where the image keeps its OSTree repository",
        "leave /sysroot empty in the commit",
    )
    if {"etc", "usr/etc"} <= {path for path in paths if path.count("/") < 2}:
        raise UnsupportedError(
            "the commit has both /etc and /usr/etc, and an image has one place for them",
            hint="keep configuration in /usr/etc only",
        )
    warnings = []
    if below_sysroot:
        warnings.append(
            f"{len(below_sysroot)} paths lie below /sysroot, which should be empty: systems mount their disk there"
        )
    if layout.splits_xattrs and "var/tmp" in directories:
        warnings.append(f"layer 0 has /var/tmp twice, as the layout {layout.name} wants: podman and buildah refuse it")
    return warnings


def _refuse(paths: list[str], why: str, hint: str) -> None:
    if paths:
        shown = some_of([f"/{escape(path)}" for path in paths], _SHOWN_NAMES)
        raise UnsupportedError(f"{len(paths)} names {why}: {shown}", hint=hint)


# Paths


def tar_path(path: str) -> str:
    """The path of the commit's `path` in a running system: /usr/etc is /etc."""
    if path == "usr/etc" or path.startswith("usr/etc/"):
        return path[4:]
    return path


def parent_attributes(directories: Iterable[CommitDirectory]) -> dict[str, Attributes]:
    """Tar path -> attributes of every directory; /usr/etc wins over a /etc of the commit."""
    found: dict[str, Attributes] = {}
    for directory in directories:
        path = tar_path(directory.path)
        if path not in found or path != directory.path:
            found[path] = directory.attributes
    return found


def parents_of(objects: Iterable[PlannedObject], directories: Parents, layout: Layout) -> dict[str, Attributes]:
    """Of all `directories`, those that a layer with `objects` has to write: the ones above their paths, or none."""
    found = dict(_WRITTEN_BY_SKELETON)
    if layout.writes_parents:
        # Most files stand beside another one: one path of each directory is enough.
        beside = {path.rpartition("/")[0]: path for item in objects for path in item.paths}
        for path in beside.values():
            _add_parents(tar_path(path), found)
    return {path: directories[path] for path in found if path not in _WRITTEN_BY_SKELETON}


def _add_parents(path: str, found: dict[str, None]) -> list[str]:
    """The directories above `path` that `found` lacks, shallowest first; adds them to it."""
    parent = path.rpartition("/")[0]
    if parent in found:
        return []
    missing = []
    while parent and parent not in found:
        missing.append(parent)
        parent = parent.rpartition("/")[0]
    missing.reverse()
    found.update(dict.fromkeys(missing))
    return missing


def object_path(kind: str, checksum: str) -> bytes:
    """Where an object lies in the image."""
    return f"sysroot/ostree/repo/objects/{checksum[:2]}/{checksum[2:]}.{kind}".encode("ascii")


# Entries


def _directory(path: bytes, attributes: Attributes) -> bytes:
    long_name, name = tar.name_fields(path)
    head = tar.header(name, attributes.mode, attributes.uid, attributes.gid, 0, tar.DIRECTORY)
    return long_name + head


def _file(path: bytes, data: bytes) -> bytes:
    long_name, name = tar.name_fields(path)
    head = tar.header(name, _DEFAULT_FILE.mode, 0, 0, len(data), tar.REGULAR)
    return b"".join((long_name, head, data, tar.padding(len(data))))


@lru_cache(maxsize=1)
def skeleton() -> bytes:
    """An empty repository: the entries every layer begins with."""
    names = [b"sysroot", b"sysroot/ostree", b"sysroot/ostree/repo", OBJECTS[:-1]]
    names += [OBJECTS + b"%02x" % number for number in range(256)]
    names += [
        REPOSITORY + name
        for name in (
            b"extensions",
            b"refs",
            b"refs/heads",
            b"refs/mirrors",
            b"refs/remotes",
            b"state",
            b"tmp",
        )
    ]
    names.append(REPOSITORY + b"tmp/cache")
    entries = [_directory(name, _DEFAULT_DIRECTORY) for name in names]
    return b"".join(entries) + _file(REPOSITORY + b"config", REPOSITORY_CONFIG)


# Layer 0


def ostree_layer(
    commit: CommitTree, detached: bytes | None, read_metadata: ReadMetadata, layout: Layout
) -> Iterator[TarMember]:
    """The members of layer 0, without the trailer.

    `detached` is the commit's detached metadata. Raises: what `read_metadata` raises.
    """
    root = commit.directories[0]
    yield TarMember(_directory(b"./", root.attributes))
    yield TarMember(skeleton())
    yield TarMember(_file(object_path("commit", commit.checksum), read_metadata("commit", commit.checksum)))
    if detached is not None:
        yield TarMember(_file(object_path("commitmeta", commit.checksum), detached))
    metadata = _MetadataObjects(read_metadata)
    yield from metadata.write("dirmeta", root.dirmeta)
    yield from metadata.write("dirtree", root.dirtree)
    yield from _directories(commit, metadata, layout)
    has_var_tmp = any(directory.path == "var/tmp" for directory in commit.directories)
    if layout.splits_xattrs or not has_var_tmp:
        yield TarMember(_directory(b"var/tmp", _VAR_TMP))


class _MetadataObjects:
    """Writes each dirtree and dirmeta object once."""

    def __init__(self, read_metadata: ReadMetadata) -> None:
        self._read = read_metadata
        self._written: set[tuple[str, str]] = set()

    def write(self, kind: str, checksum: str) -> Iterator[TarMember]:
        if (kind, checksum) not in self._written:
            self._written.add((kind, checksum))
            yield TarMember(_file(object_path(kind, checksum), self._read(kind, checksum)))


def _directories(commit: CommitTree, metadata: _MetadataObjects, layout: Layout) -> Iterator[TarMember]:
    """Every directory below the root: its dirmeta object, its entry, its dirtree object.

    /sysroot and all below it have no entries: they are the skeleton's. Upstream leaves out their objects too, and
    then the imported repository lacks them; here they follow at the end, where nothing else has brought them.
    """
    left_out = []
    for directory in commit.directories[1:]:
        if directory.path == "sysroot":
            yield from metadata.write("dirmeta", directory.dirmeta)
        if directory.path == "sysroot" or directory.path.startswith("sysroot/"):
            left_out.append(directory)
            continue
        yield from metadata.write("dirmeta", directory.dirmeta)
        yield TarMember(_directory(_directory_path(directory.path, layout), directory.attributes))
        yield from metadata.write("dirtree", directory.dirtree)
    for directory in left_out:
        yield from metadata.write("dirmeta", directory.dirmeta)
        yield from metadata.write("dirtree", directory.dirtree)


def _directory_path(path: str, layout: Layout) -> bytes:
    slash = "/" if path == "usr/etc" and layout.splits_xattrs else ""
    return f"./{tar_path(path)}{slash}".encode()


# Content


def chunk_layer(
    objects: Iterable[PlannedObject], parents: Parents, open_file: OpenFile, layout: Layout
) -> Iterator[TarMember]:
    """The members of a chunk layer, without the trailer. Raises: what `open_file` raises."""
    yield TarMember(skeleton())
    yield from content(objects, parents, open_file, layout)


def content(
    objects: Iterable[PlannedObject], parents: Parents, open_file: OpenFile, layout: Layout
) -> Iterator[TarMember]:
    """The file objects, each with its xattrs before it and its paths behind it.

    One member for each object: the entries of its paths come with the head of the next.
    """
    xattrs_written: set[str] = set()
    parents_written = dict(_WRITTEN_BY_SKELETON)
    wanted_parents = parents if layout.writes_parents else {}
    paths = b""
    for item in objects:
        file = open_file(item.checksum)
        if layout.splits_xattrs:
            xattrs = _split_xattrs(item.checksum, file.header, xattrs_written)
        else:
            xattrs = _xattrs_file(item.checksum, file.header)
        stored = _StoredObject(item.checksum, file)
        yield TarMember(b"".join((paths, xattrs, stored.entry)), file.content, file.size)
        paths = _path_entries(item, stored, wanted_parents, parents_written)
    yield TarMember(paths)


def _split_xattrs(checksum: str, header: FileHeader, written: set[str]) -> bytes:
    data = ostree.encode_xattrs(header.attributes.xattrs)
    xattrs_checksum = hashlib.sha256(data).hexdigest()
    target = object_path("file-xattrs", xattrs_checksum)
    first = b"" if xattrs_checksum in written else _file(target, data)
    written.add(xattrs_checksum)
    long_name, name = tar.name_fields(object_path("file-xattrs-link", checksum))
    long_link, link = tar.link_fields(target)
    head = tar.header(name, _DEFAULT_FILE.mode, 0, 0, 0, tar.HARD_LINK, link)
    return b"".join((first, long_name, long_link, head))


def _xattrs_file(checksum: str, header: FileHeader) -> bytes:
    xattrs = header.attributes.xattrs
    entry = _file(object_path("file-xattrs-link", checksum), ostree.encode_xattrs(xattrs))
    # SELinux labels stay out: container runtimes set their own.
    visible = [(b"SCHILY.xattr." + name, value) for name, value in xattrs if name != SELINUX]
    return entry + tar.pax_entry(visible) if visible else entry


class _StoredObject:
    """An object's own entry, and the fields that the entries of its paths inherit."""

    __slots__ = ("attributes", "entry", "is_empty", "link", "name", "path")

    def __init__(self, checksum: str, file: FileObject) -> None:
        attributes = file.header.attributes
        kind, long_link, link = tar.REGULAR, b"", tar.EMPTY_FIELD
        if file.header.target is not None:
            kind = tar.SYMLINK
            long_link, link = tar.link_fields(file.header.target.encode("utf-8"))
        path = object_path("file", checksum)
        name = path.ljust(tar.FIELD, b"\0")
        self.path, self.name, self.link, self.attributes = path, name, link, attributes
        self.is_empty = kind is tar.REGULAR and file.size == 0
        self.entry = long_link + tar.header(
            name, attributes.mode, attributes.uid, attributes.gid, file.size, kind, link
        )


def _path_entries(
    item: PlannedObject, stored: _StoredObject, parents: Parents, parents_written: dict[str, None]
) -> bytes:
    """A hard link to the object for each path; an empty file is written again instead.

    Empty files are often changed in place by container builds, which must not change the object.
    """
    if stored.is_empty:
        kind, link = tar.REGULAR, tar.EMPTY_FIELD
    else:
        kind, link = tar.HARD_LINK, tar.fill(stored.link, stored.path)[0]
    mode, uid, gid = stored.attributes.mode, stored.attributes.uid, stored.attributes.gid
    entries = []
    for commit_path in item.paths:
        path = tar_path(commit_path)
        if parents:
            missing = _add_parents(path, parents_written)
            entries += [_directory(parent.encode("utf-8"), parents[parent]) for parent in missing]
        long_name, name = tar.name_fields(path.encode("utf-8"), stored.name)
        entries += (long_name, tar.header(name, mode, uid, gid, 0, kind, link))
    return b"".join(entries)


# Recipes


def recipe(objects: Iterable[PlannedObject], parents: Parents, layout: Layout, *more: str) -> str:
    """The checksum of everything that decides a chunk layer's tar; of `more` too (media type, compression).

    `parents` are what `parents_of` gives for the objects. Equal recipes mean equal bytes, so a layer whose recipe is
    known need not be read again.
    """
    fields = ["ostrata layer recipe 1", layout.name, str(layout.format_version), *more, "\n"]
    for item in objects:
        fields += (item.checksum, *item.paths, "\n")
    for path, attributes in sorted(parents.items()):
        fields += ("parent", path, str(attributes.uid), str(attributes.gid), str(attributes.mode), "\n")
    # Paths have no NUL, so the fields cannot run into each other.
    return hashlib.sha256("\0".join([*fields, ""]).encode("utf-8")).hexdigest()


def ostree_layer_recipe(commit: CommitTree, detached: bytes | None, layout: Layout, *more: str) -> str:
    """The same for layer 0 without content: the commit and its detached metadata decide."""
    hasher = hashlib.sha256(hashlib.sha256(detached or b"").digest())
    for field in (
        "ostrata ostree layer recipe 1",
        layout.name,
        str(layout.format_version),
        commit.checksum,
        *more,
    ):
        hasher.update(field.encode("utf-8") + b"\0")
    return hasher.hexdigest()
