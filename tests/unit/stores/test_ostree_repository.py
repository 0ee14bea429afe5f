"""Repositories as they are read: five modes, parents, revisions, and everything that can be broken in them."""

import os
import pickle
import socket
import zlib
from pathlib import Path

import pytest

import tarbuilder
from ostrata.codecs import ostree
from ostrata.errors import (
    AccessError,
    DigestMismatchError,
    MalformedError,
    NotFoundError,
    OstrataError,
    UnsupportedError,
)
from ostrata.model.ostree import Variant
from ostrata.sources.ostree_commit import read_commit_tree, read_tree
from ostrata.stores.ostree_repository import open_repository
from repositories import MODES, ROOT, TREE, HandmadeRepository, expected_entries, make_repository, tree_for
from tarbuilder import Node

SECRET = "the-secret-content"
MISSING = "ab" * 32
SHELL, LINK, EMPTY = "usr/bin/sh", "usr/share/link", "usr/bin/empty"


@pytest.fixture(params=MODES)
def repository(request, tmp_path):
    return make_repository(tmp_path / "a repo ž", request.param)


@pytest.fixture
def archive(tmp_path):
    return make_repository(tmp_path / "archive", "archive")


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret"
    path.write_text(SECRET)
    return path


def opened(repository):
    return open_repository(str(repository.path))


def commit_of(repository, tree=TREE):
    return tarbuilder.checksum_of(tarbuilder.commit_bytes(tree_for(repository.mode, tree)))


def file_checksum(repository, path):
    return tarbuilder.file_checksum(tree_for(repository.mode)[path])


def content(repository, checksum):
    return b"".join(opened(repository).open_file(checksum).content)


def read_everything(repository, revision="os/stable"):
    reader = opened(repository)
    commit, tree = read_tree(reader, revision)
    for _, checksum in commit.files:
        for _ in reader.open_file(checksum).content:
            pass
    return dict(tree)


def error_of(action, *arguments, kind=OstrataError):
    """The error's message: one line, and perhaps a hint, without the secret."""
    with pytest.raises(kind) as caught:
        action(*arguments)
    message = str(caught.value)
    assert SECRET not in message
    assert message.count("\n") <= 1
    return message


# What is whole


def test_every_mode_gives_back_the_tree(repository):
    assert read_everything(repository) == expected_entries(tree_for(repository.mode))


def test_every_mode_gives_back_every_content(repository):
    for path, node in tree_for(repository.mode).items():
        if node.kind != "directory":
            assert content(repository, file_checksum(repository, path)) == (node.data if node.kind == "file" else b"")


def test_a_repository_without_a_mode_is_bare(tmp_path):
    repository = make_repository(tmp_path / "repo", "bare")
    (repository.path / "config").write_text('# a comment\n\n[core]\nrepo_version = 1\n[remote "r"]\nurl=x=y\n')
    assert opened(repository).mode == "bare"
    assert read_everything(repository) == expected_entries(tree_for("bare"))


def test_the_last_of_repeated_config_keys_wins(archive):
    archive.write_config("[other]\nmode=x\n[core]\nmode=bare\nmode=archive\n")
    assert opened(archive).mode == "archive"


# Parents


@pytest.mark.parametrize("mode", MODES)
def test_objects_and_refs_come_from_an_archive_parent_too(tmp_path, mode):
    make_repository(tmp_path / "parent", "archive", tree_for(mode))
    child = HandmadeRepository(tmp_path / "child", mode, parent=str(tmp_path / "parent"))
    assert read_everything(child) == expected_entries(tree_for(mode))
    assert opened(child).list_refs() == ["os/stable"]


def test_a_child_and_its_grandparents_make_one_tree(tmp_path):
    tree = tree_for("archive")
    grandparent = HandmadeRepository(tmp_path / "one", "bare-user")
    parent = HandmadeRepository(tmp_path / "two", "archive", parent=str(tmp_path / "one"))
    child = HandmadeRepository(tmp_path / "three", "bare-user", parent=str(tmp_path / "two"))
    child.put_ref("os/stable", grandparent.put_tree(tree))
    for number, checksum in enumerate(sorted({tarbuilder.file_checksum(tree[path]) for path in tarbuilder.walk(tree)})):
        if number % 3:
            os.unlink(grandparent.object_path("file", checksum))
            node = next(
                tree[path] for path in tarbuilder.walk(tree) if tarbuilder.file_checksum(tree[path]) == checksum
            )
            (parent if number % 3 == 1 else child).put_file(node)
    assert read_everything(child) == expected_entries(tree)


def test_a_relative_parent_is_taken_from_the_working_directory(tmp_path, monkeypatch):
    make_repository(tmp_path / "here/parent", "archive")
    child = HandmadeRepository(tmp_path / "elsewhere/child", "archive", parent="parent")
    monkeypatch.chdir(tmp_path / "here")
    assert read_everything(child) == expected_entries(TREE)
    monkeypatch.chdir(tmp_path)
    assert "parent" in error_of(opened, child, kind=NotFoundError)


def test_a_missing_parent_is_named(tmp_path):
    child = HandmadeRepository(tmp_path / "child", parent=str(tmp_path / "gone\n"))
    message = error_of(opened, child, kind=NotFoundError)
    assert message.startswith(f"{tmp_path}/child: parent {tmp_path}/gone")
    assert "no OSTree repository here" in message


def test_parents_that_name_each_other_are_refused(tmp_path):
    one = HandmadeRepository(tmp_path / "one", parent=str(tmp_path / "two"))
    HandmadeRepository(tmp_path / "two", parent=f"{tmp_path}/two/../one")
    message = error_of(opened, one, kind=MalformedError)
    assert "name each other" in message and len(message) < 2000
    own = HandmadeRepository(tmp_path / "own", parent=str(tmp_path / "own"))
    assert "name each other" in error_of(opened, own, kind=MalformedError)


def test_a_childs_own_ref_hides_the_parents(tmp_path):
    parent = make_repository(tmp_path / "parent", "archive")
    child = HandmadeRepository(tmp_path / "child", parent=str(parent.path))
    other = child.put_tree({"": Node("directory", 0o700)})
    child.put_ref("os/stable", other)
    assert opened(child).resolve("os/stable") == other


# Config


@pytest.mark.parametrize(
    ("config", "kind", "message"),
    [
        ("", UnsupportedError, "expected repo_version=1, found ''"),
        ("[core]\nmode=bare\n", UnsupportedError, "expected repo_version=1, found ''"),
        ("[core]\nrepo_version=2\n", UnsupportedError, "expected repo_version=1, found '2'"),
        ("[core]\nrepo_version=\x1b[31m\n", UnsupportedError, r"found '\\x1b\[31m'"),
        ("[core]\nrepo_version=1\nmode=bare\x07\n", UnsupportedError, r"unknown repository mode 'bare\\x07'"),
        ("repo_version=1\n", MalformedError, "line 1: expected a group or key=value, found 'repo_version=1'"),
        ("[core]\nrepo_version=1\nwhat\n", MalformedError, "line 3: expected a group or key=value, found 'what'"),
        (b"[core]\nrepo_version=1\nx=\xff\n", MalformedError, "config is not UTF-8"),
        (bytes((1 << 20) + 1), MalformedError, "expected at most 1048576 bytes, found 1048577"),
    ],
)  # fmt: skip
def test_a_damaged_config_is_refused(archive, config, kind, message):
    (archive.path / "config").write_bytes(config.encode() if isinstance(config, str) else config)
    with pytest.raises(kind, match=message):
        opened(archive)


@pytest.mark.parametrize("name", ["config", "objects"])
def test_a_directory_that_is_no_repository_is_not_found(tmp_path, name):
    repository = make_repository(tmp_path / "repo", "archive")
    (repository.path / name).rename(tmp_path / "away")
    message = error_of(opened, repository, kind=NotFoundError)
    assert message.startswith(f"{tmp_path}/repo: no OSTree repository here\n") and f"`{name}`" in message


def test_a_path_that_is_not_there_or_a_file_is_no_repository(tmp_path):
    (tmp_path / "file").write_text("x")
    for name in ("nothing\x1b", "file"):
        assert "\x1b" not in error_of(open_repository, str(tmp_path / name), kind=NotFoundError)


def test_a_config_that_is_a_symlink_to_a_secret_shows_nothing_of_it(archive, secret):
    (archive.path / "config").unlink()
    (archive.path / "config").symlink_to(secret)
    error_of(opened, archive, kind=MalformedError)


def test_a_config_that_is_a_fifo_does_not_hang(archive):
    (archive.path / "config").unlink()
    os.mkfifo(archive.path / "config")
    assert "expected a regular file" in error_of(opened, archive, kind=MalformedError)


@pytest.mark.skipif(ROOT, reason="root may read everything")
def test_what_may_not_be_read_is_an_access_error(archive):
    archive.object_path("commit", commit_of(archive)).chmod(0)
    error_of(read_everything, archive, kind=AccessError)


# Revisions


def test_a_ref_a_checksum_and_a_unique_prefix_name_the_commit(archive):
    reader, checksum = opened(archive), commit_of(archive)
    for revision in ("os/stable", checksum, *(checksum[:length] for length in range(1, 64))):
        assert reader.resolve(revision) == checksum


def test_refs_may_end_in_white_space_or_nothing(archive):
    for number, end in enumerate(("", "\n", " \r\n\n")):
        path = archive.put_ref(f"r{number}", commit_of(archive))
        path.write_text(commit_of(archive) + end)
        assert opened(archive).resolve(f"r{number}") == commit_of(archive)


def test_remotes_refs_are_found_by_their_remote_by_path_and_by_name(archive):
    archive.put_ref("far/away", commit_of(archive), under="remotes/origin")
    reader = opened(archive)
    for revision in ("origin:far/away", "origin/far/away", "far/away"):
        assert reader.resolve(revision) == commit_of(archive)
    assert reader.list_refs() == ["origin:far/away", "os/stable"]
    for revision in ("other:far/away", "origin:os/stable"):
        assert "refs here: origin:far/away, os/stable" in error_of(reader.resolve, revision, kind=NotFoundError)


def test_a_local_ref_comes_before_a_remotes(archive):
    other = archive.put_tree({"": Node("directory", 0o700)})
    archive.put_ref("os/stable", other, under="remotes/origin")
    archive.put_ref("x", other, under="remotes/os")
    archive.put_ref("os/x", commit_of(archive))
    reader = opened(archive)
    assert reader.resolve("os/stable") == reader.resolve("os/x") == commit_of(archive)
    assert reader.resolve("origin:os/stable") == other


def test_aliases_are_followed(archive):
    (archive.path / "refs/heads/alias").symlink_to("os/stable")
    (archive.path / "refs/heads/os/again").symlink_to("../alias")
    assert opened(archive).resolve("alias") == opened(archive).resolve("os/again") == commit_of(archive)


def test_an_alias_loop_is_refused(archive):
    heads = archive.path / "refs/heads"
    (heads / "a").symlink_to("b")
    (heads / "b").symlink_to("a")
    assert "refs/heads/a: " in error_of(opened(archive).resolve, "a", kind=MalformedError)


def test_a_dangling_alias_is_no_ref(archive):
    (archive.path / "refs/heads/dangling").symlink_to("nothing")
    error_of(opened(archive).resolve, "dangling", kind=NotFoundError)


def test_an_ambiguous_prefix_is_refused_and_says_how_many(archive):
    first = commit_of(archive)
    twin = first[:20] + ("0" if first[20] != "0" else "1") + first[21:]
    archive.put_metadata("commit", b"whatever", twin)
    assert f"'{first[:20]}' is ambiguous: 2 commits" in error_of(
        opened(archive).resolve, first[:20], kind=NotFoundError
    )
    assert opened(archive).resolve(first[:21]) == first


def test_a_prefix_is_looked_for_in_parents_and_counts_an_object_once(tmp_path):
    parent = make_repository(tmp_path / "parent", "archive")
    child = HandmadeRepository(tmp_path / "child", parent=str(parent.path))
    checksum = commit_of(parent)
    assert opened(child).resolve(checksum[:6]) == checksum
    child.put_metadata("commit", tarbuilder.commit_bytes(TREE))
    assert opened(child).resolve(checksum[:6]) == checksum


def test_a_commits_prefix_hides_a_ref_of_that_name(archive):
    first = commit_of(archive)
    other = archive.put_tree({"": Node("directory", 0o700)})
    for length in (1, 2, 8):
        archive.put_ref(first[:length], other)
    assert opened(archive).resolve(first[:8]) == first
    archive.put_ref("0123abcd", other)
    assert opened(archive).resolve("0123abcd") == other


def test_things_in_objects_that_are_no_commits_have_no_prefix(archive):
    (archive.path / "objects/zz").write_text("a file")
    (archive.path / "objects/00").write_text("a file")
    (archive.path / "objects/11").mkdir()
    (archive.path / "objects/11/junk.commit").write_text("junk")
    for prefix in ("0", "00", "11", "1"):
        if not commit_of(archive).startswith(prefix):
            error_of(opened(archive).resolve, prefix, kind=NotFoundError)


def test_each_caret_goes_to_the_parent(archive):
    chain = [commit_of(archive)]
    for number in range(3):
        chain.append(archive.put_tree({"": Node("directory", 0o700 + number)}, parent=chain[-1]))
    archive.put_ref("tip", chain[-1])
    for count, checksum in enumerate(reversed(chain)):
        assert opened(archive).resolve("tip" + "^" * count) == checksum
        assert opened(archive).resolve(chain[-1][:12] + "^" * count) == checksum
    assert f"tip^^^^: commit {chain[0]} has no parent" in error_of(
        opened(archive).resolve, "tip^^^^", kind=NotFoundError
    )


def test_a_parent_that_was_never_pulled_is_missing(archive):
    archive.put_ref("tip", archive.put_tree({"": Node("directory", 0o700)}, parent=MISSING))
    reader = opened(archive)
    assert reader.resolve("tip^") == MISSING
    assert f"commit object {MISSING} is missing" in error_of(read_commit_tree, reader, "tip^", kind=NotFoundError)


@pytest.mark.parametrize(
    "name", ["", "^", "..", "a/../b", "/abs", "a//b", "a/", ".hidden", "-x", "a b", "a\nb", "a\0b", "r:", ":r", "x/y:r",
             "a\udcff", "\x1b[31m"]
)  # fmt: skip
def test_what_is_no_ref_name_is_refused_and_shown_escaped(archive, name):
    message = error_of(opened(archive).resolve, name, kind=MalformedError)
    assert "is not a valid ref name" in message
    assert message.isprintable()


@pytest.mark.parametrize("name", ["nothing", "os", "os/stable/more", "ABC", "ž", "x" * 300, "y/" * 3000 + "z"])
def test_a_ref_that_is_not_there_is_not_found_or_refused(archive, name):
    error_of(opened(archive).resolve, name)


def test_a_repository_without_refs_says_so(tmp_path):
    assert "the repository has no refs" in error_of(opened(HandmadeRepository(tmp_path / "r")).resolve, "x")


def test_a_ref_to_a_missing_commit_is_an_error(archive):
    archive.put_ref("lost", MISSING)
    assert f"commit object {MISSING} is missing" in error_of(
        read_commit_tree, opened(archive), "lost", kind=NotFoundError
    )


@pytest.mark.parametrize(
    "garbage", ["", "\n", SECRET, "A" * 64, "a" * 63, "a" * 65, "a" * 64 + "x", "\0" * 64, "a" * 5000]
)
def test_what_a_damaged_ref_file_holds_is_not_shown(archive, garbage):
    (archive.path / "refs/heads/damaged").write_text(garbage)
    message = error_of(opened(archive).resolve, "damaged", kind=MalformedError)
    assert message == f"{archive.path}/refs/heads/damaged: a ref that does not hold a checksum"


def test_an_alias_to_a_secret_shows_nothing_of_it(archive, secret):
    (archive.path / "refs/heads/alias").symlink_to(secret)
    error_of(opened(archive).resolve, "alias", kind=MalformedError)


def test_a_ref_that_is_a_fifo_does_not_hang(archive):
    os.mkfifo(archive.path / "refs/heads/fifo")
    error_of(opened(archive).resolve, "fifo", kind=NotFoundError)


# Commits


def test_detached_metadata_is_given_as_it_is(archive):
    assert opened(archive).read_detached_metadata(commit_of(archive)) is None
    data = ostree.encode_metadata({"k": Variant("s", "v"), "sig": Variant("ay", b"\0\1")})
    archive.put_metadata("commitmeta", data, commit_of(archive))
    assert opened(archive).read_detached_metadata(commit_of(archive)) == data


def test_detached_metadata_without_bytes_is_none_even_if_the_parent_has_some(tmp_path):
    parent = make_repository(tmp_path / "parent", "archive")
    data = ostree.encode_metadata({"k": Variant("s", "v")})
    parent.put_metadata("commitmeta", data, commit_of(parent))
    child = HandmadeRepository(tmp_path / "child", parent=str(parent.path))
    assert opened(child).read_detached_metadata(commit_of(parent)) == data
    child.put_metadata("commitmeta", b"", commit_of(parent))
    assert opened(child).read_detached_metadata(commit_of(parent)) is None


def test_damaged_detached_metadata_is_refused(archive):
    data = ostree.encode_metadata({"k": Variant("s", "v")})
    for cut in range(1, len(data)):
        archive.put_metadata("commitmeta", data[:cut], commit_of(archive))
        message = error_of(opened(archive).read_detached_metadata, commit_of(archive), kind=MalformedError)
        assert message.startswith(f"detached metadata of commit {commit_of(archive)}: ")


def test_a_partial_commit_is_refused(archive):
    for content in ("", "f"):
        (archive.path / f"state/{commit_of(archive)}.commitpartial").write_text(content)
        assert "is partial" in error_of(read_commit_tree, opened(archive), "os/stable", kind=NotFoundError)


def test_a_commit_that_is_partial_in_the_parent_is_refused(tmp_path):
    parent = make_repository(tmp_path / "parent", "archive")
    child = HandmadeRepository(tmp_path / "child", parent=str(parent.path))
    (parent.path / f"state/{commit_of(parent)}.commitpartial").touch()
    assert "is partial" in error_of(read_commit_tree, opened(child), "os/stable", kind=NotFoundError)
    child.put_tree(TREE)
    assert read_everything(child) == expected_entries(TREE)


@pytest.mark.parametrize("in_parent", [False, True])
def test_a_deleted_commit_is_called_deleted(tmp_path, in_parent):
    repository = make_repository(tmp_path / "repo", "archive")
    checksum = commit_of(repository)
    os.unlink(repository.object_path("commit", checksum))
    repository.put_metadata("tombstone-commit", b"x", checksum)
    if in_parent:
        repository = HandmadeRepository(tmp_path / "child", parent=str(repository.path))
    assert f"commit {checksum} was deleted" in error_of(
        read_commit_tree, opened(repository), "os/stable", kind=NotFoundError
    )


# Damaged objects


def metadata_paths(repository):
    tree = tree_for(repository.mode)
    return [
        repository.object_path("commit", commit_of(repository)),
        repository.object_path("dirtree", tarbuilder.checksum_of(tarbuilder.dirtree_bytes(tree, "usr/bin"))),
        repository.object_path("dirmeta", tarbuilder.checksum_of(tarbuilder.dirmeta_bytes(tree["usr/share"]))),
    ]


@pytest.mark.parametrize("number", range(3), ids=["commit", "dirtree", "dirmeta"])
def test_any_changed_byte_of_a_metadata_object_is_found(archive, number):
    path = metadata_paths(archive)[number]
    data = path.read_bytes()
    for offset in range(len(data)):
        damaged = bytearray(data)
        damaged[offset] ^= 1 << offset % 8
        path.write_bytes(damaged)
        message = error_of(read_commit_tree, opened(archive), "os/stable", kind=DigestMismatchError)
        assert f"expected checksum {path.parent.name}{path.stem}, found " in message


@pytest.mark.parametrize("number", range(3), ids=["commit", "dirtree", "dirmeta"])
def test_a_cut_or_extended_metadata_object_is_found(archive, number):
    path = metadata_paths(archive)[number]
    data = path.read_bytes()
    for damaged in (*(data[:cut] for cut in range(len(data))), data + b"\0", data + bytes(5000)):
        path.write_bytes(damaged)
        error_of(read_commit_tree, opened(archive), "os/stable", kind=DigestMismatchError)
    path.unlink()
    assert f"{path.suffix[1:]} object {path.parent.name}{path.stem} is missing" in error_of(
        read_commit_tree, opened(archive), "os/stable", kind=NotFoundError
    )


def test_a_metadata_object_of_a_claimed_terabyte_is_refused_unread(archive):
    os.truncate(metadata_paths(archive)[1], 1 << 40)
    assert "expected at most 134217728 bytes" in error_of(read_everything, archive, kind=MalformedError)


def replace_by(path, what, secret):
    path.unlink()
    if what == "symlink":
        path.symlink_to(secret)
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "directory":
        path.mkdir()
    else:
        # The path of a socket is short.
        where = os.open(path.parent, os.O_PATH)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"/proc/self/fd/{where}/{path.name}")
        os.close(where)


@pytest.mark.parametrize("what", ["symlink", "fifo", "directory", "socket"])
@pytest.mark.parametrize("number", range(3), ids=["commit", "dirtree", "dirmeta"])
def test_a_metadata_object_that_is_no_file_is_refused(archive, secret, number, what):
    replace_by(metadata_paths(archive)[number], what, secret)
    error_of(read_commit_tree, opened(archive), "os/stable")


@pytest.mark.parametrize("what", ["symlink", "fifo", "directory", "socket"])
@pytest.mark.parametrize("path", [SHELL, LINK, EMPTY])
def test_a_file_object_that_is_something_else_is_refused(repository, secret, path, what):
    checksum = file_checksum(repository, path)
    replace_by(repository.object_path("file", checksum), what, secret)
    assert checksum[2:] in error_of(content, repository, checksum)


def test_xattrs_in_a_symlink_to_a_secret_are_refused(tmp_path, secret):
    repository = make_repository(tmp_path / "repo", "bare-split-xattrs")
    checksum = file_checksum(repository, SHELL)
    path = Path(f"{repository.object_path('file', checksum)}-xattrs-link")
    path.unlink()
    path.symlink_to(secret)
    error_of(content, repository, checksum, kind=MalformedError)
    path.unlink()
    error_of(content, repository, checksum, kind=NotFoundError)


def test_a_missing_file_object_is_named(repository):
    checksum = file_checksum(repository, SHELL)
    os.unlink(repository.object_path("file", checksum))
    for action in (content, lambda *given: opened(given[0]).read_header(given[1])):
        assert f"file object {checksum} is missing" in error_of(action, repository, checksum, kind=NotFoundError)


@pytest.mark.parametrize("path", [SHELL, EMPTY, LINK])
def test_an_extended_file_object_is_refused(repository, path):
    checksum = file_checksum(repository, path)
    object_path = repository.object_path("file", checksum)
    if object_path.is_symlink():
        target = os.readlink(object_path)
        object_path.unlink()
        object_path.symlink_to(target + "x")
    elif repository.mode == "bare-user" and path == LINK:  # what follows the NUL is not looked at, as libostree does
        object_path.write_bytes(object_path.read_bytes()[:-1] + b"x\0")
    else:
        with open(object_path, "ab") as file:
            file.write(b"x")
    error_of(content, repository, checksum, kind=MalformedError)


@pytest.mark.parametrize("path", [SHELL, EMPTY, LINK])
def test_a_truncated_file_object_is_refused(repository, path):
    checksum = file_checksum(repository, path)
    object_path = repository.object_path("file", checksum)
    if object_path.is_symlink():
        target = os.readlink(object_path)
        object_path.unlink()
        object_path.symlink_to(target[:-1])
        error_of(content, repository, checksum, kind=MalformedError)
        return
    data = object_path.read_bytes()
    if repository.mode == "bare-user" and path == LINK:
        data = data[:-1]
    for cut in {0, len(data) // 2, len(data) - 1} - {len(data), -1}:
        object_path.write_bytes(data[:cut])
        error_of(content, repository, checksum, kind=MalformedError)


def means_the_same(archived, damaged):
    """Does only a bit differ that means nothing: one after the end of the deflate stream, in its last byte?"""
    if archived[:-1] != damaged[:-1]:
        return False
    start = 8 + int.from_bytes(archived[:4], "big")
    try:
        return zlib.decompress(archived[start:], -15) == zlib.decompress(damaged[start:], -15)
    except zlib.error:
        return False


def test_any_changed_byte_of_a_content_is_found(repository):
    checksum = file_checksum(repository, "usr/bin/new\nline \x1b[31m ž")
    path = repository.object_path("file", checksum)
    data = path.read_bytes()
    for offset in range(len(data)):
        damaged = bytearray(data)
        damaged[offset] ^= 1 << offset % 8
        path.write_bytes(damaged)
        if repository.mode == "archive" and means_the_same(data, damaged):
            continue
        error_of(content, repository, checksum, kind=MalformedError)


def test_a_changed_byte_late_in_a_large_content_is_found(repository):
    checksum = file_checksum(repository, "usr/share/a")
    path = repository.object_path("file", checksum)
    with open(path, "r+b") as file:
        file.seek(-5, os.SEEK_END)
        file.write(b"b")
    error_of(content, repository, checksum, kind=MalformedError)


@pytest.mark.parametrize("path", [SHELL, LINK, EMPTY])
def test_changed_permissions_are_found(tmp_path, path):
    for mode in ("bare", "bare-split-xattrs", "bare-user-only"):
        repository = make_repository(tmp_path / mode, mode)
        checksum = file_checksum(repository, path)
        object_path = repository.object_path("file", checksum)
        if path == LINK:
            if not ROOT or mode == "bare-user-only":
                continue
            os.chown(object_path, 7, 7, follow_symlinks=False)
        else:
            object_path.chmod(0o640)
        error_of(content, repository, checksum, kind=DigestMismatchError)


def test_any_changed_byte_of_ostreemeta_is_found(tmp_path):
    repository = make_repository(tmp_path / "repo", "bare-user")
    for path in ("usr/share/a", LINK, EMPTY):
        checksum = file_checksum(repository, path)
        object_path = repository.object_path("file", checksum)
        meta = os.getxattr(object_path, "user.ostreemeta")
        for damaged in (
            *(meta[:at] + bytes([meta[at] ^ 1 << at % 8]) + meta[at + 1 :] for at in range(len(meta))),
            *(meta[:cut] for cut in range(len(meta))),
            meta + b"\0",
        ):
            os.setxattr(object_path, "user.ostreemeta", damaged)
            error_of(content, repository, checksum, kind=MalformedError)
        os.removexattr(object_path, "user.ostreemeta")
        assert "no user.ostreemeta" in error_of(content, repository, checksum, kind=MalformedError)


@pytest.mark.parametrize("path", [SHELL, "usr/share/a", LINK, EMPTY])
def test_an_archived_object_cut_anywhere_is_refused(archive, path):
    checksum = file_checksum(archive, path)
    object_path = archive.object_path("file", checksum)
    data = object_path.read_bytes()
    for cut in range(len(data)):
        object_path.write_bytes(data[:cut])
        error_of(content, archive, checksum, kind=MalformedError)


def test_a_deflate_stream_that_gives_more_than_it_claims_stops_early(archive):
    checksum = file_checksum(archive, SHELL)
    path = archive.object_path("file", checksum)
    header = ostree.encode_archive_header(opened(archive).read_header(checksum)[0], 800)
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(256)) + compressor.flush()
    path.write_bytes(header + bomb)
    assert "expected 800 bytes of content, found more" in error_of(content, archive, checksum, kind=MalformedError)


def test_an_archived_header_that_claims_gigabytes_is_refused_unread(archive):
    checksum = file_checksum(archive, SHELL)
    for length in (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x08\0\0\1"):
        archive.object_path("file", checksum).write_bytes(length + bytes(100))
        error_of(content, archive, checksum, kind=MalformedError)


def test_a_symlink_target_that_is_not_utf_8_is_refused_and_shown_escaped(tmp_path):
    for mode in MODES:
        node = tree_for(mode, {"x": Node("symlink", 0o777, data=b"\xff\x1b")})["x"]
        repository = HandmadeRepository(tmp_path / mode, mode)
        checksum = repository.put_file(node)
        message = error_of(content, repository, checksum, kind=UnsupportedError)
        assert message.isprintable() and "\\xff\\x1b" in message


def test_a_device_in_an_archive_is_refused(archive):
    checksum = file_checksum(archive, EMPTY)
    path = archive.object_path("file", checksum)
    data = bytearray(path.read_bytes())
    data[24:28] = (0o020644).to_bytes(4, "big")
    path.write_bytes(data)
    assert "the mode 20644" in error_of(content, archive, checksum, kind=MalformedError)


def test_a_repository_that_was_read_can_be_sent_to_another_process(repository):
    found = opened(repository)
    read_everything(found)
    assert pickle.loads(pickle.dumps(found)) == found
