"""Package databases that rpm and dpkg made: the same packages and paths as these programs tell."""

from __future__ import annotations

import gzip
import os
import shlex
import shutil
import sqlite3
import subprocess
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

import rpm_databases
from ostrata.errors import UnsupportedError
from ostrata.model.package import Package
from ostrata.packages.databases import DATABASES
from ostrata.sources.directory import open_directory

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can install packages into a root of their own"),
]
SPEC = """
Name: shell
Epoch: 2
Version: 1.5~rc1
Release: 3
Summary: x
License: MIT

%description
x

%package -n shell-libs
Summary: x
Epoch: 0
Version: 7
%description -n shell-libs
x

%package empty
Summary: x
BuildArch: noarch
%description empty
x

%install
mkdir -p %{buildroot}/usr/bin %{buildroot}/etc "%{buildroot}/usr/share/a dir" %{buildroot}/usr/lib
echo shell > %{buildroot}/usr/bin/shell
ln -s shell %{buildroot}/usr/bin/sh
echo rc > %{buildroot}/etc/rc
echo cache > %{buildroot}/etc/cache
echo é > "%{buildroot}/usr/share/a dir/žluť"
ln %{buildroot}/usr/bin/shell %{buildroot}/usr/bin/shell.link
echo lib > %{buildroot}/usr/lib/libshell

%files
/usr/bin/*
%config /etc/rc
%ghost /etc/cache
"/usr/share/a dir"

%files -n shell-libs
/usr/lib/libshell
/usr/bin/shell

%files empty

%changelog
* Thu Dec 31 2026 A <a@b> - 3
- in week 53
* Mon Jan 02 2023 B <a@b> - 2
- two
* Mon Jan 02 2023 C <a@b> - 2
- again
* Sat Jan 01 2000 D <a@b> - 1
- one
"""


@pytest.fixture(scope="module")
def rpm_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root in which rpm has installed the packages of SPEC."""
    for program in ("rpm", "rpmbuild"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    place = tmp_path_factory.mktemp("rpm")
    (place / "shell.spec").write_text(SPEC)
    _run("rpmbuild", "-bb", "--quiet", "--define", f"_topdir {place}/build", place / "shell.spec")
    packages = sorted((place / "build/RPMS").rglob("*.rpm"))
    assert len(packages) == 3
    (place / "root").mkdir()
    options = ["--root", place / "root", "--dbpath", "/usr/lib/sysimage/rpm", "--define", "_db_backend sqlite"]
    _run("rpm", *options, "-i", "--nodeps", "--noscripts", "--force-debian", *packages)
    return place / "root"


def _run(*arguments: str | os.PathLike[str]) -> str:
    # dpkg refuses to install when the administrator's programs are not on the PATH, as they often are not for users.
    environment = os.environ | {"PATH": f"{os.environ['PATH']}:/usr/local/sbin:/usr/sbin:/sbin"}
    command = [os.fspath(argument) for argument in arguments]
    done = subprocess.run(command, capture_output=True, timeout=120, env=environment)
    assert done.returncode == 0, f"{arguments[0]} failed: {done.stderr!r}"
    return done.stdout.decode("utf-8", "surrogateescape")


def ask_rpm(root: Path, copy: Path, query: str) -> list[str]:
    """The lines of an answer; rpm writes into the database that it reads: it gets a copy."""
    shutil.copytree(root / "usr/lib/sysimage/rpm", copy, dirs_exist_ok=True)
    return sorted(_run("rpm", "--dbpath", copy, "-qa", "--qf", query).splitlines())


def read(name: str, root: Path) -> list[Package]:
    packages = DATABASES[name].read(open_directory(os.fspath(root)))
    assert packages is not None
    return packages


def test_rpm_tells_the_same_packages(rpm_root: Path, tmp_path: Path) -> None:
    expected = ask_rpm(rpm_root, tmp_path / "db", "%{name} %{evr} %{arch} %{buildtime} %{longsize}\n")
    found = read("rpm", rpm_root)
    assert len(found) == 3
    told = {line.split(" ")[0]: line.split(" ") for line in expected}
    for package in found:
        assert told[package.name][:3] == [package.name, package.version, package.arch]
        assert told[package.name][-1] == str(package.size)
        assert package.source == "shell"
        assert package.built == datetime.fromtimestamp(int(told[package.name][3]), UTC).date()
        assert package.changed == (date(2000, 1, 1), date(2023, 1, 2), date(2026, 12, 31))


def test_rpm_tells_the_same_paths_digests_and_ghosts(rpm_root: Path, tmp_path: Path) -> None:
    query = "[%{=NAME}\t%{filenames}\t%{filedigests}\t%{fileflags}\n]"
    expected = [line.split("\t") for line in ask_rpm(rpm_root, tmp_path / "db", query)]
    packages = read("rpm", rpm_root)
    assert sorted((name, path) for name, path, *_ in expected) == sorted(
        (package.name, f"/{path}") for package in packages for path in package.paths
    )
    assert {(name, path, digest) for name, path, digest, flags in expected if digest and not int(flags) & 64} == {
        (package.name, f"/{path}", digest) for package in packages for path, (_, digest) in package.digests.items()
    }
    assert [path for package in packages for path in package.ghosts] == ["etc/cache"]
    assert sum("usr/bin/shell" in package.paths for package in packages) == 2


def test_packages_that_rpm_has_in_its_log_are_read(rpm_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(rpm_root / "usr/lib/sysimage/rpm", root / "usr/lib/sysimage/rpm")
    with closing(sqlite3.connect(root / "usr/lib/sysimage/rpm/rpmdb.sqlite")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("DELETE FROM Packages WHERE hnum = 1")
        connection.commit()
        assert (root / "usr/lib/sysimage/rpm/rpmdb.sqlite-wal").stat().st_size
        assert len(read("rpm", root)) == 2


@pytest.mark.parametrize("place", ["usr/lib/sysimage/rpm", "usr/share/rpm", "var/lib/rpm"])
def test_rpms_database_is_read_from_all_its_places_and_their_symlinks(
    rpm_root: Path, tmp_path: Path, place: str
) -> None:
    shutil.copytree(rpm_root / "usr/lib/sysimage/rpm", tmp_path / place)
    for other in {"usr/lib/sysimage/rpm", "usr/share/rpm", "var/lib/rpm"} - {place}:
        (tmp_path / other).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / other).symlink_to(f"/{place}")
    assert read("rpm", tmp_path) == read("rpm", rpm_root)


def headers(database: Path) -> list[bytes]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return [blob for (blob,) in connection.execute("SELECT blob FROM Packages ORDER BY hnum")]


def test_rpms_headers_say_the_same_in_an_ndb_database(rpm_root: Path, tmp_path: Path) -> None:
    (tmp_path / "var/lib/rpm").mkdir(parents=True)
    blobs = headers(rpm_root / "usr/lib/sysimage/rpm/rpmdb.sqlite")
    (tmp_path / "var/lib/rpm/Packages.db").write_bytes(rpm_databases.ndb(blobs))
    assert read("rpm", tmp_path) == read("rpm", rpm_root)


def test_what_is_said_to_do_with_berkeley_db_makes_it_readable(rpm_root: Path, tmp_path: Path) -> None:
    program = shutil.which("db5.3_load") or shutil.which("db_load")
    if program is None:
        pytest.skip("db_load is not installed")
    blobs = headers(rpm_root / "usr/lib/sysimage/rpm/rpmdb.sqlite")
    pairs = {0: len(blobs).to_bytes(4, "little"), **dict(enumerate(blobs, 1))}
    lines = [f" {part.hex()}\n" for key, value in pairs.items() for part in (key.to_bytes(4, "little"), value)]
    (tmp_path / "var/lib/rpm").mkdir(parents=True)
    (tmp_path / "text").write_text(f"VERSION=3\nformat=bytevalue\ntype=hash\nHEADER=END\n{''.join(lines)}DATA=END\n")
    _run(program, "-f", tmp_path / "text", tmp_path / "var/lib/rpm/Packages")
    with pytest.raises(UnsupportedError, match="Berkeley DB") as caught:
        read("rpm", tmp_path)
    command = str(caught.value).partition("rpmdb ")[2].replace("TREE", str(tmp_path))
    _run("rpmdb", *shlex.split(command))
    assert read("rpm", tmp_path) == read("rpm", rpm_root)


@pytest.fixture(scope="module")
def dpkg_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a merged /usr, in which dpkg has installed packages, one of which diverts another's file."""
    for program in ("dpkg", "dpkg-deb", "dpkg-divert"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    if os.geteuid() != 0:
        pytest.skip("dpkg installs as root only")
    place = tmp_path_factory.mktemp("dpkg")
    root = place / "root"
    for directory in ("usr/bin", "usr/lib", "var/lib/dpkg/info", "var/lib/dpkg/updates"):
        (root / directory).mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    (root / "lib").symlink_to("usr/lib")
    for name in ("status", "available"):
        (root / "var/lib/dpkg" / name).touch()
    changelog = gzip.compress(b"a (1) u; urgency=low\n\n  * x\n\n -- A <a>  Thu, 31 Dec 2026 23:30:00 -0100\n")
    debs = [
        make_deb(place, "first", {"bin/tool": b"1", "usr/share/doc/first/changelog.Debian.gz": changelog}),
        make_deb(place, "second", {"bin/tool": b"2", "usr/share/a dir/žluť": b"3"}, "Source: odd (7)\n"),
        make_deb(place, "third", {"lib/x": b"4", "etc/third rc": b"5"}, "Multi-Arch: same\nInstalled-Size: 12\n"),
        make_deb(place, "gone", {"etc/gone": b"6"}),
    ]
    dpkg = ["dpkg", "--root", root, "--force-depends", "--force-script-chrootless", "--log", place / "log"]
    _run(*dpkg, "-i", debs[0])
    _run("dpkg-divert", "--root", root, "--package", "second", "--rename", "--divert", "/bin/tool.real", "/bin/tool")
    _run(*dpkg, "-i", *debs[1:])
    _run(*dpkg, "-r", "gone")
    return root


def make_deb(place: Path, name: str, files: dict[str, bytes], more: str = "") -> Path:
    tree = place / name
    for path, data in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(data)
    (tree / "DEBIAN").mkdir()
    arch = _run("dpkg", "--print-architecture").strip()
    (tree / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: 1:2-3\nArchitecture: {arch}\nMaintainer: A <a@b>\nDescription: x\n{more}"
    )
    conffiles = "".join(f"/{path}\n" for path in files if path.startswith("etc/"))
    if conffiles:
        (tree / "DEBIAN/conffiles").write_text(conffiles)
    _run("dpkg-deb", "--root-owner-group", "-b", tree, place / f"{name}.deb")
    return place / f"{name}.deb"


def ask_dpkg(root: Path, *arguments: str) -> list[str]:
    return _run("dpkg-query", "--admindir", root / "var/lib/dpkg", *arguments).splitlines()


def test_dpkg_tells_the_same_packages(dpkg_root: Path) -> None:
    layout = "${Package} ${Version} ${Architecture} ${source:Package} ${Installed-Size} ${db:Status-Status}\n"
    expected = [line for line in ask_dpkg(dpkg_root, "-W", "-f", layout) if not line.endswith(" config-files")]
    assert len(expected) == 3
    found = read("dpkg", dpkg_root)
    assert sorted(expected) == [
        f"{each.name} {each.version} {each.arch} {each.source} {(each.size or 0) // 1024 or ''} installed"
        for each in found
    ]


def test_dpkg_tells_the_same_paths(dpkg_root: Path) -> None:
    packages = {package.name: package for package in read("dpkg", dpkg_root)}
    for name, package in packages.items():
        listed = []
        for line in ask_dpkg(dpkg_root, "-L", name):
            if line.startswith("diverted by "):
                listed[-1] = line.partition(" to: ")[2]
            elif not line.startswith("package diverts others to: "):
                listed.append(line)
        places = [_place(dpkg_root, path) for path in listed]
        assert list(dict.fromkeys(places)) == list(package.paths)
        assert all(os.path.lexists(dpkg_root / path) for path in package.paths)
    assert "usr/bin/tool.real" in packages["first"].paths
    assert "usr/bin/tool" in packages["second"].paths


def _place(root: Path, path: str) -> str:
    directory, name = os.path.split(path)
    place = os.path.relpath(os.path.realpath(f"{root}{directory}"), root)
    return "" if name == "." else name if place == "." else f"{place}/{name}"


def test_dates_and_digests_of_dpkgs_packages_are_known(dpkg_root: Path, tmp_path: Path) -> None:
    first, second, third = read("dpkg", dpkg_root)
    assert (first.changed, second.changed, third.changed) == ((date(2027, 1, 1),), (), ())
    assert third.digests == {}  # all files are where they should be
    shutil.copytree(dpkg_root, tmp_path / "root", symlinks=True)
    (tmp_path / "root/etc/third rc").unlink()
    *_, third = read("dpkg", tmp_path / "root")
    assert third.digests["etc/third rc"] == ("md5", "e4da3b7fbbce2345d7772b0674a318d5")
