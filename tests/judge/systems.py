"""Three small systems, each with the database of its packages: dpkg's, rpm's, pacman's.

All have /usr/bin/busybox, and what images of systems have and copies lose: sudo with mode 4111, a ping with a
capability, hard links, a sticky /var/tmp, a directory that only its group may write to.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from judge.chroot import Chroot, run
from judge.rootfs import CAP_NET_RAW, capability

BUSYBOX = "usr/bin/busybox"
PING = "usr/bin/ping"
PROGRAMS = ("sh", "cat", "ls", "rm", "mv", "mkdir", "chmod", "chown", "ln", "grep", "mkfifo")
"""What is a link to busybox where there is no other."""

_DAY = 86_400
_BUILT = 1_715_947_200


def make_debian(root: Path, chroot: Chroot, place: Path) -> None:
    """The required packages of the chroot, which is a Debian, as dpkg lists them; nothing else of it."""
    database = chroot.path / "var/lib/dpkg"
    ask = ("dpkg-query", "--admindir", os.fspath(database))
    listed = run([*ask, "-W", "-f", "${Priority} ${binary:Package}\n"], 60).splitlines()
    names = [name for priority, _, name in (line.partition(" ") for line in listed) if priority == "required"]
    paths = run([*ask, "-L", *names], 60).splitlines()
    info = [f"/{path.relative_to(chroot.path)}" for name in names for path in (database / "info").glob(f"{name}.*")]
    _copy(chroot.path, root, [path for path in (*paths, *info) if path.startswith("/")])
    for directory in ("info", "updates"):
        (root / "var/lib/dpkg" / directory).mkdir(parents=True, exist_ok=True)
    status = [run([*ask, "-s", name], 60) for name in names]
    (root / "var/lib/dpkg/status").write_text("\n".join(status))
    _write(root / BUSYBOX, (chroot.path / BUSYBOX).read_bytes(), 0o755)
    _make_oddities(root)


def make_rpm(root: Path, chroot: Chroot, place: Path) -> None:
    """Two packages that rpmbuild builds and rpm installs; raises `JudgeError` where they fail."""
    spec = place / "system.spec"
    spec.write_text(_SPEC.replace("BUSYBOX", os.fspath(chroot.path / BUSYBOX)).replace("PROGRAMS", " ".join(PROGRAMS)))
    run(["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {place}/rpmbuild", os.fspath(spec)], 120)
    packages = sorted(map(os.fspath, (place / "rpmbuild/RPMS").rglob("*.rpm")))
    root.mkdir()
    options = ["--root", os.fspath(root), "--dbpath", "/usr/lib/sysimage/rpm", "--define", "_db_backend sqlite"]
    run(["rpm", *options, "-i", "--nodeps", "--noscripts", "--force-debian", *packages], 120)
    _make_oddities(root)


def make_arch(root: Path, chroot: Chroot, place: Path) -> None:
    """Packages as pacman would have them in its database (`desc`, `files` and `mtree`), written here."""
    root.mkdir()
    busybox = (chroot.path / BUSYBOX).read_bytes()
    _install(root, "busybox", {BUSYBOX: (busybox, 0o755)}, links=PROGRAMS)
    _install(root, "iputils", {PING: (b"like ping\n", 0o755), "usr/bin/arping": (b"like arping\n", 0o755)})
    _install(root, "sudo", {"usr/bin/sudo": (b"like sudo\n", 0o4111), "etc/sudoers": (b"root ALL\n", 0o440)})
    (root / "var/lib/pacman/local/ALPM_DB_VERSION").write_text("9\n")
    _make_oddities(root)


def _install(root: Path, name: str, files: dict[str, tuple[bytes, int]], links: Iterable[str] = ()) -> None:
    for path, (data, mode) in files.items():
        _write(root / path, data, mode)
    for link in links:
        (root / "usr/bin" / link).symlink_to("busybox")
    paths = sorted([*files, *(f"usr/bin/{link}" for link in links)])
    directories = sorted({f"{parent}/" for path in paths for parent in Path(path).parents if str(parent) != "."})
    entry = root / f"var/lib/pacman/local/{name}-1.0-1"
    size = sum(len(data) for data, _ in files.values())
    desc = {"NAME": name, "VERSION": "1.0-1", "BASE": name, "ARCH": "x86_64", "BUILDDATE": _BUILT, "SIZE": size}
    mtree = ["#mtree", "/set type=file uid=0 gid=0 mode=644"]
    for path, (data, mode) in files.items():
        digest = hashlib.sha256(data).hexdigest()
        mtree.append(f"./{path} time={_BUILT}.0 mode={mode:o} size={len(data)} sha256digest={digest}")
    _write(entry / "desc", "".join(f"%{key}%\n{value}\n\n" for key, value in desc.items()).encode())
    _write(entry / "files", "\n".join(["%FILES%", *directories, *paths, "", ""]).encode())
    _write(entry / "mtree", gzip.compress("\n".join([*mtree, ""]).encode(), mtime=0))


def _make_oddities(root: Path) -> None:
    """What all have; programs and directories that are there already stay."""
    for path, mode in (("etc", 0o755), ("var/tmp", 0o1777), ("tmp", 0o1777), ("proc", 0o555), ("dev", 0o755)):
        (root / path).mkdir(parents=True, exist_ok=True)
        (root / path).chmod(mode)
    for name in PROGRAMS:
        if not os.path.lexists(root / "usr/bin" / name):
            (root / "usr/bin" / name).symlink_to("busybox")
    for path, content, mode in (("usr/bin/sudo", b"like sudo\n", 0o4111), (PING, b"like ping\n", 0o755)):
        if not os.path.lexists(root / path):
            _write(root / path, content, mode)
    if not os.listxattr(root / PING):  # rpm sets it
        os.setxattr(root / PING, "security.capability", capability(CAP_NET_RAW))
    _write(root / "usr/share/odd/na\u00efve \n name", b"odd\n")
    os.setxattr(root / "usr/share/odd", "user.note", b"of a directory")
    os.link(root / "usr/share/odd/na\u00efve \n name", root / "usr/share/odd/linked")
    os.chown(root / "usr/share/odd", 0, 35)
    (root / "usr/share/odd").chmod(0o2775)
    if not os.path.lexists(root / "etc/passwd"):
        _write(root / "etc/passwd", b"root:x:0:0::/:/bin/sh\n")
    if not os.path.lexists(root / "bin"):
        (root / "bin").symlink_to("usr/bin")


def _copy(source: Path, root: Path, paths: Iterable[str]) -> None:
    """Those of the paths that are there, and their parents; GNU tar keeps links, owners and capabilities."""
    wanted: dict[str, None] = {}
    for path in paths:
        found = Path(os.path.realpath(source / path[1:].rpartition("/")[0])) / path.rpartition("/")[2]
        if found.is_relative_to(source) and os.path.lexists(found):
            wanted |= dict.fromkeys(
                os.fspath(each.relative_to(source))
                for each in (*found.parents[::-1], found)
                if each.is_relative_to(source)
            )
    for alias in ("bin", "sbin", "lib", "lib64"):
        wanted |= {alias: None} if (source / alias).is_symlink() else {}
    root.mkdir()
    options = ["--xattrs", "--xattrs-include=*", "--numeric-owner"]
    listing = "\0".join(path for path in wanted if path != ".").encode()
    create = ["tar", "-C", source, *options, "--no-recursion", "--null", "--verbatim-files-from", "-T-", "-cf-"]
    with subprocess.Popen(create, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as creating:
        assert creating.stdin is not None
        extract = subprocess.Popen(["tar", "-C", root, *options, "-xpf-"], stdin=creating.stdout)
        creating.stdin.write(listing)
        creating.stdin.close()
        assert (extract.wait(), creating.wait()) == (0, 0)


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


_SPEC = """
Name: busybox
Version: 1.37
Release: 1
Summary: x
License: MIT
AutoReqProv: no

%description
x

%package -n tools
Summary: x
%description -n tools
x

%prep
%build
%global __os_install_post %{nil}
%global debug_package %{nil}

%install
mkdir -p %{buildroot}/usr/bin %{buildroot}/etc
cp BUSYBOX %{buildroot}/usr/bin/busybox
for name in PROGRAMS; do ln -s busybox %{buildroot}/usr/bin/$name; done
echo like sudo > %{buildroot}/usr/bin/sudo
echo like ping > %{buildroot}/usr/bin/ping
echo rc > %{buildroot}/etc/rc

%files
%attr(755,root,root) /usr/bin/busybox
PROGRAM_FILES

%files -n tools
%attr(4111,root,root) /usr/bin/sudo
%caps(cap_net_raw=ep) %attr(755,root,root) /usr/bin/ping
%config /etc/rc

%changelog
* Mon Jan 02 2023 B <a@b> - 1
- one
""".replace("PROGRAM_FILES", "\n".join(f"/usr/bin/{name}" for name in PROGRAMS))
