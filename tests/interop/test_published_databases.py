"""Package databases of published distributions, as they may lie beside the checkout: rpm says the same of them."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from ostrata.codecs import rpm_ndb
from ostrata.codecs.zstd import ZstdDecompressor
from ostrata.model.package import Package
from ostrata.packages.databases import read_packages
from ostrata.sources.directory import open_directory
from rpm_databases import sqlite

pytestmark = pytest.mark.interop
DATA = Path(__file__).parents[3] / "shared/data"
PLACE = "usr/lib/sysimage/rpm"
QUERY = "%{name}\t%{evr}\t%{arch}\t%{longsize}\t%{sourcerpm}\t%{buildtime}\t[%{changelogtime} ]\t[%{filenames}\f]\n"


def published(name: str) -> Path:
    if not (DATA / name).exists():
        pytest.skip(f"{name} is not there")
    return DATA / name


def read(root: Path, kind: str) -> list[Package]:
    packages, findings = read_packages(open_directory(str(root)))
    assert findings == []
    assert list(packages) == [kind]
    return packages[kind]


def ask_rpm(database: bytes, place: Path) -> list[tuple[object, ...]]:
    """What rpm says of the packages in an SQLite database, which it writes to."""
    if shutil.which("rpm") is None:
        pytest.skip("rpm is not installed")
    place.mkdir()
    (place / "rpmdb.sqlite").write_bytes(database)
    options = ["--dbpath", str(place), "--define", "_db_backend sqlite"]
    subprocess.run(["rpmdb", *options, "--rebuilddb"], capture_output=True, timeout=120, check=True)  # for its indexes
    done = subprocess.run(["rpm", *options, "-qa", "--qf", QUERY], capture_output=True, timeout=120, check=True)
    return sorted(_told(line) for line in done.stdout.decode("utf-8", "surrogateescape").split("\n")[:-1])


def _told(line: str) -> tuple[object, ...]:
    name, version, arch, size, source, built, times, paths = line.split("\t")
    days = sorted({_day(time) for time in times.split() if time != "(none)"})
    listed = [path[1:] for path in paths.split("\f")[:-1] if path.startswith("/")]
    arch = "" if arch == "(none)" else arch
    return name, version, arch, size, source.rsplit("-", 2)[0], _day(built), days, sorted(listed)


def _day(seconds: str) -> date:
    return datetime.fromtimestamp(int(seconds), UTC).date()


def _as_told(package: Package) -> tuple[object, ...]:
    return (
        package.name,
        package.version,
        package.arch,
        str(package.size),
        package.source,
        package.built,
        list(package.changed),
        sorted(package.paths),
    )


@pytest.mark.parametrize(
    ("file", "packages", "paths"),
    [("a.sqlite.zst", 5, 17370), ("b.sqlite.zst", 129, 7269), ("c-ndb.Packages.db.zst", 35, 2837)],
)
def test_rpm_says_the_same_of_published_databases(file: str, packages: int, paths: int, tmp_path: Path) -> None:
    data = ZstdDecompressor().decompress(published(f"rpmdb/{file}").read_bytes())
    root = tmp_path / "root" / PLACE
    root.mkdir(parents=True)
    (root / ("Packages.db" if "ndb" in file else "rpmdb.sqlite")).write_bytes(data)
    found = read(tmp_path / "root", "rpm")
    assert (len(found), sum(len(package.paths) for package in found)) == (packages, paths)
    # Not every rpm reads ndb: it gets the same headers in SQLite.
    told = ask_rpm(sqlite(rpm_ndb.decode(data)) if "ndb" in file else data, tmp_path / "copy")
    assert sorted(map(_as_told, found)) == told


def test_pacmans_published_database_is_read_as_it_stands(tmp_path: Path) -> None:
    with tarfile.open(published("alpm-local-db.tar.gz")) as archive:
        for member in archive:
            if member.isfile():
                place = tmp_path / member.name
                place.parent.mkdir(parents=True, exist_ok=True)
                file = archive.extractfile(member)
                assert file is not None
                place.write_bytes(file.read())
    found = {package.name: package for package in read(tmp_path, "alpm")}
    local = tmp_path / "var/lib/pacman/local"
    directories = [path for path in local.iterdir() if path.is_dir()]
    assert len(found) == len(directories) == 135
    for package in found.values():
        text = (local / f"{package.name}-{package.version}" / "files").read_text("utf-8", "surrogateescape")
        files = text.partition("%FILES%\n")[2].partition("\n\n")[0].split("\n")
        assert list(package.paths) == [path.rstrip("/") for path in files if path]
        assert package.built is not None
        assert package.digests.keys() <= set(package.paths)
    assert found["bash"].digests["usr/bin/bash"][0] == "sha256"
