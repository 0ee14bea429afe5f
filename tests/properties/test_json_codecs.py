import json as python_json

from hypothesis import given
from hypothesis import strategies as st

from ostrata.codecs import contentmeta, json, oci
from ostrata.codecs.tar_headers import decode_header, decode_pax
from ostrata.codecs.timestamps import format_rfc3339, parse_rfc3339
from ostrata.errors import LimitError, MalformedError, UnsupportedError
from ostrata.model.plan import Contentmeta

REFUSALS = (MalformedError, UnsupportedError, LimitError)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(
    [
        "schemaVersion",
        "mediaType",
        "manifests",
        "layers",
        "config",
        "annotations",
        "digest",
        "size",
        "platform",
        "rootfs",
        "diff_ids",
        "history",
        "architecture",
        "os",
        "version",
        "mapping",
        "labels",
        "created",
        "ordered",
        "type",
        "created_by",
    ]
)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.just("sha256:" + "0" * 64) | st.just(2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | TEXT, inner, max_size=6),
    max_leaves=15,
)
DECODERS = [contentmeta.decode, oci.decode_index, oci.decode_manifest, oci.decode_config, oci.decode_layout]


@given(VALUES)
def test_canonical_json_is_read_back(value):
    data = json.encode_canonical(value)
    assert json.decode(data, what="x", limit=1 << 20) == value
    assert json.encode_canonical(json.decode(data, what="x", limit=1 << 20)) == data


@given(st.dictionaries(TEXT, VALUES), st.randoms())
def test_the_order_of_keys_does_not_change_canonical_bytes(value, random):
    items = list(value.items())
    random.shuffle(items)
    assert json.encode_canonical(dict(items)) == json.encode_canonical(value)


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_decoders_refuse_any_bytes_with_our_errors_only(data):
    for decode in [*DECODERS, decode_pax]:
        try:
            decode(data)
        except REFUSALS as error:
            assert str(error).isprintable()


@given(DOCUMENTS)
def test_decoders_refuse_any_document_with_our_errors_only(document):
    data = python_json.dumps(document).encode()
    for decode in DECODERS:
        try:
            decode(data)
        except REFUSALS as error:
            assert str(error).isprintable()


@given(st.binary(min_size=512, max_size=512))
def test_tar_headers_of_any_bytes_are_refused_with_our_errors_only(block):
    try:
        decode_header(block)
    except REFUSALS as error:
        assert str(error).isprintable()


@given(st.dictionaries(TEXT, TEXT, min_size=1), st.data())
def test_contentmeta_is_read_back(layers, data):
    checksum = st.binary(min_size=32, max_size=32).map(bytes.hex)
    mapping = data.draw(st.dictionaries(checksum, st.sampled_from(list(layers))))
    labels = data.draw(st.dictionaries(TEXT.filter(bool), TEXT))
    meta = Contentmeta(layers, mapping, data.draw(st.booleans()), "2024-05-17T12:00:00Z", labels)
    again = contentmeta.decode(contentmeta.encode(meta))
    assert again == meta
    assert [*again.layers] == [*layers]
    assert [*again.mapping] == [*mapping]


@given(st.integers(-62135596800, 253402300799))
def test_times_are_read_back(seconds):
    assert parse_rfc3339(format_rfc3339(seconds)) == seconds
