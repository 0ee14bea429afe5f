"""Derived images for tests: the hand-made encapsulated image of a tree, and plain layers on top of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import tarbuilder
from ostrata.model.image import StoredImage
from ostrata.model.tree import Attributes, Directory, Entry, RegularFile, Symlink
from ostrata.protocols import BlobStore
from ostrata.sources.ostree_commit import read_tree
from ostrata.stores.ostree_repository import open_repository
from plain_images import Change, write_image
from tarbuilder import Node, Tree, checksum_of, commit_bytes, file_checksum

DIRECTORY = Node("directory", 0o755)
LABELLED = ((b"security.selinux", b"system_u:object_r:old_t:s0\0"),)
BASE: dict[str, Node] = {
    "": DIRECTORY,
    "dev": DIRECTORY,
    "ostree": Node("symlink", 0o777, data=b"sysroot/ostree"),
    "run": DIRECTORY,
    "run/kept": Node("file", 0o644, data=b"kept"),
    "tmp": Node("directory", 0o1777),
    "usr": DIRECTORY,
    "usr/bin": Node("directory", 0o751, 3, 4, ((b"user.of-the-directory", b"1"),)),
    "usr/bin/ping": Node("file", 0o755, 0, 5, ((b"security.capability", b"\1\0\0\2" + bytes(16)),), b"ping"),
    "usr/bin/sh": Node("file", 0o4755, data=b"#!shell\n" * 100),
    "usr/etc": DIRECTORY,
    "usr/etc/passwd": Node("file", 0o644, data=b"root:x:0:0\n"),
    "usr/etc/sub": Node("directory", 0o700, xattrs=LABELLED),
    "usr/etc/sub/deep ž\n": Node("file", 0o600, xattrs=LABELLED, data=b"deep"),
    "usr/share": DIRECTORY,
    "usr/share/doc": DIRECTORY,
    "usr/share/doc/a": Node("file", 0o644, data=b"a"),
    "usr/share/doc/b": Node("file", 0o644, data=b"b"),
    "usr/share/doc/link": Node("symlink", 0o777, data=b"a"),
}
BASE_COMMIT = checksum_of(commit_bytes(BASE))


def derived_image(
    path: Path, *layers: Iterable[Change] | bytes, base: Tree = BASE, compresses: bool = True, **options: str | None
) -> tuple[BlobStore, StoredImage]:
    """A layout with the encapsulated image of `base` (two layers and more on top of them)."""
    checksums = sorted({file_checksum(node) for node in base.values() if node.kind != "directory"})
    own = tarbuilder.encapsulated_layers(base, commit_bytes(base), [checksums])
    labels = {"ostree.final-diffid": f"sha256:{checksum_of(own[-1])}"}
    all_layers: Sequence[Iterable[Change] | bytes] = [*own, *layers]
    return write_image(path, all_layers, compresses=compresses, labels=labels, **options)


def object_name(path: str, base: Tree = BASE) -> str:
    """Where a container sees the file object of a path of the base."""
    checksum = file_checksum(base[path])
    return f"sysroot/ostree/repo/objects/{checksum[:2]}/{checksum[2:]}.file"


def entries_of(repo: Path | str, revision: str) -> dict[str, Entry]:
    """All entries of a commit."""
    return dict(read_tree(open_repository(str(repo)), revision)[1])


def content_of(repo: Path | str, revision: str, path: str) -> bytes:
    """The content of a file of a commit."""
    entry = entries_of(repo, revision)[path]
    assert isinstance(entry, RegularFile)
    return b"".join(open_repository(str(repo)).open_file(entry.content).content)


def shown(entry: Entry) -> tuple[str, int, int, int]:
    """Kind, mode and owner, without extended attributes."""
    kind = {Directory: "directory", RegularFile: "file", Symlink: "symlink"}[type(entry)]
    attributes: Attributes = entry.attributes
    return kind, attributes.mode, attributes.uid, attributes.gid
