"""A tree with everything that images are known to lose, on disk (as root) and as a tar of any user.

As a program it writes the tree: ``python tests/fidelity.py DIRECTORY``.
"""

from __future__ import annotations

import os
import stat
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

from plain_images import Change, directory, layer_tar, link, symlink

CAPABILITY_V2 = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
"""cap_net_bind_service, effective and permitted."""
CAPABILITY_V3 = struct.pack("<IIIIII", 0x03000001, 1 << 13, 0, 0, 0, 1000)
"""cap_net_raw for the root of a user namespace that is uid 1000 outside."""
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *entry)
    for entry in ((1, 7, 0xFFFFFFFF), (2, 4, 1000), (4, 5, 0xFFFFFFFF), (0x10, 5, 0xFFFFFFFF), (0x20, 5, 0xFFFFFFFF))
)
"""user::rwx user:1000:r-- group::r-x mask::r-x other::r-x"""
LONG = "l" * 200
DEEP = "/".join(["deep", *("d" * 60 for _ in range(5))])
TIME = 1_500_000_000


def changes() -> Iterator[Change]:
    """The tree, each directory before what is in it."""
    yield directory("./", 0o755, mtime=TIME)
    for path in ("etc", "usr", "usr/bin", "usr/share", "usr/lib", "var", "var/lib"):
        yield directory(path, mtime=TIME)
    yield Change("usr/bin/sudo", data=b"\x7fELF sudo", mode=0o4111, mtime=TIME)
    yield Change("usr/bin/ping", data=b"\x7fELF ping", mode=0o755, xattrs={"security.capability": CAPABILITY_V2})
    yield Change("usr/bin/newuidmap", data=b"\x7fELF", mode=0o755, xattrs={"security.capability": CAPABILITY_V3})
    yield link("usr/bin/ping6", "usr/bin/ping")
    yield Change("usr/share/with acl", data=b"acl\n", mode=0o755, xattrs={"system.posix_acl_access": ACL})
    yield directory("var/spool", 0o2775, gid=35, mtime=TIME)
    yield directory("usr/closed", 0o555, mtime=TIME)
    yield Change("usr/closed/inside", data=b"inside a directory that nobody may write", mode=0o444)
    yield Change("etc/attributes", data=b"user", xattrs={"user.empty": b"", "user.raw": bytes(range(1, 256)) + b"\0"})
    yield directory("usr/empty", 0o711, uid=3, gid=4, mtime=TIME)
    yield directory("var/tmp", 0o1777, mtime=TIME)
    yield Change("usr/lib/first", data=b"three names", mode=0o640, uid=1000, gid=100)
    yield link("etc/second name", "usr/lib/first")
    yield link("var/third", "usr/lib/first")
    yield Change("etc/empty", data=b"")
    yield link("etc/empty too", "etc/empty")
    yield symlink("usr/lib/dangling", "/nowhere/./at//all/" + "t" * 120)
    yield link("usr/lib/dangling too", "usr/lib/dangling")
    yield Change(f"usr/share/{LONG}", data=b"a name of 200 bytes")
    for depth in range(1, DEEP.count("/") + 2):
        yield directory("/".join(DEEP.split("/")[:depth]), mtime=TIME)
    yield Change(f"{DEEP}/{'f' * 90}", data=b"deep")
    yield link(f"{DEEP}/link to it", f"{DEEP}/{'f' * 90}")
    yield directory("usr/share/größe\n", mtime=TIME)
    yield Change("usr/share/größe\n/žluťoučký \t\x01", data=b"utf-8")
    yield Change("usr/share/\udcff\udcfe not utf-8", data=b"bytes")
    yield symlink("usr/share/to bytes", "\udcff\udcfe not utf-8")
    yield Change("usr/share/old", data=b"old", mtime=1)
    yield Change("usr/share/large ids", data=b"ids", uid=3_000_000, gid=4_000_000_000)
    yield Change("usr/share/a whiteout?.wh.x", data=b"no")
    yield Change("usr/lib/pipe", "fifo", mode=0o620, gid=5)


def tar(*, links: int = 0) -> bytes:
    """The tree as a tar, and a file with `links` names."""
    if not links:
        return layer_tar(changes())
    first = "usr/lib/many/00000"
    start = layer_tar([*changes(), directory("usr/lib/many", mtime=TIME), Change(first, data=b"many\n", mtime=TIME)])
    start = start[: -(-len(start.rstrip(b"\0")) // 512) * 512]
    head = layer_tar([link(first, first)])[:512]
    return start + b"".join(_renamed(head, number) for number in range(1, links)) + bytes(1024)


def _renamed(head: bytes, number: int) -> bytes:
    """The header with another number in its name; tarfile would take its time for so many."""
    digits = b"%05d" % number
    checksum = int(head[148:154], 8) + sum(digits) - sum(b"00000")
    return head[:13] + digits + head[18:148] + b"%06o\0 " % checksum + head[156:]


def make(root: Path) -> None:
    """The tree on disk, and what only a disk has: holes, devices, a socket's place. Only root can."""
    entries = list(changes())
    for change in entries:
        _write(root / change.path, change, root)
    with open(root / "var/lib/sparse", "wb") as file:
        file.seek(3 << 20)
        file.write(b"end")
        file.truncate(5 << 20)
    os.mknod(root / "usr/lib/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(root / "usr/lib/sda1", stat.S_IFBLK | 0o660, os.makedev(8, 1))
    for change in reversed(entries):
        if change.kind in ("directory", "file"):
            os.utime(root / change.path, (change.mtime, change.mtime))


def _write(path: Path, change: Change, root: Path) -> None:
    if change.kind == "directory":
        path.mkdir(exist_ok=True)
    elif change.kind == "file":
        path.write_bytes(change.data)
    elif change.kind == "fifo":
        os.mkfifo(path)
    elif change.kind == "symlink":
        path.symlink_to(change.to)
        return
    else:
        os.link(root / change.to, path, follow_symlinks=False)
        return
    os.chown(path, change.uid, change.gid)
    path.chmod(change.mode)
    for name, value in change.xattrs.items():
        os.setxattr(path, name, value)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.mkdir()
    make(place)
