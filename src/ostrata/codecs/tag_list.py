"""The tags of a repository: as ``skopeo list-tags`` or ``skopeo inspect`` prints them, or one on each line."""

from __future__ import annotations

from ostrata.codecs import json
from ostrata.errors import MalformedError

MAX_TAGS = 64 << 20
"""Bytes of a document."""

_WHAT = "list of tags"
_KEYS = ("Tags", "RepoTags")


def decode(data: bytes) -> tuple[str, ...]:
    """The tags in their order. Raises: MalformedError, LimitError."""
    if not data.lstrip().startswith(b"{"):  # no tag does
        lines = data.decode("utf-8", "surrogateescape").splitlines()
        return tuple(tag for line in lines if (tag := line.strip()))
    document = json.decode(data, what=_WHAT, limit=MAX_TAGS, allow_floats=True)
    tags = next((document[key] for key in _KEYS if key in document), None)
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise MalformedError(f"expected strings in a list {' or '.join(_KEYS)}, found no such list", where=_WHAT)
    return tuple(tags)
