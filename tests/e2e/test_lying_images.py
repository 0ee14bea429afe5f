"""Manifests, configs and blobs that are not what they say: one clear line from import and extract, nothing changed."""

from __future__ import annotations

import gc
import gzip
import json
import os
import random
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import pytest

import tarbuilder
from layer_images import LAYER, TarImage, compress, digest, tar_image
from ostrata import cli
from tarbuilder import Node, commit_bytes

TREE = {
    "": Node("directory", 0o755),
    "usr": Node("directory", 0o755),
    "usr/a": Node("file", 0o644, data=random.Random(1).randbytes(3000)),
    "usr/b": Node("file", 0o644, data=b"text " * 2000),
}
TARS = tarbuilder.encapsulated_layers(
    TREE, commit_bytes(TREE), [[tarbuilder.file_checksum(TREE[path])] for path in ("usr/a", "usr/b")]
)
OLD = {"": Node("directory", 0o711)}
MIB = 1 << 20
FOREIGN = {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "urls": ["http://127.0.0.1:1/x"]}


@dataclass(frozen=True)
class Refuses:
    """Import or extract an image that must be refused: afterwards all is as it was."""

    command: str
    home: Path
    before: dict[str, bytes | None]
    capture: pytest.CaptureFixture[str]

    def __call__(self, image: str, message: str) -> None:
        rest = [str(self.home / "tree")]
        if self.command == "import":
            rest = ["--repo", str(self.home / "repo"), "--write-ref", "os"]
        self.capture.readouterr()
        code = cli.run([self.command, image, *rest, "--json", "-j1"])
        out, err = self.capture.readouterr()
        assert (code, out) == (1, ""), (code, out, err)
        first, *hint = err.removesuffix("\n").split("\n")
        assert first.startswith("ostrata: error: ") and first.isprintable() and len(first) < 1000 and len(hint) <= 1
        assert re.search(message, first), first
        assert contents(self.home) == self.before


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a repository that has a ref; no test changes it."""
    place = tmp_path_factory.mktemp("lying")
    old = tar_image(place / "old", tarbuilder.encapsulated_layers(OLD, commit_bytes(OLD), None)).reference
    (place / "home").mkdir()
    assert cli.run(["import", old, "--repo", str(place / "home/repo"), "--write-ref", "os", "-q", "-j1"]) == 0
    return place / "home"


@pytest.fixture(params=["import", "extract"])
def refuses(request: pytest.FixtureRequest, home: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Refuses]:
    handler = signal.getsignal(signal.SIGTERM)
    yield Refuses(request.param, home, contents(home), capfd)
    signal.signal(signal.SIGTERM, handler)
    gc.enable()


def contents(top: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in top.rglob("*")}


@pytest.fixture
def image(tmp_path: Path) -> TarImage:
    return tar_image(tmp_path / "image", TARS, "gzip")


# Documents of given bytes


def put_manifest(image: TarImage, manifest: bytes, **descriptor: object) -> None:
    """Make `manifest` the image's, named rightly by the index but for what `descriptor` says."""
    image.put(digest(manifest), manifest)
    named = {"mediaType": image.manifest["mediaType"], "digest": digest(manifest), "size": len(manifest)} | descriptor
    (image.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))


def put_config(image: TarImage, config: bytes, **descriptor: object) -> None:
    image.put(digest(config), config)
    image.manifest["config"] |= {"digest": digest(config), "size": len(config)} | descriptor
    put_manifest(image, json.dumps(image.manifest).encode())


def manifest_of(image: TarImage) -> bytes:
    return json.dumps(image.manifest).encode()


def config_of(image: TarImage) -> bytes:
    return json.dumps(image.config).encode()


def with_key(document: bytes, member: str) -> bytes:
    """`document` with one more member, even if it has that key."""
    return b"{" + member.encode("utf-8", "surrogatepass") + b"," + document[1:]


NESTED = '"x":' + "[" * 100_000 + "]" * 100_000
ODD_MEMBERS = {
    "a key twice": ('"schemaVersion":2,"schemaVersion":2', "twice"),
    "a key of an object within twice": ('"x":{"y":{"k":1,"k":2}}', "twice"),
    "NaN": ('"x":NaN', "expected a number, found NaN"),
    "infinity": ('"x":-Infinity', "expected a number, found -Infinity"),
    "a number of 5,000 digits": ('"x":' + "9" * 5000, "at most 20 digits"),
    "100,000 lists inside each other": (NESTED, "nested too deeply"),
    "half of a surrogate pair": (r'"x":"\ud800"', "half of a surrogate pair"),
    "bytes that are no text": ('"x":"\udcff"', "expected UTF-8"),
}


@pytest.mark.parametrize("odd", ODD_MEMBERS)
@pytest.mark.parametrize("document", ["index", "manifest", "config"])
def test_json_that_readers_take_differently(document: str, odd: str, refuses: Refuses, image: TarImage) -> None:
    member, message = ODD_MEMBERS[odd]
    if document == "index":
        path = image.path / "index.json"
        path.write_bytes(with_key(path.read_bytes(), member))
    elif document == "manifest":
        put_manifest(image, with_key(manifest_of(image), member))
    else:
        put_config(image, with_key(config_of(image), member))
    refuses(image.reference, message)


@pytest.mark.parametrize("document", ["manifest", "config"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"\xef\xbb\xbf" + data, "byte order mark"),
        (lambda data: data + b"{}", "not JSON: extra data"),
        (lambda data: data[:-1], "not JSON"),
        (lambda data: b"", "not JSON"),
        (lambda data: b"[]", "expected an object, found a list"),
        (lambda data: data + b" " * (4 * MIB), "at most 4,194,304 bytes"),
    ],
)
def test_documents_that_are_no_json_or_too_long(
    document: str, change: Callable[[bytes], bytes], message: str, refuses: Refuses, image: TarImage
) -> None:
    if document == "manifest":
        put_manifest(image, change(manifest_of(image)))
    else:
        put_config(image, change(config_of(image)))
    refuses(image.reference, message)


@pytest.mark.parametrize("command", ["import", "extract"])
def test_documents_of_4_mib_are_read(command: str, image: TarImage, tmp_path: Path) -> None:
    put_config(image, config_of(image).ljust(4 * MIB))
    put_manifest(image, manifest_of(image).ljust(4 * MIB))
    rest = ["--repo", str(tmp_path / "repo")] if command == "import" else [str(tmp_path / "tree")]
    assert cli.run([command, image.reference, *rest, "-q", "-j1"]) == 0


# Sizes and digests


@pytest.mark.parametrize("size", [-1, 1 << 63, True, 1.5, "1", None])
@pytest.mark.parametrize("place", ["manifest", "config", "layer"])
def test_sizes_that_are_none(place: str, size: object, refuses: Refuses, image: TarImage) -> None:
    if place == "manifest":
        put_manifest(image, manifest_of(image), size=size)
    else:
        named = image.manifest["config"] if place == "config" else image.manifest["layers"][1]
        named["size"] = size
        put_manifest(image, manifest_of(image))
    refuses(image.reference, r"size: expected|expected an integer, found 1\.5")


@pytest.mark.parametrize("change", [1, -1, 1 << 62])
@pytest.mark.parametrize("place", ["manifest", "config", "layer"])
def test_sizes_that_lie(place: str, change: int, refuses: Refuses, image: TarImage) -> None:
    if place == "manifest":
        manifest = manifest_of(image)
        size = max(0, len(manifest) + change)
        put_manifest(image, manifest, size=size)
    else:
        named = image.manifest["config"] if place == "config" else image.manifest["layers"][1]
        named["size"] += change
        put_manifest(image, manifest_of(image))
    refuses(image.reference, r"expected (bytes )?[\d,]+( bytes)?, found")


@pytest.mark.parametrize("place", ["manifest", "config", "layer"])
def test_blobs_that_are_not_what_their_digests_say(place: str, refuses: Refuses, image: TarImage) -> None:
    blob = {"manifest": manifest_of(image), "config": config_of(image), "layer": image.blobs[1]}[place]
    other = bytearray(blob)
    other[-5] ^= 1  # of a layer's, its checksum; the length stays
    image.put(digest(blob), bytes(other))
    refuses(image.reference, "expected the digest|gzip")


@pytest.mark.parametrize("layer", [0, 2])
def test_diff_ids_that_lie(layer: int, refuses: Refuses, image: TarImage) -> None:
    image.config["rootfs"]["diff_ids"][layer] = digest(b"something else")
    image.config["config"]["Labels"]["ostree.final-diffid"] = image.config["rootfs"]["diff_ids"][-1]
    refuses(image.write().reference, f"layer {layer}: expected the diff_id")


@pytest.mark.parametrize("place", ["manifest", "config", "layer"])
@pytest.mark.parametrize("kind", ["missing", "directory", "fifo", "dangling"])
def test_blobs_that_are_not_there_or_no_files(place: str, kind: str, refuses: Refuses, image: TarImage) -> None:
    blob = {"manifest": manifest_of(image), "config": config_of(image), "layer": image.blobs[1]}[place]
    path = image.path / "blobs/sha256" / digest(blob).removeprefix("sha256:")
    path.unlink()
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "dangling":
        path.symlink_to("nowhere")
    refuses(image.reference, f"blob {digest(blob)}: no such blob")


@pytest.mark.parametrize(
    "name",
    ["sha256:../../../../etc/passwd", "sha256:" + "A" * 64, "sha256:beef", "sha512:" + "0" * 128, "", "\x1b[31m:0", 7],
)
@pytest.mark.parametrize("place", ["config", "layer", "diff_id"])
def test_digests_that_are_none(place: str, name: object, refuses: Refuses, image: TarImage) -> None:
    if place == "diff_id":
        image.config["rootfs"]["diff_ids"][1] = name
        image.write()
    else:
        named = image.manifest["config"] if place == "config" else image.manifest["layers"][1]
        named["digest"] = name
        put_manifest(image, manifest_of(image))
    refuses(image.reference, "digest|diff_ids")


# Layers and media types


@pytest.mark.parametrize("change", [-1, 1, 1000])
def test_more_or_fewer_diff_ids_than_layers(change: int, refuses: Refuses, image: TarImage) -> None:
    diff_ids = image.config["rootfs"]["diff_ids"]
    image.config["rootfs"]["diff_ids"] = diff_ids[:change] if change < 0 else diff_ids + [digest(b"")] * change
    refuses(image.write().reference, f"expected as many layers as diff_ids, found 3 and {3 + change}")


@pytest.mark.parametrize(
    "named",
    [
        FOREIGN,
        {"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"},
        {"mediaType": "application/vnd.oci.image.layer.v1.tar+xz"},
        {"mediaType": "\x1b[31m\u202e" + "x" * 10_000},
    ],
    ids=["foreign", "not distributable", "xz", "hostile"],
)
def test_layers_that_are_not_read_even_with_an_address(
    named: dict[str, object], refuses: Refuses, image: TarImage
) -> None:
    image.manifest["layers"][1] |= named
    refuses(image.write().reference, r"layer 1: .* is not a layer media type")


@pytest.mark.parametrize(("said", "found"), list(permutations(["gzip", "zstd", "none"], 2)))
def test_layers_of_another_compression_than_they_say(said: str, found: str, refuses: Refuses, tmp_path: Path) -> None:
    image = tar_image(tmp_path / "other", TARS, found)
    image.manifest["layers"][1]["mediaType"] = LAYER[said]
    refuses(image.write().reference, "layer 1: ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mediaType": "application/vnd.oci.artifact.manifest.v1+json"}, "expected the media type"),
        ({"schemaVersion": 1}, "expected schemaVersion 2, found 1"),
        ({"manifests": []}, "found the members of an index too"),
        ({"layers": {}}, "expected a list, found an object"),
        ({"layers": [None]}, r"layers\[0\]: expected an object, found null"),
        ({"config": None}, "config: expected an object, found null"),
    ],
)
def test_manifests_that_are_none(change: dict[str, object], message: str, refuses: Refuses, image: TarImage) -> None:
    put_manifest(image, json.dumps(image.manifest | change).encode())
    refuses(image.reference, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rootfs": None}, "rootfs: expected an object, found null"),
        ({"rootfs": {"type": "overlay", "diff_ids": []}}, "expected 'layers', found 'overlay'"),
        ({"config": {"Labels": {"ostree.final-diffid": 7}}}, "expected a string, found an integer"),
        ({"os": 1}, "os: expected a string, found an integer"),
        ({"history": [1]}, "expected an object, found an integer"),
    ],
)
def test_configs_that_are_none(change: dict[str, object], message: str, refuses: Refuses, image: TarImage) -> None:
    put_config(image, json.dumps(image.config | change).encode())
    refuses(image.reference, message)


def test_indexes_inside_each_other_without_end(refuses: Refuses, image: TarImage) -> None:
    named = json.loads((image.path / "index.json").read_bytes())["manifests"][0]
    for _ in range(6):
        index = json.dumps({"schemaVersion": 2, "manifests": [named]}).encode()
        image.put(digest(index), index)
        named = {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest(index), "size": len(index)}
    (image.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
    refuses(image.reference, "at most 4 indexes inside each other")


# Compressed layers


def put_layer(image: TarImage, blob: bytes) -> None:
    image.blobs[1] = blob
    image.manifest["layers"][1] |= {"digest": digest(blob), "size": len(blob)}
    image.write()


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_layer_that_is_cut_at_any_place(compression: str, refuses: Refuses, tmp_path: Path) -> None:
    image = tar_image(tmp_path / "cut", TARS, compression)
    whole = image.blobs[1]
    count = 100 if refuses.command == "extract" else 10  # the other ninety: tests/unit/pipeline/test_import_image.py
    for cut in sorted(random.Random(compression).sample(range(len(whole)), count)):
        put_layer(image, whole[:cut])
        refuses(image.reference, "layer 1: ")


@pytest.mark.parametrize("cut", [0, 512, -1024])
def test_a_second_gzip_member(cut: int, refuses: Refuses, image: TarImage) -> None:
    first, second = TARS[1][: len(TARS[1]) + cut if cut < 0 else cut], TARS[1][cut:]
    put_layer(image, gzip.compress(first, mtime=0) + gzip.compress(second, mtime=0))
    refuses(image.reference, "should be one member, and a second one follows")


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
@pytest.mark.parametrize("rest", [b"\0", b"rest", bytes(512) + b"x"])
def test_bytes_behind_a_compressed_layer(compression: str, rest: bytes, refuses: Refuses, tmp_path: Path) -> None:
    image = tar_image(tmp_path / "more", TARS, compression)
    put_layer(image, compress(TARS[1], compression) + rest)
    refuses(image.reference, "layer 1: ")
