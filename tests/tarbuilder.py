"""Encapsulated layers stated a second time: from the description of the format, slowly, and for tests only.

Nothing here uses the library's encoders. A header is a buffer of 512 bytes that is filled field by field, as
the program whose bytes count does it; objects are encoded by hand for the few shapes that are needed.
`entry` and its neighbours also make the malformed archives of other tests.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

BOOTC, OSTREE_EXT = "bootc", "ostree-ext-0.15"
END = bytes(1024)
CONFIG = b"[core]\nrepo_version=1\nmode=bare-split-xattrs\n"
REPO = "sysroot/ostree/repo"

Xattrs = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Node:
    """`kind` is 'directory', 'file' or 'symlink'; `data` a file's content or a symlink's target."""

    kind: str
    mode: int
    uid: int = 0
    gid: int = 0
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    data: bytes = b""


Tree = Mapping[str, Node]
"""Path -> node; the root is ''. Every directory is named."""


# OSTree objects


def framed(body: bytes, ends: Sequence[int]) -> bytes:
    """A GVariant container: the body and its framing offsets."""
    for width in (1, 2, 4, 8):
        if len(body) + width * len(ends) < 256**width:
            return body + b"".join(end.to_bytes(width, "little") for end in ends)
    raise ValueError("too large")


def array(elements: Iterable[bytes]) -> bytes:
    body, ends = b"", []
    for element in elements:
        body += element
        ends.append(len(body))
    return framed(body, ends) if ends else b""


def xattrs_bytes(xattrs: Xattrs) -> bytes:
    return array(framed(name + b"\0" + value, [len(name) + 1]) for name, value in sorted(xattrs))


def checksum_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def file_checksum(node: Node) -> str:
    kind, target = (0o100000, b"") if node.kind == "file" else (0o120000, node.data)
    head = struct.pack(">IIII", node.uid, node.gid, kind | node.mode, 0) + target + b"\0"
    variant = framed(head + xattrs_bytes(node.xattrs), [len(head)])
    content = node.data if node.kind == "file" else b""
    return checksum_of(struct.pack(">II", len(variant), 0) + variant + content)


def dirmeta_bytes(node: Node) -> bytes:
    return struct.pack(">III", node.uid, node.gid, 0o040000 | node.mode) + xattrs_bytes(node.xattrs)


def children(tree: Tree, directory: str) -> list[str]:
    """The names in a directory, as bytes sort them."""
    prefix = directory + "/" if directory else ""
    names = {path[len(prefix) :] for path in tree if path != directory and path.startswith(prefix)}
    return sorted((name for name in names if "/" not in name), key=str.encode)


def split(tree: Tree, directory: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(name, path) of a directory's files and of its sub-directories."""
    pairs = [(name, f"{directory}/{name}" if directory else name) for name in children(tree, directory)]
    files = [pair for pair in pairs if tree[pair[1]].kind != "directory"]
    return files, [pair for pair in pairs if tree[pair[1]].kind == "directory"]


def dirtree_bytes(tree: Tree, directory: str) -> bytes:
    files, directories = split(tree, directory)
    packed_files = array(
        framed(name.encode() + b"\0" + bytes.fromhex(file_checksum(tree[path])), [len(name.encode()) + 1])
        for name, path in files
    )
    packed_directories = array(
        framed(
            name.encode()
            + b"\0"
            + hashlib.sha256(dirtree_bytes(tree, path)).digest()
            + hashlib.sha256(dirmeta_bytes(tree[path])).digest(),
            [len(name.encode()) + 33, len(name.encode()) + 1],
        )
        for name, path in directories
    )
    return framed(packed_files + packed_directories, [len(packed_files)])


def commit_bytes(tree: Tree, subject: str = "a subject", timestamp: int = 1_700_000_000) -> bytes:
    """A commit without metadata and parent."""
    body = subject.encode() + b"\0"
    subject_end = len(body)
    body += b"\0"
    body_end = len(body)
    body += bytes(-len(body) % 8) + struct.pack(">Q", timestamp)
    body += hashlib.sha256(dirtree_bytes(tree, "")).digest()
    dirtree_end = len(body)
    body += hashlib.sha256(dirmeta_bytes(tree[""])).digest()
    return framed(body, [dirtree_end, body_end, subject_end, 0, 0, 0])


def walk(tree: Tree, directory: str = "") -> list[str]:
    """The files in the order of a commit's walk: a directory's files, then each sub-directory."""
    files, directories = split(tree, directory)
    found = [path for _, path in files]
    for _, path in directories:
        found += walk(tree, path)
    return found


# Tar headers


class DoesNotFitError(Exception):
    pass


class Header:
    """A header buffer; what a field held before shows behind what is written into it."""

    def __init__(self) -> None:
        self.buffer = bytearray(512)
        self.buffer[257:265] = b"ustar  \0"
        self.number(136, 12, 0)

    def copy(self) -> Header:
        other = Header()
        other.buffer[:] = self.buffer
        return other

    def number(self, start: int, width: int, value: int) -> None:
        if value < 8 ** (width - 1):
            self.buffer[start : start + width] = b"%0*o\0" % (width - 1, value)
        else:
            self.buffer[start : start + width] = b"\x80" + value.to_bytes(width - 1, "big")

    def attributes(self, mode: int, uid: int, gid: int, size: int, kind: bytes) -> Header:
        self.number(100, 8, mode & 0o7777)
        self.number(108, 8, uid)
        self.number(116, 8, gid)
        self.number(124, 12, size)
        self.buffer[156:157] = kind
        return self

    def put(self, start: int, pieces: Iterable[bytes]) -> None:
        """Write the pieces into the field of 100 bytes at `start`, each with a NUL behind it where there is
        room."""
        at = 0
        for piece in pieces:
            if at + len(piece) > 100:
                raise DoesNotFitError
            self.buffer[start + at : start + at + len(piece)] = piece
            at += len(piece)
            if at < 100:
                self.buffer[start + at] = 0

    def finished(self) -> bytes:
        self.buffer[148:156] = b" " * 8
        self.buffer[148:156] = b"%07o\0" % sum(self.buffer)
        return bytes(self.buffer)


def components(path: bytes) -> list[bytes]:
    """Rust's path components: ``.`` stays only in front."""
    parts = path.split(b"/")
    kept = [part for place, part in enumerate(parts) if part and (part != b"." or place == 0)]
    return ([b"/"] if path.startswith(b"/") else []) + kept


def joined(parts: Sequence[bytes], ends_in_slash: bool) -> list[bytes]:
    pieces: list[bytes] = []
    for part in parts:
        if pieces and pieces != [b"/"]:
            pieces.append(b"/")
        pieces.append(part)
    return [*pieces, b"/"] if ends_in_slash else pieces


def path_pieces(path: bytes, *, is_cut: bool = False) -> list[bytes]:
    """A name's pieces; a cut one may end in ``..``, which was longer (tar-rs 0.4.46 writes it, 0.4.43 refuses)."""
    parts = components(path)
    assert b".." not in (parts[:-1] if is_cut else parts) and b"/" not in parts
    if len(parts) > 1 and parts[0] == b".":
        parts = parts[1:]
    return joined(parts, path.endswith(b"/"))


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def long_entry(kind: bytes, value: bytes) -> bytes:
    head = Header().attributes(0o644, 0, 0, len(value) + 1, kind)
    head.put(0, [b"././@LongLink"])
    return head.finished() + padded(value + b"\0")


def set_path(head: Header, path: bytes) -> bytes:
    """Write the name field; returns the `L` entry that must come before the header, if any."""
    try:
        head.put(0, path_pieces(path))
    except DoesNotFitError:
        cut = path[:100]
        while True:
            try:
                cut.decode()
                break
            except UnicodeDecodeError:
                cut = cut[:-1]
        head.put(0, path_pieces(cut, is_cut=True))
        return long_entry(b"L", path)
    return b""


def set_target(head: Header, target: bytes) -> bytes:
    """Write a symlink's target; returns the `K` entry that must come before the header, if any."""
    normal = b"".join(joined(components(target), target.endswith(b"/")))
    damaged = normal != target
    if len(target) <= 100:
        # Damaged targets and those with // are stored as they are.
        head.put(157, [target] if damaged or b"//" in target else joined(components(target), target.endswith(b"/")))
        return b""
    if damaged and (b"//" in target or len(normal) <= 100):
        head.put(157, [target[:100]])  # upstream refuses or damages these: this choice is ours
        return long_entry(b"K", target)
    with suppress(DoesNotFitError):
        head.put(157, joined(components(target), target.endswith(b"/")))
    return long_entry(b"K", target)


def directory_entry(path: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> bytes:
    head = Header().attributes(mode, uid, gid, 0, b"5")
    return set_path(head, path.encode()) + head.finished()


def file_entry(path: str, data: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> bytes:
    head = Header().attributes(mode, uid, gid, len(data), b"0")
    return set_path(head, path.encode()) + head.finished() + padded(data)


def link_entry(path: str, target: str, mode: int = 0o644, uid: int = 0, gid: int = 0) -> bytes:
    head = Header().attributes(mode, uid, gid, 0, b"1")
    long_name = set_path(head, path.encode())
    return long_name + set_target(head, target.encode()) + head.finished()


def symlink_entry(path: str, target: bytes, mode: int = 0o777, uid: int = 0, gid: int = 0) -> bytes:
    head = Header().attributes(mode, uid, gid, 0, b"2")
    long_name = set_path(head, path.encode())
    return long_name + set_target(head, target) + head.finished()


def pax_entry(records: Sequence[tuple[bytes, bytes]], kind: bytes = b"x") -> bytes:
    return raw_pax_entry(b"".join(pax_record(key, value) for key, value in records), kind)


def pax_record(key: bytes, value: bytes) -> bytes:
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while len(b"%d" % length + rest) != length:
        length += 1
    return b"%d" % length + rest


def raw_pax_entry(data: bytes, kind: bytes = b"x") -> bytes:
    head = Header()
    head.number(124, 12, len(data))
    head.buffer[156:157] = kind
    head.buffer[257:265] = b"ustar\x0000"
    return head.finished() + padded(data)


# Layers


def object_path(kind: str, checksum: str) -> str:
    return f"{REPO}/objects/{checksum[:2]}/{checksum[2:]}.{kind}"


@cache
def skeleton() -> bytes:
    entries = [directory_entry(path) for path in ("sysroot", "sysroot/ostree", REPO, f"{REPO}/objects")]
    entries += [directory_entry(f"{REPO}/objects/{number:02x}") for number in range(256)]
    names = "extensions", "refs", "refs/heads", "refs/mirrors", "refs/remotes", "state", "tmp", "tmp/cache"
    entries += [directory_entry(f"{REPO}/{name}") for name in names]
    return b"".join(entries) + file_entry(f"{REPO}/config", CONFIG)


def mapped(path: str) -> str:
    for etc in ("usr/etc", "./usr/etc"):
        if path == etc or path.startswith(etc + "/"):
            return path.replace("usr/etc", "etc", 1)
    return path


def object_entry(checksum: str, node: Node) -> tuple[bytes, Header]:
    """An object's own entry, and its header to be cloned for the entries of its paths."""
    is_file = node.kind == "file"
    head = Header().attributes(
        node.mode, node.uid, node.gid, len(node.data) if is_file else 0, b"0" if is_file else b"2"
    )
    assert set_path(head, object_path("file", checksum).encode()) == b""
    long_target = b"" if is_file else set_target(head, node.data)
    return long_target + head.finished() + (padded(node.data) if is_file else b""), head


def path_entry(path: str, checksum: str, node: Node, head: Header) -> bytes:
    head = head.copy()
    if node.kind == "file" and not node.data:
        head.attributes(node.mode, node.uid, node.gid, 0, b"0")
    else:
        head.attributes(node.mode, node.uid, node.gid, 0, b"1")
        head.put(157, path_pieces(object_path("file", checksum).encode()))
    return set_path(head, mapped(path).encode()) + head.finished()


def xattrs_entries(checksum: str, node: Node, layout: str, written: set[str]) -> bytes:
    data = xattrs_bytes(node.xattrs)
    link = object_path("file-xattrs-link", checksum)
    if layout == OSTREE_EXT:
        name = checksum_of(data)
        first = b"" if name in written else file_entry(object_path("file-xattrs", name), data)
        written.add(name)
        return first + link_entry(link, object_path("file-xattrs", name))
    visible = [pair for pair in sorted(node.xattrs) if pair[0] != b"security.selinux"]
    records = [(b"SCHILY.xattr." + name, value) for name, value in visible]
    return file_entry(link, data) + (pax_entry(records) if records else b"")


def attributes_by_path(tree: Tree) -> dict[str, Node]:
    """Tar path -> directory; usr/etc is what /etc is."""
    found = {path: node for path, node in tree.items() if node.kind == "directory"}
    return found | {mapped(path): node for path, node in found.items() if mapped(path) != path}


def content_entries(tree: Tree, checksums: Iterable[str], layout: str, version: int, with_parents: bool) -> bytes:
    places: dict[str, list[str]] = {}
    for path in walk(tree):
        places.setdefault(file_checksum(tree[path]), []).append(path)
    directories = attributes_by_path(tree)
    xattrs_written: set[str] = set()
    parents_written = {"sysroot"}  # the skeleton's: our one difference, since runtimes refuse a path twice
    out = b""
    for checksum in sorted(checksums):
        node = tree[places[checksum][0]]
        out += xattrs_entries(checksum, node, layout, xattrs_written)
        entry, head = object_entry(checksum, node)
        out += entry
        for path in places[checksum]:
            parts = mapped(path).split("/")
            for count in range(1, len(parts) if version == 2 and with_parents else 0):
                parent = "/".join(parts[:count])
                if parent not in parents_written:
                    parents_written.add(parent)
                    above = directories[parent]
                    out += directory_entry(parent, above.mode, above.uid, above.gid)
            out += path_entry(path, checksum, node, head)
    return out


def chunk_layer(tree: Tree, checksums: Iterable[str], layout: str = BOOTC, version: int = 2) -> bytes:
    """A whole chunk layer, with the file objects `checksums` and all their paths."""
    return skeleton() + content_entries(tree, checksums, layout, version, True) + END


def ostree_layer(
    tree: Tree,
    commit: bytes,
    detached: bytes | None = None,
    layout: str = BOOTC,
    *,
    with_content: bool = False,
) -> bytes:
    """A whole layer 0; `with_content` makes it the single layer of an image."""
    root = tree[""]
    out = directory_entry("./", root.mode, root.uid, root.gid) + skeleton()
    out += file_entry(object_path("commit", checksum_of(commit)), commit)
    if detached is not None:
        out += file_entry(object_path("commitmeta", checksum_of(commit)), detached)
    written: set[str] = set()

    def metadata(kind: str, data: bytes) -> bytes:
        name = object_path(kind, checksum_of(data))
        if name in written:
            return b""
        written.add(name)
        return file_entry(name, data)

    def recursion(directory: str) -> bytes:
        entries = metadata("dirtree", dirtree_bytes(tree, directory))
        for _, path in split(tree, directory)[1]:
            node = tree[path]
            entries += metadata("dirmeta", dirmeta_bytes(node))
            if path == "sysroot":
                continue
            slash = "/" if path == "usr/etc" and layout == OSTREE_EXT else ""
            entries += directory_entry(mapped("./" + path) + slash, node.mode, node.uid, node.gid)
            entries += recursion(path)
        return entries

    out += metadata("dirmeta", dirmeta_bytes(root)) + recursion("")
    if layout == OSTREE_EXT or tree.get("var/tmp", Node("file", 0)).kind != "directory":
        out += directory_entry("var/tmp", 0o1777)
    if with_content:
        checksums = {file_checksum(tree[path]) for path in walk(tree)}
        out += content_entries(tree, checksums, layout, 1, False)
    return out + END


def encapsulated_layers(
    tree: Tree,
    commit: bytes,
    chunks: Sequence[Iterable[str]] | None,
    *,
    layout: str = BOOTC,
    version: int = 2,
    detached: bytes | None = None,
) -> list[bytes]:
    """The tars of an image: layer 0 and one layer for each of `chunks` (file checksums); None: one single
    layer."""
    if chunks is None:
        return [ostree_layer(tree, commit, detached, layout, with_content=True)]
    first = ostree_layer(tree, commit, detached, layout)
    return [first, *(chunk_layer(tree, checksums, layout, version) for checksums in chunks)]
