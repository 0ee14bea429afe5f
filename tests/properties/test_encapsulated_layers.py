"""Our layers are those of the second statement of the format, for any tree."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import tarbuilder
from commit_trees import MemoryCommit
from ostrata.formats import encapsulated
from ostrata.formats.encapsulated import Layout
from ostrata.layers.writer import tar_blocks
from ostrata.model.plan import PlannedObject
from ostrata.model.tar import TarMember
from ostrata.planning.contentmeta import planned_objects
from strategies import trees
from tarbuilder import Node

CUT_TO_DOTS = {path: Node("directory", 0o755, 0, 0, ()) for path in ("", "a" * 95, f"{'a' * 95}/..000")}
LAYOUTS = [Layout("ostree-ext-0.15", 1), Layout("bootc", 1), Layout("bootc", 2)]


def tar_of(members: Iterator[TarMember]) -> bytes:
    return b"".join(tar_blocks(members))


def planned(memory: MemoryCommit, checksums: list[str]) -> list[PlannedObject]:
    objects = planned_objects(memory.commit.files)
    return [objects[checksum] for checksum in sorted(checksums)]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@settings(max_examples=60, deadline=None)
@given(tree=trees(), detached=st.none() | st.just(b"detached"))
@example(tree=CUT_TO_DOTS, detached=None)
def test_the_first_layer_is_as_stated(layout: Layout, tree: dict[str, Node], detached: bytes | None) -> None:
    memory = MemoryCommit.of(tree)
    commit = memory.commit
    members = encapsulated.ostree_layer(commit, detached, memory.read_metadata, layout)
    assert tar_of(members) == tarbuilder.ostree_layer(tree, memory.data, detached, layout.name)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@settings(max_examples=120, deadline=None)
@given(tree=trees(), data=st.data())
def test_a_chunk_layer_is_as_stated(layout: Layout, tree: dict[str, Node], data: st.DataObject) -> None:
    memory = MemoryCommit.of(tree)
    commit = memory.commit
    known = sorted({checksum for _, checksum in commit.files})
    checksums = data.draw(st.lists(st.sampled_from(known), unique=True)) if known else []
    parents = encapsulated.parent_attributes(commit.directories)
    members = encapsulated.chunk_layer(planned(memory, checksums), parents, memory.open_file, layout)
    stated = tarbuilder.chunk_layer(tree, checksums, layout.name, layout.format_version)
    assert tar_of(members) == stated


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@settings(max_examples=40, deadline=None)
@given(tree=trees())
def test_recipes_differ_when_layers_differ(layout: Layout, tree: dict[str, Node]) -> None:
    memory = MemoryCommit.of(tree)
    objects = planned(memory, list({checksum for _, checksum in memory.commit.files}))
    directories = encapsulated.parent_attributes(memory.commit.directories)
    parents = encapsulated.parents_of(objects, directories, layout)
    recipe = encapsulated.recipe(objects, parents, layout)
    assert recipe == encapsulated.recipe(list(objects), dict(reversed(parents.items())), layout)
    assert recipe != encapsulated.recipe(objects, parents, layout, "zstd")
    if objects:
        assert recipe != encapsulated.recipe(objects[1:], parents, layout)
        moved = [PlannedObject(objects[0].checksum, (*objects[0].paths, "moved")), *objects[1:]]
        assert recipe != encapsulated.recipe(moved, parents, layout)
