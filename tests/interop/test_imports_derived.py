"""Derived and plain images import to the trees that umoci unpacks; `ostree` finds the repositories sound."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from encapsulated_images import LAYOUTS, layout_name, make_image, spread
from ostrata.errors import escape
from ostrata.formats.encapsulated import Layout
from ostrata.model.image import StoredImage
from ostrata.pipeline.import_image import ImportedImage, import_image
from ostrata.protocols import BlobStore
from ostrata.stores.blobs import read_blob
from ostrata.stores.ostree_writer import init_repository
from ostree_program import REF, Source, commit_tree, fsck, listing, make_tree, needs_ostree, ostree
from plain_images import CAPABILITY, Change, Found, RandomLayers, opaque, read_layout, snapshot, whiteout, write_image

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("umoci") is None, reason="umoci is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can unpack owners and capabilities"),
    needs_ostree,
]
Run = Callable[..., str]
Image = tuple[BlobStore, StoredImage]
LAYER_COUNTS = (1, 2, 5, 20, 60, 120)
DIRECTORY_XATTRS = {b"var/home"}
"""Directories of the odd tree whose extended attributes are in the commit and in no layer."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """The judges' odd tree, committed."""
    place = tmp_path_factory.mktemp("source")
    return commit_tree(make_tree(place), place / "repo", "ostrata", "bare-user")


def imported(image: Image, place: Path, mode: str = "bare") -> ImportedImage:
    """Into place/repo, which is sound afterwards; checked out into place/checkout (bare keeps everything)."""
    repository = place / "repo"
    init_repository(str(repository), mode)
    found = import_image(str(repository), *image, ref="imported", jobs=2)
    fsck(repository)
    ostree(repository, "checkout", "imported", place / "checkout")
    return found


def unpack(run: Run, image: Path, bundle: Path) -> dict[bytes, Found]:
    run("umoci", "unpack", "--image", f"{image}:t", bundle)
    return snapshot(bundle / "rootfs")


def committed(tree: dict[bytes, Found], found: ImportedImage | None = None) -> dict[bytes, Found]:
    """Of these trees, what a commit can hold: no time, no hard links, /etc in usr, nothing of the OSTree repository.

    What the import said it left out is not expected either."""
    left_out = {os.fsencode(each.path) for each in found.left_out} if found is not None else set()
    kept = {
        path: entry for path, entry in tree.items() if path not in left_out and not path.startswith(b"sysroot/ostree")
    }
    return {
        b"usr/" + path if path.split(b"/")[0] == b"etc" else path: replace(
            entry, mtime=0, group=b"", xattrs=() if path in DIRECTORY_XATTRS else entry.xattrs
        )
        for path, entry in kept.items()
    }


def without_labels(tree: dict[bytes, Found]) -> dict[bytes, Found]:
    return {
        path: replace(found, xattrs=tuple(pair for pair in found.xattrs if pair[0] != "security.selinux"))
        for path, found in tree.items()
    }


def holds_the_base(repository: Path, source: Source) -> None:
    assert ostree(repository, "rev-parse", "imported^").strip() == source.checksum
    assert listing(repository, "imported^") == source.listing


# Plain images


@pytest.mark.parametrize("seed", range(20, 26))
def test_a_plain_image_is_imported_as_the_tree_that_umoci_unpacks(seed: int, run: Run, tmp_path: Path) -> None:
    layers = RandomLayers(seed)
    image = write_image(tmp_path / "image", [layers.layer(20) for _ in range(LAYER_COUNTS[seed - 20])])

    found = imported(image, tmp_path)

    expected = committed(unpack(run, tmp_path / "image", tmp_path / "bundle"), found)
    assert committed(snapshot(tmp_path / "checkout")) == expected


# Derived images


@pytest.mark.parametrize("layout", [each for each in LAYOUTS if each.name == "bootc"], ids=layout_name)
def test_what_umoci_changed_is_imported_as_the_tree_that_umoci_unpacks(
    layout: Layout, source: Source, run: Run, tmp_path: Path
) -> None:
    image = derive(source, run, tmp_path, layout=layout, contentmeta=spread(source.repository, REF))

    found = imported(image, tmp_path)

    assert found.commit is not None and found.merged is not None
    assert found.commit.checksum == source.checksum
    assert (found.checksum, found.merged.layers) == (found.merged.checksum, 1)
    assert {each.path for each in found.left_out} == {"run/pipe", "tmp/new", "etc/hostname", "sysroot/ostree"}
    checkout = committed(snapshot(tmp_path / "checkout"))
    expected = committed(unpack(run, tmp_path / "image", tmp_path / "bundle"), found)
    assert without_labels(checkout) == without_labels(expected)
    # Layers do not show what the base's objects have.
    assert "security.selinux" in dict(checkout[b"usr/share/labelled"].xattrs)
    assert os.getxattr(tmp_path / "checkout/var/home", "user.of-a-directory") == b"kept in the commit only"
    holds_the_base(tmp_path / "repo", source)


def derive(source: Source, run: Run, place: Path, **options: object) -> Image:
    """The encapsulated image place/image, changed as builds do it: by umoci, to one more layer."""
    make_image(source.repository, REF, f"oci:{place}/image:t", compression="gzip", **options)
    run("umoci", "unpack", "--image", f"{place}/image:t", place / "build")
    change(place / "build/rootfs")
    run("umoci", "repack", "--image", f"{place}/image:t", place / "build")
    return read_layout(place / "image")


def change(root: Path) -> None:
    """What builds do: chmod, delete, a directory for a file and back, rename, capability, xattr, configuration."""
    (root / "usr/bin/sudo").chmod(0o755)
    (root / "usr/share/linked").unlink()
    shutil.rmtree(root / "usr/share/links")
    (root / "usr/share/links").write_text("a file now")
    (root / "usr/share/empty").unlink()
    (root / "usr/share/empty").mkdir(0o700)
    (root / "usr/share/empty/now a directory").write_text("no more")
    (root / "usr/bin/new directory\n").mkdir(0o711)
    os.setxattr(root / "usr/bin/new directory\n", "user.new", b"value")
    (root / "usr/bin/new directory\n/tool").write_bytes(b"tool")
    os.setxattr(root / "usr/bin/new directory\n/tool", "security.capability", CAPABILITY)
    os.chown(root / "usr/bin/new directory\n/tool", 5, 6)
    os.link(root / "usr/bin/new directory\n/tool", root / "usr/bin/tool")
    (root / "etc/linked").rename(root / "etc/renamed ž")
    (root / "etc/new.conf").symlink_to("renamed ž")
    (root / "etc/hostname").write_bytes(b"")
    (root / "usr/share/sticky").chmod(0o750)
    (root / "var/lib").mkdir(parents=True, exist_ok=True)
    (root / "var/lib/state").write_bytes(b"kept")
    (root / "var/home/new").write_bytes(b"on the way through a directory with an attribute")
    for name in ("run", "tmp"):
        (root / name).mkdir(exist_ok=True)
    os.mkfifo(root / "run/pipe")
    (root / "tmp/new").write_bytes(b"mounted over")


@pytest.mark.parametrize("layout", LAYOUTS, ids=layout_name)
@pytest.mark.parametrize("mode", ["archive", "bare-user", "bare"])
def test_opaque_directories_and_replaced_ones_come_out_as_umoci_shows_them(
    layout: Layout, mode: str, source: Source, run: Run, tmp_path: Path
) -> None:
    image = derive_by_hand(source, tmp_path, layout)

    found = imported(image, tmp_path, mode)

    assert found.left_out == ()
    expected = committed(unpack(run, tmp_path / "image", tmp_path / "bundle"))
    if mode == "bare" and layout.name == "bootc":  # the other layout shows no extended attributes to anybody
        assert committed(snapshot(tmp_path / "checkout")) == expected
    paths = {os.fsdecode(path) for path in expected} - {"."}
    shown = ostree(tmp_path / "repo", "ls", "-R", "--nul-filenames-only", "imported").split("\0")
    assert {path.lstrip("/") for path in shown} - {""} == paths
    holds_the_base(tmp_path / "repo", source)


def derive_by_hand(source: Source, place: Path, layout: Layout) -> Image:
    make_image(source.repository, REF, f"oci:{place}/base:t", compression="gzip", layout=layout)
    store, image = read_layout(place / "base")
    tars = [gzip.decompress(read_blob(store, layer.descriptor.digest, 1 << 24)) for layer in image.layers]
    upper = [
        opaque("usr/share"),
        Change("usr/share/only", data=b"this"),
        whiteout("etc/linked"),
        Change("usr/bin", mode=0o600),
        Change("etc/sub/deep", xattrs={"user.a": b"1"}),
    ]
    return write_image(place / "image", [*tars, upper], labels=image.config.labels)


# Compressed anew


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
@pytest.mark.parametrize("shape", ["docker's manifest", "gzip to zstd", "and back"])
def test_what_skopeo_made_of_a_derived_image_imports_to_the_same_tree(
    shape: str, source: Source, run: Run, tmp_path: Path
) -> None:
    image = derive(source, run, tmp_path)
    (tmp_path / "first").mkdir()
    first = imported(image, tmp_path / "first")
    copies = {
        "docker's manifest": [("docker", "--format", "v2s2")],
        "gzip to zstd": [("zstd", "--dest-compress", "--dest-compress-format", "zstd")],
        "and back": [
            ("zstd", "--dest-compress", "--dest-compress-format", "zstd"),
            ("gzip", "--dest-compress", "--dest-compress-format", "gzip"),
        ],
    }
    previous = f"oci:{tmp_path}/image:t"
    for name, *options in copies[shape]:
        run("skopeo", "--insecure-policy", "copy", "-q", *options, previous, f"oci:{tmp_path}/{name}:t")
        previous = f"oci:{tmp_path}/{name}:t"
    store, copy = read_layout(Path(previous.removeprefix("oci:").removesuffix(":t")))
    media_types = {layer.descriptor.media_type.rpartition(".")[2] for layer in copy.layers}
    assert media_types == {"gzip" if shape == "docker's manifest" else "tar+zstd" if "to" in shape else "tar+gzip"}

    (tmp_path / "second").mkdir()
    second = imported((store, copy), tmp_path / "second")

    assert second.commit is not None and first.commit is not None
    assert second.commit.checksum == first.commit.checksum == source.checksum
    assert listing(tmp_path / "second/repo", "imported") == listing(tmp_path / "first/repo", "imported")
    assert [escape(each.path) for each in second.left_out] == [escape(each.path) for each in first.left_out]


def test_ostree_shows_the_image_that_a_commit_was_made_of(source: Source, run: Run, tmp_path: Path) -> None:
    store, image = derive(source, run, tmp_path)
    imported((store, image), tmp_path)

    shown = ostree(tmp_path / "repo", "show", "--print-metadata-key=ostree.manifest-digest", "imported")
    assert shown.strip() == f"'{image.descriptor.digest}'"
    manifest = ostree(tmp_path / "repo", "show", "--raw", "imported")
    assert json.loads(read_blob(store, image.descriptor.digest, 1 << 22))["config"]["digest"] in manifest
