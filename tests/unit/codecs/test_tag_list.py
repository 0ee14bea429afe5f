"""Lists of tags, as skopeo prints them and as people write them."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostrata.codecs import tag_list
from ostrata.errors import MalformedError, OstrataError


@pytest.mark.parametrize(
    "data",
    [b'{"Repository": "example/os", "Tags": ["41", "latest"]}', b' {"Name": "x", "RepoTags": ["41", "latest"]}',
     b"41\nlatest", b"\n 41\r\n\nlatest \n"],
)  # fmt: skip
def test_tags_come_from_skopeo_or_from_lines(data):
    assert tag_list.decode(data) == ("41", "latest")


@pytest.mark.parametrize("data", [b"", b"\n", b'{"Tags": []}'])
def test_there_may_be_none(data):
    assert tag_list.decode(data) == ()


@pytest.mark.parametrize(
    "data", [b"{}", b'{"Tags": "41"}', b'{"Tags": [41]}', b'{"Tags": null, "RepoTags": ["41"]}', b"{"]
)
def test_what_is_no_list_of_tags_is_refused(data):
    with pytest.raises(MalformedError):
        tag_list.decode(data)


@given(st.binary() | st.binary().map(b"{".__add__))
def test_any_bytes_are_tags_or_an_error(data):
    with suppress(OstrataError):
        assert all(isinstance(tag, str) for tag in tag_list.decode(data))
