"""`ostree commit` and ours make the same commit of the same tree; `ostree` finds what we write sound."""

import dataclasses
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from ostrata.errors import AccessError
from ostrata.pipeline.commit import CommitOptions, commit
from ostrata.sources.modifiers import Modifiers, parse_skip_list, parse_statoverride
from ostrata.stores.ostree_repository import open_repository
from ostrata.stores.ostree_writer import WRITABLE_MODES, init_repository
from ostree_trees import add_user_xattrs, add_what_needs_root, make_tree

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("ostree") is None, reason="ostree is not installed"),
]
ROOT = os.geteuid() == 0
TIME = 1577836800
MODES = [
    pytest.param(mode, marks=pytest.mark.skipif(mode == "bare" and not ROOT, reason="bare needs root"))
    for mode in WRITABLE_MODES
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The tree with everything that this user and file system can give it."""
    path = make_tree(tmp_path_factory.mktemp("commit") / "a tree ž")
    try:
        add_user_xattrs(path)
    except OSError:
        pytest.skip("the file system has no user.* extended attributes")
    if ROOT:
        add_what_needs_root(path)
    else:
        for unreadable in ("modes/f0000", "modes/f0200"):
            (path / unreadable).unlink(missing_ok=True)
    if shutil.which("setfacl"):
        subprocess.run(["setfacl", "-m", "u:1234:rwx,g:99:r", path / "limit"], check=True)
        subprocess.run(["setfacl", "-d", "-m", "u:1234:rx", path / "crowd"], check=True)
    return str(path)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """An archive repository for `ostree commit`: only checksums are asked of it."""
    path = str(tmp_path_factory.mktemp("theirs") / "repo")
    ostree("init", "--mode=archive", repo=path)
    return path


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("ours") / "repo")
    init_repository(path, "archive")
    return path


def ostree(verb, *arguments, repo):
    done = subprocess.run(["ostree", f"--repo={repo}", verb, *arguments], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode("utf-8", "surrogateescape").strip()


def ostree_commit(repo, tree, *arguments):
    return ostree("commit", "--timestamp=2020-01-01T00:00:00Z", f"--tree=dir={tree}", *arguments, repo=repo)


STATOVERRIDE = "2048 /plain\n=384 /with space\n+1 /crowd\n=493 /\n64 /links/l0\n"
SKIP_LIST = "/crowd/f7\n/deep\n/links/l3\n"
PAIRS = {
    "owner": (["--owner-uid=0", "--owner-gid=5"], {"owner_uid": 0, "owner_gid": 5}),
    "uid": (["--owner-uid=7"], {"owner_uid": 7}),
    "canonical": (["--canonical-permissions"], {"canonical_permissions": True}),
    "no-xattrs": (["--no-xattrs"], {"no_xattrs": True}),
    "ro": (["--mode-ro-executables"], {"mode_ro_executables": True}),
    "statoverride": (["--statoverride=FILES/statoverride"], {"statoverride": parse_statoverride(STATOVERRIDE)}),
    "skip-list": (["--skip-list=FILES/skip-list"], {"skip": parse_skip_list(SKIP_LIST)}),
}
"""Name -> arguments of `ostree commit`, the same for `Modifiers`."""

COMBINATIONS = [
    names
    for count in range(4)
    for names in itertools.combinations(PAIRS, count)
    if not ({"owner", "uid"} & set(names) and "canonical" in names) and not {"owner", "uid"} <= set(names)
]


@pytest.mark.parametrize("names", COMBINATIONS, ids=lambda names: "+".join(names) or "plain")
def test_modifiers_give_the_same_checksum(tree, theirs, ours, names, tmp_path):
    (tmp_path / "statoverride").write_text(STATOVERRIDE)
    (tmp_path / "skip-list").write_text(SKIP_LIST)
    arguments = [argument.replace("FILES", str(tmp_path)) for name in names for argument in PAIRS[name][0]]
    given = {key: value for name in names for key, value in PAIRS[name][1].items()}
    expected = ostree_commit(theirs, tree, "--orphan", *arguments)
    options = CommitOptions(None, TIME, modifiers=Modifiers(**given))
    assert commit(ours, tree, options).checksum == expected


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        (["--branch=os/stable"], {"branch": "os/stable"}),
        (["--branch=ž_1.x/y"], {"branch": "ž_1.x/y"}),
        (["--branch=main", "--subject=A subject, žluť"], {"branch": "main", "subject": "A subject, žluť"}),
        (["--branch=main", "--body=two\nlines\n"], {"branch": "main", "body": "two\nlines\n"}),
        (["--branch=main", "--no-bindings"], {"branch": "main", "no_bindings": True}),
        (["--orphan", "--no-bindings"], {"branch": None, "no_bindings": True}),
        (
            ["--branch=main", "--bind-ref=z", "--bind-ref=a", "--bind-ref=a"],
            {"branch": "main", "bind_refs": ("z", "a", "a")},
        ),
        (["--orphan", "--bind-ref=z"], {"branch": None, "bind_refs": ("z",)}),
        (
            [f"--add-metadata-string={text}" for text in ("z=1", "a=with = sign", "m=", f"long={'x' * 300}", "ž=ž")]
            + ["--branch=main"],
            {
                "branch": "main",
                "metadata_strings": (("z", "1"), ("a", "with = sign"), ("m", ""), ("long", "x" * 300), ("ž", "ž")),
            },
        ),
        (["--branch=main", f"--parent={'ab' * 32}"], {"branch": "main", "parent": "ab" * 32}),
        (["--branch=main", "--parent=none"], {"branch": "main", "parent": "none"}),
        (["--branch=main", f"--body={'x' * 70000}"], {"branch": "main", "body": "x" * 70000}),
    ],
)
def test_what_a_commit_says_gives_the_same_checksum(tmp_path, arguments, given):
    (tmp_path / "tree").mkdir()
    for kind in ("theirs", "ours"):
        init_repository(str(tmp_path / kind), "archive")
    results = []
    for _ in range(2):  # the second commit to a branch has the first as its parent
        expected = ostree_commit(str(tmp_path / "theirs"), tmp_path / "tree", *arguments)
        found = commit(str(tmp_path / "ours"), str(tmp_path / "tree"), CommitOptions(timestamp=TIME, **given))
        assert found.checksum == expected
        results.append(found)
    if given["branch"] and "parent" not in given:
        assert results[1].parent == results[0].checksum
        assert ostree("rev-parse", given["branch"], repo=tmp_path / "ours") == results[1].checksum
        assert ostree("rev-parse", given["branch"] + "^", repo=tmp_path / "ours") == results[0].checksum
        assert given["branch"] in ostree("refs", repo=tmp_path / "ours").splitlines()


def test_a_collection_id_is_bound_as_theirs_is(tmp_path):
    (tmp_path / "tree").mkdir()
    ostree("init", "--mode=archive", "--collection-id=org.example.Os", repo=tmp_path / "repo")
    expected = ostree_commit(tmp_path / "repo", tmp_path / "tree", "--branch=main", "--parent=none")
    options = CommitOptions("main", TIME, parent="none")
    assert commit(str(tmp_path / "repo"), str(tmp_path / "tree"), options).checksum == expected


def test_a_bootable_commit_has_their_keys(tmp_path):
    (tmp_path / "tree/usr/lib/modules/6.1-x").mkdir(parents=True)
    (tmp_path / "tree/usr/lib/modules/6.1-x/vmlinuz").write_bytes(b"kernel")
    repo = str(tmp_path / "repo")
    init_repository(repo, "archive")
    ostree_commit(repo, tmp_path / "tree", "--branch=theirs", "--bootable", "--no-bindings")
    commit(repo, str(tmp_path / "tree"), CommitOptions("ours", TIME, bootable=True, no_bindings=True))
    reader = open_repository(repo)
    found, expected = (reader.read_commit(reader.resolve(name))[0] for name in ("ours", "theirs"))
    assert dict(found.metadata) == dict(expected.metadata)
    assert dataclasses.replace(found, metadata={}) == dataclasses.replace(expected, metadata={})


@pytest.mark.parametrize("mode", MODES)
def test_a_repository_by_us_is_like_one_by_ostree(tree, tmp_path, mode):
    theirs, ours = str(tmp_path / "theirs"), str(tmp_path / "ours")
    ostree("init", f"--mode={mode}", repo=theirs)
    init_repository(ours, mode)
    expected = ostree_commit(theirs, tree, "--branch=main")
    assert commit(ours, tree, CommitOptions("main", TIME), jobs=2).checksum == expected
    assert "no errors found" in ostree("fsck", repo=ours)
    listing = [ostree("ls", "-R", "-C", "-X", "main", repo=repo) for repo in (ours, theirs)]
    assert listing[0] == listing[1]
    assert inodes(ours) == inodes(theirs)
    assert set(os.listdir(ours)) == set(os.listdir(theirs))


def inodes(repo):
    """Path -> how it is kept: type, permissions, owner, size, mtime where it is fixed, xattrs, content or target."""
    found = {}
    for directory, directories, names in os.walk(f"{repo}/objects"):
        for name in (*directories, *names):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            link = os.path.islink(path)
            archived = name.endswith(".filez")  # another deflate encoder, other bytes
            regular = not link and name not in directories and not archived
            xattrs = {
                key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)
            }
            found[os.path.relpath(path, repo)] = (
                oct(status.st_mode),
                status.st_uid,
                status.st_gid,
                status.st_size if regular else None,
                status.st_mtime if name.endswith(".file") and not link else None,
                xattrs,
                os.readlink(path) if link else None,
            )
    return found


def test_ostree_checks_out_what_we_committed(tree, tmp_path):
    repo = str(tmp_path / "repo")
    init_repository(repo, "bare-user")
    checksum = commit(repo, tree, CommitOptions("main", TIME, modifiers=Modifiers(no_xattrs=True))).checksum
    ostree("checkout", "--user-mode", "main", str(tmp_path / "out"), repo=repo)
    for name in ("big", "plain", "new\nline", "žluťoučký"):
        assert (tmp_path / "out" / name).read_bytes() == open_bytes(f"{tree}/{name}")
    assert os.readlink(tmp_path / "out/links/l5") == "new\nline"
    assert ostree("rev-parse", "main", repo=repo) == checksum


def open_bytes(path):
    with open(path, "rb") as file:
        return file.read()


def test_ostree_adds_to_our_repository_and_we_to_theirs(tree, tmp_path):
    repo = str(tmp_path / "repo")
    init_repository(repo, "bare-user")
    first = commit(repo, tree, CommitOptions("main", TIME)).checksum
    second = ostree_commit(repo, tree, "--branch=main", "--subject=second")
    third = commit(repo, tree, CommitOptions("main", TIME))
    assert third.parent == second
    assert third.new_objects == 1
    assert ostree("rev-parse", "main^^", repo=repo) == first
    assert "no errors found" in ostree("fsck", repo=repo)


def test_a_real_tree_gives_the_same_checksum(tmp_path):
    tree = os.path.dirname(os.__file__)  # Python's standard library
    theirs, ours = str(tmp_path / "theirs"), str(tmp_path / "ours")
    for repo in (theirs, ours):
        init_repository(repo, "bare-user")
    skip = [name for name in ("site-packages", "dist-packages", "test") if os.path.isdir(f"{tree}/{name}")]
    (tmp_path / "skip").write_text("".join(f"/{name}\n" for name in skip))
    expected = ostree_commit(theirs, tree, "--orphan", f"--skip-list={tmp_path}/skip")
    modifiers = Modifiers(skip=frozenset(f"/{name}" for name in skip))
    assert commit(ours, tree, CommitOptions(None, TIME, modifiers=modifiers), jobs=2).checksum == expected


# Interruptions


def test_a_commit_that_is_killed_leaves_the_old_ref_or_the_new_one(tree, tmp_path):
    repo = str(tmp_path / "repo")
    init_repository(repo, "bare-user")
    (tmp_path / "old").mkdir()
    old = commit(repo, str(tmp_path / "old"), CommitOptions("main", TIME)).checksum
    command = [
        sys.executable,
        "-m",
        "ostrata",
        "commit",
        "--repo",
        repo,
        "-b",
        "main",
        "--timestamp",
        f"@{TIME}",
        "-j2",
    ]
    command += ["--parent", old, "--quiet", tree]
    deadline = time.monotonic() + 12
    killed, delay = 0, 0.08
    while time.monotonic() < deadline:
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(delay)
        delay += 0.01
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        killed += 1
        if open_repository(repo).resolve("main") != old:
            break
        ostree("fsck", repo=repo)
    assert killed > 3
    new = commit(repo, tree, CommitOptions("main", TIME, parent=old)).checksum
    assert ostree("rev-parse", "main", repo=repo) == new
    assert "no errors found" in ostree("fsck", repo=repo)
    assert os.listdir(f"{repo}/tmp") == ["cache"]


@pytest.mark.skipif(not ROOT, reason="mounting a small file system needs root")
def test_a_full_disk_leaves_the_old_ref_and_the_next_run_works(tree, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        repo = str(small / "repo")
        init_repository(repo, "archive")
        (tmp_path / "old").mkdir()
        old = commit(repo, str(tmp_path / "old"), CommitOptions("main", TIME)).checksum
        os.makedirs(tmp_path / "new")
        (tmp_path / "new/noise").write_bytes(os.urandom(3 << 20))
        for jobs in (1, 2):
            with pytest.raises(AccessError, match="no space left on device") as caught:
                commit(repo, str(tmp_path / "new"), CommitOptions("main", TIME), jobs=jobs)
            assert f"writing an object to {repo}" in str(caught.value)
            assert open_repository(repo).resolve("main") == old
            assert os.listdir(f"{repo}/tmp") == ["cache"]
        assert "no errors found" in ostree("fsck", repo=repo)
        subprocess.run(["mount", "-o", "remount,size=32m", small], check=True)
        new = commit(repo, str(tmp_path / "new"), CommitOptions("main", TIME)).checksum
        assert ostree("rev-parse", "main", repo=repo) == new
    finally:
        subprocess.run(["umount", small], check=True)
