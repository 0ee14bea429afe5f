"""The SELinux policy of a source: of a directory where it lies, of everything else as copies of its few files.

libselinux opens files by their names, so what is in a layer must be on disk for a moment. A policy in an image may be a
stranger's: of its files only the text of ``file_contexts*`` is taken, since libselinux believes compiled ones.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ostrata.errors import LimitError, escape, within
from ostrata.model.tree import RegularFile
from ostrata.pipeline.build_sources import PreparedSource
from ostrata.sources.contents import DirectoryAt, open_contents
from ostrata.sources.selinux import SelinuxPolicy, open_policy
from ostrata.stores.files import TemporaryDirectory

MAX_POLICY = 64 << 20
"""Bytes of all files of a policy that are read."""

_READ = re.compile(r"(?:usr/)?etc/selinux/(?:config|[^/]+/contexts/files/file_contexts[^/]*)")
_COMPILED = re.compile(r"(?:usr/)?etc/selinux/[^/]+/policy/policy\.[0-9]+")


@contextmanager
def policy_of(prepared: PreparedSource, *, tmpdir: str, epoch: int = 0) -> Iterator[SelinuxPolicy | None]:
    """The policy in the source, for a ``with`` block; None when SELinux is off there.

    Raises: as `open_policy`; LimitError for a policy that is too large.
    """
    if isinstance(prepared.at, DirectoryAt):
        yield open_policy(prepared.at.path, epoch=epoch)
        return
    with TemporaryDirectory(os.path.abspath(tmpdir)) as scratch:
        _copy(prepared, scratch.path)
        yield open_policy(scratch.path, epoch=epoch)


def _copy(prepared: PreparedSource, directory: str) -> None:
    total = 0
    with open_contents(prepared.at) as contents:
        for path, entry in prepared.tree:
            if not isinstance(entry, RegularFile):
                continue
            if _COMPILED.fullmatch(path):
                _write(directory, path, ())  # only that it is there is of interest
            elif _READ.fullmatch(path) and not path.endswith(".bin"):
                total += entry.size
                if total > MAX_POLICY:
                    raise LimitError(f"expected at most {MAX_POLICY:,} bytes, found more", where=f"/{escape(path)}")
                _write(directory, path, contents.open(entry) if entry.size else ())


def _write(directory: str, path: str, content: Iterable[bytes | memoryview]) -> None:
    target = os.path.join(directory, path)
    with within(f"/{escape(path)}"):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "xb") as file:
            file.writelines(content)
