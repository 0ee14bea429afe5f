"""YAML as plain data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostrata.codecs import yaml
from ostrata.codecs.yaml import Mapping, Sequence, Text
from ostrata.errors import LimitError, MalformedError, OstrataError, UnsupportedError


def decode(text: str):
    return yaml.decode(text.encode(), what="test")


def test_scalars_are_their_texts_whatever_they_look_like():
    assert decode("[no, 1.10, 0x1f, 'true', null, ~, 2024-01-01]") == Sequence(
        (
            Text("no", 1),
            Text("1.10", 1),
            Text("0x1f", 1),
            Text("true", 1, plain=False),
            Text("null", 1),
            Text("~", 1),
            Text("2024-01-01", 1),
        ),
        1,
    )


def test_lines_are_counted_from_1():
    document = decode("a:\n  - x\nb: {c: y}\n")
    assert isinstance(document, Mapping)
    assert [(key.text, key.line) for key, _ in document.items] == [("a", 1), ("b", 3)]
    assert document.get("b") == Mapping(((Text("c", 3), Text("y", 3)),), 3)
    assert document.get("z") is None


def test_json_is_yaml():
    assert decode('{"a": ["b"]}') == Mapping(
        ((Text("a", 1, plain=False), Sequence((Text("b", 1, plain=False),), 1)),), 1
    )


def test_nothing_is_no_document():
    assert decode("# only a remark\n") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: the key 'a' appears twice"),
        ("[a]: 1", "expected a text as key, found a list"),
        ("a: [1", "not YAML"),
        ("a:\n\t- b", "not YAML"),
        ("a: b: c", "line 1 column"),
        ("\x00", "not YAML"),
        ("[" * 40 + "]" * 40, "nested too deeply"),
    ],
)
def test_faults_are_malformed_and_say_where(text, message):
    with pytest.raises(MalformedError, match="test: ") as caught:
        decode(text)
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["a: &x [1]\nb: *x", "a: &x 1", "!!python/object:os.system x", "!t {}", "a\n---\nb\n"])
def test_what_can_be_more_than_data_is_refused(text):
    with pytest.raises(UnsupportedError, match="line"):
        decode(text)


def test_bytes_that_are_not_utf_8_are_malformed():
    with pytest.raises(MalformedError, match="expected UTF-8, found byte 0xff"):
        yaml.decode(b"a: \xff", what="test")


def test_a_document_that_is_too_long_is_refused_unread():
    with pytest.raises(LimitError):
        yaml.decode(b"#" * (yaml.MAX_YAML + 1), what="test")


@given(st.binary(max_size=200) | st.text("ab:-[]{}&*!|>'\"\n #,?%@", max_size=60).map(str.encode))
def test_any_bytes_are_data_or_an_error_of_ours(data):
    try:
        value = yaml.decode(data, what="test")
    except OstrataError:
        return
    assert value is None or isinstance(value, (Text, Sequence, Mapping))
