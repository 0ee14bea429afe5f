"""Derived images become two commits and plain ones one; the base stays as it was, byte by byte."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path

import pytest

import tarbuilder
from derived_images import BASE, BASE_COMMIT, content_of, derived_image, entries_of, object_name, shown
from layer_images import digest
from ostrata import progress
from ostrata.errors import LimitError, MalformedError, NotFoundError, OstrataError, UnsupportedError
from ostrata.model.image import StoredImage
from ostrata.model.tree import RegularFile
from ostrata.pipeline.import_image import ImportedImage, import_image
from ostrata.pipeline.import_layers import MergedCommit
from ostrata.protocols import BlobStore
from ostrata.stores.ostree_repository import open_repository
from ostrata.stores.ostree_writer import init_repository
from plain_images import (
    CAPABILITY,
    Change,
    RandomLayers,
    directory,
    layer_tar,
    link,
    opaque,
    symlink,
    whiteout,
    write_image,
)
from repositories import ROOT, expected_entries
from tarbuilder import commit_bytes, file_checksum

MODES = ("archive", "bare-user", "bare") if ROOT else ("archive", "bare-user")
BARE = pytest.param("bare", marks=pytest.mark.skipif(not ROOT, reason="bare needs root"))
Image = tuple[BlobStore, StoredImage]


def do_import(repo: Path, image: Image, *, mode: str = "bare-user", **options: object) -> ImportedImage:
    init_repository(str(repo), mode)
    return import_image(str(repo), *image, ref="a/ref", **options)  # type: ignore[arg-type]


def merged(found: ImportedImage) -> MergedCommit:
    assert found.merged is not None
    return found.merged


def derived(tmp_path: Path, *layers: Iterable[Change] | bytes, **options: object) -> ImportedImage:
    return do_import(tmp_path / "repo", derived_image(tmp_path / "image", *layers), **options)  # type: ignore[arg-type]


# Two commits


@pytest.mark.parametrize("mode", ["archive", "bare-user", BARE])
def test_the_base_keeps_its_checksum_and_is_the_parent_of_what_the_ref_names(mode: str, tmp_path: Path) -> None:
    found = derived(tmp_path, [Change("usr/new", data=b"new")], mode=mode)

    repository = open_repository(str(tmp_path / "repo"))
    assert found.commit is not None
    assert (found.commit.checksum, found.commit.layers) == (BASE_COMMIT, 2)
    assert (merged(found).base, merged(found).layers) == (BASE_COMMIT, 1)
    assert repository.resolve("a/ref") == found.checksum == merged(found).checksum
    assert repository.resolve("a/ref^") == BASE_COMMIT
    assert entries_of(tmp_path / "repo", BASE_COMMIT) == expected_entries(BASE)
    assert repository.read_commit(BASE_COMMIT)[1] == commit_bytes(BASE)


def test_only_what_layers_changed_differs_from_the_base(tmp_path: Path) -> None:
    derived(tmp_path, [Change("usr/new", data=b"new", mode=0o755, uid=1, gid=2)], [symlink("usr/link", "ž\n")])

    entries = entries_of(tmp_path / "repo", "a/ref")
    assert shown(entries.pop("usr/new")) == ("file", 0o755, 1, 2)
    assert entries.pop("usr/link").target == "ž\n"  # type: ignore[union-attr]
    assert entries == expected_entries(BASE)
    assert content_of(tmp_path / "repo", "a/ref", "usr/new") == b"new"


def test_a_commit_says_which_image_it_was_made_of(tmp_path: Path) -> None:
    store, image = derived_image(tmp_path / "image", [Change("usr/new")])
    do_import(tmp_path / "repo", (store, image))

    repository = open_repository(str(tmp_path / "repo"))
    commit, _ = repository.read_commit(repository.resolve("a/ref"))
    assert list(commit.metadata) == ["ostree.container.image-config", "ostree.manifest", "ostree.manifest-digest"]
    assert commit.metadata["ostree.manifest-digest"].value == str(image.descriptor.digest)
    assert digest(commit.metadata["ostree.manifest"].value.encode()) == str(image.descriptor.digest)
    config = commit.metadata["ostree.container.image-config"].value
    assert digest(config.encode()) == str(image.manifest.config.digest)
    assert json.loads(config)["history"][-1]["created_by"] == "layer 2"
    assert (commit.timestamp, commit.subject, commit.body) == (1715947200, "", "")


@pytest.mark.parametrize(
    ("created", "seconds", "warning"),
    [
        ("1969-12-31T23:59:59Z", 0, None),
        (None, 0, None),
        ("yesterday", 0, "the image's time is not read: "),
        ("2024-05-17T14:00:00.5+02:00", 1715947200, None),
    ],
)
def test_the_time_is_the_images(created: str | None, seconds: int, warning: str | None, tmp_path: Path) -> None:
    warnings = Warnings()
    image = derived_image(tmp_path / "image", [Change("usr/new")], created=created)
    found = do_import(tmp_path / "repo", image, progress=warnings)

    assert open_repository(str(tmp_path / "repo")).read_commit(found.checksum)[0].timestamp == seconds
    assert [message[: len(warning or "")] for message in warnings.messages] == ([warning] if warning else [])


class Warnings(progress.Silent):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def warn(self, message: str) -> None:
        self.messages.append(message)


def test_an_image_without_more_layers_is_its_own_commit_only(tmp_path: Path) -> None:
    found = derived(tmp_path)

    assert (found.merged, found.checksum, found.left_out) == (None, BASE_COMMIT, ())


def test_a_layer_without_entries_still_makes_a_commit_of_the_same_tree(tmp_path: Path) -> None:
    found = derived(tmp_path, [])

    assert found.checksum != BASE_COMMIT
    assert entries_of(tmp_path / "repo", "a/ref") == expected_entries(BASE)
    assert merged(found).new_objects == 1  # the commit


# What builds do


def test_whiteouts_hide_files_directories_and_what_is_in_opaque_ones(tmp_path: Path) -> None:
    derived(
        tmp_path,
        [whiteout("usr/bin/ping"), whiteout("etc/sub"), opaque("usr/share/doc"), Change("usr/share/doc/new")],
    )
    gone = {
        "usr/bin/ping",
        "usr/etc/sub",
        "usr/etc/sub/deep ž\n",
        *(f"usr/share/doc/{name}" for name in ("a", "b", "link")),
    }
    assert set(entries_of(tmp_path / "repo", "a/ref")) == (BASE.keys() - gone) | {"usr/share/doc/new"}


def test_a_whiteout_hides_what_an_earlier_layer_on_top_brought(tmp_path: Path) -> None:
    derived(tmp_path, [Change("usr/a"), Change("usr/d/b")], [whiteout("usr/a"), whiteout("usr/d")])

    assert entries_of(tmp_path / "repo", "a/ref") == expected_entries(BASE)


def test_a_changed_mode_makes_another_object_and_leaves_the_twin_alone(tmp_path: Path) -> None:
    derived(tmp_path, [Change("usr/bin/sh", data=BASE["usr/bin/sh"].data, mode=0o755)])

    entries = entries_of(tmp_path / "repo", "a/ref")
    assert shown(entries["usr/bin/sh"]) == ("file", 0o755, 0, 0)
    assert content_of(tmp_path / "repo", "a/ref", "usr/bin/sh") == BASE["usr/bin/sh"].data
    assert entries_of(tmp_path / "repo", BASE_COMMIT)["usr/bin/sh"].attributes.mode == 0o4755


def test_a_file_takes_a_directorys_place_and_back(tmp_path: Path) -> None:
    derived(tmp_path, [Change("usr/share/doc", data=b"a file"), directory("usr/bin/sh", 0o711), Change("usr/bin/sh/x")])

    entries = entries_of(tmp_path / "repo", "a/ref")
    assert {path for path in entries if path.startswith("usr/share/doc")} == {"usr/share/doc"}
    assert shown(entries["usr/bin/sh"]) == ("directory", 0o711, 0, 0)
    assert "usr/bin/sh/x" in entries


def test_configuration_that_layers_put_into_etc_is_in_usr_etc(tmp_path: Path) -> None:
    derived(tmp_path, [Change("etc/passwd", data=b"more"), Change("etc/new ž"), link("etc/again", "etc/new ž")])

    entries = entries_of(tmp_path / "repo", "a/ref")
    assert "etc" not in entries
    assert content_of(tmp_path / "repo", "a/ref", "usr/etc/passwd") == b"more"
    assert entries["usr/etc/again"] == entries["usr/etc/new ž"]


def test_a_hard_link_is_the_object_that_it_links_to_even_by_the_objects_own_name(tmp_path: Path) -> None:
    derived(
        tmp_path,
        [
            link("usr/of-the-base", "usr/bin/ping"),
            link("usr/of-an-object", object_name("usr/bin/sh")),
            Change("usr/one", data=b"1", xattrs={"security.capability": CAPABILITY}),
            link("usr/two", "usr/one"),
        ],
        [Change("usr/one", data=b"another")],
    )
    entries = entries_of(tmp_path / "repo", "a/ref")
    assert entries["usr/of-the-base"] == entries["usr/bin/ping"]
    assert entries["usr/of-an-object"] == expected_entries(BASE)["usr/bin/sh"]
    assert entries["usr/two"].attributes.xattrs == ((b"security.capability", CAPABILITY),)
    assert content_of(tmp_path / "repo", "a/ref", "usr/two") == b"1"


def test_an_object_that_a_layer_changed_is_what_later_links_of_it_name(tmp_path: Path) -> None:
    """umoci writes a changed file with several names so; overlayfs with an index may."""
    name = object_name("usr/bin/sh")
    found = derived(tmp_path, [Change(name, data=b"changed", mode=0o700), link("usr/bin/sh", name)])

    assert content_of(tmp_path / "repo", "a/ref", "usr/bin/sh") == b"changed"
    assert [(each.path, each.reason) for each in found.left_out] == [
        ("sysroot/ostree", "copies of repository objects, whose files a commit has by their paths: 5 entries")
    ]
    assert entries_of(tmp_path / "repo", BASE_COMMIT) == expected_entries(BASE)


def test_a_directory_that_a_layer_only_passes_through_keeps_all_of_its_metadata(tmp_path: Path) -> None:
    derived(tmp_path, [Change("usr/bin/new"), Change("etc/sub/new"), Change("tmp/dropped")])

    found, expected = entries_of(tmp_path / "repo", "a/ref"), expected_entries(BASE)
    for path in ("usr/bin", "usr/etc/sub", "tmp", ""):
        assert found[path] == expected[path]


def test_a_directory_with_an_entry_takes_the_new_metadata(tmp_path: Path) -> None:
    derived(tmp_path, [directory("etc/sub", 0o711, uid=9, xattrs={"user.new": b"2"}), directory("./", 0o711)])

    entries = entries_of(tmp_path / "repo", "a/ref")
    assert shown(entries["usr/etc/sub"]) == ("directory", 0o711, 9, 0)
    assert dict(entries["usr/etc/sub"].attributes.xattrs)[b"user.new"] == b"2"
    assert entries[""].attributes.mode == 0o711
    assert "usr/etc/sub/deep ž\n" in entries


def test_extended_attributes_of_directories_which_layers_do_not_show_stay(tmp_path: Path) -> None:
    """Builders write an entry for each directory on the way to what they changed."""
    derived(
        tmp_path,
        [
            directory("usr/bin", 0o751, uid=3, gid=4),
            Change("usr/bin/new"),
            directory("etc/sub", xattrs={"user.a": b"1"}),
        ],
        [directory("usr/bin", 0o700)],
    )
    entries, of_base = entries_of(tmp_path / "repo", "a/ref"), expected_entries(BASE)
    assert entries["usr/bin"].attributes.xattrs == of_base["usr/bin"].attributes.xattrs != ()
    assert entries["usr/bin"].attributes.mode == 0o700
    assert entries["usr/etc/sub"].attributes.xattrs == (*of_base["usr/etc/sub"].attributes.xattrs, (b"user.a", b"1"))


@pytest.mark.parametrize("order", [1, -1])
def test_a_directory_that_was_deleted_and_made_anew_has_nothing_of_the_old_one(order: int, tmp_path: Path) -> None:
    derived(tmp_path, [whiteout("usr/bin"), directory("usr/bin", 0o700)][::order])

    entries = entries_of(tmp_path / "repo", "a/ref")
    assert (shown(entries["usr/bin"]), entries["usr/bin"].attributes.xattrs) == (("directory", 0o700, 0, 0), ())
    assert "usr/bin/sh" not in entries


def test_what_a_commit_cannot_hold_is_told(tmp_path: Path) -> None:
    found = derived(
        tmp_path,
        [
            Change("usr/null", "char", device=(1, 3)),
            Change("run/new"),
            Change("run/kept", data=b"changed"),
            Change("usr/a", xattrs={"user.empty": b""}),
            whiteout("usr/nothing"),
        ],
    )
    assert sorted(each.path for each in found.left_out) == ["run/new", "usr/a", "usr/null"]
    assert [(each.what, each.path) for each in merged(found).findings] == [
        ("a whiteout that hides nothing", "usr/nothing")
    ]
    assert content_of(tmp_path / "repo", "a/ref", "run/kept") == b"changed"


def test_large_files_go_through_in_pieces(tmp_path: Path) -> None:
    data = random.Random(7).randbytes(2_500_000)
    for mode in MODES:
        repo = tmp_path / mode
        image = derived_image(
            tmp_path / f"image {mode}", [Change("usr/large", data=data), link("usr/again", "usr/large")]
        )
        do_import(repo, image, mode=mode)
        assert content_of(repo, "a/ref", "usr/again") == data


# Plain images


@pytest.mark.parametrize("mode", ["archive", "bare-user", BARE])
def test_a_plain_image_becomes_one_commit_without_a_parent(mode: str, tmp_path: Path) -> None:
    image = write_image(
        tmp_path / "image",
        [
            [directory("usr", 0o711), Change("usr/a", data=b"a", mode=0o4755), Change("etc/passwd"), Change("usr/b")],
            [whiteout("usr/b"), symlink("bin", "usr/bin")],
        ],
    )
    found = do_import(tmp_path / "repo", image, mode=mode)

    assert (found.commit, merged(found).base, merged(found).layers) == (None, None, 2)
    commit, _ = open_repository(str(tmp_path / "repo")).read_commit(found.checksum)
    assert commit.parent is None
    entries = entries_of(tmp_path / "repo", "a/ref")
    assert sorted(entries) == ["", "bin", "usr", "usr/a", "usr/etc", "usr/etc/passwd"]
    assert [shown(entries[path])[:2] for path in ("usr", "usr/a")] == [("directory", 0o711), ("file", 0o4755)]


def test_an_image_without_layers_is_an_empty_tree(tmp_path: Path) -> None:
    do_import(tmp_path / "repo", write_image(tmp_path / "image", []))

    assert list(entries_of(tmp_path / "repo", "a/ref")) == [""]


@pytest.mark.parametrize("seed", range(4))
def test_the_result_depends_neither_on_jobs_nor_on_compression_nor_on_the_mode(seed: int, tmp_path: Path) -> None:
    layers = RandomLayers(seed)
    made = [layers.layer(25) for _ in range(6)]
    store, image = write_image(tmp_path / "image", made)
    tree = None
    for number, (mode, jobs) in enumerate([("archive", 1), ("bare-user", 3), *(("bare", 2) for _ in range(ROOT))]):
        found = do_import(tmp_path / f"repo{number}", (store, image), mode=mode, jobs=jobs)
        tree = tree or found
        assert found.checksum == tree.checksum
        assert (found.new_objects, found.new_bytes, found.left_out) == (tree.new_objects, tree.new_bytes, tree.left_out)
    plain = do_import(tmp_path / "plain", write_image(tmp_path / "plain image", made, compresses=False))
    assert entries_of(tmp_path / "plain", plain.checksum) == entries_of(tmp_path / "repo0", "a/ref")


def test_the_same_image_again_is_the_same_commit_and_writes_nothing(tmp_path: Path) -> None:
    image = derived_image(tmp_path / "image", [Change("usr/new", data=b"new"), symlink("usr/l", "new")])
    first = do_import(tmp_path / "repo", image)
    again = do_import(tmp_path / "repo", image)

    assert again.checksum == first.checksum
    assert (again.new_objects, again.new_bytes) == (0, 0)
    assert again.commit is not None and again.commit.layers_read == 0


def test_new_objects_are_those_that_were_not_there(tmp_path: Path) -> None:
    found = derived(
        tmp_path, [Change("usr/new", data=b"new"), Change("usr/twin", data=b"new"), Change("usr/doc", data=b"a")]
    )

    objects = [path for path in (tmp_path / "repo/objects").rglob("*") if not path.is_dir()]
    assert found.new_objects == len(objects)
    assert merged(found).new_bytes == len(b"new")  # `doc` is an object of the base


# Bad input


def refuses(tmp_path: Path, image: Image, kind: type[OstrataError], message: str, **options: object) -> None:
    """The ref is not there, and no object of the base is, unless it is whole."""
    with pytest.raises(kind, match=message):
        do_import(tmp_path / "repo", image, **options)
    repository = open_repository(str(tmp_path / "repo"))
    assert repository.list_refs() == []
    assert list((tmp_path / "repo/tmp").iterdir()) == [tmp_path / "repo/tmp/cache"]
    if repository.has_commit(BASE_COMMIT):
        assert entries_of(tmp_path / "repo", BASE_COMMIT) == expected_entries(BASE)


def test_a_missing_layer_is_known_before_anything_is_read(tmp_path: Path) -> None:
    store, image = derived_image(tmp_path / "image", [Change("usr/new")])
    (tmp_path / "image/blobs/sha256" / image.layers[2].descriptor.digest.encoded).unlink()
    refuses(tmp_path, (store, image), NotFoundError, "layer 2: blob .*: no such blob")
    assert not list((tmp_path / "repo/objects").iterdir())


def test_a_link_to_what_is_not_there_names_layer_and_entry(tmp_path: Path) -> None:
    image = derived_image(tmp_path / "image", [link("usr/\x1b", "usr/nothing")])
    refuses(tmp_path, image, MalformedError, r"layer 2: usr/\\x1b: a hard link to 'usr/nothing'")


def test_a_link_to_an_object_that_the_base_has_not_is_refused_even_when_the_repository_has_it(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    secret = {"": BASE[""], "secret": tarbuilder.Node("file", 0o600, data=b"somebody else's")}
    init_repository(str(repo))
    image = derived_image(tmp_path / "other", base=secret)
    import_image(str(repo), *image)
    image = derived_image(tmp_path / "image", [link("usr/mine", object_name("secret", secret))])
    refuses(tmp_path, image, MalformedError, "a hard link to 'sysroot/ostree/repo/objects/")


@pytest.mark.parametrize("name", ["../up", "usr/../../up", "usr/.."])
def test_a_path_that_leads_out_is_refused(name: str, tmp_path: Path) -> None:
    refuses(tmp_path, derived_image(tmp_path / "image", [Change(name)]), MalformedError, "layer 2: ")


def test_a_cut_layer_and_a_bomb_are_refused(tmp_path: Path) -> None:
    tar = layer_tar([Change("usr/zeros", data=bytes(4 << 20))])
    refuses(tmp_path, derived_image(tmp_path / "cut", tar[:-3000]), MalformedError, "layer 2: ")
    image = derived_image(tmp_path / "bomb", tar)
    refuses(tmp_path, image, LimitError, "layer 2: .*at most 1048576 bytes", max_size=1 << 20)


def test_bare_user_only_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    image = write_image(tmp_path / "image", [[Change("usr/su", mode=0o4755)]])
    refuses(tmp_path, image, UnsupportedError, "/usr/su: a bare-user-only repository", mode="bare-user-only")


def test_a_file_of_the_base_that_layers_leave_alone_is_not_read(tmp_path: Path) -> None:
    """Its object may even be damaged: that is for fsck."""
    repo, image = tmp_path / "repo", derived_image(tmp_path / "image", [Change("usr/new")])
    do_import(repo, derived_image(tmp_path / "base"), mode="archive")
    checksum = file_checksum(BASE["usr/bin/sh"])
    victim = repo / f"objects/{checksum[:2]}/{checksum[2:]}.filez"
    victim.write_bytes(victim.read_bytes()[:-2] + b"\0\0")
    found = do_import(repo, image, mode="archive")
    entry = entries_of(repo, found.checksum)["usr/bin/sh"]
    assert isinstance(entry, RegularFile) and entry.content == checksum
