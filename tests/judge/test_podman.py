"""podman and buildah load every image that ostrata writes, and the tree they show is the commit's.

With the driver vfs a layer is unpacked onto a copy of those below, so layers without parent directories do well. The
driver overlay unpacks each layer alone and makes missing parents up: that is what format version 2 is for.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from judge import rootfs
from judge.chroot import PODMAN, Chroot, JudgeError
from judge.conftest import ONE_OF_EACH_LAYOUT, VARIANTS, Commit, Image, Variant, each, encapsulate

pytestmark = pytest.mark.judge

COPY_FROM_PODMAN = """
image=$("$@" pull --quiet oci:/mnt/image:latest)
cp --archive "$("$@" image mount "$image")" /mnt/seen
"$@" image unmount "$image" >/dev/null
"""
COPY_FROM_BUILDAH = """
container=$("$@" from --quiet --pull=always oci:/mnt/image:latest)
cp --archive "$("$@" mount "$container")" /mnt/seen
"$@" umount "$container" >/dev/null
"$@" rm "$container" >/dev/null
"""
VFS = (*PODMAN, "--storage-driver", "vfs")
OVERLAY = (*PODMAN, "--storage-driver", "overlay")
BUILDAH = ("buildah", "--root", "/mnt/storage", "--runroot", "/run/containers", "--storage-driver", "vfs")
NET_BIND_SERVICE = f"{1 << rootfs.CAP_NET_BIND_SERVICE:016x}"


@each("runnable_image", VARIANTS)
def test_podman_shows_the_tree_of_the_commit(runnable_image: Image, chroot: Chroot, work: Path) -> None:
    chroot.shell(work, COPY_FROM_PODMAN, *VFS, timeout=120)
    found, expected = trees(runnable_image, work / "seen")
    assert found == expected


@each("runnable_image", [Variant("bootc", 2, "gzip", True), Variant("bootc", 2, "zstd", False)])
def test_overlay_mounts_show_it_too_when_layers_have_their_parents(
    runnable_image: Image, chroot: Chroot, work: Path
) -> None:
    chroot.shell(work, COPY_FROM_PODMAN, *OVERLAY, timeout=120)
    found, expected = trees(runnable_image, work / "seen")
    # The root's mode is the driver's own: a mount shows that of the topmost layer, which has no entry for it.
    found[""] = replace(found[""], mode=expected[""].mode)
    assert found == expected


@each("runnable_image", ONE_OF_EACH_LAYOUT)
def test_buildah_shows_the_tree_of_the_commit(runnable_image: Image, chroot: Chroot, work: Path) -> None:
    chroot.shell(work, COPY_FROM_BUILDAH, *BUILDAH, timeout=120)
    found, expected = trees(runnable_image, work / "seen")
    assert found == expected


@each("runnable_image", ONE_OF_EACH_LAYOUT)
def test_a_program_that_podman_runs_has_its_capability_only_in_the_bootc_layout(
    runnable_image: Image, chroot: Chroot, work: Path
) -> None:
    run = ("run", "--rm", "--network", "none", "--cgroups", "disabled", "--ulimit", "nofile=1024:1024")
    show = ("grep", "CapEff", "/proc/self/status")
    image = "oci:/mnt/image:latest"
    root = chroot.podman(work, *run, image, "/usr/bin/busybox", "cat", "/etc/passwd")
    plain = chroot.podman(work, *run, "--user", "1000", image, "/usr/bin/busybox", *show)
    capable = chroot.podman(work, *run, "--user", "1000", image, "/usr/lib/capable/busybox", *show)
    assert root == "root:x:0:0::/:/bin/sh\n"
    assert plain.split() == ["CapEff:", "0" * 16]
    assert capable.split() == ["CapEff:", NET_BIND_SERVICE if runnable_image.variant.with_xattrs else "0" * 16]


@each("runnable_image", ONE_OF_EACH_LAYOUT)
def test_getcap_shows_the_capability_of_ping_only_in_the_bootc_layout(
    runnable_image: Image, chroot: Chroot, work: Path
) -> None:
    chroot.shell(work, COPY_FROM_PODMAN, *VFS, timeout=120)
    shown = chroot.run(work, "getcap", "seen/usr/bin/ping")
    assert shown == ("seen/usr/bin/ping cap_net_raw=ep\n" if runnable_image.variant.with_xattrs else "")


@each("runnable_image", ONE_OF_EACH_LAYOUT)
def test_podman_shows_the_labels_and_the_command(runnable_image: Image, chroot: Chroot, work: Path) -> None:
    identifier = chroot.podman(work, "pull", "--quiet", "oci:/mnt/image:latest").strip()
    [shown] = json.loads(chroot.podman(work, "image", "inspect", identifier))
    assert shown["Labels"]["ostree.commit"] == runnable_image.commit.checksum
    assert shown["Labels"]["org.opencontainers.image.version"] == "1.0"
    assert shown["Config"]["Cmd"] == ["/usr/bin/busybox"]
    assert shown["RootFS"]["Layers"] == runnable_image.config["rootfs"]["diff_ids"]
    assert shown["RootFS"]["Layers"][-1] == shown["Labels"]["ostree.final-diffid"]


def test_podman_refuses_the_doubled_var_tmp_of_the_old_layout(chroot: Chroot, commit: Commit, work: Path) -> None:
    encapsulate(commit, Variant("ostree-ext-0.15", 1, "gzip", True), work)
    with pytest.raises(JudgeError, match="duplicates of file paths not supported"):
        chroot.podman(work, "pull", "--quiet", "oci:/mnt/image:latest")


@each("runnable_image", [Variant("bootc", 2, "none", False)])
def test_this_judge_refuses_a_layer_with_another_content(runnable_image: Image, chroot: Chroot, work: Path) -> None:
    [layer] = runnable_image.manifest["layers"]
    blob = work / "image/blobs/sha256" / layer["digest"].removeprefix("sha256:")
    content = blob.read_bytes().replace(b"like ping\n", b"like pong\n")
    blob.unlink()
    blob.write_bytes(content)
    with pytest.raises(JudgeError, match="Digest did not match"):
        chroot.podman(work, "pull", "--quiet", "oci:/mnt/image:latest")


def trees(image: Image, seen: Path) -> tuple[dict[str, rootfs.Seen], dict[str, rootfs.Seen]]:
    """What a runtime shows, but for the repository, and what it ought to show."""
    found = rootfs.without_repository(rootfs.see(seen))
    return found, rootfs.in_a_container(rootfs.see(image.commit.tree), with_xattrs=image.variant.with_xattrs)
