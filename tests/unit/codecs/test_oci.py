import json
from dataclasses import replace

import pytest

from oci_images import AMD64, LABELS, digest_of, make_image
from ostrata.codecs import oci
from ostrata.errors import MalformedError, OstrataError, UnsupportedError
from ostrata.model.image import (
    CONFIG,
    DOCKER_CONFIG,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    INDEX,
    MANIFEST,
    REF_NAME,
    Descriptor,
    Image,
)

D = "sha256:" + "a" * 64
DESCRIPTOR = {"mediaType": "text/x", "digest": D, "size": 3}
MANIFEST_DOCUMENT = {"schemaVersion": 2, "config": DESCRIPTOR, "layers": [DESCRIPTOR]}
CONFIG_DOCUMENT = {
    "architecture": "arm64",
    "os": "linux",
    "rootfs": {"type": "layers", "diff_ids": [D]},
    "config": {"Labels": None},
    "history": [{"created_by": "base"}, {"empty_layer": True, "created_by": "CMD"}],
}


def encode(document):
    return json.dumps(document).encode()


def test_the_config_is_exactly_these_bytes():
    image = Image(AMD64, "2024-05-17T12:00:00Z", (make_image().layer,), {"Labels": {"a": "x\ny"}, "Cmd": ["/init"]})
    diff_id = image.layers[0].diff_id
    assert (
        oci.encode_config(image)
        == (
            '{"architecture":"amd64","config":{"Cmd":["/init"],"Labels":{"a":"x\\ny"}},'
            '"created":"2024-05-17T12:00:00Z","history":[{"created":"2024-05-17T12:00:00Z",'
            '"created_by":"a layer\\nof two lines"}],"os":"linux",'
            f'"rootfs":{{"diff_ids":["{diff_id}"],"type":"layers"}}}}'
        ).encode()
    )


def test_the_manifest_is_exactly_these_bytes():
    layer = make_image().layer
    bare = replace(layer, descriptor=replace(layer.descriptor, annotations={}))
    reserved = replace(layer, descriptor=replace(layer.descriptor, annotations={"ostree.components": ""}))
    image = Image(AMD64, "2024-05-17T12:00:00Z", (bare, reserved), {}, {"b": "2", "a": "ž"})
    named = layer.descriptor
    blob = f'"digest":"{named.digest}","mediaType":"{named.media_type}","size":{named.size}'
    config = oci.config_descriptor(b"{}")
    expected = (
        '{"annotations":{"a":"ž","b":"2"},'
        f'"config":{{"digest":"{config.digest}","mediaType":"{CONFIG}","size":2}},'
        f'"layers":[{{{blob}}},{{"annotations":{{"ostree.components":""}},{blob}}}],"schemaVersion":2}}'
    )
    assert oci.encode_manifest(image, config) == expected.encode()


def test_config_and_manifest_are_read_back():
    image = make_image()
    config = oci.decode_config(image.config)
    manifest = oci.decode_manifest(image.manifest)
    assert config.labels == manifest.annotations == LABELS
    assert config.document["config"]["Unknown"] == [1]
    assert manifest.config == oci.config_descriptor(image.config)
    assert oci.join_layers(manifest, config) == (image.layer,)


def test_docker_manifests_and_configs_are_read():
    document = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": {**DESCRIPTOR, "mediaType": DOCKER_CONFIG},
        "layers": [{**DESCRIPTOR, "mediaType": DOCKER_LAYER_GZIP}],
    }
    manifest = oci.decode_manifest(encode(document), DOCKER_MANIFEST)
    config = oci.decode_config(encode(CONFIG_DOCUMENT))
    assert manifest.media_type == DOCKER_MANIFEST
    assert config.history == (("base", False), ("CMD", True))
    assert [layer.created_by for layer in oci.join_layers(manifest, config)] == ["base"]


def test_layers_and_diff_ids_must_be_as_many():
    manifest = oci.decode_manifest(encode({**MANIFEST_DOCUMENT, "layers": []}))
    with pytest.raises(MalformedError, match="expected as many layers as diff_ids, found 0 and 1"):
        oci.join_layers(manifest, oci.decode_config(encode(CONFIG_DOCUMENT)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schemaVersion": True}, "manifest: schemaVersion: expected an integer, found a boolean"),
        ({"schemaVersion": 1}, "manifest: expected schemaVersion 2, found 1"),
        ({"mediaType": INDEX}, f"manifest: expected the media type {MANIFEST}, found '{INDEX}'"),
        (
            {"mediaType": DOCKER_MANIFEST},
            "manifest: expected the media type application/vnd.oci.image.manifest",
        ),
        ({"manifests": []}, "manifest: expected a manifest, found the members of an index too"),
        ({"config": None}, "manifest: config: expected an object, found null"),
        (
            {"config": {**DESCRIPTOR, "size": True}},
            "manifest: config: size: expected an integer, found a boolean",
        ),
        ({"config": {**DESCRIPTOR, "size": -1}}, "manifest: config: size: expected 0 to"),
        ({"layers": {}}, "manifest: layers: expected a list, found an object"),
        ({"layers": [None]}, "manifest: layers[0]: expected an object, found null"),
        (
            {"layers": [{**DESCRIPTOR, "digest": "sha256:../../etc"}]},
            "manifest: layers[0]: digest: expected a digest, found 'sha256:../../etc'",
        ),
        (
            {"layers": [{**DESCRIPTOR, "digest": 5}]},
            "manifest: layers[0]: digest: expected a string, found an integer",
        ),
        (
            {"layers": [{**DESCRIPTOR, "mediaType": None}]},
            "manifest: layers[0]: mediaType: expected a string",
        ),
        ({"annotations": {"a\n": 1}}, "manifest: annotations: a\\n: expected a string, found an integer"),
    ],
)
def test_a_bad_manifest_is_one_line_that_names_the_place(changes, message):
    with pytest.raises(OstrataError) as caught:
        oci.decode_manifest(encode({**MANIFEST_DOCUMENT, **changes}))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rootfs": None}, "config: rootfs: expected an object, found null"),
        ({"rootfs": {"type": "x"}}, "config: rootfs: type: expected 'layers', found 'x'"),
        ({"rootfs": {"type": "layers", "diff_ids": ["x"]}}, "config: rootfs: diff_ids[0]: expected a digest"),
        ({"rootfs": {"type": "layers", "diff_ids": [1]}}, "config: rootfs: diff_ids: [0]: expected a string"),
        ({"architecture": ""}, "config: architecture: expected a string, found nothing"),
        ({"config": []}, "config: config: expected an object, found a list"),
        ({"config": {"Labels": {"a": 1}}}, "config: config: Labels: a: expected a string, found an integer"),
        ({"history": [1]}, "config: history: [0]: expected an object, found an integer"),
        ({"history": [{"empty_layer": 1}]}, "config: history[0]: empty_layer: expected true or false"),
        ({"created": 1}, "config: created: expected a string, found an integer"),
    ],
)
def test_a_bad_config_is_one_line_that_names_the_place(changes, message):
    with pytest.raises(OstrataError) as caught:
        oci.decode_config(encode({**CONFIG_DOCUMENT, **changes}))
    assert str(caught.value).startswith(message)


def index_of(*manifests, **more):
    return oci.decode_index(encode({"schemaVersion": 2, "manifests": list(manifests), **more}))


def entry(tag=None, digest=D, **more):
    annotations = {} if tag is None else {"annotations": {REF_NAME: tag, "other": "kept"}}
    return {"mediaType": MANIFEST, "digest": digest, "size": 3, **annotations, **more}


def put(index, tag):
    descriptor = Descriptor(MANIFEST, digest_of("new"), 7)
    return oci.put_entry(index, oci.tagged_entry(descriptor, AMD64, tag))


def test_only_the_entry_of_the_tag_is_replaced_and_everything_else_is_kept():
    sha512 = entry("foreign", digest="sha512:" + "b" * 128)
    before = index_of(
        entry("a", unknown={"x": [1]}),
        entry("b"),
        entry(),
        sha512,
        **{"mediaType": INDEX, "x-key": {"y": None}},
    )
    after = json.loads(oci.encode_index(put(before, "b")))
    new = {
        "annotations": {REF_NAME: "b"},
        "digest": str(digest_of("new")),
        "mediaType": MANIFEST,
        "platform": {"architecture": "amd64", "os": "linux"},
        "size": 7,
    }
    assert after == {**before.document, "manifests": [entry("a", unknown={"x": [1]}), new, entry(), sha512]}
    assert oci.decode_index(oci.encode_index(before)).document == before.document


def test_without_a_tag_the_untagged_image_is_replaced_and_artifacts_stay():
    signature = entry(artifactType="application/x-signature")
    after = put(index_of(entry("a"), signature, entry(), entry()), None)
    manifests = after.document["manifests"]
    assert manifests[:2] == [entry("a"), signature]
    assert [old["digest"] for old in manifests[2:]] == [str(digest_of("new"))]
    assert [found.tag for found in after.entries] == ["a", None, None]


def test_an_index_written_by_go_with_null_lists_is_read():
    index = oci.decode_index(b'{"schemaVersion":2,"manifests":null}')
    assert [found.tag for found in put(index, "a").entries] == ["a"]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"schemaVersion": 2, "manifests": [1]}, r"index: manifests: \[0\]: expected an object"),
        (
            {"schemaVersion": 2, "manifests": [{**entry(), "platform": {"os": 1}}]},
            "platform: architecture: expected",
        ),
        ({"schemaVersion": 2, "manifests": [], "layers": []}, "members of a manifest too"),
        ({"manifests": []}, "schemaVersion: expected an integer, found null"),
        ([], "index: expected an object, found a list"),
    ],
)
def test_a_bad_index_is_refused(document, message):
    with pytest.raises(MalformedError, match=message):
        oci.decode_index(encode(document))


def test_another_layout_version_is_unsupported():
    oci.decode_layout(oci.encode_layout())
    with pytest.raises(UnsupportedError, match=r"oci-layout: expected version 1.0.0, found '2.0.0'"):
        oci.decode_layout(b'{"imageLayoutVersion": "2.0.0"}')
