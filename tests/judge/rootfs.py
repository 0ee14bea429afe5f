"""A small root filesystem in which everything is odd that may be odd, and a way to say what a tree holds."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from dataclasses import dataclass, replace
from pathlib import Path

CAP_NET_BIND_SERVICE = 10
CAP_NET_RAW = 13

NAMES = (
    "with space",
    "new\nline",
    "tab\there",
    "back\\slash",
    "na\u00efve-\u00fc",
    "na\u0069\u0308ve",
    "\u65e5\u672c\u8a9e",
    "..foo",
    "-dash",
    "*?[x]",
    "'\"",
    ".hidden",
    "n" * 120,
    "\u00fc" * 60,
)
LINKS = {
    "absolute": "/usr/bin/busybox",
    "up": "../..",
    "slash-at-the-end": "../bin/",
    "dot": ".",
    "not-ascii": "\u65e5\u672c\u8a9e",
    "of-99": "t" * 99,
    "of-100": "d" * 49 + "/" + "t" * 50,
    "of-101": "d" * 50 + "/" + "t" * 50,
    "of-300": "/".join(["component-of-nineteen"] * 15)[:300],
    "one-component-of-200": "c" * 200,
    "denormal": "a//b",
}
ODD_LINKS = {
    "root": "/",
    "root-dot": "/.",
    "two-slashes": "//",
    "dot-dot": "./.",
    "dot-inside": "a/./b",
    "dot-at-the-end": "foo/.",
    "long-dot": "l" * 60 + "/./" + "l" * 60,
    "long-denormal": "l" * 60 + "//" + "l" * 60,
}
"""Targets that upstream's exporter damages or refuses."""


def make(root: Path, busybox: Path, *, odd_links: bool = True, var_tmp: bool = True) -> Path:
    """Make the tree at `root`; only root can. `busybox`: a static program that runs in a container of it."""
    root.mkdir(mode=0o755)
    for path, mode in (
        ("usr/bin", 0o755),
        ("usr/lib/capable", 0o755),
        ("usr/share/names", 0o755),
        ("usr/share/links", 0o755),
        ("usr/share/sticky", 0o1777),
        ("usr/etc/sub", 0o750),
        ("usr/etcetera", 0o755),
        ("usr/share/" + "/".join(["deep-directory-with-a-name"] * 6), 0o755),
        ("var/home/user", 0o700),
        *((("var/tmp", 0o1777),) if var_tmp else ()),
        ("sysroot", 0o755),
        ("tmp", 0o1777),
        ("proc", 0o555),
        ("sys", 0o555),
        ("dev", 0o755),
        ("run", 0o755),
    ):
        (root / path).mkdir(parents=True)
        (root / path).chmod(mode)
    _make_programs(root, busybox)
    _make_files(root)
    _make_links(root, LINKS | (ODD_LINKS if odd_links else {}))
    if var_tmp:
        _write(root, "var/tmp/left over", b"left over\n")
    os.chown(root / "usr/etc", 0, 3)
    (root / "usr/etc").chmod(0o2751)
    os.chown(root / "var/home/user", 1000, 3_000_000)
    os.setxattr(root / "var/home", "user.of-a-directory", b"kept in the commit only")
    root.chmod(0o751)
    return root


def _make_programs(root: Path, busybox: Path) -> None:
    for name in ("usr/bin/busybox", "usr/lib/capable/busybox"):
        shutil.copyfile(busybox, root / name)
        (root / name).chmod(0o755)
    _write(root, "usr/bin/ping", b"like ping\n", mode=0o755)
    _write(root, "usr/bin/sudo", b"like sudo\n", mode=0o4755)
    _write(root, "usr/bin/wall", b"like wall\n", mode=0o2755, gid=5)
    os.setxattr(root / "usr/lib/capable/busybox", "security.capability", capability(CAP_NET_BIND_SERVICE))
    os.setxattr(root / "usr/bin/ping", "security.capability", capability(CAP_NET_RAW))


def _make_files(root: Path) -> None:
    for number, name in enumerate(NAMES):
        _write(root, f"usr/share/names/{name}", f"{number}\n".encode(), mode=0o640 if number % 2 else 0o644)
    for length in (97, 98, 99, 100, 101, 102):
        path = "usr/share/length-"
        _write(root, path + "p" * (length - len(path)), b"%d\n" % length)
    _write(root, "usr/share/" + "/".join(["deep-directory-with-a-name"] * 6) + "/file", b"deep\n")
    _write(root, "usr/share/empty", b"", mode=0o600, uid=7, gid=9)
    _write(root, "usr/etc/empty", b"", mode=0o644)
    _write(root, "usr/etc/sub/secret", b"secret\n", mode=0o400)
    _write(root, "usr/etc/passwd", b"root:x:0:0::/:/bin/sh\n")
    _write(root, "usr/etcetera/not-etc", b"not etc\n")
    _write(root, "usr/share/large", bytes(range(256)) * 5000 + b"!")
    _write(root, "usr/share/owned", b"owned\n", uid=2_097_151, gid=2_097_152)
    _write(root, "usr/share/unreadable", b"0000\n", mode=0)
    _write(root, "var/home/user/.profile", b"umask 022\n", uid=1000, gid=1000)
    for path, xattrs in (
        ("usr/share/noted", {"user.note": "gr\u00fc\u00dfe\n".encode()}),
        ("usr/share/labelled", {"security.selinux": b"system_u:object_r:usr_t:s0\0"}),
        ("usr/share/both", {"security.selinux": b"system_u:object_r:usr_t:s0\0", "user.note": b"\0\1=2"}),
    ):
        _write(root, path, path.encode())
        for name, value in xattrs.items():
            os.setxattr(root / path, name, value)
    _write(root, "usr/share/linked", b"linked\n")
    os.link(root / "usr/share/linked", root / "usr/share/linked-again")
    os.link(root / "usr/share/linked", root / "usr/etc/linked")


def _make_links(root: Path, links: dict[str, str]) -> None:
    for name, target in links.items():
        os.symlink(target, root / "usr/share/links" / name)
    os.symlink("a target of somebody", root / "usr/share/links/owned")
    os.chown(root / "usr/share/links/owned", 1000, 1001, follow_symlinks=False)
    for name, target in (("bin", "usr/bin"), ("ostree", "sysroot/ostree")):
        os.symlink(target, root / name)


def _write(root: Path, path: str, content: bytes, *, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
    (root / path).write_bytes(content)
    os.chown(root / path, uid, gid)
    (root / path).chmod(mode)


def capability(number: int) -> bytes:
    """`security.capability`, revision 2, with one capability effective and permitted."""
    return b"".join(field.to_bytes(4, "little") for field in (0x0200_0001, 1 << number, 0, 0, 0))


@dataclass(frozen=True, slots=True)
class Seen:
    """What a tree says about one path. `content`: the target of a link, the SHA-256 of a file."""

    kind: str
    mode: int
    uid: int
    gid: int
    content: str = ""
    xattrs: tuple[tuple[str, bytes], ...] = ()


def see(root: Path) -> dict[str, Seen]:
    """Everything at and below `root` (which is ""), by relative path; no link is followed."""
    seen = {"": _see(root)}
    for directory, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = Path(directory) / name
            seen[os.fspath(path.relative_to(root))] = _see(path)
    return seen


def _see(path: Path) -> Seen:
    status = path.lstat()
    owner = (status.st_uid, status.st_gid)
    if stat.S_ISLNK(status.st_mode):
        return Seen("symlink", 0, *owner, os.readlink(path))
    kind = {stat.S_IFREG: "file", stat.S_IFDIR: "directory"}.get(stat.S_IFMT(status.st_mode), "other")
    content = hashlib.sha256(path.read_bytes()).hexdigest() if kind == "file" else ""
    xattrs = tuple((name, os.getxattr(path, name)) for name in sorted(os.listxattr(path)))
    return Seen(kind, stat.S_IMODE(status.st_mode), *owner, content, xattrs)


def in_a_container(tree: dict[str, Seen], *, with_xattrs: bool) -> dict[str, Seen]:
    """What a container of the commit of `tree` holds beside the repository below /sysroot.

    /usr/etc is found at /etc, and there always is a /var/tmp. If the layout has extended attributes at all, a runtime
    gets those of regular files that are not empty, but for the SELinux label.
    """
    expected = {"var/tmp": Seen("directory", 0o1777, 0, 0)}
    for path, entry in tree.items():
        shown = with_xattrs and entry.kind == "file" and entry.content != hashlib.sha256().hexdigest()
        xattrs = tuple(item for item in entry.xattrs if shown and item[0] != "security.selinux")
        moved = path.removeprefix("usr/") if path == "usr/etc" or path.startswith("usr/etc/") else path
        expected[moved] = replace(entry, xattrs=xattrs)
    expected["sysroot"] = Seen("directory", 0o755, 0, 0)
    return expected


def without_repository(tree: dict[str, Seen]) -> dict[str, Seen]:
    """`tree` without what is below /sysroot."""
    return {path: entry for path, entry in tree.items() if not path.startswith("sysroot/")}
