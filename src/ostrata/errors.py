"""Errors: one root, few families, sorted by who can act.

    OstrataError                 every failure the user can do something about
    ├── MalformedError           the input's bytes break their format
    │   └── DigestMismatchError  the bytes are not the ones that were named
    ├── NotFoundError            what was named is not there
    ├── UnsupportedError         valid, but not something we read or write
    ├── AccessError              the system said no (permissions, disk full, I/O)
    ├── TransferError            another program or machine failed to take or give bytes
    ├── PlanError                a plan or contentmeta does not fit what it should describe
    └── LimitError               a declared bound was exceeded

Shape when printed: ``where: where: what``, then the hint on a line of its own. Lower case, no full stop, the
expected before the found, names escaped. Programming errors stay what they are (a TypeError stays a TypeError).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import islice


class OstrataError(Exception):
    """Something the user can act on.

    Parameters: `what` went wrong; `where` (outermost last: contexts are added while the error climbs); `hint`, the
    way out.
    """

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.places: list[str] = [where] if where else []
        self.hint = hint

    def __str__(self) -> str:
        line = ": ".join([*reversed(self.places), self.what])
        return f"{line}\n{self.hint}" if self.hint else line

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process boundaries: keep every attribute, not only the constructor's first argument.
        return (_rebuild, (type(self), self.__dict__.copy(), self.args))


def _rebuild(kind: type[OstrataError], state: dict[str, object], args: tuple[object, ...]) -> OstrataError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class MalformedError(OstrataError):
    """Bytes that break the rules of their format."""


class DigestMismatchError(MalformedError):
    """Bytes that are not the ones their name promises."""


class NotFoundError(OstrataError):
    """A revision, object, blob, tag, path or program that is not there."""


class UnsupportedError(OstrataError):
    """Valid input of a kind that ostrata does not read or write."""


class AccessError(OstrataError):
    """The operating system refused: permissions, a full disk, an I/O error."""


class TransferError(OstrataError):
    """Another program or server failed while it took or gave bytes."""

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        hint: str | None = None,
        status: int | None = None,
        retryable: bool = False,
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.status = status
        self.retryable = retryable


class PlanError(OstrataError):
    """A plan or contentmeta that does not fit the tree it should describe."""


class LimitError(OstrataError):
    """A declared bound was exceeded."""


@contextmanager
def within(place: str) -> Iterator[None]:
    """Add `place` to every OstrataError that leaves the block, and give an OSError the same shape.

    Raises: the same OstrataError with one more place; AccessError or NotFoundError in place of an OSError.
    """
    try:
        yield
    except OstrataError as error:
        error.places.append(place)
        raise
    except OSError as error:
        raise from_os_error(error, where=place) from error


def from_os_error(error: OSError, *, where: str | None = None) -> OstrataError:
    """The OstrataError that says what `error` says, in our shape."""
    reason = (error.strerror or type(error).__name__).lower()
    if isinstance(error.filename, (str, bytes)):
        reason = f"{escape(error.filename)}: {reason}"
    if isinstance(error, FileNotFoundError):
        return NotFoundError(reason, where=where)
    return AccessError(reason, where=where)


def some_of(names: Collection[str], most: int) -> str:
    """The first `most` of `names`, with commas between, and how many there are beside them."""
    shown = ", ".join(islice(names, most))
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def escape(name: str | bytes) -> str:
    """`name` with control, bidi, surrogate and other invisible characters as backslash escapes, for terminals."""
    if isinstance(name, bytes):
        name = name.decode("utf-8", "surrogateescape")
    if name.isascii() and name.isprintable() and "\\" not in name:
        return name
    return "".join(_escape_character(character) for character in name)


def _escape_character(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, see PEP 383
        return f"\\x{code - 0xDC00:02x}"
    if character == "\\":
        return "\\\\"
    if character != " " and unicodedata.category(character)[0] in "CZ":
        return character.encode("unicode_escape").decode("ascii")
    return character
