from __future__ import annotations

from pathlib import Path

from encapsulated_images import LAYOUTS, make_image
from ostrata.destinations.layout import LayoutDestination
from ostrata.model.tree import Attributes, Directory, Symlink
from ostrata.pipeline.build_plain import build_plain
from ostrata.pipeline.build_sources import SourceOptions, prepare
from ostrata.pipeline.fitting import TreeView, fit
from ostrata.pipeline.ostree_leftovers import OSTREE_LEFTOVERS, drop_ostree_leftovers
from ostrata.pipeline.verify_against import verify_against
from plain_builds import OPTIONS, config_of, read
from planned_trees import commit_tree

DIRECTORY = Directory(Attributes(0o755))


def test_only_the_repository_goes() -> None:
    kept = dict.fromkeys(["", "sysroot", "sysroot/ostree2", "ostree"], DIRECTORY)
    gone = dict.fromkeys(["sysroot/ostree", "sysroot/ostree/repo"], DIRECTORY)
    fitted = drop_ostree_leftovers(TreeView({**kept, **gone}, {}))
    assert fitted.view.entries == kept
    assert [change.path for change in fitted.changes] == list(gone)


def test_a_tree_without_a_repository_stays_as_it_is() -> None:
    link = Symlink(Attributes(0o777), "sysroot/ostree", "l")
    assert drop_ostree_leftovers(TreeView({"": DIRECTORY, "ostree": link}, {})).changes == []


def test_an_encapsulated_image_becomes_a_plain_one_with_the_tree_of_the_commit(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "usr/etc/d").mkdir(parents=True)
    for path in ("usr/a ž", "usr/b", "usr/etc/d/c", "usr/empty"):
        (tree / path).write_bytes(b"" if "empty" in path else b"twins")
    commit_tree(tmp_path / "repo", tree)
    layout = next(each for each in LAYOUTS if each.name == "bootc")
    make_image(tmp_path / "repo", "os", f"oci:{tmp_path}/encapsulated:t", compression="gzip", layout=layout)

    with (
        prepare(f"oci:{tmp_path}/encapsulated:t", SourceOptions(), tmpdir=str(tmp_path)) as prepared,
        LayoutDestination(str(tmp_path / "image"), "t") as destination,
    ):
        fitted = fit(TreeView(prepared.tree.entries, prepared.special), [OSTREE_LEFTOVERS])
        build_plain(prepared, fitted.tree, fitted.special, None, destination, OPTIONS)

    labels = config_of(tmp_path / "image")["config"]["Labels"]
    assert not [label for label in labels if label.startswith("ostree.")]
    found = verify_against(read(tmp_path / "image"), read(tmp_path / "encapsulated"))
    assert {each.path for each in found.differences} <= {"sysroot", "sysroot/ostree", "var", "var/tmp"}
    assert not [each for each in found.differences if each.image is None]
