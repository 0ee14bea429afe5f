"""Images and tars that upstream's exporter wrote import to the commit they were made of, and upstream reads our tars.

OSTRATA_JUDGE_OSTREE_EXT as in `test_import`; no chroot is needed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from encapsulated_images import spread, write_contentmeta
from judge import rootfs
from judge.chroot import run
from judge.conftest import REF, TIMESTAMP, ostrata

pytestmark = pytest.mark.judge
LIST = ("ls", "-R", "-C", "-X")


@pytest.fixture(scope="session")
def upstream() -> str:
    """The program; without it the test is skipped."""
    program = os.environ.get("OSTRATA_JUDGE_OSTREE_EXT")
    if not program:
        pytest.skip("OSTRATA_JUDGE_OSTREE_EXT names no program")
    if os.geteuid() != 0:
        pytest.skip("only root can make a tree with owners")
    for needed in (program, "ostree", "skopeo"):
        if shutil.which(needed) is None:
            pytest.skip(f"{needed} is not installed")
    return program


@pytest.fixture(scope="session")
def repository(upstream: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The odd tree without the links that upstream's exporter damages, committed, with detached metadata."""
    place = tmp_path_factory.mktemp("commit")
    (place / "program").write_bytes(b"\x7fELF, perhaps\n" * 1000)
    tree = rootfs.make(place / "rootfs", place / "program", odd_links=False)
    repository = place / "repo"
    run(["ostree", f"--repo={repository}", "init", "--mode=bare-user"], 60)
    options = (f"--branch={REF}", f"--timestamp=@{TIMESTAMP}", "--add-detached-metadata-string=note=žluť")
    run(["ostree", f"--repo={repository}", "commit", *options, f"--tree=dir={tree}"], 60)
    return repository


def same(repo: Path, repository: Path, ref: str = "imported") -> None:
    assert "no errors found" in run(["ostree", f"--repo={repo}", "fsck"], 60)
    assert ostree(repo, "rev-parse", ref) == ostree(repository, "rev-parse", REF)
    assert ostree(repo, *LIST, ref) == ostree(repository, *LIST, REF)
    shown = ("show", "--print-detached-metadata-key=note")
    assert ostree(repo, *shown, ref) == ostree(repository, *shown, REF)


def ostree(repo: Path, *arguments: str) -> str:
    return run(["ostree", f"--repo={repo}", *arguments], 60)


@pytest.mark.parametrize("mode", ["bare-user", "archive", "bare"])
@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "single"])
def test_upstreams_images_import_to_the_commit_they_were_made_of(
    chunked: bool, mode: str, upstream: str, repository: Path, tmp_path: Path
) -> None:
    # Upstream writes names with control characters as no JSON: plain ones here.
    plain = replace(spread(repository, REF), layers={name: f"layer {name}" for name in "dacb"})
    contentmeta = write_contentmeta(tmp_path / "contentmeta.json", plain)
    more = ("--contentmeta", str(contentmeta)) if chunked else ()
    image = f"oci:{tmp_path}/image:latest"
    run([upstream, "container", "encapsulate", "--repo", str(repository), REF, image, *more], 120)
    ostrata("import", image, "--repo", tmp_path / "repo", "--mode", mode, "--write-ref", "imported", "-q")
    same(tmp_path / "repo", repository)


def test_both_command_lines_say_the_same(upstream: str, repository: Path, tmp_path: Path) -> None:
    image = f"oci:{tmp_path}/image:latest"
    run([upstream, "container", "encapsulate", "--repo", str(repository), REF, image], 120)
    said = []
    for name, program in (("theirs", [upstream]), ("ours", [sys.executable, "-m", "ostrata"])):
        repo = tmp_path / name
        run(["ostree", f"--repo={repo}", "init", "--mode=bare-user"], 60)
        arguments = ("container", "unencapsulate", "--quiet", "--write-ref", "a/b", "--repo", str(repo))
        said.append(run([*program, *arguments, f"ostree-unverified-image:{image}"], 120))
        same(repo, repository, "a/b")
    assert said[0] == said[1]


@pytest.mark.parametrize("layout", ["bootc", "ostree-ext-0.15"])
def test_upstream_imports_our_tars(layout: str, upstream: str, repository: Path, tmp_path: Path) -> None:
    with open(tmp_path / "os.tar", "wb") as tar:
        command = [sys.executable, "-m", "ostrata", "tar", "export", "--repo", repository, REF, "--layout", layout]
        subprocess.run(command, stdout=tar, check=True, timeout=60)
    repo = tmp_path / "repo"
    run(["ostree", f"--repo={repo}", "init", "--mode=bare-user"], 60)
    said = run([upstream, "tar", "import", "--repo", str(repo), str(tmp_path / "os.tar")], 60)
    checksum = ostree(repository, "rev-parse", REF).strip()
    assert said.strip() == f"Imported: {checksum}"
    run(["ostree", f"--repo={repo}", "refs", "--create=imported", checksum], 60)
    same(repo, repository)


def test_we_import_upstreams_tars(upstream: str, repository: Path, tmp_path: Path) -> None:
    with open(tmp_path / "os.tar", "wb") as tar:
        command = [upstream, "tar", "export", "--repo", repository, "--format-version", "1", REF]
        subprocess.run(command, stdout=tar, check=True, timeout=60)
    ostrata("tar", "import", "--repo", tmp_path / "repo", tmp_path / "os.tar", "--write-ref", "imported", "-q")
    same(tmp_path / "repo", repository)
