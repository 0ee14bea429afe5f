from __future__ import annotations

from collections.abc import Iterator

import pytest

import tarbuilder
from commit_trees import MemoryCommit
from ostrata.codecs.tar_reader import read_members
from ostrata.errors import UnsupportedError
from ostrata.formats import encapsulated
from ostrata.formats.encapsulated import Layout, check_encapsulable
from ostrata.inspection.image_check import check_image
from ostrata.inspection.layer_check import check_layer
from ostrata.layers.writer import tar_blocks
from ostrata.model.ostree import Commit, CommitDirectory, CommitTree
from ostrata.model.tar import TarMember
from ostrata.model.tree import Attributes
from ostrata.planning.contentmeta import plan_one_layer, planned_objects
from tarbuilder import Node

LAYOUTS = [Layout("ostree-ext-0.15", 1), Layout("bootc", 1), Layout("bootc", 2)]
ROOT = Node("directory", 0o755)


def commit(directories: list[str], files: list[str]) -> CommitTree:
    found = [CommitDirectory(path, "0" * 64, "1" * 64, Attributes(0o755)) for path in ["", *directories]]
    return CommitTree("2" * 64, Commit("0" * 64, "1" * 64, 0), tuple(found), tuple((path, "3" * 64) for path in files))


@pytest.mark.parametrize("path", [".wh.x", "usr/.wh.x", "usr/.wh..wh..opq", "usr/.wh.d/x"])
def test_names_that_mean_deletions_are_refused(path: str) -> None:
    with pytest.raises(UnsupportedError, match=r"1 names begin with \.wh\.") as caught:
        check_encapsulable(commit(["usr"], [path]), Layout())
    assert f"/{path}" in str(caught.value)
    with pytest.raises(UnsupportedError, match="deletion"):
        check_encapsulable(commit([path], []), Layout())


def test_a_name_that_only_contains_wh_is_fine() -> None:
    assert check_encapsulable(commit(["usr"], ["usr/a.wh.x", "usr/wh.x"]), Layout()) == []


def test_many_refused_names_are_shown_in_part_and_escaped() -> None:
    with pytest.raises(UnsupportedError, match=r"7 names .*: /\.wh\.0\\n, .* and 2 more\nrename"):
        check_encapsulable(commit([], [f".wh.{number}\n" for number in range(7)]), Layout())


def test_content_where_the_image_keeps_its_repository_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="below /sysroot/ostree"):
        check_encapsulable(commit(["sysroot", "sysroot/ostree"], []), Layout())


def test_other_content_below_sysroot_is_a_warning() -> None:
    (warning,) = check_encapsulable(commit(["sysroot", "sysroot/d"], ["sysroot/f"]), Layout())
    assert "2 paths" in warning


@pytest.mark.parametrize(
    ("directories", "files"),
    [(["etc", "usr", "usr/etc"], []), (["usr", "usr/etc"], ["etc"]), (["etc", "usr"], ["usr/etc"])],
)
def test_etc_beside_usr_etc_is_refused(directories: list[str], files: list[str]) -> None:
    with pytest.raises(UnsupportedError, match="both /etc and /usr/etc"):
        check_encapsulable(commit(directories, files), Layout())


def test_etc_alone_in_either_place_is_fine() -> None:
    assert check_encapsulable(commit(["etc", "etc/usr", "usr", "usr/x", "usr/x/etc"], []), Layout()) == []
    assert check_encapsulable(commit(["usr", "usr/etc", "usr/etc/etc"], []), Layout()) == []


def test_var_tmp_in_the_older_layout_is_a_warning() -> None:
    tree = commit(["var", "var/tmp"], [])
    (warning,) = check_encapsulable(tree, Layout("ostree-ext-0.15", 1))
    assert "podman" in warning
    assert check_encapsulable(tree, Layout()) == []


@pytest.mark.parametrize(
    ("path", "found"),
    [("usr/etc", "etc"), ("usr/etc/a", "etc/a"), ("usr/etcetera", "usr/etcetera"), ("etc/a", "etc/a"), ("", "")],
)
def test_usr_etc_is_etc_in_a_running_system(path: str, found: str) -> None:
    assert encapsulated.tar_path(path) == found


@pytest.mark.parametrize(("name", "version"), [("bootc", 3), ("bootc", 0), ("ostree-ext-0.15", 2), ("other", 1)])
def test_a_layout_or_version_that_there_is_not_is_refused(name: str, version: int) -> None:
    with pytest.raises(UnsupportedError):
        Layout(name, version)


def test_the_skeleton_is_the_empty_layer_that_upstream_reserves() -> None:
    reserved = encapsulated.skeleton() + bytes(1024)
    assert len(reserved) == 139264
    assert tarbuilder.checksum_of(reserved) == "12787d84fa137cd5649a9005efe98ec9d05ea46245fdc50aecb7dd007f2035b1"


def _image(tree: dict[str, Node], layout: Layout) -> bytes:
    memory = MemoryCommit.of(tree)
    commit = memory.commit

    def members() -> Iterator[TarMember]:
        yield from encapsulated.ostree_layer(commit, None, memory.read_metadata, layout)
        yield from encapsulated.content(plan_one_layer(planned_objects(commit.files)), {}, memory.open_file, layout)

    return b"".join(tar_blocks(members()))


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("target", ["/", "a/./b", "foo/.", "./.", "/.", "x//" + "y" * 120, "a/./" * 40 + "b"])
def test_symlink_targets_that_upstream_damages_are_kept(layout: Layout, target: str) -> None:
    layer = check_layer([_image({"": ROOT, "link": Node("symlink", 0o777, data=target.encode())}, layout)], first=True)
    assert check_image([layer]).problems.shown == ()
    (found,) = layer.objects.values()
    assert found.header.target == target


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("more", [{}, {"sysroot/d": Node("directory", 0o700), "sysroot/f": Node("file", 0o644)}])
def test_all_metadata_objects_are_there_even_below_sysroot(layout: Layout, more: dict[str, Node]) -> None:
    tree = {"": ROOT, "sysroot": Node("directory", 0o711), "usr": ROOT, "usr/x": Node("file", 0o644)} | more
    contents = check_image([check_layer([_image(tree, layout)], first=True)])
    assert contents.problems.shown == ()
    assert contents.unreferenced.count == 0


def test_the_doubled_var_tmp_of_the_older_layout_stays() -> None:
    tree = {"": ROOT, "var": ROOT, "var/tmp": Node("directory", 0o1777)}
    for layout, count in zip(LAYOUTS, (2, 1, 1), strict=True):
        names = [entry.path for entry, _ in read_members([_image(tree, layout)])]
        assert sum(name.removeprefix("./").rstrip("/") == "var/tmp" for name in names) == count


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_no_path_is_in_a_layer_twice(layout: Layout) -> None:
    tree = {"": ROOT, "sysroot": Node("directory", 0o711), "sysroot/d": ROOT, "usr": ROOT, "usr/etc": ROOT, "var": ROOT}
    tree |= {name: Node("file", 0o644, data=name.encode()) for name in ("sysroot/d/f", "usr/a", "usr/etc/b")}
    memory = MemoryCommit.of(tree)
    parents = encapsulated.parent_attributes(memory.commit.directories)
    objects = plan_one_layer(planned_objects(memory.commit.files))
    chunk = b"".join(tar_blocks(encapsulated.chunk_layer(objects, parents, memory.open_file, layout)))
    for layer in (chunk, _image(tree, layout)):
        names = [entry.path.removeprefix("./").rstrip("/") for entry, _ in read_members([layer])]
        assert len(names) == len(set(names))
