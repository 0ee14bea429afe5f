"""Doing something without root's rights."""

from __future__ import annotations

import os
import stat
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

NOBODY = 65534


def as_nobody(work: Callable[[], None], directory: Path) -> None:
    """Do the work in a process of its own, as somebody who owns `directory` and may nothing else; for others than root
    that is who they are.
    """
    if os.geteuid() == 0:
        os.chown(directory, NOBODY, NOBODY)
        for parent in directory.parents[:4]:  # as deep as pytest's own, with a worker's between
            mode = stat.S_IMODE(parent.stat().st_mode)
            if mode & 0o005 != 0o005:
                parent.chmod(mode | 0o055)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 says so where pytest has another thread
        child = os.fork()
    if not child:
        code = 1
        try:
            _become_nobody()
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


def _become_nobody() -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
