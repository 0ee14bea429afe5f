from __future__ import annotations

import gzip
from datetime import date

import pytest

from ostrata.errors import MalformedError, NotFoundError
from ostrata.model.package import Package
from ostrata.packages.alpm import AlpmDatabase
from sources import Link, MemorySource

MD5, SHA256 = "cd" * 16, "ab" * 32
Files = dict[str, bytes | Link]


def desc(name: str, **fields: str) -> bytes:
    values = {"NAME": name, "VERSION": "1:2-3", "ARCH": "any", **fields}
    return "".join(f"%{key}%\n{value}\n\n" for key, value in values.items()).encode()


def local(name: str, directory: str = "var/lib/pacman", **fields: str) -> Files:
    return {f"{directory}/local/ALPM_DB_VERSION": b"9\n", f"{directory}/local/{name}-2-3/desc": desc(name, **fields)}


def read(files: Files) -> list[Package]:
    packages = AlpmDatabase().read(MemorySource(files))
    assert packages is not None
    return packages


def test_a_package_has_what_desc_files_and_mtree_say() -> None:
    place = "var/lib/pacman/local/bash-2-3"
    tree = {
        **local("bash", BASE="shell", BUILDDATE="1700000000", SIZE="77"),
        f"{place}/files": f"%FILES%\nbin/\nbin/bash\netc/rc é\n\n%BACKUP%\netc/rc é\t{MD5}\n".encode(),
        f"{place}/mtree": gzip.compress(f"./bin/bash sha256digest={SHA256}\n./.PKGINFO sha256digest={SHA256}".encode()),
        "bin": Link("usr/bin"),
    }
    assert read(tree) == [
        Package(
            name="bash",
            version="1:2-3",
            arch="any",
            source="shell",
            paths=("bin", "usr/bin/bash", "etc/rc é"),
            built=date(2023, 11, 14),
            digests={"etc/rc é": ("md5", MD5), "usr/bin/bash": ("sha256", SHA256)},
            size=77,
        )
    ]


def test_packages_are_in_the_order_of_their_names() -> None:
    assert [package.name for package in read({**local("b"), **local("a"), **local("c")})] == ["a", "b", "c"]


def test_a_tree_without_a_database_has_none() -> None:
    assert AlpmDatabase().read(MemorySource({"var/lib/pacman/sync/core.db": b""})) is None


@pytest.mark.parametrize("place", ["var/lib/pacman", "usr/lib/sysimage/lib/pacman", "usr/lib/sysimage/pacman"])
def test_all_places_are_looked_at(place: str) -> None:
    assert [package.name for package in read(local("a", place))] == ["a"]


@pytest.mark.parametrize("etc", ["etc", "usr/etc"])
def test_the_configuration_says_where_the_database_is(etc: str) -> None:
    tree = {
        **local("a"),
        **local("b", "opt/odd place"),
        f"{etc}/pacman.conf": b"[options]\n DBPath = /opt/odd place/ \n",
    }
    assert [package.name for package in read(tree)] == ["b"]
    commented = {**tree, f"{etc}/pacman.conf": b"#DBPath = /opt/odd place\n"}
    assert [package.name for package in read(commented)] == ["a"]


def test_without_base_the_package_is_its_own_source() -> None:
    (package,) = read(local("a"))
    assert (package.source, package.paths, package.built, package.size) == ("a", (), None, None)


@pytest.mark.parametrize("build_date", ["9" * 19, "soon", "-1", ""])
def test_a_build_date_outside_all_years_is_none(build_date: str) -> None:
    assert read(local("a", BUILDDATE=build_date))[0].built is None


@pytest.mark.parametrize("data", [b"damaged", gzip.compress(b"#mtree\n", mtime=0)[:-3]])
def test_a_damaged_mtree_file_is_a_note(data: bytes) -> None:
    (package,) = read({**local("a"), "var/lib/pacman/local/a-2-3/mtree": data})
    assert package.notes == ("its mtree file cannot be read",)


def test_a_damaged_package_is_an_error_with_its_place() -> None:
    with pytest.raises(MalformedError, match=r"^/var/lib/pacman/local/a-2-3: line 1: expected a key"):
        read({"var/lib/pacman/local/a-2-3/desc": b"bash\n"})
    with pytest.raises(MalformedError, match="expected the name of a package"):
        read({"var/lib/pacman/local/a-2-3/desc": b""})
    with pytest.raises(NotFoundError, match="desc"):
        read({"var/lib/pacman/local/a-2-3/files": b""})
