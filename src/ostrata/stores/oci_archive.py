"""An OCI archive: a layout in an uncompressed tar, read where it lies.

The members are listed once, in one walk over the headers; a blob is then read at its offset. The walk is
strict: a bad header checksum, a size beyond the file, a repeated name, a link, a name that leads out of the
archive or a missing end is an error, never the silent end of the list.

Understood: ustar and GNU headers, `L` entries, and PAX records `path`, `linkpath` and `size`. Compressed archives are
not: a blob in them has no offset.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from ostrata.codecs import oci
from ostrata.codecs.tar_headers import BLOCK, Header, decode_header, decode_pax, padded
from ostrata.errors import LimitError, MalformedError, NotFoundError, UnsupportedError, escape, within
from ostrata.model.digest import Digest
from ostrata.model.image import Index
from ostrata.stores.blobs import missing_blob
from ostrata.stores.files import open_region, open_regular
from ostrata.stores.oci_layout import INDEX_FILE, LAYOUT_FILE, MAX_LAYOUT_FILE

MAX_MEMBERS = 65536
MAX_NAME_DATA = 1 << 20

_HARD_LINK, _SYMLINK = "12"
_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ": "xz", b"BZh": "bzip2"}


@dataclass(frozen=True, slots=True)
class Member:
    """Where a regular file lies in the archive, in bytes."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class OciArchive:
    """An archive file and the list of its members. Open it with `open_archive`."""

    path: str
    members: Mapping[str, Member]

    def index(self) -> Index:
        """Raises: MalformedError, NotFoundError."""
        with within(escape(self.path)):
            return oci.decode_index(self._read(INDEX_FILE, oci.MAX_DOCUMENT))

    def open_blob(self, digest: Digest) -> BinaryIO:
        """The blob's bytes, not verified. Raises: NotFoundError, AccessError."""
        member = self.blob_member(digest)
        if member is None:
            raise missing_blob()
        return open_region(open_regular(self.path), member.offset, member.size)

    def blob_size(self, digest: Digest) -> int | None:
        """In bytes; None when the blob is not there."""
        member = self.blob_member(digest)
        return None if member is None else member.size

    def blob_member(self, digest: Digest) -> Member | None:
        """Where the blob lies; None when it is not there."""
        return self.members.get(_blob(digest))

    def blob_path(self, digest: Digest) -> str | None:
        """None: a blob in an archive is not a file."""
        return None

    def _read(self, name: str, limit: int) -> bytes:
        member = self.members.get(name)
        if member is None:
            raise NotFoundError(f"the archive has no {name}")
        if member.size > limit:
            raise LimitError(f"expected at most {limit:,} bytes, found {member.size:,}", where=name)
        with open_region(open_regular(self.path), member.offset, member.size) as file:
            return file.read()


def open_archive(path: str) -> OciArchive:
    """The archive at `path`.

    Raises: NotFoundError, AccessError; MalformedError for a file that is no archive of a layout;
    UnsupportedError for a compressed one or something that is no file.
    """
    with open(open_regular(path), "rb") as file, within(escape(path)):
        refuse_compressed(file)
        archive = OciArchive(path, list_members(file))
        try:
            oci.decode_layout(archive._read(LAYOUT_FILE, MAX_LAYOUT_FILE))
        except NotFoundError:
            raise MalformedError("expected an archive of an OCI layout, found none in it") from None
        return archive


def _blob(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.encoded}"


def refuse_compressed(file: BinaryIO) -> None:
    """Raises: UnsupportedError for an archive that is compressed."""
    start = file.read(8)
    for magic, name in _COMPRESSED.items():
        if start.startswith(magic):
            raise UnsupportedError(f"expected an uncompressed tar, found {name}", hint="decompress the archive first")
    file.seek(0)


def list_members(file: BinaryIO, links: dict[str, str] | None = None) -> dict[str, Member]:
    """The regular files of the archive; what its links lead to is put into `links`, without which they are refused.

    Raises: MalformedError, UnsupportedError, LimitError.
    """
    size = os.fstat(file.fileno()).st_size
    members: dict[str, Member] = {}
    overrides: dict[str, str] = {}
    count = 0
    while (header := _read_header(file)) is not None:
        count += 1
        if count > MAX_MEMBERS:
            raise LimitError(f"expected at most {MAX_MEMBERS:,} members, found more")
        offset = file.tell()
        if header.kind in "xgL":
            _check_fits(header, offset, size)
            overrides.update(_decode_extension(header, _read_extension(file, header)))
        else:
            header = _overridden(header, overrides)
            overrides = {}
            _check_fits(header, offset, size)
            if links is not None and header.kind in (_HARD_LINK, _SYMLINK):
                start = os.path.dirname(header.name) if header.kind == _SYMLINK else ""
                links[os.path.normpath(header.name)] = os.path.normpath(os.path.join(start, header.target))
            else:
                _add_member(members, header, offset)
        file.seek(offset + padded(header.size))
    return members


def _read_header(file: BinaryIO) -> Header | None:
    """The next header; None at the end, which is two blocks of zeros."""
    offset = file.tell()
    block = file.read(BLOCK)
    with within(f"offset {offset}"):
        if len(block) == BLOCK and any(block):
            return decode_header(block)
        if block + file.read(BLOCK) != bytes(2 * BLOCK):
            raise MalformedError("expected a tar header or the end of the archive, found neither: it is truncated")
    return None


def _check_fits(header: Header, offset: int, size: int) -> None:
    if header.size > size - offset:
        raise MalformedError(
            f"expected {header.size:,} bytes, found {size - offset:,}: the archive is truncated",
            where=escape(header.name),
        )


def _read_extension(file: BinaryIO, header: Header) -> bytes:
    if header.size > MAX_NAME_DATA:
        raise LimitError(f"expected at most {MAX_NAME_DATA:,} bytes in a tar extension, found {header.size:,}")
    return file.read(header.size)


def _decode_extension(header: Header, data: bytes) -> dict[str, str]:
    if header.kind == "L":
        return {"path": data.rstrip(b"\0").decode("utf-8", "surrogateescape")}
    records = decode_pax(data)
    known = {key: value for key, value in records.items() if key in ("path", "size", "linkpath")}
    if header.kind == "g" and known:
        raise UnsupportedError("a global PAX record for names or sizes")
    return known


def _overridden(header: Header, overrides: Mapping[str, str]) -> Header:
    digits = overrides.get("size", "")
    if digits and not (digits.isascii() and digits.isdecimal() and len(digits) < 20):
        raise MalformedError(f"expected a size in a PAX record, found '{escape(digits[:40])}'")
    size = int(digits) if digits else header.size
    target = overrides.get("linkpath", header.target)
    return Header(overrides.get("path", header.name), size, header.kind, target)


def _add_member(members: dict[str, Member], header: Header, offset: int) -> None:
    name = header.name.removeprefix("./")
    parts = name.removesuffix("/").split("/")
    with within(escape(header.name)):
        if header.kind == "5":
            if header.size:
                raise MalformedError(f"expected a directory without data, found {header.size:,} bytes")
            if name in ("", "."):
                return
        elif header.kind != "0":
            raise UnsupportedError(f"expected files and directories, found the tar entry type '{escape(header.kind)}'")
        if any(part in ("", ".", "..") for part in parts) or "\0" in name:
            raise MalformedError("expected a path inside the archive")
        if header.kind == "5":
            return
        if name in members:
            raise MalformedError("the archive has this member twice")
        members[name] = Member(offset, header.size)
