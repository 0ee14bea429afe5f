"""SIGKILL at any moment: the tag shows the old image or the new one, whole; the next run cleans up and succeeds."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ostrata.pipeline.places import open_image
from ostrata.pipeline.verify import verify
from ostrata.stores.oci_layout import open_layout
from ostrata.stores.ostree_repository import open_repository
from ostrata.stores.reference import parse_reference
from repositories import TREE, make_repository
from tarbuilder import Node

KILLS = 12
"""For each of the two kinds of destination."""
SEED = 20240517
DIRECTORY = Node("directory", 0o755)


def command(repository: Path, destination: str, *options: str | Path) -> list[str]:
    arguments = ("encapsulate", "--repo", repository, "os/stable", destination, "--jobs", "2", "--quiet", *options)
    return [sys.executable, "-m", "ostrata", *map(str, arguments)]


def run(*arguments: str | Path) -> str:
    done = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=60)  # type: ignore[arg-type]
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def wait_for_workers(top: Path) -> None:
    """Workers whose parent was killed end by themselves; their command lines name this test's directory."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(str(top) in line for line in command_lines()):
        time.sleep(0.02)


def command_lines() -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                found.append((entry / "cmdline").read_bytes().decode("utf-8", "replace"))
            except OSError:
                continue
    return found


def leftovers(top: Path) -> list[str]:
    return [name for _, directories, files in os.walk(top) for name in (*directories, *files) if ".ostrata-" in name]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose commit takes about half a second to encapsulate."""
    data = random.Random(SEED).randbytes(3 << 20)
    tree = {"": DIRECTORY} | {f"f{number}": Node("file", 0o644, data=b"%d" % number + data) for number in range(8)}
    path = tmp_path_factory.mktemp("killed") / "large"
    make_repository(path, "bare-user", tree)
    return path


@pytest.fixture(scope="module")
def contentmeta(large: Path) -> Path:
    from encapsulated_images import spread, write_contentmeta

    return write_contentmeta(large.parent / "meta.json", spread(large, "os/stable"))


@pytest.mark.parametrize("transport", ["oci", "oci-archive"])
def test_a_kill_at_any_moment_leaves_the_old_image_or_the_new_one(
    large: Path, contentmeta: Path, tmp_path: Path, transport: str
) -> None:
    small = make_repository(tmp_path / "small", "archive", TREE).path
    home = tmp_path / "home"
    home.mkdir()
    image = f"{transport}:{home}/image:t"
    old = run(small, image)
    shutil.copytree(home, tmp_path / "before")
    started = time.monotonic()
    new = run(large, f"{transport}:{tmp_path}/other:t", "--contentmeta", contentmeta)
    seconds = time.monotonic() - started
    chance = random.Random(SEED)
    killed = 0
    for _ in range(KILLS):
        process = subprocess.Popen(
            command(large, image, "--contentmeta", contentmeta), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        assert process.stderr is not None
        try:
            process.wait(chance.uniform(0.15, 1.05) * seconds)
        except subprocess.TimeoutExpired:
            process.kill()
        killed += process.wait() == -9
        process.stderr.close()
        found = str(open_image(image)[1].descriptor.digest)
        assert found in (old, new)
        verify_image(image, small if found == old else large)
        if found == new:
            wait_for_workers(tmp_path)
            shutil.rmtree(home)
            shutil.copytree(tmp_path / "before", home)
    assert killed > KILLS // 3
    wait_for_workers(tmp_path)
    assert run(large, image, "--contentmeta", contentmeta) == new
    verify_image(image, large)
    assert leftovers(tmp_path) == []


def verify_image(image: str, repository: Path) -> None:
    opened = open_repository(str(repository))
    found = verify(parse_reference(image), open_image(image)[1], repository=opened, revision="os/stable")
    assert found.problems.shown == ()


def test_twelve_runs_at_once_into_one_layout_keep_twelve_tags(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "repo", "archive", TREE).path
    layout = tmp_path / "layout"
    processes = [
        subprocess.Popen(
            command(repository, f"oci:{layout}:tag{number}", "--label", f"number={number}"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(12)
    ]
    digests = {}
    for number, process in enumerate(processes):
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        digests[f"tag{number}"] = out.strip()
    index = open_layout(str(layout)).index()
    assert {entry.tag: str(entry.descriptor.digest) for entry in index.entries} == digests
    assert len(set(digests.values())) == 12
    for tag in digests:
        verify_image(f"oci:{layout}:{tag}", repository)
    assert leftovers(tmp_path) == []
