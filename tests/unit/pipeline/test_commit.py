"""A directory becomes a commit: what is in it, what it is called, and that failure leaves no trace."""

import os
import stat

import pytest

from ostrata.errors import AccessError, MalformedError, NotFoundError, OstrataError, UnsupportedError
from ostrata.model.ostree import Variant
from ostrata.model.tree import Attributes, Directory, RegularFile, Symlink
from ostrata.pipeline.commit import BYTES_PER_UNIT, CommitOptions, commit
from ostrata.sources.modifiers import Modifiers
from ostrata.sources.ostree_commit import read_tree
from ostrata.stores.ostree_repository import open_repository
from ostrata.stores.ostree_writer import init_repository, open_writer

CANONICAL = Modifiers(canonical_permissions=True)
EMPTY_DIRTREE = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
PLAIN_DIRMETA = "446a0ef11b7cc167f3b603e585c7eeeeb675faa412d5ec73f62988eb0b6c5488"


@pytest.fixture
def repository(tmp_path):
    path = str(tmp_path / "repo")
    init_repository(path, "archive")
    return path


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/sh").write_bytes(b"#!")
    (root / "usr/bin/sh").chmod(0o755)
    (root / "usr/bin/new\nline").write_bytes(b"")
    (root / "bin").symlink_to("usr/bin")
    return root


def options(branch=None, **given):
    given = {"timestamp": 1704164645, "modifiers": CANONICAL} | given
    return CommitOptions(branch, **given)


def read(repository, checksum):
    return open_repository(repository).read_commit(checksum)[0]


def test_the_commit_of_the_format_page_has_its_checksum(repository, tmp_path):
    """A file and an empty directory; the checksum is also `ostree commit`'s."""
    (tmp_path / "page/d").mkdir(parents=True)
    (tmp_path / "page/a").write_bytes(b"hi\n")
    (tmp_path / "page/a").chmod(0o644)
    given = options(no_bindings=True, subject="s", metadata_strings=(("version", "1"),))
    result = commit(repository, str(tmp_path / "page"), given)
    assert result.checksum == "3581e8d1938bfe7ee77052bcbf74d8e880c6aeae4f080d0402fc3254d9bc5006"
    found = read(repository, result.checksum)
    assert found.root_dirmeta == PLAIN_DIRMETA
    assert found.metadata == {"version": Variant("s", "1")}
    assert (found.subject, found.body, found.timestamp, found.parent) == ("s", "", 1704164645, None)
    assert open_repository(repository).read_metadata("dirtree", EMPTY_DIRTREE) == b"\0"


def test_what_is_read_back_is_the_tree(repository, tree):
    result = commit(repository, str(tree), options("os/stable"))
    opened = open_repository(repository)
    found = dict(read_tree(opened, "os/stable")[1])
    directory = Directory(Attributes(0o755))
    assert found[""] == found["usr"] == found["usr/bin"] == directory
    assert found["bin"] == Symlink(Attributes(0o777), "usr/bin", found["bin"].content)
    assert found["usr/bin/sh"] == RegularFile(Attributes(0o755), 2, found["usr/bin/sh"].content)
    assert found["usr/bin/new\nline"].size == 0
    assert len(found) == 6
    assert (result.files, result.symlinks, result.directories, result.content_bytes) == (2, 1, 3, 2)
    # three file objects, three dirtrees, one dirmeta, one commit
    assert (result.new_objects, result.new_bytes) == (8, 2)


def test_a_second_commit_of_the_same_tree_writes_one_object_and_names_its_parent(repository, tree):
    first = commit(repository, str(tree), options("r"))
    second = commit(repository, str(tree), options("r"))
    assert (second.new_objects, second.new_bytes, second.parent) == (1, 0, first.checksum)
    assert open_repository(repository).resolve("r^") == first.checksum


def test_the_parent_can_be_any_revision_or_none(repository, tree):
    first = commit(repository, str(tree), options("r", subject="first"))
    assert commit(repository, str(tree), options("r", parent="none")).parent is None
    assert commit(repository, str(tree), options("other", parent=first.checksum[:20])).parent == first.checksum
    assert commit(repository, str(tree), options("other", parent="other^")).parent == first.checksum
    with pytest.raises(NotFoundError, match="missing"):
        commit(repository, str(tree), options("r", parent="missing"))


def test_an_orphan_moves_no_ref_and_is_bound_to_none(repository, tree):
    result = commit(repository, str(tree), options())
    assert open_repository(repository).list_refs() == []
    assert read(repository, result.checksum).metadata == {"ostree.ref-binding": Variant("as", [])}


def test_metadata_is_in_the_documented_order(repository, tree):
    with open(f"{repository}/config", "a") as config:
        config.write("collection-id=org.example\n")
    (tree / "usr/lib/modules/6.1").mkdir(parents=True)
    (tree / "usr/lib/modules/6.1/vmlinuz").write_bytes(b"kernel")
    given = options("b", bind_refs=("c", "a", "a"), metadata_strings=(("z", "1"), ("ž", "2"), ("a", "")), bootable=True)
    found = read(repository, commit(repository, str(tree), given).checksum)
    assert list(found.metadata.items()) == [
        ("z", Variant("s", "1")),
        ("ž", Variant("s", "2")),
        ("a", Variant("s", "")),
        ("ostree.ref-binding", Variant("as", ["a", "a", "b", "c"])),
        ("ostree.collection-binding", Variant("s", "org.example")),
        ("ostree.bootable", Variant("b", True)),
        ("ostree.linux", Variant("s", "6.1")),
    ]


def test_a_bootable_commit_needs_exactly_one_kernel(repository, tree):
    with pytest.raises(NotFoundError, match="no kernel"):
        commit(repository, str(tree), options(bootable=True))
    for version in ("6.1", "6.2"):
        (tree / "usr/lib/modules" / version).mkdir(parents=True)
        (tree / "usr/lib/modules" / version / "vmlinuz").write_bytes(b"")
    with pytest.raises(UnsupportedError, match=r"expected one kernel in /usr/lib/modules, found 2: 6\.1, 6\.2"):
        commit(repository, str(tree), options(bootable=True))


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"branch": "a b"}, MalformedError),
        ({"bind_refs": ("..",)}, MalformedError),
        ({"timestamp": -1}, UnsupportedError),
        ({"timestamp": 1 << 64}, UnsupportedError),
        ({"metadata_strings": (("", "v"),)}, MalformedError),
        ({"metadata_strings": (("k", "v"), ("k", "w"))}, MalformedError),
        ({"metadata_strings": (("ostree.linux", "v"),)}, MalformedError),
        ({"metadata_strings": (("k", "nul\0"),)}, MalformedError),
        ({"subject": "nul\0"}, MalformedError),
        ({"body": "latin\udce9"}, MalformedError),
    ],
)
def test_options_that_are_none_are_refused_and_leave_no_trace(repository, tree, given, kind):
    with pytest.raises(kind):
        commit(repository, str(tree), options(**({"branch": "r"} | given)))
    assert_untouched(repository)


def assert_untouched(repository):
    assert open_repository(repository).list_refs() == []
    assert os.listdir(f"{repository}/objects") == []
    assert os.listdir(f"{repository}/tmp") == ["cache"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failure_names_the_entry_and_leaves_no_trace(repository, tree, jobs):
    for number in range(600):  # several work units
        (tree / f"f{number}").write_bytes(b"x")
    os.symlink(b"caf\xe9", os.fsencode(tree) + b"/usr/bin/bad\x1b")
    with pytest.raises(UnsupportedError) as caught:
        commit(repository, str(tree), options("r"), jobs=jobs)
    assert str(caught.value) == rf"{tree}: /usr/bin/bad\x1b: the symlink target 'caf\xe9' is not UTF-8"
    assert_untouched(repository)


def test_special_files_are_refused_before_anything_is_written(repository, tree):
    os.mkfifo(tree / "usr/pipe")
    with pytest.raises(UnsupportedError, match=r"cannot commit /usr/pipe \(FIFO\)"):
        commit(repository, str(tree), options("r"))
    assert_untouched(repository)


def test_a_file_that_is_written_to_meanwhile_is_an_error(repository, tree):
    (tree / "log").write_bytes(b"x")

    class Writer:
        """Stands where the progress bar stands, and writes to the tree between the scan and the reading."""

        def start(self, phase, total):
            if phase == "writing file objects":
                (tree / "log").unlink()

        def advance(self, amount):
            pass

    with pytest.raises(NotFoundError) as caught:
        commit(repository, str(tree), options("r"), progress=Writer())
    assert str(caught.value) == f"{tree}: /log: vanished while the tree was read"
    assert_untouched(repository)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_an_error_that_names_it(repository, tree):
    (tree / "usr/secret").write_bytes(b"x")
    (tree / "usr/secret").chmod(0)
    with pytest.raises(AccessError, match="/usr/secret: permission denied"):
        commit(repository, str(tree), options("r"))


def test_progress_adds_up_to_the_content(repository, tree):
    (tree / "big").write_bytes(bytes(5 << 20))

    class Watcher:
        def __init__(self):
            self.phases, self.done = [], 0

        def start(self, phase, total):
            self.phases.append((phase, total))

        def advance(self, amount):
            self.done += amount

    watcher = Watcher()
    result = commit(repository, str(tree), options("r"), progress=watcher)
    assert watcher.done == result.content_bytes == (5 << 20) + 2
    assert watcher.phases == [
        ("reading the tree", None), ("writing file objects", result.content_bytes), ("writing to disk", None)
    ]  # fmt: skip


def test_a_huge_sparse_file_is_not_held_in_memory(repository, tmp_path):
    import resource

    (tmp_path / "sparse").mkdir()
    with open(tmp_path / "sparse/huge", "wb") as file:
        file.truncate(3 * BYTES_PER_UNIT)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    commit(repository, str(tmp_path / "sparse"), options("r"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10  # KiB


def test_a_repository_without_xattrs_gets_none(tmp_path, tree):
    path = str(tmp_path / "other")
    init_repository(path, "archive")
    try:
        os.setxattr(tree / "usr/bin/sh", "user.a", b"1")
    except OSError:
        pytest.skip("the file system has no user.* extended attributes")
    kept = commit(path, str(tree), options(modifiers=Modifiers(owner_uid=0)))
    dropped = commit(path, str(tree), options(modifiers=Modifiers(owner_uid=0, no_xattrs=True)))
    with open(f"{path}/config", "a") as config:
        config.write("disable-xattrs=true\n")
    assert commit(path, str(tree), options(modifiers=Modifiers(owner_uid=0))).checksum == dropped.checksum
    assert kept.checksum != dropped.checksum


def test_a_bare_user_only_repository_keeps_canonical_permissions_only(tmp_path, tree):
    path = str(tmp_path / "other")
    init_repository(path, "bare-user-only")
    (tree / "usr/bin/sh").chmod(0o4777)
    result = commit(path, str(tree), options(modifiers=Modifiers(owner_uid=5)))
    assert result.checksum == commit(path, str(tree), options()).checksum
    opened = open_repository(path)
    found = dict(read_tree(opened, result.checksum)[1])
    assert found["usr/bin/sh"].attributes == Attributes(0o755)


def test_a_missing_tree_or_repository_is_named(repository, tree, tmp_path):
    for repo, directory in ((repository, tmp_path / "missing"), (tmp_path / "missing", tree)):
        with pytest.raises(NotFoundError, match="missing"):
            commit(str(repo), str(directory), options("r"))


def test_a_tree_that_holds_the_repository_is_refused(tmp_path):
    init_repository(str(tmp_path / "repo"), "archive")
    with pytest.raises(UnsupportedError, match="/repo: the repository lies within the tree"):
        commit(str(tmp_path / "repo"), str(tmp_path), options("r"))


def test_concurrent_transactions_do_not_disturb_each_other(repository, tree):
    with open_writer(repository):
        result = commit(repository, str(tree), options("r"))
    assert open_repository(repository).resolve("r") == result.checksum


def test_every_error_of_a_bad_ref_is_ours(repository, tree):
    commit(repository, str(tree), options("os"))
    with pytest.raises(OstrataError, match="is a ref already"):
        commit(repository, str(tree), options("os/stable"))
    assert stat.S_ISREG(os.stat(f"{repository}/refs/heads/os").st_mode)
