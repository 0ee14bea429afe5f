"""gzip files that an image has in its tree: changelogs, mtree files."""

from __future__ import annotations

from zlib_ng import zlib_ng

from ostrata.errors import MalformedError, escape

_WINDOW_BITS = 31  # 15 for the largest window, 16 for "a gzip header and trailer"
_GzipError: type[Exception] = zlib_ng.error  # type: ignore[assignment]  # its stub has an instance for the class


def decompress_head(data: bytes, limit: int) -> bytes:
    """What the first member of the gzip file `data` begins with, at most `limit` bytes. Raises: MalformedError."""
    inflater = zlib_ng.decompressobj(_WINDOW_BITS)
    try:
        text = inflater.decompress(data, limit)
    except _GzipError as error:
        raise MalformedError(f"the gzip data is damaged: {escape(str(error))}") from None
    if len(text) < limit and not inflater.eof:
        raise MalformedError("the gzip data is truncated: its end is missing")
    return text
