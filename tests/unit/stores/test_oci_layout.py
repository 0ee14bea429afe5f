import json
import os

import pytest

from oci_images import digest_of, make_image, put_image
from ostrata.codecs import oci
from ostrata.destinations.layout import LayoutDestination
from ostrata.errors import (
    DigestMismatchError,
    MalformedError,
    NotFoundError,
    OstrataError,
    UnsupportedError,
)
from ostrata.model.digest import Digest
from ostrata.model.image import INDEX, MANIFEST, Platform
from ostrata.stores.images import find_manifest, open_store, read_image
from ostrata.stores.oci_layout import open_layout
from ostrata.stores.reference import ImageReference


@pytest.fixture
def layout(tmp_path):
    path = tmp_path / "a layout\nž"
    for tag, content in (("one", b"1"), ("two", b"2")):
        with LayoutDestination(str(path), tag) as destination:
            put_image(destination, make_image(content))
    return path


def blob(layout, digest):
    return layout / "blobs" / "sha256" / digest.encoded


def test_an_image_is_found_by_its_tag_and_by_its_digest(layout):
    store = open_store(ImageReference("oci", str(layout)))
    image = make_image(b"2")
    found = read_image(store, tag="two")
    assert found.descriptor.digest == image.digest
    assert found.layers == (image.layer,)
    assert find_manifest(store, digest=image.digest) == found.descriptor
    with store.open_blob(image.layer.descriptor.digest) as file:
        assert file.read() == image.blob


def test_what_is_not_there_is_named_with_the_tags_there_are(layout):
    store = open_layout(str(layout))
    with pytest.raises(NotFoundError, match="no image with the tag 'x\\\\n'\ntags here: one, two"):
        find_manifest(store, tag="x\n")
    with pytest.raises(NotFoundError, match="found several: name one by its tag\ntags here: one, two"):
        find_manifest(store)
    with pytest.raises(NotFoundError, match="no manifest sha256:"):
        find_manifest(store, digest=digest_of("other"))


def test_without_a_tag_the_untagged_image_is_meant(layout):
    with LayoutDestination(str(layout)) as destination:
        put_image(destination, make_image(b"3"))
    assert find_manifest(open_layout(str(layout))).digest == make_image(b"3").digest


def test_a_damaged_document_is_refused(layout):
    image = make_image(b"1")
    data = bytearray(image.manifest)
    data[20] ^= 1
    blob(layout, image.digest).write_bytes(data)
    with pytest.raises(DigestMismatchError, match="expected the digest sha256:"):
        read_image(open_layout(str(layout)), tag="one")
    blob(layout, image.digest).write_bytes(b"")
    with pytest.raises(MalformedError, match=r"expected .* bytes, found 0"):
        read_image(open_layout(str(layout)), tag="one")
    blob(layout, image.digest).unlink()
    os.mkfifo(blob(layout, image.digest))
    with pytest.raises(OstrataError, match="no such blob"):
        read_image(open_layout(str(layout)), tag="one")


def write_nested(layout, *platforms, depth=1):
    manifest = {
        "mediaType": MANIFEST,
        "digest": str(make_image(b"1").digest),
        "size": len(make_image(b"1").manifest),
    }
    entries = [{**manifest, "platform": {"architecture": name, "os": "linux"}} for name in platforms]
    for _ in range(depth):
        data = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
        blob(layout, Digest.of(data)).write_bytes(data)
        entries = [{"mediaType": INDEX, "digest": str(Digest.of(data)), "size": len(data)}]
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))


def test_an_index_in_the_index_is_followed_to_the_platform(layout):
    write_nested(layout, "amd64", "arm64")
    store = open_layout(str(layout))
    assert read_image(store, platform=Platform("arm64")).descriptor.digest == make_image(b"1").digest
    with pytest.raises(NotFoundError, match="no image for linux/s390x\nthere are: linux/amd64, linux/arm64"):
        read_image(store, platform=Platform("s390x"))
    with pytest.raises(NotFoundError, match="expected one image, found 2, and no platform was chosen"):
        read_image(store)


def test_indexes_are_not_followed_for_ever(layout):
    write_nested(layout, "amd64", depth=6)
    with pytest.raises(MalformedError, match="expected at most 4 indexes"):
        read_image(open_layout(str(layout)))


def test_what_is_no_layout_is_refused(tmp_path, layout):
    with pytest.raises(NotFoundError, match="no such directory"):
        open_layout(str(tmp_path / "absent"))
    with pytest.raises(MalformedError, match="found a directory without an oci-layout file"):
        open_layout(str(tmp_path))
    with pytest.raises(MalformedError, match="found a file\nan archive is named oci-archive:PATH"):
        open_layout(str(layout / "oci-layout"))
    with pytest.raises(UnsupportedError, match="skopeo copy"):
        open_store(ImageReference("docker", "//host/name"))
    (layout / "index.json").unlink()
    with pytest.raises(NotFoundError):
        open_layout(str(layout)).index()
    (layout / "index.json").write_bytes(oci.encode_index(oci.EMPTY_INDEX))
    with pytest.raises(NotFoundError, match="no image here"):
        find_manifest(open_layout(str(layout)))
