import hashlib
import json
import time

import pytest

from ostrata.codecs import contentmeta
from ostrata.errors import LimitError, MalformedError, OstrataError, UnsupportedError
from ostrata.model.plan import Contentmeta

X = "0123456789abcdef" * 4
GOOD = {"version": 1, "layers": {"b": "The B\nlayer", "a": "ä"}, "mapping": {X: "a"}}


def decode(**changes):
    document = {key: value for key, value in {**GOOD, **changes}.items() if value is not ...}
    return contentmeta.decode(json.dumps(document).encode())


def test_layers_and_mapping_keep_their_order():
    meta = decode(mapping={X: "a", "0" * 64: "b"}, ordered=True)
    assert list(meta.layers) == ["b", "a"]
    assert list(meta.mapping) == [X, "0" * 64]
    assert meta.ordered


def test_a_missing_version_is_one_and_null_is_absent():
    assert decode(version=..., created=None, labels=None, ordered=None) == Contentmeta(GOOD["layers"], {X: "a"})


def test_created_and_labels_are_kept_verbatim():
    meta = decode(created="2024-05-17T12:00:00.50+02:00", labels={"k": "two\nlines ž"})
    assert meta.created == "2024-05-17T12:00:00.50+02:00"
    assert meta.labels == {"k": "two\nlines ž"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"mapping": {X: "c\n"}},
            f"contentmeta: mapping: {X}: expected an id that 'layers' has, found 'c\\n'",
        ),
        (
            {"mapping": {X.upper(): "a"}},
            f"contentmeta: mapping: expected keys of 64 lower-case hex digits, found '{X.upper()}'",
        ),
        (
            {"mapping": {X + "\n": "a"}},
            f"contentmeta: mapping: expected keys of 64 lower-case hex digits, found '{X}\\n'",
        ),
        ({"mapping": {"": "a"}}, "contentmeta: mapping: expected keys of 64 lower-case hex digits, found ''"),
        ({"mapping": {X: 1}}, f"contentmeta: mapping: {X}: expected a string, found an integer"),
        ({"mapping": {X: ["a"]}}, f"contentmeta: mapping: {X}: expected a string, found a list"),
        ({"mapping": []}, "contentmeta: mapping: expected an object, found a list"),
        ({"mapping": ...}, "contentmeta: the key 'mapping' is missing"),
        ({"layers": ...}, "contentmeta: the key 'layers' is missing"),
        ({"layers": {"a": None}}, "contentmeta: layers: a: expected a string, found null"),
        ({"version": True}, "contentmeta: version: expected an integer, found a boolean"),
        ({"version": "1"}, "contentmeta: version: expected an integer, found a string"),
        ({"version": None}, "contentmeta: version: expected an integer, found null"),
        ({"ordered": 1}, "contentmeta: ordered: expected true or false, found an integer"),
        ({"created": 5}, "contentmeta: created: expected a string, found an integer"),
        (
            {"created": "yesterday"},
            "contentmeta: created: expected a time like 2024-05-17T12:00:00Z (RFC 3339), found 'yesterday'",
        ),
        ({"labels": {"a": True}}, "contentmeta: labels: a: expected a string, found a boolean"),
        ({"labels": {"": "x"}}, "contentmeta: labels: a label without a name"),
        ({"labels": {"a": "\ud800"}}, "contentmeta: labels: a: half of a surrogate pair in '\\ud800'"),
        (
            {"$schema": "x"},
            "contentmeta: expected the keys version, created, labels, layers, mapping, ordered, found '$schema'",
        ),
    ],
)
def test_a_bad_member_is_one_line_that_names_it(changes, message):
    with pytest.raises(MalformedError) as caught:
        decode(**changes)
    assert str(caught.value) == message


def test_another_version_is_unsupported():
    with pytest.raises(UnsupportedError) as caught:
        decode(version=2)
    assert str(caught.value) == "contentmeta: version: expected 1, found 2"


@pytest.mark.parametrize("data", [b"[]", b"null", b'"x"', b"", b"\xef\xbb\xbf{}", b'{"version": NaN}', b"[" * 99999])
def test_what_is_no_object_is_refused(data):
    with pytest.raises(MalformedError, match=r"^contentmeta: "):
        contentmeta.decode(data)


def test_a_repeated_checksum_is_refused():
    data = f'{{"layers": {{"a": "a"}}, "mapping": {{"{X}": "a", "{X}": "a"}}}}'.encode()
    with pytest.raises(MalformedError, match=f"contentmeta: mapping: the key '{X}' appears twice"):
        contentmeta.decode(data)


def test_a_file_beyond_the_limit_is_refused():
    with pytest.raises(LimitError):
        contentmeta.decode(bytes(contentmeta.MAX_CONTENTMETA + 1))


def test_what_is_written_is_read_back():
    meta = decode(created="2024-05-17T12:00:00Z", labels={"z": "\n", "a": "ž"}, ordered=True)
    data = contentmeta.encode(meta)
    assert contentmeta.decode(data) == meta
    assert contentmeta.encode(contentmeta.decode(data)) == data
    assert "ž".encode() in data


def test_text_that_is_no_utf8_is_not_written():
    with pytest.raises(OstrataError, match="expected UTF-8 text"):
        contentmeta.encode(Contentmeta({"a": "\udcff"}, {}))


def test_200_000_mappings_are_read_in_under_a_second():
    mapping = {hashlib.sha256(b"%d" % i).hexdigest(): f"layer{i % 60}" for i in range(200_000)}
    data = json.dumps({"layers": {f"layer{i}": "x" for i in range(60)}, "mapping": mapping}).encode()
    start = time.process_time()
    contentmeta.decode(data)
    assert time.process_time() - start < 1
