"""Progress as people see it: a bar on a terminal, a line every ten seconds in a log, nothing with --quiet."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, TextIO

import click

from ostrata.cli.common import format_size, warn

if TYPE_CHECKING:
    import rich.progress

LINE_SECONDS = 10.0


class ClosableProgress(Protocol):
    """`ostrata.progress.Progress`, and an end."""

    def start(self, phase: str, total: int | None) -> None: ...

    def advance(self, amount: int) -> None: ...

    def warn(self, message: str) -> None: ...

    def close(self) -> None: ...


def progress_for(quiet: bool, stream: TextIO) -> ClosableProgress:
    """The watcher that suits `stream`."""
    if quiet:
        return QuietProgress()
    return BarProgress() if stream.isatty() else LineProgress()


class QuietProgress:
    """Warnings only."""

    def start(self, phase: str, total: int | None) -> None:
        pass

    def advance(self, amount: int) -> None:
        pass

    def warn(self, message: str) -> None:
        warn(message)

    def close(self) -> None:
        pass


class LineProgress(QuietProgress):
    """For logs: at most one line every LINE_SECONDS."""

    def __init__(self) -> None:
        self._phase = ""
        self._total: int | None = None
        self._done = 0
        self._started = self._shown = time.monotonic()

    def start(self, phase: str, total: int | None) -> None:
        self._phase, self._total, self._done = phase, total, 0
        self._started = time.monotonic()

    def advance(self, amount: int) -> None:
        self._done += amount
        now = time.monotonic()
        if now - self._shown >= LINE_SECONDS:
            self._shown = now
            click.echo(f"ostrata: {self._line(now)}", err=True)

    def _line(self, now: float) -> str:
        rate = self._done / max(now - self._started, 0.001)
        line = f"{self._phase}: {format_size(self._done)}"
        if self._total:
            line += f" of {format_size(self._total)} ({min(100, 100 * self._done // self._total)} %)"
        line += f", {format_size(int(rate))}/s"
        if self._total and rate > 0:
            line += f", {max(0, self._total - self._done) / rate:.0f} s left"
        return line


class BarProgress(QuietProgress):
    """For terminals: bytes, rate, time left. No thread of its own: it must not be in the way of forking workers."""

    def __init__(self) -> None:
        self._bars: rich.progress.Progress | None = None
        self._task: rich.progress.TaskID | None = None

    def start(self, phase: str, total: int | None) -> None:
        bars = self._open()
        if self._task is not None:
            bars.remove_task(self._task)
        self._task = bars.add_task(phase, total=total)
        bars.refresh()

    def _open(self) -> rich.progress.Progress:
        if self._bars is None:
            from rich import progress
            from rich.console import Console

            self._bars = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.DownloadColumn(),
                progress.TransferSpeedColumn(),
                progress.TimeRemainingColumn(),
                console=Console(stderr=True),
                auto_refresh=False,
                transient=True,
            )
            self._bars.start()
        return self._bars

    def advance(self, amount: int) -> None:
        if self._bars is not None and self._task is not None:
            self._bars.advance(self._task, amount)
            self._bars.refresh()

    def warn(self, message: str) -> None:
        if self._bars is None:
            warn(message)
        else:
            self._bars.console.print(f"ostrata: warning: {message}", markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        if self._bars is not None:
            self._bars.stop()
