"""Repositories as they are made, objects as they are kept, refs as they move."""

import fcntl
import hashlib
import os
import stat
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from ostrata.codecs import ostree
from ostrata.errors import AccessError, MalformedError, NotFoundError, UnsupportedError
from ostrata.model.ostree import FileHeader
from ostrata.model.tree import Attributes
from ostrata.stores.ostree_repository import open_repository
from ostrata.stores.ostree_staging import ObjectStage
from ostrata.stores.ostree_writer import WRITABLE_MODES, init_repository, open_writer, sync_file_system

ROOT = os.geteuid() == 0
OWNER = (os.geteuid(), os.getegid())
HEADER = FileHeader(Attributes(0o4751, *OWNER))
LINK = FileHeader(Attributes(0o777, *OWNER), "bin/žluť")
MODES = [
    pytest.param(mode, marks=pytest.mark.skipif(mode == "bare" and not ROOT, reason="bare needs root"))
    for mode in WRITABLE_MODES
]
COMMIT = "ab" * 32


@pytest.fixture(params=MODES)
def repository(request, tmp_path):
    path = str(tmp_path / "a repo ž")
    init_repository(path, request.param)
    return path


@pytest.fixture
def archive(tmp_path):
    path = str(tmp_path / "archive")
    init_repository(path, "archive")
    return path


def object_path(path, checksum, suffix):
    return f"{path}/objects/{checksum[:2]}/{checksum[2:]}{suffix}"


def read(path):
    return Path(path).read_bytes()


def snapshot(top):
    found = {}
    for directory, _, names in os.walk(top):
        found[directory] = None
        for name in names:
            path = os.path.join(directory, name)
            found[path] = os.readlink(path) if os.path.islink(path) else read(path)
    return found


# Making a repository


@pytest.mark.parametrize("mode", WRITABLE_MODES)
def test_a_new_repository_has_the_layout_and_config_of_libostrees(tmp_path, mode):
    path = str(tmp_path / "deep/repo")
    assert init_repository(path, mode) is True
    stored = {"archive": "archive-z2"}.get(mode, mode)
    assert read(f"{path}/config").decode() == f"[core]\nrepo_version=1\nmode={stored}\n"
    directories = {os.path.relpath(directory, path) for directory, _, _ in os.walk(path)}
    assert directories == {
        ".", "extensions", "objects", "refs", "refs/heads", "refs/mirrors", "refs/remotes", "state", "tmp", "tmp/cache"
    }  # fmt: skip
    assert open_repository(path).mode == mode


def test_making_a_repository_again_changes_nothing(archive):
    before = snapshot(archive)
    assert init_repository(archive, "archive-z2") is False
    assert snapshot(archive) == before


def test_a_repository_of_another_mode_is_refused(archive):
    with pytest.raises(UnsupportedError, match="expected a repository of mode bare-user, found archive"):
        init_repository(archive, "bare-user")


def test_an_unknown_mode_is_refused(tmp_path):
    with pytest.raises(UnsupportedError, match="found 'bare-split-xattrs'"):
        init_repository(str(tmp_path / "repo"), "bare-split-xattrs")
    assert not (tmp_path / "repo").exists()


def test_a_directory_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "precious").write_text("x")
    with pytest.raises(UnsupportedError, match="not empty: it holds 'precious'"):
        init_repository(str(tmp_path))
    assert os.listdir(tmp_path) == ["precious"]


def test_an_interrupted_init_is_completed(tmp_path):
    path = str(tmp_path / "repo")
    init_repository(path)
    os.rmdir(f"{path}/objects")
    os.unlink(f"{path}/config")
    assert init_repository(path) is True
    assert open_repository(path).mode == "bare-user"


# Objects


def test_every_mode_gives_back_what_was_staged(repository):
    header = FileHeader(Attributes(0o751, 0, 0)) if "only" in read(f"{repository}/config").decode() else HEADER
    link = FileHeader(Attributes(0o777, 0, 0), LINK.target) if header is not HEADER else LINK
    large = os.urandom(1000) * 3000
    with open_writer(repository) as writer, ObjectStage(writer.place) as stage:
        files = {
            stage.add_file(header, b""): b"",
            stage.add_file(header, b"small\0"): b"small\0",
            stage.add_large_file(header, len(large), iter([memoryview(large)[:7], memoryview(large)[7:]])): large,
        }
        symlink = stage.add_symlink(link)
        dirtree = stage.add_metadata("dirtree", b"\0")
        assert stage.objects == 5
        writer.publish(COMMIT)
    assert symlink == ostree.file_checksum(link)
    reader = open_repository(repository)
    for checksum, content in files.items():
        found, size = reader.read_header(checksum)
        assert (found, size) == (header, len(content))
        assert b"".join(reader.open_file(checksum).content) == content
    assert reader.read_header(symlink) == (link, 0)
    assert reader.read_metadata("dirtree", dirtree) == b"\0"


def test_nothing_is_in_objects_before_it_is_published_and_nothing_in_tmp_after(repository):
    with open_writer(repository) as writer, ObjectStage(writer.place) as stage:
        stage.add_metadata("dirtree", b"\0")
        assert os.listdir(f"{repository}/objects") == []
        writer.publish(COMMIT)
        assert len(os.listdir(f"{repository}/objects")) == 1
    assert os.listdir(f"{repository}/tmp") == ["cache"]


def test_what_was_not_published_is_removed(repository):
    before = snapshot(repository)
    with pytest.raises(RuntimeError), open_writer(repository) as writer, ObjectStage(writer.place) as stage:
        stage.add_metadata("dirtree", b"\0")
        raise RuntimeError
    after = snapshot(repository)
    after.pop(f"{repository}/.lock")
    assert after == before


def test_an_object_that_is_there_is_a_success_and_stays(repository):
    with open_writer(repository) as writer, ObjectStage(writer.place) as stage:
        checksum = stage.add_metadata("dirtree", b"\0")
        assert stage.add_metadata("dirtree", b"\0") == checksum
        assert stage.objects == 1
        writer.publish(COMMIT)
    path = object_path(repository, checksum, ".dirtree")
    inode = os.stat(path).st_ino
    with open_writer(repository) as writer, ObjectStage(writer.place) as stage:
        assert stage.add_metadata("dirtree", b"\0") == checksum
        assert stage.objects == 0
        writer.publish(COMMIT)
    assert os.stat(path).st_ino == inode


def test_new_objects_join_those_in_the_same_directory(archive):
    pair = {}  # two dirtrees whose checksums begin with the same byte
    for number in range(100000):
        data = b"%d" % number
        first = hashlib.sha256(data).hexdigest()[:2]
        if first in pair:
            break
        pair[first] = data
    for one in (pair[first], data):
        with open_writer(archive) as writer, ObjectStage(writer.place) as stage:
            stage.add_metadata("dirtree", one)
            writer.publish(COMMIT)
    assert len(os.listdir(f"{archive}/objects/{first}")) == 2


def test_a_large_file_that_is_there_already_leaves_nothing_behind(archive):
    for expected in (1, 0):
        with open_writer(archive) as writer, ObjectStage(writer.place) as stage:
            stage.add_large_file(HEADER, 3, iter([memoryview(b"abc")]))
            assert stage.objects == expected
            writer.publish(COMMIT)
    assert os.listdir(f"{archive}/tmp") == ["cache"]


def test_a_large_file_that_was_promised_and_is_there_is_hashed_and_not_written(repository):
    header = FileHeader(Attributes(0o751, 0, 0))
    content = b"abc" * 1000
    checksum = ostree.file_checksum(header, content)
    with open_writer(repository) as writer, ObjectStage(writer.place) as stage:
        # A promise that nobody keeps yet.
        assert stage.add_large_file(header, 3000, iter([memoryview(content)]), promised=checksum) == checksum
        assert stage.objects == 1
        writer.publish(COMMIT)
        assert stage.add_large_file(header, 3000, iter([memoryview(content)]), promised=checksum) == checksum
        other = stage.add_large_file(header, 3, iter([memoryview(b"xyz")]), promised=checksum)
        assert (other, stage.objects) == (ostree.file_checksum(header, b"xyz"), 1)
        assert [name for name in os.listdir(writer.place.directory) if name.startswith("large")] == []


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (Attributes(0o644, 5, 6), "the owner 5:6"),
        (Attributes(0o644, 0, 0, ((b"user.a", b"1"),)), "extended attributes"),
    ],
)
def test_a_bare_user_only_repository_refuses_owners_and_xattrs(attributes, message, tmp_path):
    path = str(tmp_path / "repo")
    init_repository(path, "bare-user-only")
    with open_writer(path) as writer, ObjectStage(writer.place) as stage:
        for header in (FileHeader(attributes), FileHeader(attributes, "target")):
            with pytest.raises(UnsupportedError, match=f"cannot hold {message}"):
                stage.add_file(header, b"") if header.target is None else stage.add_symlink(header)


def test_detached_metadata_replaces_what_was_there(archive):
    for data in (b"one", b"two"):
        with open_writer(archive) as writer, ObjectStage(writer.place) as stage:
            stage.add_detached_metadata(COMMIT, data)
            with pytest.raises(AccessError, match="detached metadata twice"):
                stage.add_detached_metadata(COMMIT, data)
            writer.publish(COMMIT)
        assert read(object_path(archive, COMMIT, ".commitmeta")) == data


def test_a_transaction_sees_what_is_staged_and_what_was_there(repository):
    header = FileHeader(Attributes(0o751, 0, 0))
    with open_writer(repository) as writer, ObjectStage(writer.place) as stage:
        for published in (False, True):
            file, dirtree = stage.add_file(header, b"1"), stage.add_metadata("dirtree", b"\0")
            assert writer.has_object("file", file) and writer.has_object("dirtree", dirtree)
            assert not writer.has_object("dirmeta", dirtree)
            assert writer.read_metadata("dirtree", dirtree) == b"\0"
            with pytest.raises(NotFoundError):
                writer.read_metadata("dirmeta", dirtree)
            assert open_repository(repository).has_object("file", file) == published
            writer.publish(COMMIT)


def test_a_published_commit_is_partial_no_more(archive):
    for name in (COMMIT, "cd" * 32):
        Path(archive, "state", f"{name}.commitpartial").touch()
    with open_writer(archive) as writer:
        writer.publish(COMMIT)
    assert os.listdir(f"{archive}/state") == [f"{'cd' * 32}.commitpartial"]


def test_archived_content_is_raw_deflate_behind_the_header(archive):
    content = b"content " * 1000
    with open_writer(archive) as writer, ObjectStage(writer.place) as stage:
        small = stage.add_file(HEADER, content)
        other = FileHeader(Attributes(0o600, *OWNER))
        large = stage.add_large_file(other, len(content), iter([memoryview(content)]))
        writer.publish(COMMIT)
    for checksum, header in ((small, HEADER), (large, other)):
        path = object_path(archive, checksum, ".filez")
        head = ostree.encode_archive_header(header, len(content))
        stored = read(path)
        assert stored.startswith(head)
        assert zlib.decompress(stored[len(head) :], wbits=-15) == content
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o644


def test_bare_user_objects_have_safe_permissions_and_no_mtime(tmp_path):
    path = str(tmp_path / "repo")
    init_repository(path, "bare-user")
    with open_writer(path) as writer, ObjectStage(writer.place) as stage:
        checksums = {
            mode: stage.add_file(FileHeader(Attributes(mode, 4, 5)), b"x")
            for mode in (0o0000, 0o0444, 0o0666, 0o0777, 0o4755, 0o7777)
        }
        symlink = stage.add_symlink(LINK)
        writer.publish(COMMIT)
    for mode, checksum in checksums.items():
        status = os.stat(object_path(path, checksum, ".file"))
        assert stat.S_IMODE(status.st_mode) == mode & 0o775 | 0o400
        assert status.st_mtime == 0
        assert os.getxattr(object_path(path, checksum, ".file"), "user.ostreemeta")[:8] == b"\0\0\0\4\0\0\0\5"
    status = os.lstat(object_path(path, symlink, ".file"))
    assert status.st_mode == stat.S_IFREG | 0o644
    assert read(object_path(path, symlink, ".file")) == "bin/žluť\0".encode()


def test_a_bare_user_only_repository_refuses_modes_it_cannot_hold(tmp_path):
    path = str(tmp_path / "repo")
    init_repository(path, "bare-user-only")
    with (
        open_writer(path) as writer,
        ObjectStage(writer.place) as stage,
        pytest.raises(UnsupportedError, match="mode 4755"),
    ):
        stage.add_file(FileHeader(Attributes(0o4755)), b"")


@pytest.mark.skipif(not ROOT, reason="giving files away needs root")
def test_bare_objects_have_owner_mode_and_xattrs_on_the_inode(tmp_path):
    path = str(tmp_path / "repo")
    init_repository(path, "bare")
    capability = (b"security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    header = FileHeader(Attributes(0o6711, 1000, 1001, (capability,)))
    link = FileHeader(Attributes(0o777, 7, 8, ((b"trusted.t", b"v"),)), "target")
    with open_writer(path) as writer, ObjectStage(writer.place) as stage:
        checksum, symlink = stage.add_file(header, b"x"), stage.add_symlink(link)
        writer.publish(COMMIT)
    assert open_repository(path).read_header(checksum) == (header, 1)
    assert open_repository(path).read_header(symlink) == (link, 0)
    assert os.stat(object_path(path, checksum, ".file")).st_mtime == 0


@pytest.mark.skipif(ROOT, reason="root may")
def test_a_bare_repository_cannot_be_written_without_root(tmp_path):
    init_repository(str(tmp_path / "repo"), "bare")
    with pytest.raises(AccessError, match="needs root"), open_writer(str(tmp_path / "repo")):
        pass


# Transactions


def test_the_commit_object_is_published_with_the_rest(archive):
    with open_writer(archive) as writer, ObjectStage(writer.place) as stage:
        checksum = stage.add_metadata("commit", b"whatever")
        twin = object_path(archive, checksum, ".tombstone-commit")
        os.makedirs(os.path.dirname(twin))
        Path(twin).touch()
        writer.publish(checksum)
    assert os.listdir(os.path.dirname(twin)) == [f"{checksum[2:]}.commit"]


def test_the_lock_is_held_shared_during_a_transaction(archive):
    with open_writer(archive), open_writer(archive), open(f"{archive}/.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with open(f"{archive}/.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_only_the_leftovers_of_killed_runs_of_ours_are_removed(archive):
    foreign = f"{archive}/tmp/staging-of-somebody-else"
    os.mkdir(foreign)
    script = (
        "import sys, time; from ostrata.stores.ostree_writer import open_writer\n"
        "with open_writer(sys.argv[1]) as writer:\n    print(writer.place.directory, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, archive], stdout=subprocess.PIPE, text=True) as process:
        theirs = process.stdout.readline().strip()
        with open_writer(archive):
            assert os.path.isdir(theirs)  # in use
        process.kill()
    assert os.path.isdir(theirs)
    with open_writer(archive):
        assert not os.path.exists(theirs)
    assert os.path.isdir(foreign)


def test_a_repository_that_cannot_be_written_is_refused(archive):
    with open(f"{archive}/config", "w") as config:
        config.write("[core]\nrepo_version=1\nmode=bare-split-xattrs\n")
    with pytest.raises(UnsupportedError, match="cannot be written"), open_writer(archive):
        pass


def test_the_config_says_how_to_compress(archive):
    with open(f"{archive}/config", "a") as config:
        config.write("collection-id=org.example.Žluť\ndisable-xattrs=true\n[archive]\nzlib-level=1\n")
    with open_writer(archive) as writer:
        assert writer.place.zlib_level == 1
        assert writer.settings.collection_id == "org.example.Žluť"
        assert writer.settings.disable_xattrs
    for level in ("11", "-1", "", "9" * 5000):
        with open(f"{archive}/config", "a") as config:
            config.write(f"zlib-level={level}\n")
        with pytest.raises(MalformedError, match="zlib-level"), open_writer(archive):
            pass


def test_a_repository_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(NotFoundError), open_writer(str(tmp_path)):
        pass


# Refs


def test_a_ref_is_replaced_in_one_step(archive):
    with open_writer(archive) as writer:
        writer.write_ref("os/žluť/x86_64", COMMIT)
        writer.write_ref("os/žluť/x86_64", "cd" * 32)
    assert read(f"{archive}/refs/heads/os/žluť/x86_64").decode() == "cd" * 32 + "\n"
    assert os.listdir(f"{archive}/refs/heads/os/žluť") == ["x86_64"]
    assert stat.S_IMODE(os.stat(f"{archive}/refs/heads/os/žluť/x86_64").st_mode) == 0o644


@pytest.mark.parametrize("name", ["", "..", "a/../b", "/a", "a/", "a b", "a\nb", "-a", ".a", "a//b", "a:b", "a\x1b"])
def test_names_that_are_no_refs_are_refused(archive, name):
    with open_writer(archive) as writer, pytest.raises(MalformedError, match="not a valid ref name"):
        writer.write_ref(name, COMMIT)
    assert os.listdir(f"{archive}/refs/heads") == []


def test_refs_that_are_in_each_others_way_are_errors(archive):
    with open_writer(archive) as writer:
        writer.write_ref("os/stable", COMMIT)
        with pytest.raises(AccessError, match="other refs begin"):
            writer.write_ref("os", COMMIT)
        with pytest.raises(AccessError, match="is a ref already"):
            writer.write_ref("os/stable/x86_64", COMMIT)
    assert open_repository(archive).list_refs() == ["os/stable"]


def test_syncing_reports_failure(tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    sync_file_system(descriptor)
    os.close(descriptor)
    with pytest.raises(OSError):
        sync_file_system(descriptor)


def test_a_reader_always_sees_a_whole_ref(archive):
    with open_writer(archive) as writer:
        writer.write_ref("r", COMMIT)
        script = (
            "import sys\nseen = set()\n"
            "for _ in range(20000):\n    seen.add(open(sys.argv[1]).read())\nprint(*sorted(map(len, seen)))\n"
        )
        command = [sys.executable, "-c", script, f"{archive}/refs/heads/r"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            deadline = time.monotonic() + 20
            number = 0
            while process.poll() is None and time.monotonic() < deadline:
                number += 1
                writer.write_ref("r", f"{number:064x}")
            sizes = process.stdout.read().split()
    assert set(sizes) == {"65"}
