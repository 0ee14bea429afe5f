"""What the judges share: the chroot, a tree, its commit, and images of it in every layout and compression."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from judge import rootfs
from judge.chroot import Chroot, run

TIMESTAMP = 1_715_947_200
REF = "judged/stable"


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to encapsulate."""

    layout: str
    format_version: int
    compression: str
    chunked: bool

    def __str__(self) -> str:
        shape = "chunked" if self.chunked else "single"
        return f"{self.layout}-v{self.format_version}-{self.compression}-{shape}"

    @property
    def with_xattrs(self) -> bool:
        """Do container runtimes see extended attributes?"""
        return self.layout == "bootc"


LAYOUTS = (("bootc", 1), ("bootc", 2), ("ostree-ext-0.15", 1))
VARIANTS = tuple(
    Variant(*layout, compression, chunked)
    for layout in LAYOUTS
    for compression in ("gzip", "zstd", "none")
    for chunked in (True, False)
)
ONE_OF_EACH_LAYOUT = tuple(Variant(*layout, "gzip", True) for layout in LAYOUTS)


@dataclass(frozen=True, slots=True)
class Commit:
    """A tree, the repository with its commit, and a contentmeta for it."""

    tree: Path
    repository: Path
    checksum: str
    contentmeta: Path


@dataclass(frozen=True, slots=True)
class Image:
    """An OCI layout with one image, tagged `latest`; the layout lies at `work`/image."""

    work: Path
    variant: Variant
    commit: Commit

    def link_to(self, work: Path) -> Image:
        """The same image below `work`, by hard links; nobody writes into a blob."""
        shutil.copytree(self.work / "image", work / "image", copy_function=os.link)
        return replace(self, work=work)

    @property
    def manifest(self) -> dict[str, Any]:
        """The decoded manifest."""
        index = json.loads((self.work / "image/index.json").read_bytes())
        return self.blob(index["manifests"][0]["digest"])

    @property
    def config(self) -> dict[str, Any]:
        """The decoded config."""
        return self.blob(self.manifest["config"]["digest"])

    def blob(self, digest: str) -> dict[str, Any]:
        """A JSON blob, decoded."""
        document: dict[str, Any] = json.loads(
            (self.work / "image/blobs/sha256" / digest.removeprefix("sha256:")).read_bytes()
        )
        return document


def ostrata(*arguments: str | os.PathLike[str], timeout: float = 120) -> str:
    """Run the command line of the tree under test."""
    return run([sys.executable, "-m", "ostrata", *map(os.fspath, arguments)], timeout).strip()


def encapsulate(commit: Commit, variant: Variant, work: Path, *, reserved_layer: bool = False) -> Image:
    """Write the image `work`/image:latest."""
    contentmeta = ("--contentmeta", commit.contentmeta) if variant.chunked else ()
    ostrata(
        *(
            "encapsulate",
            "--quiet",
            "--repo",
            commit.repository,
            REF,
            f"oci:{work}/image:latest",
            *contentmeta,
        ),
        *("--layout", variant.layout, "--format-version", str(variant.format_version)),
        *("--compression", variant.compression, "--cmd", "/usr/bin/busybox"),
        *(("--reserved-layer",) if reserved_layer else ()),
    )
    return Image(work, variant, commit)


def make_commit(place: Path, busybox: Path, **options: bool) -> Commit:
    """Commit a fresh tree (`options`: as `rootfs.make`) and spread its objects over four layers by checksum."""
    tree = rootfs.make(place / "rootfs", busybox, **options)
    repository = place / "repo"
    checksum = ostrata(
        *("commit", "--quiet", "--repo", repository, "--branch", REF, "--timestamp", f"@{TIMESTAMP}"),
        *("--add-metadata-string", "version=1.0", tree),
    )
    objects = sorted(path.parent.name + path.stem for path in repository.glob("objects/??/*.file"))
    layers = {identifier: f"layer {identifier}" for identifier in ("d", "a", "c", "b")}
    mapping = {checksum: "abcd"[int(checksum[-1], 16) % 4] for checksum in objects}
    contentmeta = place / "contentmeta.json"
    contentmeta.write_text(json.dumps({"version": 1, "layers": layers, "mapping": mapping}))
    return Commit(tree, repository, checksum, contentmeta)


@pytest.fixture(scope="session")
def chroot() -> Chroot:
    """The chroot with the judges; without one the test is skipped, with a broken one it fails."""
    path = os.environ.get("OSTRATA_JUDGE_CHROOT")
    if not path:
        pytest.skip("OSTRATA_JUDGE_CHROOT names no chroot (tests/judge/make_chroot makes one)")
    if not Path(path).is_dir():
        pytest.skip(f"OSTRATA_JUDGE_CHROOT: {path} is not there (tests/judge/make_chroot makes it)")
    if os.geteuid() != 0:
        pytest.skip("only root can enter a chroot")
    found = Chroot(Path(path).resolve())
    assert found.missing() == [], f"{path} lacks programs; make it anew with tests/judge/make_chroot"
    return found


@pytest.fixture(scope="session")
def commit(chroot: Chroot, tmp_path_factory: pytest.TempPathFactory) -> Commit:
    """The odd tree, committed by ostrata."""
    return make_commit(tmp_path_factory.mktemp("commit"), chroot.path / "usr/bin/busybox")


@pytest.fixture(scope="session")
def commit_without_var_tmp(chroot: Chroot, tmp_path_factory: pytest.TempPathFactory) -> Commit:
    """The same without /var/tmp, which the layout ostree-ext-0.15 would write twice."""
    return make_commit(tmp_path_factory.mktemp("commit"), chroot.path / "usr/bin/busybox", var_tmp=False)


@pytest.fixture(scope="session")
def make_image(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Variant, Commit], Image]:
    """Images of a commit; each is made once and must not be changed."""
    made: dict[tuple[Variant, str], Image] = {}

    def make(variant: Variant, commit: Commit) -> Image:
        key = (variant, commit.checksum)
        if key not in made:
            made[key] = encapsulate(commit, variant, tmp_path_factory.mktemp("image"))
        return made[key]

    return make


@pytest.fixture
def image(
    request: pytest.FixtureRequest,
    make_image: Callable[[Variant, Commit], Image],
    commit: Commit,
    work: Path,
) -> Image:
    """The image of the odd tree in the variant the test is parametrised with, at `work`/image."""
    return make_image(request.param, commit).link_to(work)


@pytest.fixture
def runnable_image(
    request: pytest.FixtureRequest,
    make_image: Callable[[Variant, Commit], Image],
    commit: Commit,
    commit_without_var_tmp: Commit,
    work: Path,
) -> Image:
    """The same for container runtimes: they refuse a layer that has a path twice."""
    variant: Variant = request.param
    chosen = commit_without_var_tmp if variant.layout == "ostree-ext-0.15" else commit
    return make_image(variant, chosen).link_to(work)


def each(fixture: str, variants: Iterable[Variant]) -> pytest.MarkDecorator:
    """Run a test once with `fixture` in each of these variants."""
    return pytest.mark.parametrize(fixture, variants, ids=str, indirect=True)


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Path]:
    """A directory that judges write to as root; emptied even where modes forbid it."""
    yield tmp_path
    for path in tmp_path.iterdir():
        run(["rm", "-rf", "--one-file-system", os.fspath(path)], 60)
