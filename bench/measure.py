"""Running a command and watching it: wall time, CPU time, and the peak memory of all its processes together."""

from __future__ import annotations

import os
import resource
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SAMPLE_SECONDS = 0.5  # each sample walks the page tables of what is measured


@dataclass(frozen=True, slots=True)
class Measured:
    """`wall` and `cpu` in seconds, `memory` in bytes: the peak of the summed proportional set sizes."""

    wall: float
    cpu: float
    memory: int
    stdout: str


def measure(*command: str, shell: bool = False, watch_memory: bool = True) -> Measured:
    """Run `command` (one line for a shell with `shell`); it must succeed.

    Modules may be kept compiled, as they are where the package is installed.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    process = subprocess.Popen(
        command[0] if shell else list(command),
        env={name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        shell=shell,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watcher = Watcher(lambda: sum(map(_proportional_set_size, _family(process.pid)))) if watch_memory else None
    stdout, stderr = process.communicate()
    wall = time.perf_counter() - started
    memory = watcher.stop() if watcher else 0
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}\nfailed with {process.returncode}:\n{stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(wall, cpu, memory, stdout)


class Watcher:
    """Takes samples of a number of bytes, until `stop` gives the most that was seen."""

    def __init__(self, sample: Callable[[], int]) -> None:
        self._sample = sample
        self._peak = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        self._ended.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self._peak = max(self._peak, self._sample())


def _family(pid: int) -> list[int]:
    found = [pid]
    for member in found:
        try:
            for task in os.listdir(f"/proc/{member}/task"):
                found += map(int, Path(f"/proc/{member}/task/{task}/children").read_text().split())
        except OSError:
            continue
    return found


def _proportional_set_size(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
