"""An image to wherever skopeo can put it: registries, container storage, docker archives.

The image is completed in a temporary layout and copied by ``skopeo copy``. Digests are not forced to stay
(``--preserve-digests``): destinations that keep docker's format would then refuse every image; what the
destination made of the manifest is read from skopeo's digest file instead.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from types import TracebackType

from ostrata.destinations.layout import LayoutDestination
from ostrata.errors import NotFoundError, within
from ostrata.model.digest import Digest
from ostrata.model.image import Descriptor, Platform
from ostrata.stores.blobs import BlobDirectory
from ostrata.stores.files import TemporaryDirectory, label_of, read_limited, remove_stale
from ostrata.stores.reference import ImageReference
from ostrata.stores.skopeo import check_tmpdir, run_skopeo, without_secrets

_TAG = "image"
_MAX_DIGEST_FILE = 1024


class SkopeoDestination:
    """`reference`, by way of a temporary layout in `tmpdir`; `authfile` is passed on to skopeo."""

    def __init__(
        self, reference: ImageReference, *, tmpdir: str, authfile: str | None = None, program: str = "skopeo"
    ) -> None:
        self.reference = reference
        self._tmpdir = os.path.abspath(tmpdir)
        self._authfile = authfile
        self._program = program
        self._label = label_of(str(reference))
        self._stack = ExitStack()
        self._scratch = ""
        self._layout = LayoutDestination("")

    @property
    def blobs(self) -> BlobDirectory:
        return self._layout.blobs

    def __enter__(self) -> SkopeoDestination:
        """Raises: NotFoundError when skopeo is not installed; AccessError."""
        self._run("--version")
        check_tmpdir(self._tmpdir)
        remove_stale(self._tmpdir, self._label)
        self._scratch = self._stack.enter_context(TemporaryDirectory(self._tmpdir, self._label)).path
        self._layout = LayoutDestination(os.path.join(self._scratch, "layout"), _TAG)
        try:
            self._layout.__enter__()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def write_image(self, config: bytes, manifest: bytes, platform: Platform) -> Descriptor:
        """See `protocols.Destination`; the digest is the one that the destination has."""
        return self._copy(self._layout.write_image(config, manifest, platform))

    def write_index(self, index: bytes) -> Descriptor:
        """See `protocols.Destination`: all of its images are copied."""
        return self._copy(self._layout.write_index(index), "--all")

    def _copy(self, written: Descriptor, *options: str) -> Descriptor:
        digest_file = os.path.join(self._scratch, "digest")
        authfile = ["--authfile", self._authfile] if self._authfile else []
        source = f"oci:{self._layout.path}:{_TAG}"
        self._run("copy", *options, *authfile, "--digestfile", digest_file, "--", source, str(self.reference))
        text = read_limited(digest_file, _MAX_DIGEST_FILE).decode("ascii", "replace").strip()
        with within("skopeo's digest file"):
            return Descriptor(written.media_type, Digest.parse(text), written.size)

    def _run(self, *arguments: str) -> None:
        shown = without_secrets(str(self.reference))
        missing = NotFoundError(
            f"skopeo is needed for {shown} and is not installed",
            hint="install skopeo, or write to oci:PATH or oci-archive:PATH",
        )
        run_skopeo(self._program, arguments, where=f"skopeo copy to {shown}", missing=missing)
