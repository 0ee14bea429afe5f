"""Today's libostree agrees on labels, by a handmade policy and by a distribution's.

The distribution's is the chroot's own (Debian's `selinux-policy-default`), or that of the tree OSTRATA_JUDGE_POLICY.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from derived_images import derived_image
from judge.chroot import Chroot, run
from judge.conftest import REF, TIMESTAMP, Commit, ostrata
from plain_images import Change, directory, link, symlink
from selinux_policies import make_labelled_tree, make_policy

pytestmark = pytest.mark.judge

OPTIONS = {
    "plain": (),
    "epoch 1": ("--selinux-labeling-epoch=1",),
    "without xattrs": ("--no-xattrs",),
    "canonical": ("--canonical-permissions", "--selinux-labeling-epoch=1"),
}


@pytest.fixture(params=["handmade", "distribution"])
def policy(request: pytest.FixtureRequest, chroot: Chroot, work: Path) -> Path:
    """A tree with a policy, below the work directory."""
    if request.param == "handmade":
        return make_policy(work / "policy")
    path = os.environ.get("OSTRATA_JUDGE_POLICY") or chroot.path
    assert Path(path, "etc/selinux/config").is_file(), f"{path} has no SELinux policy; see tests/judge/make_chroot"
    (work / "policy/etc").mkdir(parents=True)
    run(["cp", "--archive", f"{path}/etc/selinux", str(work / "policy/etc")], 60)
    return work / "policy"


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("mode", ["bare-user", "archive"])
def test_a_labelled_commit_has_the_checksum_that_ostree_gives_it(
    mode: str, options: tuple[str, ...], policy: Path, chroot: Chroot, commit: Commit, work: Path
) -> None:
    run(["cp", "--archive", str(commit.tree), str(work / "rootfs")], 60)
    make_labelled_tree(work / "rootfs/usr/share/labelled again")
    os.setxattr(work / "rootfs/usr/bin/sudo", "user.behind", b"the label")
    os.setxattr(work / "rootfs/usr/bin/sudo", "security.selinux", b"another\0")
    chroot.run(work, "ostree", "--repo=/mnt/theirs", "init", f"--mode={mode}")
    theirs = chroot.run(
        *(work, "ostree", "--repo=/mnt/theirs", "commit", f"--branch={REF}", "--tree=dir=/mnt/rootfs"),
        *(f"--timestamp=@{TIMESTAMP}", "--selinux-policy=/mnt/policy", *options),
    ).strip()
    ours = ostrata(
        *("commit", "--quiet", "--repo", work / "ours", "--mode", mode, "--branch", REF),
        *("--timestamp", f"@{TIMESTAMP}", "--selinux-policy", policy, *options, work / "rootfs"),
    )
    assert ours == theirs
    listed = chroot.run(work, "ostree", "--repo=/mnt/ours", "ls", "-X", REF, "/usr/bin/sudo")
    assert "system_u:object_r:" in listed
    assert "another" not in listed


@pytest.mark.parametrize("mode", ["bare", "archive"])
def test_a_derived_image_is_labelled_as_ostree_labels_the_tree_that_it_has(
    mode: str, policy: Path, chroot: Chroot, work: Path
) -> None:
    layer = [
        *(Change("usr/bin/su", mode=0o4755), Change("usr/lib/systemd/systemd", mode=0o755), symlink("bin", "usr/bin")),
        *(Change("etc/shadow", mode=0o600), Change("etc/\n\u017e.conf"), Change("opt/a/b"), directory("home/user")),
        *(link("usr/sbin/su", "usr/bin/su"), Change("usr/share/x", xattrs={"user.behind": b"1"}), directory("proc")),
    ]
    derived_image(work / "image", layer)
    command = ("import", "--quiet", f"oci:{work}/image:t", "--write-ref", REF, "--repo")
    ostrata(*command, work / "ours", "--mode", mode, "--selinux-policy", policy)
    ostrata(*command, work / "unlabelled", "--mode", "bare", "--no-selinux")

    chroot.run(work, "ostree", "--repo=/mnt/unlabelled", "checkout", REF, "/mnt/rootfs")
    chroot.run(work, "ostree", "--repo=/mnt/theirs", "init", f"--mode={mode}")
    arguments = (f"--branch={REF}", "--tree=dir=/mnt/rootfs", "--selinux-policy=/mnt/policy")
    labelled = chroot.run(work, "ostree", "--repo=/mnt/theirs", "commit", *arguments).strip()
    ours, theirs = (
        chroot.run(work, "ostree", f"--repo=/mnt/{repo}", "ls", "-R", "-C", REF) for repo in ("ours", "theirs")
    )
    assert ours == theirs
    # Checksums are of sorted xattrs; only an archive object of ostree's has the label behind the others.
    shown = chroot.run(work, "ostree", "--repo=/mnt/ours", "ls", "-R", "-X", REF)
    assert shown.count("system_u:object_r:") > len(layer)
    ostrata("encapsulate", "--quiet", "--repo", work / "theirs", REF, f"oci:{work}/again:t")
    assert ostrata("import", "--quiet", f"oci:{work}/again:t", "--repo", work / "back", "--mode", "bare") == labelled
