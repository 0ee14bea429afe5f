"""Tar entries exactly as Rust's `tar` crate writes them (tar-rs 0.4, GNU format), byte for byte.

Layer digests depend on details that no specification has, so here they are in one place:

* A header is 512 bytes, zero where nothing is said: no user or group names, no zeros in devmajor/devminor.
* Numbers are octal digits and a NUL; too large ones base-256 with the top bit set. The checksum: *7* digits and a NUL.
* A name is put into its field piece by piece ("component", "/", "component", ...). Each piece leaves one NUL behind it
  when it does not end at the field's end; *what stood in the field after that NUL stays*. A field may be filled twice
  (a header cloned for a second entry), and then old bytes show: see `fill`.
* A piece that does not fit ends the filling, and what was written so far stays. A name that did not fit goes into an
  `L` entry before the header (`K` for a link target), and its first 100 bytes into the field.
* A stream ends with 1024 zero bytes.
"""

from __future__ import annotations

from functools import lru_cache

BLOCK = 512
FIELD = 100
"""Bytes of the name and link name fields."""
END = bytes(2 * BLOCK)
EMPTY_FIELD = bytes(FIELD)

REGULAR = b"0"
HARD_LINK = b"1"
SYMLINK = b"2"
DIRECTORY = b"5"

_NO_TIME = b"00000000000\0"
_CHECKSUM_AS_SPACES = 8 * ord(" ")
_GNU_REST = b"ustar  \0".ljust(BLOCK - 257, b"\0")
_PAX_REST = b"ustar\x0000".ljust(BLOCK - 257, b"\0")


def header(name: bytes, mode: int, uid: int, gid: int, size: int, kind: bytes, link: bytes = EMPTY_FIELD) -> bytes:
    """The 512 bytes of a header; `name` and `link` are filled fields of 100 bytes, `mode` has permission bits only."""
    owner, owner_sum = _owner(mode, uid, gid)
    length = _octal(size, 12) if size else _NO_TIME
    checksum = owner_sum + sum(length) + sum(kind) + sum(name) + (sum(link) if link is not EMPTY_FIELD else 0)
    return b"".join((name, owner, length, _NO_TIME, b"%07o\0" % checksum, kind, link, _GNU_REST))


@lru_cache(maxsize=4096)
def _owner(mode: int, uid: int, gid: int) -> tuple[bytes, int]:
    """The fields mode, uid and gid, and what they and all that never changes add to the checksum."""
    fields = _octal(mode, 8) + _octal(uid, 8) + _octal(gid, 8)
    return fields, sum(fields) + sum(_NO_TIME) + _CHECKSUM_AS_SPACES + sum(_GNU_REST)


def _octal(number: int, width: int) -> bytes:
    if number < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, number)
    return bytes([0x80]) + number.to_bytes(width - 1, "big")


def padding(size: int) -> bytes:
    """The zeros that follow `size` bytes of data."""
    return bytes(-size % BLOCK)


def fill(field: bytes, path: bytes) -> tuple[bytes, bool]:
    """Put `path`, free of empty and ``.`` components, into a field of 100 bytes.

    Returns: the field, and whether `path` fitted. What stood in the field behind the path's NUL stays.
    """
    if len(path) <= FIELD:
        return (path + b"\0" + field[len(path) + 1 :] if len(path) < FIELD else path), True
    written = bytearray(field)
    position = 0
    for piece in _pieces(path):
        if position + len(piece) > FIELD:
            break
        written[position : position + len(piece)] = piece
        position += len(piece)
        if position < FIELD:
            written[position] = 0
    return bytes(written), False


def _pieces(path: bytes) -> list[bytes]:
    """``/a/b/`` is written as ``/``, ``a``, ``/``, ``b``, ``/``."""
    pieces: list[bytes] = []
    for component in path.split(b"/"):
        pieces += [component, b"/"] if component else [b"/"]
    return pieces[:-1]


def name_fields(path: bytes, onto: bytes = EMPTY_FIELD) -> tuple[bytes, bytes]:
    """How the name `path` is stored: (an `L` entry or nothing, the name field), written onto the field `onto`.

    A leading ``./`` counts for the length and the `L` entry but is not stored in the field, unless `path` is ``./``.
    """
    stored = _without_dot(path)
    if len(stored) <= FIELD:
        return b"", fill(onto, stored)[0]
    cut = path[:FIELD]
    if not cut.isascii():
        cut = cut.decode("utf-8", "ignore").encode("utf-8")
    cut = _without_dot(cut)
    # A name like ``.x`` may be cut to ``.``, which is no component to the crate.
    cut = cut.removesuffix(b"/.")
    # The field is filled with what fits of the name first: to be seen only where the cut name is shorter.
    field = cut if len(cut) == FIELD else fill(fill(onto, stored)[0], cut)[0]
    return long_entry(b"L", path), field


def _without_dot(path: bytes) -> bytes:
    return path[2:] if path.startswith(b"./") and len(path) > 2 else path


def link_fields(target: bytes) -> tuple[bytes, bytes]:
    """How the symlink target is stored: (a `K` entry or nothing, the link name field).

    Upstream writes the target's components and so drops ``/.`` and doubles a lone ``/``: what it writes then is not
    what the commit says, and importers refuse it. Such targets are stored raw here; there is no valid output to match.
    """
    normal = _normalised_target(target)
    if target == normal or b"//" in target:
        if len(target) <= FIELD:
            return b"", fill(EMPTY_FIELD, target)[0]
        field = target[:FIELD] if b"//" in target else fill(EMPTY_FIELD, target)[0]
        return long_entry(b"K", target), field
    if len(target) <= FIELD:
        return b"", fill(EMPTY_FIELD, target)[0]
    field, fits = fill(EMPTY_FIELD, normal)
    return long_entry(b"K", target), target[:FIELD] if fits else field


def _normalised_target(target: bytes) -> bytes:
    """What joining a target's path components gives, as the crate does it: ``/.`` vanishes, ``/`` becomes ``//``."""
    components = target.split(b"/")
    kept = [name for position, name in enumerate(components) if name and (name != b"." or position == 0)]
    root = b"/" if target.startswith(b"/") else b""
    return root + b"/".join(kept) + (b"/" if target.endswith(b"/") else b"")


def long_entry(kind: bytes, value: bytes) -> bytes:
    """An `L` or `K` entry: header, value and NUL, padding."""
    size = len(value) + 1
    return b"".join((_long_header(kind, size), value, b"\0", padding(size)))


@lru_cache(maxsize=1024)
def _long_header(kind: bytes, size: int) -> bytes:
    return header(fill(EMPTY_FIELD, b"././@LongLink")[0], 0o644, 0, 0, size, kind)


def pax_entry(records: list[tuple[bytes, bytes]]) -> bytes:
    """An `x` entry with one record for each (keyword, value); all header fields but size, time and type are zero."""
    data = b"".join(_pax_record(keyword, value) for keyword, value in records)
    numbers = bytes(24) + _octal(len(data), 12) + _NO_TIME
    checksum = sum(numbers) + _CHECKSUM_AS_SPACES + ord("x") + sum(_PAX_REST)
    head = b"".join((EMPTY_FIELD, numbers, b"%07o\0" % checksum, b"x", EMPTY_FIELD, _PAX_REST))
    return head + data + padding(len(data))


def _pax_record(keyword: bytes, value: bytes) -> bytes:
    rest = b" " + keyword + b"=" + value + b"\n"
    length = len(rest) + len(str(len(rest)))
    # The length counts its own digits, which can make it one digit longer.
    length = len(rest) + len(str(length))
    return b"%d%b" % (length, rest)
