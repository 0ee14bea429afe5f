from __future__ import annotations

import pytest

from ostrata.codecs import gvariant
from ostrata.errors import LimitError, MalformedError
from ostrata.model.ostree import Variant

# Serialised by GLib 2.74 (g_variant_new_parsed, g_variant_get_data), little-endian.
FROM_GLIB = [
    ("s", "hi", "686900"),
    ("as", ["a", "bc"], "610062630002 05"),
    ("as", [], ""),
    ("ay", b"\x01\x02", "0102"),
    ("(yu)", (1, 2), "01000000 02000000"),
    ("(uy)", (1, 2), "01000000 02000000"),
    ("(sy)", ("a", 1), "6100 01 02"),
    ("mi", 5, "05000000"),
    ("mi", None, ""),
    ("ms", "a", "6100 00"),
    ("v", Variant("u", 7), "07000000 00 75"),
    ("a{sv}", {"k": Variant("s", "v")}, "6b00 000000000000 7600 00 73 02 0d"),
    ("a(yt)", [(1, 2)], "01 00000000000000 0200000000000000"),
    ("()", (), "00"),
    ("b", True, "01"),
]


@pytest.mark.parametrize(("kind", "value", "encoded"), FROM_GLIB)
def test_values_are_encoded_as_glib_does(kind: str, value: object, encoded: str) -> None:
    data = bytes.fromhex(encoded)
    assert gvariant.encode(kind, value) == data
    assert gvariant.decode(kind, data) == value


@pytest.mark.parametrize("count", [3, 60, 300, 20_000])
def test_offsets_grow_with_their_container(count: int) -> None:
    names = [f"name {number}" for number in range(count)]
    data = gvariant.encode("as", names)
    assert gvariant.decode("as", data) == names


@pytest.mark.parametrize("length", range(248, 262))
def test_the_narrowest_offsets_are_chosen_at_the_border(length: int) -> None:
    data = gvariant.encode("as", ["x" * length])
    assert gvariant.decode("as", data) == ["x" * length]
    assert len(data) == length + 1 + (1 if length + 2 <= 255 else 2)


@pytest.mark.parametrize(
    ("kind", "encoded"),
    [
        ("b", "02"),
        ("s", "6869"),
        ("s", "ff00"),
        ("as", "6100 09"),
        ("as", "6100 00 02 01"),
        ("(sy)", "6100 01 ff"),
        ("v", "0700"),
        ("v", "07 00 28"),
        ("a{sv}", "6b00 000000000001 7600 00 73 02 0d"),
        ("a{sy}", "6b00 01 02 6b00 02 02 04 08"),
        ("u", "0000"),
        ("()", "01"),
    ],
)
def test_what_is_not_in_normal_form_is_refused(kind: str, encoded: str) -> None:
    with pytest.raises(MalformedError):
        gvariant.decode(kind, bytes.fromhex(encoded))


@pytest.mark.parametrize("kind", ["", "z", "(s", "{sv", "a", "{vs}", "ss", "(" * 64 + ")" * 64])
def test_a_type_that_is_none_is_refused(kind: str) -> None:
    with pytest.raises(MalformedError):
        gvariant.decode(kind, b"")


def test_nested_variants_have_a_bound() -> None:
    value: object = 1
    kind = "y"
    for _ in range(100):
        value = Variant(kind, value)
        kind = "v"
    with pytest.raises(MalformedError, match="nests too deeply"):
        gvariant.decode("v", gvariant.encode("v", value))


@pytest.mark.parametrize(
    ("kind", "value"), [("u", -1), ("s", "a\0b"), ("s", 1), ("(s)", ()), ("ay", "x"), ("s", "\udc80")]
)
def test_a_value_that_does_not_fit_its_type_is_refused(kind: str, value: object) -> None:
    with pytest.raises(MalformedError):
        gvariant.encode(kind, value)


@pytest.mark.parametrize("type_string", [b"\x1b[31m", b"s\n\x07", b"\xff\xfe"])
def test_a_hostile_type_is_escaped_in_messages(type_string: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        gvariant.decode("v", b"\0" + b"\0" + type_string)
    assert str(caught.value).isprintable()


def test_a_variants_type_has_a_bound() -> None:
    """Each character of it would take more room, and time, than a byte of data."""
    data = b"\1" * 10_000_000 + b"\0(" + b"y" * 10_000_000 + b")"
    with pytest.raises(LimitError, match="a GVariant type of at most 1024 characters, found 10000002"):
        gvariant.decode("v", data)


@pytest.mark.parametrize(
    ("kind", "data"), [("ab", bytes(3000)), ("a(y)", bytes(3000)), ("a()", bytes(3000)), ("aay", bytes(60_000))]
)
def test_the_number_of_values_has_a_bound(kind: str, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gvariant, "MAX_VALUES", 1000)
    with pytest.raises(LimitError, match="at most 1,000 values"):
        gvariant.decode(kind, data)
