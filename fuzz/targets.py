"""What the fuzzer feeds: decoders of what strangers send. They read or refuse any bytes; what is read holds together.

A target takes bytes and returns whether they were read; anything but our own refusals that it raises is a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

from ostrata.codecs import contentmeta as contentmeta_codec
from ostrata.codecs import gvariant as gvariant_codec
from ostrata.codecs import oci as oci_codec
from ostrata.codecs import ostree
from ostrata.codecs.tar_paths import normalise
from ostrata.codecs.tar_reader import MAX_NAME, TarEntry, read_members
from ostrata.errors import LimitError, MalformedError, OstrataError, UnsupportedError
from ostrata.sources.image_layer import index_layer

REFUSALS = (MalformedError, UnsupportedError, LimitError)
TYPES = (
    "a{sv}",
    "(a{sv}aya(say)sstayay)",
    "(a(say)a(sayay))",
    "(uuua(ayay))",
    "a(ayay)",
    "(tuuuusa(ayay))",
    "m(bv)",
    "aad",
)
"""GVariant types: those of OSTree's objects, and two with what those do not have."""
OBJECTS = (
    ostree.decode_commit,
    ostree.decode_dirtree,
    ostree.decode_dirmeta,
    ostree.decode_xattrs,
    ostree.decode_metadata,
    ostree.decode_archive_header,
    ostree.decode_ostreemeta,
)


def tar(data: bytes) -> bool:
    """The walker: the same whole and in pieces; and the index of a layer, which takes what the walker takes."""
    whole = _outcome(lambda: list(_entries([data])))
    step = 1 + len(data) % 700
    pieces = _outcome(lambda: list(_entries([data[start : start + step] for start in range(0, len(data), step)])))
    assert whole == pieces
    _outcome(lambda: index_layer([data]))
    return isinstance(whole, list)


def _entries(chunks: list[bytes]) -> Iterator[tuple[TarEntry, bytes]]:
    for entry, content in read_members(chunks):
        taken = b"".join(content)
        assert len(taken) == entry.size
        assert 0 < len(entry.path.encode("utf-8", "surrogateescape")) <= MAX_NAME
        with suppress(MalformedError):
            path = normalise(entry.path)
            assert ".." not in path.split("/") and not path.startswith("/")
        yield entry, taken


def gvariant(data: bytes) -> bool:
    """Whatever is read encodes to the same bytes; the first byte chooses the type. And each of OSTree's objects."""
    if not data:
        return False
    kind, data = TYPES[data[0] % len(TYPES)], data[1:]
    read = False
    try:
        value = gvariant_codec.decode(kind, data)
        assert gvariant_codec.encode(kind, value) == data
        read = True
    except REFUSALS as error:
        _shown(error)
    for decode in OBJECTS:
        read |= not isinstance(_outcome(lambda decode=decode: decode(data)), str)  # type: ignore[misc]
    return read


def contentmeta(data: bytes) -> bool:
    """What is read is the same when it is written and read again."""
    try:
        found = contentmeta_codec.decode(data)
    except REFUSALS as error:
        _shown(error)
        return False
    assert contentmeta_codec.decode(contentmeta_codec.encode(found)) == found
    return True


def oci(data: bytes) -> bool:
    """Index, manifest, config and layout; an index is the same when it is written and read again."""
    index = _outcome(lambda: oci_codec.decode_index(data))
    if isinstance(index, oci_codec.Index):
        again = _outcome(lambda: oci_codec.decode_index(oci_codec.encode_index(index)))
        assert isinstance(again, str) or again == index  # canonical JSON has no fractions
    manifest = _outcome(lambda: oci_codec.decode_manifest(data))
    config = _outcome(lambda: oci_codec.decode_config(data))
    if not isinstance(manifest, str) and not isinstance(config, str):
        _outcome(lambda: oci_codec.join_layers(manifest, config))  # type: ignore[arg-type]
    layout = _outcome(lambda: oci_codec.decode_layout(data))
    return not all(isinstance(outcome, str) for outcome in (index, manifest, config, layout))


def _outcome(work: Callable[[], object]) -> object:
    """What it returns, or what the refusal says."""
    try:
        return work()
    except REFUSALS as error:
        return _shown(error)


def _shown(error: OstrataError) -> str:
    shown = str(error)
    assert shown and all(line.isprintable() for line in shown.split("\n"))
    return shown


TARGETS: dict[str, Callable[[bytes], bool]] = {
    "tar": tar,
    "gvariant": gvariant,
    "contentmeta": contentmeta,
    "oci": oci,
}
