"""What buildah builds on top of our images is imported as the tree that umoci unpacks; upstream's pull makes the same.

Layers are written by both of buildah's storage drivers: vfs hides by whiteouts, overlay by opaque markers too.
OSTRATA_JUDGE_CHROOT and OSTRATA_JUDGE_OSTREE_EXT as in `test_import`.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from encapsulated_images import make_image
from judge import rootfs
from judge.chroot import Chroot, run
from judge.conftest import ONE_OF_EACH_LAYOUT, REF, TIMESTAMP, Image, each, ostrata
from ostrata.stores.blobs import read_blob
from plain_images import Change, directory, link, read_layout, symlink, whiteout, write_image
from selinux_policies import FILE_CONTEXTS, make_policy, needs_libselinux

pytestmark = pytest.mark.judge

STEPS = (
    "chmod 700 usr/bin/wall; chown 5:6 usr/share/owned; rm usr/share/large",
    "rm -r usr/share/names; echo 'a file now' > usr/share/names",
    "rm usr/share/empty; mkdir -m 711 usr/share/empty; echo x > usr/share/empty/x",
    "rm -r usr/share/sticky; mkdir -m 1770 usr/share/sticky; echo only > usr/share/sticky/only",
    "mv etc/sub etc/renamed; echo joe:x:1:1::/:/bin/sh >> etc/passwd; ln -s passwd etc/link",
    "mkdir -p opt/app var/lib/app; echo state > var/lib/app/state; echo p > opt/app/program",
    "ln opt/app/program opt/again; touch var/home/user/new; mkfifo opt/pipe; echo gone > tmp/gone",
)
BUILD = """
for layers in true false; do
    buildah --root /mnt/storage --runroot /run/containers --storage-driver vfs build --isolation chroot \\
        --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --network host --layers=$layers \\
        --tag $layers --file /mnt/Containerfile . >&2
    buildah --root /mnt/storage --runroot /run/containers --storage-driver vfs push --quiet $layers oci:/mnt/$layers:t
    umoci unpack --image /mnt/$layers:t /mnt/bundle-$layers >&2
done
"""


@each("runnable_image", ONE_OF_EACH_LAYOUT)
def test_what_buildah_builds_is_imported_as_the_tree_that_umoci_unpacks(
    runnable_image: Image, chroot: Chroot, work: Path
) -> None:
    # A command as JSON: the odd tree has no /bin/sh.
    lines = [f"RUN {json.dumps(['/usr/bin/busybox', 'sh', '-ec', f'cd /; {step}'])}" for step in with_busybox(STEPS)]
    (work / "Containerfile").write_text("\n".join(["FROM oci:/mnt/image:latest", *lines]))
    chroot.shell(work, BUILD, timeout=300)
    source = runnable_image.commit.checksum
    for name, layers in (("true", len(STEPS)), ("false", 1)):
        repo = work / f"repo {name}"
        arguments = ("import", f"oci:{work}/{name}:t", "--repo", repo, "--mode", "bare", "--write-ref", "x", "--json")
        found = json.loads(ostrata(*arguments))
        assert (found["base"], found["layers"]["merged"]) == (source, layers)
        assert {"/opt/pipe", "/tmp/gone"} <= {each["path"] for each in found["left_out"]}
        assert "no errors found" in run(["ostree", f"--repo={repo}", "fsck"], 60)
        assert run(["ostree", f"--repo={repo}", "rev-parse", "x^"], 60).strip() == source
        run(["ostree", f"--repo={repo}", "checkout", "x", f"{work}/checkout {name}"], 60)
        unpacked = rootfs.see(work / f"bundle-{name}/rootfs")
        for each_left_out in found["left_out"]:
            unpacked.pop(each_left_out["path"].lstrip("/"), None)
        shows = runnable_image.variant.with_xattrs
        expected = as_committed(unpacked, with_capabilities=shows)
        assert as_committed(rootfs.see(work / f"checkout {name}"), with_capabilities=shows) == expected


def with_busybox(steps: tuple[str, ...]) -> list[str]:
    programs = ("chmod", "chown", "rm", "mkdir", "mv", "ln", "touch", "mkfifo")
    aliases = "; ".join(f'{name}() {{ /usr/bin/busybox {name} "$@"; }}' for name in programs)
    return [f"{aliases}; {step}" for step in steps]


def as_committed(tree: dict[str, rootfs.Seen], *, with_capabilities: bool) -> dict[str, rootfs.Seen]:
    """The paths of a commit; of extended attributes only those that all layers of the layout show.

    /var/tmp is in the layers of every commit, and so counts for none."""
    kept = ("security.capability",) if with_capabilities else ()
    return {
        f"usr/{path}" if path == "etc" or path.startswith("etc/") else path: replace(
            entry, xattrs=tuple(pair for pair in entry.xattrs if pair[0] in kept)
        )
        for path, entry in rootfs.without_repository(tree).items()
        if path != "var/tmp"
    }


# Opaque markers and capabilities. The driver vfs compares trees: it writes whiteouts, and never an opaque marker.

CONTAINERFILE = """
FROM oci:/mnt/image:latest
COPY ping opt/ping
RUN {}
"""
REPLACEMENTS = (
    "rm -r usr/share/names; mkdir usr/share/names; echo a > usr/share/names/only",
    "rm -r etc/sub; mkdir -m 711 etc/sub; rm -r var/home/user; mkdir -m 750 var/home/user",
    "chmod 700 usr/lib/capable/busybox; chown 5:6 usr/bin/ping",  # the kernel drops the capability of what is chowned
)
BUILD_AND_SHOW = """
mkdir context
cp /usr/bin/busybox context/ping
setcap cap_net_bind_service+ep context/ping
set -- --root /mnt/storage --runroot /run/containers --storage-driver overlay
buildah "$@" build --isolation chroot --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --network host \\
    --layers=true --tag built --file Containerfile context >&2
buildah "$@" push --quiet built oci:/mnt/built:t
umoci unpack --image /mnt/built:t bundle >&2
mkdir podman
cp --archive "$(podman "$@" --tmpdir /run/libpod image mount built)" podman/rootfs
"""


# The driver overlay needs layers that have their parent directories.
@each("runnable_image", [variant for variant in ONE_OF_EACH_LAYOUT if variant.format_version == 2])
def test_opaque_markers_and_capabilities_that_buildah_writes_are_imported(
    runnable_image: Image, chroot: Chroot, work: Path
) -> None:
    script = "; ".join(["cd /", *with_busybox(REPLACEMENTS)])
    (work / "Containerfile").write_text(CONTAINERFILE.format(json.dumps(["/usr/bin/busybox", "sh", "-ec", script])))
    chroot.shell(work, BUILD_AND_SHOW, timeout=300)
    copied, replaced = entries_of_topmost_layers(work / "built", 2)
    given, kept = rootfs.capability(rootfs.CAP_NET_BIND_SERVICE), "usr/lib/capable/busybox"
    assert (copied["opt/ping"], replaced[kept], replaced["usr/bin/ping"]) == (given, given, None)
    assert {path for path in replaced if path.endswith("/.wh..wh..opq")} == {
        *("etc/sub/.wh..wh..opq", "usr/share/names/.wh..wh..opq", "var/home/user/.wh..wh..opq")
    }

    image = f"oci:{work}/built:t"
    found = json.loads(
        ostrata("import", image, "--repo", work / "ours", "--mode", "bare", "--write-ref", "x", "--json")
    )
    assert (found["base"], found["left_out"]) == (runnable_image.commit.checksum, [])
    run(["ostree", f"--repo={work}/ours", "checkout", "x", f"{work}/checkout"], 60)
    imported, umoci, podman = (
        as_committed(rootfs.see(work / tree), with_capabilities=True)
        for tree in ("checkout", "bundle/rootfs", "podman/rootfs")
    )
    assert imported["opt/ping"].xattrs == imported[kept].xattrs == (("security.capability", given),)
    assert imported["usr/bin/ping"].xattrs == ()
    assert {path for path in imported if path.startswith("usr/share/names/")} == {"usr/share/names/only"}
    assert imported == umoci
    podman[""] = replace(podman[""], mode=umoci[""].mode)  # the driver's own
    assert imported == podman


def entries_of_topmost_layers(layout: Path, count: int) -> list[dict[str, bytes | None]]:
    """For each of the layers, from below: its entries, by path, with their capability."""
    store, image = read_layout(layout)
    found = []
    for layer in image.layers[-count:]:
        blob = read_blob(store, layer.descriptor.digest, 1 << 24)
        with tarfile.open(fileobj=io.BytesIO(blob), errors="surrogateescape") as tar:
            found.append({member.name: capability_of(member) for member in tar})
    return found


def capability_of(member: tarfile.TarInfo) -> bytes | None:
    value = member.pax_headers.get("SCHILY.xattr.security.capability")
    return None if value is None else value.encode("utf-8", "surrogateescape")


# Upstream's `container image pull`

BASE_CONTEXTS = FILE_CONTEXTS
OTHER_CONTEXTS = FILE_CONTEXTS.replace("bin_t", "another_t")


@needs_libselinux
@pytest.mark.parametrize("contexts", [BASE_CONTEXTS, OTHER_CONTEXTS], ids=["the base's policy", "a layer's policy"])
@pytest.mark.parametrize("mode", ["bare-user", "bare"])  # upstream merges in no archive
def test_upstreams_pull_merges_and_labels_a_derived_image_to_the_same_tree(
    mode: str, contexts: str, work: Path
) -> None:
    program = os.environ.get("OSTRATA_JUDGE_OSTREE_EXT")
    if not program or os.geteuid() != 0:
        pytest.skip("OSTRATA_JUDGE_OSTREE_EXT names no program" if not program else "upstream pulls as root only")
    for needed in (program, "ostree", "skopeo"):
        if shutil.which(needed) is None:
            pytest.skip(f"{needed} is not installed")
    make_labelled_image(work, contexts)

    found = json.loads(ostrata("import", f"oci:{work}/image:t", "--repo", work / "ours", "--mode", mode, "--json"))
    run(["ostree", f"--repo={work}/theirs", "init", f"--mode={mode}"], 60)
    run([program, "container", "image", "pull", f"{work}/theirs", f"ostree-unverified-image:oci:{work}/image:t"], 120)

    refs = run(["ostree", f"--repo={work}/theirs", "refs", "--list", "ostree/container/image"], 60).split()
    listing = [run(["ostree", f"--repo={work}/theirs", "ls", "-R", "-C", "-X", ref], 60) for ref in refs]
    assert listing == [run(["ostree", f"--repo={work}/ours", "ls", "-R", "-C", "-X", found["commit"]], 60)]
    assert "object_r:bin_t" in listing[0] or "object_r:another_t" in listing[0]


def make_labelled_image(work: Path, contexts: str) -> None:
    """A labelled commit with a transient root, and a layer on it; upstream needs libostree 2024.3 for /var."""
    tree = work / "tree"
    for path in ("usr/bin", "usr/share/a", "usr/lib/ostree", "var", "sysroot"):
        (tree / path).mkdir(parents=True)
    (tree / "ostree").symlink_to("sysroot/ostree")
    (tree / "usr/lib/ostree/prepare-root.conf").write_text("[root]\ntransient=true\n")
    make_policy(tree, place="usr/etc/selinux")
    for path in ("usr/bin/su", "usr/bin/x", "usr/share/a/f", "usr/etc/shadow"):
        (tree / path).write_text(path)
    (tree / "usr/bin/z").symlink_to("x")
    options = ("--branch", REF, "--timestamp", f"@{TIMESTAMP}", "--selinux-policy-from-base")
    ostrata("commit", "--quiet", "--repo", work / "repo", *options, tree)
    make_image(work / "repo", REF, f"oci:{work}/base:t", compression="gzip")
    store, base = read_layout(work / "base")
    tars = [gzip.decompress(read_blob(store, layer.descriptor.digest, 1 << 24)) for layer in base.layers]
    upper = [
        *(directory("usr/"), directory("usr/bin/"), Change("usr/bin/new", data=b"new", mode=0o755)),
        *(Change("usr/bin/su", data=b"another", mode=0o4755), symlink("usr/bin/l", "x"), whiteout("usr/share/a/f")),
        *(directory("etc/"), Change("etc/conf", data=b"c"), Change("etc/shadow", data=b"t", mode=0o600)),
        *(directory("opt/"), Change("opt/o", data=b"o"), directory("usr/new/", mode=0o711)),
        *(Change("usr/new/f", data=b"q", uid=5, gid=6), link("usr/new/l", "usr/new/f")),
        Change("etc/selinux/tiny/contexts/files/file_contexts", data=contexts.encode()),
    ]
    write_image(work / "image", [*tars, upper], labels=base.config.labels)
