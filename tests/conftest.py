"""Fixtures that more than one floor needs."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from canary import Canary, make_canary
from ostrata.codecs import zstd

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"

# A shell starts background jobs with SIGINT ignored, and programs inherit that: tests of Ctrl-C need it back.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def golden() -> Path:
    """The golden cases that lie beside the project; tests that need them skip without them."""
    path = SHARED / "data" / "golden"
    if not path.is_dir():
        pytest.skip("the golden cases beside the project are not here")
    return path


@pytest.fixture
def golden_repository(golden: Path, tmp_path: Path) -> Path:
    """The golden repository (archive mode), unpacked."""
    data = zstd.ZstdDecompressor().decompress((golden / "repo.tar.zst").read_bytes())
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(tmp_path, filter="fully_trusted")
    return tmp_path / "repo"


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Canary]:
    """What a test must not touch, beside its destination; looked at when the test is over."""
    made = make_canary(tmp_path / "canary")
    yield made
    assert made.is_untouched()


@pytest.fixture
def run() -> Callable[..., str]:
    """Run a program, return its stdout; its stderr is the test's failure message."""

    def run_program(*arguments: str | os.PathLike[str], cwd: Path | None = None) -> str:
        done = subprocess.run(
            [os.fspath(argument) for argument in arguments],
            cwd=cwd,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=120,
        )
        assert done.returncode == 0, f"{arguments[0]} failed: {done.stderr}"
        return done.stdout

    return run_program


@pytest.fixture
def need() -> Callable[..., None]:
    """Skip, with the reason, when a program is not installed."""

    def need_programs(*names: str) -> None:
        for name in names:
            if shutil.which(name) is None:
                pytest.skip(f"{name} is not installed")

    return need_programs
