from __future__ import annotations

import hashlib
import zlib

import pytest

from ostrata.codecs import gvariant, ostree
from ostrata.errors import DigestMismatchError, MalformedError, UnsupportedError
from ostrata.model.ostree import Commit, Dirtree, FileHeader, Variant
from ostrata.model.tree import Attributes

EMPTY_DIRTREE = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
ROOT_DIRMETA = "446a0ef11b7cc167f3b603e585c7eeeeb675faa412d5ec73f62988eb0b6c5488"
PLAIN = Attributes(0o644)
ONE_XATTR = Attributes(0o755, 0, 0, ((b"user.a", b"1"),))

# Made by `ostree commit` of libostree 2022.7.
COMMIT = bytes.fromhex(
    "76657273696f6e00310000730 80d7300".replace(" ", "")
    + "0000000000000000000000006593 7d25".replace(" ", "")
    + "e1e89d332cab528983b1b2aeeac9e376e7c9ffd815aed986499fc4fe69159dce"
    + ROOT_DIRMETA
    + "4011100e0e0e"
)


def checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_objects_have_the_checksums_that_ostree_gives_them() -> None:
    assert checksum(ostree.encode_dirtree(Dirtree((), ()))) == EMPTY_DIRTREE
    assert checksum(ostree.encode_dirmeta(Attributes(0o755))) == ROOT_DIRMETA
    small = Dirtree(
        (("a", "fbf7cf7747e9a2c5e4d5c1b9b6f7e5e0d7fb8d66b2a8e7f6c5d4b3a291807e25"),),
        (("d", EMPTY_DIRTREE, ROOT_DIRMETA),),
    )
    assert ostree.decode_dirtree(ostree.encode_dirtree(small)) == small
    link = FileHeader(Attributes(0o777), "bin/sh")
    assert ostree.file_checksum(link) == "5e65e4ad2bd6dd13665fa8eb7877ec5a9f16672957534932fbdfb1ba7a9c4286"


def test_headers_are_the_bytes_that_ostree_writes() -> None:
    plain = FileHeader(PLAIN)
    assert ostree.encode_file_header(plain).hex() == "0000001200000000" + "0000000000000000000081a4000000000011"
    with_xattr = FileHeader(Attributes(0o644, 0, 0, ((b"user.a", b"1"),)))
    assert ostree.encode_file_header(with_xattr).hex().endswith("00757365722e6100310709" + "11")
    archived = ostree.encode_archive_header(plain, 3) + ostree.deflate(b"hi\n", 6)
    assert (
        archived.hex()
        == "0000001a00000000" + "0000000000000003" + "00" * 8 + "000081a400000000" + "0019" + "cbc8e40200"
    )
    assert ostree.decode_archive_header(archived) == (plain, 3, 34)
    assert zlib.decompress(archived[34:], -15) == b"hi\n"


def test_a_commit_of_ostree_is_read_and_written_back() -> None:
    commit = ostree.decode_commit(COMMIT)
    assert (commit.subject, commit.body, commit.timestamp, commit.parent) == ("s", "", 0x65937D25, None)
    assert commit.metadata == {"version": Variant("s", "1")}
    assert ostree.encode_commit(commit) == COMMIT
    assert checksum(COMMIT) == "3581e8d1938bfe7ee77052bcbf74d8e880c6aeae4f080d0402fc3254d9bc5006"


def test_a_commit_keeps_the_order_of_its_metadata() -> None:
    metadata = {"z": Variant("s", "1"), "a": Variant("b", True), "m": Variant("as", ["x", "y"])}
    commit = Commit(EMPTY_DIRTREE, ROOT_DIRMETA, 1 << 40, "süß", "body\n", EMPTY_DIRTREE, metadata)
    copy = ostree.decode_commit(ostree.encode_commit(commit))
    assert copy == commit
    assert list(copy.metadata) == ["z", "a", "m"]


@pytest.mark.parametrize(
    "data",
    [
        ostree.encode_dirmeta(ONE_XATTR),
        ostree.encode_dirtree(
            Dirtree((("é", EMPTY_DIRTREE), ("ü", ROOT_DIRMETA)), (("z", EMPTY_DIRTREE, ROOT_DIRMETA),))
        ),
        COMMIT,
    ],
)
def test_every_flipped_byte_of_a_metadata_object_is_noticed(data: bytes) -> None:
    named = checksum(data)
    for position in range(len(data)):
        damaged = data[:position] + bytes([data[position] ^ 0x41]) + data[position + 1 :]
        with pytest.raises(DigestMismatchError, match=f"expected checksum {named}"):
            ostree.verify("commit", named, damaged)
        for decode in (ostree.decode_commit, ostree.decode_dirtree, ostree.decode_dirmeta):
            try:
                decode(damaged)
            except (MalformedError, UnsupportedError):
                continue


def _dirtree_of(names: list[bytes]) -> bytes:
    """A dirtree of files with these names as they are, in normal form but for what the names break."""
    elements = [gvariant.with_offsets(name + b"\0" + bytes(32), [len(name) + 1]) for name in names]
    body = b"".join(elements)
    ends = [sum(map(len, elements[: i + 1])) for i in range(len(elements))]
    files = gvariant.with_offsets(body, ends)
    return gvariant.with_offsets(files, [len(files)])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([b".."], "is not a file name"),
        ([b"."], "is not a file name"),
        ([b"a/b"], "is not a file name"),
        ([b"a\0b"], "is not a file name"),
        ([b""], "terminated name"),
        ([b"b", b"a"], "not sorted"),
        ([b"a", b"a"], "not sorted"),
        ([b"\xff"], r"'\\xff' is not UTF-8"),
    ],
)
def test_a_dirtree_with_bad_names_is_refused(names: list[bytes], message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        ostree.decode_dirtree(_dirtree_of(names))


def test_a_name_is_a_file_or_a_directory_not_both() -> None:
    both = Dirtree((("a", EMPTY_DIRTREE),), (("a", EMPTY_DIRTREE, ROOT_DIRMETA),))
    with pytest.raises(MalformedError, match="both as a file and as a directory"):
        ostree.decode_dirtree(ostree.encode_dirtree(both))


@pytest.mark.parametrize("length", [1, 120, 189, 190, 221, 222, 223, 255])
def test_names_of_every_length_keep_their_offsets(length: int) -> None:
    tree = Dirtree(
        (("f" * length, EMPTY_DIRTREE),),
        (("d" * length, EMPTY_DIRTREE, ROOT_DIRMETA), ("e", ROOT_DIRMETA, ROOT_DIRMETA)),
    )
    assert ostree.decode_dirtree(ostree.encode_dirtree(tree)) == tree


@pytest.mark.parametrize("mode", [0o100755, 0o040755 | 0o200000, 0])
def test_a_dirmeta_that_is_no_directory_is_refused(mode: int) -> None:
    with pytest.raises(MalformedError, match="expected a directory's"):
        ostree.decode_dirmeta(bytes(8) + mode.to_bytes(4, "big"))


@pytest.mark.parametrize(
    "pairs",
    [
        [(b"user.b\0", b""), (b"user.a\0", b"")],
        [(b"user.a\0", b"1"), (b"user.a\0", b"2")],
        [(b"\0", b"")],
        [(b"user.a", b"")],
        [(b"a\0b\0", b"")],
    ],
)
def test_unsorted_repeated_or_unterminated_xattrs_are_refused(pairs: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(MalformedError):
        ostree.decode_xattrs(gvariant.encode("a(ayay)", pairs))


LABEL_BEHIND = [(b"user.a\0", b"1"), (b"security.selinux\0", b"a:b:c\0")]
"""As libostree stores a label that it just gave."""


def test_a_file_object_whose_xattrs_are_stored_in_any_order_has_the_checksum_of_the_sorted_ones() -> None:
    stored = gvariant.encode("a(ayay)", LABEL_BEHIND)
    header = ostree.file_header(0, 0, 0o100644, stored, "")
    assert [name for name, _ in header.attributes.xattrs] == [b"security.selinux", b"user.a"]
    archived = ostree.encode_archive_header(header, 5)
    unsorted = archived.replace(ostree.encode_xattrs(header.attributes.xattrs), stored)
    assert unsorted != archived
    assert ostree.decode_archive_header(unsorted + b"more") == (header, 5, len(archived))


def test_even_a_file_object_has_no_xattr_twice() -> None:
    stored = gvariant.encode("a(ayay)", [*LABEL_BEHIND, LABEL_BEHIND[0]])
    with pytest.raises(MalformedError, match="repeated"):
        ostree.file_header(0, 0, 0o100644, stored, "")


@pytest.mark.parametrize("mode", [0o040644, 0o060644, 0o120777 | 0o200000])
def test_a_file_object_of_another_type_is_refused(mode: int) -> None:
    with pytest.raises(MalformedError, match="expected a regular file's or a symlink's"):
        ostree.file_header(0, 0, mode, b"", "")


def test_a_target_belongs_to_a_symlink_and_to_nothing_else() -> None:
    with pytest.raises(MalformedError, match="symlink"):
        ostree.file_header(0, 0, 0o120777, b"", "")
    with pytest.raises(MalformedError, match="symlink"):
        ostree.file_header(0, 0, 0o100644, b"", "target")


def test_an_archived_header_is_refused_wherever_it_is_cut() -> None:
    head = ostree.encode_archive_header(FileHeader(ONE_XATTR, "target"), 0)
    for length in range(len(head)):
        with pytest.raises(MalformedError):
            ostree.decode_archive_header(head[:length])
