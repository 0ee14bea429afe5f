"""SIGKILL at any moment of an import: the ref shows the old commit or the new one, every object is right, and the next
run cleans up and gives the same. The normal suite kills 46 times, the judges' 1000 times."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import tarbuilder
from import_subjects import contents, is_sound, make_tar
from layer_images import tar_image
from ostrata.stores.ostree_repository import open_repository
from plain_images import Change, layer_tar, whiteout, write_image
from tarbuilder import Node, checksum_of, commit_bytes, file_checksum

SEED = 20240517
DIRECTORY = Node("directory", 0o755)


@dataclass(frozen=True)
class Case:
    """Two images, and what a repository looks like after importing one, and then the other."""

    old: str
    new: str
    old_commit: str
    new_commit: str
    before: Path
    after: dict[str, bytes]
    seconds: float


def command(image: str, repo: Path, *options: str) -> list[str]:
    """`image` is a reference or the path of a tar; ``--jobs`` is for the former."""
    words = ["tar", "import", image] if image.startswith("/") else ["import", image, "--jobs", "2"]
    arguments = [*words, "--repo", str(repo), "--write-ref", "os/stable", "--quiet", *options]
    return [sys.executable, "-m", "ostrata", *arguments]


def run(image: str, repo: Path, *options: str) -> str:
    done = subprocess.run(command(image, repo, *options), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def make_image(place: Path, files: int, size: int, seed: int) -> tuple[str, str]:
    tree = make_tree(files, size, seed)
    return tar_image(place, encapsulated(tree), "gzip").reference, checksum_of(commit_bytes(tree))


def make_derived_image(place: Path, files: int, size: int, seed: int) -> str:
    """The same with three layers on top: a half of the files again with other contents, a quarter of them gone."""
    own = encapsulated(make_tree(files, size, seed))
    changed = make_tree(files // 2, size, seed + 1)
    again = [Change(path, data=node.data) for path, node in changed.items() if path]
    gone = [whiteout(f"f{number}") for number in range(files // 4)]
    more = [Change(f"opt/{change.path}", data=change.data[::-1]) for change in again]
    tars = [*own, *map(layer_tar, (again, gone, more))]
    return tar_image(place, tars, "gzip", encapsulated=len(own)).reference


def make_plain_image(place: Path, files: int, size: int, seed: int) -> str:
    """Two layers without a commit: the second hides a quarter of the first's files."""
    tree = make_tree(files, size, seed)
    first = [Change(path, data=node.data) for path, node in tree.items() if path]
    second = [whiteout(f"f{number}") for number in range(files // 4)]
    write_image(place, [first, second])
    return f"oci:{place}:t"


def make_tar_file(place: Path, files: int, size: int, seed: int) -> str:
    return str(make_tar(place, make_tree(files, size, seed)))


def make_tree(files: int, size: int, seed: int) -> dict[str, Node]:
    chance = random.Random(seed)
    return {"": DIRECTORY} | {
        f"f{number}": Node("file", 0o644, data=chance.randbytes(chance.choice([10, 1000, size])))
        for number in range(files)
    }


def encapsulated(tree: dict[str, Node]) -> list[bytes]:
    checksums = sorted(file_checksum(node) for node in tree.values() if node.kind == "file")
    return tarbuilder.encapsulated_layers(tree, commit_bytes(tree), [checksums[start::8] for start in range(8)])


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    place = tmp_path_factory.mktemp("killed")
    old, old_commit = make_image(place / "old", 40, 10_000, 1)
    new, new_commit = make_image(place / "new", 400, 100_000, 2)
    found = make_case(place, old, new)
    assert (found.old_commit, found.new_commit) == (old_commit, new_commit)
    return found


@pytest.fixture(scope="module")
def derived_case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    place = tmp_path_factory.mktemp("killed, derived")
    old = make_derived_image(place / "old", 40, 10_000, 1)
    return make_case(place, old, make_derived_image(place / "new", 300, 100_000, 3))


@pytest.fixture(scope="module", params=["plain", "tar", "archive"])
def other_case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A plain image; `ostrata tar import`; an encapsulated image into an archive repository."""
    place = tmp_path_factory.mktemp("killed, other")
    if request.param == "archive":
        old, new = (make_image(place / str(seed), 100, 30_000, seed)[0] for seed in (1, 2))
        return make_case(place, old, new, "--mode=archive")
    make = make_plain_image if request.param == "plain" else make_tar_file
    return make_case(place, make(place / "old", 40, 10_000, 1), make(place / "new", 150, 50_000, 2))


def make_case(place: Path, old: str, new: str, *options: str) -> Case:
    old_commit = run(old, place / "before", *options)
    shutil.copytree(place / "before", place / "after")
    started = time.monotonic()
    new_commit = run(new, place / "after")
    seconds = time.monotonic() - started
    return Case(old, new, old_commit, new_commit, place / "before", contents(place / "after"), seconds)


def check_repository(repo: Path) -> None:
    """Every object that can be seen is right."""
    is_sound(repo)
    if shutil.which("ostree"):
        done = subprocess.run(["ostree", f"--repo={repo}", "fsck", "--quiet"], capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr


def kill_often(case: Case, place: Path, kills: int) -> None:
    chance = random.Random(SEED)
    repo = place / "repo"
    shutil.copytree(case.before, repo)
    killed = 0
    for _ in range(kills):
        process = subprocess.Popen(command(case.new, repo), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(chance.uniform(0.2, 1.05) * case.seconds)
        except subprocess.TimeoutExpired:
            process.kill()
        killed += process.wait() == -9
        found = open_repository(str(repo)).resolve("os/stable")
        assert found in (case.old_commit, case.new_commit)
        check_repository(repo)
        if found == case.new_commit:
            wait_for_workers(place)
            shutil.rmtree(repo)
            shutil.copytree(case.before, repo)
    assert killed >= kills // 4
    wait_for_workers(place)
    assert run(case.new, repo) == case.new_commit
    check_repository(repo)
    assert contents(repo) == case.after
    assert {path.name for path in (repo / "tmp").iterdir()} <= {"cache"}


def wait_for_workers(top: Path) -> None:
    """Workers whose parent was killed end by themselves; their command lines name this test's directory."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(str(top) in line for line in command_lines()):
        time.sleep(0.02)


def command_lines() -> Iterator[str]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                yield (entry / "cmdline").read_bytes().decode("utf-8", "replace")
            except OSError:
                continue


def test_a_kill_at_any_moment_leaves_the_old_commit_or_the_new_one(case: Case, tmp_path: Path) -> None:
    kill_often(case, tmp_path, 20)


def test_so_does_a_kill_of_the_import_of_a_derived_image(derived_case: Case, tmp_path: Path) -> None:
    kill_often(derived_case, tmp_path, 8)


def test_so_does_a_kill_of_other_imports(other_case: Case, tmp_path: Path) -> None:
    kill_often(other_case, tmp_path, 6)


@pytest.mark.judge
@pytest.mark.timeout(900)
def test_two_hundred_kills_of_other_imports(other_case: Case, tmp_path: Path) -> None:
    kill_often(other_case, tmp_path, 200)


@pytest.mark.judge
@pytest.mark.timeout(900)
def test_two_hundred_kills_of_the_import_of_a_derived_image(derived_case: Case, tmp_path: Path) -> None:
    kill_often(derived_case, tmp_path, 200)


@pytest.mark.judge
@pytest.mark.timeout(900)
def test_two_hundred_kills_leave_leave_the_old_commit_or_the_new_one(case: Case, tmp_path: Path) -> None:
    kill_often(case, tmp_path, 200)


@pytest.mark.parametrize("note", ["layers-*", "contents-*"])
def test_the_next_run_takes_up_what_a_killed_one_had_done(
    note: str, case: Case, derived_case: Case, tmp_path: Path
) -> None:
    chosen, repo = case if note == "layers-*" else derived_case, tmp_path / "repo"
    shutil.copytree(chosen.before, repo)
    process = subprocess.Popen(command(chosen.new, repo), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list((repo / "tmp").glob(f".ostrata-*/{note}")):
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -9
    wait_for_workers(tmp_path)
    done = subprocess.run([*command(chosen.new, repo), "--json"], capture_output=True, text=True, timeout=60)
    found = json.loads(done.stdout)
    assert found["commit"] == chosen.new_commit
    assert found["resumed"]["layers"] > 0
    assert contents(repo) == chosen.after


@pytest.mark.parametrize("signal", ["TERM", "INT"])
def test_a_signal_ends_it_cleanly(signal: str, case: Case, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    shutil.copytree(case.before, repo)
    process = subprocess.Popen(command(case.new, repo), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    time.sleep(0.5 * case.seconds)
    subprocess.run(["kill", f"-{signal}", str(process.pid)], check=True)
    process.communicate(timeout=20)
    if process.returncode:
        # Before the program's first line, and behind its last, the interpreter itself answers.
        assert process.returncode in (130, 143, -2, -15)
        is_done = open_repository(str(repo)).resolve("os/stable") == case.new_commit
        assert contents(repo) == (case.after if is_done else contents(case.before))
        assert [path.name for path in (repo / "tmp").iterdir()] == ["cache"]


def test_a_full_disk_changes_nothing_and_the_same_command_succeeds_later(case: Case, tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: the kernel refuses a write in the middle of a file."""
    repo = tmp_path / "repo"
    shutil.copytree(case.before, repo)
    done = subprocess.run(
        command(case.new, repo), capture_output=True, text=True, timeout=60, preexec_fn=only_small_files
    )
    assert done.returncode == 1
    assert done.stderr.startswith("ostrata: error: layer ")
    assert "writing an object to" in done.stderr
    assert contents(repo) == contents(case.before)
    assert run(case.new, repo) == case.new_commit
    assert contents(repo) == case.after


def only_small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))


def test_four_imports_at_once_into_one_repository_all_succeed(case: Case, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    shutil.copytree(case.before, repo)
    processes = [
        subprocess.Popen(command(image, repo), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for image in (case.new, case.old, case.new, case.new)
    ]
    for process in processes:
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, b"")
    check_repository(repo)
    assert run(case.new, repo) == case.new_commit
    assert contents(repo) == case.after
