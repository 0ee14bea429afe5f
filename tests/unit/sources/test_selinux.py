"""Labels by a tree's policy, and what happens when they cannot be had."""

import os
import pickle
import stat
from pathlib import Path

import pytest

from ostrata.errors import AccessError, MalformedError, NotFoundError, UnsupportedError
from ostrata.pipeline.commit import CommitOptions, commit
from ostrata.sources.modifiers import Modifiers
from ostrata.sources.ostree_source import open_commit
from ostrata.sources.selinux import SelinuxPolicy, open_policy
from ostrata.stores.ostree_repository import open_repository
from ostrata.stores.ostree_writer import init_repository
from selinux_policies import label, make_labelled_tree, make_policy, needs_libselinux

FILE, DIRECTORY, SYMLINK = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777


def opened(root: Path, **options: int) -> SelinuxPolicy:
    policy = open_policy(str(root), **options)
    assert policy is not None
    return policy


@pytest.fixture
def policy(tmp_path: Path) -> SelinuxPolicy:
    return opened(make_policy(tmp_path / "root"))


LABELS = {
    ("", DIRECTORY): "root",
    ("usr", DIRECTORY): "usr",
    ("usr/bin/a \u00fc\nb", FILE): "bin",
    (os.fsdecode(b"usr/bin/\xff"), FILE): "bin",
    ("usr/bin/su", FILE): "su_exec",
    ("usr/bin/su", SYMLINK): "link",
    ("usr/bin/su", DIRECTORY): "bin",
    ("usr/local/bin/su", FILE): "su_exec",
    ("local", FILE): "local",
    ("usr/etc/shadow", FILE): "usretc",
    ("etc/shadow", FILE): "shadow",
    ("proc", DIRECTORY): "mnt",
    ("proc/1", DIRECTORY): None,
    ("nothing", FILE): None,
}


@needs_libselinux
def test_a_label_depends_on_path_and_file_type(policy: SelinuxPolicy) -> None:
    assert policy.name == "tiny"
    found = {key: policy.label(*key) for key in LABELS}
    assert found == {key: None if name is None else label(name) for key, name in LABELS.items()}


@needs_libselinux
def test_in_epoch_1_usr_etc_is_labelled_as_etc(tmp_path: Path) -> None:
    policy = opened(make_policy(tmp_path / "root"), epoch=1)
    assert policy.label("usr/etc/shadow", FILE) == label("shadow")
    assert policy.label("usr/etc", DIRECTORY) == label("etc")
    assert policy.label("usr/etcetera", FILE) == label("usr")
    with pytest.raises(UnsupportedError, match="labelling epoch"):
        open_policy(str(tmp_path / "root"), epoch=2)


@needs_libselinux
def test_a_label_replaces_the_one_that_was_there_and_stands_in_order(policy: SelinuxPolicy) -> None:
    xattrs = ((b"security.capability", b"1"), (b"security.selinux", b"old\0"), (b"user.z", b"2"))
    assert policy.relabelled("usr/bin/su", FILE, xattrs) == (
        (b"security.capability", b"1"),
        (b"security.selinux", label("su_exec") + b"\0"),
        (b"user.z", b"2"),
    )
    assert policy.relabelled("nothing", FILE, xattrs) == xattrs


@needs_libselinux
def test_a_policy_can_be_sent_to_other_processes(policy: SelinuxPolicy) -> None:
    again = pickle.loads(pickle.dumps(policy))
    assert again.label("usr/bin/su", FILE) == label("su_exec")


@needs_libselinux
def test_a_policy_that_changes_is_read_again(tmp_path: Path) -> None:
    root = make_policy(tmp_path / "root")
    assert opened(root).label("usr", DIRECTORY) == label("usr")
    (root / "etc/selinux/tiny/contexts/files/file_contexts.local").write_text("/usr system_u:object_r:new_t:s0\n")
    assert opened(root).label("usr", DIRECTORY) == label("new")


@needs_libselinux
def test_usr_etc_is_looked_at_when_there_is_no_etc(tmp_path: Path) -> None:
    root = make_policy(tmp_path / "root", place="usr/etc/selinux")
    assert opened(root).label("usr", DIRECTORY) == label("usr")
    (root / "etc/selinux").mkdir(parents=True)
    assert open_policy(str(root)) is None


@pytest.mark.parametrize(
    "config",
    ["", "SELINUX=disabled\nSELINUXTYPE=tiny\n", "SELINUXTYPE=tiny\n", "#SELINUX=enforcing\nSELINUXTYPE=tiny\n"],
)
def test_where_selinux_is_off_there_is_no_policy(config: str, tmp_path: Path) -> None:
    assert open_policy(str(make_policy(tmp_path / "root", config=config)), library="libnothing.so") is None


def test_a_tree_without_selinux_has_no_policy(tmp_path: Path) -> None:
    assert open_policy(str(tmp_path)) is None


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc"])
def test_a_policy_name_that_is_none_is_refused(name: str, tmp_path: Path) -> None:
    root = make_policy(tmp_path / "root", config=f"SELINUX=PERMISSIVE\nSELINUXTYPE={name}\n")
    with pytest.raises(MalformedError, match="expected the name of a policy"):
        open_policy(str(root))


@pytest.mark.parametrize("library", ["libnothing.so.1", "/nowhere/libselinux.so.1", "libc.so.6"])
def test_without_libselinux_the_error_says_how_to_get_it(library: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="SELinux labels need") as caught:
        open_policy(str(make_policy(tmp_path / "root")), library=library)
    assert library in str(caught.value)
    assert "libselinux1" in str(caught.value)


def test_a_policy_that_is_not_compiled_is_refused(tmp_path: Path) -> None:
    root = make_policy(tmp_path / "root")
    os.rename(root / "etc/selinux/tiny/policy/policy.33", root / "etc/selinux/tiny/policy/policy.old")
    with pytest.raises(NotFoundError, match="no compiled policy"):
        open_policy(str(root))


@needs_libselinux
@pytest.mark.parametrize("contexts", ["/usr(/.* system_u:object_r:x_t:s0\n", "/usr a b c d e\n"])
def test_file_contexts_that_cannot_be_read_are_an_error(
    contexts: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises((MalformedError, AccessError, NotFoundError)):
        open_policy(str(make_policy(tmp_path / "root", contexts=contexts)))
    assert capfd.readouterr() == ("", "")


@needs_libselinux
def test_a_policy_without_file_contexts_or_without_a_label_for_the_root_is_refused(tmp_path: Path) -> None:
    root = make_policy(tmp_path / "root", contexts="/usr system_u:object_r:usr_t:s0\n")
    with pytest.raises(MalformedError, match="no label for /"):
        open_policy(str(root))
    (root / "etc/selinux/tiny/contexts/files/file_contexts").unlink()
    with pytest.raises(NotFoundError):
        open_policy(str(root))


@pytest.mark.parametrize("name", ["config", "tiny/contexts/files/file_contexts.homedirs", "tiny/contexts/files"])
def test_a_symlink_out_of_the_tree_is_refused(name: str, tmp_path: Path) -> None:
    outside = make_policy(tmp_path / "outside")
    root = make_policy(tmp_path / "root")
    path = root / "etc/selinux" / name
    target = outside / "etc/selinux" / name.replace(".homedirs", "")
    if path.exists():
        os.rename(path, tmp_path / "away")
    path.symlink_to(target)
    with pytest.raises(UnsupportedError, match="a symlink leads out of the tree"):
        open_policy(str(root))


@needs_libselinux
def test_a_symlink_within_the_tree_is_followed(tmp_path: Path) -> None:
    root = make_policy(tmp_path / "root")
    os.rename(root / "etc/selinux/config", root / "etc/selinux/real")
    (root / "etc/selinux/config").symlink_to("real")
    assert opened(root).name == "tiny"


def test_a_fifo_in_place_of_file_contexts_is_refused(tmp_path: Path) -> None:
    root = make_policy(tmp_path / "root")
    os.mkfifo(root / "etc/selinux/tiny/contexts/files/file_contexts.subs")
    with pytest.raises(UnsupportedError, match="expected a regular file, found a FIFO"):
        open_policy(str(root))


@needs_libselinux
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("no_xattrs", [False, True])
def test_a_commit_has_the_labels_whatever_becomes_of_other_xattrs(
    no_xattrs: bool, jobs: int, tmp_path: Path, policy: SelinuxPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ostrata.pipeline.commit.FILES_PER_UNIT", 1)
    tree = make_labelled_tree(tmp_path / "tree")
    init_repository(str(tmp_path / "repo"), "archive")
    options = CommitOptions("main", timestamp=1, modifiers=Modifiers(no_xattrs=no_xattrs, selinux=policy))
    commit(str(tmp_path / "repo"), str(tree), options, jobs=jobs)
    entries = open_commit(open_repository(str(tmp_path / "repo")), "main").tree.entries
    labels = {path: dict(entry.attributes.xattrs).get(b"security.selinux") for path, entry in entries.items()}
    assert labels["usr/bin/su"] == label("su_exec") + b"\0"
    assert labels["usr/local/bin/x"] == label("bin") + b"\0"
    assert labels["sbin/su"] == label("default") + b"\0"
    assert labels[""] == label("root") + b"\0"
    assert labels["proc"] == label("mnt") + b"\0"
    assert labels["nothing/here/f"] is None
