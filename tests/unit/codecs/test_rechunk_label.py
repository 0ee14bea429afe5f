"""The label of rechunk."""

import pytest

from ostrata.codecs import rechunk_label
from ostrata.codecs.rechunk_label import RechunkInfo
from ostrata.errors import MalformedError


def test_layers_and_versions_are_decoded():
    label = '{"version": 2, "uniq": "x", "layers": [["a", "dedi:meta:b"], []], "packages": {"a": "1-2"}}'
    assert rechunk_label.decode(label) == RechunkInfo((("a", "dedi:meta:b"), ()), {"a": "1-2"}, "x")


def test_version_1_has_no_layers():
    assert rechunk_label.decode('{"version": 1, "uniq": "", "packages": {}}') == RechunkInfo()


@pytest.mark.parametrize(
    "label", ["", "[]", "null", '{"layers": 1}', '{"layers": ["a"]}', '{"layers": [[1]]}', '{"packages": {"a": 1}}',
              '{"packages": []}', "\udcff"]
)  # fmt: skip
def test_any_other_label_is_malformed(label):
    with pytest.raises(MalformedError):
        rechunk_label.decode(label)


def test_what_is_encoded_is_decoded():
    info = RechunkInfo((("a", "žluť"), ("b,\nc",)), {"a": "1-2", "b": "3"}, "41.1", "abc")
    assert rechunk_label.decode(rechunk_label.encode(info)) == info


def test_the_encoded_label_has_rechunks_keys():
    assert rechunk_label.encode(RechunkInfo((("a",),), {"a": "1"}, "u")) == (
        '{"layers":[["a"]],"packages":{"a":"1"},"revision":null,"uniq":"u","version":2}'
    )


def test_names_that_are_not_utf_8_cannot_be_encoded():
    with pytest.raises(MalformedError):
        rechunk_label.encode(RechunkInfo((("\udcff",),)))


def test_another_kind_of_version_or_revision_is_none():
    assert rechunk_label.decode('{"uniq": 1, "revision": []}') == RechunkInfo()
