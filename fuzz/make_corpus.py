"""Write the kept corpus: small inputs of every kind that the decoders take, and ones that they must refuse.

    python fuzz/make_corpus.py [DIRECTORY]

Names are the contents' hashes, so the same inputs are the same files. Inputs that a fuzzer found are kept beside them.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

import tarbuilder  # noqa: E402
from hostile_layers import HOSTILE  # noqa: E402
from ostrata.codecs import gvariant  # noqa: E402
from ostrata.model.ostree import Variant  # noqa: E402
from tarbuilder import Node  # noqa: E402
from targets import TYPES  # noqa: E402

LARGEST = 4_100
"""Bytes of an input: short ones are changed and run the most often."""
XATTRS = ((b"security.selinux", b"label\0"), (b"user.a", b"\xff"))
TREE = {
    "": Node("directory", 0o755),
    "usr": Node("directory", 0o1777, 1, 2, XATTRS),
    "usr/file ž": Node("file", 0o4755, 3, 4, XATTRS, b"content"),
    "usr/symlink": Node("symlink", 0o777, data=b"../target"),
}
DIGEST = "sha256:" + "0" * 64


def main() -> None:
    top = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "corpus"
    for name, inputs in (("tar", tars()), ("gvariant", gvariants()), ("contentmeta", metas()), ("oci", documents())):
        directory = top / name
        directory.mkdir(parents=True, exist_ok=True)
        for data in inputs:
            if len(data) <= LARGEST:
                (directory / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def tars() -> Iterator[bytes]:
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        yield python_tar(form)
    for case in HOSTILE.values():
        yield from case.layers("/out")


def python_tar(form: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for number, kind in enumerate((b"0", b"1", b"2", b"3", b"4", b"5", b"6")):
            member = tarfile.TarInfo(f"{'directory/' * 12 if number == 5 else ''}name {number}")
            member.type, member.linkname, member.mtime = kind, "target" if kind in b"12" else "", 1.5
            member.uid = 3_000_000 if number == 0 and form != tarfile.USTAR_FORMAT else 1
            member.size = 3 if kind == b"0" else 0
            if form == tarfile.PAX_FORMAT:
                member.pax_headers = {"SCHILY.xattr.user.a": "value", "comment": "ž"}
            archive.addfile(member, io.BytesIO(b"abc") if kind == b"0" else None)
    return buffer.getvalue().rstrip(b"\0") + bytes(1024 + 400)


def gvariants() -> Iterator[bytes]:
    values = {
        "a{sv}": {"version": Variant("s", "1"), "l": Variant("as", ["a", ""]), "n": Variant("v", Variant("t", 7))},
        "m(bv)": (True, Variant("(dsx)", (1.5, "text", -1))),
        "aad": [[1.0, 2.0], [], [3.5]],
        "(tuuuusa(ayay))": (1, 2, 3, 4, 5, "target", [(b"user.a\0", b"v")]),
    }
    for kind, value in values.items():
        yield chosen(kind, gvariant.encode(kind, value))
    commit = tarbuilder.commit_bytes(TREE)
    yield chosen("(a{sv}aya(say)sstayay)", commit)
    yield chosen("(a(say)a(sayay))", tarbuilder.dirtree_bytes(TREE, ""))
    yield chosen("(a(say)a(sayay))", tarbuilder.dirtree_bytes(TREE, "usr"))
    yield chosen("(uuua(ayay))", tarbuilder.dirmeta_bytes(TREE["usr"]))
    yield chosen("a(ayay)", tarbuilder.xattrs_bytes(XATTRS))
    yield chosen("a(ayay)", tarbuilder.xattrs_bytes(((b"user.long", bytes(300)), *XATTRS)))
    yield chosen("(a{sv}aya(say)sstayay)", commit[:-1])
    yield chosen("a{sv}", b"xyz")
    yield chosen("aad", b"\0" * 40 + b"v" * 40)


def chosen(kind: str, data: bytes) -> bytes:
    return bytes([TYPES.index(kind)]) + data


def metas() -> Iterator[bytes]:
    checksum = "0123456789abcdef" * 4
    good = {"version": 1, "layers": {"a": "A ž", "b": "B"}, "mapping": {checksum: "a"}, "ordered": True}
    good |= {"created": "2024-05-17T12:00:00Z", "labels": {"k": "v\n\u2028"}}
    yield json.dumps(good).encode()
    yield json.dumps(good, ensure_ascii=False, indent=1).encode()
    for key, value in {"version": 2, "created": "2024-02-30T00:00:00+99:00", "layers": {"a": 1}, "ordered": 1}.items():
        yield json.dumps(good | {key: value}).encode()
    yield json.dumps(good | {"mapping": {checksum: "c"}}).encode()
    yield from odd_json(json.dumps(good).encode())


def documents() -> Iterator[bytes]:
    named = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": DIGEST, "size": 7}
    index = {"schemaVersion": 2, "manifests": [named | {"platform": {"architecture": "amd64", "os": "linux"}}]}
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": DIGEST, "size": 1 << 40}
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": DIGEST, "size": 2}
    manifest = {"schemaVersion": 2, "config": config, "layers": [layer | {"annotations": {"ostree.components": "a,b"}}]}
    image = {
        "architecture": "arm64",
        "os": "linux",
        "created": "2024-05-17T12:00:00.5Z",
        "config": {"Labels": {"ostree.final-diffid": DIGEST}, "Env": None},
        "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
        "history": [{"created_by": "x"}, {"empty_layer": True}],
    }
    for document in (index, manifest, image, manifest | {"layers": None}, index | {"manifests": None}):
        yield json.dumps(document).encode()
    yield b'{"imageLayoutVersion":"1.0.0"}'
    for document in (index, manifest, image):
        yield from odd_json(json.dumps(document).encode())


def odd_json(good: bytes) -> Iterator[bytes]:
    yield b"\xef\xbb\xbf" + good
    yield good + b"x"
    yield good[:-1]
    for member in (
        b'"k":1,"k":2',
        b'"k":NaN',
        b'"k":1e999',
        b'"k":' + b"9" * 50,
        rb'"k":"\ud800"',
        b'"k":' + b"[" * 200,
    ):
        yield b"{" + member + b"," + good[1:]


if __name__ == "__main__":
    main()
