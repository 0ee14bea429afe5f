"""The importer that clients run takes every image, and its exporter writes the layers that ours does.

OSTRATA_JUDGE_OSTREE_EXT names a program around the published crate ostree-ext 0.15.3 (with tar 0.4.43): a `main` that
gives its arguments to `ostree_ext::cli::run_from_iter`. It needs libostree and skopeo on this machine.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from judge.chroot import Chroot, JudgeError, run
from judge.conftest import REF, VARIANTS, Commit, Image, Variant, each, encapsulate, make_commit

pytestmark = pytest.mark.judge


@pytest.fixture(scope="session")
def importer() -> str:
    """The program; without it the test is skipped."""
    program = os.environ.get("OSTRATA_JUDGE_OSTREE_EXT")
    if not program:
        pytest.skip("OSTRATA_JUDGE_OSTREE_EXT names no program")
    for needed in (program, "ostree", "skopeo"):
        if shutil.which(needed) is None:
            pytest.skip(f"{needed} is not installed")
    return program


@pytest.fixture(scope="session")
def upstream_commit(chroot: Chroot, tmp_path_factory: pytest.TempPathFactory) -> Commit:
    """The odd tree without the links that upstream's exporter damages."""
    return make_commit(tmp_path_factory.mktemp("commit"), chroot.path / "usr/bin/busybox", odd_links=False)


@each("image", VARIANTS)
def test_the_imported_commit_is_the_source_and_fsck_finds_it_clean(image: Image, importer: str, work: Path) -> None:
    repository = f"--repo={work}/imported"
    import_image(importer, work, f"oci:{work}/image:latest")
    assert run(["ostree", repository, "rev-parse", "imported"], 60).strip() == image.commit.checksum
    assert "no errors found" in run(["ostree", repository, "fsck"], 60)
    listing = ("ls", "-R", "-C", "-X", image.commit.checksum)
    source = run(["ostree", f"--repo={image.commit.repository}", *listing], 60)
    assert run(["ostree", repository, *listing], 60) == source


@each("image", [Variant("bootc", 2, "none", True)])
def test_this_judge_refuses_an_image_with_another_content(image: Image, importer: str, work: Path) -> None:
    for layer in image.manifest["layers"]:
        blob = work / "image/blobs/sha256" / layer["digest"].removeprefix("sha256:")
        content = blob.read_bytes().replace(b"like ping\n", b"like pong\n")
        blob.unlink()
        blob.write_bytes(content)
    with pytest.raises(JudgeError):
        import_image(importer, work, f"oci:{work}/image:latest")


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "single"])
def test_upstreams_exporter_writes_the_same_tars_in_the_same_order(
    chunked: bool, importer: str, upstream_commit: Commit, work: Path
) -> None:
    more = ("--contentmeta", str(upstream_commit.contentmeta)) if chunked else ()
    source = ("--repo", str(upstream_commit.repository), REF)
    run([importer, "container", "encapsulate", *source, f"oci:{work}/theirs:latest", *more], 120)
    theirs = json.loads(run(["skopeo", "inspect", "--config", f"oci:{work}/theirs:latest"], 60))
    ours = encapsulate(upstream_commit, Variant("ostree-ext-0.15", 1, "gzip", chunked), work, reserved_layer=chunked)
    assert ours.config["rootfs"] == theirs["rootfs"]


def import_image(importer: str, work: Path, image: str) -> None:
    """Import `image` to the ref `imported` of the new repository `work`/imported. Raises: JudgeError."""
    run(["ostree", f"--repo={work}/imported", "init", "--mode=bare-user"], 60)
    target = ("--quiet", "--write-ref", "imported", f"--repo={work}/imported")
    run([importer, "container", "unencapsulate", *target, f"ostree-unverified-image:{image}"], 120)
