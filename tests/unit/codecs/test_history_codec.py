"""The history file."""

import contextlib
import gzip
import json
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from histories import HOSTILE, component_lists
from ostrata.codecs import history as codec
from ostrata.errors import LimitError, MalformedError, OstrataError, UnsupportedError
from ostrata.model.component import Component
from ostrata.model.history import History


def _document(**changes):
    member = {"name": "a", "source": "s", "size": 10, "compressed_size": 4, "since": None, "updates": ["2024-02-29"]}
    return {"version": 1, "components": [member | changes]}


def _decode(document):
    return codec.decode(json.dumps(document).encode())


def test_a_history_is_decoded():
    assert _decode(_document(since="2020-01-02") | {"title": "t"}) == History(
        (Component("a", "s", 10, 4, date(2020, 1, 2), (date(2024, 2, 29),)),), "t"
    )


def test_a_compressed_history_is_decoded():
    data = json.dumps(_document()).encode()
    assert codec.decode(gzip.compress(data)) == codec.decode(data)


def test_source_and_since_may_be_missing():
    document = _document()
    del document["components"][0]["source"], document["components"][0]["since"]
    assert _decode(document).components[0] == Component("a", "a", 10, 4, None, (date(2024, 2, 29),))


def test_keys_of_others_are_left_alone():
    assert _decode(_document(x=1) | {"tool": {"name": "y"}}) == _decode(_document())


def test_unsorted_and_repeated_dates_are_put_right_with_a_note():
    found = _decode(_document(updates=["2024-03-01", "2024-02-29", "2024-03-01"]))
    assert found.components[0].updates == (date(2024, 2, 29), date(2024, 3, 1))
    assert found.notes == (
        "the dates of 1 components are not in order: they were sorted",
        "the dates of 1 components are repeated: each day counts once",
    )
    assert _decode(_document()).notes == ()


def test_every_day_of_the_calendar_is_a_date():
    days = ["0001-01-01", "1969-12-31", "2020-12-31", "2099-01-01", "9999-12-31"]  # the third is in week 53
    assert [day.isoformat() for day in _decode(_document(updates=days)).components[0].updates] == days


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_names(name):
    history = _decode(_document(name=name))
    assert history.components[0].name == name
    assert codec.decode(codec.encode(history)) == history


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "history: expected an object, found a list"),
        ({}, "history: version: expected 1, found null"),
        ({"version": True, "components": []}, "version: expected 1, found a boolean"),
        ({"version": 1}, "components: expected a list, found null"),
        ({"version": 1, "components": []}, "components: expected at least one component, found none"),
        ({"version": 1, "components": [1]}, r"components: \[0\]: expected an object, found an integer"),
        (_document() | {"title": 1}, "title: expected a string, found an integer"),
        (_document(name=""), r"\[0\]: name: expected a name, found an empty string"),
        (_document(name=None), "name: expected a string, found null"),
        (_document(source=1), "source: expected a string, found an integer"),
        (_document(size=-1), "size: expected a size of 0 or more, found -1"),
        (_document(size=True), "size: expected an integer, found a boolean"),
        (_document(compressed_size=None), "compressed_size: expected an integer, found null"),
        (_document(size=1.5), "expected an integer, found 1.5"),
        (_document(since=20240101), "since: expected a string, found an integer"),
        (_document(since="20240101"), "since: expected a date like 2024-05-17, found '20240101'"),
        (_document(updates=None), "updates: expected a list, found null"),
        (_document(updates=["2024-02-29", "2023-02-29"]), r"updates: \[1\]: expected a date like .* '2023-02-29'"),
        (_document(updates=["2020-W53-5"]), "found '2020-W53-5'"),
        (_document(updates=["0000-01-01"]), "found '0000-01-01'"),
        (_document(updates=["٢٠٢٤-٠١-٠١"]), "expected a date"),
        (_document(updates=[["x"]]), "expected a string, found a list"),
        (_document(changed_paths=[]), r"\[0\]: changed_paths: expected an object, found a list"),
        (_document(changed_paths={"usr/x": ["x"]}), r"changed_paths: usr/x: \[0\]: expected a date"),
        ({"version": 1, "components": _document()["components"] * 2}, "two components are called 'a'"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(document, message):
    with pytest.raises(MalformedError, match=message):
        _decode(document)


def test_another_version_is_unsupported():
    with pytest.raises(UnsupportedError, match="version: expected 1, found 2"):
        _decode(_document() | {"version": 2})


def test_sizes_and_files_have_limits():
    with pytest.raises(LimitError, match="size: expected at most"):
        _decode(_document(size=1 << 60))
    with pytest.raises(LimitError):
        codec.decode(gzip.compress(bytes(codec.MAX_HISTORY + 1), 1))


def test_a_cut_compressed_history_is_refused():
    with pytest.raises(MalformedError):
        codec.decode(gzip.compress(json.dumps(_document()).encode())[:-5])


def test_a_key_twice_is_refused():
    with pytest.raises(MalformedError, match="appears twice"):
        codec.decode(b'{"version": 1, "version": 1, "components": []}')


def test_changed_paths_are_kept():
    history = _decode(_document(changed_paths={"usr/ü\n": ["2024-03-02", "2024-03-01"]}))
    assert history.changed_paths == {"a": {"usr/ü\n": (date(2024, 3, 1), date(2024, 3, 2))}}
    assert codec.decode(codec.encode(history, compressed=True)) == history


def test_a_name_that_is_not_utf8_cannot_be_written():
    with pytest.raises(MalformedError, match="expected UTF-8"):
        codec.encode(History((Component("a\udcff", "a", 1, 1),)))


@given(component_lists())
def test_decoding_gives_back_what_was_encoded(components):
    ordered = tuple(sorted(components, key=lambda item: item.name))
    assert codec.decode(codec.encode(History(tuple(components)))).components == ordered


@given(component_lists(), st.randoms(use_true_random=False))
def test_the_file_does_not_depend_on_the_order_of_components(components, random):
    shuffled = list(components)
    random.shuffle(shuffled)
    assert codec.encode(History(tuple(shuffled))) == codec.encode(History(tuple(components)))


@given(st.binary(max_size=60) | st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.sampled_from(["2024-01-01", "a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["version", "components", "name", "size", "compressed_size", "since", "updates"]), inner
    ),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_any_bytes_are_a_history_or_an_error_of_ours(data):
    with contextlib.suppress(OstrataError):
        codec.decode(data)
