import json as python_json

import pytest

from ostrata.codecs import json
from ostrata.errors import LimitError, MalformedError


def decode(text: str | bytes, **options: bool) -> object:
    data = text if isinstance(text, bytes) else text.encode()
    return json.decode(data, what="paper", limit=1 << 20, **options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": {"b\\n": 1, "b\\n": 2}}', "paper: a: the key 'b\\n' appears twice"),
        ('{"a": [1, NaN]}', "paper: a: [1]: expected a number, found NaN"),
        ('{"a": -Infinity}', "paper: a: expected a number, found -Infinity"),
        ('{"a": 1.5}', "paper: a: expected an integer, found 1.5"),
        ('{"a": 1e3}', "paper: a: expected an integer, found 1e3"),
        (
            '{"a": ' + "9" * 5000 + "}",
            "paper: a: expected an integer of at most 20 digits, found " + "9" * 30 + "...",
        ),
        ('{"labels": {"x": "\\ud800"}}', "paper: labels: x: half of a surrogate pair in '\\ud800'"),
        ('{"\\uDC01y": 1}', "paper: half of a surrogate pair in '\\udc01y'"),
        (b"\xef\xbb\xbf{}", "paper: expected UTF-8 without a byte order mark, found one"),
        (b'{"a": "\xff"}', "paper: expected UTF-8, found byte 0xff at offset 7"),
        (b"\xff\xfe{\0}\0", "paper: expected UTF-8, found byte 0xff at offset 0"),
        ("{} {}", "paper: not JSON: extra data, line 1 column 4"),
        ('{"a":\n"\x01"}', "paper: not JSON: invalid control character at, line 2 column 2"),
        ("", "paper: not JSON: expecting value, line 1 column 1"),
        ("[" * 100_000, "paper: nested too deeply"),
        ('{"a":' * 100_000, "paper: nested too deeply"),
    ],
)
def test_a_bad_document_is_one_line_that_names_the_place(text, message):
    with pytest.raises(MalformedError) as caught:
        decode(text)
    assert str(caught.value) == message


def test_a_document_beyond_the_limit_is_refused_before_it_is_parsed():
    with pytest.raises(LimitError, match="expected at most 1,048,576 bytes"):
        decode(b"x" * (1 + (1 << 20)))


def test_fractions_are_read_where_they_are_allowed_and_infinite_ones_nowhere():
    assert decode("[1.5, 2e3]", allow_floats=True) == [1.5, 2000.0]
    with pytest.raises(MalformedError, match=r"\[0\]: expected an integer, found 1e999"):
        decode("[1e999]", allow_floats=True)


def test_whole_surrogate_pairs_and_large_integers_are_read():
    assert decode('["\\ud83d\\ude00", 18446744073709551615, -0]') == ["😀", 18446744073709551615, 0]


def test_long_hostile_keys_are_cut_and_escaped():
    key = "\u202e" * 500
    with pytest.raises(MalformedError) as caught:
        decode(python_json.dumps({key: 1})[:-1] + f', "{key}": 2}}')
    assert "\u202e" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_keys_are_sorted_by_utf16_code_units():
    # From RFC 8785, 3.2.3: the horse (a surrogate pair) sorts before U+FB33.
    value = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\u0080": 6, "\u00f6": 7}
    keys = list(python_json.loads(json.encode_canonical(value)))
    assert keys == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


def test_only_quotes_backslashes_and_control_characters_are_escaped():
    assert json.encode_canonical('"\\/\n\x01\x7fž\u2028') == '"\\"\\\\/\\n\\u0001\x7fž\u2028"'.encode()
    assert json.encode_canonical({"b": [True, None, 1], "a": ()}) == b'{"a":[],"b":[true,null,1]}'


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": {"k": "\udcff"}}, "a: k: expected UTF-8 text, found '\\xff'"),
        ({"a": {"\ud800": 1}}, "a: expected UTF-8 text, found '\\ud800'"),
        ({"a": [0.5]}, "a: [0]: expected an integer, found 0.5"),
    ],
)
def test_what_cannot_be_written_is_refused_with_its_place(value, message):
    with pytest.raises(MalformedError) as caught:
        json.encode_canonical(value)
    assert str(caught.value) == message


def test_a_key_that_is_no_string_is_a_bug():
    with pytest.raises(TypeError):
        json.encode_canonical({1: 2})


def test_a_value_that_contains_itself_is_refused():
    value: list[object] = []
    value.append(value)
    with pytest.raises(MalformedError, match="nested too deeply"):
        json.encode_canonical(value)
