"""skopeo reads images, carries them through other formats and back, and takes them to where we cannot write."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from encapsulated_images import (
    blob_path,
    check_image,
    make_image,
    ostrata,
    read_document,
    spread,
    write_contentmeta,
)
from golden import make_small
from ostrata import open_image, open_repository

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed"),
]
needs_policy = pytest.mark.skipif(
    not os.path.exists("/etc/containers/policy.json"), reason="skopeo has no policy file here"
)
REF = make_small.REF
LABELS = {
    "plain": "1",
    "two lines": "first\nsecond",
    "quoted": "\"double\" 'single' \\ back",
    "größe": "žluťoučký 🐎",
    "control": "tab\tbell\x07",
    "html": "<a&b>\u2028",
    "empty": "",
}
OURS = ("ostrata.plan", "ostrata.recipes", "ostree.commit", "ostree.final-diffid")
Run = Callable[..., str]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "repo"
    make_small.make_repository(path)
    return path


@pytest.fixture(scope="module")
def encapsulate(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Run `ostrata encapsulate --json`, with one layer for each id of the contentmeta."""
    contentmeta = write_contentmeta(tmp_path_factory.mktemp("plan") / "meta.json", spread(repository, REF))

    def run(destination: str, *options: str) -> dict[str, Any]:
        command = ("encapsulate", "--quiet", "--json", "--repo", repository, REF, destination)
        result: dict[str, Any] = json.loads(ostrata(*command, "--contentmeta", contentmeta, *options))
        return result

    return run


def copy(source: str, destination: str, *options: str) -> str:
    """`skopeo copy`; the result is the destination."""
    command = ["skopeo", "--insecure-policy", "copy", "--quiet", *options, source, destination]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return destination


def how(result: dict[str, Any]) -> list[str]:
    """How each layer came to be, once each."""
    return sorted({layer["how"] for layer in result["layers"]})


def labels_of(image: str) -> dict[str, str]:
    return dict(open_image(image)[1].config.labels)


# Reading


@pytest.fixture(scope="module")
def labelled(encapsulate: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layout whose one image has labels of every kind."""
    layout = tmp_path_factory.mktemp("labelled") / "an image ž"
    options = [option for key, value in LABELS.items() for option in ("--label", f"{key}={value}")]
    encapsulate(f"oci:{layout}:v1", *options)
    return layout


def test_skopeo_inspect_shows_every_label(labelled: Path, repository: Path, run: Run) -> None:
    seen = json.loads(run("skopeo", "inspect", f"oci:{labelled}:v1"))
    assert seen["Digest"] == str(open_image(f"oci:{labelled}:v1")[1].descriptor.digest)
    assert {key: seen["Labels"][key] for key in LABELS} == LABELS
    assert seen["Labels"]["ostree.commit"] == open_repository(str(repository)).resolve(REF)
    assert set(OURS) <= seen["Labels"].keys()
    assert len(seen["Layers"]) == 5


def test_jq_reads_config_and_manifest(labelled: Path, run: Run, need: Callable[..., None]) -> None:
    need("jq")
    image = open_image(f"oci:{labelled}:v1")[1]
    manifest = blob_path(labelled, image.descriptor.digest)
    config = blob_path(labelled, image.manifest.config.digest)
    for key, value in LABELS.items():
        for path, where in ((config, ".config.Labels"), (manifest, ".annotations")):
            assert run("jq", "-j", "--arg", "key", key, f"{where}[$key]", path) == value
    for path in (config, manifest, labelled / "index.json", labelled / "oci-layout"):
        assert json.loads(run("jq", "-c", ".", path)) == json.loads(path.read_bytes())
    assert run("jq", "-r", ".rootfs.diff_ids[-1]", config) == labels_of(f"oci:{labelled}")["ostree.final-diffid"] + "\n"


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_skopeo_keeps_every_byte_on_the_way_through_an_archive(
    compression: str, encapsulate: Callable[..., dict[str, Any]], repository: Path, run: Run, tmp_path: Path
) -> None:
    made = encapsulate(f"oci:{tmp_path}/image:v1", "--compression", compression)
    digest = made["manifest"]["digest"]
    raw = run("skopeo", "inspect", "--raw", f"oci:{tmp_path}/image:v1")
    assert "sha256:" + hashlib.sha256(raw.encode()).hexdigest() == digest
    # Without the option skopeo compresses plain tars on their way into a layout.
    keep = ("--preserve-digests",)
    copy(f"oci:{tmp_path}/image:v1", f"oci-archive:{tmp_path}/copy.tar:v1", *keep)
    copy(f"oci-archive:{tmp_path}/copy.tar:v1", f"oci:{tmp_path}/back:v1", *keep)
    for image in (f"oci-archive:{tmp_path}/copy.tar:v1", f"oci:{tmp_path}/back:v1"):
        assert str(open_image(image)[1].descriptor.digest) == digest
        assert check_image(image, repository, REF).problems.shown == ()
    names = os.listdir(tmp_path / "image/blobs/sha256")
    assert sorted(os.listdir(tmp_path / "back/blobs/sha256")) == sorted(names)


def test_skopeo_reads_our_archives_and_we_read_skopeos(
    encapsulate: Callable[..., dict[str, Any]], run: Run, tmp_path: Path
) -> None:
    ours = f"oci-archive:{tmp_path}/ours.tar:v1"
    digest = encapsulate(ours)["manifest"]["digest"]
    assert json.loads(run("skopeo", "inspect", ours))["Digest"] == digest
    theirs = copy(ours, f"oci-archive:{tmp_path}/theirs.tar:v1")
    again = encapsulate(f"oci-archive:{tmp_path}/again.tar:v1", "--previous", theirs)
    assert again["manifest"]["digest"] == digest
    assert how(again) == ["same recipe"]
    assert (tmp_path / "again.tar").read_bytes() == (tmp_path / "ours.tar").read_bytes()


# Through docker's formats and back


def test_a_copy_by_way_of_dockers_schema_2_is_reused_by_recipe(
    encapsulate: Callable[..., dict[str, Any]], repository: Path, tmp_path: Path
) -> None:
    made = encapsulate(f"oci:{tmp_path}/image:v1")
    directory = copy(f"oci:{tmp_path}/image:v1", f"dir:{tmp_path}/docker", "--format", "v2s2")
    docker = json.loads((tmp_path / "docker/manifest.json").read_text())
    assert docker["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert "annotations" not in docker
    back = copy(directory, f"oci:{tmp_path}/back:v1")
    assert labels_of(back) == labels_of(f"oci:{tmp_path}/image:v1")
    assert check_image(back, repository, REF).problems.shown == ()
    again = encapsulate(f"oci:{tmp_path}/again:v1", "--previous", back)
    assert how(again) == ["same recipe"]
    assert again["manifest"] == made["manifest"]


def test_an_image_with_dockers_media_types_in_a_layout_is_read_checked_and_reused(
    encapsulate: Callable[..., dict[str, Any]], repository: Path, tmp_path: Path
) -> None:
    made = encapsulate(f"oci:{tmp_path}/image:v1")
    docker = copy(f"oci:{tmp_path}/image:v1", f"oci:{tmp_path}/docker:v1", "--format", "v2s2")
    layers = open_image(docker)[1].manifest.layers
    assert {layer.media_type for layer in layers} == {"application/vnd.docker.image.rootfs.diff.tar.gzip"}
    assert check_image(docker, repository, REF).problems.shown == ()
    again = encapsulate(f"oci:{tmp_path}/again:v1", "--previous", docker)
    assert how(again) == ["same recipe"]
    assert again["manifest"] == made["manifest"]


def test_a_copy_by_way_of_a_docker_archive_keeps_plan_and_recipes(
    encapsulate: Callable[..., dict[str, Any]], repository: Path, tmp_path: Path
) -> None:
    made = encapsulate(f"oci:{tmp_path}/image:v1")
    archive = copy(f"oci:{tmp_path}/image:v1", f"docker-archive:{tmp_path}/docker.tar:localhost/os:v1")
    back = copy(archive, f"oci:{tmp_path}/back:v1")
    assert labels_of(back) == labels_of(f"oci:{tmp_path}/image:v1")
    assert [str(layer.diff_id) for layer in open_image(back)[1].layers] == [
        layer["diff_id"] for layer in made["layers"]
    ]
    assert check_image(back, repository, REF).problems.shown == ()
    # The recipes are right still, though the blobs are those of skopeo's gzip: they are what was published.
    again = encapsulate(f"oci:{tmp_path}/again:v1", "--previous", back)
    assert how(again) == ["same recipe"]
    assert {layer["digest"] for layer in again["layers"]} == {
        str(layer.descriptor.digest) for layer in open_image(back)[1].layers
    }
    assert check_image(f"oci:{tmp_path}/again:v1", repository, REF).problems.shown == ()


def test_a_copy_whose_recipes_are_others_is_reused_by_diff_id(
    encapsulate: Callable[..., dict[str, Any]], repository: Path, tmp_path: Path
) -> None:
    encapsulate(f"oci:{tmp_path}/image:v1", "--compression-level", "9")
    archive = copy(f"oci:{tmp_path}/image:v1", f"docker-archive:{tmp_path}/docker.tar:localhost/os:v1")
    back = copy(archive, f"oci:{tmp_path}/back:v1")
    again = encapsulate(f"oci:{tmp_path}/again:v1", "--previous", back)
    assert how(again) == ["same diff_id"]
    assert check_image(f"oci:{tmp_path}/again:v1", repository, REF).problems.shown == ()


def test_layers_that_the_copy_compressed_are_not_reused_for_another_compression(
    encapsulate: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    made = encapsulate(f"oci:{tmp_path}/image:v1", "--compression", "none")
    directory = copy(f"oci:{tmp_path}/image:v1", f"dir:{tmp_path}/docker", "--format", "v2s2")
    back = copy(directory, f"oci:{tmp_path}/back:v1")  # skopeo compresses plain tars for a layout
    assert {layer.descriptor.media_type for layer in open_image(back)[1].layers} == {
        "application/vnd.oci.image.layer.v1.tar+gzip"
    }
    plain = encapsulate(f"oci:{tmp_path}/plain:v1", "--compression", "none", "--previous", back)
    assert how(plain) == ["built"]
    assert plain["manifest"] == made["manifest"]
    gzip = encapsulate(f"oci:{tmp_path}/gzip:v1", "--previous", back)
    assert how(gzip) == ["same diff_id"]


# Destinations that only skopeo knows


@needs_policy
def test_a_directory_gets_the_image_and_the_digest_is_the_one_it_has(
    encapsulate: Callable[..., dict[str, Any]], run: Run, tmp_path: Path
) -> None:
    made = encapsulate(f"dir:{tmp_path}/a directory", "--tmpdir", str(tmp_path))
    manifest = (tmp_path / "a directory/manifest.json").read_bytes()
    assert (
        run("skopeo", "manifest-digest", tmp_path / "a directory/manifest.json").strip() == (made["manifest"]["digest"])
    )
    assert made["manifest"]["size"] == len(manifest)
    assert made["manifest"] == encapsulate(f"oci:{tmp_path}/layout")["manifest"]
    assert sorted(os.listdir(tmp_path)) == ["a directory", "layout"]


@needs_policy
def test_docker_container_encapsulate_prints_the_digest_of_the_destination(
    repository: Path, run: Run, tmp_path: Path
) -> None:
    digest = ostrata("container", "encapsulate", "--repo", repository, REF, f"dir:{tmp_path}/out")
    assert run("skopeo", "manifest-digest", tmp_path / "out/manifest.json").strip() == digest


@needs_policy
def test_a_docker_archive_is_written_through_skopeo(
    encapsulate: Callable[..., dict[str, Any]], repository: Path, tmp_path: Path
) -> None:
    archive = f"docker-archive:{tmp_path}/os.tar:localhost/os:v1"
    made = encapsulate(archive)
    back = copy(archive, f"oci:{tmp_path}/back:v1")
    assert [str(layer.diff_id) for layer in open_image(back)[1].layers] == [
        layer["diff_id"] for layer in made["layers"]
    ]
    assert check_image(back, repository, REF).problems.shown == ()


@needs_policy
def test_what_skopeo_cannot_write_is_one_clear_error(repository: Path, tmp_path: Path) -> None:
    for destination, options, message in (
        (f"docker-archive:{tmp_path}/os.tar", ("--compression", "zstd"), "zstd compression is not supported"),
        (f"sif:{tmp_path}/os.sif", (), "can only be read from"),
        (f"containers-storage:[vfs@{tmp_path}/root+{tmp_path}/run]No Such Name", (), "No Such Name"),
    ):
        with pytest.raises(AssertionError) as caught:
            ostrata("encapsulate", "--quiet", "--repo", repository, REF, destination, *options)
        (line,) = str(caught.value).splitlines()[:1]
        assert line.startswith(f"ostrata: error: skopeo copy to {destination}: ")
        assert message in line
    assert not {"os.tar", "os.sif"} & set(os.listdir(tmp_path))


@needs_policy
@pytest.mark.skipif(os.geteuid() != 0, reason="container storage of one's own needs root")
def test_container_storage_is_named_as_skopeo_names_it(
    encapsulate: Callable[..., dict[str, Any]], repository: Path, run: Run, tmp_path: Path
) -> None:
    storage = f"containers-storage:[vfs@{tmp_path}/root+{tmp_path}/run]localhost/os:v1"
    made = encapsulate(storage)
    seen = json.loads(run("skopeo", "inspect", storage))
    assert seen["Digest"] == made["manifest"]["digest"]
    back = copy(storage, f"oci:{tmp_path}/back:v1")
    assert labels_of(back)["ostrata.plan"] == seen["Labels"]["ostrata.plan"]
    assert check_image(back, repository, REF).problems.shown == ()


def test_a_single_layer_image_of_each_compression_is_copied_to_a_directory(repository: Path, tmp_path: Path) -> None:
    for compression in ("gzip", "zstd", "none"):
        image = f"oci:{tmp_path}/{compression}"
        digest = make_image(repository, REF, image, compression=compression).manifest.digest
        copy(image, f"dir:{tmp_path}/dir of {compression}")
        manifest = (tmp_path / f"dir of {compression}/manifest.json").read_bytes()
        assert json.loads(manifest) == read_document(tmp_path / compression, digest)
