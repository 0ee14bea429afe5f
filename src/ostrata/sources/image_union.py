"""Layers on top of each other, without extracting: the tree that a container would see.

Layers are applied in order, entry by entry, to a tree that is only names:

* An entry replaces what has its name, with all that is below it. Only a directory on a directory keeps what is in it,
  and takes the new attributes, the extended ones included.
* A directory that a layer only passes through keeps its attributes; where there is none, it is made, 0755 and 0:0.
* A directory of the tree `below` keeps its extended attributes, whatever entries layers have for it: encapsulated
  layers do not show them, so no build can have taken them away. Only a layer that has both an entry and an opaque
  whiteout for it says that it is another directory, made after the old one was removed.
* A whiteout hides what lower layers have, never what its own layer has, wherever in the layer it stands. A directory
  that stays only because its own layer passes through it is one that was made.
* A hard link is one more name of what its target is at that moment, of a lower layer or earlier in its own; the
  attributes in its own header mean nothing. A link to what is not there, to a directory or to itself is refused.
* A symlink on the way to an entry is followed within the tree, as in a chroot: ``lib/x`` goes to ``usr/lib/x`` when lib
  is a symlink to it. umoci and podman's vfs do this; podman's overlay puts a directory in the symlink's place. So it
  is a finding. Nothing can be reached outside: there is only the tree. An entry below a file is refused; a whiteout
  there hides nothing (umoci writes some behind a file that replaces a directory).

Work and memory are bounded: by the number of entries, by how deep directories nest, by the characters of all paths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from ostrata.errors import LimitError, MalformedError, OstrataError, escape
from ostrata.model.tree import Attributes, Directory, Entry, RegularFile, SpecialFile, Symlink, Tree, Xattrs
from ostrata.sources.image_layer import Change, Finding, FindingCounter, LayerEntry, LayerIndex

MAX_DEPTH = 1024
"""Directories deeper than this are refused: no path that long can be opened by name."""
MAX_ENTRIES = 1_000_000
"""The most entries of all layers together, and of the tree below: each costs an import about 1 KiB of memory."""
MAX_PATH = 4096
"""Characters of the longest path of the tree (Linux: PATH_MAX)."""
MAX_PATHS = 1 << 27
"""Characters of all paths of the tree together."""
MAX_SYMLINKS = 40
"""Symlinks on the way to one entry, as Linux has it."""
MAX_DETOURS = 1 << 24
"""Names in the targets of all symlinks that are followed, together."""

IMPLIED = Attributes(0o755, mtime=0)
"""The attributes of a directory that no layer has an entry for."""

_BELOW = -1
_SPECIAL = (Change.CHARACTER_DEVICE, Change.BLOCK_DEVICE, Change.FIFO)

Leaf = RegularFile | Symlink | SpecialFile


@dataclass(frozen=True, slots=True)
class UnionTree:
    """What the layers add up to. Paths that are hard links to each other have the very same entry.

    `special` are devices and FIFOs, which a `Tree` cannot hold.
    """

    tree: Tree
    special: dict[str, SpecialFile]
    findings: tuple[Finding, ...]


def content_key(layer: int, offset: int) -> str:
    """The content key of a file or symlink of a layer: equal for hard links."""
    return f"{layer}:{offset}"


def content_place(key: str) -> tuple[int, int] | None:
    """(layer, offset in its tar); None for a key that is another source's."""
    layer, colon, offset = key.partition(":")
    return (int(layer), int(offset)) if colon else None


class _Name:
    """A name of something that is no directory; `layer` is the one that gave the name."""

    __slots__ = ("entry", "layer")

    def __init__(self, entry: Leaf, layer: int) -> None:
        self.entry = entry
        self.layer = layer


class _Directory:
    """A directory. `own` is the layer that gave the attributes, `touched` the last one with an entry in it or for it,
    `clean` the last one of which it is known that nothing lower is in it any more. `hidden` are the extended attributes
    that it had before all layers."""

    __slots__ = ("attributes", "children", "clean", "hidden", "own", "touched")

    def __init__(self, attributes: Attributes, layer: int) -> None:
        self.attributes = attributes
        self.children: dict[str, _Directory | _Name] = {}
        self.hidden: Xattrs = ()
        self.own = self.touched = self.clean = layer


_Chain = tuple[_Directory, ...]
"""A directory, with those above it in front; the first is the root."""


class Union:
    """Takes the layers one by one, the lowest first.

    `below` is a tree that lies under all of them; `missing` is asked for what a hard link names and nobody has.
    """

    def __init__(self, below: Tree | None = None, missing: Callable[[str], Leaf | None] | None = None) -> None:
        self._root = _Directory(IMPLIED, _BELOW)
        self._missing = missing
        self._layer = _BELOW
        self._entries = 0
        self._detours = 0
        self._findings = FindingCounter()
        self._chains: dict[str, _Chain] = {}
        self._changes = {
            Change.DIRECTORY: self._put_directory,
            Change.FILE: self._put_file,
            Change.SYMLINK: self._put_symlink,
            Change.HARD_LINK: self._put_link,
            Change.WHITEOUT: self._hide,
            Change.OPAQUE: self._hide_below,
            **dict.fromkeys(_SPECIAL, self._put_special),
        }
        for path, entry in below or ():
            self._put_below(path, entry)

    def apply(self, layer: int, index: LayerIndex) -> None:
        """Put layer number `layer` on top. Raises: MalformedError, LimitError, naming the entry."""
        self._layer = layer
        self._chains.clear()
        self._findings.extend(index.findings)
        for entry in index.entries:
            try:
                self._changes[entry.change](entry, index.attributes)
            except OstrataError as error:
                error.places.append(escape(entry.path))
                raise

    def finish(self) -> UnionTree:
        """The tree. Raises: LimitError."""
        entries: dict[str, Entry] = {}
        special: dict[str, SpecialFile] = {}
        characters = 0
        for path, node in self._walk():
            characters += len(path)
            if len(path) > MAX_PATH or characters > MAX_PATHS:
                raise LimitError(
                    f"expected paths of at most {MAX_PATH:,} characters, and {MAX_PATHS:,} together, found more",
                    where=escape(path[:100]),
                )
            if isinstance(node, _Directory):
                entries[path] = Directory(_with_hidden(node))
            elif isinstance(node.entry, SpecialFile):
                special[path] = node.entry
            else:
                entries[path] = node.entry
        return UnionTree(Tree(entries), special, self._findings.finish())

    def _walk(self) -> Iterator[tuple[str, _Directory | _Name]]:
        """In the order of a `Tree`."""
        pending: list[tuple[str, _Directory]] = [("", self._root)]
        while pending:
            path, directory = pending.pop()
            yield path, directory
            prefix = f"{path}/" if path else ""
            below: list[tuple[str, _Directory]] = []
            for name in sorted(directory.children, key=_as_bytes):
                child = directory.children[name]
                if isinstance(child, _Directory):
                    below.append((prefix + name, child))
                else:
                    yield prefix + name, child
            pending.extend(reversed(below))

    # Putting entries

    def _put_below(self, path: str, entry: Entry) -> None:
        if not isinstance(entry, Directory):
            self._put(path, _Name(entry, self._layer))
            return
        self._put_directory_at(path, entry.attributes)
        directory = self._find(path)
        if isinstance(directory, _Directory):
            directory.hidden = entry.attributes.xattrs

    def _put_directory(self, entry: LayerEntry, attributes: tuple[Attributes, ...]) -> None:
        self._put_directory_at(entry.path, attributes[entry.attributes])

    def _put_directory_at(self, path: str, attributes: Attributes) -> None:
        if not path:
            self._own(self._root, attributes)
            return
        parent, _, name = path.rpartition("/")
        existing = self._parent(parent)[-1].children.get(name)
        if isinstance(existing, _Directory):
            self._touch(self._parent(parent))
            self._own(existing, attributes)
        else:
            self._put(path, _Directory(attributes, self._layer))

    def _own(self, directory: _Directory, attributes: Attributes) -> None:
        directory.attributes = attributes
        directory.own = directory.touched = self._layer
        if directory.clean == self._layer:
            directory.hidden = ()

    def _put_file(self, entry: LayerEntry, attributes: tuple[Attributes, ...]) -> None:
        content = content_key(self._layer, entry.offset)
        self._put(entry.path, _Name(RegularFile(attributes[entry.attributes], entry.size, content), self._layer))

    def _put_symlink(self, entry: LayerEntry, attributes: tuple[Attributes, ...]) -> None:
        content = content_key(self._layer, entry.offset)
        self._put(entry.path, _Name(Symlink(attributes[entry.attributes], entry.target, content), self._layer))

    def _put_special(self, entry: LayerEntry, attributes: tuple[Attributes, ...]) -> None:
        special = SpecialFile(attributes[entry.attributes], entry.change.value, entry.device)
        self._put(entry.path, _Name(special, self._layer))

    def _put_link(self, entry: LayerEntry, __: tuple[Attributes, ...]) -> None:
        found = self._find(entry.target) or self._ask_for(entry.target)
        if isinstance(found, _Directory):
            raise MalformedError(f"a hard link to a directory, '{escape(entry.target)}'")
        if found is None:
            raise MalformedError(
                f"a hard link to '{escape(entry.target)}', which neither a lower layer has nor this one before the link"
            )
        if found is self._find(entry.path):
            raise MalformedError("a hard link to itself")
        self._put(entry.path, _Name(found.entry, self._layer))

    def _ask_for(self, path: str) -> _Name | None:
        entry = self._missing(path) if self._missing is not None else None
        return None if entry is None else _Name(entry, self._layer)

    def _put(self, path: str, node: _Directory | _Name) -> None:
        parent, _, name = path.rpartition("/")
        chain = self._parent(parent)
        existing = chain[-1].children.get(name)
        if existing is None:
            self._count()
        elif isinstance(existing, _Directory) or isinstance(existing.entry, Symlink):
            self._chains.clear()
        if isinstance(node, _Directory) and len(chain) >= MAX_DEPTH:
            raise LimitError(f"directories nest deeper than {MAX_DEPTH}")
        chain[-1].children[name] = node
        self._touch(chain)

    def _count(self) -> None:
        self._entries += 1
        if self._entries > MAX_ENTRIES:
            raise LimitError(
                f"expected at most {MAX_ENTRIES:,} entries in all layers together, found more",
                hint="each takes memory, which is bounded",
            )

    def _touch(self, chain: _Chain) -> None:
        for directory in reversed(chain):
            if directory.touched == self._layer:
                return
            directory.touched = self._layer

    # Finding directories

    def _parent(self, path: str) -> _Chain:
        """The directory `path`, made where it is not there."""
        return self._resolve(path, makes=True) or ()

    def _find(self, path: str) -> _Directory | _Name | None:
        """What has that name, itself a symlink or not."""
        parent, _, name = path.rpartition("/")
        chain = self._resolve(parent, makes=False)
        if chain is None:
            return None
        return chain[-1].children.get(name) if name else self._root

    def _resolve(self, path: str, *, makes: bool) -> _Chain | None:
        known = self._chains.get(path)
        if known is not None:
            return known
        chain = [self._root]
        names = path.split("/")[::-1]
        symlinks = 0
        while names:
            name = names.pop()
            if name in ("", "."):
                continue
            if name == "..":
                del chain[max(1, len(chain) - 1) :]
                continue
            child = chain[-1].children.get(name)
            if child is None:
                if not makes:
                    return None
                child = self._make(chain, name)
            if isinstance(child, _Directory):
                chain.append(child)
                continue
            if not isinstance(child.entry, Symlink):
                if not makes:
                    return None
                raise MalformedError(f"an entry below '{escape(name)}', which is no directory")
            symlinks += 1
            names += self._detour(child.entry.target, symlinks)
            if child.entry.target.startswith("/"):
                del chain[1:]
        if symlinks:
            self._findings.add("a name that leads through a symlink: followed, as in a chroot", path)
        result = self._chains[path] = tuple(chain)
        return result

    def _detour(self, target: str, symlinks: int) -> list[str]:
        """The names of a symlink's target, the last first."""
        names = target.split("/")[::-1]
        self._detours += len(names)
        if symlinks > MAX_SYMLINKS:
            raise MalformedError(f"more than {MAX_SYMLINKS} symlinks on the way")
        if self._detours > MAX_DETOURS:
            raise LimitError(f"expected at most {MAX_DETOURS:,} names on the way through symlinks, found more")
        return names

    def _make(self, chain: list[_Directory], name: str) -> _Directory:
        if len(chain) >= MAX_DEPTH:
            raise LimitError(f"directories nest deeper than {MAX_DEPTH}")
        self._count()
        made = chain[-1].children[name] = _Directory(IMPLIED, self._layer)
        self._touch(tuple(chain))
        return made

    # Whiteouts

    def _hide(self, entry: LayerEntry, __: tuple[Attributes, ...]) -> None:
        parent, _, name = entry.path.rpartition("/")
        chain = self._resolve(parent, makes=False)
        child = chain[-1].children.get(name) if chain is not None else None
        if chain is None or child is None:
            self._findings.add("a whiteout that hides nothing", entry.path)
        elif isinstance(child, _Directory) and child.touched == self._layer:
            self._make_own(child)
            self._keep_own(child)
        elif isinstance(child, _Directory) or child.layer != self._layer:
            del chain[-1].children[name]
            self._chains.clear()

    def _hide_below(self, entry: LayerEntry, __: tuple[Attributes, ...]) -> None:
        chain = self._resolve(entry.path, makes=False)
        if chain is None:
            self._findings.add("an opaque whiteout that hides nothing: there is no such directory", entry.path)
        else:
            self._keep_own(chain[-1])
            if chain[-1].own == self._layer:
                chain[-1].hidden = ()

    def _keep_own(self, directory: _Directory) -> None:
        """Remove from below `directory` what is not of the current layer; each directory is looked through once."""
        self._chains.clear()
        pending = [directory]
        while pending:
            directory = pending.pop()
            if directory.clean == self._layer:
                continue
            directory.clean = self._layer
            for name, child in list(directory.children.items()):
                if isinstance(child, _Directory) and child.touched == self._layer:
                    self._make_own(child)
                    pending.append(child)
                elif isinstance(child, _Directory) or child.layer != self._layer:
                    del directory.children[name]

    def _make_own(self, directory: _Directory) -> None:
        directory.hidden = ()
        if directory.own != self._layer:
            directory.attributes, directory.own = IMPLIED, self._layer


def _with_hidden(directory: _Directory) -> Attributes:
    attributes = directory.attributes
    shown = {name for name, _ in attributes.xattrs}
    hidden = [pair for pair in directory.hidden if pair[0] not in shown]
    return replace(attributes, xattrs=tuple(sorted([*attributes.xattrs, *hidden]))) if hidden else attributes


def _as_bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def union(layers: Iterable[LayerIndex]) -> UnionTree:
    """The tree of these layers, the lowest first. Raises: MalformedError, LimitError."""
    result = Union()
    for number, index in enumerate(layers):
        result.apply(number, index)
    return result.finish()
