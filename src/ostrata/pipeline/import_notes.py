"""What an import notes about layers that hold no objects, so that the next one reads only the layers that are new.

    REPOSITORY/ostrata/indexes/DIFF_ID     what the layer changes: a `LayerIndex` as lines of JSON, gzipped
    REPOSITORY/ostrata/contents/DIFF_ID    for each file content: its offset in the tar, 8 bytes, and the checksum of a
                                           file object that was made of it, 32 bytes; sorted

A diff_id names the bytes of a tar, and what was right about these once is right for ever, whatever image the layer
comes in. Only the objects may be gone, or not be what is asked for today (another label): one is used again only when
it is there, with the attributes and the size that the tree wants.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ostrata import parallel
from ostrata.errors import MalformedError, OstrataError
from ostrata.model.image import Layer
from ostrata.model.ostree import FileHeader
from ostrata.model.tree import Attributes
from ostrata.sources.image import IndexUnit, index_unit
from ostrata.sources.image_layer import Change, Finding, LayerEntry, LayerIndex
from ostrata.sources.image_union import content_place
from ostrata.stores.notes import Notes
from ostrata.stores.ostree_staging import StagePlace
from ostrata.stores.ostree_writer import RepositoryWriter

_OFFSET = 8
_ITEM = _OFFSET + 32
_HeaderReader = Callable[[str], tuple[FileHeader, int]]
_CHANGES = {change.value: change for change in Change}


class ImportNotes:
    """The notes of a repository on the layers of an image. `layers` are all of them, by their numbers."""

    def __init__(self, writer: RepositoryWriter, layers: tuple[Layer, ...]) -> None:
        self._writer = writer
        self._layers = layers
        self._indexes = _index_notes(writer.place)
        self._contents = _content_notes(writer.place)
        self._read: dict[int, bytes] = {}

    def find(self, content: str, size: int, attributes: Attributes) -> str | None:
        """The checksum of a file object with this content of a layer, and with these attributes; None without one."""
        return self._find(content, size, FileHeader(attributes), self._writer.read_header)

    def find_any(self, content: str, size: int) -> str | None:
        """The same, whatever its attributes, but not if it is staged only."""
        return self._find(content, size, None, self._writer.repository.read_header)

    def take_over(self, number: int, stages: Iterable[str]) -> tuple[str, ...]:
        """Let this run have what runs with these stages noted about a layer. Raises: AccessError.

        The result are the checksums of the file objects that they made of it.
        """
        name = self._name(number)
        for stage in stages:
            if self._indexes.read_staged(name, stage) is not None:
                self._indexes.take_over(name, stage)
            made = self._contents.read_staged(name, stage)
            if made is not None:
                self._contents.take_over(name, stage)
                return tuple(item[_OFFSET:].hex() for item in _items(made))
        return ()

    def is_staged(self, number: int) -> bool:
        """Did this run note something about that layer, or take it over?"""
        name = self._name(number)
        return any(notes.is_staged(name) for notes in (self._indexes, self._contents))

    def publish(self, number: int, made: Iterable[tuple[int, bytes]]) -> None:
        """Note file objects, all on disk by now, by the offsets of their contents; with the index, if it is staged.

        Raises: AccessError.
        """
        name = self._name(number)
        # What is noted is read anew: an image may have a layer twice.
        self._contents.write(name, _merged(self._contents.read(name), made))
        self._contents.publish(name)
        self._indexes.publish(name)  # last: where there is an index, the contents are noted too

    def forget_pruned(self) -> None:
        """Remove the notes of other images' layers of which the first object is gone. Raises: AccessError."""
        kept = {layer.diff_id.encoded for layer in self._layers}
        for notes in (self._contents, self._indexes):
            for name in notes.names():
                if name not in kept and not self._is_first_here(name):
                    notes.forget(name)

    def _find(self, content: str, size: int, header: FileHeader | None, read_header: _HeaderReader) -> str | None:
        place = content_place(content)
        if place is None:
            return None
        number, offset = place
        for checksum in _checksums(self._of(number), offset):
            try:
                found = read_header(checksum)
            except OstrataError:
                continue
            if found == (header or found[0], size):
                return checksum
        return None

    def _of(self, number: int) -> bytes:
        if number not in self._read:
            name = self._name(number)
            noted, taken_over = self._contents.read(name), self._contents.read_staged(name)
            self._read[number] = b"".join(sorted([*_items(noted or b""), *_items(taken_over or b"")]))
        return self._read[number]

    def _name(self, number: int) -> str:
        return self._layers[number].diff_id.encoded

    def _is_first_here(self, name: str) -> bool:
        data = self._contents.read(name)
        return data is not None and (not data or self._writer.has_object("file", data[_OFFSET:_ITEM].hex()))


def note_contents(place: StagePlace, layer: Layer, made: Iterable[tuple[int, bytes]]) -> None:
    """Stage a note of file objects, each of them staged by now, by the offsets of their contents.

    Raises: AccessError.
    """
    notes, name = _content_notes(place), layer.diff_id.encoded
    notes.write(name, _merged(notes.read_staged(name), made))


def _content_notes(place: StagePlace) -> Notes:
    return Notes(place.repository, place.directory, "contents", b"ostrata contents 1\n")


def _merged(old: bytes | None, made: Iterable[tuple[int, bytes]]) -> bytes:
    """What is made takes the place of what was made of the same contents."""
    new = sorted(offset.to_bytes(_OFFSET, "big") + checksum for offset, checksum in made)
    offsets = {item[:_OFFSET] for item in new}
    return b"".join(sorted([*new, *(item for item in _items(old or b"") if item[:_OFFSET] not in offsets)]))


def _items(data: bytes) -> Iterator[bytes]:
    return (data[start : start + _ITEM] for start in range(0, len(data), _ITEM))


def _checksums(data: bytes, offset: int) -> Iterator[str]:
    """Of the objects that were made of what lies at `offset`."""
    wanted = offset.to_bytes(_OFFSET, "big")
    starts = range(0, len(data), _ITEM)
    for start in starts[bisect_left(starts, wanted, key=lambda start: data[start : start + _OFFSET]) :]:
        if data[start : start + _OFFSET] != wanted:
            return
        yield data[start + _OFFSET : start + _ITEM].hex()


# Indexes


@dataclass(frozen=True, slots=True)
class NotedIndexUnit:
    """A work unit: a layer's index, by the note of it, or from the layer."""

    unit: IndexUnit
    place: StagePlace


def noted_index(unit: NotedIndexUnit) -> tuple[LayerIndex, bool]:
    """The work unit's function. The second is whether the layer was read: then a note is staged."""
    layer = unit.unit.layer
    notes, name = _index_notes(unit.place), layer.diff_id.encoded
    for data in (notes.read(name), notes.read_staged(name)):
        if data is not None:
            with suppress(MalformedError):
                noted = decode_index(data)
                parallel.advance(layer.descriptor.size)
                return noted, False
    index = index_unit(unit.unit)
    notes.write(name, encode_index(index))
    return index, True


def _index_notes(place: StagePlace) -> Notes:
    return Notes(place.repository, place.directory, "indexes", b"ostrata index 1\n")


def encode_index(index: LayerIndex) -> bytes:
    """A line for the attributes, one for the findings, one for each entry."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1, mtime=0) as lines:
        for line in _lines(index):
            lines.write(json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n")
    return buffer.getvalue()


def _lines(index: LayerIndex) -> Iterator[list[Any]]:
    yield [
        [each.mode, each.uid, each.gid, [[name.hex(), value.hex()] for name, value in each.xattrs], each.mtime]
        for each in index.attributes
    ]
    yield [[each.what, each.path, each.count] for each in index.findings]
    for path, change, *others in index.entries:
        yield [path, change.value, *others]


def decode_index(data: bytes) -> LayerIndex:
    """The inverse of `encode_index`. Raises: MalformedError."""
    try:
        return _decode_index(data)
    except (ValueError, TypeError, LookupError, StopIteration, OSError, EOFError, zlib.error) as error:
        raise MalformedError(f"the note of a layer's index is none: {error}") from None


def _decode_index(data: bytes) -> LayerIndex:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        lines = map(json.loads, file)
        attributes = tuple(
            Attributes(
                mode, uid, gid, tuple((bytes.fromhex(name), bytes.fromhex(value)) for name, value in xattrs), mtime
            )
            for mode, uid, gid, xattrs, mtime in next(lines)
        )
        findings = tuple(Finding(*each) for each in next(lines))
        return LayerIndex(tuple(map(_entry, lines)), attributes, findings)


def _entry(line: list[Any]) -> LayerEntry:
    path, change, attributes, size, offset, target, device = line
    return LayerEntry(
        path, _CHANGES[change], attributes, size, offset, target, tuple(device) if any(device) else (0, 0)
    )
