"""What importers ask of a layer: each broken rule ends the reading with its own message; all else is passed over."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

import tarbuilder
from layer_images import tar_image
from ostrata.codecs.tar_reader import Content, read_members
from ostrata.errors import LimitError, MalformedError, UnsupportedError
from ostrata.formats import encapsulated_reader
from ostrata.formats.encapsulated_reader import ViolationError, encapsulated_layers, read_layer
from ostrata.model.ostree import FileHeader
from ostrata.pipeline.places import open_image
from tarbuilder import (
    BOOTC,
    END,
    OSTREE_EXT,
    REPO,
    Node,
    checksum_of,
    chunk_layer,
    commit_bytes,
    directory_entry,
    dirmeta_bytes,
    file_checksum,
    file_entry,
    link_entry,
    object_entry,
    object_path,
    ostree_layer,
    path_entry,
    skeleton,
    symlink_entry,
    walk,
    xattrs_bytes,
    xattrs_entries,
)

SELINUX = (b"security.selinux", b"system_u:object_r:bin_t:s0\0")
CAPABILITY = (b"security.capability", b"\1\0\0\2\0\n\0=")
TREE = {
    "": Node("directory", 0o755),
    "usr": Node("directory", 0o755, xattrs=(SELINUX,)),
    "usr/bin": Node("directory", 0o755),
    "usr/bin/ping": Node("file", 0o4755, 0, 5, (CAPABILITY, SELINUX), b"an ELF"),
    "usr/bin/sh": Node("symlink", 0o777, 1, 2, (SELINUX,), b"da sh\n"),
    "usr/etc": Node("directory", 0o700, 1, 2),
    "usr/etc/a b\n": Node("file", 0o644, 3_000_000, 0, (), b"x" * 1000),
    "usr/etc/empty": Node("file", 0o600, 3, 4),
}
COMMIT = commit_bytes(TREE)
COMMIT_SUM = checksum_of(COMMIT)
CHECKSUMS = sorted({file_checksum(TREE[path]) for path in walk(TREE)})
PING, SH = TREE["usr/bin/ping"], TREE["usr/bin/sh"]
PING_SUM, SH_SUM = file_checksum(PING), file_checksum(SH)
NO_XATTRS = checksum_of(b"")


@dataclass
class Kept:
    """A receiver that keeps everything, and ends at the first violation."""

    files: dict[str, tuple[FileHeader, bytes]] = field(default_factory=dict)
    metadata_objects: list[tuple[str, str, bytes]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def announce(self, checksum: str, header: FileHeader, size: int) -> None:
        pass

    def file(self, checksum: str, header: FileHeader, size: int, content: Content) -> str:
        data = b"".join(content)
        assert len(data) == size
        self.files[checksum] = header, data
        node = Node("symlink" if header.target is not None else "file", header.attributes.mode)
        node = replace(node, uid=header.attributes.uid, gid=header.attributes.gid, xattrs=header.attributes.xattrs)
        return file_checksum(replace(node, data=data if header.target is None else header.target.encode()))

    def metadata(self, kind: str, checksum: str, data: bytes) -> None:
        self.metadata_objects.append((kind, checksum, data))

    def violation(self, place: str, what: str) -> None:
        raise ViolationError(what, where=place)

    def remark(self, place: str, what: str) -> None:
        self.remarks.append(what)


def read(tar: bytes, first: bool = False) -> Kept:
    kept = Kept()
    read_layer([tar[start : start + 700] for start in range(0, len(tar), 700)], kept, first=first)
    return kept


def link(checksum: str, node: Node, layout: str = BOOTC) -> bytes:
    return xattrs_entries(checksum, node, layout, set())


def entry(checksum: str, node: Node) -> bytes:
    return object_entry(checksum, node)[0]


def whole(checksum: str, node: Node, layout: str = BOOTC) -> bytes:
    return link(checksum, node, layout) + entry(checksum, node)


def metadata(kind: str, data: bytes) -> bytes:
    return file_entry(object_path(kind, checksum_of(data)), data)


def chunk(*entries: bytes) -> bytes:
    return skeleton() + b"".join(entries) + END


def first_layer(*entries: bytes) -> bytes:
    head = skeleton() + file_entry(object_path("commit", COMMIT_SUM), COMMIT)
    return head + metadata("dirmeta", dirmeta_bytes(TREE[""])) + b"".join(entries) + END


# What is read


@pytest.mark.parametrize(("layout", "version"), [(BOOTC, 1), (BOOTC, 2), (OSTREE_EXT, 1)])
def test_every_object_is_handed_on(layout: str, version: int) -> None:
    kept = read(chunk_layer(TREE, CHECKSUMS, layout, version))
    assert sorted(kept.files) == CHECKSUMS
    assert kept.files[PING_SUM][1] == PING.data
    assert kept.files[PING_SUM][0].attributes.xattrs == PING.xattrs
    assert kept.files[SH_SUM][0].target == SH.data.decode()
    assert kept.remarks == []


@pytest.mark.parametrize("layout", [BOOTC, OSTREE_EXT])
def test_the_metadata_objects_come_in_the_layers_order(layout: str) -> None:
    detached = bytes.fromhex("6b00 000000000000 7600 0073 02 0d")
    kept = read(ostree_layer(TREE, COMMIT, detached, layout), first=True)
    assert kept.metadata_objects[:2] == [("commit", COMMIT_SUM, COMMIT), ("commitmeta", COMMIT_SUM, detached)]
    assert {kind for kind, _, _ in kept.metadata_objects[2:]} == {"dirtree", "dirmeta"}


@pytest.mark.parametrize(
    ("form", "layout"),
    [
        (tarfile.USTAR_FORMAT, BOOTC),  # which has no room for the links of the other layout
        (tarfile.GNU_FORMAT, BOOTC),
        (tarfile.GNU_FORMAT, OSTREE_EXT),
        (tarfile.PAX_FORMAT, BOOTC),
        (tarfile.PAX_FORMAT, OSTREE_EXT),
    ],
)
def test_other_writers_headers_are_read(form: int, layout: str) -> None:
    checksums = [
        each for each in CHECKSUMS if form != tarfile.USTAR_FORMAT or each != file_checksum(TREE["usr/etc/a b\n"])
    ]
    tar = rewritten(chunk_layer(TREE, checksums, layout), form)
    assert sorted(read(tar).files) == checksums


def rewritten(tar: bytes, form: int) -> bytes:
    """The same entries as Python's own writer puts them."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(tar)) as source, tarfile.open(fileobj=out, mode="w", format=form) as target:
        for member in source:
            if member.isfile() and not member.name.startswith(REPO) and form == tarfile.USTAR_FORMAT:
                continue
            member.pax_headers = member.pax_headers if form == tarfile.PAX_FORMAT else {}
            target.addfile(member, source.extractfile(member) if member.isfile() else None)
    return out.getvalue()


def test_what_importers_do_not_look_at_is_passed_over() -> None:
    no_importer_cares = (
        file_entry(f"{REPO}/config", b"of another kind", 0o600),
        file_entry(f"{REPO}/refs/heads/a", b"x"),
        file_entry(f"{REPO}/unknown", b"x"),
        file_entry("usr/.wh.x", b""),
        link_entry("usr/x", "somewhere/else"),
        directory_entry("usr", 0o777),
        symlink_entry("usr/y", b"z"),
    )
    assert list(read(chunk(*no_importer_cares, whole(PING_SUM, PING))).files) == [PING_SUM]
    assert list(read(whole(PING_SUM, PING) + END).files) == [PING_SUM]


def test_files_with_another_spelling_are_passed_over() -> None:
    head = tarbuilder.Header().attributes(0o644, 0, 0, 1, b"0")
    head.put(0, [b"./" + object_path("file", PING_SUM).encode()[:90]])
    assert read(chunk(head.finished() + b"x".ljust(512, b"\0"))).files == {}


def test_what_writers_do_alike_is_remarked_only() -> None:
    data = xattrs_bytes(PING.xattrs)
    without_pax = file_entry(object_path("file-xattrs-link", PING_SUM), data, 0o600) + entry(PING_SUM, PING)
    kept = read(chunk(without_pax, link(SH_SUM, SH), entry(SH_SUM, replace(SH, mode=0o755))))
    assert sorted(kept.files) == sorted([PING_SUM, SH_SUM])
    assert [remark.split(",")[0] for remark in kept.remarks] == [
        "expected 0:0 0644",
        "the PAX records differ from the object's extended attributes: security.capability",
        "expected a symlink with the mode 0777",
    ]
    both = read(chunk(whole(PING_SUM, PING), whole(SH_SUM, SH, OSTREE_EXT)))
    assert both.remarks == ["both layouts in one layer: bootc and ostree-ext-0.15"]


# Broken rules (section 8.3)

XATTRS_AT_END = chunk(
    link_entry(object_path("file-xattrs-link", PING_SUM), object_path("file-xattrs", NO_XATTRS)),
    file_entry(object_path("file-xattrs", NO_XATTRS), b""),
)
VIOLATIONS = {
    "no object's path": (chunk(file_entry(f"{REPO}/objects/x", b"")), "no object's path"),
    "a checksum that is none": (
        chunk(file_entry(f"{REPO}/objects/zz/{PING_SUM[2:]}.file", b"")),
        "invalid checksum part",
    ),
    "a type that is none": (
        chunk(file_entry(f"{REPO}/objects/{PING_SUM[:2]}/{PING_SUM[2:]}.filez", b"")),
        "invalid object type",
    ),
    "no xattrs before": (chunk(entry(PING_SUM, PING)), "missing xattrs reference"),
    "xattrs of another": (chunk(link(SH_SUM, SH), entry(PING_SUM, PING)), "object mismatch: found xattrs for"),
    "two links in a row": (chunk(link(SH_SUM, SH), whole(PING_SUM, PING)), "found previous dangling xattrs"),
    "a link at the end": (chunk(link(SH_SUM, SH)), "dangling xattrs for this file object at the end"),
    "xattrs that come later": (XATTRS_AT_END, "failed to find xattrs content"),
    "a link to no xattrs": (
        chunk(link_entry(object_path("file-xattrs-link", SH_SUM), object_path("file", PING_SUM))),
        "expected file-xattrs",
    ),
    "xattrs of another checksum": (
        chunk(file_entry(object_path("file-xattrs", NO_XATTRS), xattrs_bytes([SELINUX]))),
        "corrupted file-xattrs object",
    ),
    "xattrs twice": (
        chunk(*[file_entry(object_path("file-xattrs", NO_XATTRS), b"")] * 2),
        "extended attributes twice",
    ),
    "xattrs that are too large": (chunk(metadata("file-xattrs", bytes((1 << 20) + 1))), "at most 1048576 bytes"),
    "another content": (
        chunk(link(PING_SUM, PING), entry(PING_SUM, replace(PING, data=b"an elf"))),
        f"corrupted file object: expected checksum {PING_SUM}",
    ),
    "another owner": (chunk(link(PING_SUM, PING), entry(PING_SUM, replace(PING, gid=6))), "corrupted file object"),
    "another mode": (chunk(link(PING_SUM, PING), entry(PING_SUM, replace(PING, mode=0o755))), "corrupted file object"),
    "another target": (chunk(link(SH_SUM, SH), entry(SH_SUM, replace(SH, data=b"dash"))), "corrupted file object"),
    "other xattrs": (
        chunk(link(PING_SUM, replace(PING, xattrs=(SELINUX,))), entry(PING_SUM, PING)),
        "corrupted file object",
    ),
    "an object twice": (chunk(*[whole(PING_SUM, PING)] * 2), "duplicate object"),
    "a hard link as an object": (
        chunk(link(SH_SUM, SH), link_entry(object_path("file", SH_SUM), object_path("file", PING_SUM))),
        "expected a file or a symlink, found a hard link",
    ),
    "a commit in a chunk": (chunk(metadata("commit", COMMIT)), "a commit object in a layer that is not the first"),
    "a dirtree in a chunk": (chunk(metadata("dirtree", b"\0")), "a metadata object in a layer that is not the first"),
    "a dirmeta in a chunk": (
        chunk(metadata("dirmeta", dirmeta_bytes(TREE[""]))),
        "a metadata object in a layer that is not the first",
    ),
    "detached metadata in a chunk": (
        chunk(file_entry(object_path("commitmeta", COMMIT_SUM), b"")),
        "a metadata object in a layer that is not the first",
    ),
    "a symlink as a link": (
        chunk(symlink_entry(object_path("file-xattrs-link", SH_SUM), b"x")),
        "expected a file or a hard link, found a symlink",
    ),
    "a link that is too large": (
        chunk(file_entry(object_path("file-xattrs-link", SH_SUM), bytes((1 << 20) + 1))),
        "extended attributes of at most 1048576 bytes",
    ),
    "a link that holds no xattrs": (
        chunk(file_entry(object_path("file-xattrs-link", SH_SUM), b"none"), entry(SH_SUM, SH)),
        "a GVariant array's offsets",
    ),
    "a link that leads out": (
        chunk(link_entry(object_path("file-xattrs-link", SH_SUM), "../" + object_path("file-xattrs", NO_XATTRS))),
        "leads upwards",
    ),
    "xattrs that are no file": (
        chunk(symlink_entry(object_path("file-xattrs", NO_XATTRS), b"x")),
        "expected a file, found a symlink",
    ),
    "xattrs that are none": (chunk(metadata("file-xattrs", b"none")), "a GVariant array's offsets"),
    "format version 0": (chunk(file_entry(f"{REPO}/xattrs/{NO_XATTRS}", b"")), "format version 0"),
    "a target that is not UTF-8": (
        chunk(link(SH_SUM, SH), symlink_entry(object_path("file", SH_SUM), b"\xff")),
        "is not UTF-8",
    ),
}
FIRST_VIOLATIONS = {
    "no commit": (skeleton() + END, "no commit object in the first layer"),
    "a commit that is not first": (
        skeleton() + metadata("dirmeta", dirmeta_bytes(TREE[""])) + END,
        "the first object is not the commit",
    ),
    "content behind the commit": (
        skeleton() + metadata("commit", COMMIT) + whole(PING_SUM, PING) + END,
        "expected a metadata object directly behind the commit",
    ),
    "two commits": (first_layer(metadata("commit", commit_bytes(TREE, "another"))), "found multiple commit objects"),
    "a commit of another checksum": (
        skeleton() + file_entry(object_path("commit", PING_SUM), COMMIT) + END,
        "corrupted commit object",
    ),
    "no commit in the commit": (skeleton() + metadata("commit", b"no commit") + END, "a GVariant member lies outside"),
    "a dirtree of another checksum": (
        first_layer(file_entry(object_path("dirtree", PING_SUM), b"\0")),
        "corrupted dirtree object",
    ),
    "a dirtree not in normal form": (first_layer(metadata("dirtree", b"\1")), "not in normal form"),
    "a dirmeta that is none": (first_layer(metadata("dirmeta", b"short")), "a dirmeta object of 5 bytes"),
    "a dirtree twice": (first_layer(*[metadata("dirtree", b"\0")] * 2), "duplicate object"),
    "metadata that is too large": (first_layer(metadata("dirtree", bytes((10 << 20) + 1))), "at most 10485760 bytes"),
    "metadata that is no file": (
        first_layer(symlink_entry(object_path("dirtree", PING_SUM), b"x")),
        "expected a file, found a symlink",
    ),
    "detached metadata of another commit": (
        first_layer(file_entry(object_path("commitmeta", PING_SUM), b"")),
        "detached metadata of another commit",
    ),
    "detached metadata twice": (
        first_layer(*[file_entry(object_path("commitmeta", COMMIT_SUM), b"")] * 2),
        "detached metadata twice",
    ),
    "detached metadata that is none": (
        first_layer(file_entry(object_path("commitmeta", COMMIT_SUM), b"none")),
        "a GVariant array's offsets",
    ),
}


@pytest.mark.parametrize("case", VIOLATIONS)
def test_each_broken_rule_of_a_chunk_layer_ends_the_reading(case: str) -> None:
    tar, message = VIOLATIONS[case]
    with pytest.raises(ViolationError) as caught:
        read(tar)
    assert message in caught.value.what
    assert caught.value.places


@pytest.mark.parametrize("case", FIRST_VIOLATIONS)
def test_each_broken_rule_of_the_first_layer_ends_the_reading(case: str) -> None:
    tar, message = FIRST_VIOLATIONS[case]
    with pytest.raises(ViolationError) as caught:
        read(tar, first=True)
    assert message in caught.value.what
    assert caught.value.places


def test_a_damaged_tar_ends_the_reading_and_names_the_entry() -> None:
    other = TREE["usr/etc/a b\n"]
    tar = skeleton() + whole(file_checksum(other), other)
    with pytest.raises(MalformedError, match=rf"{file_checksum(other)[2:]}.file: offset \d+: the tar ends within"):
        read(tar[:-700])


def test_an_error_in_a_header_of_a_path_that_is_passed_over_counts() -> None:
    broken = bytearray(path_entry("usr/bin/ping", PING_SUM, PING, object_entry(PING_SUM, PING)[1]))
    broken[0] ^= 1
    with pytest.raises(MalformedError, match="checksum"):
        read(chunk(whole(PING_SUM, PING), bytes(broken)))


def test_shared_xattrs_that_fill_the_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encapsulated_reader, "MAX_SHARED_XATTRS", 100)
    attributes = [xattrs_bytes([(b"user.%d" % number, b"x" * 30)]) for number in range(4)]
    with pytest.raises(LimitError, match="at most 100 bytes in a layer"):
        read(chunk(*(metadata("file-xattrs", data) for data in attributes)))


def test_too_many_objects_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encapsulated_reader, "MAX_OBJECTS", 3)
    with pytest.raises(LimitError, match="at most 3 objects in a layer"):
        read(chunk(whole(PING_SUM, PING), whole(SH_SUM, SH)))


def test_the_tarbuilders_layers_are_tars() -> None:
    assert sum(1 for _ in read_members([chunk_layer(TREE, CHECKSUMS)])) > 268


# Which layers


def layers_of(path: Path, **options: object) -> int:
    tars = [skeleton() + b"".join([file_entry(f"x{number}", b"")]) + END for number in range(4)]
    image = tar_image(path, tars, **options)  # type: ignore[arg-type]
    return encapsulated_layers(open_image(image.reference)[1])


def test_the_label_says_which_layer_is_the_last_of_the_commit(tmp_path: Path) -> None:
    assert layers_of(tmp_path / "a") == 4
    assert layers_of(tmp_path / "b", encapsulated=3) == 3
    assert layers_of(tmp_path / "c", encapsulated=1) == 1


def test_a_label_that_names_no_layer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedError, match=r"no layer has the diff_id of the label .*: expected sha256:ff"):
        layers_of(tmp_path, labels={"ostree.final-diffid": "sha256:ff"})


def test_an_image_without_the_label_has_no_commit(tmp_path: Path) -> None:
    image = tar_image(tmp_path, [END])
    del image.config["config"]["Labels"]["ostree.final-diffid"]
    image.write()
    with pytest.raises(UnsupportedError, match="no OSTree commit is encapsulated"):
        encapsulated_layers(open_image(image.reference)[1])


def test_a_last_layer_that_comes_twice_is_refused_as_upstream_does(tmp_path: Path) -> None:
    tars = [skeleton() + END, skeleton() + file_entry("x", b"") + END]
    image = tar_image(tmp_path, [*tars, tars[1]], encapsulated=2)
    with pytest.raises(MalformedError, match="multiple entries for the last encapsulated layer"):
        encapsulated_layers(open_image(image.reference)[1])
