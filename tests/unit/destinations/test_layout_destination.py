import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from oci_images import AMD64, digest_of, make_image, put_image
from ostrata.destinations.layout import LayoutDestination
from ostrata.errors import AccessError, DigestMismatchError, MalformedError, NotFoundError, OstrataError
from ostrata.stores.blobs import BlobDirectory
from ostrata.stores.images import read_image
from ostrata.stores.oci_layout import open_layout

TESTS = Path(__file__).resolve().parents[2]


def write(path, tag, content=b"hello"):
    with LayoutDestination(str(path), tag) as destination:
        return put_image(destination, make_image(content))


def tags(path):
    return [entry.tag for entry in open_layout(str(path)).index().entries]


def snapshot(path):
    return {str(file): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def test_a_layout_is_made_and_holds_nothing_but_the_image(tmp_path):
    path = tmp_path / "new ž\n"
    descriptor = write(path, "v1")
    image = make_image()
    assert descriptor.digest == image.digest
    assert sorted(os.listdir(path)) == ["blobs", "index.json", "oci-layout"]
    names = {
        image.digest.encoded,
        image.layer.descriptor.digest.encoded,
        read_image(open_layout(str(path))).manifest.config.digest.encoded,
    }
    assert set(os.listdir(path / "blobs/sha256")) == names
    assert (path / "oci-layout").read_bytes() == b'{"imageLayoutVersion":"1.0.0"}'
    assert (path / "index.json").read_text() == (
        '{"manifests":[{"annotations":{"org.opencontainers.image.ref.name":"v1"},'
        f'"digest":"{image.digest}","mediaType":"application/vnd.oci.image.manifest.v1+json",'
        f'"platform":{{"architecture":"amd64","os":"linux"}},"size":{len(image.manifest)}}}],"schemaVersion":2}}'
    )


def test_without_a_tag_only_the_untagged_image_is_replaced(tmp_path):
    path = tmp_path / "layout"
    for tag, content in ((None, b"1"), ("a", b"1"), ("b", b"1"), (None, b"2"), ("a", b"3")):
        write(path, tag, content)
    assert tags(path) == [None, "a", "b"]
    store = open_layout(str(path))
    assert read_image(store).descriptor.digest == make_image(b"2").digest
    assert read_image(store, tag="a").descriptor.digest == make_image(b"3").digest
    assert read_image(store, tag="b").descriptor.digest == make_image(b"1").digest


def test_the_same_image_again_changes_no_byte(tmp_path):
    write(tmp_path / "layout", "a")
    before = snapshot(tmp_path)
    write(tmp_path / "layout", "a")
    assert snapshot(tmp_path) == before


def test_an_existing_blob_is_kept_and_a_cut_one_is_replaced(tmp_path):
    blobs = BlobDirectory(str(tmp_path))
    digest = blobs.write(b"abc")
    inode = os.stat(tmp_path / digest.encoded).st_ino
    blobs.write(b"abc")
    assert os.stat(tmp_path / digest.encoded).st_ino == inode
    (tmp_path / digest.encoded).write_bytes(b"a")
    blobs.write(b"abc")
    assert (tmp_path / digest.encoded).read_bytes() == b"abc"
    assert len(os.listdir(tmp_path)) == 1


def test_an_image_whose_layer_is_missing_is_not_made_visible(tmp_path):
    write(tmp_path / "layout", "old")
    image = make_image(b"other")
    with (
        LayoutDestination(str(tmp_path / "layout"), "new") as destination,
        pytest.raises(NotFoundError, match=f"blob {image.layer.descriptor.digest}: no such blob"),
    ):
        destination.write_image(image.config, image.manifest, AMD64)
    assert tags(tmp_path / "layout") == ["old"]


@pytest.mark.parametrize(
    "index",
    [b"", b"{", b'{"schemaVersion":2,"manifests":[1]}', b'{"schemaVersion":2,"manifests":[],"manifests":[]}'],
)
def test_a_corrupt_index_is_refused_at_once_and_kept_as_it_is(tmp_path, index):
    write(tmp_path / "layout", "a")
    (tmp_path / "layout/index.json").write_bytes(index)
    before = snapshot(tmp_path)
    with pytest.raises(MalformedError, match="index"):
        write(tmp_path / "layout", "b")
    assert snapshot(tmp_path) == before


def test_foreign_members_of_an_index_are_kept(tmp_path):
    write(tmp_path / "layout", "a")
    path = tmp_path / "layout/index.json"
    foreign = {"mediaType": "x/y", "digest": "sha512:" + "0" * 128, "size": 1, "x": {"y": [None]}}
    document = json.loads(path.read_text())
    document["manifests"].insert(0, foreign)
    document["annotations"] = {"who": "ž"}
    path.write_text(json.dumps(document))
    write(tmp_path / "layout", "a", b"2")
    after = json.loads(path.read_text())
    assert after["manifests"][0] == foreign
    assert after["annotations"] == {"who": "ž"}
    assert len(after["manifests"]) == 2


def test_a_place_that_is_something_else_is_refused_and_untouched(tmp_path):
    (tmp_path / "file").write_bytes(b"precious")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/photo").write_bytes(b"precious")
    (tmp_path / "outside").mkdir()
    write(tmp_path / "linked", "a")
    shutil.rmtree(tmp_path / "linked/blobs/sha256")
    (tmp_path / "linked/blobs/sha256").symlink_to(tmp_path / "outside")
    before = snapshot(tmp_path)
    for name in ("file", "full", "linked", "absent/below"):
        with pytest.raises(OstrataError) as caught:
            write(tmp_path / name, "b")
        assert str(tmp_path) in str(caught.value)
    assert snapshot(tmp_path) == before


def test_twelve_writers_at_once_keep_twelve_tags(tmp_path):
    path = tmp_path / "layout"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write, args=(path, f"tag{i}", b"%d" % (i // 2))) for i in range(12)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 12
    assert sorted(tags(path)) == sorted(f"tag{i}" for i in range(12))
    for i in range(12):
        digest = make_image(b"%d" % (i // 2)).digest
        assert read_image(open_layout(str(path)), tag=f"tag{i}").descriptor.digest == digest


WRITE_FOR_EVER = """
import sys
sys.path.insert(0, sys.argv[1])
from oci_images import make_image, put_image
from ostrata.destinations.layout import LayoutDestination
number = int(sys.argv[3])
print("ready", flush=True)
while True:
    number += 1
    with LayoutDestination(sys.argv[2], "v") as destination:
        put_image(destination, make_image(b"%d" % number * 50000))
"""


def test_a_kill_at_any_moment_leaves_a_whole_image(tmp_path):
    path = tmp_path / "layout"
    write(path, "v")
    deadline = time.monotonic() + 8
    for turn in range(12):
        command = [sys.executable, "-c", WRITE_FOR_EVER, TESTS, path, str(turn * 1000)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(0.005 + 0.0137 * turn)
            process.send_signal(signal.SIGKILL)
        image = read_image(open_layout(str(path)), tag="v")
        for layer in image.layers:
            BlobDirectory(str(tmp_path)).adopt(open_layout(str(path)), layer.descriptor)  # verifies it
        if time.monotonic() > deadline:
            break
    write(path, "v")
    assert not list(path.rglob(".ostrata-*"))


def test_a_blob_is_adopted_verified_or_not_at_all(tmp_path):
    write(tmp_path / "old", "a")
    store = open_layout(str(tmp_path / "old"))
    descriptor = make_image().layer.descriptor
    with LayoutDestination(str(tmp_path / "new"), "a") as destination:
        destination.blobs.adopt(store, descriptor)
        assert destination.blobs.has(descriptor.digest, descriptor.size)
        assert not destination.blobs.has(descriptor.digest, descriptor.size + 1)
        assert not destination.blobs.has(digest_of("x"), 1)
    old = Path(store.blob_path(descriptor.digest))
    data = bytearray(old.read_bytes())
    data[-1] ^= 1
    old.unlink()
    old.write_bytes(data)
    with LayoutDestination(str(tmp_path / "third"), "a") as destination:
        with pytest.raises(DigestMismatchError, match=f"blob {descriptor.digest}: expected the digest"):
            destination.blobs.adopt(store, descriptor)
        assert os.listdir(destination.blobs.path) == []


def test_a_blob_that_was_checked_is_not_read_again_where_it_is(tmp_path):
    write(tmp_path / "old", "a")
    store = open_layout(str(tmp_path / "old"))
    descriptor = make_image().layer.descriptor
    path = store.blob_path(descriptor.digest)
    os.truncate(path, 0)
    os.truncate(path, descriptor.size)  # who reads it sees that it is damaged
    with LayoutDestination(str(tmp_path / "old"), "a") as destination:
        destination.blobs.adopt(store, descriptor, checked=True)
        with pytest.raises(DigestMismatchError):
            destination.blobs.adopt(store, descriptor)


@pytest.fixture
def small_disk(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    point = tmp_path / "disk"
    point.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", point], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    yield point
    subprocess.run(["umount", point], check=True)


def test_a_full_disk_is_a_clear_error_and_nothing_is_visible(small_disk):
    write(small_disk / "layout", "old")
    before = snapshot(small_disk)
    with (
        LayoutDestination(str(small_disk / "layout"), "new") as destination,
        pytest.raises(AccessError, match="no space left on device"),
        destination.blobs.create() as writer,
    ):
        for _ in range(100):
            writer.write(os.urandom(1 << 16))
    assert snapshot(small_disk) == before
    write(small_disk / "layout", "new")
    assert tags(small_disk / "layout") == ["old", "new"]


def test_a_read_only_place_is_a_clear_error(small_disk):
    write(small_disk / "layout", "old")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(AccessError, match="read-only file system"):
        write(small_disk / "layout", "new", b"other")
    assert tags(small_disk / "layout") == ["old"]
