from __future__ import annotations

import pickle

import pytest

from ostrata.errors import (
    AccessError,
    DigestMismatchError,
    MalformedError,
    NotFoundError,
    OstrataError,
    TransferError,
    escape,
    from_os_error,
    some_of,
    within,
)


def test_places_are_printed_from_the_outside_in_and_the_hint_on_its_own_line() -> None:
    with pytest.raises(MalformedError) as caught, within("image"), within("layer 3"):
        raise MalformedError("expected a header", where="offset 512", hint="copy it again")
    assert str(caught.value) == "image: layer 3: offset 512: expected a header\ncopy it again"


def test_an_error_of_the_system_gets_our_shape() -> None:
    with pytest.raises(NotFoundError, match="repo: nowhere: no such file or directory"), within("repo"):
        open("nowhere")
    assert isinstance(from_os_error(PermissionError(13, "Permission denied", "x")), AccessError)
    assert str(from_os_error(OSError(28, "No space left on device"))) == "no space left on device"


def test_an_error_crosses_processes_whole() -> None:
    error = TransferError("refused", where="there", hint="ask", status=503, retryable=True)
    error.places.append("outside")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is TransferError
    assert str(copy) == str(error) == "outside: there: refused\nask"
    assert (copy.status, copy.retryable) == (503, True)
    assert isinstance(pickle.loads(pickle.dumps(DigestMismatchError("x"))), OstrataError)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("usr/bin/sh", "usr/bin/sh"),
        ("größe 1", "größe 1"),
        ("a\nb\x1b[31m", r"a\nb\x1b[31m"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        (b"caf\xe9", r"caf\xe9"),
        ("back\\slash", r"back\\slash"),
    ],
)
def test_hostile_names_are_escaped(name: str | bytes, shown: str) -> None:
    assert escape(name) == shown


@pytest.mark.parametrize(
    ("most", "shown"), [(0, " and 3 more"), (1, "a and 2 more"), (2, "a, b and 1 more"), (3, "a, b, c"), (9, "a, b, c")]
)
def test_of_many_names_the_first_are_shown(most: int, shown: str) -> None:
    assert some_of(["a", "b", "c"], most) == some_of(dict.fromkeys("abc"), most) == shown


def test_of_no_names_nothing_is_shown() -> None:
    assert some_of((), 3) == ""
