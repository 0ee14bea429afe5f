"""What layers make of a tree, stated a second time: a dictionary of paths, all of them looked at for every change.

`layers_on` is a hypothesis strategy for layers that fit a tree: every change is chosen by what is there to change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import strategies as st

import strategies
from plain_images import Change, directory, link, opaque, symlink, whiteout
from tarbuilder import Node, Tree

MADE = Node("directory", 0o755)
"""A directory that no layer has an entry for."""
MOUNTED = ("dev", "proc", "run", "sys", "tmp")
NAMES = strategies.NAMES | st.sampled_from(["ostree", "sysroot", *MOUNTED])
SPECIAL = (
    "usr",
    "etc",
    "usr/etc",
    "etc/a",
    "usr/etc/a",
    "etc/a/b",
    "usr/etc/a/b",
    "etc/hostname",
    "usr/etc/resolv.conf",
)
"""Paths that mean something to an import."""

Layer = list[Change]
LeftOut = set[str]


class Container:
    """The tree that a container sees, on top of the commit `base` or of nothing."""

    def __init__(self, base: Tree | None) -> None:
        base = base or {}
        self.nodes = {"": MADE} | dict(base)
        for path in [path for path in base if is_in("usr/etc", path)]:
            del self.nodes[path]
        self.nodes |= {path.removeprefix("usr/"): node for path, node in base.items() if is_in("usr/etc", path)}
        self.base = frozenset(self.nodes) if base else frozenset[str]()
        # What layers do not show of the base's directories stays theirs.
        self.hidden = {path: node.xattrs for path, node in self.nodes.items() if node.kind == "directory"}
        self.opaque: set[str] = set()

    def next_layer(self) -> None:
        """What is applied from now on is of another layer."""
        self.opaque.clear()

    def apply(self, layer: Layer) -> None:
        """Whiteouts come first in `layer`."""
        for change in layer:
            parent, _, name = change.path.rpartition("/")
            if name == ".wh..wh..opq":
                self._remove_below(parent)
                self.opaque.add(parent)
            elif name.startswith(".wh."):
                self._remove(joined(parent, name.removeprefix(".wh.")))
            else:
                self._put(change)

    def _put(self, change: Change) -> None:
        path = change.path.removeprefix("./")
        node = self.nodes[change.to] if change.kind == "link" else node_of(change)
        for parent in parents(path):
            self.nodes.setdefault(parent, MADE)
        if path in self.opaque:  # with an entry beside the whiteout it is another directory
            self.hidden.pop(path, None)
        if node.kind != "directory" or (path in self.nodes and self.nodes[path].kind != "directory"):
            self._remove(path)
        elif path in self.hidden:
            node = replace(node, xattrs=tuple(sorted((dict(self.hidden[path]) | dict(node.xattrs)).items())))
        self.nodes[path] = node

    def _remove(self, path: str) -> None:
        self._remove_below(path)
        self.nodes.pop(path, None)
        self.hidden.pop(path, None)

    def _remove_below(self, path: str) -> None:
        for other in [other for other in self.nodes if other != path and is_in(path, other)]:
            del self.nodes[other]
            self.hidden.pop(other, None)

    def committed(self) -> tuple[Tree, LeftOut]:
        """The tree of a commit, and the paths of what has no place in it."""
        tree = {path: node for path, node in self.nodes.items() if self._has_a_place(path)}
        gone = {"sysroot/ostree" if is_in("sysroot/ostree", path) else path for path in self.nodes.keys() - tree.keys()}
        if "etc" in tree and tree["etc"].kind == tree.get("usr", MADE).kind == "directory":
            gone |= move_etc(tree)
        for path in ("usr/etc/hostname", "usr/etc/resolv.conf"):
            if path in tree and tree[path].kind == "file" and not tree[path].data:
                gone.add(path.removeprefix("usr/"))
                del tree[path]
        return tree, gone

    def _has_a_place(self, path: str) -> bool:
        is_mounted_over = any(is_in(top, path) and path != top for top in MOUNTED)
        return path in self.base or not (is_mounted_over or is_in("sysroot/ostree", path))


def move_etc(tree: dict[str, Node]) -> LeftOut:
    """Put /etc on top of /usr/etc; what had to go for it."""
    etc = sorted((path, node) for path, node in tree.items() if is_in("etc", path))
    gone: LeftOut = set()
    tree.setdefault("usr", MADE)
    for path, _ in etc:
        del tree[path]
    for path, node in ((f"usr/{path}", node) for path, node in etc):
        if path in tree and not tree[path].kind == node.kind == "directory":
            replaced = {other for other in tree if is_in(path, other)}
            gone |= replaced
            for other in replaced:
                del tree[other]
        tree[path] = node
    return gone


def node_of(change: Change) -> Node:
    data = change.to.encode() if change.kind == "symlink" else change.data
    xattrs = tuple(sorted((name.encode(), value) for name, value in change.xattrs.items()))
    return Node(change.kind, change.mode, change.uid, change.gid, xattrs, data)


def is_in(top: str, path: str) -> bool:
    return not top or path == top or path.startswith(f"{top}/")


def joined(parent: str, name: str) -> str:
    return f"{parent}/{name}" if parent else name


def parents(path: str) -> list[str]:
    """All directories above, the root first."""
    parts = path.split("/") if path else []
    return ["/".join(parts[:count]) for count in range(len(parts))]


# Layers


def change_of(path: str, node: Node) -> Change:
    """The entry that puts `node` there."""
    xattrs = {name.decode(): value for name, value in node.xattrs}
    if node.kind == "symlink":
        return replace(symlink(path, node.data.decode()), uid=node.uid, gid=node.gid, xattrs=xattrs)
    if node.kind == "directory":
        return directory(path or "./", node.mode, uid=node.uid, gid=node.gid, xattrs=xattrs)
    return Change(path, "file", node.data, node.mode, node.uid, node.gid, xattrs=xattrs)


@st.composite
def layers_on(draw: st.DrawFn, base: Tree | None, suited: Callable[[Node], Node]) -> tuple[list[Layer], Container]:
    """One to three layers on top of `base`, and what they make of it; new nodes go through `suited`."""
    container = Container(base)
    layers = []
    for _ in range(draw(st.integers(1, 3))):
        layer = draw_layer(draw, container, suited)
        layers.append(layer)
    return layers, container


def draw_layer(draw: st.DrawFn, container: Container, suited: Callable[[Node], Node]) -> Layer:
    layer: Layer = []
    container.next_layer()

    def add(change: Change) -> None:
        container.apply([change])
        layer.append(change)

    moved: list[Node] = []
    for what in draw(st.lists(st.sampled_from(["whiteout", "opaque", "nothing", "rename"]), max_size=3)):
        path = draw(st.sampled_from(sorted(container.nodes)))
        if what == "opaque":
            add(opaque(path if container.nodes[path].kind == "directory" else path.rpartition("/")[0]))
        elif what == "nothing":
            add(whiteout(joined(path, "\x1bnot there")))
        elif path:
            moved += [container.nodes[path]] if what == "rename" else []
            add(whiteout(path))
    for node in moved:
        if (path := draw_path(draw, container)) is not None:
            add(change_of(path, node))
    for what in draw(st.lists(st.sampled_from(["new", "new", "over", "attributes", "link"]), max_size=6)):
        change = PUTS[what](draw, container, suited)
        if change is not None:
            add(change)
    return layer


def draw_path(draw: st.DrawFn, container: Container) -> str | None:
    """A path in a directory that is there, or whose parent is; not where a file is in the way."""
    tops = sorted(path for path, node in container.nodes.items() if node.kind == "directory")
    anywhere = joined(draw(st.sampled_from(tops)), "/".join(draw(st.lists(NAMES, min_size=1, max_size=2))))
    path = draw(st.just(anywhere) | st.sampled_from(SPECIAL))
    above = (container.nodes.get(parent, MADE).kind for parent in parents(path))
    return path if len(path.encode()) < 2000 and all(kind == "directory" for kind in above) else None


def put_new(draw: st.DrawFn, container: Container, suited: Callable[[Node], Node]) -> Change | None:
    path = draw_path(draw, container)
    return None if path is None else change_of(path, suited(draw(strategies.NODES)))


def put_over(draw: st.DrawFn, container: Container, suited: Callable[[Node], Node]) -> Change | None:
    """Anything in the place of anything; the root stays a directory."""
    path = draw(st.sampled_from(sorted(container.nodes)))
    return change_of(path, suited(draw(strategies.NODES if path else strategies.DIRECTORIES)))


def put_attributes(draw: st.DrawFn, container: Container, suited: Callable[[Node], Node]) -> Change | None:
    """The same with another mode and other owners: builders write all of a file again."""
    path = draw(st.sampled_from(sorted(container.nodes)))
    node = container.nodes[path]
    mode = node.mode if node.kind == "symlink" else draw(strategies.MODES)
    return change_of(path, replace(node, mode=mode, uid=draw(strategies.IDS)))


def put_link(draw: st.DrawFn, container: Container, suited: Callable[[Node], Node]) -> Change | None:
    path = draw_path(draw, container)
    leaves = sorted(name for name, node in container.nodes.items() if node.kind != "directory")
    if path is None or not (targets := [name for name in leaves if not is_in(path, name)]):
        return None
    return link(path, draw(st.sampled_from(targets)))


PUTS = {"new": put_new, "over": put_over, "attributes": put_attributes, "link": put_link}
