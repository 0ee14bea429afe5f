"""Layers that are right pass; each broken rule of readers and verifiers has its own message."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace

import pytest

import tarbuilder
from ostrata.errors import LimitError, MalformedError
from ostrata.inspection.findings import MAX_SHOWN, FindingList
from ostrata.inspection.image_check import ImageContents, check_image
from ostrata.inspection.layer_check import LayerContents, check_layer
from tarbuilder import (
    BOOTC,
    CONFIG,
    END,
    OSTREE_EXT,
    REPO,
    Node,
    chunk_layer,
    commit_bytes,
    directory_entry,
    dirmeta_bytes,
    dirtree_bytes,
    file_checksum,
    file_entry,
    link_entry,
    long_entry,
    object_entry,
    object_path,
    ostree_layer,
    path_entry,
    pax_entry,
    skeleton,
    symlink_entry,
    walk,
    xattrs_bytes,
    xattrs_entries,
)

SELINUX = (b"security.selinux", b"system_u:object_r:bin_t:s0\0")
CAPABILITY = (b"security.capability", b"\1\0\0\2\0\n\0=")
PLAIN = Node("directory", 0o755)
TREE = {
    "": Node("directory", 0o755),
    "usr": Node("directory", 0o755, xattrs=(SELINUX,)),
    "usr/bin": Node("directory", 0o755),
    "usr/bin/ping": Node("file", 0o4755, 0, 5, (CAPABILITY, SELINUX), b"an ELF"),
    "usr/bin/pong": Node("file", 0o4755, 0, 5, (CAPABILITY, SELINUX), b"an ELF"),
    "usr/bin/sh": Node("symlink", 0o777, 1, 2, (SELINUX,), b"da sh\n"),
    "usr/etc": Node("directory", 0o700, 1, 2),
    "usr/etc/a b\n": Node("file", 0o644, 0, 0, (), b"x" * 1000),
    "usr/etc/empty": Node("file", 0o600, 3, 4),
    "usr/" + "é" * 60: Node("directory", 0o755),
    "usr/" + "é" * 60 + "/file": Node("file", 0o644, 3_000_000, 0, (), b"x" * 512),
    "usr/nothing": Node("directory", 0o755),  # its dirtree is that of /sysroot too, which upstream leaves out
    "sysroot": Node("directory", 0o700),
}
COMMIT = commit_bytes(TREE)
CHECKSUMS = sorted({file_checksum(TREE[path]) for path in walk(TREE)})
PING = TREE["usr/bin/ping"]
EMPTY = TREE["usr/etc/empty"]
SH = TREE["usr/bin/sh"]
PING_SUM, EMPTY_SUM, SH_SUM = map(file_checksum, (PING, EMPTY, SH))
OTHER_SUM = file_checksum(TREE["usr/etc/a b\n"])
LAYOUTS = [(OSTREE_EXT, 1), (BOOTC, 1), (BOOTC, 2)]
NO_XATTRS = tarbuilder.checksum_of(b"")


def check(tar: bytes, first: bool = False) -> LayerContents:
    return check_layer([tar[start : start + 4096] for start in range(0, len(tar), 4096)], first=first)


def link(checksum: str, node: Node, layout: str = BOOTC) -> bytes:
    return xattrs_entries(checksum, node, layout, set())


def entry(checksum: str, node: Node) -> bytes:
    return object_entry(checksum, node)[0]


def hard_link(path: str, checksum: str, node: Node) -> bytes:
    return path_entry(path, checksum, node, object_entry(checksum, node)[1])


def whole(checksum: str, node: Node, layout: str = BOOTC) -> bytes:
    return link(checksum, node, layout) + entry(checksum, node)


def chunk(*entries: bytes) -> bytes:
    return skeleton() + b"".join(entries) + END


def first_layer(*entries: bytes) -> bytes:
    """A first layer that begins rightly, with `entries` behind the commit and the root's dirmeta."""
    head = directory_entry("./") + skeleton() + file_entry(object_path("commit", COMMIT_SUM), COMMIT)
    return head + metadata("dirmeta", dirmeta_bytes(TREE[""])) + b"".join(entries) + END


def metadata(kind: str, data: bytes) -> bytes:
    return file_entry(object_path(kind, tarbuilder.checksum_of(data)), data)


COMMIT_SUM = tarbuilder.checksum_of(COMMIT)


def violates(tar: bytes, message: str, *, first: bool = False, place: str = "") -> None:
    """The layer has exactly one problem, with this message."""
    problems = check(tar, first).problems
    assert problems.count == 1, problems
    assert message in problems.shown[0]
    assert place in problems.shown[0]


def image(chunks: Sequence[Sequence[str]], layout: str = BOOTC, version: int = 2) -> list[LayerContents]:
    tars = tarbuilder.encapsulated_layers(TREE, COMMIT, chunks, layout=layout, version=version)
    return [check(tar, number == 0) for number, tar in enumerate(tars)]


# Layers that are right


@pytest.mark.parametrize(("layout", "version"), LAYOUTS)
def test_a_right_image_has_no_problems(layout: str, version: int) -> None:
    layers = image([CHECKSUMS[:2], CHECKSUMS[2:]], layout, version)
    found = check_image(layers)
    assert found.problems.count == 0, found.problems
    assert found.unreferenced.count == 0
    assert found.tree is not None
    assert [path for path, _ in found.tree.files] == walk(TREE)
    assert sorted(found.objects) == CHECKSUMS
    assert found.objects[PING_SUM].header.attributes.xattrs == PING.xattrs
    assert [layer.layout for layer in layers] == [None, layout, layout]


@pytest.mark.parametrize(("layout", "version"), LAYOUTS)
def test_a_right_single_layer_has_no_problems(layout: str, version: int) -> None:
    tars = tarbuilder.encapsulated_layers(TREE, COMMIT, None, layout=layout, version=version)
    found = check_image([check(tars[0], True)])
    assert found.problems.count == 0, found.problems


def test_the_contents_say_what_is_in_a_layer() -> None:
    tar = chunk_layer(TREE, [PING_SUM, EMPTY_SUM])
    found = check(tar)
    assert sorted(found.paths) == sorted(
        [("usr/bin/ping", PING_SUM), ("usr/bin/pong", PING_SUM), ("etc/empty", EMPTY_SUM)]
    )
    assert sorted(found.directories) == [("etc", 1, 2, 0o700), ("usr", 0, 0, 0o755), ("usr/bin", 0, 0, 0o755)]
    assert found.objects[PING_SUM].size == 6
    assert found.size == len(tar)
    assert pickle.loads(pickle.dumps(found)) == found


def test_detached_metadata_is_kept() -> None:
    detached = bytes.fromhex("6b00 000000000000 7600 0073 02 0d")
    found = check(ostree_layer(TREE, COMMIT, detached), True)
    assert (found.problems.count, found.detached) == (0, detached)


def test_importers_need_no_skeleton_and_pass_over_unknown_files() -> None:
    extra = file_entry(f"{REPO}/.ostree\n", b"x") + file_entry(f"{REPO}/refs/heads/a", b"x")
    found = check(extra + whole(PING_SUM, PING) + END)
    assert found.problems.count == 0
    assert found.ignored.shown == (f"{REPO}/.ostree\\n: a file that importers pass over",)


def test_extended_attributes_may_come_with_pax_headers() -> None:
    path = object_path("file", EMPTY_SUM)
    found = check(chunk(link(EMPTY_SUM, EMPTY), pax_entry([(b"path", path.encode())]), entry(EMPTY_SUM, EMPTY)))
    assert found.problems.count == 0


# The tar itself


def test_a_tar_that_cannot_be_read_ends_the_check_naming_the_entry() -> None:
    tar = skeleton() + whole(OTHER_SUM, TREE["usr/etc/a b\n"])
    with pytest.raises(MalformedError, match=rf"{OTHER_SUM[2:]}.file: offset \d+: the tar ends within an entry"):
        check(tar[:-700])


# Rules of chunk layers (8.3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("objects/x", "no object's path"),
        ("objects/aa/bb/cc.file", "no object's path"),
        (f"objects/zz/{PING_SUM[2:]}.file", "invalid checksum part"),
        (f"objects/{PING_SUM[:2]}/{PING_SUM[2:-1]}.file", "invalid checksum part"),
        (f"objects/{PING_SUM[:3]}/{PING_SUM[3:]}.file", "invalid checksum part"),
        (f"objects/{PING_SUM[:2]}/{PING_SUM[2:].upper()}.file", "invalid checksum part"),
        (f"objects/{PING_SUM[:2]}/{PING_SUM[2:]}.filez", "invalid object type 'filez'"),
        (f"objects/{PING_SUM[:2]}/{PING_SUM[2:]}", "invalid object type ''"),
    ],
)
def test_an_objects_name_must_be_one(name: str, message: str) -> None:
    violates(chunk(file_entry(f"{REPO}/{name}", b"")), message)


def test_an_object_needs_its_xattrs_directly_before() -> None:
    violates(chunk(entry(PING_SUM, PING)), "missing xattrs reference", place=PING_SUM[2:])
    violates(chunk(whole(PING_SUM, PING), entry(SH_SUM, SH)), "missing xattrs reference", place=SH_SUM[2:])


def test_the_xattrs_before_an_object_must_be_its_own() -> None:
    violates(chunk(link(SH_SUM, SH), entry(PING_SUM, PING)), f"object mismatch: found xattrs for {SH_SUM}")


def test_two_xattrs_links_in_a_row_are_refused() -> None:
    violates(chunk(link(SH_SUM, SH), whole(PING_SUM, PING)), "found previous dangling xattrs")


def test_an_xattrs_link_at_the_end_is_refused() -> None:
    violates(chunk(link(SH_SUM, SH)), "dangling xattrs for this file object", place=SH_SUM)


def test_xattrs_content_must_be_earlier_in_the_layer() -> None:
    content = file_entry(object_path("file-xattrs", NO_XATTRS), b"")
    target = object_path("file-xattrs", NO_XATTRS)
    tar = chunk(link_entry(object_path("file-xattrs-link", EMPTY_SUM), target), entry(EMPTY_SUM, EMPTY), content)
    violates(tar, "failed to find xattrs content")


def test_an_xattrs_link_must_lead_to_xattrs() -> None:
    wrong = link_entry(object_path("file-xattrs-link", SH_SUM), object_path("file", PING_SUM))
    violates(chunk(whole(PING_SUM, PING, OSTREE_EXT), wrong, entry(SH_SUM, SH)), "expected file-xattrs")


def test_xattrs_content_must_have_its_checksum() -> None:
    violates(
        chunk(file_entry(object_path("file-xattrs", NO_XATTRS), xattrs_bytes([SELINUX]))),
        f"expected checksum {NO_XATTRS}",
    )


def test_xattrs_content_must_be_in_normal_form() -> None:
    violates(chunk(metadata("file-xattrs", b"\0garbage")), "")
    wrong = replace(PING, xattrs=())
    tar = chunk(file_entry(object_path("file-xattrs-link", PING_SUM), b"\0garbage"), entry(PING_SUM, wrong))
    violates(tar, "")


def test_xattrs_content_twice_is_refused() -> None:
    content = file_entry(object_path("file-xattrs", NO_XATTRS), b"")
    violates(chunk(content, content), "extended attributes twice")


def test_xattrs_over_1_mib_are_refused() -> None:
    large = bytes((1 << 20) + 1)
    violates(chunk(metadata("file-xattrs", large)), "at most 1048576 bytes")
    tar = chunk(file_entry(object_path("file-xattrs-link", PING_SUM), large), entry(PING_SUM, PING))
    violates(tar, "at most 1048576 bytes")


@pytest.mark.parametrize(
    "change",
    [
        {"data": b"an elf"},
        {"data": b"an ELF "},
        {"mode": 0o755},
        {"uid": 1},
        {"gid": 0},
        {"kind": "symlink", "mode": 0o777},
    ],
)
@pytest.mark.parametrize("layout", [BOOTC, OSTREE_EXT])
def test_content_owner_mode_and_kind_must_hash_to_the_objects_name(layout: str, change: dict[str, object]) -> None:
    tar = chunk(link(PING_SUM, PING, layout), entry(PING_SUM, replace(PING, **change)))  # type: ignore[arg-type]
    violates(tar, f"corrupted file object: expected checksum {PING_SUM}, found ")


def test_a_symlinks_target_must_hash_to_the_objects_name() -> None:
    violates(chunk(link(SH_SUM, SH), entry(SH_SUM, replace(SH, data=b"dash"))), "corrupted file object")


@pytest.mark.parametrize("layout", [BOOTC, OSTREE_EXT])
def test_extended_attributes_must_hash_to_the_objects_name(layout: str) -> None:
    wrong = link(PING_SUM, replace(PING, xattrs=(SELINUX,)), layout)
    violates(chunk(wrong, entry(PING_SUM, PING)), "corrupted file object")


def test_a_symlinks_mode_must_be_0777() -> None:
    violates(
        chunk(link(SH_SUM, SH), entry(SH_SUM, replace(SH, mode=0o755))), "a symlink with the mode 0777, found 0755"
    )


def test_a_symlink_target_that_is_not_utf_8_is_refused() -> None:
    path = object_path("file", SH_SUM)
    tar = chunk(link(SH_SUM, SH), symlink_entry(path, b"\xff", uid=1, gid=2))
    violates(tar, r"the symlink target '\xff' is not UTF-8")


def test_a_file_object_must_not_be_a_hard_link() -> None:
    path = object_path("file", SH_SUM)
    tar = chunk(whole(PING_SUM, PING), link(SH_SUM, SH), link_entry(path, object_path("file", PING_SUM)))
    violates(tar, "expected a file or a symlink, found a hard link")


def test_an_object_twice_in_a_layer_is_refused() -> None:
    violates(chunk(whole(PING_SUM, PING), whole(PING_SUM, PING)), "duplicate object")


def test_a_commit_in_a_chunk_layer_is_refused() -> None:
    violates(chunk(metadata("commit", COMMIT)), "a commit object in a layer that is not the first")


@pytest.mark.parametrize("kind", ["dirtree", "dirmeta", "commitmeta"])
def test_metadata_objects_in_a_chunk_layer_are_refused(kind: str) -> None:
    data = dirmeta_bytes(PLAIN) if kind == "dirmeta" else b"\0"
    violates(chunk(metadata(kind, data)), "a metadata object in a layer that is not the first")


def test_a_repository_file_spelled_in_another_way_is_refused_since_importers_ignore_it() -> None:
    name = long_entry(b"L", b"./" + object_path("file-xattrs-link", PING_SUM).encode())
    head = tarbuilder.Header().attributes(0o644, 0, 0, 0, b"0")
    head.put(0, [b"x"])
    violates(chunk(name, head.finished()), "importers ignore")


def test_format_version_0_is_not_read() -> None:
    violates(chunk(file_entry(f"{REPO}/xattrs/{NO_XATTRS}", b"")), "format version 0")


def test_both_layouts_in_one_layer_are_refused() -> None:
    violates(chunk(whole(PING_SUM, PING), whole(SH_SUM, SH, OSTREE_EXT)), "both layouts in one layer")


# PAX records


def test_missing_pax_records_of_extended_attributes_are_refused() -> None:
    data = file_entry(object_path("file-xattrs-link", PING_SUM), xattrs_bytes(PING.xattrs))
    violates(
        chunk(data, entry(PING_SUM, PING)), "PAX records differ from the object's extended attributes: security.cap"
    )


def test_other_pax_records_of_extended_attributes_are_refused() -> None:
    data = file_entry(object_path("file-xattrs-link", PING_SUM), xattrs_bytes(PING.xattrs))
    for records in (
        [(b"SCHILY.xattr.security.capability", b"other")],
        [(b"SCHILY.xattr.security.capability", CAPABILITY[1]), (b"SCHILY.xattr.user.a", b"")],
        [(b"SCHILY.xattr.security.capability", CAPABILITY[1]), (b"SCHILY.xattr.security.selinux", SELINUX[1])],
    ):
        violates(chunk(data, pax_entry(records), entry(PING_SUM, PING)), "PAX records differ")


def test_pax_records_of_extended_attributes_are_refused_in_the_older_layout() -> None:
    records = pax_entry([(b"SCHILY.xattr.security.capability", CAPABILITY[1])])
    tar = chunk(link(PING_SUM, PING, OSTREE_EXT), records, entry(PING_SUM, PING))
    violates(tar, "PAX records differ")


def test_a_path_with_pax_records_of_extended_attributes_is_refused() -> None:
    records = pax_entry([(b"SCHILY.xattr.user.a", b"1")])
    tar = chunk(whole(PING_SUM, PING), records, hard_link("ping", PING_SUM, PING))
    violates(tar, "which only file objects have", place="ping: ")


# Paths


def test_a_path_links_to_an_object_earlier_in_the_layer() -> None:
    tar = chunk(hard_link("ping", PING_SUM, PING), whole(PING_SUM, PING))
    violates(tar, f"a hard link to the object {PING_SUM}, which is not earlier in this layer", place="ping: ")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("usr/bin/sh", "a hard link to 'usr/bin/sh': expected a file object"),
        (object_path("commit", PING_SUM), "a hard link to a commit object: expected a file object"),
        (f"{REPO}/config", "no object's path"),
    ],
)
def test_a_path_links_to_nothing_but_a_file_object(target: str, message: str) -> None:
    violates(chunk(link_entry("x\n", target)), message, place="x\\n: ")


def test_a_link_that_leads_out_is_refused() -> None:
    head = tarbuilder.Header().attributes(0o644, 0, 0, 0, b"1")
    head.put(0, [b"x"])
    head.put(157, [b"../../etc/passwd"])
    violates(chunk(head.finished()), "leads upwards")


@pytest.mark.parametrize("change", [{"mode": 0o755}, {"uid": 1}, {"gid": 1}])
def test_a_path_has_its_objects_owner_and_mode(change: dict[str, int]) -> None:
    tar = chunk(whole(PING_SUM, PING), hard_link("ping", PING_SUM, replace(PING, **change)))  # type: ignore[arg-type]
    violates(tar, "expected the object's 0:5 4755, found ", place="ping: ")


def test_an_empty_file_follows_the_object_of_an_empty_file() -> None:
    violates(chunk(hard_link("e", EMPTY_SUM, EMPTY)), "does not follow the object of an empty file")
    violates(
        chunk(whole(EMPTY_SUM, EMPTY), whole(PING_SUM, PING), hard_link("e", EMPTY_SUM, EMPTY)),
        "does not follow the object of an empty file",
    )
    violates(
        chunk(whole(EMPTY_SUM, EMPTY), hard_link("e", EMPTY_SUM, replace(EMPTY, uid=0))),
        "expected the object's 3:4 0600, found 0:4 0600",
    )


def test_an_empty_file_is_not_hard_linked() -> None:
    target = object_path("file", EMPTY_SUM)
    violates(chunk(whole(EMPTY_SUM, EMPTY), link_entry("e", target, 0o600, 3, 4)), "expected an empty file")


def test_content_outside_of_the_repository_is_refused() -> None:
    violates(chunk(file_entry("x", b"x")), "content outside of the repository", place="x: ")
    violates(chunk(symlink_entry("x", b"y")), "a symlink outside of the repository", place="x: ")


def test_a_path_twice_in_a_layer_is_refused() -> None:
    path = hard_link("x", PING_SUM, PING)
    violates(chunk(whole(PING_SUM, PING), path, path), "a path twice", place="x: ")


def test_a_whiteout_is_refused() -> None:
    violates(chunk(whole(PING_SUM, PING), hard_link(".wh.x", PING_SUM, PING)), "a whiteout", place=".wh.x: ")


# Directories and the skeleton


def test_the_repositorys_config_is_exact() -> None:
    for config in (b"", CONFIG + b"\n", CONFIG.replace(b"split", b"user")):
        violates(file_entry(f"{REPO}/config", config) + END, "config is not that of an encapsulated image")
    violates(file_entry(f"{REPO}/config", CONFIG, 0o600) + END, "expected 0:0 0644, found 0:0 0600")


def test_the_first_layer_needs_the_repositorys_config() -> None:
    tar = ostree_layer(TREE, COMMIT).replace(file_entry(f"{REPO}/config", CONFIG), b"")
    violates(tar, "missing in the first layer", first=True, place="config")


def test_the_repositorys_directories_are_exact() -> None:
    violates(directory_entry(f"{REPO}/objects/00", 0o777) + END, "expected a repository directory 0:0 0755")
    violates(directory_entry(f"{REPO}/objects/000") + END, "a directory that no repository has")


def test_a_directory_comes_before_what_is_in_it() -> None:
    path = hard_link("usr/bin/ping", PING_SUM, PING)
    violates(
        chunk(directory_entry("usr"), whole(PING_SUM, PING), path),
        "no entry for its parent directory 'usr/bin' before it",
        place="usr/bin/ping: ",
    )
    violates(chunk(directory_entry("usr/bin"), directory_entry("usr")), "no entry for its parent directory 'usr'")


def test_a_directory_twice_in_a_chunk_layer_is_refused() -> None:
    violates(chunk(directory_entry("usr"), directory_entry("usr")), "a directory twice")


def test_the_root_in_a_chunk_layer_is_refused() -> None:
    violates(chunk(directory_entry("./")), "an entry for the root")


# Rules of layer 0 (8.4)


def test_the_first_object_is_the_commit() -> None:
    commit = file_entry(object_path("commit", COMMIT_SUM), COMMIT)
    tar = skeleton() + metadata("dirmeta", dirmeta_bytes(PLAIN)) + commit + END
    violates(tar, "the first object is not the commit", first=True)


def test_the_second_object_is_a_metadata_object() -> None:
    commit = file_entry(object_path("commit", COMMIT_SUM), COMMIT)
    tar = skeleton() + commit + whole(PING_SUM, PING) + END
    violates(tar, "expected a metadata object directly behind the commit", first=True)


def test_a_first_layer_without_a_commit_is_refused() -> None:
    violates(skeleton() + END, "no commit object in the first layer", first=True)


def test_two_commits_are_refused() -> None:
    violates(first_layer(metadata("commit", commit_bytes(TREE, "another"))), "multiple commit objects", first=True)


def test_a_commit_must_have_its_checksum_and_be_one() -> None:
    tar = skeleton() + file_entry(object_path("commit", COMMIT_SUM), COMMIT + b"\0") + END
    problems = check(tar, True).problems
    assert f"corrupted commit object: expected checksum {COMMIT_SUM}" in problems.shown[0]
    problems = check(skeleton() + metadata("commit", b"no commit") + END, True).problems
    assert problems.count == 1


@pytest.mark.parametrize("kind", ["dirtree", "dirmeta"])
def test_directory_objects_must_have_their_checksum(kind: str) -> None:
    tar = first_layer(file_entry(object_path(kind, PING_SUM), dirmeta_bytes(PLAIN)))
    violates(tar, f"corrupted {kind} object: expected checksum {PING_SUM}", first=True)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("dirtree", b""),
        ("dirtree", b"\1"),
        ("dirtree", dirtree_bytes(TREE, "usr") + b"\0"),
        ("dirmeta", b"short"),
        ("dirmeta", dirmeta_bytes(PLAIN)[:8] + bytes.fromhex("000081a4")),
        ("dirmeta", dirmeta_bytes(PLAIN) + b"\0"),
    ],
)
def test_directory_objects_must_be_in_normal_form(kind: str, data: bytes) -> None:
    violates(first_layer(metadata(kind, data)), "", first=True, place=f".{kind}: ")


@pytest.mark.parametrize("kind", ["dirtree", "dirmeta"])
def test_a_directory_object_twice_is_refused(kind: str) -> None:
    data = dirmeta_bytes(Node("directory", 0o700)) if kind == "dirmeta" else b"\0"
    violates(first_layer(metadata(kind, data), metadata(kind, data)), "duplicate object", first=True)


def test_metadata_objects_over_10_mib_are_refused() -> None:
    large = file_entry(object_path("dirtree", PING_SUM), bytes((10 << 20) + 1))
    violates(first_layer(large), "at most 10485760 bytes", first=True)


def test_metadata_objects_are_plain_files() -> None:
    path = object_path("dirtree", tarbuilder.checksum_of(b"\0"))
    violates(first_layer(file_entry(path, b"\0", 0o600)), "expected 0:0 0644, found 0:0 0600", first=True)
    violates(first_layer(symlink_entry(path, b"x")), "expected a file, found a symlink", first=True)


def test_detached_metadata_must_be_the_commits() -> None:
    name = object_path("commitmeta", PING_SUM)
    violates(first_layer(file_entry(name, b"")), "detached metadata of another commit", first=True)


def test_detached_metadata_comes_directly_behind_the_commit() -> None:
    name = object_path("commitmeta", COMMIT_SUM)
    violates(first_layer(file_entry(name, b"")), "not directly behind the commit", first=True)


def test_detached_metadata_must_be_in_normal_form() -> None:
    violates(ostree_layer(TREE, COMMIT, b"no dictionary"), "", first=True, place=".commitmeta: ")


# All layers together


def image_problems(layers: Sequence[LayerContents]) -> ImageContents:
    found = check_image(layers)
    assert found.problems.count > 0
    return found


def test_a_missing_layer_is_noticed() -> None:
    layers = image([CHECKSUMS[:2], CHECKSUMS[2:]])
    shown = image_problems(layers[:2]).problems.shown
    assert f"{CHECKSUMS[2]}.file: no layer has this object" in shown[0]
    assert any("expected" in finding and "found none" in finding for finding in shown)


def test_a_layer_of_another_image_is_noticed() -> None:
    other = {"": PLAIN, "x": Node("file", 0o644, data=b"of another image")}
    layer = check(chunk_layer(other, [file_checksum(other["x"])]))
    found = image_problems([*image([CHECKSUMS]), layer])
    assert found.unreferenced.shown == (f"{file_checksum(other['x'])}.file: not part of the commit",)
    assert found.problems.shown == (f"/x: the layers' entries: expected none, found {file_checksum(other['x'])}",)


def test_an_object_that_no_path_needs_is_reported_apart() -> None:
    extra = Node("file", 0o644, data=b"nobody needs this")
    layer = check(chunk(whole(file_checksum(extra), extra)))
    found = check_image([*image([CHECKSUMS]), layer])
    assert (found.problems.count, found.unreferenced.count) == (0, 1)


@pytest.mark.parametrize("layout", [BOOTC, OSTREE_EXT])
def test_an_object_in_two_layers_is_refused(layout: str) -> None:
    layers = image([CHECKSUMS], layout, 1)
    again = check(chunk(whole(PING_SUM, PING, layout)))
    found = image_problems([*layers, again])
    assert found.problems.shown == (f"{PING_SUM}.file: the object is in several layers, 1 and 2",)


def test_an_object_may_be_in_two_layers_that_each_have_paths_of_it() -> None:
    without = {path: node for path, node in TREE.items() if path != "usr/bin/pong"}
    alone = {path: node for path, node in TREE.items() if path != "usr/bin/ping"}
    layers = [image([])[0], check(chunk_layer(without, CHECKSUMS)), check(chunk_layer(alone, [PING_SUM]))]
    assert check_image(layers).problems.count == 0


def test_a_path_with_another_object_is_noticed() -> None:
    swapped = {**TREE, "usr/bin/ping": TREE["usr/etc/a b\n"]}
    layers = [image([])[0], check(chunk_layer(swapped, CHECKSUMS))]
    shown = image_problems(layers).problems.shown
    assert shown == (f"/usr/bin/ping: the layers' entries: expected {PING_SUM}, found {OTHER_SUM}",)


def test_usr_etc_that_is_not_written_as_etc_is_noticed() -> None:
    layer = check(chunk(whole(OTHER_SUM, PING), link_entry("usr/etc/a b\n", object_path("file", OTHER_SUM))))
    shown = image_problems([image([])[0], layer]).problems.shown
    assert any(finding.startswith(r"/usr/etc/a b\n: the layers' entries: expected none") for finding in shown)


def test_a_missing_metadata_object_is_noticed() -> None:
    data = dirtree_bytes(TREE, "usr/bin")
    tar = ostree_layer(TREE, COMMIT).replace(metadata("dirtree", data), b"")
    shown = image_problems([check(tar, True), *image([CHECKSUMS])[1:]]).problems.shown
    name = f"{tarbuilder.checksum_of(data)}.dirtree"
    assert shown[0] == f"{name}: no such metadata object in the first layer, needed for '/usr/bin'"


def test_content_below_sysroot_lacks_its_objects_as_upstream_writes_it() -> None:
    tree = {**TREE, "sysroot/x": Node("directory", 0o755), "sysroot/x/y": Node("file", 0o644, data=b"y")}
    tars = tarbuilder.encapsulated_layers(tree, commit_bytes(tree), [[*CHECKSUMS, file_checksum(tree["sysroot/x/y"])]])
    found = image_problems([check(tars[0], True), check(tars[1])])
    assert "needed for '/sysroot'" in found.problems.shown[0]


def test_metadata_objects_that_the_commit_does_not_need_are_reported_apart() -> None:
    data = dirmeta_bytes(Node("directory", 0o111))
    tar = ostree_layer(TREE, COMMIT).removesuffix(END) + metadata("dirmeta", data) + END
    found = check_image([check(tar, True), *image([CHECKSUMS])[1:]])
    assert found.problems.count == 0
    assert found.unreferenced.shown == (f"{tarbuilder.checksum_of(data)}.dirmeta: not part of the commit",)


@pytest.mark.parametrize("layout", [BOOTC, OSTREE_EXT])
def test_each_directory_of_the_commit_has_its_entry(layout: str) -> None:
    chunks = image([CHECKSUMS], layout, 1)[1:]
    good = ostree_layer(TREE, COMMIT, layout=layout)
    bin_entry = directory_entry("./usr/bin")
    for changed, message in (
        (b"", "expected 0:0 0755, found none"),
        (directory_entry("./usr/bin", 0o700), "expected 0:0 0755, found 0:0 0700"),
        (directory_entry("./usr/bin", 0o755, 1), "expected 0:0 0755, found 1:0 0755"),
        (bin_entry + directory_entry("./usr/extra"), "expected none, found 0:0 0755"),
    ):
        shown = image_problems([check(good.replace(bin_entry, changed), True), *chunks]).problems.shown
        assert len(shown) == 1
        assert message in shown[0]


@pytest.mark.parametrize(
    ("layout", "in_commit", "entries"),
    [(BOOTC, False, 1), (BOOTC, True, 0), (OSTREE_EXT, False, 1), (OSTREE_EXT, True, 1)],
)
def test_var_tmp_is_there_as_often_as_its_layout_says(layout: str, in_commit: bool, entries: int) -> None:
    tree = {**TREE, "var": PLAIN, "var/tmp": Node("directory", 0o1777)} if in_commit else TREE
    chunks = [check(chunk_layer(tree, CHECKSUMS, layout, 1))]
    good = ostree_layer(tree, commit_bytes(tree), layout=layout)
    added = directory_entry("var/tmp", 0o1777)
    assert check_image([check(good, True), *chunks]).problems.count == 0
    body = good.removesuffix(END).removesuffix(added * entries)
    wrong = body + added * (1 - entries) + END
    shown = image_problems([check(wrong, True), *chunks]).problems.shown
    assert shown[0].startswith("/var/tmp: the first layer's entries: expected ")


@pytest.mark.parametrize("change", [{"mode": 0o711}, {"uid": 7}, {"gid": 7}])
def test_parent_directories_have_the_commits_attributes(change: dict[str, int]) -> None:
    tree = {**TREE, "usr/etc": replace(TREE["usr/etc"], **change)}  # type: ignore[arg-type]
    layer = check(chunk_layer(tree, CHECKSUMS))
    shown = image_problems([image([])[0], layer]).problems.shown
    assert len(shown) == 1
    assert shown[0].startswith("etc: expected the commit's 1:2 0700 in layer 1, found ")


def test_a_parent_directory_that_the_commit_lacks_is_noticed() -> None:
    tar = chunk_layer(TREE, CHECKSUMS).removesuffix(END) + directory_entry("opt") + END
    shown = image_problems([image([])[0], check(tar)]).problems.shown
    assert shown == ("opt: a directory of layer 1 that is not in the commit",)


def test_problems_of_a_layer_are_taken_over_with_its_number() -> None:
    layer = check(chunk(file_entry("x\n", b"x")))
    shown = image_problems([*image([CHECKSUMS]), layer]).problems.shown
    assert shown == ("layer 2: x\\n: content outside of the repository: expected a hard link to an object",)


def test_an_image_without_layers_is_refused() -> None:
    with pytest.raises(MalformedError, match="without layers"):
        check_image([])


def test_an_image_without_a_commit_has_no_tree() -> None:
    assert image_problems([check(skeleton() + END, True)]).tree is None


def test_few_dirtrees_that_name_billions_of_paths_are_refused() -> None:
    meta = dirmeta_bytes(PLAIN)
    raw_meta = bytes.fromhex(tarbuilder.checksum_of(meta))
    dirtree = b"\0"
    entries = metadata("dirmeta", meta) + metadata("dirtree", dirtree)
    for _ in range(40):
        below = bytes.fromhex(tarbuilder.checksum_of(dirtree))
        twins = [tarbuilder.framed(name + b"\0" + below + raw_meta, [34, 2]) for name in (b"a", b"b")]
        dirtree = tarbuilder.framed(tarbuilder.array(twins), [0])
        entries += metadata("dirtree", dirtree)
    body = b"s\0\0" + bytes(5) + bytes(8) + bytes.fromhex(tarbuilder.checksum_of(dirtree)) + raw_meta
    commit = tarbuilder.framed(body, [48, 3, 2, 0, 0, 0])
    tar = skeleton() + metadata("commit", commit) + entries + END
    layer = check(tar, True)
    assert layer.problems.count == 0, layer.problems
    with pytest.raises(LimitError, match="at most 1000 paths"):
        check_image([layer], max_paths=1000)


# Findings


def test_findings_are_bounded_and_counted() -> None:
    found = FindingList()
    for number in range(MAX_SHOWN + 7):
        found.add(f"path {number}\n", "what")
    findings = found.finish()
    assert (len(findings.shown), findings.count) == (MAX_SHOWN, MAX_SHOWN + 7)
    assert findings.shown[0] == "path 0\\n: what"
    with pytest.raises(MalformedError, match="what, and 56 more problems"):
        findings.raise_if_any()
    FindingList().finish().raise_if_any()


def test_a_layer_with_thousands_of_problems_shows_the_first() -> None:
    found = check(chunk(*(file_entry(f"x{number}", b"x") for number in range(2000))))
    assert (len(found.problems.shown), found.problems.count) == (MAX_SHOWN, 2000)
