"""Every kind of source gives the same tree and the same contents, and says what is wrong with it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from ostrata.codecs import owners as owners_codec
from ostrata.codecs.zstd import ZstdCompressor
from ostrata.errors import AccessError, LimitError, MalformedError, NotFoundError, UnsupportedError
from ostrata.model.image import Platform
from ostrata.model.tree import RegularFile, Symlink
from ostrata.pipeline.build import view_of
from ostrata.pipeline.build_sources import PreparedSource, SourceOptions, prepare, read_owners
from ostrata.pipeline.commit import CommitOptions, commit
from ostrata.sources.contents import TarsAt, TreeSource, open_contents
from ostrata.stores.ostree_writer import init_repository
from plain_images import Change, RandomLayers, directory, layer_tar, link, opaque, symlink, whiteout, write_image

LAYERS = [
    [
        directory("", 0o755),
        directory("usr", 0o555, gid=35),
        Change("usr/sudo", mode=0o4111, data=b"s" * 3000, xattrs={"security.capability": b"\1\0\0\2"}),
        Change("usr/gone", data=b"gone"),
        directory("etc"),
        Change("etc/old", data=b"old"),
    ],
    [
        link("usr/hard link", "usr/sudo"),
        whiteout("usr/gone"),
        opaque("etc"),
        Change("etc/new\nline ž", uid=7, gid=8, data=b"new"),
        symlink("lib", "usr/lib"),
        Change("empty"),
    ],
]
CONTENTS = {
    "usr/sudo": b"s" * 3000,
    "usr/hard link": b"s" * 3000,
    "etc/new\nline ž": b"new",
    "empty": b"",
}


def contents_of(prepared: PreparedSource) -> dict[str, bytes]:
    with open_contents(prepared.at) as contents:
        return {
            path: b"".join(bytes(piece) for piece in contents.open(entry))
            for path, entry in prepared.tree
            if isinstance(entry, RegularFile)
        }


def read(reference: str | os.PathLike[str], tmpdir: Path, **options: object) -> tuple[PreparedSource, dict[str, bytes]]:
    given = SourceOptions(**options)  # type: ignore[arg-type]
    with prepare(os.fspath(reference), given, tmpdir=str(tmpdir)) as prepared:
        return prepared, contents_of(prepared)


def left_behind(tmpdir: Path) -> list[str]:
    return [name for name in os.listdir(tmpdir) if name.startswith(".ostrata-")]


# Images


@pytest.mark.parametrize("compresses", [True, False])
def test_an_image_is_its_layers_flattened_and_nothing_is_left_behind(tmp_path: Path, compresses: bool) -> None:
    write_image(tmp_path / "image", LAYERS, compresses=compresses, labels={"a": "b"})
    prepared, contents = read(f"oci:{tmp_path}/image:t", tmp_path)
    assert contents == CONTENTS
    sudo, usr = prepared.tree.entries["usr/sudo"], prepared.tree.entries["usr"]
    assert (sudo.attributes.mode, usr.attributes.mode, usr.attributes.gid) == (0o4111, 0o555, 35)
    assert sudo.attributes.xattrs == ((b"security.capability", b"\1\0\0\2"),)
    assert prepared.tree.entries["usr/hard link"] == sudo
    assert prepared.platform == Platform("amd64")
    assert prepared.created == 1_715_947_200
    assert prepared.config is not None
    assert json.loads(prepared.config)["config"]["Labels"] == {"a": "b"}
    assert left_behind(tmp_path) == []


def test_an_uncompressed_layer_is_read_where_it_lies(tmp_path: Path) -> None:
    write_image(tmp_path / "image", LAYERS, compresses=False)
    prepared, _ = read(f"oci:{tmp_path}/image:t", tmp_path)
    assert isinstance(prepared.at, TarsAt)
    assert all("/image/blobs/" in place.path for place in prepared.at.tars)


def test_an_archive_is_the_same_as_the_layout_in_it(tmp_path: Path) -> None:
    write_image(tmp_path / "image", LAYERS, compresses=False)
    with tarfile.open(tmp_path / "image.tar", "w") as archive:
        archive.add(tmp_path / "image", ".")
    prepared, contents = read(f"oci-archive:{tmp_path}/image.tar:t", tmp_path)
    assert contents == CONTENTS
    assert isinstance(prepared.at, TarsAt)
    assert {place.path for place in prepared.at.tars} == {str(tmp_path / "image.tar")}


@pytest.mark.parametrize("jobs", [1, 2])
def test_many_layers_are_the_same_however_many_work_at_them(tmp_path: Path, jobs: int) -> None:
    maker = RandomLayers(5)
    write_image(tmp_path / "image", [maker.layer(12) for _ in range(120)])
    with prepare(f"oci:{tmp_path}/image:t", SourceOptions(), tmpdir=str(tmp_path), jobs=jobs) as prepared:
        contents = contents_of(prepared)
    known, wanted = read(f"oci:{tmp_path}/image:t", tmp_path)
    assert (prepared.tree, contents) == (known.tree, wanted)
    assert len(contents) > 5


def test_a_layer_with_the_same_whiteout_twice_is_read(tmp_path: Path) -> None:
    layers = [[Change("a", data=b"a"), Change("b", data=b"b")], [whiteout("a")], [whiteout("a")]]
    write_image(tmp_path / "image", layers)
    prepared, contents = read(f"oci:{tmp_path}/image:t", tmp_path)
    assert contents == {"b": b"b"}
    assert [finding.what for finding in prepared.findings] == ["a whiteout that hides nothing"]


def test_an_image_of_whiteouts_alone_is_an_empty_tree(tmp_path: Path) -> None:
    write_image(tmp_path / "image", [[whiteout("a"), opaque("usr")], [whiteout("b")]])
    prepared, _ = read(f"oci:{tmp_path}/image:t", tmp_path)
    assert list(prepared.tree.entries) == [""]
    assert len(prepared.findings) == 2


def test_a_damaged_layer_is_refused(tmp_path: Path) -> None:
    store, image = write_image(tmp_path / "image", LAYERS)
    path = store.blob_path(image.layers[1].descriptor.digest)
    assert path is not None
    data = bytearray(Path(path).read_bytes())
    data[20] ^= 1
    Path(path).write_bytes(data)
    with pytest.raises(MalformedError, match="layer 1: "):
        read(f"oci:{tmp_path}/image:t", tmp_path)
    assert left_behind(tmp_path) == []


def test_a_layer_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "image", LAYERS)
    with pytest.raises(LimitError, match="layer 0: "):
        read(f"oci:{tmp_path}/image:t", tmp_path, max_size=2000)


def test_an_image_of_another_platform_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "image", LAYERS)
    with pytest.raises(UnsupportedError, match="expected an image for linux/arm64, found one for linux/amd64"):
        read(f"oci:{tmp_path}/image:t", tmp_path, platform=Platform("arm64"))


def write_index(path: Path, platforms: list[str]) -> None:
    """The layout's image once more for each platform, behind one index with the tag ``all``."""
    entry = json.loads((path / "index.json").read_text())["manifests"][0]
    manifest = json.loads((path / "blobs/sha256" / entry["digest"][7:]).read_text())
    config = json.loads((path / "blobs/sha256" / manifest["config"]["digest"][7:]).read_text())
    entries = []
    for name in platforms:
        data = json.dumps(config | {"architecture": name}).encode()
        changed = manifest | {"config": manifest["config"] | put(path, data)}
        entries.append({"mediaType": entry["mediaType"], "platform": {"architecture": name, "os": "linux"}})
        entries[-1] |= put(path, json.dumps(changed).encode())
    media_type = "application/vnd.oci.image.index.v1+json"
    index = json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": entries}).encode()
    tagged = {"mediaType": media_type, "annotations": {"org.opencontainers.image.ref.name": "all"}} | put(path, index)
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [tagged]}))


def put(path: Path, data: bytes) -> dict[str, object]:
    name = hashlib.sha256(data).hexdigest()
    (path / "blobs/sha256" / name).write_bytes(data)
    return {"digest": f"sha256:{name}", "size": len(data)}


def test_of_several_platforms_one_must_be_chosen(tmp_path: Path) -> None:
    write_image(tmp_path / "image", LAYERS)
    write_index(tmp_path / "image", ["amd64", "arm64"])
    with pytest.raises(NotFoundError, match="expected one image, found 2, and no platform was chosen"):
        read(f"oci:{tmp_path}/image:all", tmp_path)
    prepared, contents = read(f"oci:{tmp_path}/image:all", tmp_path, platform=Platform("arm64"))
    assert (prepared.platform, contents) == (Platform("arm64"), CONTENTS)
    with pytest.raises(NotFoundError, match="no image for linux/riscv64"):
        read(f"oci:{tmp_path}/image:all", tmp_path, platform=Platform("riscv64"))


def test_a_config_with_a_key_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image"
    write_image(path, LAYERS)
    entry = json.loads((path / "index.json").read_text())["manifests"][0]
    manifest = json.loads((path / "blobs/sha256" / entry["digest"][7:]).read_text())
    config = (path / "blobs/sha256" / manifest["config"]["digest"][7:]).read_bytes()
    manifest["config"] |= put(path, config.replace(b'"os": "linux"', b'"os": "linux", "os": "linux"'))
    changed = {"mediaType": entry["mediaType"]} | put(path, json.dumps(manifest).encode())
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [changed]}))
    with pytest.raises(MalformedError, match="twice"):
        read(f"oci:{path}", tmp_path)


# Docker archives


def write_docker_archive(
    path: Path,
    layers: list[bytes],
    *,
    tag: str = "localhost/os:latest",
    stored: list[bytes] | None = None,
    names: list[str] | None = None,
    link: bytes = tarfile.SYMTYPE,
    target: str = "../0.tar",
) -> None:
    """As `docker save` writes it, with a link as older writers make them.

    `stored`: the layers as they lie in the archive; `names`: those that the list of images has.
    """
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in layers]},
        }
    ).encode()
    files = {f"{number}.tar": data for number, data in enumerate(stored or layers)} | {"config.json": config}
    document = [
        {"Config": "config.json", "RepoTags": [tag], "Layers": names or [f"{n}.tar" for n in range(len(layers))]}
    ]
    files["manifest.json"] = json.dumps(document).encode()
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        member = tarfile.TarInfo("old/layer.tar")
        member.type, member.linkname = link, target if link == tarfile.SYMTYPE else "0.tar"
        archive.addfile(member)


def test_a_docker_archive_is_read_where_it_lies(tmp_path: Path) -> None:
    write_docker_archive(tmp_path / "a.tar", [layer_tar(layer) for layer in LAYERS])
    for reference in (f"docker-archive:{tmp_path}/a.tar", f"docker-archive:{tmp_path}/a.tar:localhost/os:latest"):
        prepared, contents = read(reference, tmp_path)
        assert contents == CONTENTS
        assert isinstance(prepared.at, TarsAt)
        assert {place.path for place in prepared.at.tars} == {str(tmp_path / "a.tar")}
        assert prepared.platform == Platform("amd64")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_layer_of_a_docker_archive_may_be_named_by_a_link_to_it(tmp_path: Path, kind: bytes) -> None:
    tar = layer_tar(LAYERS[0])
    names = ["0.tar", "old/layer.tar"]
    write_docker_archive(tmp_path / "a.tar", [tar, tar], stored=[tar], names=names, link=kind)
    prepared, contents = read(f"docker-archive:{tmp_path}/a.tar", tmp_path)
    assert contents
    assert isinstance(prepared.at, TarsAt)
    assert len(set(prepared.at.tars)) == 1


def test_a_link_out_of_a_docker_archive_names_no_layer(tmp_path: Path) -> None:
    tar = layer_tar(LAYERS[0])
    write_docker_archive(tmp_path / "a.tar", [tar], stored=[tar], names=["old/layer.tar"], target="../../0.tar")
    with pytest.raises(NotFoundError, match=r"the archive has no file old/layer\.tar"):
        read(f"docker-archive:{tmp_path}/a.tar", tmp_path)


def test_a_docker_archive_without_the_tag_is_an_error_that_lists_those_there_are(tmp_path: Path) -> None:
    write_docker_archive(tmp_path / "a.tar", [layer_tar(layer) for layer in LAYERS])
    with pytest.raises(NotFoundError, match=r"(?s)found 0\ntags here: localhost/os:latest"):
        read(f"docker-archive:{tmp_path}/a.tar:localhost/other:latest", tmp_path)


def test_a_docker_archive_that_lies_about_a_layer_is_refused(tmp_path: Path) -> None:
    write_docker_archive(tmp_path / "a.tar", [layer_tar(layer) for layer in LAYERS])
    data = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(data.replace(b"s" * 3000, b"S" * 3000))
    with pytest.raises(MalformedError, match="layer 0: expected the digest"):
        read(f"docker-archive:{tmp_path}/a.tar", tmp_path)


def compressed(tar: bytes, compression: str) -> bytes:
    compressor = ZstdCompressor()
    return gzip.compress(tar) if compression == "gzip" else compressor.compress(tar) + compressor.flush()


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_compressed_layers_of_a_docker_archive_are_decompressed(tmp_path: Path, compression: str) -> None:
    first, *others = (layer_tar(layer) for layer in LAYERS)
    stored = [first, *(compressed(tar, compression) for tar in others)]
    write_docker_archive(tmp_path / "a.tar", [first, *others], stored=stored)
    prepared, contents = read(f"docker-archive:{tmp_path}/a.tar", tmp_path)
    assert contents == CONTENTS
    assert isinstance(prepared.at, TarsAt)
    assert [place.path == str(tmp_path / "a.tar") for place in prepared.at.tars] == [True, *(False for _ in others)]


def test_a_compressed_layer_that_holds_another_tar_is_refused(tmp_path: Path) -> None:
    tars = [layer_tar(layer) for layer in LAYERS]
    stored = [compressed(tar, "gzip") for tar in tars]
    write_docker_archive(tmp_path / "a.tar", tars, stored=[stored[0], stored[0], *stored[2:]])
    with pytest.raises(MalformedError, match="layer 1: expected the diff_id"):
        read(f"docker-archive:{tmp_path}/a.tar", tmp_path)


@pytest.mark.parametrize(
    "document", ["{}", "[{}]", '[{"Config": "config.json", "Layers": [1]}]', "[", '[{"Config": 1}]']
)
def test_a_docker_archive_whose_list_of_images_is_none_is_refused(tmp_path: Path, document: str) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo("manifest.json")
        member.size = len(document)
        archive.addfile(member, io.BytesIO(document.encode()))
    with pytest.raises(MalformedError, match=r"manifest\.json"):
        read(f"docker-archive:{tmp_path}/a.tar", tmp_path)


# Tar files


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_a_tar_is_a_tree(tmp_path: Path, compression: str) -> None:
    tar = layer_tar([*LAYERS[0], link("usr/hard link", "usr/sudo")])
    compressor = ZstdCompressor()
    data = {"none": tar, "gzip": gzip.compress(tar), "zstd": compressor.compress(tar) + compressor.flush()}
    (tmp_path / "tree.tar").write_bytes(data[compression])
    prepared, contents = read(tmp_path / "tree.tar", tmp_path)
    assert contents == {
        "usr/sudo": b"s" * 3000,
        "usr/hard link": b"s" * 3000,
        "usr/gone": b"gone",
        "etc/old": b"old",
    }
    assert prepared.tree.entries["usr/sudo"].attributes.mtime == 1_000_000_000
    assert left_behind(tmp_path) == []


def test_seventy_thousand_links_to_one_file_are_one_content(tmp_path: Path) -> None:
    links = [link(f"l/{number}", "file") for number in range(70_000)]
    (tmp_path / "tree.tar").write_bytes(layer_tar([Change("file", data=b"one"), *links]))
    with prepare(str(tmp_path / "tree.tar"), SourceOptions(), tmpdir=str(tmp_path)) as prepared:
        keys = {entry.content for _, entry in prepared.tree if isinstance(entry, RegularFile)}
    assert (len(prepared.tree), len(keys)) == (70_003, 1)


def test_a_tar_in_another_compression_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "tree.tar").write_bytes(b"\xfd7zXZ\0" + bytes(600))
    with pytest.raises(UnsupportedError, match=r"tree\.tar: expected a tar, or one in gzip or zstd, found xz"):
        read(tmp_path / "tree.tar", tmp_path)


def test_a_file_that_is_no_tar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tree.tar").write_bytes(b"not a tar at all" * 100)
    with pytest.raises(MalformedError, match=r"tree\.tar"):
        read(tmp_path / "tree.tar", tmp_path)


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such tree"):
        read(tmp_path / "no such tree", tmp_path)


# Commits


def test_a_commit_is_its_tree(tmp_path: Path) -> None:
    (tmp_path / "tree/usr").mkdir(parents=True)
    (tmp_path / "tree/usr/a\nb ž").write_bytes(b"content")
    init_repository(str(tmp_path / "repo"), "archive")
    commit(str(tmp_path / "repo"), str(tmp_path / "tree"), CommitOptions("os", 12345))
    prepared, contents = read("os", tmp_path, repository=str(tmp_path / "repo"))
    assert contents == {"usr/a\nb ž": b"content"}
    assert prepared.created == 12345


# Directories


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    made = tmp_path / "tree"
    (made / "usr/a b").mkdir(parents=True)
    (made / "usr/file\n ž").write_bytes(b"content")
    os.link(made / "usr/file\n ž", made / "usr/a b/hard link")
    (made / "usr/large").write_bytes(os.urandom(1 << 16) * 40)
    (made / "lib").symlink_to("usr/lib")
    os.mkfifo(made / "fifo")
    return made


def test_a_directory_is_read_as_it_lies_there(tmp_path: Path, tree: Path) -> None:
    prepared, contents = read(tree, tmp_path)
    assert contents["usr/file\n ž"] == contents["usr/a b/hard link"] == b"content"
    assert contents["usr/large"] == (tree / "usr/large").read_bytes()
    one, other = (prepared.tree.entries[path] for path in ("usr/file\n ž", "usr/a b/hard link"))
    assert isinstance(one, RegularFile)
    assert isinstance(other, RegularFile)
    assert one.content == other.content
    assert prepared.special["fifo"].kind == "FIFO"


def test_steps_read_large_files_right(tmp_path: Path, tree: Path) -> None:
    with prepare(str(tree), SourceOptions(), tmpdir=str(tmp_path)) as prepared, view_of(prepared) as view:
        entry = view.entries["usr/large"]
        assert isinstance(entry, RegularFile)
        assert view.read(entry) == (tree / "usr/large").read_bytes()


def test_a_renamed_entry_still_has_its_content(tmp_path: Path, tree: Path) -> None:
    with prepare(str(tree), SourceOptions(), tmpdir=str(tmp_path)) as prepared, open_contents(prepared.at) as contents:
        entry = prepared.tree.entries["usr/file\n ž"]
        source = TreeSource(replace(prepared.tree, entries={"elsewhere": entry}), contents)
        assert b"".join(source.open("elsewhere")) == b"content"
        with pytest.raises(NotFoundError, match="no regular file of that name in the tree"):
            source.open("usr/file\n ž")


@pytest.mark.parametrize("change", ["content", "size", "replaced", "mode", "gone"])
def test_a_file_that_changed_since_is_an_error_that_says_which(tmp_path: Path, tree: Path, change: str) -> None:
    path = tree / "usr/a file"
    path.write_bytes(b"before")
    os.utime(path, (1, 1))
    with prepare(str(tree), SourceOptions(), tmpdir=str(tmp_path)) as prepared, open_contents(prepared.at) as contents:
        entry = prepared.tree.entries["usr/a file"]
        assert isinstance(entry, RegularFile)
        if change in ("replaced", "gone"):
            path.unlink()
        if change == "mode":
            path.chmod(0o4711)
        elif change != "gone":
            path.write_bytes(b"after!" if change == "content" else b"afterwards")
            os.utime(path, (1, 1))
        with pytest.raises((AccessError, NotFoundError), match=r"/usr/a file: (changed while|vanished)"):
            b"".join(contents.open(entry))


def test_what_is_excluded_is_not_read(tmp_path: Path, tree: Path) -> None:
    prepared, _ = read(tree, tmp_path, excludes=("/usr/a b", "usr/l*", "fifo"))
    assert [path for path in prepared.tree.entries if path.startswith("usr/")] == ["usr/file\n ž"]
    assert not prepared.special


@pytest.mark.parametrize("kind", ["directory", "image"])
def test_an_exclusion_that_matches_nothing_is_an_error(tmp_path: Path, tree: Path, kind: str) -> None:
    write_image(tmp_path / "image", LAYERS)
    source = str(tree) if kind == "directory" else f"oci:{tmp_path}/image:t"
    with pytest.raises(NotFoundError, match=r"excluded: '/no/such\\n', 'usr/\*\*/nothing'$"):
        read(source, tmp_path, excludes=("usr", "/no/such\n", "usr/**/nothing"))


def test_what_is_excluded_of_an_image_goes_with_all_that_is_in_it(tmp_path: Path) -> None:
    write_image(tmp_path / "image", LAYERS)
    prepared, contents = read(f"oci:{tmp_path}/image:t", tmp_path, excludes=("usr", "**/new*"))
    assert contents == {"empty": b""}
    assert list(prepared.tree.entries) == ["", "empty", "lib", "etc"]


@pytest.mark.parametrize("pattern", ["/", "", "**", "a/../b", "./a"])
def test_an_exclusion_that_is_none_is_refused(tmp_path: Path, tree: Path, pattern: str) -> None:
    with pytest.raises((MalformedError, UnsupportedError), match="exclud"):
        read(tree, tmp_path, excludes=(pattern,))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_what_is_mounted_in_a_directory_can_be_left_out(tmp_path: Path, tree: Path) -> None:
    (tree / "proc").mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "none", str(tree / "proc")], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        (tree / "proc/inside").write_text("!")
        assert "proc/inside" in read(tree, tmp_path)[0].tree.entries
        entries = read(tree, tmp_path, one_file_system=True)[0].tree.entries
        assert "proc" in entries
        assert "proc/inside" not in entries
    finally:
        subprocess.run(["umount", str(tree / "proc")], check=True)


# Owners


def test_owners_and_modes_can_be_told(tmp_path: Path, tree: Path) -> None:
    (tmp_path / "owners").write_bytes(b"0:35 4755 /usr/file\n" + b"7:8 755 usr\n" + b"1:2 644 /not there\n")
    (tree / "usr/file").write_bytes(b"!")
    prepared, _ = read(tree, tmp_path, owners=read_owners(str(tmp_path / "owners")))
    attributes = prepared.tree.entries["usr/file"].attributes
    assert (attributes.uid, attributes.gid, attributes.mode) == (0, 35, 0o4755)
    assert (prepared.tree.entries["usr"].attributes.uid, prepared.tree.entries["usr"].attributes.gid) == (7, 8)
    untold = prepared.tree.entries["usr/a b"].attributes
    assert (untold.uid, untold.gid) == (os.geteuid(), os.getegid())


def test_the_manifest_of_an_extraction_tells_owners_too(tmp_path: Path, tree: Path) -> None:
    records = [
        {"path": "/usr/large", "reason": "r", "owner": [5, 6], "mode": "4711", "xattrs": {"security.x": "AAE="}},
        {"path": "/lib", "reason": "r", "owner": [9, 9]},
        {"path": "/dev/null", "reason": "r", "missing": "character device 1:3"},
    ]
    (tmp_path / "owners").write_text(json.dumps({"version": 1, "unset": records}))
    prepared, _ = read(tree, tmp_path, owners=read_owners(str(tmp_path / "owners")))
    attributes = prepared.tree.entries["usr/large"].attributes
    assert (attributes.uid, attributes.gid, attributes.mode) == (5, 6, 0o4711)
    assert (b"security.x", b"\0\1") in attributes.xattrs
    assert isinstance(prepared.tree.entries["lib"], Symlink)
    assert prepared.tree.entries["lib"].attributes.uid == 9


def test_owners_of_an_image_are_its_own(tmp_path: Path) -> None:
    write_image(tmp_path / "image", LAYERS)
    with pytest.raises(UnsupportedError, match="owners are told of a directory only"):
        read(f"oci:{tmp_path}/image:t", tmp_path, owners=owners_codec.decode(b""))
