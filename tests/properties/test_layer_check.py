"""The checker finds nothing in layers that are right, and no changed byte of a layer escapes it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tarbuilder
from ostrata.errors import OstrataError
from ostrata.formats.encapsulated import Layout, tar_path
from ostrata.inspection.image_check import ImageContents, check_image
from ostrata.inspection.layer_check import check_layer
from strategies import trees
from tarbuilder import Node, Tree, file_checksum

LAYOUTS = [Layout("ostree-ext-0.15", 1), Layout("bootc", 1), Layout("bootc", 2)]


def layers_of(tree: Tree, layout: Layout) -> list[bytes]:
    checksums = sorted({file_checksum(tree[path]) for path in tarbuilder.walk(tree)})
    chunks = [checksums[::2], checksums[1::2]]
    return tarbuilder.encapsulated_layers(
        tree, tarbuilder.commit_bytes(tree), chunks, layout=layout.name, version=layout.format_version
    )


def checked(tars: list[bytes]) -> ImageContents:
    return check_image([check_layer([tar], first=number == 0) for number, tar in enumerate(tars)])


def is_right_when_encapsulated(tree: Tree) -> bool:
    """Upstream loses the dirtrees below /sysroot; and two paths of a commit can become one, in /usr/etc and /etc."""
    paths = [tar_path(path) for path, node in tree.items() if node.kind != "directory"]
    directories = {tar_path(path) for path, node in tree.items() if node.kind == "directory"}
    return "sysroot" not in tree and len(set(paths)) == len(paths) and not directories & set(paths)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@settings(max_examples=40, deadline=None)
@given(tree=trees().filter(is_right_when_encapsulated))
def test_nothing_is_found_in_layers_that_are_right(layout: Layout, tree: dict[str, Node]) -> None:
    found = checked(layers_of(tree, layout))
    assert found.problems.count == 0, found.problems
    assert found.unreferenced.count == 0
    assert found.tree is not None
    assert [path for path, _ in found.tree.files] == tarbuilder.walk(tree)


TREE = {
    "": Node("directory", 0o755),
    "usr": Node("directory", 0o755, 1, 2, ((b"user.a", b"1"),)),
    "usr/etc": Node("directory", 0o700),
    "usr/etc/a b\n": Node("file", 0o644, 0, 0, ((b"security.capability", b"\1\0"),), b"content" * 100),
    "usr/etc/empty": Node("file", 0o600),
    "usr/" + "é" * 60: Node("symlink", 0o777, data=b"t" * 120),
}
TARS = {layout: layers_of(TREE, layout) for layout in LAYOUTS}
RIGHT = {layout: checked(tars) for layout, tars in TARS.items()}


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@settings(max_examples=300, deadline=None)
@given(number=st.integers(0, 2), place=st.integers(0, 1 << 20), change=st.integers(1, 255))
def test_a_changed_byte_is_found_or_means_nothing(layout: Layout, number: int, place: int, change: int) -> None:
    tars = list(TARS[layout])
    changed = bytearray(tars[number])
    # The skeleton is most of a small layer: look behind it more often than not.
    start = 0 if place % 4 == 0 else len(tarbuilder.skeleton())
    changed[start + place % (len(changed) - start)] ^= change
    tars[number] = bytes(changed)
    try:
        found = checked(tars)
    except OstrataError:
        return
    assert found.problems.count or replace(found, unreferenced=RIGHT[layout].unreferenced) == RIGHT[layout]
