"""umoci unpacks every image that ostrata writes, and finds the commit's tree in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from judge import rootfs
from judge.chroot import Chroot
from judge.conftest import ONE_OF_EACH_LAYOUT, VARIANTS, Image, each

pytestmark = pytest.mark.judge

UNPACK = ("umoci", "unpack", "--image", "/mnt/image:latest", "/mnt/bundle")


@each("image", VARIANTS)
def test_umoci_unpacks_the_tree_of_the_commit(image: Image, chroot: Chroot, work: Path) -> None:
    chroot.run(work, *UNPACK, timeout=120)
    found = rootfs.without_repository(rootfs.see(work / "bundle/rootfs"))
    assert found == rootfs.in_a_container(rootfs.see(image.commit.tree), with_xattrs=image.variant.with_xattrs)


@each("image", ONE_OF_EACH_LAYOUT)
def test_getcap_shows_the_capability_of_ping_only_in_the_bootc_layout(image: Image, chroot: Chroot, work: Path) -> None:
    chroot.run(work, *UNPACK, timeout=120)
    shown = chroot.run(work, "getcap", "bundle/rootfs/usr/bin/ping")
    assert shown == ("bundle/rootfs/usr/bin/ping cap_net_raw=ep\n" if image.variant.with_xattrs else "")
