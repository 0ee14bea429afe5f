import os
import subprocess
import tarfile

import pytest

from oci_images import AMD64, make_image, put_image
from ostrata.codecs.tar_headers import Header, decode_header, encode_header
from ostrata.destinations.archive import ArchiveDestination
from ostrata.errors import AccessError, NotFoundError, UnsupportedError
from ostrata.stores.images import read_image
from ostrata.stores.oci_archive import open_archive


def write(path, tag="v1", content=b"hello", tmpdir=None):
    with ArchiveDestination(str(path), tag, tmpdir=tmpdir) as destination:
        return put_image(destination, make_image(content))


def test_an_archive_holds_the_image_and_nothing_else(tmp_path):
    path = tmp_path / "an archive\nž"
    descriptor = write(path)
    assert os.listdir(tmp_path) == [path.name]
    image = make_image()
    with tarfile.open(path) as tar:
        members = tar.getmembers()
    blobs = [descriptor, read_image(open_archive(str(path))).manifest.config, image.layer.descriptor]
    assert [member.name for member in members] == [
        *("oci-layout", "index.json", "blobs", "blobs/sha256"),
        *(f"blobs/sha256/{blob.digest.encoded}" for blob in blobs),
    ]
    assert {(m.uid, m.gid, m.mtime, m.mode) for m in members if m.isfile()} == {(0, 0, 0, 0o644)}


def test_two_runs_give_the_same_bytes(tmp_path):
    (tmp_path / "scratch").mkdir()
    write(tmp_path / "a")
    write(tmp_path / "b", tmpdir=str(tmp_path / "scratch"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert os.listdir(tmp_path / "scratch") == []


def test_an_existing_archive_is_replaced_whole(tmp_path):
    write(tmp_path / "a", "v1", b"1")
    write(tmp_path / "a", None, b"2")
    index = open_archive(str(tmp_path / "a")).index()
    assert [(entry.tag, entry.descriptor.digest) for entry in index.entries] == [(None, make_image(b"2").digest)]


def test_a_failed_run_leaves_the_old_archive_and_no_scratch(tmp_path):
    write(tmp_path / "a")
    before = (tmp_path / "a").read_bytes()
    image = make_image(b"other")
    with pytest.raises(NotFoundError), ArchiveDestination(str(tmp_path / "a"), "x") as destination:
        destination.write_image(image.config, image.manifest, AMD64)
    with pytest.raises(KeyboardInterrupt), ArchiveDestination(str(tmp_path / "a"), "x") as destination:
        destination.blobs.write(b"abc")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == before


def test_what_is_no_archive_is_not_replaced(tmp_path):
    (tmp_path / "letter").write_bytes(b"precious")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    for name in ("letter", "directory", "fifo"):
        with pytest.raises(UnsupportedError, match="expected a"):
            write(tmp_path / name)
    assert (tmp_path / "letter").read_bytes() == b"precious"
    (tmp_path / "empty").write_bytes(b"")
    write(tmp_path / "empty")


def test_the_scratch_of_a_killed_run_is_removed_by_the_next(tmp_path):
    pid = os.fork()
    if pid == 0:
        destination = ArchiveDestination(str(tmp_path / "a"), "x").__enter__()
        destination.blobs.write(b"abc")
        os._exit(9)  # like a kill: nothing is cleaned up
    os.waitpid(pid, 0)
    assert len(os.listdir(tmp_path)) == 1
    write(tmp_path / "other")
    assert len(os.listdir(tmp_path)) == 2
    write(tmp_path / "a")
    assert sorted(os.listdir(tmp_path)) == ["a", "other"]


@pytest.mark.parametrize("size", [0, 1, 8589934591, 8589934592, 1 << 45])
def test_sizes_beyond_octal_digits_are_written_and_read(size):
    block = encode_header(Header("blobs/sha256/x", size, "0"))
    assert decode_header(block) == Header("blobs/sha256/x", size, "0")
    assert tarfile.TarInfo.frombuf(block, "utf-8", "strict").size == size


def test_a_full_disk_leaves_the_old_archive_and_no_scratch(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "none", tmp_path]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        write(tmp_path / "a")
        before = (tmp_path / "a").read_bytes()
        with pytest.raises(AccessError, match="no space left on device"):
            write(tmp_path / "a", "v2", os.urandom(100_000))  # fits as a blob, and not a second time
        assert os.listdir(tmp_path) == ["a"]
        assert (tmp_path / "a").read_bytes() == before
    finally:
        subprocess.run(["umount", tmp_path], check=True)
