"""Do the layers of an encapsulated image together hold its commit, and nothing but it?

Each layer has been checked alone (`layer_check`); what is left is what no layer can know:

* every metadata object that the commit reaches is in the first layer, every file object in some layer;
* the layers' paths are exactly the commit's, each with its object, /usr/etc as /etc;
* the first layer has an entry for each directory of the commit (but /sysroot, and what is below it) with its
  owner and mode, and one for /var/tmp: ostree-ext-0.15 adds it always, bootc when the commit has none;
* parent directories in other layers have the commit's owner and mode;
* an object is in one layer only; with the bootc layout it may be in several that each have paths of it.

Objects that the commit does not need do no harm: they are reported apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from ostrata.codecs import ostree
from ostrata.codecs.tar_reader import MAX_NAME
from ostrata.errors import LimitError, MalformedError, escape
from ostrata.formats.encapsulated import BOOTC, OSTREE_EXT_0_15, tar_path
from ostrata.inspection.findings import FindingList, Findings
from ostrata.inspection.layer_check import FileObject, LayerContents
from ostrata.model.ostree import Commit, CommitDirectory, CommitTree, Dirtree
from ostrata.model.tree import Attributes

MAX_PATHS = 4_000_000
"""The most paths of a commit that is checked: few small dirtrees can name each other to billions of paths."""

_VAR_TMP = (0, 0, 0o1777)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ImageContents:
    """What is in an image's layers, and what is wrong with it.

    `tree` is the commit with all its paths, None when the first layer has no readable commit. `objects` are
    all file objects by checksum. `unreferenced` are objects that the commit does not need.
    """

    tree: CommitTree | None
    detached: bytes | None
    objects: Mapping[str, FileObject]
    unreferenced: Findings = field(default_factory=Findings)
    problems: Findings = field(default_factory=Findings)


def check_image(layers: Sequence[LayerContents], *, max_paths: int = MAX_PATHS) -> ImageContents:
    """Check the layers of one image, the first first, together; their own problems are taken over.

    Raises: MalformedError without any layer; LimitError for a commit with more than `max_paths` paths or
    with paths longer than Linux's.
    """
    if not layers:
        raise MalformedError("an image without layers")
    problems = FindingList()
    for number, layer in enumerate(layers):
        problems.extend(layer.problems, f"layer {number}")
    unreferenced = FindingList()
    tree = _read_tree(layers[0], max_paths, problems, unreferenced)
    if tree is not None:
        _check_directories(layers, tree, problems)
        _check_parents(layers, tree, problems)
        _check_objects(layers, tree, problems, unreferenced)
        _check_paths(layers, tree, problems)
    objects = {checksum: found for layer in layers for checksum, found in layer.objects.items()}
    return ImageContents(tree, layers[0].detached, objects, unreferenced.finish(), problems.finish())


# The commit


def _read_tree(
    first: LayerContents, max_paths: int, problems: FindingList, unreferenced: FindingList
) -> CommitTree | None:
    if first.commit is None:
        return None
    checksum, data = first.commit
    try:
        commit = ostree.decode_commit(data)
    except MalformedError:
        return None  # the layer's own check has said so
    reader = _MetadataReader(first, problems)
    tree = _walk(checksum, commit, reader, max_paths)
    for kind, found, used in (
        ("dirtree", first.dirtrees, reader.dirtrees),
        ("dirmeta", first.dirmetas, reader.dirmetas),
    ):
        for name in sorted(found.keys() - used.keys()):
            unreferenced.add(f"{name}.{kind}", "not part of the commit")
    return tree


def _walk(checksum: str, commit: Commit, reader: _MetadataReader, max_paths: int) -> CommitTree:
    """Every path of the commit, in walk order."""
    directories: list[CommitDirectory] = []
    files: list[tuple[str, str]] = []
    todo = [("", commit.root_dirtree, commit.root_dirmeta)]
    while todo:
        path, dirtree, dirmeta = todo.pop()
        attributes = reader.attributes(path, dirmeta)
        if attributes is not None:
            directories.append(CommitDirectory(path, dirtree, dirmeta, attributes))
        content = reader.dirtree(path, dirtree)
        prefix = f"{path}/" if path else ""
        files += [(prefix + name, file) for name, file in content.files]
        todo += [(prefix + name, tree, meta) for name, tree, meta in reversed(content.directories)]
        if len(path.encode("utf-8")) > MAX_NAME:
            raise LimitError(
                f"expected paths of at most {MAX_NAME} bytes in the commit, found '{escape(path[:80])}...'"
            )
        if len(files) + len(directories) + len(todo) > max_paths:
            raise LimitError(f"expected a commit of at most {max_paths} paths, found more")
    return CommitTree(checksum, commit, tuple(directories), tuple(files))


class _MetadataReader:
    """Decodes each metadata object of the first layer once; what is missing or broken counts as empty."""

    def __init__(self, first: LayerContents, problems: FindingList) -> None:
        self._first = first
        self._problems = problems
        self.dirtrees: dict[str, Dirtree] = {}
        self.dirmetas: dict[str, Attributes | None] = {}

    def dirtree(self, path: str, checksum: str) -> Dirtree:
        if checksum not in self.dirtrees:
            data = self._first.dirtrees.get(checksum)
            found = self._decoded(ostree.decode_dirtree, data, f"{checksum}.dirtree", path)
            self.dirtrees[checksum] = found or Dirtree((), ())
        return self.dirtrees[checksum]

    def attributes(self, path: str, checksum: str) -> Attributes | None:
        if checksum not in self.dirmetas:
            data = self._first.dirmetas.get(checksum)
            self.dirmetas[checksum] = self._decoded(ostree.decode_dirmeta, data, f"{checksum}.dirmeta", path)
        return self.dirmetas[checksum]

    def _decoded(self, decode: Callable[[bytes], _T], data: bytes | None, name: str, path: str) -> _T | None:
        if data is None:
            self._problems.add(name, f"no such metadata object in the first layer, needed for '/{escape(path)}'")
            return None
        try:
            return decode(data)
        except MalformedError:
            return None  # the layer's own check has said so


# Directories


def _check_directories(layers: Sequence[LayerContents], tree: CommitTree, problems: FindingList) -> None:
    expected: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for directory in tree.directories:
        if directory.path != "sysroot" and not directory.path.startswith("sysroot/"):
            expected[tar_path(directory.path)].append(_owner_and_mode(directory.attributes))
    found: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for path, uid, gid, mode in layers[0].directories:
        found[path].append((uid, gid, mode))
    layouts = {layer.layout for layer in layers}
    if _adds_var_tmp(layouts, "var/tmp" in expected, len(found["var/tmp"])):
        expected["var/tmp"].append(_VAR_TMP)
    _compare(
        expected,
        found,
        problems,
        "the first layer's entries",
        lambda item: f"{item[0]}:{item[1]} {item[2]:04o}",
    )


def _adds_var_tmp(layouts: set[str | None], has_var_tmp: bool, entries: int) -> bool:
    """Is there an entry for /var/tmp besides the commit's? Without any file object the layout is not
    known."""
    if not has_var_tmp or OSTREE_EXT_0_15 in layouts:
        return True
    return BOOTC not in layouts and entries > 1


def _check_parents(layers: Sequence[LayerContents], tree: CommitTree, problems: FindingList) -> None:
    allowed: dict[str, set[tuple[int, int, int]]] = defaultdict(set)
    for directory in tree.directories:
        allowed[tar_path(directory.path)].add(_owner_and_mode(directory.attributes))
    for number, layer in enumerate(layers[1:], 1):
        for path, uid, gid, mode in layer.directories:
            if path not in allowed:
                problems.add(path, f"a directory of layer {number} that is not in the commit")
            elif (uid, gid, mode) not in allowed[path]:
                wanted = " or ".join(f"{u}:{g} {m:04o}" for u, g, m in sorted(allowed[path]))
                there = f"{uid}:{gid} {mode:04o}"
                problems.add(path, f"expected the commit's {wanted} in layer {number}, found {there}")


def _owner_and_mode(attributes: Attributes) -> tuple[int, int, int]:
    return attributes.uid, attributes.gid, attributes.mode


# Objects and paths


def _check_objects(
    layers: Sequence[LayerContents], tree: CommitTree, problems: FindingList, unreferenced: FindingList
) -> None:
    holders: dict[str, list[int]] = defaultdict(list)
    for number, layer in enumerate(layers):
        for checksum in layer.objects:
            holders[checksum].append(number)
    missing = {checksum: path for path, checksum in reversed(tree.files) if checksum not in holders}
    for checksum, path in sorted(missing.items()):
        problems.add(f"{checksum}.file", f"no layer has this object, which '/{escape(path)}' needs")
    needed = {checksum for _, checksum in tree.files}
    for checksum in sorted(holders.keys() - needed):
        unreferenced.add(f"{checksum}.file", "not part of the commit")
    _check_repeated({c: found for c, found in holders.items() if len(found) > 1}, layers, problems)


def _check_repeated(repeated: Mapping[str, list[int]], layers: Sequence[LayerContents], problems: FindingList) -> None:
    """Exclusive components (bootc) take single paths of an object; then each layer with paths has the
    object."""
    uses = {
        (number, checksum)
        for number, layer in enumerate(layers)
        if repeated and layer.layout == BOOTC
        for _, checksum in layer.paths
    }
    for checksum, numbers in sorted(repeated.items()):
        if not all((number, checksum) in uses for number in numbers):
            shown = " and ".join(map(str, numbers[:5]))
            problems.add(f"{checksum}.file", f"the object is in several layers, {shown}")


def _check_paths(layers: Sequence[LayerContents], tree: CommitTree, problems: FindingList) -> None:
    expected: dict[str, list[str]] = defaultdict(list)
    for path, checksum in tree.files:
        expected[tar_path(path)].append(checksum)
    found: dict[str, list[str]] = defaultdict(list)
    for layer in layers:
        for path, checksum in layer.paths:
            found[path].append(checksum)
    _compare(expected, found, problems, "the layers' entries", str)


def _compare(
    expected: Mapping[str, list[_T]],
    found: Mapping[str, list[_T]],
    problems: FindingList,
    what: str,
    shown: Callable[[_T], str],
) -> None:
    """Each path has the same values on both sides, as often, in any order."""

    def words(values: Iterable[_T]) -> str:
        return " and ".join(sorted(map(shown, values))) or "none"

    for path in sorted(expected.keys() | found.keys()):
        wanted, there = expected.get(path, []), found.get(path, [])
        if wanted != there and words(wanted) != words(there):
            problems.add(f"/{path}", f"{what}: expected {words(wanted)}, found {words(there)}")
