"""Images that skopeo fetches: a temporary copy, and clear errors without secrets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ostrata.errors import NotFoundError, TransferError, UnsupportedError
from ostrata.stores.reference import ImageReference, parse_reference
from ostrata.stores.skopeo import SkopeoOptions, copied_image

REMOTE = parse_reference("docker://user:secret@host/name:tag")


def program(tmp_path: Path, script: str) -> str:
    path = tmp_path / "a program"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def copy(tmp_path: Path, script: str, **options: object) -> ImageReference:
    with copied_image(REMOTE, tmpdir=str(tmp_path), program=program(tmp_path, script), **options) as found:  # type: ignore[arg-type]
        assert Path(found.path).read_text() == "an image"
    assert not Path(found.path).exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".ostrata")] == []
    return found


PUT = 'for last; do :; done; path=${last#oci:}; printf "an image" > "${path%:image}"'


def test_the_copy_is_there_for_the_length_of_the_block(tmp_path: Path) -> None:
    found = copy(tmp_path, f"[ $1 = --version ] && exit; {PUT}")
    assert (found.transport, found.tag) == ("oci", "image")


def test_the_options_are_those_of_skopeos_source(tmp_path: Path) -> None:
    script = f'[ $1 = --version ] && exit; for word; do printf "%s\\n" "$word"; done > {tmp_path}/words; {PUT}'
    options = SkopeoOptions("auth.json", anonymous=True, certificates="certs", verify_tls=False)
    found = copy(tmp_path, script, options=options)
    assert (tmp_path / "words").read_text().splitlines() == [
        *("copy", "--src-authfile", "auth.json", "--src-no-creds", "--src-cert-dir", "certs", "--src-tls-verify=false"),
        *("--", "docker://user:secret@host/name:tag", str(found)),
    ]
    assert SkopeoOptions().arguments() == []


def test_without_skopeo_the_error_says_so_at_once(tmp_path: Path) -> None:
    message = "skopeo is needed for docker://host/name:tag and is not installed"
    with pytest.raises(NotFoundError, match=message), copied_image(REMOTE, tmpdir=str(tmp_path), program="/no/such"):
        pass


def test_a_failure_is_skopeos_last_message_without_secrets(tmp_path: Path) -> None:
    message = json.dumps("trying https://user:secret@host/v2: denied")[1:-1]
    script = f'[ $1 = --version ] && exit; echo \'time="now" level=fatal msg="{message}"\' >&2; exit 1'
    with pytest.raises(TransferError) as caught:
        copy(tmp_path, script)
    assert str(caught.value) == "skopeo copy from docker://host/name:tag: trying https://host/v2: denied"
    assert [path.name for path in tmp_path.iterdir()] == ["a program"]


def test_a_temporary_directory_that_skopeo_cannot_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a:b").mkdir()
    good = program(tmp_path, "exit 0")
    with (
        pytest.raises(UnsupportedError, match="without a colon"),
        copied_image(REMOTE, tmpdir=str(tmp_path / "a:b"), program=good),
    ):
        pass
