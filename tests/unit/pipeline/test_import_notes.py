"""Layers that hold no objects are read once: what they change is noted, and used while their objects are there."""

from __future__ import annotations

import gzip
import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from derived_images import content_of, derived_image, entries_of
from layer_images import tar_image
from ostrata.errors import MalformedError
from ostrata.model.image import StoredImage
from ostrata.model.tree import RegularFile
from ostrata.pipeline.import_image import ImportedImage, import_image
from ostrata.pipeline.import_notes import decode_index, encode_index
from ostrata.protocols import BlobStore
from ostrata.sources.image_layer import index_layer
from ostrata.sources.selinux import open_policy
from ostrata.stores.images import open_store, read_image
from ostrata.stores.ostree_repository import open_repository
from ostrata.stores.ostree_writer import init_repository
from ostrata.stores.reference import ImageReference
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
from repositories import ROOT
from selinux_policies import make_policy, needs_libselinux

MODES = ["archive", "bare-user", pytest.param("bare", marks=pytest.mark.skipif(not ROOT, reason="bare needs root"))]
LARGE = bytes(1_200_000)
FIRST = [
    *(directory("opt/a", 0o700), Change("opt/a/ž\n \x1b", data=b"first"), Change("opt/twin", data=b"first")),
    *(Change("usr/bin/tool", mode=0o4755, xattrs={"security.capability": CAPABILITY}), Change("opt/large", data=LARGE)),
    *(link("opt/hard", "opt/a/ž\n \x1b"), symlink("opt/soft", "a"), Change("fifo", "fifo"), Change("opt/gone")),
]
SECOND = [whiteout("opt/gone"), whiteout("opt/never was"), opaque("usr/share/doc"), Change("etc/passwd", data=b"new\n")]
CHANGED = [Change("opt/third", data=b"changed")]
Image = tuple[BlobStore, StoredImage]


def do_import(repo: Path, image: Image, *, mode: str = "bare-user", **options: object) -> ImportedImage:
    init_repository(str(repo), mode)
    return import_image(str(repo), *image, ref="a/ref", **options)  # type: ignore[arg-type]


def read(found: ImportedImage) -> int:
    assert found.merged is not None
    return found.merged.layers_read


def make_unreadable(path: Path, image: Image, numbers: Iterable[int]) -> None:
    """The blobs of these layers keep their sizes, and nothing else: who reads one fails."""
    for number in numbers:
        descriptor = image[1].layers[number].descriptor
        (path / "blobs/sha256" / descriptor.digest.encoded).write_bytes(bytes(descriptor.size))


def notes(repo: Path) -> dict[str, bytes]:
    return {
        f"{kind}/{note.name}": note.read_bytes()
        for kind in ("indexes", "contents")
        for note in sorted((repo / "ostrata" / kind).glob("*"))
    }


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("mode", MODES)
def test_a_second_import_reads_no_layer(mode: str, jobs: int, tmp_path: Path) -> None:
    image = derived_image(tmp_path / "image", FIRST, SECOND)
    first = do_import(tmp_path / "repo", image, mode=mode, jobs=jobs)
    make_unreadable(tmp_path / "image", image, (2, 3))
    second = do_import(tmp_path / "repo", image, mode=mode, jobs=jobs)

    assert (read(first), read(second)) == (2, 0)
    assert second.checksum == first.checksum
    assert (second.new_objects, second.left_out) == (0, first.left_out)
    assert second.merged is not None and first.merged is not None
    assert second.merged.findings == first.merged.findings != ()


@pytest.mark.parametrize("mode", MODES)
def test_an_update_reads_the_layer_that_changed(mode: str, tmp_path: Path) -> None:
    do_import(tmp_path / "repo", derived_image(tmp_path / "old", FIRST, SECOND, [Change("opt/third")]), mode=mode)
    image = derived_image(tmp_path / "image", FIRST, SECOND, CHANGED)
    expected = do_import(tmp_path / "fresh", image, mode=mode)
    make_unreadable(tmp_path / "image", image, (2, 3))
    found = do_import(tmp_path / "repo", image, mode=mode)

    assert (read(expected), read(found)) == (3, 1)
    assert found.checksum == expected.checksum
    assert entries_of(tmp_path / "repo", "a/ref") == entries_of(tmp_path / "fresh", "a/ref")
    assert content_of(tmp_path / "repo", "a/ref", "opt/third") == b"changed"
    assert content_of(tmp_path / "repo", "a/ref", "opt/large") == LARGE


def test_a_plain_image_is_read_once_too_and_may_have_a_layer_twice(tmp_path: Path) -> None:
    """From the first of them a name stays that the second gives another file."""
    image = write_image(tmp_path / "image", [FIRST, [link("kept", "opt/twin"), Change("opt/twin")], FIRST])
    first = do_import(tmp_path / "repo", image)
    make_unreadable(tmp_path / "image", image, (0, 1))
    second = do_import(tmp_path / "repo", image)
    assert (read(first), read(second)) == (3, 0)
    assert second.checksum == first.checksum


def test_a_layer_with_an_object_that_is_gone_is_read_again(tmp_path: Path) -> None:
    image = derived_image(tmp_path / "image", FIRST, SECOND)
    first = do_import(tmp_path / "repo", image)
    entry = entries_of(tmp_path / "repo", "a/ref")["opt/twin"]
    assert isinstance(entry, RegularFile)
    gone = tmp_path / "repo/objects" / entry.content[:2] / f"{entry.content[2:]}.file"
    gone.unlink()
    second = do_import(tmp_path / "repo", image)
    assert (read(second), second.checksum, second.new_objects) == (1, first.checksum, 1)
    assert content_of(tmp_path / "repo", "a/ref", "opt/twin") == b"first"


@pytest.mark.parametrize("kind", ["indexes", "contents"])
def test_a_damaged_note_costs_time_and_nothing_more(kind: str, tmp_path: Path) -> None:
    image = derived_image(tmp_path / "image", FIRST)
    first = do_import(tmp_path / "repo", image)
    before = notes(tmp_path / "repo")
    note = tmp_path / "repo/ostrata" / kind / image[1].layers[2].diff_id.encoded
    whole = note.read_bytes()
    damaged = bytearray(whole)
    damaged[-1] ^= 1
    for data in (damaged, whole[:-1], whole[:20], b""):
        note.write_bytes(data)
        found = do_import(tmp_path / "repo", image)
        assert (read(found), found.checksum) == (1, first.checksum)
        assert notes(tmp_path / "repo") == before


@pytest.mark.parametrize(
    "lines", [b"", b"{", b"[]\n", b"[]\n[]\n[1]\n", b"[]\n[[1]]\n", b'[]\n[]\n["a","no change",0,0,0,"",[]]\n']
)
def test_a_whole_note_that_is_no_index_costs_time_and_nothing_more(lines: bytes, tmp_path: Path) -> None:
    image = derived_image(tmp_path / "image", FIRST)
    first = do_import(tmp_path / "repo", image)
    before = notes(tmp_path / "repo")
    note = tmp_path / "repo/ostrata/indexes" / image[1].layers[2].diff_id.encoded
    head = note.read_bytes().split(b"\n", 1)[0] + b"\n"
    for data in (gzip.compress(lines), lines):
        note.write_bytes(head + hashlib.sha256(data).digest() + data)
        found = do_import(tmp_path / "repo", image)
        assert (read(found), found.checksum) == (1, first.checksum)
        assert notes(tmp_path / "repo") == before


def test_what_is_no_file_beside_the_notes_stays(tmp_path: Path) -> None:
    image = derived_image(tmp_path / "image", FIRST)
    init_repository(str(tmp_path / "repo"))
    for kind in ("indexes", "contents", "layers"):
        (tmp_path / "repo/ostrata" / kind / "directory").mkdir(parents=True)
    do_import(tmp_path / "repo", image)
    assert [path.name for path in (tmp_path / "repo/ostrata").glob("*/directory")] == ["directory"] * 3


def test_an_object_with_other_attributes_is_not_used_again_whatever_a_note_says(tmp_path: Path) -> None:
    """The note is another repository's, of the same contents with other modes."""
    images = [
        write_image(tmp_path / f"image {mode:o}", [[Change("opt/a", data=b"same", mode=mode)]])
        for mode in (0o644, 0o600)
    ]
    for image in images:
        do_import(tmp_path / "repo", image)
    place = tmp_path / "repo/ostrata/contents"
    names = [image[1].layers[0].diff_id.encoded for image in images]
    shutil.copy(place / names[0], place / names[1])
    found = do_import(tmp_path / "repo", images[1])
    assert read(found) == 1
    assert entries_of(tmp_path / "repo", "a/ref")["opt/a"].attributes.mode == 0o600


@needs_libselinux
def test_another_policy_reads_the_layers_again_and_labels_all_anew(tmp_path: Path) -> None:
    image = derived_image(tmp_path / "image", FIRST, SECOND)
    policy = open_policy(str(make_policy(tmp_path / "policy")))
    expected = do_import(tmp_path / "fresh", image, policy=policy)
    plain = do_import(tmp_path / "repo", image)
    labelled = do_import(tmp_path / "repo", image, policy=policy)
    again = do_import(tmp_path / "repo", image, policy=policy)
    assert (read(labelled), read(again)) == (2, 0)
    assert plain.checksum != labelled.checksum == again.checksum == expected.checksum


@needs_libselinux
def test_a_policy_in_a_layer_is_not_read_from_it_again(tmp_path: Path) -> None:
    tree = make_policy(tmp_path / "policy")
    files = [path for path in sorted(tree.rglob("*")) if path.is_file()]
    image = derived_image(
        tmp_path / "image", [Change(str(path.relative_to(tree)), data=path.read_bytes()) for path in files]
    )
    first = do_import(tmp_path / "repo", image)
    make_unreadable(tmp_path / "image", image, (2,))
    second = do_import(tmp_path / "repo", image)
    assert first.merged is not None and first.merged.policy is not None
    assert (read(second), second.checksum) == (0, first.checksum)


def test_notes_of_layers_whose_objects_were_pruned_are_removed(tmp_path: Path) -> None:
    old = derived_image(tmp_path / "old", [Change("opt/old", data=b"pruned")], [whiteout("usr/share")])
    do_import(tmp_path / "repo", old)
    entry = entries_of(tmp_path / "repo", "a/ref")["opt/old"]
    assert isinstance(entry, RegularFile)
    (tmp_path / "repo/objects" / entry.content[:2] / f"{entry.content[2:]}.file").unlink()
    image = derived_image(tmp_path / "image", FIRST)
    do_import(tmp_path / "repo", image)
    kept = {old[1].layers[3].diff_id.encoded, image[1].layers[2].diff_id.encoded}
    assert set(notes(tmp_path / "repo")) == {f"{kind}/{name}" for kind in ("indexes", "contents") for name in kept}


def test_a_layer_that_is_not_what_it_is_called_is_not_noted(tmp_path: Path) -> None:
    lying = tar_image(tmp_path / "image", [layer_tar(FIRST)], "gzip")
    lying.config["rootfs"]["diff_ids"] = ["sha256:" + "ab" * 32]
    lying.write()
    store = open_store(ImageReference("oci", str(lying.path)))
    with pytest.raises(MalformedError, match="diff_id"):
        do_import(tmp_path / "repo", (store, read_image(store)))
    assert notes(tmp_path / "repo") == {}
    assert open_repository(str(tmp_path / "repo")).list_refs() == []


@pytest.mark.parametrize("seed", range(20))
def test_a_noted_index_is_the_layers(seed: int) -> None:
    layers = RandomLayers(seed)
    for layer in (layers.layer(60), layers.layer(60), FIRST, SECOND):
        index = index_layer([layer_tar(layer)])
        assert decode_index(encode_index(index)) == index
