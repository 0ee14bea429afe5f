"""Where an image is: ``TRANSPORT:DETAILS``, as skopeo and podman spell it (containers-transports(5)).

``oci:PATH[:TAG]`` and ``oci-archive:PATH[:TAG]`` are ours; the path ends at the first colon, as it does for
every other tool, so a path cannot hold one. The rest of the transports are handed to skopeo as they are;
``registry:HOST/NAME``, ostree-ext's word for it, is ``docker://HOST/NAME``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ostrata.errors import MalformedError, UnsupportedError, escape

LAYOUT = "oci"
ARCHIVE = "oci-archive"
DOCKER_ARCHIVE = "docker-archive"

_SKOPEO = (
    *("docker", "containers-storage", "dir", DOCKER_ARCHIVE),
    *("docker-daemon", "ostree", "sif", "tarball"),
)
_HINT = "write oci:PATH[:TAG], oci-archive:PATH[:TAG], or a transport of skopeo, as docker://HOST/NAME:TAG"
_COMPONENT = r"[A-Za-z0-9]+(?:(?:[-._:@+]|--)[A-Za-z0-9]+)*"
_TAG = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")


@dataclass(frozen=True, slots=True)
class ImageReference:
    """A transport, its path, and a tag. Of a transport not ours, `path` is all that follows the colon."""

    transport: str
    path: str
    tag: str | None = None

    def __str__(self) -> str:
        tag = "" if self.tag is None else f":{self.tag}"
        return f"{self.transport}:{self.path}{tag}"

    @property
    def is_native(self) -> bool:
        """Do we read and write it ourselves?"""
        return self.transport in (LAYOUT, ARCHIVE)


def parse_reference(text: str) -> ImageReference:
    """Raises: MalformedError for a bare path, an empty one or a bad tag; UnsupportedError for a transport."""
    transport, colon, details = text.partition(":")
    shown = escape(text[:200])
    if not colon or "/" in transport:
        raise MalformedError(f"expected a transport and a colon before the path, found '{shown}'", hint=_HINT)
    if "\0" in text:
        raise MalformedError(f"expected a reference without a NUL, found '{shown}'")
    if not details.strip("/"):
        raise MalformedError(f"expected a path or name after '{escape(transport)}:'", hint=_HINT)
    if transport == "registry":
        transport, details = "docker", "//" + details
    if transport in (LAYOUT, ARCHIVE):
        return _parse_native(transport, details)
    if transport not in _SKOPEO:
        raise UnsupportedError(f"expected a transport, found '{escape(transport)}'", hint=_HINT)
    if transport == "docker" and not details.startswith("//"):
        raise MalformedError(f"expected docker://HOST/NAME, found '{shown}'")
    return ImageReference(transport, details)


def _parse_native(transport: str, details: str) -> ImageReference:
    path, _, tag = details.partition(":")
    if not path:
        raise MalformedError(f"expected a path after '{transport}:', found nothing", hint=_HINT)
    if tag and _TAG.fullmatch(tag) is None:
        raise MalformedError(
            f"expected a tag of letters and digits, with -._:@+/ between them, found '{escape(tag[:200])}'",
            hint="the tag begins at the first colon: a path in a reference cannot hold one",
        )
    return ImageReference(transport, path, tag or None)
