"""What a build keeps for the next one: found again for the same file, and for no other."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ostrata.codecs import ostree
from ostrata.errors import UnsupportedError
from ostrata.model.digest import Digest
from ostrata.model.image import Descriptor
from ostrata.model.ostree import FileHeader
from ostrata.model.tree import Attributes, Leaf, RegularFile, Symlink, Tree
from ostrata.pipeline.build_cache import TICKS, BuildCache
from ostrata.sources.directory import split_key
from ostrata.stores.blobs import BlobDirectory
from ostrata.stores.oci_layout import OciLayout

OLD = 1_000_000_007
PLAIN = Attributes(0o644)
NOTHING = Tree({})
SUM = "0123456789abcdef" * 4


def state(inode: int, *, size: int = 5, modified: int = OLD, changed: int = OLD) -> str:
    return f"fe00:{inode:x}:{size:x}:{modified:x}:{changed:x}"


def file(inode: int, attributes: Attributes = PLAIN) -> RegularFile:
    return RegularFile(attributes, 5, f"{state(inode)}/f{inode}")


def find(cache: BuildCache, entry: Leaf) -> str | None:
    return cache.find_files(Tree({"x": entry})).get("x")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    return tmp_path / "cache"


def opened(cache: Path) -> BuildCache:
    return BuildCache(str(cache), str(cache.parent / "source"))


def keep(cache: Path, entries: Mapping[str, Leaf], source: Mapping[str, Leaf] | None = None) -> None:
    """A build that finds nothing in the cache but what it should."""
    one = opened(cache)
    known = one.find_files(Tree(dict(entries)))
    checksums = {path: known.get(path, SUM) for path in entries}
    there = {split_key(entry.content)[1]: entry for entry in (source or entries).values()}
    one.keep_files(Tree(dict(there)), checksums)
    one.write()


def test_a_file_is_known_by_state_size_and_attributes(cache: Path) -> None:
    entry = file(1)
    keep(cache, {"a": entry})
    known = opened(cache)
    assert find(known, entry) == SUM
    assert find(known, replace(entry, content=f"{state(1)}/elsewhere")) == SUM  # the path is no part of it
    assert find(known, replace(entry, attributes=Attributes(0o644, mtime=7))) == SUM  # nor is a time of the entry
    for other in (
        replace(entry, content=f"{state(1, size=6)}/f", size=6),
        replace(entry, content=file(2).content),
        replace(entry, content=f"{state(1, changed=OLD + 1)}/f"),
        replace(entry, content=f"{state(1, modified=OLD + 1)}/f"),
        replace(entry, attributes=Attributes(0o755)),
        replace(entry, attributes=Attributes(0o644, 1)),
        replace(entry, attributes=Attributes(0o644, 0, 1)),
        replace(entry, attributes=Attributes(0o644, xattrs=((b"user.x", b"1"),))),
    ):
        assert find(known, other) is None


def test_what_is_not_found_any_more_is_forgotten(cache: Path) -> None:
    keep(cache, {"a": file(1), "b": file(2)})
    keep(cache, {"b": file(2), "c": file(3)})
    known = opened(cache)
    assert [find(known, file(inode)) for inode in (1, 2, 3)] == [None, SUM, SUM]


def test_files_without_attributes_are_told_by_what_the_source_has(cache: Path) -> None:
    labelled = Attributes(0o644, xattrs=((b"security.selinux", b"label"),))
    bare, marked = file(1), file(2, attributes=labelled)
    fitted = replace(bare, attributes=labelled)  # a step set its label: the file itself has none
    keep(cache, {"a": fitted, "b": marked}, {"a": bare, "b": marked})
    assert opened(cache).bare_files() == {state(1)}
    assert find(opened(cache), fitted) == SUM


def test_a_file_that_was_changed_just_now_is_not_kept(cache: Path) -> None:
    (cache.parent / "now").write_text("")
    now = os.stat(cache.parent / "now").st_mtime_ns
    for times in ({"changed": now}, {"modified": now - TICKS // 2}, {"modified": now + 10 * TICKS}):
        young = RegularFile(Attributes(0o644), 5, f"{state(1, **times)}/f")
        keep(cache, {"a": young, "b": file(2)})
        assert (find(opened(cache), young), find(opened(cache), file(2))) == (None, SUM)


def test_symlinks_are_known_as_files_are(cache: Path) -> None:
    link = Symlink(PLAIN, "target", f"{state(1)}/link")
    keep(cache, {"a": link})
    assert find(opened(cache), link) == SUM
    assert find(opened(cache), replace(link, attributes=Attributes(0o644, 1))) is None
    assert opened(cache).bare_files() == {state(1)}


def test_content_that_a_step_made_is_not_kept(cache: Path) -> None:
    made = RegularFile(Attributes(0o644), 5, f"made:{SUM}")
    keep(cache, {"a": made})
    assert find(opened(cache), made) is None
    assert not cache.exists()


def test_nothing_new_is_not_written(cache: Path) -> None:
    keep(cache, {"a": file(1)})
    before = os.stat(cache).st_ino
    keep(cache, {"a": file(1)})
    assert os.stat(cache).st_ino == before
    keep(cache, {})
    assert os.stat(cache).st_ino != before


def test_a_few_new_files_are_added_and_many_old_ones_dropped(cache: Path) -> None:
    many = {f"{number}": file(number) for number in range(1, 33)}
    keep(cache, many)
    before = cache.read_bytes()
    changed = {**many, "1": file(99)}
    keep(cache, changed)
    assert cache.read_bytes().startswith(before)
    assert opened(cache).find_files(Tree(dict(changed))) == dict.fromkeys(changed, SUM)
    with cache.open("ab") as added:
        added.write(b"cut off in the mid")  # the machine went down
    keep(cache, {**changed, "2": file(98)})
    assert (find(opened(cache), file(98)), find(opened(cache), file(99))) == (SUM, SUM)
    few = {"a": file(98), "b": file(99)}
    keep(cache, few)
    assert cache.read_text().count("\n") == 3
    assert opened(cache).find_files(Tree(dict(few))) == dict.fromkeys(few, SUM)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-2],
        lambda text: text.replace(SUM, SUM.upper()),
        lambda text: text.replace(SUM, SUM[1:]),
        lambda text: text.replace(" -", " -0"),
        lambda text: text.replace(" -", " "),
        lambda text: text.replace("checksums 3", "checksums 2"),
        lambda text: text.replace(f"of user {os.geteuid()}", "of user 4711"),
        lambda text: text.replace(" with", " whatever", 1),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.split("\n")[0],
        lambda text: text + "\0\xff\n",
    ],
)
def test_what_cannot_be_read_is_not_known(cache: Path, damage: object) -> None:
    keep(cache, {"a": file(1)})
    text = cache.read_text()
    damaged = damage(text)  # type: ignore[operator]
    cache.write_bytes(damaged.encode("latin-1"))
    assert find(opened(cache), file(1)) == (SUM if damaged.startswith(text) else None)
    keep(cache, {"a": file(1)})
    assert find(opened(cache), file(1)) == SUM


def test_without_a_path_nothing_is_known_or_kept() -> None:
    one = BuildCache()
    assert find(one, file(1)) is None
    one.keep_files(Tree({"f1": file(1)}), {"a": SUM})
    one.write()
    assert (find(one, file(1)), one.bare_files()) == (None, frozenset())


def test_the_key_of_a_header_is_its_hash(cache: Path) -> None:
    """Two headers that a careless key would take for one."""
    one, two = Attributes(0o644, 1, 11), Attributes(0o644, 11, 1)
    assert ostree.encode_file_header(FileHeader(one)) != ostree.encode_file_header(FileHeader(two))
    keep(cache, {"a": file(1, attributes=one)})
    assert find(opened(cache), file(1, attributes=two)) is None


def blob(layout: Path, data: bytes) -> Descriptor:
    directory = layout / "blobs/sha256"
    directory.mkdir(parents=True, exist_ok=True)
    digest = Digest.of(data)
    (directory / digest.encoded).write_bytes(data)
    return Descriptor("", digest, len(data))


def test_a_blob_is_known_until_it_is_written_to(cache: Path, tmp_path: Path) -> None:
    descriptor = blob(tmp_path / "image", b"data")
    path = tmp_path / "image/blobs/sha256" / descriptor.digest.encoded
    store = OciLayout(str(tmp_path / "image"))
    one = opened(cache)
    assert not one.is_whole(store, descriptor)
    one.keep_blobs(BlobDirectory(str(path.parent)), [descriptor.digest])
    one.write()
    assert not opened(cache).is_whole(store, descriptor)  # a build that has hashed nothing has made no image either
    one.keep_files(NOTHING, {})
    one.write()
    assert opened(cache).is_whole(store, descriptor)
    os.link(path, tmp_path / "link")  # as whoever takes it over does
    assert opened(cache).is_whole(store, descriptor)
    assert not opened(cache).is_whole(store, replace(descriptor, digest=Digest.of(b"other")))
    path.write_bytes(b"lies")
    assert not opened(cache).is_whole(store, descriptor)


def test_a_blob_that_is_gone_is_not_known(cache: Path, tmp_path: Path) -> None:
    descriptor = blob(tmp_path / "image", b"data")
    directory = tmp_path / "image/blobs/sha256"
    one = opened(cache)
    (directory / descriptor.digest.encoded).unlink()
    one.keep_files(NOTHING, {})
    one.keep_blobs(BlobDirectory(str(directory)), [descriptor.digest])
    one.write()
    assert not opened(cache).is_whole(OciLayout(str(tmp_path / "image")), descriptor)


def test_a_file_of_a_file_system_that_was_made_once_is_not_kept(cache: Path) -> None:
    """Its times are in whole seconds; the next image of one has the same, and the same inodes."""
    made = RegularFile(PLAIN, 5, f"{state(1, changed=5_000_000_000)}/f")
    copied = RegularFile(PLAIN, 5, f"{state(2, modified=5_000_000_000)}/f")
    keep(cache, {"a": made, "b": copied})
    assert (find(opened(cache), made), find(opened(cache), copied)) == (None, SUM)


def test_a_blob_that_changes_during_the_build_is_not_kept(cache: Path, tmp_path: Path) -> None:
    descriptor = blob(tmp_path / "image", b"data")
    path = tmp_path / "image/blobs/sha256" / descriptor.digest.encoded
    store = OciLayout(str(tmp_path / "image"))
    one = opened(cache)
    assert not one.is_whole(store, descriptor)
    path.write_bytes(b"more than that")
    one.keep_files(NOTHING, {})
    one.keep_blobs(BlobDirectory(str(path.parent)), [descriptor.digest])
    one.write()
    assert not opened(cache).is_whole(store, descriptor)


def test_a_cache_behind_a_symlink_stays_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "source/link").symlink_to("../elsewhere/cache")
    one = BuildCache(str(tmp_path / "source/link"), str(tmp_path / "source"))
    one.find_files(Tree({"a": file(1)}))
    one.keep_files(Tree({"f1": file(1)}), {"a": SUM})
    one.write()
    assert os.listdir(tmp_path / "source") == ["link"]
    assert (tmp_path / "source/link").is_symlink()
    assert (tmp_path / "elsewhere/cache").read_text().count("\n") == 2


def test_all_is_within_the_root(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="within the source"):
        BuildCache(str(tmp_path / "cache"), "/")


def test_a_cache_within_the_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with pytest.raises(UnsupportedError, match="within the source"):
        BuildCache(str(tmp_path / "source/cache"), str(tmp_path / "source"))
