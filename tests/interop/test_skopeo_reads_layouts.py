"""skopeo and umoci read the layouts and archives that are written, labels of every kind included."""

import json
import os
import shutil

import pytest

from oci_images import LABELS, make_image, put_image
from ostrata.destinations.archive import ArchiveDestination
from ostrata.destinations.layout import LayoutDestination
from ostrata.destinations.skopeo import SkopeoDestination
from ostrata.stores.images import open_store, read_image
from ostrata.stores.reference import parse_reference

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed"),
]
ANY_POLICY = "--insecure-policy"


@pytest.fixture(params=["oci", "oci-archive"])
def image(request, tmp_path):
    path = tmp_path / "an image ž"
    kind = {"oci": LayoutDestination, "oci-archive": ArchiveDestination}[request.param]
    with kind(str(path), "v1") as destination:
        put_image(destination, make_image())
    return f"{request.param}:{path}:v1"


def test_skopeo_sees_the_digest_and_the_labels(image, run):
    seen = json.loads(run("skopeo", "inspect", image))
    assert seen["Digest"] == str(make_image().digest)
    assert seen["Labels"] == LABELS
    assert seen["Created"] == "2024-05-17T12:00:00Z"
    assert run("skopeo", "inspect", "--raw", image).encode() == make_image().manifest


def test_skopeo_copies_to_a_docker_archive_and_back(image, run, tmp_path):
    run("skopeo", ANY_POLICY, "copy", image, f"docker-archive:{tmp_path}/d.tar:name:tag")
    run("skopeo", ANY_POLICY, "copy", f"docker-archive:{tmp_path}/d.tar", f"oci:{tmp_path}/back:x")
    back = read_image(open_store(parse_reference(f"oci:{tmp_path}/back:x")), tag="x")
    assert back.config.labels == LABELS
    assert back.config.diff_ids == (make_image().layer.diff_id,)


def test_what_skopeo_writes_is_read(image, run, tmp_path):
    for transport in ("oci", "oci-archive"):
        target = f"{transport}:{tmp_path}/{transport} copy:t"
        run("skopeo", ANY_POLICY, "copy", image, target)
        reference = parse_reference(target)
        copy = read_image(open_store(reference), tag="t")
        assert copy.descriptor.digest == make_image().digest
        assert copy.layers == (make_image().layer,)


def test_skopeos_tags_and_ours_live_side_by_side(run, tmp_path):
    layout = f"{tmp_path}/layout"
    for tag in ("ours", "later"):
        with LayoutDestination(layout, tag) as destination:
            put_image(destination, make_image())
        run("skopeo", ANY_POLICY, "copy", f"oci:{layout}:ours", f"oci:{layout}:theirs-{tag}")
    tags = [entry.tag for entry in open_store(parse_reference(f"oci:{layout}")).index().entries]
    assert tags == ["ours", "theirs-ours", "later", "theirs-later"]


def test_other_transports_go_through_skopeo(run, tmp_path):
    if not os.path.exists("/etc/containers/policy.json"):
        pytest.skip("skopeo has no policy file here")
    reference = parse_reference(f"dir:{tmp_path}/out")
    with SkopeoDestination(reference, tmpdir=str(tmp_path)) as destination:
        descriptor = put_image(destination, make_image())
    assert descriptor.digest == make_image().digest
    assert json.loads(run("skopeo", "inspect", str(reference)))["Labels"] == LABELS


def test_umoci_unpacks_the_layer(run, need, tmp_path):
    need("umoci")
    with LayoutDestination(str(tmp_path / "layout"), "v1") as destination:
        put_image(destination, make_image())
    run("umoci", "raw", "unpack", "--rootless", "--image", f"{tmp_path}/layout:v1", tmp_path / "root")
    assert (tmp_path / "root/usr/a file\nwith ž").read_bytes() == b"hello"
