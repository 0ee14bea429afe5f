from __future__ import annotations

import io
import re

import pytest

from ostrata.cli import progress
from ostrata.cli.progress import BarProgress, LineProgress, QuietProgress, progress_for


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_bars_a_log_gets_lines_and_quiet_gets_neither() -> None:
    assert type(progress_for(False, Terminal())) is BarProgress
    assert type(progress_for(False, io.StringIO())) is LineProgress
    assert type(progress_for(True, Terminal())) is QuietProgress


def test_lines_come_at_most_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 1000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    lines = LineProgress()
    lines.start("writing layers", 4_000_000)
    for _ in range(100):
        now += 0.25
        lines.advance(40_000)
    shown = capsys.readouterr().err.splitlines()
    assert shown == [
        "ostrata: writing layers: 1.6 MB of 4.0 MB (40 %), 160 kB/s, 15 s left",
        "ostrata: writing layers: 3.2 MB of 4.0 MB (80 %), 160 kB/s, 5 s left",
    ]


def test_more_than_the_estimated_total_is_no_more_than_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    lines = LineProgress()
    lines.start("writing layers", 1000)
    now = 11.0
    lines.advance(5000)
    assert re.search(r"\(100 %\), \d+ B/s, 0 s left$", capsys.readouterr().err)


@pytest.mark.parametrize("watcher", [QuietProgress(), LineProgress(), BarProgress()])
def test_warnings_are_always_shown(watcher: QuietProgress, capsys: pytest.CaptureFixture[str]) -> None:
    watcher.warn("careful")
    watcher.close()
    assert capsys.readouterr().err == "ostrata: warning: careful\n"


def test_bars_survive_phases_and_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    bars = BarProgress()
    bars.start("one", 10)
    bars.advance(5)
    bars.warn("careful [not markup]")
    bars.start("two", None)
    bars.advance(1)
    bars.close()
    assert "careful [not markup]" in capsys.readouterr().err
