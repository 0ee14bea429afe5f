"""Images that podman saves: a temporary archive, and clear errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from ostrata.errors import NotFoundError, TransferError
from ostrata.stores.podman import is_installed, saved_image


def program(tmp_path: Path, script: str) -> str:
    path = tmp_path / "a program"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_the_archive_is_there_for_the_length_of_the_block(tmp_path: Path) -> None:
    script = f'for word; do printf "%s\\n" "$word"; done > {tmp_path}/words; echo an image > "$6"'
    with saved_image("localhost/os:1", tmpdir=str(tmp_path), program=program(tmp_path, script)) as found:
        assert Path(found.path).read_text() == "an image\n"
    assert (tmp_path / "words").read_text().splitlines() == [
        *("save", "--quiet", "--format", "oci-archive", "--output", found.path, "--", "localhost/os:1"),
    ]
    assert not Path(found.path).exists()


def test_without_podman_the_error_says_so(tmp_path: Path) -> None:
    with (
        pytest.raises(NotFoundError, match="neither skopeo nor podman is installed for os"),
        saved_image("os", tmpdir=str(tmp_path), program="/no/such"),
    ):
        pass


@pytest.mark.parametrize(
    ("script", "said"), [("echo a >&2; echo 'no image' >&2; exit 7", "no image"), ("exit 7", "nothing")]
)
def test_a_failure_is_podmans_last_message(tmp_path: Path, script: str, said: str) -> None:
    with (
        pytest.raises(TransferError, match=f"podman save os: .*{said}"),
        saved_image("os", tmpdir=str(tmp_path), program=program(tmp_path, script)),
    ):
        pass


def test_a_program_is_installed_when_it_can_be_run(tmp_path: Path) -> None:
    assert is_installed(program(tmp_path, "exit 1"))
    assert not is_installed("/no/such")
