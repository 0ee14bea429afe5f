from __future__ import annotations

import hashlib
import io
import tarfile

import pytest

from ostrata.errors import UnsupportedError
from ostrata.formats import plain
from ostrata.formats.plain import Item, Member, PlainLayer, lay_out
from ostrata.layers.writer import tar_blocks
from ostrata.model.tree import Attributes, Directory, RegularFile, SpecialFile, Symlink

DIRECTORY = Directory(Attributes(0o755, mtime=0))


def file(content: str, size: int = 3, **more: object) -> RegularFile:
    return RegularFile(Attributes(**{"mode": 0o644, "mtime": 9, **more}), size, content)  # type: ignore[arg-type]


def tree(*paths: str, **items: Item) -> dict[str, Item]:
    """Directories and, by their path with dots for slashes, other items."""
    found: dict[str, Item] = {"": DIRECTORY, **dict.fromkeys(paths, DIRECTORY)}
    return found | {path.replace("__", "/"): item for path, item in items.items()}


def paths(layer: PlainLayer) -> list[str]:
    return [member.path for member in layer.members]


def tar_of(layer: PlainLayer, contents: dict[str, bytes] | None = None) -> bytes:
    def open_file(entry: RegularFile) -> list[bytes]:
        return [(contents or {}).get(entry.content, b"x" * entry.size)]

    return b"".join(tar_blocks(plain.members(layer, open_file)))


def read(tar: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(tar), encoding="utf-8", errors="surrogateescape") as archive:
        return list(archive)


# Which layer


def test_a_layer_holds_its_paths_and_the_directories_that_lead_to_them() -> None:
    items = tree("usr", "usr/bin", "etc", usr__bin__a=file("a"), etc__b=file("b"))
    first, one, two = lay_out(items, [("1", "one"), ("2", "two")], {"a": "1", "b": "2"})
    assert paths(first) == [""]
    assert paths(one) == ["", "usr", "usr/bin", "usr/bin/a"]
    assert paths(two) == ["", "etc", "etc/b"]
    assert (first.id, first.name, one.id, one.name) == ("directories", "", "1", "one")


def test_what_no_planned_layer_holds_is_in_the_first() -> None:
    pipe = SpecialFile(Attributes(0o600), "FIFO")
    items = tree("usr", "usr/empty", "run", usr__a=file("a"), usr__b=file("b"), run__pipe=pipe)
    first, _ = lay_out(items, [("1", "one")], {"a": "1"})
    assert paths(first) == ["", "run", "run/pipe", "usr", "usr/b", "usr/empty"]


def test_planned_layers_without_content_are_left_out_and_the_first_never() -> None:
    (first,) = lay_out(tree(), [("1", "one")], {"gone": "1"})
    assert paths(first) == [""]


def test_layers_do_not_depend_on_the_order_of_the_tree() -> None:
    items = tree("b", "a", "a.d", a__x=file("x"), b__x=file("x"), c=file("c"), **{"a-": file("d")})
    backwards = dict(reversed(items.items()))
    assert lay_out(items, [("1", "")], {"x": "1"}) == lay_out(backwards, [("1", "")], {"x": "1"})


def test_files_of_a_directory_come_before_its_subdirectories_by_name_as_bytes() -> None:
    items = tree("a", "a/d", "a.b", "é", a__d__f=file("1"), a__z=file("2"), **{"\udcff": file("3"), "z": file("4")})
    (layer,) = lay_out(items, [], {})
    assert paths(layer) == ["", "z", "\udcff", "a", "a/z", "a/d", "a/d/f", "a.b", "é"]


def test_only_what_is_written_is_in_a_layer_with_the_directories_above_it() -> None:
    items = tree("usr", "usr/bin", "etc", usr__bin__a=file("a"), etc__b=file("b"))
    first, one = lay_out(items, [("1", ""), ("2", "")], {"a": "1", "b": "2"}, written={"usr/bin/a"})
    assert (paths(first), paths(one)) == ([""], ["", "usr", "usr/bin", "usr/bin/a"])


def test_whiteouts_stand_in_the_first_layer_in_their_directory() -> None:
    items = tree("usr", usr__a=file("a"))
    (first,) = lay_out(items, [], {}, written={"usr/a"}, whiteouts=["usr/b", "etc"])
    assert paths(first) == ["", ".wh.etc", "usr", "usr/.wh.b", "usr/a"]
    assert all(member.size == 0 and member.isreg() for member in read(tar_of(first)) if ".wh." in member.name)


# Hard links


def test_the_first_name_of_a_file_is_the_file_and_the_others_are_links() -> None:
    items = tree("a", "b", a__z=file("f"), b__a=file("f"), b__b=Symlink(Attributes(0o777), "x", "s"))
    items["c"] = Symlink(Attributes(0o777), "x", "s")
    (layer,) = lay_out(items, [], {})
    found = {member.path: member.link for member in layer.members}
    assert found == {"": None, "c": None, "a": None, "a/z": None, "b": None, "b/a": "a/z", "b/b": "c"}
    link = next(member for member in read(tar_of(layer)) if member.name == "b/a")
    assert (link.islnk(), link.linkname, link.size) == (True, "a/z", 0)


def test_names_of_one_device_are_links_and_of_equal_ones_are_not() -> None:
    null = SpecialFile(Attributes(0o666), "character device", (1, 3))
    other = SpecialFile(Attributes(0o666), "character device", (1, 3))
    (layer,) = lay_out(tree(a=null, b=null, c=other), [], {})
    assert [member.link for member in layer.members] == [None, None, "a", None]


def test_empty_files_are_links_only_where_the_source_tells_of_links() -> None:
    items = tree(a=file("e", 0), b=file("e", 0))
    (layer,) = lay_out(items, [], {})
    assert [member.link for member in layer.members] == [None, None, "a"]
    (layer,) = lay_out(items, [], {}, links_empty=False)
    assert [member.link for member in layer.members] == [None, None, None]


def test_beyond_the_most_names_of_a_file_it_is_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "MAX_LINKS", 3)
    (layer,) = lay_out(tree(**{f"n{number}": file("f") for number in range(7)}), [], {})
    assert [member.link for member in layer.members[1:]] == [None, "n0", "n0", None, "n3", "n3", None]
    assert layer.copies == 2


# Times


def test_times_are_clamped_by_content_and_those_of_directories_are_zero() -> None:
    items: dict[str, Item] = {
        "": Directory(Attributes(0o755, mtime=50)),
        "a": file("a", mtime=50),
        "b": file("b", mtime=5),
        "c": file("c", mtime=50),
        "d": file("d", mtime=None),
        "e": SpecialFile(Attributes(0o600, mtime=50), "FIFO"),
    }
    clamped, count = plain.clamp_times(items, {"a": 10, "b": 10}, 20)
    assert {path: item.attributes.mtime for path, item in clamped.items()} == {
        "": 0,
        "a": 10,
        "b": 5,
        "c": 20,
        "d": 0,
        "e": 20,
    }
    assert count == 3
    again, count = plain.clamp_times(clamped, {"a": 10, "b": 10}, 20)
    assert (again, count) == (clamped, 0)


def test_without_a_limit_times_stay() -> None:
    clamped, count = plain.clamp_times({"a": file("a", mtime=-7), "b": file("b", mtime=1 << 40)}, {}, None)
    assert [item.attributes.mtime for item in clamped.values()] == [-7, 1 << 40]
    assert count == 0


def test_names_of_one_device_stay_one_when_their_time_is_clamped() -> None:
    null = SpecialFile(Attributes(0o666, mtime=9), "character device", (1, 3))
    clamped, _ = plain.clamp_times({"a": null, "b": null}, {}, 5)
    assert clamped["a"] is clamped["b"]


# Members


def test_attributes_are_written_as_they_are() -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    xattrs = ((b"security.capability", capability), (b"security.selinux", b"label\0"), (b"user.a", b""))
    (layer,) = lay_out(tree(f=file("f", mode=0o4111, uid=3_000_000, gid=35, xattrs=xattrs)), [], {})
    found = read(tar_of(layer))[1]
    assert (found.mode, found.uid, found.gid, found.mtime) == (0o4111, 3_000_000, 35, 9)
    assert found.pax_headers == {
        "uid": "3000000",
        "SCHILY.xattr.security.capability": capability.decode("utf-8", "surrogateescape"),
        "SCHILY.xattr.user.a": "",
    }


def test_a_tree_gives_these_bytes() -> None:
    items = tree("usr", usr__bin=Symlink(Attributes(0o777, mtime=1), "/bin", "s"), usr__sudo=file("f", 5, mode=0o4111))
    items["usr/ž"] = items["usr/sudo"]
    (layer,) = lay_out(items, [], {})
    tar = tar_of(layer, {"f": b"hello"})
    assert len(tar) == 5 * 512 + 512 + 2 * 512 + 1024
    assert hashlib.sha256(tar).hexdigest() == "4cca75d6ad84be094e78b5142d67bc588fb654d3e78d3546d349e4cca481912d"


@pytest.mark.parametrize("path", [".wh.a", "usr/.wh..wh..opq", "usr/.wh.d/x"])
def test_names_that_mean_deletions_are_refused(path: str) -> None:
    with pytest.raises(UnsupportedError, match=r"1 names begin with \.wh\."):
        plain.check_writable({path: file("f")})
    plain.check_writable({"usr/a.wh.b": file("f"), "wh.": file("f")})


def test_sockets_are_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"1 names are sockets.*: /run/bus\\n"):
        plain.check_writable({"run/bus\n": SpecialFile(Attributes(0o666), "socket")})


def test_an_attribute_that_no_tar_can_hold_is_refused_with_its_path() -> None:
    member = Member("usr/f", file("f", xattrs=((b"user.a=b", b""),)))
    with pytest.raises(UnsupportedError, match=r"^/usr/f: .*'='"):
        list(plain.members(PlainLayer("", "", (member,)), lambda _: []))
