"""Is an image's tree that of a directory, or of another image?"""

import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from encapsulated_images import LAYOUTS, layout_name, make_image, read_document
from layer_images import compress, digest, tar_image
from ostrata.errors import DigestMismatchError, MalformedError, NotFoundError, OstrataError
from ostrata.formats.encapsulated import Layout
from ostrata.model.image import LAYER_GZIP, MANIFEST, StoredImage
from ostrata.pipeline.commit import CommitOptions, commit
from ostrata.pipeline.places import open_image
from ostrata.pipeline.verify_against import TreeVerification, verify_against
from ostrata.protocols import BlobStore
from ostrata.stores.ostree_writer import init_repository

NAME = "usr/a \u00fc\nb"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for directory in ("usr/lib", "usr/etc/sub", "var"):
        (root / directory).mkdir(parents=True)
    (root / NAME).write_bytes(b"content" * 1000)
    os.chmod(root / NAME, 0o750)
    (root / "usr/empty").touch()
    (root / "usr/lib/twin").write_text("twin")
    (root / "usr/lib/other twin").write_text("twin")
    (root / "usr/link").symlink_to("empty")
    (root / "usr/etc/sub/secret").write_text("s")
    return root


@pytest.fixture
def repository(tree: Path, tmp_path: Path) -> Path:
    init_repository(str(tmp_path / "repo"), "archive")
    commit(str(tmp_path / "repo"), str(tree), CommitOptions("main", timestamp=1))
    return tmp_path / "repo"


@pytest.fixture
def image(repository: Path, tmp_path: Path) -> str:
    make_image(repository, "main", f"oci:{tmp_path}/image:latest")
    return f"oci:{tmp_path}/image:latest"


def check(image: str, against: str | Path, *, times: bool = False, jobs: int = 1) -> TreeVerification:
    """`verify_against` by names."""
    other: str | tuple[BlobStore, StoredImage] = str(against)
    if str(against).startswith("oci:"):
        other = open_image(str(against))
    return verify_against(open_image(image), other, times=times, jobs=jobs)


def found(result: TreeVerification) -> list[tuple[str, str]]:
    return [(each.path, each.what) for each in result.differences]


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS, ids=layout_name)
def test_an_image_has_the_tree_that_it_was_made_of(layout: Layout, jobs: int, repository: Path, tree: Path) -> None:
    reference = f"oci:{tree.parent}/of-layout:latest"
    made = make_image(repository, "main", reference, layout=layout)
    result = check(reference, tree, jobs=jobs)
    assert found(result) == []
    assert result.commit == made.commit
    assert result.entries == 12


def test_the_configuration_of_a_commit_is_compared_with_etc(image: str, tree: Path) -> None:
    os.rename(tree / "usr/etc", tree / "etc")
    assert found(check(image, tree)) == []
    (tree / "etc/sub/secret").write_text("S")
    assert found(check(image, tree)) == [("etc/sub/secret", "content")]


def test_a_booted_system_has_the_configuration_twice(image: str, tree: Path) -> None:
    shutil.copytree(tree / "usr/etc", tree / "etc")
    (difference,) = check(image, tree).differences
    assert (difference.path, difference.reason) == ("usr/etc", "a booted system keeps the commit's /etc there")


def test_each_change_of_a_directory_is_found(image: str, tree: Path) -> None:
    (tree / NAME).write_bytes(b"Content" * 1000)
    (tree / "usr/empty").write_text("not empty")
    os.chmod(tree / "usr/lib", 0o700)
    (tree / "usr/link").unlink()
    (tree / "usr/link").symlink_to("elsewhere")
    (tree / "usr/lib/twin").unlink()
    (tree / "usr/new").mkdir()
    assert found(check(image, tree)) == [
        (NAME, "content"),
        ("usr/empty", "size"),
        ("usr/lib", "mode"),
        ("usr/lib/twin", "entry"),
        ("usr/link", "target"),
        ("usr/new", "entry"),
    ]


def test_two_images_of_one_commit_are_equal_whatever_their_layouts(
    image: str, repository: Path, tmp_path: Path
) -> None:
    make_image(repository, "main", f"oci:{tmp_path}/second", layout=LAYOUTS[-1], compression="gzip")
    result = check(image, f"oci:{tmp_path}/second", times=True)
    assert found(result) == []
    assert len(result.notes) == 2


def derived(image: str, tmp_path: Path, tar: bytes, name: str = "derived") -> str:
    """`image` with one more layer, as a Containerfile makes them."""
    layout = Path(image.removeprefix("oci:").removesuffix(":latest"))
    stored = open_image(image)[1]
    copy = tmp_path / name
    shutil.copytree(layout, copy)
    config = read_document(layout, stored.manifest.config.digest)
    manifest = read_document(layout, stored.descriptor.digest)
    blob = compress(tar, "gzip")
    config["rootfs"]["diff_ids"].append(digest(tar))
    config.pop("history", None)
    manifest["layers"].append({"mediaType": LAYER_GZIP, "digest": digest(blob), "size": len(blob)})
    document = json.dumps(config).encode()
    manifest["config"] |= {"digest": digest(document), "size": len(document)}
    whole = json.dumps(manifest).encode()
    for data in (blob, document, whole):
        (copy / "blobs/sha256" / digest(data).removeprefix("sha256:")).write_bytes(data)
    entry = {"mediaType": MANIFEST, "digest": digest(whole), "size": len(whole)}
    (copy / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return f"oci:{copy}"


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member, data in members:
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = kind, link, mode
    made.uid, made.gid = os.geteuid(), os.getegid()
    return made


def test_layers_behind_the_commit_are_applied(image: str, tree: Path, tmp_path: Path) -> None:
    first = open_image(image)[1]
    tar = tar_of(
        (member("usr/lib/.wh.twin"), b""),
        (member("etc/sub/secret"), b"changed"),
        (member("usr/new"), b"new"),
        (member("usr/again", tarfile.LNKTYPE, "usr/lib/other twin"), b""),
    )
    reference = derived(image, tmp_path, tar)
    assert len(open_image(reference)[1].layers) == len(first.layers) + 1
    assert found(check(reference, tree)) == [
        ("etc/sub/secret", "size"),
        ("usr/again", "entry"),
        ("usr/lib/twin", "entry"),
        ("usr/new", "entry"),
    ]
    (tree / "usr/lib/twin").unlink()
    (tree / "usr/etc/sub/secret").write_text("changed")
    (tree / "usr/again").write_text("twin")
    (tree / "usr/new").write_text("New")
    assert found(check(reference, tree)) == [("usr/new", "content")]


def test_an_image_without_a_commit_is_what_a_container_sees(tree: Path, tmp_path: Path) -> None:
    os.link(tree / "usr/lib/twin", tree / "usr/lib/twin's link")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.add(tree, "./")
    image = tar_image(tmp_path / "plain", [buffer.getvalue()], "gzip")
    del image.config["config"]["Labels"]
    image.write()
    shutil.copytree(tree, tmp_path / "copy", symlinks=True)
    result = check(image.reference, tree, times=True)
    assert (found(result), result.commit, result.notes) == ([], None, ())
    changed = [each for each in check(image.reference, tmp_path / "copy").differences if each.what != "mtime"]
    assert sorted((each.path, each.what, each.against) for each in changed) == [
        ("usr/lib/twin", "hard links", "none"),
        ("usr/lib/twin's link", "hard links", "none"),
    ]


def test_times_are_compared_when_asked_for(tree: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.add(tree, "./")
    image = tar_image(tmp_path / "plain", [buffer.getvalue()])
    del image.config["config"]["Labels"]
    image.write()
    os.utime(tree / "usr/empty", (5, 5))
    assert found(check(image.reference, tree)) == []
    assert found(check(image.reference, tree, times=True)) == [("usr/empty", "mtime")]


def test_a_damaged_layer_is_an_error_and_not_a_difference(image: str, tree: Path) -> None:
    layout = Path(image.removeprefix("oci:").removesuffix(":latest"))
    layer = open_image(image)[1].layers[0]
    path = layout / "blobs/sha256" / layer.descriptor.digest.encoded
    path.write_bytes(path.read_bytes().replace(b"content" * 10, b"Content" * 10, 1))
    with pytest.raises((MalformedError, DigestMismatchError), match="the image: layer 0"):
        check(image, tree)


def test_an_object_that_no_layer_has_is_an_error(tree: Path, tmp_path: Path) -> None:
    image = tar_image(tmp_path / "empty", [bytes(1024)], labels={"ostree.commit": "0" * 64})
    with pytest.raises(OstrataError, match="no commit object in the first layer"):
        check(image.reference, tree)


def test_a_directory_that_is_not_there_is_an_error(image: str, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        check(image, tmp_path / "nowhere")
