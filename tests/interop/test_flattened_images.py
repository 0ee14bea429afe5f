"""Trees that `extract` writes and `import` commits, compared with what umoci and ostree make of the same images."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from encapsulated_images import LAYOUTS, layout_name, make_image, ostrata, spread
from judge import rootfs
from ostrata.formats.encapsulated import Layout
from ostrata.pipeline.extract import extract
from ostrata.pipeline.import_tree import ImportedImage, import_tree
from ostrata.stores.blobs import read_blob
from ostrata.stores.ostree_writer import init_repository
from plain_images import CAPABILITY, Change, Found, RandomLayers, opaque, read_layout, snapshot, whiteout, write_image

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("umoci") is None, reason="umoci is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can unpack owners and capabilities"),
]
needs_ostree = pytest.mark.skipif(shutil.which("ostree") is None, reason="ostree is not installed")
Run = Callable[..., str]
LAYER_COUNTS = (1, 2, 5, 20, 60, 120)


def unpack(run: Run, image: Path, bundle: Path) -> dict[bytes, Found]:
    run("umoci", "unpack", "--image", f"{image}:t", bundle)
    return snapshot(bundle / "rootfs")


@pytest.mark.parametrize("seed", range(12))
def test_an_extracted_tree_is_the_one_that_umoci_unpacks(seed: int, run: Run, tmp_path: Path) -> None:
    layers = RandomLayers(seed)
    count = LAYER_COUNTS[seed % len(LAYER_COUNTS)]
    store, image = write_image(tmp_path / "image", [layers.layer(20) for _ in range(count)])

    extract(store, image, str(tmp_path / "tree"), jobs=1 + seed % 2)

    assert snapshot(tmp_path / "tree") == unpack(run, tmp_path / "image", tmp_path / "bundle")


def test_devices_are_the_ones_that_umoci_makes(run: Run, tmp_path: Path) -> None:
    devices = [
        Change("dev/null", "char", mode=0o666, device=(1, 3)),
        Change("dev/sda1", "block", mode=0o660, gid=6, device=(8, 1)),
        Change("dev/again", "link", to="dev/null"),
    ]
    store, image = write_image(tmp_path / "image", [[Change("dev/", "directory", mode=0o755), *devices]])

    extract(store, image, str(tmp_path / "tree"))

    assert snapshot(tmp_path / "tree") == unpack(run, tmp_path / "image", tmp_path / "bundle")


# Imports


@needs_ostree
@pytest.mark.parametrize("seed", range(20, 26))
def test_a_plain_image_is_imported_as_the_tree_that_umoci_unpacks(seed: int, run: Run, tmp_path: Path) -> None:
    layers = RandomLayers(seed)
    store, image = write_image(tmp_path / "image", [layers.layer(20) for _ in range(LAYER_COUNTS[seed - 20])])

    found = import_and_check_out(run, store, image, tmp_path)

    expected = committed(unpack(run, tmp_path / "image", tmp_path / "bundle"))
    assert found.merged is not None
    for left_out in found.merged.left_out:
        expected.pop(os.fsencode(left_out.path), None)
    assert committed(snapshot(tmp_path / "checkout")) == expected


def import_and_check_out(run: Run, store: object, image: object, place: Path) -> ImportedImage:
    """Into place/repo, of mode bare, which keeps everything; and its checkout into place/checkout."""
    repository = place / "repo"
    init_repository(str(repository), "bare")
    found = import_tree(str(repository), store, image, ref="imported", jobs=2)  # type: ignore[arg-type]
    run("ostree", f"--repo={repository}", "fsck", "--quiet")
    run("ostree", f"--repo={repository}", "checkout", "imported", place / "checkout")
    return found


def committed(tree: dict[bytes, Found]) -> dict[bytes, Found]:
    """Of these trees, what a commit can hold: no time, no hard links, /etc in usr, nothing of the OSTree repository.

    One directory of the base has an extended attribute, which is in the commit and in no layer.
    """
    found = {
        b"usr/" + path if path.split(b"/")[0] == b"etc" else path: replace(found, mtime=0, group=b"")
        for path, found in tree.items()
        if not path.startswith(b"sysroot/ostree")
    }
    if b"var/home" in found:
        found[b"var/home"] = replace(found[b"var/home"], xattrs=())
    return found


def without_labels(tree: dict[bytes, Found]) -> dict[bytes, Found]:
    return {
        path: replace(found, xattrs=tuple(pair for pair in found.xattrs if pair[0] != "security.selinux"))
        for path, found in tree.items()
    }


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The judges' odd tree, committed."""
    place = tmp_path_factory.mktemp("source")
    (place / "program").write_bytes(b"\x7fELF, perhaps\n" * 1000)
    rootfs.make(place / "rootfs", place / "program")
    path = place / "repo"
    ostrata("commit", "--quiet", "--repo", path, "--branch", "os", "--timestamp", "@1577836800", place / "rootfs")
    return path


@needs_ostree
@pytest.mark.parametrize("layout", [each for each in LAYOUTS if each.name == "bootc"], ids=layout_name)
def test_a_derived_image_is_imported_as_the_tree_that_umoci_unpacks(
    layout: Layout, repository: Path, run: Run, tmp_path: Path
) -> None:
    contentmeta = spread(repository, "os")
    result = make_image(
        repository, "os", f"oci:{tmp_path}/image:t", compression="gzip", layout=layout, contentmeta=contentmeta
    )
    run("umoci", "unpack", "--image", f"{tmp_path}/image:t", tmp_path / "build")
    change(tmp_path / "build/rootfs")
    run("umoci", "repack", "--image", f"{tmp_path}/image:t", tmp_path / "build")
    store, image = read_layout(tmp_path / "image")

    found = import_and_check_out(run, store, image, tmp_path)

    assert found.commit is not None and found.merged is not None
    assert found.commit.checksum == result.commit
    assert found.checksum == found.merged.checksum
    assert found.merged.layers == 1
    expected = committed(unpack(run, tmp_path / "image", tmp_path / "bundle"))
    assert {each.path for each in found.merged.left_out} == {"run/pipe", "tmp/new", "etc/hostname", "sysroot/ostree"}
    for gone in (b"run/pipe", b"tmp/new", b"usr/etc/hostname"):
        del expected[gone]
    checkout = committed(snapshot(tmp_path / "checkout"))
    assert without_labels(checkout) == without_labels(expected)
    # Layers do not show the base's SELinux labels, but its objects have them.
    assert "security.selinux" in dict(checkout[b"usr/share/labelled"].xattrs)
    assert run("ostree", f"--repo={tmp_path}/repo", "rev-parse", "imported^").strip() == result.commit
    for revision in (result.commit, "imported^"):
        listed = run("ostree", f"--repo={tmp_path}/repo", "ls", "-R", "-C", "-X", revision)
        assert listed == run("ostree", f"--repo={repository}", "ls", "-R", "-C", "-X", "os")


def change(root: Path) -> None:
    """What builds do: chmod, delete, a directory for a file and back, rename, capability, xattr, configuration."""
    (root / "usr/bin/sudo").chmod(0o755)
    (root / "usr/share/linked").unlink()
    shutil.rmtree(root / "usr/share/links")
    (root / "usr/share/links").write_text("a file now")
    (root / "usr/bin/new directory\n").mkdir(0o711)
    os.setxattr(root / "usr/bin/new directory\n", "user.new", b"value")
    (root / "usr/bin/new directory\n/tool").write_bytes(b"tool")
    os.setxattr(root / "usr/bin/new directory\n/tool", "security.capability", CAPABILITY)
    os.chown(root / "usr/bin/new directory\n/tool", 5, 6)
    os.link(root / "usr/bin/new directory\n/tool", root / "usr/bin/tool")
    (root / "etc/linked").rename(root / "etc/renamed ž")
    (root / "etc/new.conf").symlink_to("renamed ž")
    (root / "etc/hostname").write_bytes(b"")
    (root / "var/lib").mkdir(parents=True, exist_ok=True)
    (root / "var/lib/state").write_bytes(b"kept")
    for name in ("run", "tmp"):
        (root / name).mkdir(exist_ok=True)
    os.mkfifo(root / "run/pipe")
    (root / "tmp/new").write_bytes(b"mounted over")


@needs_ostree
def test_opaque_directories_and_replaced_ones_of_a_derived_image(repository: Path, run: Run, tmp_path: Path) -> None:
    base = make_image(repository, "os", f"oci:{tmp_path}/base:t", compression="gzip")
    store, image = read_layout(tmp_path / "base")
    tars = [gzip.decompress(read_blob(store, layer.descriptor.digest, 1 << 24)) for layer in image.layers]
    upper = [
        opaque("usr/share"),
        Change("usr/share/only", data=b"this"),
        whiteout("etc/linked"),
        Change("usr/bin", mode=0o600),
        Change("etc/sub/deep", xattrs={"user.a": b"1"}),
    ]

    store, image = write_image(
        tmp_path / "image",
        [*tars, upper],
        labels=image.config.labels,
    )

    found = import_and_check_out(run, store, image, tmp_path)

    assert found.commit is not None and found.commit.checksum == base.commit
    assert found.merged is not None and not found.merged.left_out
    assert committed(snapshot(tmp_path / "checkout")) == committed(unpack(run, tmp_path / "image", tmp_path / "bundle"))
