"""Layers that GNU tar extracts over each other are a repository that `ostree` finds sound, and the source's commit."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from encapsulated_images import LAYOUTS, blob_path, check_image, layout_name, make_image, spread
from judge import rootfs
from ostrata import EncapsulateResult
from ostrata.formats.encapsulated import Layout
from ostree_program import REF, SHAPES, Source, commit_tree, fsck, listing, make_tree, needs_ostree, ostree

pytestmark = [
    pytest.mark.interop,
    needs_ostree,
    pytest.mark.skipif(shutil.which("tar") is None, reason="tar is not installed"),
]
SOURCES = ("ostree, bare", "ostrata, archive", "ostrata, bare-user")
VARIANTS = [
    pytest.param(*variant, id=f"{variant[0]}, {layout_name(variant[1])}, {variant[2]}")
    for variant in itertools.product(SOURCES, LAYOUTS, SHAPES)
]
Run = Callable[..., str]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The judges' odd tree, with ACLs and attributes of links."""
    tree = make_tree(tmp_path_factory.mktemp("tree"))
    os.setxattr(tree / "usr/share/links/owned", "trusted.of-a-link", b"\0\xff", follow_symlinks=False)
    (tree / "usr/share/shared").mkdir(mode=0o2775)
    (tree / "usr/share/shared").chmod(0o2775)
    (tree / "usr/share/shared/with an acl").write_bytes(b"who may?\n")
    if shutil.which("setfacl"):
        for target in ("shared", "shared/with an acl"):
            subprocess.run(["setfacl", "-m", "u:1234:rwx,g:99:r", tree / "usr/share" / target], check=True, timeout=30)
        subprocess.run(["setfacl", "-d", "-m", "u:1234:rx", tree / "usr/share/shared"], check=True, timeout=30)
    return tree


@pytest.fixture(scope="module")
def source(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Source]:
    """The tree committed by one program into a repository of one mode; each is made once."""
    made: dict[str, Source] = {}

    def make(kind: str) -> Source:
        if kind not in made:
            made[kind] = commit_tree(tree, tmp_path_factory.mktemp("source") / "repo", *kind.split(", "))
        return made[kind]

    return make


def extract(run: Run, result: EncapsulateResult, image: Path, root: Path, *options: str) -> Path:
    """Extract all layers, which are plain tars, over each other; the result is the repository in them."""
    root.mkdir()
    for report in result.layers:
        blob = blob_path(image, report.layer.descriptor.digest)
        run("tar", "-C", root, "--numeric-owner", *options, "-xpf", blob)
    return root / "sysroot/ostree/repo"


@pytest.mark.parametrize(("kind", "layout", "shape"), VARIANTS)
def test_the_extracted_layers_are_a_sound_repository_with_the_commit(
    kind: str, layout: Layout, shape: str, source: Callable[[str], Source], run: Run, tmp_path: Path
) -> None:
    origin = source(kind)
    result = make_image(
        origin.repository,
        REF,
        f"oci:{tmp_path}/image",
        layout=layout,
        contentmeta=spread(origin.repository, REF) if shape == "chunked" else None,
    )
    assert len(result.layers) == (5 if shape == "chunked" else 1)
    extracted = extract(run, result, tmp_path / "image", tmp_path / "root")
    ostree(extracted, "refs", f"--create={REF}", origin.checksum)
    fsck(extracted)
    assert ostree(extracted, "rev-parse", REF).strip() == origin.checksum
    assert listing(extracted, REF) == origin.listing
    assert check_image(f"oci:{tmp_path}/image", origin.repository, REF).problems.shown == ()


def test_all_sources_give_the_same_commit_and_image(source: Callable[[str], Source], tmp_path: Path) -> None:
    origins = [source(kind) for kind in SOURCES]
    assert len({origin.checksum for origin in origins}) == 1
    manifests = {
        make_image(
            origin.repository,
            REF,
            f"oci:{tmp_path}/image{number}",
            compression="gzip",
            contentmeta=spread(origin.repository, REF),
        ).manifest.digest
        for number, origin in enumerate(origins)
    }
    assert len(manifests) == 1


@pytest.mark.parametrize("layout", LAYOUTS, ids=layout_name)
def test_a_checkout_of_the_extracted_repository_is_a_checkout_of_the_source(
    layout: Layout, tree: Path, source: Callable[[str], Source], run: Run, tmp_path: Path
) -> None:
    origin = source(SOURCES[0])
    contentmeta = spread(origin.repository, REF)
    result = make_image(origin.repository, REF, f"oci:{tmp_path}/image", layout=layout, contentmeta=contentmeta)
    extracted = extract(run, result, tmp_path / "image", tmp_path / "root")
    ostree(extracted, "checkout", "-U", origin.checksum, tmp_path / "found")
    ostree(origin.repository, "checkout", "-U", origin.checksum, tmp_path / "expected")
    found = rootfs.see(tmp_path / "found")
    assert found == rootfs.see(tmp_path / "expected")
    assert {path: entry.content for path, entry in found.items()} == {
        path: entry.content for path, entry in rootfs.see(tree).items()
    }


def test_tar_that_restores_xattrs_leaves_the_repository_sound(
    source: Callable[[str], Source], run: Run, tmp_path: Path
) -> None:
    origin = source(SOURCES[0])
    contentmeta = spread(origin.repository, REF)
    result = make_image(origin.repository, REF, f"oci:{tmp_path}/image", contentmeta=contentmeta)
    extracted = extract(run, result, tmp_path / "image", tmp_path / "root", "--xattrs", "--xattrs-include=*")
    assert os.getxattr(tmp_path / "root/usr/bin/ping", "security.capability")
    fsck(extracted)
    assert listing(extracted, origin.checksum) == origin.listing


def test_fsck_finds_one_changed_byte_in_what_was_extracted(
    source: Callable[[str], Source], run: Run, tmp_path: Path
) -> None:
    origin = source(SOURCES[0])
    result = make_image(origin.repository, REF, f"oci:{tmp_path}/image")
    extracted = extract(run, result, tmp_path / "image", tmp_path / "root")
    (tmp_path / "root/usr/bin/sudo").write_bytes(b"like sudO\n")  # a hard link to the object
    with pytest.raises(AssertionError, match="Corrupted file object"):
        ostree(extracted, "fsck", "--quiet")


@pytest.mark.parametrize(
    "below_sysroot",
    [(), ("sysroot/file",), ("sysroot/a/b/file", "sysroot/other")],
    ids=["empty", "a file", "directories"],
)
@pytest.mark.parametrize("layout", LAYOUTS, ids=layout_name)
def test_sysroot_is_whole_where_upstream_would_lose_its_objects(
    layout: Layout, below_sysroot: tuple[str, ...], run: Run, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    (tree / "sysroot").mkdir(parents=True, mode=0o750)  # the only empty directory, the only one of this mode
    (tree / "usr").mkdir()
    (tree / "usr/file").write_bytes(b"a file\n")
    for path in below_sysroot:
        (tree / path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        (tree / path).write_bytes(path.encode())
    origin = commit_tree(tree, tmp_path / "repo", "ostrata", "bare-user")
    for shape in SHAPES:
        contentmeta = spread(origin.repository, REF) if shape == "chunked" else None
        image = tmp_path / shape
        result = make_image(origin.repository, REF, f"oci:{image}", layout=layout, contentmeta=contentmeta)
        extracted = extract(run, result, image, tmp_path / f"root of {shape}")
        fsck(extracted)
        assert listing(extracted, origin.checksum) == origin.listing


def test_detached_metadata_comes_along(run: Run, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "usr").mkdir(parents=True)
    (tree / "usr/file").write_bytes(b"a file\n")
    repository = tmp_path / "repo"
    ostree(repository, "init", "--mode=archive")
    arguments = ("--add-detached-metadata-string=example.note=žluť", f"--tree=dir={tree}")
    checksum = ostree(repository, "commit", f"--branch={REF}", *arguments).strip()
    result = make_image(repository, REF, f"oci:{tmp_path}/image")
    extracted = extract(run, result, tmp_path / "image", tmp_path / "root")
    command = ("show", "--print-detached-metadata-key=example.note", checksum)
    assert ostree(extracted, *command) == ostree(repository, *command) == "'žluť'\n"
