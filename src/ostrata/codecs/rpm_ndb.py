"""RPM's own database format, ndb: the file Packages.db.

The format (rpm, lib/backend/ndb/rpmpkg.c), all numbers little-endian u32:

* The first pages of 4096 bytes are an array of slots of 16 bytes. The first two of them are the file's header:
  magic ``RpmP``, version 0, generation, number of slot pages, next package index.
* A slot: magic ``Slot``, package index (0: free), offset and length of its blob in blocks of 16 bytes.
* A blob: magic ``BlbS``, package index, generation, length of its data; the data, an RPM header; zeros up to whole
  blocks; then the Adler-32 of all before, the length again, magic ``BlbE``.
"""

from __future__ import annotations

import struct
import zlib

from ostrata.errors import MalformedError, UnsupportedError, within

MAGIC = b"RpmP"

_SLOT_MAGIC, _BLOB_MAGIC, _END_MAGIC = b"Slot", b"BlbS", b"BlbE"
_PAGE, _BLOCK = 4096, 16
_HEADER = struct.Struct("<4sIII16x")
_SLOT = struct.Struct("<4sIII")
_BLOB_HEAD = struct.Struct("<4sIII")
_BLOB_TAIL = struct.Struct("<II4s")


def decode(data: bytes) -> list[bytes]:
    """The RPM headers in a Packages.db, by package index. Raises: MalformedError, UnsupportedError."""
    slots = _decode_slots(data)
    return [_decode_blob(data, index, *slots[index]) for index in sorted(slots)]


def _decode_slots(data: bytes) -> dict[int, tuple[int, int]]:
    """Package index -> (offset, length) of its blob, in bytes."""
    end = _decode_header(data)
    slots: dict[int, tuple[int, int]] = {}
    for magic, index, offset, count in _SLOT.iter_unpack(memoryview(data)[_HEADER.size : end]):
        if magic != _SLOT_MAGIC:
            raise MalformedError("expected a slot of an ndb database, found other bytes")
        if index == 0:
            continue
        if index in slots:
            raise MalformedError(f"the ndb database has the package index {index} twice")
        slots[index] = offset * _BLOCK, count * _BLOCK
    return slots


def _decode_header(data: bytes) -> int:
    """The size of the slot pages."""
    if len(data) < _PAGE:
        raise MalformedError(f"expected an ndb database of at least {_PAGE} bytes, found {len(data)}")
    magic, version, _, pages = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise MalformedError("expected an ndb database, found another file")
    if version != 0:
        raise UnsupportedError(f"expected an ndb database of version 0, found version {version}")
    if not 1 <= pages <= len(data) // _PAGE:
        raise MalformedError(f"expected at most {len(data) // _PAGE} slot pages in the ndb database, found {pages}")
    return int(pages) * _PAGE


def _decode_blob(data: bytes, index: int, offset: int, size: int) -> bytes:
    with within(f"package {index} of the ndb database"):
        if offset + size > len(data):
            raise MalformedError(f"its blob ends at {offset + size}, behind the file's {len(data)} bytes")
        if size < _BLOB_HEAD.size + _BLOB_TAIL.size:
            raise MalformedError(f"its blob has {size} bytes, too few for any")
        end = offset + size - _BLOB_TAIL.size
        magic, own_index, _, length = _BLOB_HEAD.unpack_from(data, offset)
        checksum, length_again, end_magic = _BLOB_TAIL.unpack_from(data, end)
        if (magic, own_index, end_magic) != (_BLOB_MAGIC, index, _END_MAGIC) or length != length_again:
            raise MalformedError("its slot points to something else")
        start = offset + _BLOB_HEAD.size
        if start + length > end:
            raise MalformedError(f"its data has {length} bytes, too many for its blob of {size}")
        if zlib.adler32(memoryview(data)[offset:end]) != checksum:
            raise MalformedError("its data does not match its checksum")
        return data[start : start + length]
