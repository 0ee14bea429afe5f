"""A chroot with newer peers than the machine's own, entered for one command at a time.

Each command has mount and process namespaces of its own: whatever is mounted for it goes away with it, and killing it
on a timeout leaves no container running. The chroot itself is only read; all that a judge writes is in the work
directory, which the command sees as /mnt.

podman needs: its root to be a mount point, a cgroup2 mount, tmpfs for its locks, and (on its command line) a storage
driver that works anywhere, no cgroups of its own, and limits that the machine grants.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ENTER = """
set -e
mount --bind "$1" "$1"
mount -t proc proc "$1/proc"
mount -t sysfs sysfs "$1/sys"
mount -t cgroup2 none "$1/sys/fs/cgroup"
mount -t tmpfs -o mode=755 none "$1/run"
mount -t tmpfs -o mode=1777 none "$1/tmp"
mount -t tmpfs -o mode=1777 none "$1/var/tmp"
mount -t tmpfs -o mode=1777 none "$1/dev/shm"
mount --bind "$2" "$1/mnt"
root=$1
shift 2
exec chroot "$root" "$@"
"""
WORK = "/mnt"
"""Where a command finds the work directory."""

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/tmp",
    "LC_ALL": "C.UTF-8",
}
PODMAN = (
    "podman",
    *("--root", f"{WORK}/storage", "--runroot", "/run/containers", "--tmpdir", "/run/libpod"),
    *("--cgroup-manager", "cgroupfs", "--events-backend", "none"),
)
PROGRAMS = ("podman", "skopeo", "buildah", "ostree", "umoci", "tar", "busybox")


class JudgeError(Exception):
    """A judge said no."""


@dataclass(frozen=True, slots=True)
class Chroot:
    """The chroot at `path`."""

    path: Path

    def missing(self) -> list[str]:
        """The programs that ought to be in it and are not."""
        return [name for name in PROGRAMS if not os.access(self.path / "usr/bin" / name, os.X_OK)]

    def run(self, work: Path, *arguments: str, timeout: float = 60) -> str:
        """Run a program and return its stdout; `work` is its /mnt and its working directory.

        Raises: JudgeError with its stderr, also when it takes longer than `timeout` seconds.
        """
        inner = ("sh", "-c", f'cd {WORK} && exec "$@"', "sh", *arguments)
        command = (
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"),
            *("sh", "-c", ENTER, "sh", os.fspath(self.path), os.fspath(work), *inner),
        )
        return run(command, timeout, ENVIRONMENT)

    def shell(self, work: Path, script: str, *arguments: str, timeout: float = 60) -> str:
        """Run a shell script that stops at the first failure; `arguments` are its $1, $2..."""
        return self.run(work, "sh", "-euc", script, "sh", *arguments, timeout=timeout)

    def podman(self, work: Path, *arguments: str, driver: str = "vfs", timeout: float = 120) -> str:
        """Run podman with a storage of its own below `work`."""
        return self.run(work, *PODMAN, "--storage-driver", driver, *arguments, timeout=timeout)


def run(command: Sequence[str], timeout: float, environment: dict[str, str] | None = None) -> str:
    """Run any program and return its stdout. Raises: JudgeError with its stderr."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            env=environment,
            text=True,
            errors="surrogateescape",
        )
    except subprocess.TimeoutExpired as error:
        raise JudgeError(f"{command[0]} took longer than {timeout} s") from error
    if done.returncode != 0:
        raise JudgeError(f"exit code {done.returncode}: {' '.join(command[-6:])}\n{done.stdout}{done.stderr}")
    return done.stdout
