"""`ostree commit --selinux-policy` and ours give the same labels.

ostree before 2023 puts the label behind the other attributes and so makes other checksums of files that have any that
sort behind it; the tree here has none.
"""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ostrata.pipeline.commit import CommitOptions, commit
from ostrata.sources.libselinux import LIBRARY
from ostrata.sources.modifiers import Modifiers
from ostrata.sources.selinux import open_policy
from ostrata.stores.ostree_writer import init_repository
from selinux_policies import make_labelled_tree, make_policy

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("ostree") is None, reason="ostree is not installed"),
]


def ostree(*arguments: str) -> str:
    done = subprocess.run(["ostree", *arguments], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode().strip()


@pytest.fixture(autouse=True)
def need_selinux() -> None:
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        pytest.skip("libselinux is not installed")
    if "--selinux-policy" not in subprocess.run(["ostree", "commit", "--help"], capture_output=True, text=True).stdout:
        pytest.skip("this ostree has no SELinux support")


@pytest.mark.parametrize("place", ["etc/selinux", "usr/etc/selinux"])
@pytest.mark.parametrize("options", [(), ("--no-xattrs",), ("--canonical-permissions",)], ids=str)
@pytest.mark.parametrize("mode", ["archive", "bare-user"])
def test_a_labelled_commit_has_the_checksum_that_ostree_gives_it(
    mode: str, options: tuple[str, ...], place: str, tmp_path: Path
) -> None:
    root = make_policy(tmp_path / "root", place=place)
    tree = make_labelled_tree(tmp_path / "tree")
    ostree(f"--repo={tmp_path}/theirs", "init", f"--mode={mode}")
    theirs = ostree(
        *(f"--repo={tmp_path}/theirs", "commit", "--branch=main", "--timestamp=@1", f"--tree=dir={tree}"),
        *(f"--selinux-policy={root}", *options),
    )
    init_repository(str(tmp_path / "ours"), mode)
    modifiers = Modifiers(
        no_xattrs="--no-xattrs" in options,
        canonical_permissions="--canonical-permissions" in options,
        selinux=open_policy(str(root)),
    )
    ours = commit(str(tmp_path / "ours"), str(tree), CommitOptions("main", timestamp=1, modifiers=modifiers))
    assert ours.checksum == theirs


def test_a_tree_whose_policy_is_off_is_committed_without_labels(tmp_path: Path) -> None:
    root = make_policy(tmp_path / "root", config="SELINUX=disabled\nSELINUXTYPE=tiny\n")
    tree = make_labelled_tree(tmp_path / "tree")
    ostree(f"--repo={tmp_path}/theirs", "init", "--mode=archive")
    theirs = ostree(
        *(f"--repo={tmp_path}/theirs", "commit", "--branch=main", "--timestamp=@1", f"--tree=dir={tree}"),
        f"--selinux-policy={root}",
    )
    init_repository(str(tmp_path / "ours"), "archive")
    assert open_policy(str(root)) is None
    ours = commit(str(tmp_path / "ours"), os.fspath(tree), CommitOptions("main", timestamp=1))
    assert ours.checksum == theirs
