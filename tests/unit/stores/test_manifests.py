"""Manifests, and nothing else of an image."""

import json
import sys
from pathlib import Path

import pytest

from layer_images import TarImage, digest, tar_image
from ostrata.errors import DigestMismatchError, MalformedError, NotFoundError, TransferError, UnsupportedError
from ostrata.model.image import INDEX, Platform
from ostrata.stores.manifests import read_config, read_manifest
from ostrata.stores.reference import parse_reference
from ostrata.stores.skopeo import SkopeoOptions

EMPTY_TAR = bytes(1024)


@pytest.fixture
def image(tmp_path: Path) -> TarImage:
    return tar_image(tmp_path / "image", [EMPTY_TAR, b"x" + EMPTY_TAR])


def manifest_bytes(image: TarImage) -> bytes:
    return json.dumps(image.manifest).encode()


@pytest.fixture
def skopeo(tmp_path: Path) -> str:
    """A skopeo that answers `inspect --raw` from files named after what is asked for, and notes its words."""
    (tmp_path / "registry").mkdir()
    program = tmp_path / "skopeo"
    program.write_text(
        f"#!{sys.executable}\n"
        "import sys, pathlib\n"
        f"here = pathlib.Path({str(tmp_path)!r})\n"
        "with open(here / 'words', 'a') as words: print(*sys.argv[1:], file=words)\n"
        "answer = here / 'registry' / sys.argv[-1].replace('/', '_')\n"
        'if not answer.exists(): sys.exit(\'time="x" level=fatal msg="no //me:secret@h here"\')\n'
        "sys.stdout.buffer.write(answer.read_bytes())\n"
    )
    program.chmod(0o755)
    return str(program)


def publish(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / "registry" / name.replace("/", "_")).write_bytes(data)


def test_a_manifest_is_read_without_its_config_and_layers(image: TarImage) -> None:
    for path in (image.path / "blobs/sha256").iterdir():
        if path.read_bytes() != manifest_bytes(image):
            path.unlink()
    found, manifest = read_manifest(parse_reference(image.reference))
    assert str(found) == digest(manifest_bytes(image))
    assert [str(layer.digest) for layer in manifest.layers] == [layer["digest"] for layer in image.manifest["layers"]]


def test_a_damaged_manifest_is_refused(image: TarImage) -> None:
    image.put(digest(manifest_bytes(image)), manifest_bytes(image).replace(b'"size"', b'"sizE"'))
    with pytest.raises(DigestMismatchError):
        read_manifest(parse_reference(image.reference))


def test_a_registry_is_asked_for_the_manifest_alone(image: TarImage, skopeo: str, tmp_path: Path) -> None:
    publish(tmp_path, "docker://h/os:1", manifest_bytes(image))
    options = SkopeoOptions(authfile="auth", verify_tls=False)
    found, manifest = read_manifest(parse_reference("docker://h/os:1"), skopeo=options, program=skopeo)
    assert str(found) == digest(manifest_bytes(image))
    assert len(manifest.layers) == 2
    assert (tmp_path / "words").read_text() == "inspect --raw --authfile auth --tls-verify=false -- docker://h/os:1\n"


def test_of_an_index_the_manifest_of_the_platform_is_read(image: TarImage, skopeo: str, tmp_path: Path) -> None:
    publish_index(tmp_path, image)
    reference = parse_reference("docker://h:5000/os:1")
    found, _ = read_manifest(reference, platform=Platform("arm64"), program=skopeo)
    assert str(found) == digest(manifest_bytes(image))
    with pytest.raises(NotFoundError, match="expected one image, found 2"):
        read_manifest(reference, program=skopeo)
    with pytest.raises(NotFoundError, match="no image for linux/s390x"):
        read_manifest(reference, platform=Platform("s390x"), program=skopeo)


def test_a_registry_that_gives_another_manifest_than_its_index_names_is_refused(
    image: TarImage, skopeo: str, tmp_path: Path
) -> None:
    publish_index(tmp_path, image)
    publish(tmp_path, f"docker://h:5000/os@{digest(manifest_bytes(image))}", manifest_bytes(image) + b" ")
    with pytest.raises(DigestMismatchError):
        read_manifest(parse_reference("docker://h:5000/os:1"), platform=Platform("arm64"), program=skopeo)


def publish_index(tmp_path: Path, image: TarImage) -> None:
    data = manifest_bytes(image)
    entries = [
        {
            "mediaType": image.manifest["mediaType"],
            "digest": name,
            "size": len(data),
            "platform": {"os": "linux", "architecture": architecture},
        }
        for architecture, name in (("amd64", digest(b"other")), ("arm64", digest(data)))
    ]
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
    publish(tmp_path, "docker://h:5000/os:1", json.dumps(index).encode())
    publish(tmp_path, f"docker://h:5000/os@{digest(data)}", data)


def test_an_index_where_manifests_have_no_names_is_refused(image: TarImage, skopeo: str, tmp_path: Path) -> None:
    publish_index(tmp_path, image)
    (tmp_path / "registry/docker:__h:5000_os:1").rename(tmp_path / "registry/dir:_x")
    with pytest.raises(UnsupportedError, match="manifests have no names"):
        read_manifest(parse_reference("dir:/x"), platform=Platform("arm64"), program=skopeo)


def test_what_is_no_manifest_is_refused(skopeo: str, tmp_path: Path) -> None:
    for number, data in enumerate((b"", b"[]", b'{"schemaVersion": 1}', b"\xff")):
        publish(tmp_path, f"docker://h/os:{number}", data)
        with pytest.raises((MalformedError, UnsupportedError), match=f"docker://h/os:{number}: "):
            read_manifest(parse_reference(f"docker://h/os:{number}"), program=skopeo)


def test_what_skopeo_says_is_told_without_secrets(skopeo: str, tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="no //h here") as caught:
        read_manifest(parse_reference("docker://h/os:missing"), program=skopeo)
    assert "secret" not in str(caught.value)
    with pytest.raises(NotFoundError, match="skopeo is needed"):
        read_manifest(parse_reference("docker://h/os:1"), program=str(tmp_path / "none"))


def test_a_config_is_asked_for_by_the_manifests_digest_and_compared(
    image: TarImage, skopeo: str, tmp_path: Path
) -> None:
    found, manifest = read_manifest(parse_reference(image.reference))
    data = (image.path / "blobs/sha256" / manifest.config.digest.encoded).read_bytes()
    reference = parse_reference("docker://h/os:1")
    publish(tmp_path, f"docker://h/os@{found}", data)
    config = read_config(reference, found, manifest, program=skopeo)
    assert len(config.diff_ids) == 2
    assert (tmp_path / "words").read_text() == f"inspect --raw --config -- docker://h/os@{found}\n"
    publish(tmp_path, f"docker://h/os@{found}", data + b" ")
    with pytest.raises(DigestMismatchError, match="expected the config"):
        read_config(reference, found, manifest, program=skopeo)
