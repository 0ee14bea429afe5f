"""Names of components."""

from hypothesis import given
from hypothesis import strategies as st

from ostrata.codecs import json
from ostrata.components.names import MAX_NAME, component_name, path_name


def test_ordinary_names_stay_as_they_are():
    for name in ("bash", "libstdc++6", "gtk+3.0", "package database", "žluťoučký", "a:b"):
        assert component_name(name) == name


def test_what_a_name_cannot_have_is_written_by_its_bytes():
    assert component_name("a,b") == "a%2Cb"
    assert component_name("new\nline") == "new%0Aline"
    assert component_name("50%") == "50%25"
    assert component_name(" x ") == "%20x%20"
    assert component_name(b"\xff".decode("utf-8", "surrogateescape")) == "%FF"
    assert path_name("usr/a b") == "/usr/a b"


def test_a_long_name_is_cut_and_still_its_own():
    one, other = component_name("x" * 4096 + "1"), component_name("x" * 4096 + "2")
    assert len(one) == len(other) == MAX_NAME
    assert one != other


@given(
    st.lists(st.text(max_size=30) | st.binary(max_size=10).map(lambda data: data.decode("utf-8", "surrogateescape")))
)
def test_different_texts_have_different_names_that_survive_commas_and_json(texts):
    texts = [text for text in texts if not any(0xD800 <= ord(c) < 0xDC80 or 0xDCFF < ord(c) < 0xE000 for c in text)]
    names = [component_name(text) for text in texts]
    assert len(set(names)) == len(set(texts))
    for name in names:
        assert "," not in name
        assert name.strip() == name
        json.encode_canonical(name)
