"""A system that mmdebstrap installs, read without dpkg: dpkg tells the same packages and paths."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from judge.chroot import run
from ostrata.components.claims import claim_paths
from ostrata.model.package import Package
from ostrata.packages.databases import read_packages
from ostrata.sources.directory import DirectorySource, open_directory

pytestmark = pytest.mark.judge
INCLUDED = "ca-certificates,python3-minimal,perl,dash,locales"
SUITE = "bookworm"
LAYOUT = "${binary:Package}\t${Package}\t${Version}\t${Architecture}\t${source:Package}\t${db:Status-Status}\n"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small Debian with a merged /usr."""
    if shutil.which("mmdebstrap") is None:
        pytest.skip("mmdebstrap is not installed")
    if os.geteuid() != 0:
        pytest.skip("only root can make a system with all its owners")
    place = tmp_path_factory.mktemp("debian") / "root"
    options = ["--variant=minbase", f"--include={INCLUDED}", "--dpkgopt=force-unsafe-io"]
    run(["mmdebstrap", "--quiet", *options, SUITE, os.fspath(place)], 900)
    shutil.rmtree(place / "dev")
    yield place
    run(["rm", "-rf", "--one-file-system", os.fspath(place)], 60)


@pytest.fixture(scope="module")
def source(root: Path) -> DirectorySource:
    """The tree."""
    return open_directory(os.fspath(root))


@pytest.fixture(scope="module")
def packages(source: DirectorySource) -> list[Package]:
    """What ostrata reads."""
    found, findings = read_packages(source)
    assert findings == []
    assert list(found) == ["dpkg"]
    return found["dpkg"]


def ask(root: Path, *words: str) -> list[str]:
    return run(["dpkg-query", "--admindir", os.fspath(root / "var/lib/dpkg"), *words], 120).splitlines()


def test_dpkg_tells_the_same_packages(root: Path, packages: list[Package]) -> None:
    told = [line.split("\t")[1:] for line in ask(root, "-W", "-f", LAYOUT)]
    assert sorted(line[:-1] for line in told if line[-1] == "installed") == sorted(
        [package.name, package.version, package.arch, package.source] for package in packages
    )
    assert len(packages) > 80


def test_dpkg_tells_the_same_paths(root: Path, packages: list[Package]) -> None:
    by_name = {(package.name, package.arch): package for package in packages}
    for line in ask(root, "-W", "-f", LAYOUT):
        binary, name, _, arch, _, state = line.split("\t")
        if state == "installed":
            assert by_name[name, arch].paths == tuple(dict.fromkeys(_listed(root, binary)))


def _listed(root: Path, name: str) -> Iterator[str]:
    """The places in the tree of what `dpkg -L` lists, diversions followed."""
    listed: list[str] = []
    for line in ask(root, "-L", name):
        if line.startswith(("diverted by ", "locally diverted to: ")):
            listed[-1] = line.partition(" to: ")[2]
        elif not line.startswith("package diverts others to: "):
            listed.append(line)
    for path in listed:
        directory, base = os.path.split(path)
        place = os.path.relpath(os.path.realpath(f"{root}{directory}"), root)
        yield "" if base == "." else base if place == "." else f"{place}/{base}"


def test_every_package_has_days_of_changes(packages: list[Package]) -> None:
    assert [package.name for package in packages if not package.changed] == []


def test_nearly_everything_is_of_known_origin(source: DirectorySource, packages: list[Package]) -> None:
    claims = claim_paths(source, {"dpkg": packages})
    unknown = [path for path, claim in claims.by_path.items() if claim.rule in ("big", "directory", "unclaimed")]
    assert len(unknown) < len(claims.by_path) / 50
    assert claims.by_path["usr/bin/perl"].component == "perl"
    assert claims.by_path["var/lib/dpkg/status"].component == "package database"
    assert claims.by_path["var/lib/dpkg/info/perl.list"].component == "perl"
