"""Plain layers: a tree as ordinary OCI layers (image-spec, layer.md), which any tool takes.

    the tree's paths, and which layer each content belongs to -> layers -> tar members

* A layer holds its paths and all directories that lead to them, the root (``./``) included. A directory has the same
  bytes wherever it is repeated: one layer alone, unpacked beside the others, must not change it.
* The first layer also holds what no planned layer does: directories without files, devices, FIFOs, and whiteouts.
* Order: a directory, what else is in it by name as bytes, then its sub-directories, each with all that is in it.
* Names of one file are in one layer. The first in that order is the file, the others are hard links to it. Runtimes
  unpack to file systems with a limit of names per file (ext4: 65,000): beyond that the file is written once more.
* Extended attributes are the PAX records ``SCHILY.xattr.NAME``, values as they are. SELinux labels stay out: runtimes
  set their own. A file with holes is written with zeros in their place.
* Times are whole seconds. Those of directories are 0, since they tell when something was installed there, and a
  layer would change with its neighbours.

Layers do not depend on the order in which the tree is given, and hold neither the day nor any name of a user.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ostrata.codecs import tar_posix
from ostrata.codecs.tar_posix import PosixEntry
from ostrata.errors import UnsupportedError, escape, some_of
from ostrata.model.tar import TarMember
from ostrata.model.tree import Attributes, Directory, Entry, RegularFile, SpecialFile, Symlink

Item = Entry | SpecialFile
"""Everything that can have a path."""
OpenFile = Callable[[RegularFile], Iterable[bytes]]
"""A file -> its content, of exactly its size."""

FIRST = "directories"
"""The id of the first layer."""
MAX_LINKS = 65_000
"""The most names of one file: ext4's limit, the lowest of the common file systems."""
SELINUX = b"security.selinux"

_XATTR = b"SCHILY.xattr."
_WHITEOUT = ".wh."
_WHITEOUT_FILE = RegularFile(Attributes(0o644, mtime=0), 0, "")
_SHOWN = 5
_SPECIAL_KINDS = {
    "FIFO": tar_posix.FIFO,
    "character device": tar_posix.CHARACTER_DEVICE,
    "block device": tar_posix.BLOCK_DEVICE,
}


@dataclass(frozen=True, slots=True)
class Member:
    """An entry of a layer. `link` is the path of which this one is another name, earlier in the layer."""

    path: str
    item: Item
    link: str | None = None


@dataclass(frozen=True, slots=True)
class PlainLayer:
    """A layer to be: `name` is what people read, `members` its entries in order. `copies` counts files that are written
    again since they have too many names."""

    id: str
    name: str
    members: tuple[Member, ...]
    copies: int = 0


# What a tree must be


def check_writable(items: Mapping[str, Item]) -> None:
    """Refuse what no layer can hold.

    Raises: UnsupportedError for names that begin with ``.wh.`` (whiteouts), and for sockets.
    """
    _refuse(
        [path for path in items if _WHITEOUT in path and f"/{_WHITEOUT}" in f"/{path}"],
        "begin with .wh., which means a deletion in an image layer",
    )
    unknown = [
        path for path, item in items.items() if isinstance(item, SpecialFile) and item.kind not in _SPECIAL_KINDS
    ]
    _refuse(unknown, "are sockets or of an unknown kind, which no tar can hold")


def _refuse(paths: list[str], why: str) -> None:
    if paths:
        shown = some_of([f"/{escape(path)}" for path in paths], _SHOWN)
        raise UnsupportedError(f"{len(paths)} names {why}: {shown}", hint="leave them out with --exclude")


# Times


def clamp_times(
    items: Mapping[str, Item], limits: Mapping[str, int], otherwise: int | None
) -> tuple[dict[str, Item], int]:
    """The items with the times that layers have, and how many of them were younger than they may be.

    `limits`: content -> the time than which it is not younger; `otherwise` is that of all others, None for no limit.
    """
    clamped: dict[str, Item] = {}
    known: dict[tuple[int, int], Item] = {}
    count = 0
    for path, item in items.items():
        before = item.attributes.mtime or 0
        time = 0
        if not isinstance(item, Directory):
            limit = otherwise if isinstance(item, SpecialFile) else limits.get(item.content, otherwise)
            time = before if limit is None else min(before, limit)
            count += time < before
        if time == item.attributes.mtime:
            clamped[path] = item
        else:  # names of one device stay one value
            clamped[path] = known.setdefault((id(item), time), _at(item, time))
    return clamped, count


def _at(item: Item, time: int) -> Item:
    return replace(item, attributes=replace(item.attributes, mtime=time))


# Layers


def lay_out(
    items: Mapping[str, Item],
    planned: Sequence[tuple[str, str]],
    layer_of: Mapping[str, str],
    *,
    written: Collection[str] | None = None,
    whiteouts: Iterable[str] = (),
    links_empty: bool = True,
) -> list[PlainLayer]:
    """The layers of the tree `items`: the first one, and those `planned`, (id, name), that hold anything.

    `layer_of`: content -> id. Of all paths only those `written` are put into layers; `whiteouts` are paths to hide.
    Without `links_empty` each name of an empty file is a file: a source that joins equal files tells nothing by it.
    """
    paths: dict[str, list[str]] = {FIRST: [], **{identifier: [] for identifier, _ in planned}}
    directories = []
    for path, item in items.items():
        if written is not None and path not in written:
            continue
        if isinstance(item, Directory):
            directories.append(path)
        else:
            content = "" if isinstance(item, SpecialFile) else item.content
            paths[layer_of.get(content, FIRST)].append(path)
    reached = {identifier: _with_parents(inside) for identifier, inside in paths.items()}
    everywhere = set().union(*reached.values())
    hidden = [_whiteout_path(path) for path in whiteouts]
    reached[FIRST] |= _with_parents([*hidden, *(path for path in directories if path not in everywhere)]) | {""}
    everything = {**items, **dict.fromkeys(hidden, _WHITEOUT_FILE)}
    return [
        _layer(identifier, name, [(path, everything[path]) for path in reached[identifier]], links_empty)
        for identifier, name in ((FIRST, ""), *planned)
        if reached[identifier]
    ]


def _whiteout_path(path: str) -> str:
    parent, slash, name = path.rpartition("/")
    return f"{parent}{slash}{_WHITEOUT}{name}"


def _with_parents(paths: Iterable[str]) -> set[str]:
    """The paths and all directories that lead to them."""
    found: set[str] = set()
    for path in paths:
        found.add(path)
        parent = path
        while parent and (parent := parent.rpartition("/")[0]) not in found:
            found.add(parent)
    return found


def _layer(identifier: str, name: str, items: list[tuple[str, Item]], links_empty: bool) -> PlainLayer:
    members = []
    first: dict[str | int, tuple[str, int]] = {}
    copies = 0
    for path, item in sorted(items, key=_walk_order):
        key = _link_key(path, item, links_empty)
        target, names = first.get(key, (path, 0))
        if names == MAX_LINKS:
            target, names = path, 0
            copies += 1
        first[key] = target, names + 1
        members.append(Member(path, item, target if names else None))
    return PlainLayer(identifier, name, tuple(members), copies)


def _link_key(path: str, item: Item, links_empty: bool) -> str | int:
    """Equal for names of one file."""
    if isinstance(item, SpecialFile):
        return id(item)
    if isinstance(item, Directory) or item is _WHITEOUT_FILE:
        return f"/{path}"
    if isinstance(item, RegularFile) and not item.size and not links_empty:
        return f"/{path}"
    return item.content


def _walk_order(pair: tuple[str, Item]) -> bytes:
    path, item = pair
    if not path:
        return b""
    parent, slash, name = _as_bytes(path).rpartition(b"/")
    above = b"\1%b\0" % parent.replace(b"/", b"\0\1") if slash else b""
    return b"%b%b%b\0" % (above, b"\1" if isinstance(item, Directory) else b"\0", name)


def _as_bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def has_selinux_label(item: Item) -> bool:
    """Does it have a label, which no layer shows?"""
    return any(name == SELINUX for name, _ in item.attributes.xattrs)


# Tar members


def members(layer: PlainLayer, open_file: OpenFile) -> Iterator[TarMember]:
    """The layer's tar, without the trailer. Raises: UnsupportedError, naming the path; what `open_file` raises.

    One member for each file with content: the entries before it come with its head.
    """
    heads: list[bytes] = []
    for member in layer.members:
        try:
            heads.append(head(member))
        except UnsupportedError as error:
            error.places.append(f"/{escape(member.path)}")
            raise
        if isinstance(member.item, RegularFile) and member.item.size and member.link is None:
            yield TarMember(b"".join(heads), open_file(member.item), member.item.size)
            heads.clear()
    yield TarMember(b"".join(heads))


def head(member: Member) -> bytes:
    """The entry but for its content. Raises: UnsupportedError for attributes that no tar can hold."""
    item, attributes = member.item, member.item.attributes
    name, kind, link, size, device = _as_bytes(member.path), tar_posix.REGULAR, b"", 0, (0, 0)
    records = _xattr_records(attributes)
    if member.link is not None:
        kind, link, records = tar_posix.HARD_LINK, _as_bytes(member.link), ()
    elif isinstance(item, Directory):
        kind, name = tar_posix.DIRECTORY, name + b"/" if name else b"./"
    elif isinstance(item, Symlink):
        kind, link = tar_posix.SYMLINK, _as_bytes(item.target)
    elif isinstance(item, SpecialFile):
        kind, device = _SPECIAL_KINDS[item.kind], item.rdev
    else:
        size = item.size
    return tar_posix.encode(
        PosixEntry(
            *(name, kind, attributes.mode, attributes.uid, attributes.gid, attributes.mtime or 0),
            size=size,
            link=link,
            device=device,
            records=records,
        )
    )


def _xattr_records(attributes: Attributes) -> tuple[tuple[bytes, bytes], ...]:
    if not attributes.xattrs:
        return ()
    return tuple((_XATTR + name, value) for name, value in attributes.xattrs if name != SELINUX)
