"""A commit as a tree: the order of its walk, and dirtrees that only their decoder can refuse."""

import struct

import pytest

import tarbuilder
from ostrata.errors import LimitError, MalformedError, NotFoundError, OstrataError
from ostrata.pipeline.commit import CommitOptions, commit
from ostrata.sources import ostree_commit
from ostrata.sources.modifiers import Modifiers
from ostrata.sources.ostree_commit import MAX_DEPTH, HeaderUnit, read_commit_tree, read_headers, read_tree
from ostrata.stores.ostree_repository import open_repository
from ostrata.stores.ostree_writer import init_repository
from repositories import MODES, ROOT, TREE, HandmadeRepository, expected_entries, make_repository, tree_for
from tarbuilder import Node

FILE = Node("file", 0o644, data=b"x")
DIRECTORY = Node("directory", 0o755)
DIRTREE = tarbuilder.checksum_of(tarbuilder.dirtree_bytes({"": DIRECTORY}, ""))
DIRMETA = tarbuilder.checksum_of(tarbuilder.dirmeta_bytes(DIRECTORY))


@pytest.fixture
def archive(tmp_path):
    repository = HandmadeRepository(tmp_path / "repo", "archive")
    repository.put_file(FILE)
    repository.put_metadata("dirtree", tarbuilder.dirtree_bytes({"": DIRECTORY}, ""))
    return repository


def read(repository, revision, jobs=1):
    reader = open_repository(str(repository.path))
    return dict(read_tree(reader, revision, jobs=jobs)[1])


def packed(checksum):
    return bytes.fromhex(checksum)


def file_entry(name):
    return tarbuilder.framed(name + b"\0" + packed(tarbuilder.file_checksum(FILE)), [len(name) + 1])


def directory_entry(name, dirtree=DIRTREE, dirmeta=DIRMETA):
    return tarbuilder.framed(name + b"\0" + packed(dirtree) + packed(dirmeta), [len(name) + 33, len(name) + 1])


def dirtree(files=(), directories=()):
    first = tarbuilder.array(files)
    return tarbuilder.framed(first + tarbuilder.array(directories), [len(first)])


# What is whole


@pytest.mark.parametrize("mode", MODES)
def test_the_walk_is_files_first_then_each_directory(tmp_path, mode):
    make_repository(tmp_path / "repo", mode)
    reader = open_repository(str(tmp_path / "repo"))
    found = read_commit_tree(reader, "os/stable")
    assert [path for path, _ in found.files] == tarbuilder.walk(TREE)
    assert [directory.path for directory in found.directories] == ["", "usr", "usr/bin", "usr/share"]
    also_found, tree = read_tree(reader, "os/stable")
    assert also_found == found
    assert dict(tree) == expected_entries(tree_for(mode))
    assert [path for path, _ in tree] == [
        "", "bin", "usr", "usr/bin", "usr/bin/empty", "usr/bin/new\nline \x1b[31m ž", "usr/bin/sh",
        "usr/bin/twin of sh", "usr/share", "usr/share/a", "usr/share/link",
    ]  # fmt: skip


def test_names_are_ordered_as_bytes_and_jobs_do_not_matter(tmp_path, monkeypatch):
    names = ["a", "a.", "a/", "ab", "ž", "Z", "\U0001f40e", "ｚ", " "]
    tree = {"": DIRECTORY}
    for number, name in enumerate(names):
        tree[name.strip("/")] = DIRECTORY if name.endswith("/") else Node("file", 0o644, data=b"%d" % number)
    repository = make_repository(tmp_path / "repo", "bare-user", tree)
    monkeypatch.setattr(ostree_commit, "HEADERS_PER_UNIT", 2)
    one, three = (list(read(repository, "os/stable", jobs).items()) for jobs in (1, 3))
    assert one == three
    assert dict(one) == expected_entries(tree)
    files = [path for path, entry in one if path and path != "a"]
    assert files == sorted(files, key=str.encode)


def test_a_work_unit_reads_headers_by_path_and_checksum(tmp_path):
    repository = make_repository(tmp_path / "repo", "archive")
    checksum = tarbuilder.file_checksum(TREE["usr/share/link"])
    [(header, size)] = read_headers(HeaderUnit(str(repository.path), (checksum,)))
    assert (header.target, size) == ("../žluť/new\nline", 0)


@pytest.mark.parametrize("mode", ["archive", "bare-user", "bare", "bare-user-only"])
def test_our_own_commits_read_the_same_in_every_mode(tmp_path, mode):
    if mode == "bare" and not ROOT:
        pytest.skip("bare needs root")
    (tmp_path / "tree/usr/new\nline").mkdir(parents=True)
    (tmp_path / "tree/usr/ž").write_bytes(b"content")
    (tmp_path / "tree/usr/empty").touch()
    (tmp_path / "tree/bin").symlink_to("usr/ž")
    init_repository(str(tmp_path / mode), mode)
    options = CommitOptions("r", 1, modifiers=Modifiers(canonical_permissions=True))
    commit(str(tmp_path / mode), str(tmp_path / "tree"), options)
    tree = {
        "": DIRECTORY,
        "bin": Node("symlink", 0o777, data="usr/ž".encode()),
        "usr": DIRECTORY,
        "usr/ž": Node("file", 0o644, data=b"content"),
        "usr/empty": Node("file", 0o644),
        "usr/new\nline": DIRECTORY,
    }
    reader = open_repository(str(tmp_path / mode))
    assert dict(read_tree(reader, "r")[1]) == expected_entries(tree)


def test_a_commit_of_an_empty_directory_has_one_entry(tmp_path):
    assert list(read(make_repository(tmp_path / "repo", "archive", {"": DIRECTORY}), "os/stable")) == [""]


# What only the decoder can refuse: all objects have the checksums that their names promise


@pytest.mark.parametrize("name", [b"..", b".", b"", b"a/b", b"/", b"/etc", b"../up", b"\xff", b"a\0b"])
@pytest.mark.parametrize("entry", [file_entry, directory_entry])
def test_a_name_that_is_no_file_name_is_refused_and_shown_escaped(archive, name, entry):
    data = dirtree([entry(name)]) if entry is file_entry else dirtree([], [entry(name)])
    with pytest.raises(MalformedError) as caught:
        read(archive, archive.put_dirtree_commit(data))
    assert str(caught.value).isprintable()
    assert str(caught.value).startswith(f"/: dirtree object {tarbuilder.checksum_of(data)}: ")


@pytest.mark.parametrize(
    ("files", "directories"),
    [
        ([b"b", b"a"], []),
        ([b"a", b"a"], []),
        ([], [b"b", b"a"]),
        ([], [b"a", b"a"]),
        ([b"a", b"c"], [b"c"]),
        (["ž".encode(), b"z"], []),
        ([b"ab", b"a"], []),
    ],
)
def test_unsorted_and_repeated_names_are_refused(archive, files, directories):
    data = dirtree(map(file_entry, files), map(directory_entry, directories))
    with pytest.raises(MalformedError, match="dirtree"):
        read(archive, archive.put_dirtree_commit(data))
    fine = dirtree(map(file_entry, [b"a", b"b"]), map(directory_entry, [b"c"]))
    assert list(read(archive, archive.put_dirtree_commit(fine))) == ["", "a", "b", "c"]


def test_no_bit_of_a_dirtree_under_its_true_checksum_makes_a_crash(archive):
    data = dirtree(map(file_entry, [b"a", b"bb"]), map(directory_entry, [b"c", b"d"]))
    refused = read_anyway = 0
    for offset in range(len(data)):
        for bit in {offset % 8, 5}:
            damaged = data[:offset] + bytes([data[offset] ^ 1 << bit]) + data[offset + 1 :]
            try:
                read(archive, archive.put_dirtree_commit(damaged))
            except OstrataError as error:
                assert str(error).count("\n") <= 1
                refused += 1
            else:
                read_anyway += 1
    assert refused > 200
    assert read_anyway < 10  # other names


def test_no_cut_of_a_dirtree_under_its_true_checksum_is_read(archive):
    data = dirtree(map(file_entry, [b"a", b"bb"]), map(directory_entry, [b"c", b"d"]))
    for damaged in (*(data[:cut] for cut in range(len(data))), data + b"\0", data + data):
        with pytest.raises(OstrataError):
            read(archive, archive.put_dirtree_commit(damaged))


@pytest.mark.parametrize("kind", ["commit", "dirmeta"])
def test_no_bit_of_another_object_under_its_true_checksum_makes_a_crash(archive, kind):
    node = Node("directory", 0o755, 1, 2, ((b"user.a", b"1"),))
    data = tarbuilder.dirmeta_bytes(node) if kind == "dirmeta" else tarbuilder.commit_bytes({"": DIRECTORY})
    archive.put_tree({"": DIRECTORY})
    for damaged in (
        *(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :] for at in range(len(data)) for bit in range(8)),
        *(data[:cut] for cut in range(len(data))),
        data + b"\0",
    ):
        checksum = archive.put_metadata(kind, damaged)
        revision = checksum if kind == "commit" else archive.put_commit(DIRTREE, checksum)
        try:
            read(archive, revision)
        except OstrataError as error:
            assert str(error).count("\n") <= 1


def test_a_dirmeta_that_is_a_files_is_refused(archive):
    data = struct.pack(">III", 0, 0, 0o100755)
    with pytest.raises(MalformedError, match=f"/: dirmeta object {tarbuilder.checksum_of(data)}: .*mode 100755"):
        read(archive, archive.put_commit(DIRTREE, archive.put_metadata("dirmeta", data)))


def test_a_missing_object_is_named_with_its_path(archive):
    data = dirtree([], [directory_entry(b"new\nline", "ab" * 32)])
    with pytest.raises(NotFoundError, match=r"^/new\\nline: dirtree object (ab){32}: .*is missing"):
        read(archive, archive.put_dirtree_commit(data))


# Bounds


def nested(repository, depth, name=b"d", copies=1):
    """A commit of `depth` directories in each other, each `copies` times in the one above."""
    repository.put_default_dirmeta()
    checksum = DIRTREE
    for _ in range(depth):
        entries = [directory_entry(name + b"%d" % number, checksum) for number in range(copies)]
        checksum = repository.put_metadata("dirtree", dirtree([], entries))
    return repository.put_commit(checksum, DIRMETA)


def test_two_thousand_directories_in_each_other_are_over_the_limit(archive):
    with pytest.raises(LimitError, match=f"nest deeper than {MAX_DEPTH}") as caught:
        read(archive, nested(archive, 2000, b"long name " * 20))
    assert len(str(caught.value)) < 300


def test_a_thousand_directories_in_each_other_are_read(archive):
    assert len(read(archive, nested(archive, 1000))) == 1001


def test_a_small_repository_cannot_describe_an_endless_tree(archive, monkeypatch):
    """Forty objects, each twice in the next: a million million paths."""
    monkeypatch.setattr(ostree_commit, "MAX_ENTRIES", 20_000)
    with pytest.raises(LimitError, match="expected at most 20,000 entries"):
        read(archive, nested(archive, 40, copies=2))


def test_all_paths_together_are_bounded(archive, monkeypatch):
    monkeypatch.setattr(ostree_commit, "MAX_PATHS", 1_000_000)
    with pytest.raises(LimitError, match="1,000,000 characters of paths"):
        read(archive, nested(archive, 900, b"n" * 200))
