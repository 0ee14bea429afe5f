"""Today's libostree agrees: on commit checksums, and on the repository inside an image."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from judge.chroot import Chroot, JudgeError, run
from judge.conftest import REF, TIMESTAMP, VARIANTS, Commit, Image, Variant, each, ostrata

pytestmark = pytest.mark.judge

EXTRACT = """
skopeo copy --quiet --dest-decompress oci:/mnt/image:latest dir:/mnt/layers
mkdir /mnt/root
for digest in $(jq -r '.layers[].digest' /mnt/layers/manifest.json); do
    tar -C /mnt/root --numeric-owner -xpf "/mnt/layers/${digest#sha256:}"
done
"""
INSIDE = "/mnt/root/sysroot/ostree/repo"
LIST = ("ls", "-R", "-C", "-X")

OPTIONS = {
    "plain": (),
    "parts of a message": ("--subject=S\u00fcbject", "--body=a body\nof two lines"),
    "metadata": ("--add-metadata-string=version=41.1", "--add-metadata-string=a.b=\u00fc"),
    "canonical": ("--canonical-permissions",),
    "owner": ("--owner-uid=17", "--owner-gid=18"),
    "without xattrs": ("--no-xattrs",),
    "without bindings": ("--no-bindings",),
}


def test_the_judge_is_todays_libostree(chroot: Chroot, work: Path) -> None:
    version = re.search(r"Version: '(\d+)\.(\d+)'", chroot.run(work, "ostree", "--version"))
    assert version is not None
    assert (int(version[1]), int(version[2])) >= (2026, 4)


@each("image", VARIANTS)
def test_layers_extracted_over_each_other_are_a_repository_that_fsck_finds_clean(
    image: Image, chroot: Chroot, work: Path
) -> None:
    chroot.shell(work, EXTRACT, timeout=120)
    checked = chroot.run(work, "ostree", f"--repo={INSIDE}", "fsck")
    assert "no errors found" in checked
    assert "1 commits" in checked
    run(["cp", "--archive", str(image.commit.repository), str(work / "source")], 60)
    listed = chroot.run(work, "ostree", f"--repo={INSIDE}", *LIST, image.commit.checksum)
    assert listed == chroot.run(work, "ostree", "--repo=/mnt/source", *LIST, image.commit.checksum)


@each("image", [Variant("bootc", 2, "none", True)])
def test_this_judge_refuses_a_repository_with_another_content(image: Image, chroot: Chroot, work: Path) -> None:
    chroot.shell(work, EXTRACT)
    path = work / "root/usr/bin/sudo"  # a hard link to the object
    path.write_bytes(b"like sudO\n")
    with pytest.raises(JudgeError, match="Corrupted file object"):
        chroot.run(work, "ostree", f"--repo={INSIDE}", "fsck")


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("mode", ["bare-user", "archive", "bare"])
def test_a_commit_has_the_checksum_that_ostree_gives_it(
    mode: str, options: tuple[str, ...], chroot: Chroot, commit: Commit, work: Path
) -> None:
    run(["cp", "--archive", str(commit.tree), str(work / "rootfs")], 60)
    chroot.run(work, "ostree", "--repo=/mnt/theirs", "init", f"--mode={mode}")
    theirs = chroot.run(
        *(work, "ostree", "--repo=/mnt/theirs", "commit", f"--branch={REF}", "--tree=dir=/mnt/rootfs"),
        *(f"--timestamp=@{TIMESTAMP}", *options),
    ).strip()
    ours = ostrata(
        *("commit", "--quiet", "--repo", work / "ours", "--mode", mode, "--branch", REF),
        *("--timestamp", f"@{TIMESTAMP}", *options, work / "rootfs"),
    )
    assert ours == theirs
    assert "no errors found" in chroot.run(work, "ostree", "--repo=/mnt/ours", "fsck")
