"""Import and extract while the system fails: calls of theirs get errors, they are killed in one, the disk is full.

The promises: a ref moves to a whole commit or stays (I1, I3), nothing beside the destination changes (I2), one clear
line (I4), no temporary file is left (I7), and the same command gives the same once the fault is gone (I8).
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from canary import make_canary
from import_subjects import Import, ImportDerived, ImportPlain, ImportTar, ImportToArchive, ImportToBare
from plain_images import Change, directory, link, snapshot, symlink, write_image

ROOT = os.geteuid() == 0
SEED = 20240517
CALLS = """openat read write lseek fsync fdatasync syncfs rename renameat renameat2 link linkat mkdir mkdirat unlink
unlinkat rmdir symlink symlinkat fchmod fchmodat chmod fchown fchownat setxattr lsetxattr fsetxattr utimensat ftruncate
getdents64 newfstatat fstat flock mknodat sendfile fallocate copy_file_range"""
REMOVING = (
    "unlink",
    "unlinkat",
    "rmdir",
    "getdents64",
    "openat",
    "newfstatat",
    "fstat",
    "rename",
    "renameat",
    "fchmod",
)
"""What removing temporary files needs: a fault there may leave one, for the next run to remove."""
WRITING = ("write", "fsync", "syncfs", "rename", "link", "linkat", "mkdir")

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


# The subjects


class Extract:
    """Extracting to a directory that is not there."""

    name = "extract"

    def __init__(self, place: Path) -> None:
        changes = [
            directory("d", 0o750),
            *(Change(f"d/f{number}", data=random.Random(number).randbytes(5000)) for number in range(4)),
            Change("d/x", xattrs={"user.a": b"1"}, mode=0o4755),
            link("l", "d/f0"),
            symlink("s", "d"),
            Change("fifo", "fifo"),
            directory("d/closed", 0o000),
        ]
        write_image(place / "image", [changes, [Change("upper", data=b"1")]])
        self.image = f"oci:{place}/image"

    def line(self, home: Path, *, jobs: str = "1") -> list[str]:
        arguments = ["extract", self.image, str(home / "tree"), "--jobs", jobs, "--json", "--quiet"]
        return [sys.executable, "-m", "ostrata", *arguments]

    def prepare(self, home: Path) -> None:
        home.mkdir()

    def is_as_before(self, home: Path) -> bool:
        return not (home / "tree").exists()

    def is_done(self, home: Path) -> bool:
        return (home / "tree").is_dir()

    def result(self, home: Path) -> object:
        return snapshot(home / "tree")

    def leftovers(self, home: Path) -> list[str]:
        return sorted(set(os.listdir(home)) - {"tree"})


Subject = Import | Extract
FIRST: list[type[Subject]] = [Import, Extract]
MORE: list[type[Subject]] = [ImportDerived, ImportPlain, ImportTar, ImportToArchive, *([ImportToBare] if ROOT else [])]
"""These share most code with the first import: the normal suite tries fewer places, the judges all."""


def name_of(value: object) -> str:
    return str(getattr(value, "name", value))


@dataclass(frozen=True)
class Fault:
    """What happens to the `at`-th of the calls of that name: an error, or a signal."""

    call: str
    at: int
    what: str


@dataclass(frozen=True)
class Case:
    subject: Subject
    calls: tuple[tuple[str, int], ...]  # that touch the destination
    expected: object


@pytest.fixture(scope="module", params=[*FIRST, *MORE], ids=name_of)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    place = tmp_path_factory.mktemp("faults")
    subject: Subject = request.param(place)
    home = place / "home"
    subject.prepare(home)
    if shutil.which("strace") is None:
        assert run(subject.line(home)).returncode == 0
        return Case(subject, (), subject.result(home))
    log = place / "log"
    done = run(["strace", "-y", "-o", str(log), "-e", f"trace={','.join(CALLS.split())}", *subject.line(home)])
    if "ptrace" in done.stderr:
        pytest.skip(f"strace may not trace here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    return Case(subject, tuple(touching(log, str(home))), subject.result(home))


def touching(log: Path, home: str) -> Iterator[tuple[str, int]]:
    """(call, its number among those of its name) for the calls that name something in `home`."""
    counts: Counter[str] = Counter()
    for line in log.read_text(errors="replace").splitlines():
        match = re.match(r"(\w+)\(", line)
        if match:
            counts[match[1]] += 1
            if home in line:
                yield match[1], counts[match[1]]


def run(line: list[str]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(line, capture_output=True, text=True, timeout=120, env=environment)


def suffer(case: Case, fault: Fault, place: Path) -> None:
    """Run the command with that fault, then without, and look at what there is each time."""
    subject, home = case.subject, place / "home"
    subject.prepare(home)
    canary = make_canary(place / "canary")
    injected = f"inject={fault.call}:{fault.what}:when={fault.at}"
    done = run(["strace", "-o", "/dev/null", "-e", f"trace={fault.call}", "-e", injected, *subject.line(home)])
    is_killed, is_ended = "KILL" in fault.what, "signal" in fault.what
    assert canary.is_untouched(), fault
    if done.returncode == 0:
        assert subject.is_done(home) and done.stdout.startswith("{"), fault
    elif is_ended:
        assert (done.returncode, done.stdout) == (-9 if is_killed else 143, ""), (fault, done)
        assert subject.is_as_before(home) or subject.is_done(home), fault
    else:
        assert (done.returncode, done.stdout) == (1, ""), (fault, done)
        first, *hint = done.stderr.removesuffix("\n").split("\n")
        assert first.startswith("ostrata: error: ") and len(hint) <= 1, (fault, done)
        assert subject.is_as_before(home), (fault, done)
    if not is_killed and (is_ended or fault.call not in REMOVING):
        assert subject.leftovers(home) == [], fault
    if subject.name == "extract" and subject.is_done(home):
        assert done.returncode == 0 or is_ended, (fault, done)
        shutil.rmtree(home / "tree")
    again = run(subject.line(home))
    assert again.returncode == 0, (fault, again)
    assert subject.result(home) == case.expected, fault
    assert subject.leftovers(home) == [], fault
    assert canary.is_untouched(), fault


def error_of(call: str) -> str:
    return "error=ENOSPC" if call in ("write", "mkdir", "mkdirat", "linkat", "symlinkat", "mknodat") else "error=EIO"


@needs_strace
def test_a_call_that_fails_changes_nothing_and_the_same_command_succeeds_later(case: Case, tmp_path: Path) -> None:
    """One of the calls of each name that writes, and of two names for the subjects that share code; the judges take
    all."""
    subject = case.subject
    chance = random.Random(SEED if type(subject) in FIRST else subject.name)
    names = sorted({call for call, _ in case.calls} & set(WRITING))
    assert len(names) > 3
    for number, call in enumerate(names if type(subject) in FIRST else chance.sample(names, 2)):
        at = chance.choice([at for name, at in case.calls if name == call])
        (tmp_path / str(number)).mkdir()
        suffer(case, Fault(call, at, error_of(call)), tmp_path / str(number))


@needs_strace
def test_a_kill_within_a_call_leaves_the_old_or_the_new(case: Case, tmp_path: Path) -> None:
    """At the calls that make something visible, and at the last ones of all."""
    visible = [each for each in case.calls if each[0] in ("rename", "renameat", "link", "linkat", "fsync", "syncfs")]
    chosen = {visible[len(visible) // 2], visible[-1]} if type(case.subject) in FIRST else {visible[-2]}
    for number, (call, at) in enumerate(sorted(chosen)):
        (tmp_path / str(number)).mkdir()
        suffer(case, Fault(call, at, "signal=SIGKILL"), tmp_path / str(number))


@needs_strace
@pytest.mark.judge
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("what", ["error=EIO", "error=ENOSPC", "error=EACCES", "signal=SIGKILL", "signal=SIGTERM"])
def test_each_call_that_fails(what: str, case: Case, tmp_path: Path) -> None:
    """All of them, one run each; of calls that come very often, every so many."""
    wrong = []
    for call in sorted({call for call, _ in case.calls}):
        numbers = [at for name, at in case.calls if name == call]
        for at in numbers[:: 1 + len(numbers) // 4]:
            place = tmp_path / f"{call} {at}"
            place.mkdir()
            try:
                suffer(case, Fault(call, at, what), place)
            except AssertionError as error:
                wrong.append(str(error))
            shutil.rmtree(place)
    assert not wrong, "\n".join(wrong)


# A full disk


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    path.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", path], capture_output=True).returncode:
        pytest.skip("mounting is not possible here")
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


@pytest.mark.skipif(not ROOT, reason="mounting needs root")
@pytest.mark.parametrize(
    ("case", "jobs"),
    [(kind, jobs) for kind in FIRST for jobs in ("1", "2")] + [(kind, "2") for kind in MORE],
    indirect=["case"],
    ids=name_of,
)
def test_a_full_disk_changes_nothing_and_the_same_command_succeeds_with_room(
    case: Case, jobs: str, tmp_path: Path
) -> None:
    subject = case.subject
    with small_disk(tmp_path / "disk", "1m") as disk:
        home = disk / "home"
        subject.prepare(home)
        filled = fill(disk, leaving=8192)
        line = subject.line(home, jobs=jobs)
        done = run(line)
        assert (done.returncode, done.stdout) == (1, ""), done
        assert done.stderr.startswith("ostrata: error: ") and "no space left on device" in done.stderr
        assert subject.is_as_before(home)
        assert subject.leftovers(home) == []
        filled.unlink()
        assert run(line).returncode == 0
        assert subject.is_done(home)
        if isinstance(subject, Import):
            assert subject.result(home) == case.expected


def fill(disk: Path, leaving: int) -> Path:
    """Fill the disk, but for a few bytes."""
    path = disk / "filler"
    status = os.statvfs(disk)
    path.write_bytes(bytes(status.f_bavail * status.f_bsize - leaving))
    return path


# Kills at any moment (those of other imports are in test_import_killed)


def kill_often(case: Case, place: Path, kills: int) -> None:
    subject, home = case.subject, place / "home"
    subject.prepare(home)
    started = time.monotonic()
    reference = place / "reference"
    subject.prepare(reference)
    assert run(subject.line(reference)).returncode == 0
    seconds = time.monotonic() - started
    canary = make_canary(place / "canary")
    chance = random.Random(SEED)
    killed = 0
    for _ in range(kills):
        process = subprocess.Popen(subject.line(home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(chance.uniform(0.3, 1.02) * seconds)
        except subprocess.TimeoutExpired:
            process.kill()
        killed += process.wait() == -9
        if not subject.is_as_before(home):
            if subject.leftovers(home):  # what is new was there already: the next run removes what the killed one left
                assert run(subject.line(home)).returncode == 0
            assert subject.result(home) == case.expected
        if subject.is_done(home):
            shutil.rmtree(home)
            subject.prepare(home)
    assert killed >= kills // 4
    assert run(subject.line(home)).returncode == 0
    assert subject.result(home) == case.expected
    assert subject.leftovers(home) == []
    assert canary.is_untouched()


@pytest.mark.parametrize("case", FIRST, indirect=True, ids=name_of)
def test_a_kill_at_any_moment_leaves_the_old_or_the_new(case: Case, tmp_path: Path) -> None:
    kill_often(case, tmp_path, 4)


@pytest.mark.judge
@pytest.mark.timeout(900)
@pytest.mark.parametrize("case", FIRST, indirect=True, ids=name_of)
def test_two_hundred_kills_leave_the_old_or_the_new(case: Case, tmp_path: Path) -> None:
    kill_often(case, tmp_path, 200)


# Where the result goes


@pytest.mark.parametrize("case", [*FIRST, ImportTar], indirect=True, ids=name_of)
@pytest.mark.parametrize("target", ["/dev/full", "closed"])
def test_a_result_that_cannot_be_told_is_one_clear_line(case: Case, target: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    case.subject.prepare(home)
    redirection = ">&-" if target == "closed" else f">{target}"
    line = ["sh", "-c", f'exec "$@" {redirection}', "sh", *case.subject.line(home)]
    done = run(line)
    assert done.returncode in (0, 1), done
    assert "Traceback" not in done.stderr and done.stderr.count("\n") <= 1, done
    assert case.subject.is_done(home)
    assert case.subject.leftovers(home) == []
