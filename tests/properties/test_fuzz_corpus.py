"""The fuzzer's kept corpus: read or refused, as when it was made; its script makes it again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from targets import TARGETS

FUZZ = Path(__file__).resolve().parent.parent.parent / "fuzz"


@pytest.mark.parametrize("name", TARGETS)
def test_the_kept_corpus_holds_inputs_that_are_read_and_ones_that_are_refused(name: str) -> None:
    inputs = [path.read_bytes() for path in (FUZZ / "corpus" / name).iterdir()]
    assert {TARGETS[name](data) for data in inputs} == {True, False}


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_that_are_cut_or_changed_are_read_or_refused(name: str) -> None:
    for path in sorted((FUZZ / "corpus" / name).iterdir()):
        data = path.read_bytes()
        for place in range(0, len(data), 1 + len(data) // 10):
            TARGETS[name](data[:place])
            TARGETS[name](data[:place] + bytes([data[place] ^ 0x81]) + data[place + 1 :])


def test_the_corpus_is_small_and_its_script_makes_it_again(tmp_path: Path) -> None:
    subprocess.run([sys.executable, FUZZ / "make_corpus.py", tmp_path], check=True, timeout=60)
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    kept = {path.relative_to(FUZZ / "corpus"): path for path in (FUZZ / "corpus").rglob("*") if path.is_file()}
    assert {path: kept[path].read_bytes() for path in made} == made
    assert sum(path.stat().st_size for path in kept.values()) < 200_000
