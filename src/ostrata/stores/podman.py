"""The program podman, for images in its storage where skopeo is not installed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from ostrata.errors import NotFoundError, TransferError, escape
from ostrata.stores.files import TemporaryDirectory, label_of, remove_stale
from ostrata.stores.reference import ARCHIVE, ImageReference

STORAGE = "containers-storage"


def is_installed(program: str) -> bool:
    """Can the program be run?"""
    try:
        subprocess.run([program, "--version"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError:
        return False
    return True


@contextmanager
def saved_image(name: str, *, tmpdir: str, program: str = "podman") -> Iterator[ImageReference]:
    """The image `name` of the storage as an archive in `tmpdir`, there for the length of the ``with`` block.

    Raises: NotFoundError when podman is not installed, TransferError with what it says; AccessError.
    """
    tmpdir, label = os.path.abspath(tmpdir), label_of(name)
    remove_stale(tmpdir, label)
    with TemporaryDirectory(tmpdir, label) as scratch:
        path = os.path.join(scratch.path, "image.tar")
        words = [program, "save", "--quiet", "--format", "oci-archive", "--output", path, "--", name]
        try:
            done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        except FileNotFoundError:
            hint = "install skopeo or podman, or copy the image to oci:PATH first"
            raise NotFoundError(f"neither skopeo nor podman is installed for {escape(name)}", hint=hint) from None
        if done.returncode:
            said = done.stderr.decode("utf-8", "surrogateescape").strip().splitlines()
            message = escape(said[-1][:2000]) if said else "it said nothing"
            raise TransferError(message, where=f"podman save {escape(name)}", status=done.returncode)
        yield ImageReference(ARCHIVE, path)
