"""A small SELinux policy for tests: only what looking up labels needs."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from ostrata.sources.libselinux import LIBRARY

FILE_CONTEXTS = """\
/.*                          system_u:object_r:default_t:s0
/                       -d   system_u:object_r:root_t:s0
/usr(/.*)?                   system_u:object_r:usr_t:s0
/usr/bin(/.*)?               system_u:object_r:bin_t:s0
/usr/bin/su             --   system_u:object_r:su_exec_t:s0
/usr/bin/su             -l   system_u:object_r:link_t:s0
/usr/etc(/.*)?               system_u:object_r:usretc_t:s0
/etc(/.*)?                   system_u:object_r:etc_t:s0
/etc/shadow             --   system_u:object_r:shadow_t:s0
/mnt                    -d   system_u:object_r:mnt_t:s0
/proc                   -d   <<none>>
/proc/.*                     <<none>>
/nothing(/.*)?               <<none>>
"""


def has_libselinux() -> bool:
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    return True


needs_libselinux = pytest.mark.skipif(not has_libselinux(), reason="libselinux is not installed")


def label(name: str) -> bytes:
    return f"system_u:object_r:{name}_t:s0".encode()


def make_policy(
    root: Path,
    *,
    place: str = "etc/selinux",
    config: str = "# comment\nSELINUX=enforcing\nSELINUXTYPE= tiny \n",
    contexts: str = FILE_CONTEXTS,
) -> Path:
    """Put the policy `tiny` into the tree `root`; `policy.33` only has to be there."""
    directory = root / place
    (directory / "tiny/policy").mkdir(parents=True)
    (directory / "tiny/policy/policy.33").write_bytes(b"compiled")
    (directory / "tiny/contexts/files").mkdir(parents=True)
    (directory / "tiny/contexts/files/file_contexts").write_text(contexts)
    (directory / "tiny/contexts/files/file_contexts.local").write_text("/local -- system_u:object_r:local_t:s0\n")
    (directory / "tiny/contexts/files/file_contexts.subs_dist").write_text("/usr/local/bin /usr/bin\n")
    (directory / "config").write_text(config)
    return root


def make_labelled_tree(root: Path) -> Path:
    """A tree with something for every rule."""
    for directory in ("usr/bin", "usr/local/bin", "usr/etc", "etc", "proc/1", "nothing/here", "sbin"):
        (root / directory).mkdir(parents=True)
    for file in ("usr/bin/su", "usr/bin/a \u00fc\nb", "usr/local/bin/x", "usr/etc/shadow", "etc/shadow", "local"):
        (root / file).write_text(file)
    (root / "nothing/here/f").write_text("f")
    (root / "sbin/su").symlink_to("../usr/bin/su")
    return root
