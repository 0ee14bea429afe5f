"""Images of plain layers for tests, each layer a list of `Change`s, and random ones; and trees as they lie on disk."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import stat
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ostrata.model.image import LAYER_GZIP, LAYER_TAR, StoredImage
from ostrata.protocols import BlobStore
from ostrata.stores.images import open_store, read_image
from ostrata.stores.reference import ImageReference

TYPES = {
    "file": tarfile.REGTYPE,
    "directory": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "link": tarfile.LNKTYPE,
    "fifo": tarfile.FIFOTYPE,
    "char": tarfile.CHRTYPE,
    "block": tarfile.BLKTYPE,
}


@dataclass(frozen=True)
class Change:
    """One entry of a layer. `xattrs` are by name without prefix; `to` is a link's or symlink's target."""

    path: str
    kind: str = "file"
    data: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 1_000_000_000
    to: str = ""
    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    device: tuple[int, int] = (0, 0)


def directory(path: str, mode: int = 0o755, **more: object) -> Change:
    return Change(path, "directory", mode=mode, **more)  # type: ignore[arg-type]


def symlink(path: str, to: str) -> Change:
    return Change(path, "symlink", to=to, mode=0o777)


def link(path: str, to: str) -> Change:
    return Change(path, "link", to=to)


def whiteout(path: str) -> Change:
    parent, _, name = path.rpartition("/")
    return Change(f"{parent}/.wh.{name}" if parent else f".wh.{name}")


def opaque(path: str) -> Change:
    return Change(f"{path}/.wh..wh..opq" if path else ".wh..wh..opq")


def layer_tar(changes: Iterable[Change]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as tar:
        for change in changes:
            member = tarfile.TarInfo(change.path)
            member.type = TYPES[change.kind]
            member.mode, member.uid, member.gid, member.mtime = change.mode, change.uid, change.gid, change.mtime
            member.linkname = change.to
            member.devmajor, member.devminor = change.device
            member.size = len(change.data) if change.kind == "file" else 0
            member.pax_headers = {
                f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape")
                for name, value in change.xattrs.items()
            }
            tar.addfile(member, io.BytesIO(change.data) if change.kind == "file" else None)
    return buffer.getvalue()


def write_image(
    path: Path,
    layers: Sequence[Iterable[Change] | bytes],
    *,
    compresses: bool = True,
    created: str | None = "2024-05-17T12:00:00Z",
    labels: Mapping[str, str] | None = None,
) -> tuple[BlobStore, StoredImage]:
    """Write a layout with one image, tagged ``t``; a layer of bytes is a whole tar."""
    blobs = path / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, media_type: str) -> dict[str, object]:
        name = hashlib.sha256(data).hexdigest()
        (blobs / name).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{name}", "size": len(data)}

    tars = [each if isinstance(each, bytes) else layer_tar(each) for each in layers]
    descriptors = [
        put(gzip.compress(tar, 1, mtime=0), LAYER_GZIP) if compresses else put(tar, LAYER_TAR) for tar in tars
    ]
    config: dict[str, object] = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Labels": dict(labels or {})},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in tars]},
        "history": [{"created_by": f"layer {number}"} for number in range(len(tars))],
    }
    if created is not None:
        config["created"] = created
    media_type = "application/vnd.oci.image.manifest.v1+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": put(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": descriptors,
    }
    entry = put(json.dumps(manifest).encode(), media_type)
    index = {
        "schemaVersion": 2,
        "manifests": [{**entry, "annotations": {"org.opencontainers.image.ref.name": "t"}}],
    }
    (path / "index.json").write_text(json.dumps(index))
    (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return read_layout(path)


def read_layout(path: Path) -> tuple[BlobStore, StoredImage]:
    store = open_store(ImageReference("oci", str(path), "t"))
    return store, read_image(store, tag="t")


# Random layers


NAMES = ("a", "b file", "c\nline", "ü", "d.conf", "e", "f" * 90, "g", "\udcff")
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")


class RandomLayers:
    """Makes layers that change what earlier ones made: the ways in which builds change trees.

    Whiteouts come first in their layer, as writers put them.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._tree: dict[str, str] = {"": "directory"}  # path -> kind
        self._count = 0

    def layer(self, changes: int) -> list[Change]:
        hidden = [change for _ in range(changes // 8) for change in self._hide()]
        return hidden + [change for _ in range(changes) for change in self._put()]

    def _hide(self) -> list[Change]:
        # Of three, the deepest: hiding the top every other time would leave little to test.
        path = max(self._random.choices(sorted(self._tree), k=3), key=lambda found: found.count("/"))
        if self._random.random() < 0.4 and self._tree[path] == "directory":
            self._remove_below(path)
            return [opaque(path)]
        if not path:
            return []
        self._remove_below(path)
        del self._tree[path]
        return [whiteout(path)]

    def _put(self) -> list[Change]:
        parent = self._random.choice(sorted(path for path, kind in self._tree.items() if kind == "directory"))
        if parent.count("/") > 4:
            parent = ""
        path = f"{parent}/{self._random.choice(NAMES)}" if parent else self._random.choice(NAMES)
        make = self._random.choice((self._file, self._file, self._dir, self._dir, self._link, self._other))
        return make(path)

    def _replace(self, path: str, kind: str) -> None:
        if kind != "directory" or self._tree.get(path) != "directory":
            self._remove_below(path)
        self._tree[path] = kind

    def _remove_below(self, path: str) -> None:
        prefix = f"{path}/" if path else ""
        for other in [other for other in self._tree if other != path and other.startswith(prefix)]:
            del self._tree[other]

    def _attributes(self, modes: Sequence[int]) -> dict[str, object]:
        self._count += 1
        xattrs = {"user.n": b"%d" % self._count} if self._random.random() < 0.2 else {}
        return {
            "mode": self._random.choice(modes),
            "uid": self._random.choice((0, 1, 65534)),
            "gid": self._random.choice((0, 35)),
            "mtime": 1_000_000_000 + self._count,
            "xattrs": xattrs,
        }

    def _file(self, path: str) -> list[Change]:
        attributes = self._attributes((0o644, 0o600, 0o4755, 0o2755, 0o000))
        if self._random.random() < 0.1:
            attributes["xattrs"] = {"security.capability": CAPABILITY}
        self._replace(path, "file")
        return [Change(path, data=bytes(self._random.choices(b"abc\n", k=self._count % 700)), **attributes)]  # type: ignore[arg-type]

    def _dir(self, path: str) -> list[Change]:
        self._replace(path, "directory")
        return [Change(path, "directory", **self._attributes((0o755, 0o700, 0o1777, 0o2775, 0o555)))]  # type: ignore[arg-type]

    def _link(self, path: str) -> list[Change]:
        targets = [other for other, kind in self._tree.items() if kind in ("file", "symlink", "fifo")]
        targets = [other for other in targets if other != path and not other.startswith(f"{path}/")]
        if not targets:
            return []
        target = self._random.choice(sorted(targets))
        self._replace(path, self._tree[target])
        return [link(path, target)]

    def _other(self, path: str) -> list[Change]:
        kind = self._random.choice(("symlink", "fifo"))
        self._replace(path, kind)
        to = self._random.choice(("/etc/passwd", "nowhere", "a", "..")) if kind == "symlink" else ""
        return [Change(path, kind, to=to, **(self._attributes((0o644, 0o600)) | {"xattrs": {}}))]  # type: ignore[arg-type]


# Trees on disk


@dataclass(frozen=True)
class Found:
    """An entry as it lies on disk. `data` is content, target or device number; `group` the first of its names."""

    mode: int
    uid: int
    gid: int
    mtime: int
    data: bytes | int | None
    xattrs: tuple[tuple[str, bytes], ...]
    group: bytes


def snapshot(root: Path | str) -> dict[bytes, Found]:
    """Every entry below `root`, which itself is ``.``."""
    found: dict[bytes, Found] = {}
    inodes: dict[int, bytes] = {}
    top = os.fsencode(root)
    for parent, directories, files in os.walk(top):
        links = [name for name in directories if os.path.islink(os.path.join(parent, name))]
        for name in sorted([b".", *files, *links]):
            path = os.path.normpath(os.path.join(parent, name))
            found[os.path.relpath(path, top)] = _look(path, os.path.relpath(path, top), inodes)
    return found


def _look(path: bytes, name: bytes, inodes: dict[int, bytes]) -> Found:
    status = os.lstat(path)
    data: bytes | int | None = None
    if stat.S_ISREG(status.st_mode):
        data = Path(os.fsdecode(path)).read_bytes()
    elif stat.S_ISLNK(status.st_mode):
        data = os.readlink(path)
    elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        data = status.st_rdev
    names = os.listxattr(path, follow_symlinks=False)
    xattrs = tuple(sorted((key, os.getxattr(path, key, follow_symlinks=False)) for key in names))
    group = name if stat.S_ISDIR(status.st_mode) else inodes.setdefault(status.st_ino, name)
    return Found(status.st_mode, status.st_uid, status.st_gid, int(status.st_mtime), data, xattrs, group)
