"""skopeo reads what ostrata writes, and what skopeo makes of it is still the same image."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from judge.chroot import Chroot
from judge.conftest import ONE_OF_EACH_LAYOUT, REF, VARIANTS, Image, Variant, each, ostrata

pytestmark = pytest.mark.judge

THROUGH = """
skopeo copy --quiet oci:/mnt/image:latest "$1"
skopeo copy --quiet "$1" oci:/mnt/back:latest
skopeo inspect --config oci:/mnt/back:latest
"""


@each("image", VARIANTS)
def test_skopeo_shows_its_labels_and_layers(image: Image, chroot: Chroot, work: Path) -> None:
    shown = json.loads(chroot.run(work, "skopeo", "inspect", "oci:/mnt/image:latest"))
    assert shown["Labels"]["ostree.commit"] == image.commit.checksum
    assert shown["Layers"] == [layer["digest"] for layer in image.manifest["layers"]]
    assert shown["Architecture"] == image.config["architecture"]


@pytest.mark.parametrize("transport", ["docker-archive:/mnt/archive.tar:a/b:latest", "dir:/mnt/directory"])
@each("image", [*ONE_OF_EACH_LAYOUT, Variant("bootc", 2, "zstd", True), Variant("bootc", 2, "none", False)])
def test_it_comes_back_from_another_transport_as_the_same_image(
    image: Image, transport: str, chroot: Chroot, work: Path
) -> None:
    back = json.loads(chroot.shell(work, THROUGH, transport, timeout=120))
    assert back["rootfs"] == image.config["rootfs"]
    assert back["config"]["Labels"] == image.config["config"]["Labels"]
    assert [entry["created_by"] for entry in back["history"]] == [
        entry["created_by"] for entry in image.config["history"]
    ]
    ostrata("verify", f"oci:{work}/back:latest", "--repo", image.commit.repository, REF)


@each("image", [Variant("bootc", 2, "gzip", True)])
def test_it_survives_docker_schema_2(image: Image, chroot: Chroot, work: Path) -> None:
    script = """
    skopeo copy --quiet --format v2s2 oci:/mnt/image:latest dir:/mnt/docker
    skopeo copy --quiet --format oci dir:/mnt/docker oci:/mnt/back:latest
    skopeo inspect --config oci:/mnt/back:latest
    """
    back = json.loads(chroot.shell(work, script))
    assert back["rootfs"] == image.config["rootfs"]
    assert back["config"]["Labels"] == image.config["config"]["Labels"]
    ostrata("verify", f"oci:{work}/back:latest", "--repo", image.commit.repository, REF)
