"""The command line, telling at its end how much memory it took."""

from __future__ import annotations

import re

PROGRAM = """
import atexit, pathlib
atexit.register(lambda: print(pathlib.Path("/proc/self/status").read_text()))
from ostrata.cli import main
main()
"""
"""For ``python -c``; of `getrusage` the peak may be that of the process which started it."""


def peak_of(stdout: str) -> int:
    """The most memory that the program took, in bytes, by what it printed."""
    found = re.search(r"VmHWM:\s*(\d+) kB", stdout)
    assert found is not None
    return int(found[1]) << 10
