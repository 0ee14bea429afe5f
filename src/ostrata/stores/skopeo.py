"""The program skopeo, which reaches the places that we do not: registries, container storage, docker archives.

No secret passes through here: authfiles are skopeo's to read, and what looks like a user and password in its
messages is cut out.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ostrata.errors import NotFoundError, TransferError, UnsupportedError, escape
from ostrata.stores.files import TemporaryDirectory, label_of, remove_stale
from ostrata.stores.reference import LAYOUT, ImageReference

_TAG = "image"
_LOG_LINE = re.compile(r'^time="[^"]*" level=\w+ msg="(.*)"$')
_CREDENTIALS = re.compile(r"(?<=//)[^\s/:@\"']+:[^\s/@\"']+@(?!sha256:)")  # not those of [driver@root], ostree:REF@REPO


@dataclass(frozen=True, slots=True)
class SkopeoOptions:
    """How skopeo reaches an image's source: skopeo's ``--src-*`` options."""

    authfile: str | None = None
    anonymous: bool = False
    certificates: str | None = None
    verify_tls: bool = True

    def arguments(self) -> list[str]:
        """The command line's words."""
        words = ["--src-authfile", self.authfile] if self.authfile else []
        words += ["--src-no-creds"] if self.anonymous else []
        words += ["--src-cert-dir", self.certificates] if self.certificates else []
        return words if self.verify_tls else [*words, "--src-tls-verify=false"]


@contextmanager
def copied_image(
    reference: ImageReference, *, tmpdir: str, options: SkopeoOptions | None = None, program: str = "skopeo"
) -> Iterator[ImageReference]:
    """A copy of the image as a layout in `tmpdir`, there for the length of the ``with`` block.

    Raises: NotFoundError when skopeo is not installed, TransferError with what it says; AccessError.
    """
    tmpdir = os.path.abspath(tmpdir)
    where = f"skopeo copy from {without_secrets(str(reference))}"
    needed = f"skopeo is needed for {without_secrets(str(reference))} and is not installed"
    missing = NotFoundError(needed, hint="install skopeo, or copy the image to oci:PATH first")
    run_skopeo(program, ["--version"], where=where, missing=missing)
    check_tmpdir(tmpdir)
    label = label_of(str(reference))
    remove_stale(tmpdir, label)
    with TemporaryDirectory(tmpdir, label) as scratch:
        copy = ImageReference(LAYOUT, os.path.join(scratch.path, "layout"), _TAG)
        words = options.arguments() if options is not None else []
        run_skopeo(program, ["copy", *words, "--", str(reference), str(copy)], where=where, missing=missing)
        yield copy


def run_skopeo(program: str, arguments: Sequence[str], *, where: str, missing: NotFoundError) -> bytes:
    """Run `program`; the result is its stdout.

    Raises: `missing` when it is not installed, TransferError with its last words.
    """
    try:
        done = subprocess.run(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        raise missing from None
    if done.returncode:
        raise TransferError(_last_message(done.stderr, done.returncode), where=where, status=done.returncode)
    return done.stdout


def check_tmpdir(path: str) -> None:
    """Raises: UnsupportedError for a directory in which skopeo cannot find a layout."""
    if ":" in path:
        raise UnsupportedError(
            "expected a temporary directory without a colon in its path, which skopeo cannot read",
            where=escape(path),
            hint="choose another with --tmpdir",
        )


def without_secrets(text: str) -> str:
    """`text` for people, without users and passwords in addresses."""
    return escape(_CREDENTIALS.sub("", text))


def _last_message(stderr: bytes, status: int) -> str:
    lines = stderr.decode("utf-8", "surrogateescape").strip().splitlines()
    if not lines:
        return f"skopeo failed with status {status} and said nothing"
    match = _LOG_LINE.match(lines[-1])
    message = match.group(1).replace('\\"', '"') if match else lines[-1]
    return without_secrets(message[:2000])
