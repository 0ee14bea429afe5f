"""Hypothesis strategies for trees: hostile names, every kind of entry, twins, deep and long paths."""

from __future__ import annotations

import string

from hypothesis import strategies as st

from tarbuilder import Node

_CHARACTERS = st.characters(codec="utf-8", exclude_categories=("Cs",), exclude_characters="/\0") | st.sampled_from(
    string.ascii_letters + " \n.-'\"\\"
)
NAMES = (
    st.text(_CHARACTERS, min_size=1, max_size=12)
    | st.text("ab.", min_size=90, max_size=120)
    | st.sampled_from(["usr", "etc", "var", "tmp"])
).filter(lambda name: name not in (".", "..") and not name.startswith(".wh.") and len(name.encode()) <= 255)

MODES = st.sampled_from([0o644, 0o755, 0o4755, 0o2755, 0o1777, 0o600, 0])
IDS = st.sampled_from([0, 0, 0, 1000, 65534, 2097151, 2097152, 4294967294])
XATTRS = st.dictionaries(
    st.sampled_from([b"security.capability", b"security.selinux", b"user.a", b"user.z z", b"trusted.x"]),
    st.binary(min_size=1, max_size=20),
    max_size=3,
).map(lambda pairs: tuple(sorted(pairs.items())))
TARGETS = st.sampled_from(
    [
        "bin/sh",
        "../lib",
        "/usr/lib",
        "./x",
        "..",
        "a//b",
        "x" * 99,
        "x" * 100,
        "d" * 60 + "/" + "e" * 39,
        "é" * 40,
    ]
) | st.text(_CHARACTERS | st.just("/"), min_size=1, max_size=150)

FILES = st.builds(
    lambda mode, uid, gid, xattrs, data: Node("file", mode, uid, gid, xattrs, data),
    MODES, IDS, IDS, XATTRS, st.binary(max_size=40) | st.sampled_from([b"", b"x" * 511, b"x" * 512, b"x" * 513]),
)  # fmt: skip
SYMLINKS = st.builds(
    lambda uid, xattrs, target: Node("symlink", 0o777, uid, 0, xattrs, target.encode()), IDS, XATTRS, TARGETS
)
DIRECTORIES = st.builds(
    lambda mode, uid, gid, xattrs: Node("directory", mode, uid, gid, xattrs), MODES, IDS, IDS, XATTRS
)
NODES = FILES | SYMLINKS | DIRECTORIES


@st.composite
def trees(draw: st.DrawFn, targets_are_plain: bool = True) -> dict[str, Node]:
    """A tree of `tarbuilder`; with `targets_are_plain` none of the symlink targets that the tar crate damages."""
    tree = {"": draw(DIRECTORIES)}
    twins = draw(st.lists(FILES, min_size=1, max_size=3))
    directories = [""]
    for _ in range(draw(st.integers(0, 12))):
        parent = draw(st.sampled_from(directories))
        path = (parent + "/" if parent else "") + draw(NAMES)
        if path in tree or len(path.encode()) > 900:
            continue
        node = draw(NODES | st.sampled_from(twins))
        if targets_are_plain and node.kind == "symlink" and is_damaged(node.data):
            continue
        tree[path] = node
        if node.kind == "directory":
            directories.append(path)
    return tree


def is_damaged(target: bytes) -> bool:
    """Would the tar crate write another target, or refuse it?"""
    if b"//" in target:
        return len(target) > 100
    parts = target.split(b"/")
    return target == b"/" or b"." in parts[1:]
