"""Any tree comes back as it went in; no changed byte of a layer gets into a repository."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tarbuilder
from layer_images import tar_image
from layered_trees import layers_on
from ostrata.errors import OstrataError
from ostrata.formats.encapsulated import Layout, tar_path
from ostrata.pipeline.import_image import import_image
from ostrata.pipeline.places import open_image
from ostrata.sources.ostree_commit import read_tree
from ostrata.stores.ostree_repository import open_repository
from ostrata.stores.ostree_writer import init_repository
from plain_images import CAPABILITY, layer_tar
from repositories import ROOT, expected_entries
from strategies import trees
from tarbuilder import Node, Tree, commit_bytes, file_checksum

MODES = ["archive", "bare-user", pytest.param("bare", marks=pytest.mark.skipif(not ROOT, reason="bare needs root"))]
LAYOUTS = [Layout("ostree-ext-0.15", 1), Layout("bootc", 1), Layout("bootc", 2)]


def comes_back(tree: Tree) -> bool:
    """The second statement loses the objects below /sysroot, as upstream does; and two paths can become one."""
    paths = [tar_path(path) for path, node in tree.items() if node.kind != "directory"]
    directories = {tar_path(path) for path, node in tree.items() if node.kind == "directory"}
    return "sysroot" not in tree and len(set(paths)) == len(paths) and not directories & set(paths)


def suited(mode: str, node: Node) -> Node:
    """What the file system can hold, where a repository's files have their real attributes."""
    if mode != "bare":
        return node
    capability = (b"security.capability", CAPABILITY)
    xattrs = (capability if name == capability[0] else (name, value) for name, value in node.xattrs)
    held = ("security.selinux", "trusted.x") if node.kind == "symlink" else ("",)
    return replace(node, xattrs=tuple(pair for pair in xattrs if pair[0].decode().startswith(held)))


def layers_of(tree: Tree, layout: Layout, chunked: bool) -> list[bytes]:
    checksums = sorted({file_checksum(node) for node in tree.values() if node.kind != "directory"})
    chunks = [checksums[::2], checksums[1::2]] if chunked and len(checksums) > 1 else None
    return tarbuilder.encapsulated_layers(
        tree, commit_bytes(tree), chunks, layout=layout.name, version=layout.format_version
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@settings(max_examples=12, deadline=None)
@given(
    tree=trees().filter(comes_back),
    compression=st.sampled_from(["none", "gzip", "zstd"]),
    chunked=st.booleans(),
)
def test_any_tree_comes_back(layout: Layout, tree: dict[str, Node], mode: str, compression: str, chunked: bool) -> None:
    tree = {path: suited(mode, node) for path, node in tree.items()}
    with tempfile.TemporaryDirectory() as place:
        image = tar_image(Path(place, "image"), layers_of(tree, layout, chunked), compression)
        init_repository(f"{place}/repo", mode)
        found = import_image(f"{place}/repo", *open_image(image.reference), ref="a")
        assert found.checksum == tarbuilder.checksum_of(commit_bytes(tree))
        _, back = read_tree(open_repository(f"{place}/repo"), found.checksum)
        assert dict(back.entries) == expected_entries(tree)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("is_derived", [True, False], ids=["derived", "plain"])
@settings(max_examples=40, deadline=None)
@given(data=st.data(), compression=st.sampled_from(["none", "gzip", "zstd"]), layout=st.sampled_from(LAYOUTS))
def test_any_layers_on_any_tree_make_the_tree_that_looking_at_every_path_makes(
    is_derived: bool, data: st.DataObject, mode: str, compression: str, layout: Layout
) -> None:
    base = None
    if is_derived:
        drawn = data.draw(trees().filter(comes_back))
        base = {path: suited(mode, node) for path, node in drawn.items()}
    layers, container = data.draw(layers_on(base, partial(suited, mode)))
    own = layers_of(base, layout, chunked=True) if base is not None else []
    tars = [*own, *(layer_tar(layer) for layer in layers)]
    with tempfile.TemporaryDirectory() as place:
        image = tar_image(Path(place, "image"), tars, compression, encapsulated=len(own))
        if not is_derived:
            image.config["config"] = {}
            image.write()
        init_repository(f"{place}/repo", mode)
        found = import_image(f"{place}/repo", *open_image(image.reference))

        repository = open_repository(f"{place}/repo")
        expected, left_out = container.committed()
        assert dict(read_tree(repository, found.checksum)[1].entries) == expected_entries(expected)
        assert {each.path for each in found.left_out} == left_out
        for node in expected.values():
            if node.kind == "file":
                assert b"".join(repository.open_file(file_checksum(node)).content) == node.data
        if base is not None:
            assert found.commit is not None
            assert found.commit.checksum == tarbuilder.checksum_of(commit_bytes(base))
            assert repository.read_commit(found.commit.checksum)[1] == commit_bytes(base)
            assert dict(read_tree(repository, found.commit.checksum)[1].entries) == expected_entries(base)


TREE = {
    "": Node("directory", 0o755),
    "usr": Node("directory", 0o755, xattrs=((b"user.a", b"1"),)),
    "usr/ping": Node("file", 0o4755, 0, 5, ((b"security.capability", b"\1"),), b"an ELF" * 100),
    "usr/sh": Node("symlink", 0o777, 1, 2, (), b"ping"),
    "usr/empty": Node("file", 0o600, 3, 4),
}


@settings(max_examples=150, deadline=None)
@given(data=st.data(), layout=st.sampled_from(LAYOUTS))
def test_a_changed_byte_is_refused_or_of_no_account(data: st.DataObject, layout: Layout) -> None:
    """Even when digest and diff_id have been made to fit: what comes in is the commit, or nothing."""
    tars = [bytearray(tar) for tar in layers_of(TREE, layout, chunked=True)]
    number = data.draw(st.integers(0, len(tars) - 1))
    position = data.draw(st.integers(0, len(tars[number]) - 1))
    tars[number][position] ^= 1 << data.draw(st.integers(0, 7))
    with tempfile.TemporaryDirectory() as place:
        image = tar_image(Path(place, "image"), [bytes(tar) for tar in tars])
        init_repository(f"{place}/repo", "archive")
        try:
            found = import_image(f"{place}/repo", *open_image(image.reference), ref="a")
        except OstrataError:
            assert open_repository(f"{place}/repo").list_refs() == []
            assert list(Path(place, "repo/objects").iterdir()) == []
            return
        assert found.checksum == tarbuilder.checksum_of(commit_bytes(TREE))
        _, back = read_tree(open_repository(f"{place}/repo"), "a")
        assert dict(back.entries) == expected_entries(TREE)
