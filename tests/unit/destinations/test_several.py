from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from oci_images import make_image, put_image
from ostrata.codecs.oci import MAX_DOCUMENT
from ostrata.destinations.archive import ArchiveDestination
from ostrata.destinations.layout import LayoutDestination
from ostrata.destinations.several import SeveralImages
from ostrata.errors import NotFoundError, PlanError
from ostrata.model.image import INDEX, Descriptor, Platform
from ostrata.protocols import BlobStore, Destination
from ostrata.stores.blobs import read_blob
from ostrata.stores.images import open_store, read_image
from ostrata.stores.reference import ImageReference

PLATFORMS = (Platform("amd64"), Platform("arm64"))


def write(destination: Destination, platforms: tuple[Platform, ...] = PLATFORMS) -> Descriptor:
    with destination:
        images = SeveralImages(destination)
        for platform in platforms:
            image = make_image(platform.architecture.encode())
            images.blobs.write(image.blob)
            images.write_image(image.config, image.manifest, platform)
        return images.finish()


def destination(kind: str, path: Path, tag: str | None) -> Destination:
    return LayoutDestination(str(path), tag) if kind == "oci" else ArchiveDestination(str(path), tag)


def store(kind: str, path: Path) -> BlobStore:
    return open_store(ImageReference(kind, str(path)))


@pytest.mark.parametrize("kind", ["oci", "oci-archive"])
@pytest.mark.parametrize("tag", ["v1", None])
def test_each_platform_has_its_image_behind_one_name(kind: str, tag: str | None, tmp_path: Path) -> None:
    descriptor = write(destination(kind, tmp_path / "an image", tag))

    found = store(kind, tmp_path / "an image")
    assert descriptor.media_type == INDEX
    assert [(entry.tag, entry.descriptor.digest) for entry in found.index().entries] == [(tag, descriptor.digest)]
    index = json.loads(read_blob(found, descriptor.digest, MAX_DOCUMENT))
    assert [entry["platform"]["architecture"] for entry in index["manifests"]] == ["amd64", "arm64"]
    for platform in PLATFORMS:
        image = read_image(found, tag=tag, platform=platform)
        assert image.descriptor.digest == make_image(platform.architecture.encode()).digest
        assert found.blob_size(image.layers[0].descriptor.digest) == image.layers[0].descriptor.size
    with pytest.raises(NotFoundError, match="no platform was chosen"):
        read_image(found, tag=tag)


@pytest.mark.parametrize("kind", ["oci", "oci-archive"])
def test_nothing_is_seen_before_the_index_is_written(kind: str, tmp_path: Path) -> None:
    with destination(kind, tmp_path / "image", "v1") as open_destination:
        images = SeveralImages(open_destination)
        put_image(images, make_image())
    assert not (tmp_path / "image/index.json").exists()
    assert kind == "oci" or os.listdir(tmp_path) == []


def test_an_index_takes_the_place_of_the_image_with_its_tag_and_of_no_other(tmp_path: Path) -> None:
    for tag in ("v1", "other"):
        with LayoutDestination(str(tmp_path / "image"), tag) as layout:
            put_image(layout, make_image(tag.encode()))
    descriptor = write(LayoutDestination(str(tmp_path / "image"), "v1"))
    found = {entry.tag: entry.descriptor.digest for entry in store("oci", tmp_path / "image").index().entries}
    assert found == {"v1": descriptor.digest, "other": make_image(b"other").digest}


def test_two_images_of_one_platform_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="two images for linux/amd64"):
        write(LayoutDestination(str(tmp_path / "image"), "v1"), (PLATFORMS[0], PLATFORMS[0]))
    assert not (tmp_path / "image/index.json").exists()


def test_an_index_of_images_that_are_not_there_is_refused(tmp_path: Path) -> None:
    with LayoutDestination(str(tmp_path / "image"), "v1") as layout:
        images = SeveralImages(layout)
        image = make_image()
        images.blobs.write(image.blob)
        descriptor = images.write_image(image.config, image.manifest, PLATFORMS[0])
        Path(layout.blobs.path, descriptor.digest.encoded).unlink()
        with pytest.raises(NotFoundError):
            images.finish()


def test_an_index_within_an_index_is_refused(tmp_path: Path) -> None:
    with LayoutDestination(str(tmp_path / "image"), "v1") as layout, pytest.raises(PlanError, match="within an index"):
        SeveralImages(layout).write_index(b"{}")


def test_two_archives_of_the_same_images_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(ArchiveDestination(str(tmp_path / name), "v1"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.interop
@pytest.mark.parametrize("kind", ["oci", "oci-archive"])
def test_skopeo_finds_the_image_of_each_platform(kind: str, tmp_path: Path, need: object) -> None:
    need("skopeo")  # type: ignore[operator]
    write(destination(kind, tmp_path / "image", "v1"))
    for platform in PLATFORMS:
        shown = subprocess.run(
            ["skopeo", "--override-arch", platform.architecture, "inspect", f"{kind}:{tmp_path}/image:v1"],
            capture_output=True,
            check=True,
        )
        image = make_image(platform.architecture.encode())
        assert json.loads(shown.stdout)["Layers"] == [str(image.layer.descriptor.digest)]
