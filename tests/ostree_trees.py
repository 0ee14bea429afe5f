"""Trees to commit, with every shape of name, target and attribute that a commit can hold."""

from __future__ import annotations

import os
from pathlib import Path

NAMES = (
    "plain",
    "with space",
    "new\nline",
    "tab\there",
    "žluťoučký",
    "日本語",
    "-dash",
    "back\\slash",
    ".hidden",
    "n" * 255,
)
TARGETS = (
    "plain",
    "../up",
    "/abs/olute",
    "dangling/žluť",
    "with space",
    "new\nline",
    "//double//slash/",
    "..",
    "x" * 4000,
)
MODES = (0o644, 0o755, 0o600, 0o400, 0o444, 0o000, 0o666, 0o777, 0o4755, 0o2755, 0o6711, 0o1644, 0o7777)


def make_tree(path: Path) -> Path:
    """A tree that any user can make; sorted and unsorted creation give the same commit."""
    path.mkdir()
    for number, name in enumerate(NAMES):
        (path / name).write_bytes(name.encode() * number)
    modes = path / "modes"
    modes.mkdir()
    for mode in MODES:
        (modes / f"f{mode:04o}").write_bytes(b"%o" % mode)
        (modes / f"d{mode:04o}").mkdir()
    links = path / "links"
    links.mkdir()
    for number, target in enumerate(TARGETS):
        (links / f"l{number}").symlink_to(target)
        os.link(links / f"l{number}", links / f"hard{number}", follow_symlinks=False)
    (path / "twin of plain").write_bytes(b"")
    os.link(path / "with space", modes / "hard link")
    (path / "empty").mkdir()
    deep = path / "deep"
    for _ in range(30):
        deep = deep / "deeper still"
    deep.mkdir(parents=True)
    (deep / "bottom").write_bytes(b"bottom")
    (path / "big").write_bytes(os.urandom(1 << 16) * 50)  # 3.2 MB: larger than what is read whole
    (path / "limit").write_bytes(bytes(1 << 20))
    crowd = path / "crowd"
    crowd.mkdir()
    for number in range(600):  # more than a work unit
        (crowd / f"f{number}").write_bytes(b"%d" % (number % 500))
    for mode in MODES:
        (modes / f"f{mode:04o}").chmod(mode)
        if mode & 0o500 == 0o500 or os.geteuid() == 0:
            (modes / f"d{mode:04o}").chmod(mode)
    return path


def add_what_needs_root(tree: Path) -> None:
    """Owners, and xattrs of the namespaces that only root may write."""
    os.chown(tree / "plain", 1000, 1001)
    os.chown(tree / "links/l0", 5, 6, follow_symlinks=False)
    os.chown(tree / "empty", 65534, 65534)
    os.setxattr(tree / "links/l1", "trusted.link", b"on a link", follow_symlinks=False)
    os.setxattr(tree / "-dash", "trusted.t", b"\0binary\xff")
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(tree / "modes/f0755", "security.capability", capability)


def add_user_xattrs(tree: Path) -> None:
    """Attributes of the user.* namespace, some without a value. Raises: OSError where there is no support."""
    for name in ("user.b", "user.a", "user.ostreemeta", "user.ž"):
        os.setxattr(tree / "with space", name, name.encode())
    os.setxattr(tree / "with space", "user.empty", b"")
    os.setxattr(tree / "plain", "user.empty", b"")
    os.setxattr(tree / "empty", "user.directory", b"x" * 300)
    os.setxattr(tree, "user.root", b"root")
