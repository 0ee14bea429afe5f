"""Makes tests/golden/small.json: checksums and digests of one small commit and six images of it.

How it was made: `PYTHONPATH=tests python -m golden.make_small`, in the project's environment. Make it anew only when
bytes were changed on purpose, and say so in the changelog: old layers are then no longer reused, or images differ.

The tree is written as objects, not as files: it needs neither root nor extended attributes, and is the same anywhere.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import tarbuilder
from encapsulated_images import LAYERS, LAYOUTS, layout_name, make_image, read_document
from ostrata import Contentmeta, open_repository, read_commit_tree
from ostrata.formats.encapsulated import Layout
from ostrata.formats.encapsulated_config import ConfigOptions
from ostrata.model.ostree import FileHeader
from ostrata.model.tree import Attributes
from ostrata.stores.ostree_staging import ObjectStage
from ostrata.stores.ostree_writer import init_repository, open_writer
from tarbuilder import Node

REF = "golden/small"
SUBJECT = "a small system, žluťoučký"
TIMESTAMP = 1_577_836_800
SHAPES = ("chunked", "single")
LABEL = 'two lines\nand a "quote", 日本語'

_CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
_SELINUX = (b"security.selinux", b"system_u:object_r:bin_t:s0\0")


def _directory(mode: int = 0o755, uid: int = 0, gid: int = 0, xattrs: tuple[tuple[bytes, bytes], ...] = ()) -> Node:
    return Node("directory", mode, uid, gid, xattrs)


def _file(data: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0, *xattrs: tuple[bytes, bytes]) -> Node:
    return Node("file", mode, uid, gid, xattrs, data)


def _link(target: str, uid: int = 0, gid: int = 0) -> Node:
    return Node("symlink", 0o777, uid, gid, (), target.encode())


TREE: dict[str, Node] = {
    "": _directory(0o751),
    "bin": _link("usr/bin"),
    "sysroot": _directory(),
    "usr": _directory(),
    "usr/bin": _directory(),
    "usr/bin/ping": _file(b"like ping\n", 0o755, 0, 0, (b"security.capability", _CAPABILITY), _SELINUX),
    "usr/bin/sudo": _file(b"like sudo\n", 0o4755, 0, 0, _SELINUX),
    "usr/bin/sudoedit": _file(b"like sudo\n", 0o4755, 0, 0, _SELINUX),
    "usr/etc": _directory(0o2751, 0, 3),
    "usr/etc/empty": _file(b"", 0o640, 7, 9),
    "usr/etc/passwd": _file(b"root:x:0:0::/:/bin/sh\n"),
    "usr/etcetera": _directory(),
    "usr/etcetera/not etc": _file(b"not etc\n", 0o600, 2_097_151, 2_097_152, (b"user.note", "grüße\n".encode())),
    "usr/share": _directory(0o755, 1000, 1000, ((b"user.of-a-directory", b"\0\1"),)),
    "usr/share/block": _file(bytes(range(256)) * 2),
    "usr/share/large": _file(b"0123456789abcde\n" * 5000 + b"!"),
    "usr/share/new\nline": _file(b"a\n"),
    "usr/share/žluťoučký": _file(b"b\n"),
    "usr/share/" + "n" * 90: _file(b"a path of 100 bytes\n"),
    "usr/share/" + "n" * 91: _file(b"a path of 101 bytes\n"),
    "usr/share/" + "ü" * 60: _file(b"a path that is cut within a character\n"),
    "usr/share/links": _directory(),
    "usr/share/links/root": _link("/"),
    "usr/share/links/dot": _link("a/./b"),
    "usr/share/links/denormal": _link("a//b", 1000, 1001),
    "usr/share/links/of 100": _link("d" * 49 + "/" + "t" * 50),
    "usr/share/links/of 101": _link("d" * 50 + "/" + "t" * 50),
    "usr/share/links/long denormal": _link("l" * 60 + "//" + "l" * 60),
    "var": _directory(),
    "var/tmp": _directory(0o1777),
}


def make_repository(path: Path) -> None:
    """The commit of TREE in a new repository of mode archive."""
    init_repository(str(path), "archive")
    with open_writer(str(path)) as writer, ObjectStage(writer.place) as stage:
        for name, node in TREE.items():
            attributes = Attributes(node.mode, node.uid, node.gid, tuple(sorted(node.xattrs)))
            if node.kind == "directory":
                stage.add_metadata("dirmeta", tarbuilder.dirmeta_bytes(node))
                stage.add_metadata("dirtree", tarbuilder.dirtree_bytes(TREE, name))
            elif node.kind == "symlink":
                stage.add_symlink(FileHeader(attributes, node.data.decode()))
            else:
                stage.add_file(FileHeader(attributes, None), node.data)
        commit = stage.add_metadata("commit", tarbuilder.commit_bytes(TREE, SUBJECT, TIMESTAMP))
        writer.publish(commit)
        writer.write_ref(REF, commit)


def commit_record(repository: Path) -> dict[str, Any]:
    """What the repository holds, as the library reads it."""
    commit = read_commit_tree(open_repository(str(repository)), REF)
    return {
        "checksum": commit.checksum,
        "directories": {item.path: [item.dirtree, item.dirmeta] for item in commit.directories},
        "objects": dict(commit.files),
    }


def chunks() -> list[list[str]]:
    """The objects of each layer of the chunked images."""
    contentmeta = _contentmeta()
    return [
        [checksum for checksum, layer in contentmeta.mapping.items() if layer == identifier]
        for identifier in contentmeta.layers
    ]


def _contentmeta() -> Contentmeta:
    checksums = [tarbuilder.file_checksum(TREE[path]) for path in tarbuilder.walk(TREE)]
    mapping = {checksum: "abcd"[int(checksum[-1], 16) % 4] for checksum in checksums}
    return Contentmeta(LAYERS, mapping, labels={"label": LABEL})


def image_record(repository: Path, image: Path, layout: Layout, shape: str) -> dict[str, Any]:
    """Make an image, not compressed; the result is what is recorded of it."""
    result = make_image(
        repository,
        REF,
        f"oci:{image}:small",
        layout=layout,
        contentmeta=_contentmeta() if shape == "chunked" else None,
        config=ConfigOptions(cmd=("/sbin/init",)),
    )
    manifest = read_document(image, result.manifest.digest)
    return {
        "manifest_digest": str(result.manifest.digest),
        "manifest": manifest,
        "config": read_document(image, manifest["config"]["digest"]),
        "layers": [{"diff_id": str(report.layer.diff_id), "size": report.tar_size} for report in result.layers],
    }


def record() -> dict[str, Any]:
    """All that small.json holds."""
    with tempfile.TemporaryDirectory() as place:
        repository = Path(place, "repo")
        make_repository(repository)
        images = {
            f"{layout_name(layout)} {shape}": image_record(
                repository, Path(place, f"{layout_name(layout)}-{shape}"), layout, shape
            )
            for layout in LAYOUTS
            for shape in SHAPES
        }
        return {"commit": commit_record(repository), "images": images}


if __name__ == "__main__":
    target = Path(__file__).with_name("small.json")
    target.write_text(json.dumps(record(), indent=1, ensure_ascii=False, sort_keys=True) + "\n")
