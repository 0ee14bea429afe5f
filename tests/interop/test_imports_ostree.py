"""`ostree` finds imported repositories sound, and the source's commit in them; skopeo's copies import equally."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from encapsulated_images import LAYOUTS, layout_name, make_image, ostrata, spread
from ostrata.formats.encapsulated import Layout
from ostree_program import REF, SHAPES, Source, commit_tree, fsck, listing, make_tree, needs_ostree, ostree

pytestmark = [
    pytest.mark.interop,
    needs_ostree,
]
MODES = ("bare-user", "archive", "bare")
VARIANTS = [
    pytest.param(*variant, id=f"{layout_name(variant[0])}, {variant[1]}, {variant[2]}")
    for variant in itertools.product(LAYOUTS, MODES, SHAPES)
]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """The judges' odd tree, committed by `ostree`, with detached metadata."""
    place = tmp_path_factory.mktemp("source")
    detached = "--add-detached-metadata-string=example.note=žluť"
    return commit_tree(make_tree(place), place / "repo", "ostree", "archive", detached)


def sound(repository: Path, source: Source) -> None:
    fsck(repository)
    assert ostree(repository, "rev-parse", "imported").strip() == source.checksum
    assert listing(repository, "imported") == source.listing
    note = ostree(repository, "show", "--print-detached-metadata-key=example.note", source.checksum)
    assert note == "'žluť'\n"


def image_of(source: Source, place: Path, shape: str, **options: object) -> str:
    contentmeta = spread(source.repository, REF) if shape == "chunked" else None
    make_image(source.repository, REF, f"oci:{place}/image:t", contentmeta=contentmeta, **options)
    return f"oci:{place}/image:t"


@pytest.mark.parametrize(("layout", "mode", "shape"), VARIANTS)
def test_an_imported_repository_is_sound_and_holds_the_source(
    layout: Layout, mode: str, shape: str, source: Source, tmp_path: Path
) -> None:
    image = image_of(source, tmp_path, shape, layout=layout, compression="gzip")
    repo = tmp_path / "repo"
    assert ostrata("import", image, "--repo", repo, "--mode", mode, "--write-ref", "imported") == source.checksum
    sound(repo, source)


def test_a_repository_that_ostree_made_takes_imports(source: Source, tmp_path: Path) -> None:
    image = image_of(source, tmp_path, "chunked")
    ostree(tmp_path / "repo", "init", "--mode=bare-user")
    ostrata("import", image, "--repo", tmp_path / "repo", "--write-ref", "imported")
    sound(tmp_path / "repo", source)


def test_objects_that_ostree_prunes_come_back(source: Source, tmp_path: Path) -> None:
    image, repo = image_of(source, tmp_path, "chunked"), tmp_path / "repo"
    ostrata("import", image, "--repo", repo, "--write-ref", "imported")
    ostree(repo, "refs", "--delete", "imported")
    ostree(repo, "prune", "--refs-only")
    assert not list(repo.glob("objects/??/*.file"))
    ostrata("import", image, "--repo", repo, "--write-ref", "imported")
    sound(repo, source)


def test_ostree_reads_what_bare_user_only_can_hold(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "usr").mkdir(parents=True)
    (tree / "usr/file").write_bytes(b"a file\n")
    (tree / "usr/link").symlink_to("file")
    ostrata("commit", "--repo", tmp_path / "source", "-b", REF, "--canonical-permissions", tree)
    make_image(tmp_path / "source", REF, f"oci:{tmp_path}/image")
    repo = tmp_path / "repo"
    ostrata("import", f"oci:{tmp_path}/image", "--repo", repo, "--mode", "bare-user-only", "--write-ref", "imported")
    fsck(repo)
    assert listing(repo, "imported") == listing(tmp_path / "source", REF)


@pytest.mark.parametrize("shape", ["dir with docker's manifest", "docker-archive", "gzip to zstd", "zstd to gzip"])
def test_what_skopeo_made_of_an_image_imports_equally(shape: str, source: Source, tmp_path: Path) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    compression = "zstd" if shape.startswith("zstd") else "gzip"
    image = image_of(source, tmp_path, "chunked", compression=compression)
    copies = {
        "dir with docker's manifest": (f"dir:{tmp_path}/copy", "--format", "v2s2"),
        "docker-archive": (f"docker-archive:{tmp_path}/copy.tar", "--format", "v2s2"),
        "gzip to zstd": (f"oci:{tmp_path}/copy:t", "--dest-compress", "--dest-compress-format", "zstd"),
        "zstd to gzip": (f"oci:{tmp_path}/copy:t", "--dest-compress", "--dest-compress-format", "gzip"),
    }
    copy, *options = copies[shape]
    subprocess.run(["skopeo", "copy", "-q", *options, image, copy], check=True, timeout=60)
    assert ostrata("import", copy, "--repo", tmp_path / "repo", "--write-ref", "imported") == source.checksum
    sound(tmp_path / "repo", source)


@pytest.mark.parametrize("layout", ["bootc", "ostree-ext-0.15"])
def test_a_tar_takes_a_commit_to_a_sound_repository(layout: str, source: Source, tmp_path: Path) -> None:
    tar = tmp_path / "os.tar"
    with open(tar, "wb") as file:
        command = ["tar", "export", "--repo", source.repository, REF, "--layout", layout]
        subprocess.run([sys.executable, "-m", "ostrata", *command], stdout=file, check=True, timeout=60)
    assert ostrata("tar", "import", "--repo", tmp_path / "repo", tar, "--write-ref", "imported") == source.checksum
    sound(tmp_path / "repo", source)
