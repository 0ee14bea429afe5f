"""Plain layers against Python's tarfile, which reads what we write and knows nothing of us."""

from __future__ import annotations

import io
import tarfile

from hypothesis import given, settings
from hypothesis import strategies as st

from ostrata.codecs.tar_reader import read_members
from ostrata.formats import plain
from ostrata.formats.plain import FIRST, Item, lay_out
from ostrata.layers.writer import tar_blocks
from ostrata.model.tree import Attributes, Directory, RegularFile, SpecialFile, Symlink
from ostrata.sources.image_layer import index_layer
from ostrata.sources.image_union import union

NAMES = st.binary(min_size=1, max_size=120).filter(
    lambda name: not set(name) & {0, 0x2F} and name not in (b".", b"..") and not name.startswith(b".wh.")
)
XATTRS = st.dictionaries(
    st.from_regex(rb"\A(user|security|trusted)\.[a-z%]{1,20}\Z").filter(lambda name: name != plain.SELINUX),
    st.binary(max_size=40),
    max_size=2,
)


@st.composite
def attributes(draw: st.DrawFn) -> Attributes:
    return Attributes(
        mode=draw(st.integers(0, 0o7777)),
        uid=draw(st.sampled_from((0, 1, 0o7777777, 0o10000000, 0xFFFFFFFE))),
        gid=draw(st.integers(0, 0xFFFFFFFE)),
        xattrs=tuple(sorted(draw(XATTRS).items())),
        mtime=draw(st.one_of(st.integers(0, 1 << 35), st.integers(-5, 5))),
    )


@st.composite
def trees(draw: st.DrawFn) -> tuple[dict[str, Item], dict[str, bytes], dict[str, str]]:
    """Items, contents by their keys, and the layer of each content."""
    items: dict[str, Item] = {"": Directory(draw(attributes()))}
    directories = [""]
    contents: dict[str, bytes] = {}
    files: list[Item] = []
    for number in range(draw(st.integers(0, 12))):
        parent = draw(st.sampled_from(directories))
        path = f"{parent}/" * bool(parent) + draw(NAMES).decode("utf-8", "surrogateescape")
        if path in items:
            continue
        kind = draw(st.sampled_from(("directory", "file", "file", "symlink", "special", "link")))
        if kind == "directory":
            items[path] = Directory(draw(attributes()))
            directories.append(path)
        elif kind == "link" and files:
            items[path] = draw(st.sampled_from(files))
        elif kind == "symlink":
            target = draw(st.binary(min_size=1, max_size=130).filter(lambda text: 0 not in text))
            items[path] = Symlink(draw(attributes()), target.decode("utf-8", "surrogateescape"), str(number))
            files.append(items[path])
        elif kind == "special":
            rdev = (draw(st.integers(0, 4095)), draw(st.integers(0, 1 << 20)))
            items[path] = SpecialFile(draw(attributes()), "character device", rdev)
            files.append(items[path])
        else:
            contents[str(number)] = draw(st.binary(max_size=1100))
            items[path] = RegularFile(draw(attributes()), len(contents[str(number)]), str(number))
            files.append(items[path])
    layer_of = {content: draw(st.sampled_from(("one", "two", FIRST))) for content in contents}
    return items, contents, layer_of


def tars_of(tree: tuple[dict[str, Item], dict[str, bytes], dict[str, str]]) -> list[bytes]:
    items, contents, layer_of = tree
    layers = lay_out(items, [("one", ""), ("two", "")], layer_of)
    return [b"".join(tar_blocks(plain.members(layer, lambda file: [contents[file.content]]))) for layer in layers]


@settings(max_examples=150, deadline=None)
@given(trees())
def test_tarfile_reads_every_entry_as_it_is_in_the_tree(
    tree: tuple[dict[str, Item], dict[str, bytes], dict[str, str]],
) -> None:
    items, contents, _ = tree
    seen: set[str] = set()
    for tar in tars_of(tree):
        with tarfile.open(fileobj=io.BytesIO(tar), encoding="utf-8", errors="surrogateescape") as archive:
            before: set[str] = set()
            for member in archive:
                path = "" if member.name == "." else member.name
                assert path not in before
                assert not path or path.rpartition("/")[0] in before
                before.add(path)
                check(member, items[path], items, contents, archive)
            seen |= before
    assert seen == items.keys()


def check(
    member: tarfile.TarInfo, item: Item, items: dict[str, Item], contents: dict[str, bytes], archive: tarfile.TarFile
) -> None:
    known = item.attributes
    assert (member.mode, member.uid, member.gid) == (known.mode, known.uid, known.gid)
    assert member.mtime == known.mtime
    assert (member.uname, member.gname) == ("", "")
    if member.islnk():
        assert items[member.linkname] is item
        return
    prefix = "SCHILY.xattr."
    assert [
        (key.removeprefix(prefix).encode(), value.encode("utf-8", "surrogateescape"))
        for key, value in sorted(member.pax_headers.items())
        if key.startswith(prefix)
    ] == list(known.xattrs)
    if isinstance(item, Directory):
        assert member.isdir()
    elif isinstance(item, Symlink):
        assert member.issym()
        assert member.linkname == item.target
    elif isinstance(item, SpecialFile):
        assert (member.devmajor, member.devminor) == item.rdev
    else:
        content = archive.extractfile(member)
        assert content is not None
        assert content.read() == contents[item.content]


@settings(max_examples=100, deadline=None)
@given(trees())
def test_the_layers_add_up_to_the_tree(tree: tuple[dict[str, Item], dict[str, bytes], dict[str, str]]) -> None:
    items, _, _ = tree
    found = union([index_layer([tar]) for tar in tars_of(tree)])
    flattened: dict[str, Item] = {**found.tree.entries, **found.special}
    assert flattened.keys() == items.keys()
    for path, item in items.items():
        other = flattened[path]
        assert type(other) is type(item)
        if not isinstance(item, Symlink):
            assert other.attributes == item.attributes
        for twin, same in items.items():
            if not isinstance(item, Directory):
                assert (same is item) == (flattened[twin] is other)


@settings(max_examples=50, deadline=None)
@given(trees(), st.randoms())
def test_tars_do_not_depend_on_the_order_of_the_tree(
    tree: tuple[dict[str, Item], dict[str, bytes], dict[str, str]], random: object
) -> None:
    items, contents, layer_of = tree
    shuffled = list(items.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert tars_of((dict(shuffled), contents, layer_of)) == tars_of(tree)


@settings(max_examples=50, deadline=None)
@given(trees())
def test_directories_have_the_same_bytes_in_all_layers(
    tree: tuple[dict[str, Item], dict[str, bytes], dict[str, str]],
) -> None:
    heads: dict[str, set[bytes]] = {}
    for tar in tars_of(tree):
        end = 0
        for entry, content in read_members([tar]):
            content.skip()
            size = 512 + -(-entry.size // 512) * 512
            heads.setdefault(entry.path, set()).add(tar[end : entry.offset + 512])
            end = entry.offset + size
    assert all(len(each) == 1 for path, each in heads.items() if path.endswith("/"))
