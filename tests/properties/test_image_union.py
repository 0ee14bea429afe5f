"""The union of layers, compared with a second statement of its rules on a flat dictionary of paths."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from ostrata.errors import MalformedError
from ostrata.model.tree import Attributes, Directory, RegularFile, Symlink
from ostrata.sources.image_layer import Change, LayerEntry, LayerIndex
from ostrata.sources.image_union import IMPLIED, content_key, union

PATHS = st.sampled_from(["a", "ž\n", "a/a", "a/b", "ž\n/a", "a/a/a", "a/a/b", "a/b/a"])
"""Few, so that changes meet."""
ATTRIBUTES = tuple(Attributes(mode, mtime=mode) for mode in range(4))

PUTS = st.one_of(
    st.builds(LayerEntry, PATHS, st.just(Change.DIRECTORY), st.integers(0, 3)),
    st.builds(LayerEntry, PATHS, st.just(Change.DIRECTORY), st.integers(0, 3)),
    st.builds(LayerEntry, PATHS, st.just(Change.FILE), st.integers(0, 3), st.just(1)),
    st.builds(LayerEntry, PATHS, st.just(Change.SYMLINK), st.just(0), target=st.just("nowhere/..")),
    st.builds(LayerEntry, PATHS, st.just(Change.HARD_LINK), st.just(0), target=PATHS),
)
WHITEOUTS = st.one_of(
    st.builds(LayerEntry, PATHS, st.just(Change.WHITEOUT), st.just(0)),
    st.builds(LayerEntry, st.one_of(PATHS, st.just("")), st.just(Change.OPAQUE), st.just(0)),
)
LAYERS = st.lists(st.lists(st.one_of(PUTS, PUTS, WHITEOUTS), max_size=8), min_size=2, max_size=4)


def index(entries: list[LayerEntry]) -> LayerIndex:
    """Every entry has an offset of its own."""
    return LayerIndex(
        tuple(entry._replace(offset=number) for number, entry in enumerate(entries)),
        ATTRIBUTES,
    )


@dataclass(frozen=True)
class Node:
    """`kind`, attributes, and the identity that hard links share; `own`: the layer that has an entry for it."""

    kind: str
    attributes: Attributes
    identity: str
    own: int


class Model:
    """Paths that begin alike are found by looking at all of them."""

    def __init__(self) -> None:
        self.nodes = {"": Node("directory", IMPLIED, "", -1)}

    def apply(self, number: int, entries: list[LayerEntry]) -> None:
        named: set[str] = set()  # what the layer has put, and all directories above
        for offset, entry in enumerate(entries):
            if entry.change is Change.WHITEOUT:
                self._hide(number, entry.path, named, itself=True)
            elif entry.change is Change.OPAQUE:
                self._hide(number, entry.path, named, itself=False)
            else:
                self._put(number, offset, entry, named)

    def _hide(self, number: int, path: str, named: set[str], *, itself: bool) -> None:
        for other in list(self.nodes):
            if not (other.startswith(f"{path}/") or (other == path and itself) or (not path and other)):
                continue
            node = self.nodes[other]
            if other not in named:
                del self.nodes[other]
            elif node.kind == "directory" and node.own != number:
                self.nodes[other] = replace(node, attributes=IMPLIED, own=number)

    def _put(self, number: int, offset: int, entry: LayerEntry, named: set[str]) -> None:
        path = entry.path
        found = None
        if entry.change is Change.HARD_LINK:
            found = self.nodes.get(entry.target)
            if found is None or found.kind == "directory" or entry.target == path:
                raise MalformedError("no target")
        self._refuse_below_a_file(path)
        for parent in parents(path):
            self.nodes.setdefault(parent, Node("directory", IMPLIED, "", number))
        named.update([path, *parents(path)])
        is_directory = entry.change is Change.DIRECTORY
        if not (is_directory and path in self.nodes and self.nodes[path].kind == "directory"):
            for other in [other for other in self.nodes if other.startswith(f"{path}/")]:
                del self.nodes[other]
                named.discard(other)
        attributes = found.attributes if found else ATTRIBUTES[entry.attributes]
        identity = "" if is_directory else found.identity if found else content_key(number, offset)
        kind = found.kind if found else entry.change.value
        self.nodes[path] = Node(kind, attributes, identity, number)

    def _refuse_below_a_file(self, path: str) -> None:
        for parent in parents(path):
            if parent in self.nodes and self.nodes[parent].kind != "directory":
                raise MalformedError("below a file")


def parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def without_symlinks_as_directories(layers: list[list[LayerEntry]]) -> list[list[LayerEntry]]:
    """A symlink's name gets an ending of its own: the model follows none."""
    return [
        [entry._replace(path=entry.path + "@") if entry.change is Change.SYMLINK else entry for entry in layer]
        for layer in layers
    ]


@settings(max_examples=500, deadline=None)
@given(LAYERS.map(without_symlinks_as_directories))
def test_the_union_is_what_applying_the_changes_to_a_dictionary_gives(layers: list[list[LayerEntry]]) -> None:
    model = Model()
    try:
        for number, entries in enumerate(layers):
            model.apply(number, entries)
    except MalformedError:
        expected = None
    else:
        expected = {path: (node.kind, node.attributes, node.identity) for path, node in model.nodes.items()}
    try:
        tree = union(index(entries) for entries in layers).tree
    except MalformedError:
        assert expected is None
        return
    assert {path: shown(entry) for path, entry in tree} == expected


def shown(entry: Directory | RegularFile | Symlink) -> tuple[str, Attributes, str]:
    if isinstance(entry, Directory):
        return "directory", entry.attributes, ""
    kind = "file" if isinstance(entry, RegularFile) else "symlink"
    return kind, entry.attributes, entry.content


@settings(max_examples=200, deadline=None)
@given(LAYERS.map(without_symlinks_as_directories))
def test_where_whiteouts_stand_in_their_layer_does_not_matter(layers: list[list[LayerEntry]]) -> None:
    """Without hard links, which may name what a later whiteout hides."""
    first, last = [], []
    for entries in layers:
        given_index = index([entry for entry in entries if entry.change is not Change.HARD_LINK])
        hidden = tuple(entry for entry in given_index.entries if entry.change in (Change.WHITEOUT, Change.OPAQUE))
        put = tuple(entry for entry in given_index.entries if entry not in hidden)
        first.append(replace(given_index, entries=hidden + put))
        last.append(replace(given_index, entries=put + hidden))
    results = []
    for each in (first, last):
        try:
            results.append({path: shown(entry) for path, entry in union(each).tree})
        except MalformedError:
            return  # a file that is hidden only later may stand in the way
    assert results[0] == results[1]
