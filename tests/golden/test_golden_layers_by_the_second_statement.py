"""The second statement of the layer format (`tests/tarbuilder.py`) gives the published layers, byte for byte.

So it can judge the library's own encoder on other trees.
"""

from __future__ import annotations

import hashlib
import json
import stat
import zlib
from pathlib import Path

import pytest

import tarbuilder
from ostrata.codecs import ostree
from tarbuilder import Node

PROFILES = {
    "ostree-ext-0.15": (tarbuilder.OSTREE_EXT, 1),
    "bootc": (tarbuilder.BOOTC, 1),
    "bootc-parents": (tarbuilder.BOOTC, 2),
}


def object_bytes(repository: Path, kind: str, checksum: str) -> bytes:
    return (repository / "objects" / checksum[:2] / f"{checksum[2:]}.{kind}").read_bytes()


def file_node(repository: Path, checksum: str) -> Node:
    data = object_bytes(repository, "filez", checksum)
    header, size, end = ostree.decode_archive_header(data)
    a = header.attributes
    if header.target is not None:
        return Node("symlink", a.mode, a.uid, a.gid, a.xattrs, header.target.encode())
    content = zlib.decompress(data[end:], -15)
    assert len(content) == size
    return Node("file", a.mode, a.uid, a.gid, a.xattrs, content)


def read_tree(repository: Path, path: str, dirtree: str, dirmeta: str) -> dict[str, Node]:
    a = ostree.decode_dirmeta(object_bytes(repository, "dirmeta", dirmeta))
    assert stat.S_IFMT(a.mode) == 0
    tree = {path: Node("directory", a.mode, a.uid, a.gid, a.xattrs)}
    content = ostree.decode_dirtree(object_bytes(repository, "dirtree", dirtree))
    prefix = path + "/" if path else ""
    for name, checksum in content.files:
        tree[prefix + name] = file_node(repository, checksum)
    for name, child_tree, child_meta in content.directories:
        tree |= read_tree(repository, prefix + name, child_tree, child_meta)
    return tree


@pytest.mark.parametrize("profile", PROFILES)
def test_the_second_statement_gives_every_golden_diff_id(profile: str, golden: Path, golden_repository: Path) -> None:
    expected = json.loads((golden / "expected.json").read_text())
    mapping = json.loads((golden / "contentmeta.json").read_text())["mapping"]
    data = object_bytes(golden_repository, "commit", expected["commit"])
    commit = ostree.decode_commit(data)
    tree = read_tree(golden_repository, "", commit.root_dirtree, commit.root_dirmeta)
    layers = expected["profiles"][profile]
    chunks = [[c for c, layer in mapping.items() if layer == item["layer"]] for item in layers[1:]]
    detached = golden_repository / "objects" / expected["commit"][:2] / f"{expected['commit'][2:]}.commitmeta"
    layout, version = PROFILES[profile]
    tars = tarbuilder.encapsulated_layers(
        tree,
        data,
        chunks,
        layout=layout,
        version=version,
        detached=detached.read_bytes() if detached.exists() else None,
    )
    found = [("sha256:" + hashlib.sha256(tar).hexdigest(), len(tar)) for tar in tars]
    assert found == [(layer["diff_id"], layer["size"]) for layer in layers]
