"""Images become commits again, the same in every mode; and whatever is wrong with an image, nothing has changed."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import tarbuilder
from layer_images import TarImage, compress, digest, tar_image
from ostrata import progress
from ostrata.codecs import ostree
from ostrata.codecs.zstd import CompressionParameter, ZstdCompressor
from ostrata.errors import (
    AccessError,
    LimitError,
    MalformedError,
    NotFoundError,
    OstrataError,
    UnsupportedError,
)
from ostrata.model.ostree import Variant
from ostrata.pipeline.import_commit import ImportedCommit, import_encapsulated
from ostrata.pipeline.import_image import import_image
from ostrata.pipeline.places import open_image
from ostrata.sources.ostree_commit import read_tree
from ostrata.stores.ostree_repository import open_repository
from ostrata.stores.ostree_writer import init_repository, open_writer
from repositories import ROOT, TREE, expected_entries, tree_for
from tarbuilder import BOOTC, END, OSTREE_EXT, Node, Tree, checksum_of, commit_bytes, file_checksum, walk

COMMIT = commit_bytes(TREE)
COMMIT_SUM = checksum_of(COMMIT)
CHECKSUMS = sorted({file_checksum(TREE[path]) for path in walk(TREE)})
LAYOUTS = ((BOOTC, 1), (BOOTC, 2), (OSTREE_EXT, 1))
MODES = ("archive", "bare-user", "bare") if ROOT else ("archive", "bare-user")
BARE = pytest.param("bare", marks=pytest.mark.skipif(not ROOT, reason="bare needs root"))
DETACHED = ostree.encode_metadata({"note": Variant("s", "žluť")})
OTHER_DETACHED = ostree.encode_metadata({"note": Variant("s", "changed")})


def tars(
    tree: Tree = TREE, layout: str = BOOTC, version: int = 2, detached: bytes | None = None, chunked: bool = True
) -> list[bytes]:
    checksums = sorted({file_checksum(tree[path]) for path in walk(tree)})
    chunks = [checksums[::2], checksums[1::2]] if chunked else None
    data = commit_bytes(tree)
    return tarbuilder.encapsulated_layers(tree, data, chunks, layout=layout, version=version, detached=detached)


def do_import(repo: Path, image: TarImage, *, mode: str = "bare-user", **options: object) -> ImportedCommit:
    init_repository(str(repo), mode)
    store, found = open_image(image.reference)
    result = import_image(str(repo), store, found, ref="a/ref", **options)  # type: ignore[arg-type]
    assert result.commit is not None and result.merged is None
    assert result.checksum == result.commit.checksum
    return result.commit


def files_below(top: Path) -> dict[str, bytes]:
    """What is in a repository, but for what a run may leave: its lock, and directories."""
    paths = (path for path in top.rglob("*") if path.is_file() and not path.is_symlink() and path.name != ".lock")
    return {str(path.relative_to(top)): path.read_bytes() for path in paths}


def holds(repo: Path, tree: Tree = TREE, ref: str = "a/ref") -> None:
    """The repository's ref is the commit of `tree`, and every object of it is right."""
    repository = open_repository(str(repo))
    commit, found = read_tree(repository, ref)
    assert commit.checksum == checksum_of(commit_bytes(tree))
    assert dict(found.entries) == expected_entries(tree)
    for _, checksum in commit.files:
        for _ in repository.open_file(checksum).content:
            pass
    assert list((repo / "tmp").iterdir()) == [repo / "tmp/cache"]


# Round trips


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "single"])
@pytest.mark.parametrize("mode", ["archive", "bare-user", BARE])
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd", "docker", "docker, none"])
@pytest.mark.parametrize(("layout", "version"), LAYOUTS)
def test_the_commit_is_the_one_that_went_in(
    layout: str, version: int, compression: str, mode: str, chunked: bool, tmp_path: Path
) -> None:
    layers = tars(layout=layout, version=version, chunked=chunked)
    image = tar_image(tmp_path / "image", layers, compression)
    found = do_import(tmp_path / "repo", image, mode=mode)
    assert (found.checksum, found.layers, found.layers_read) == (COMMIT_SUM, len(layers), len(layers))
    # Every file object, the commit, and one dirtree and dirmeta for each directory, twins once.
    objects = [path for path in (tmp_path / "repo/objects").rglob("*") if not path.is_dir() or path.is_symlink()]
    assert found.new_objects == len(objects)
    sizes = {file_checksum(node): len(node.data) for node in TREE.values() if node.kind == "file"}
    assert found.new_bytes == sum(sizes.values())
    holds(tmp_path / "repo")


def test_bare_user_only_takes_what_it_can_hold(tmp_path: Path) -> None:
    tree = tree_for("bare-user-only")
    do_import(tmp_path / "repo", tar_image(tmp_path / "image", tars(tree)), mode="bare-user-only")
    holds(tmp_path / "repo", tree)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (Node("file", 0o4755, data=b"x"), "cannot hold the mode 4755"),
        (Node("file", 0o644, 5, 6, data=b"x"), "cannot hold the owner 5:6"),
        (Node("file", 0o644, 0, 0, ((b"user.a", b"b"),), b"x"), "cannot hold extended attributes"),
        (Node("symlink", 0o777, 5, 6, data=b"x"), "cannot hold the owner 5:6"),
        (Node("symlink", 0o777, 0, 0, ((b"security.selinux", b"b"),), b"x"), "cannot hold extended attributes"),
    ],
)
def test_bare_user_only_refuses_what_it_cannot_hold(node: Node, message: str, tmp_path: Path) -> None:
    tree = {"": Node("directory", 0o755), "x": node}
    with pytest.raises(UnsupportedError, match=f"layer 1.*a bare-user-only repository {message}"):
        do_import(tmp_path / "repo", tar_image(tmp_path / "image", tars(tree)), mode="bare-user-only")
    assert open_repository(str(tmp_path / "repo")).list_refs() == []


def test_an_archive_is_read_like_a_layout(tmp_path: Path) -> None:
    image = tar_image(tmp_path / "image", tars(), "gzip")
    subprocess.run(["tar", "-C", image.path, "-cf", tmp_path / "image.tar", "."], check=True)
    init_repository(str(tmp_path / "repo"))
    store, found = open_image(f"oci-archive:{tmp_path}/image.tar")
    import_image(str(tmp_path / "repo"), store, found, ref="a/ref", jobs=2)
    holds(tmp_path / "repo")


def test_the_result_does_not_depend_on_the_number_of_jobs(tmp_path: Path) -> None:
    image = tar_image(tmp_path / "image", tars(), "zstd")
    one = do_import(tmp_path / "one", image)
    assert do_import(tmp_path / "three", image, jobs=3) == one
    assert files_below(tmp_path / "one") == files_below(tmp_path / "three")


def test_large_files_go_through_in_pieces(tmp_path: Path) -> None:
    data = random.Random(5).randbytes(2_500_000)
    tree = {"": Node("directory", 0o755), "large": Node("file", 0o640, 1, 2, ((b"user.a", b"1"),), data)}
    for mode in MODES:
        do_import(tmp_path / mode, tar_image(tmp_path / f"{mode} image", tars(tree)), mode=mode)
        holds(tmp_path / mode, tree)


def test_ten_thousand_directories_inside_each_other_are_objects_like_others(tmp_path: Path) -> None:
    meta = tarbuilder.dirmeta_bytes(Node("directory", 0o755))
    raw_meta = hashlib.sha256(meta).digest()
    dirtree = b"\0"
    entries = [dirtree]
    for _ in range(10_000):
        below = hashlib.sha256(dirtree).digest()
        dirtree = tarbuilder.framed(tarbuilder.array([tarbuilder.framed(b"d\0" + below + raw_meta, [34, 2])]), [0])
        entries.append(dirtree)
    body = b"s\0\0" + bytes(5) + bytes(8) + hashlib.sha256(dirtree).digest() + raw_meta
    commit = tarbuilder.framed(body, [48, 3, 2, 0, 0, 0])
    found = do_import(tmp_path / "repo", tar_image(tmp_path / "image", [first_layer(commit, meta, entries)]))
    assert found.checksum == checksum_of(commit)


def first_layer(commit: bytes, dirmeta: bytes, dirtrees: list[bytes]) -> bytes:
    objects = [("commit", commit), ("dirmeta", dirmeta), *(("dirtree", data) for data in dirtrees)]
    named = ((tarbuilder.object_path(kind, checksum_of(data)), data) for kind, data in objects)
    return b"".join(tarbuilder.file_entry(name, data) for name, data in named) + END


# Detached metadata


def test_detached_metadata_comes_along_and_replaces_what_was_there(tmp_path: Path) -> None:
    for detached in (DETACHED, OTHER_DETACHED, DETACHED):
        image = tar_image(tmp_path / "image", tars(detached=detached))
        found = do_import(tmp_path / "repo", image)
        assert open_repository(str(tmp_path / "repo")).read_detached_metadata(COMMIT_SUM) == detached
        assert found.layers_read in (1, 3)


def test_an_image_without_detached_metadata_leaves_what_was_there(tmp_path: Path) -> None:
    do_import(tmp_path / "repo", tar_image(tmp_path / "one", tars(detached=DETACHED)))
    do_import(tmp_path / "repo", tar_image(tmp_path / "two", tars()))
    assert open_repository(str(tmp_path / "repo")).read_detached_metadata(COMMIT_SUM) == DETACHED


# Layers that need not be read


def test_the_same_image_again_reads_no_layer(tmp_path: Path) -> None:
    do_import(tmp_path / "repo", tar_image(tmp_path / "image", tars(detached=DETACHED)))
    before = files_below(tmp_path / "repo")
    # The same tars in other blobs, all of them missing: nobody asks for them.
    again = tar_image(tmp_path / "again", tars(detached=DETACHED), "zstd")
    again.left_out = {digest(blob) for blob in again.blobs}
    for path in (tmp_path / "again/blobs/sha256").iterdir():
        path.unlink()
    found = do_import(tmp_path / "repo", again.write())
    assert (found.layers_read, found.new_objects, found.new_bytes) == (0, 0, 0)
    assert files_below(tmp_path / "repo") == before
    holds(tmp_path / "repo")


def test_an_update_reads_the_layers_that_changed(tmp_path: Path) -> None:
    changed = dict(TREE) | {"usr/bin/sh": replace(TREE["usr/bin/sh"], data=b"another shell")}
    halves = [sorted(set(CHECKSUMS) - {file_checksum(TREE["usr/bin/sh"])}), [file_checksum(TREE["usr/bin/sh"])]]
    do_import(tmp_path / "repo", tar_image(tmp_path / "old", layers(TREE, halves)))
    twin = file_checksum(TREE["usr/bin/twin of sh"])
    halves[1] = sorted({twin, file_checksum(changed["usr/bin/sh"])})
    found = do_import(tmp_path / "repo", tar_image(tmp_path / "new", layers(changed, halves), "gzip"))
    assert (found.layers, found.layers_read) == (3, 2)
    assert found.new_bytes == len(b"another shell")
    holds(tmp_path / "repo", changed)


def layers(tree: Tree, chunks: list[list[str]]) -> list[bytes]:
    return tarbuilder.encapsulated_layers(tree, commit_bytes(tree), chunks)


@pytest.mark.parametrize("kind", ["file", "dirtree", "commit"])
def test_a_layer_with_an_object_that_was_pruned_is_read_again(kind: str, tmp_path: Path) -> None:
    image = tar_image(tmp_path / "image", tars())
    do_import(tmp_path / "repo", image)
    victim = next((tmp_path / "repo/objects").glob(f"??/*.{kind}"))
    victim.unlink()
    assert do_import(tmp_path / "repo", image).layers_read == 1
    holds(tmp_path / "repo")


def test_damaged_notes_cost_a_reading_and_no_more(tmp_path: Path) -> None:
    image = tar_image(tmp_path / "image", tars())
    do_import(tmp_path / "repo", image)
    before = files_below(tmp_path / "repo")
    for path in (tmp_path / "repo/ostrata/layers").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    assert do_import(tmp_path / "repo", image).layers_read == 3
    assert files_below(tmp_path / "repo") == before


def test_a_first_layer_in_another_place_is_read_and_refused(tmp_path: Path) -> None:
    do_import(tmp_path / "repo", tar_image(tmp_path / "image", tars()))
    first, *chunks = tars()
    with pytest.raises(MalformedError, match=r"layer 1: .*a commit object in a layer that is not the first"):
        do_import(tmp_path / "repo", tar_image(tmp_path / "two", [first, first + bytes(512), *chunks]))
    with pytest.raises(MalformedError, match=r"layer 0: .*the first object is not the commit"):
        do_import(tmp_path / "repo", tar_image(tmp_path / "three", chunks))


# Labels, and more than one image


def test_a_label_with_another_commit_is_warned_about(tmp_path: Path) -> None:
    warnings = Warnings()
    labels = {"ostree.commit": "\x1b" + "0" * 63}
    do_import(tmp_path / "repo", tar_image(tmp_path / "image", tars(), labels=labels), progress=warnings)
    assert warnings.messages == [f"the label ostree.commit names \\x1b{'0' * 63}, and the image holds {COMMIT_SUM}"]


class Warnings(progress.Silent):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def warn(self, message: str) -> None:
        self.messages.append(message)


def test_a_base_is_imported_within_a_transaction_and_more_can_follow(tmp_path: Path) -> None:
    image = tar_image(tmp_path / "image", tars())
    init_repository(str(tmp_path / "repo"))
    with open_writer(str(tmp_path / "repo")) as writer:
        found = import_encapsulated(writer, *open_image(image.reference))
        other = tar_image(tmp_path / "other", tars({"": Node("directory", 0o711)}, chunked=False))
        second = import_encapsulated(writer, *open_image(other.reference))
        writer.write_ref("both/base", found.checksum)
        writer.write_ref("both/second", second.checksum)
    holds(tmp_path / "repo", ref="both/base")
    holds(tmp_path / "repo", {"": Node("directory", 0o711)}, ref="both/second")


def test_a_partial_commit_is_whole_afterwards(tmp_path: Path) -> None:
    image = tar_image(tmp_path / "image", tars())
    do_import(tmp_path / "repo", image)
    (tmp_path / "repo/state" / f"{COMMIT_SUM}.commitpartial").touch()
    do_import(tmp_path / "repo", image)
    holds(tmp_path / "repo")


# Bad input: each leaves the repository as it was


@pytest.fixture
def refuses(tmp_path: Path) -> Iterator[Callable[..., OstrataError]]:
    """Import an image that must be refused: nothing is there afterwards that was not there before."""
    repo = tmp_path / "repo"
    old = {"": Node("directory", 0o711)}
    do_import(repo, tar_image(tmp_path / "old", tars(old, chunked=False)))
    before = files_below(repo)

    def refuse(image: TarImage, kind: type[OstrataError], message: str = "", **options: object) -> OstrataError:
        with pytest.raises(kind, match=message) as caught:
            do_import(repo, image, **options)
        assert files_below(repo) == before
        holds(repo, old)
        return caught.value

    return refuse  # type: ignore[return-value]


Refuses = Callable[..., OstrataError]


def test_a_missing_blob(refuses: Refuses, tmp_path: Path) -> None:
    image = tar_image(tmp_path / "image", tars())
    (image.path / "blobs/sha256" / digest(image.blobs[1]).removeprefix("sha256:")).unlink()
    refuses(image, NotFoundError, r"layer 1: blob sha256:.*: no such blob")


@pytest.mark.parametrize("change", [1, -1, 1 << 62])
def test_a_descriptor_whose_size_lies(change: int, refuses: Refuses, tmp_path: Path) -> None:
    image = tar_image(tmp_path / "image", tars())
    image.manifest["layers"][2]["size"] += change
    refuses(image.write(), MalformedError, r"layer 2: blob sha256:.*: expected \d+ bytes, found \d+")


def test_a_blob_that_is_another(refuses: Refuses, tmp_path: Path) -> None:
    image = tar_image(tmp_path / "image", tars())
    tar = bytearray(image.blobs[1])
    tar[345] ^= 0x20  # a byte of a header that no reader looks at, but for its checksum
    tar[148:156] = b"%07o\0" % (int(tar[148:155], 8) + 0x20)
    image.put(digest(image.blobs[1]), bytes(tar))
    refuses(image, MalformedError, "layer 1: expected the digest")


def test_a_diff_id_that_is_another(refuses: Refuses, tmp_path: Path) -> None:
    image = tar_image(tmp_path / "image", tars(), "gzip")
    image.config["rootfs"]["diff_ids"][1] = digest(b"something else")
    refuses(image.write(), MalformedError, "layer 1: expected the diff_id")


@pytest.mark.parametrize("more", [1, -1])
def test_another_number_of_diff_ids_than_of_layers(more: int, refuses: Refuses, tmp_path: Path) -> None:
    image = tar_image(tmp_path / "image", tars())
    diff_ids = image.config["rootfs"]["diff_ids"]
    image.config["rootfs"]["diff_ids"] = [*diff_ids, digest(b"")] if more > 0 else diff_ids[:-1]
    refuses(image.write(), MalformedError, "expected as many layers as diff_ids")


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.oci.image.layer.v1.tar+xz",
        "application/octet-stream",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ],
)
def test_a_media_type_that_is_not_read_even_with_an_address(media_type: str, refuses: Refuses, tmp_path: Path) -> None:
    image = tar_image(tmp_path / "image", tars())
    image.manifest["layers"][1] |= {"mediaType": media_type, "urls": ["http://127.0.0.1:1/layer"]}
    refuses(image.write(), UnsupportedError, "layer 1: .* is not a layer media type that can be read")


def test_a_label_that_names_no_layer(refuses: Refuses, tmp_path: Path) -> None:
    image = tar_image(tmp_path / "image", tars(), labels={"ostree.final-diffid": "sha256:beef"})
    refuses(image, MalformedError, "no layer has the diff_id")


def test_a_chunk_that_is_missing_is_an_incomplete_commit(refuses: Refuses, tmp_path: Path) -> None:
    refuses(tar_image(tmp_path / "image", tars()[:2]), NotFoundError, r"no layer has the file object .*, which '/usr/")


@pytest.mark.parametrize("kind", ["dirtree", "dirmeta"])
def test_a_directory_object_that_is_missing_is_an_incomplete_commit(
    kind: str, refuses: Refuses, tmp_path: Path
) -> None:
    node = TREE["usr/share"]
    data = tarbuilder.dirmeta_bytes(node) if kind == "dirmeta" else tarbuilder.dirtree_bytes(TREE, "usr/share")
    first, *chunks = tars()
    without = first.replace(tarbuilder.file_entry(tarbuilder.object_path(kind, checksum_of(data)), data), b"")
    assert len(without) < len(first)
    message = f"no layer has the {kind} object {checksum_of(data)}, which '/usr/share' needs"
    refuses(tar_image(tmp_path / "image", [without, *chunks]), NotFoundError, message)


def test_objects_that_the_repository_has_already_make_up_for_a_missing_chunk(tmp_path: Path) -> None:
    do_import(tmp_path / "repo", tar_image(tmp_path / "whole", tars()))
    next((tmp_path / "repo/objects").glob("??/*.commit")).unlink()
    do_import(tmp_path / "repo", tar_image(tmp_path / "part", tars()[:2]))
    holds(tmp_path / "repo")


def test_a_violation_names_layer_and_entry_with_hostile_names_escaped(refuses: Refuses, tmp_path: Path) -> None:
    first, *chunks = tars()
    wrong = tarbuilder.file_entry("sysroot/ostree/repo/objects/\x1b[31m", b"") + END
    error = refuses(tar_image(tmp_path / "image", [first, wrong, *chunks]), MalformedError, "is no object's path")
    assert str(error).startswith("layer 1: sysroot/ostree/repo/objects/\\x1b[31m: ")


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_blob_that_is_cut_anywhere(compression: str, refuses: Refuses, tmp_path: Path) -> None:
    chance = random.Random(compression)
    first, *chunks = tars()
    blob = compress(chunks[0], compression)
    image = tar_image(tmp_path / "image", [first, *chunks], compression)
    for cut in sorted(chance.sample(range(len(blob)), 100)):
        image.blobs[1] = blob[:cut]
        image.manifest["layers"][1] |= {"digest": digest(blob[:cut]), "size": cut}
        refuses(image.write(), MalformedError, "layer 1: ")


def test_a_second_gzip_member(refuses: Refuses, tmp_path: Path) -> None:
    first, *chunks = tars()
    image = tar_image(tmp_path / "image", [first, *chunks], "gzip")
    blob = gzip.compress(chunks[0][:-1024], mtime=0) + gzip.compress(chunks[0][-1024:], mtime=0)
    image.blobs[1] = blob
    image.manifest["layers"][1] |= {"digest": digest(blob), "size": len(blob)}
    refuses(image.write(), MalformedError, "should be one member, and a second one follows")


@pytest.mark.parametrize(("compression", "factor"), [("gzip", 900), ("zstd", 10_000)])
def test_a_bomb_ends_at_the_limit(compression: str, factor: int, refuses: Refuses, tmp_path: Path) -> None:
    size = 64 << 20
    node = Node("file", 0o644, data=bytes(size))
    checksum = file_checksum(node)
    head = tarbuilder.xattrs_entries(checksum, node, BOOTC, set()) + tarbuilder.object_entry(checksum, node)[0][:512]
    tar = head + bytes(size) + END
    image = tar_image(tmp_path / "image", [*tars(), tar], compression)
    blob = image.blobs[-1]
    if compression == "zstd":
        compressor = ZstdCompressor(options={CompressionParameter.compression_level: 19})
        blob = compressor.compress(tar) + compressor.flush()
        image.blobs[-1] = blob
        image.manifest["layers"][-1] |= {"digest": digest(blob), "size": len(blob)}
        image.write()
    assert len(tar) > factor * len(blob)
    refuses(image, LimitError, "layer 3: .*at most 8388608 bytes", max_size=8 << 20)


def test_megabytes_of_extended_attributes_do_not_fill_the_memory(tmp_path: Path) -> None:
    """Each object has another megabyte of them, which compresses to nothing: nothing of it may be remembered."""
    tar_image(tmp_path / "image", [*tars(), xattr_bomb(250)], "zstd")
    repo = tmp_path / "repo"
    init_repository(str(repo), "archive")
    command = [sys.executable, "-m", "ostrata", "import", f"oci:{tmp_path}/image", "--repo", repo, "--jobs", "1", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, preexec_fn=limit_memory)
    assert (done.returncode, done.stderr) == (0, "")


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (200 << 20, 200 << 20))


def xattr_bomb(count: int) -> bytes:
    entries = []
    for number in range(count):
        node = Node("file", 0o644, 0, 0, ((b"security.selinux", b"%d" % number + bytes(1_000_000)),))
        checksum = file_checksum(node)
        entries += [tarbuilder.xattrs_entries(checksum, node, BOOTC, set()), tarbuilder.object_entry(checksum, node)[0]]
    return b"".join(entries) + END


def test_a_repository_that_cannot_be_written(tmp_path: Path) -> None:
    image = tar_image(tmp_path / "image", tars())
    init_repository(str(tmp_path / "repo"))
    (tmp_path / "repo/ostrata").write_bytes(b"in the way")
    with pytest.raises(AccessError, match="layers"):
        do_import(tmp_path / "repo", image)
    assert open_repository(str(tmp_path / "repo")).list_refs() == []


@pytest.mark.parametrize("ref", ["", "a//b", "../x", "a b", "é/\n"])
def test_a_ref_that_is_no_name_is_refused_before_anything_is_read(ref: str, tmp_path: Path) -> None:
    image = tar_image(tmp_path / "image", tars())
    init_repository(str(tmp_path / "repo"))
    with pytest.raises(MalformedError, match="not a valid ref name"):
        import_image(str(tmp_path / "repo"), *open_image(image.reference), ref=ref)
    assert not any((tmp_path / "repo/objects").iterdir())


def test_what_lies_beside_the_repository_is_not_touched(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "file").write_bytes(b"tweet")
    os.symlink("file", canary / "link")
    before = [(path, os.lstat(path)) for path in (canary, *canary.iterdir())]
    do_import(tmp_path / "repo", tar_image(tmp_path / "image", tars()))
    assert [(path, os.lstat(path)) for path in (canary, *canary.iterdir())] == before
