"""`ostrata import`, `ostrata tar` and `ostrata container unencapsulate`, as they are called."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

import tarbuilder
from layer_images import tar_image
from ostrata.cli import run
from ostrata.stores.ostree_repository import open_repository
from ostrata.stores.ostree_writer import init_repository
from repositories import TREE, make_repository
from tarbuilder import END, checksum_of, commit_bytes

COMMIT = checksum_of(commit_bytes(TREE))
TARS = tarbuilder.encapsulated_layers(TREE, commit_bytes(TREE), None)


@pytest.fixture
def image(tmp_path: Path) -> str:
    return tar_image(tmp_path / "image", TARS, "gzip").reference


@pytest.fixture
def repo(tmp_path: Path) -> str:
    return str(tmp_path / "repo")


def test_the_checksum_is_the_only_thing_on_stdout(image: str, repo: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["import", image, "--repo", repo, "--write-ref", "os/stable"]) == 0
    out, err = capfd.readouterr()
    assert out == f"{COMMIT}\n"
    assert "1 of 1 layers read; new: " in err
    repository = open_repository(repo)
    assert (repository.mode, repository.resolve("os/stable")) == ("bare-user", COMMIT)


def test_quiet_says_nothing_else(image: str, repo: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["import", image, "--repo", repo, "--mode", "archive", "-q"]) == 0
    assert capfd.readouterr() == (f"{COMMIT}\n", "")
    assert (open_repository(repo).mode, open_repository(repo).list_refs()) == ("archive", [])


def test_json_has_the_documented_fields(tmp_path: Path, repo: str, capfd: pytest.CaptureFixture[str]) -> None:
    more = tar_image(tmp_path / "more", [*TARS, tarbuilder.file_entry("x", b"") + END], encapsulated=1)
    assert run(["import", more.reference, "--repo", repo, "--write-ref", "r", "--json"]) == 0
    out, err = capfd.readouterr()
    found = json.loads(out)
    assert list(found) == ["commit", "ref", "image", "layers", "new_objects", "new_bytes"]
    assert (found["commit"], found["ref"], found["layers"]) == (COMMIT, "r", {"commit": 1, "read": 1, "left_out": 1})
    assert found["image"] == json.loads((tmp_path / "more/index.json").read_bytes())["manifests"][0]["digest"]
    assert err == "ostrata: warning: 1 layers on top of the encapsulated commit are left out\n"


@pytest.mark.parametrize(("size", "code"), [("100", 1), ("100kB", 1), ("1 MiB", 0), ("64GiB", 0)])
def test_the_largest_layer_can_be_given(
    size: str, code: int, image: str, repo: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["import", image, "--repo", repo, "--max-size", size, "-q"]) == code
    assert ("the layer's tar should have at most" in capfd.readouterr().err) == bool(code)


@pytest.mark.parametrize("size", ["", "0", "x", "-1", "1 parsec", "1.5GB", "9" * 30])
def test_a_size_that_is_none_is_wrong_usage(
    size: str, image: str, repo: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["import", image, "--repo", repo, "--max-size", size]) == 2
    assert "expected a size as 1000000, 500MB or 64GiB" in capfd.readouterr().err
    assert not os.path.exists(repo)


def test_an_image_that_is_not_there_makes_no_repository(repo: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["import", "oci:/no/such", "--repo", repo]) == 1
    assert capfd.readouterr().err == "ostrata: error: oci:/no/such: /no/such: no such directory\n"
    assert not os.path.exists(repo)


def test_other_transports_need_skopeo(
    repo: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert run(["import", "docker://registry.example/os", "--repo", repo]) == 1
    err = capfd.readouterr().err
    assert err.startswith("ostrata: error: skopeo is needed for docker://registry.example/os and is not installed\n")


# The command line of ostree-ext-cli


@pytest.mark.parametrize("verb", ["unencapsulate", "import"])
def test_unencapsulate_says_what_upstream_says(
    verb: str, image: str, repo: str, capfd: pytest.CaptureFixture[str]
) -> None:
    init_repository(repo, "archive")
    arguments = ["container", verb, "--repo", repo, "--quiet", "--write-ref", "a/b"]
    assert run([*arguments, f"ostree-unverified-image:{image}"]) == 0
    assert capfd.readouterr() == (f"Imported: a/b => {COMMIT}\n", "")
    assert run(["container", verb, "--repo", repo, "--quiet", image]) == 0
    assert capfd.readouterr() == (f"Imported: {COMMIT}\n", "")
    assert open_repository(repo).resolve("a/b") == COMMIT


def test_unencapsulate_makes_no_repository_as_upstream(
    image: str, repo: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["container", "unencapsulate", "--repo", repo, image]) == 1
    assert "no OSTree repository here" in capfd.readouterr().err


@pytest.mark.parametrize(
    "prefix", ["ostree-image-signed:", "ostree-remote-image:fedora:", "ostree-remote-registry:fedora:"]
)
def test_a_signature_that_nobody_would_verify_is_not_promised(
    prefix: str, image: str, repo: str, capfd: pytest.CaptureFixture[str]
) -> None:
    init_repository(repo)
    assert run(["container", "unencapsulate", "--repo", repo, f"{prefix}{image}"]) == 1
    assert "asks for a verified signature" in capfd.readouterr().err


def test_unencapsulates_options_reach_skopeo(tmp_path: Path, repo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    skopeo = tmp_path / "bin/skopeo"
    skopeo.parent.mkdir()
    skopeo.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\ntest $1 = --version\n')
    skopeo.chmod(0o755)
    monkeypatch.setenv("PATH", f"{skopeo.parent}:{os.environ['PATH']}")
    init_repository(repo)
    options = ["--auth-anonymous", "--authfile", "a.json", "--cert-dir", "certs", "--insecure-skip-tls-verification"]
    assert run(["container", "unencapsulate", "--repo", repo, *options, "ostree-unverified-registry:host/os:1"]) == 1
    words = (tmp_path / "calls").read_text().splitlines()[1]
    expected = (
        "copy --src-authfile a.json --src-no-creds --src-cert-dir certs --src-tls-verify=false -- docker://host/os:1"
    )
    assert words.startswith(expected)


# Tars


def test_a_tar_goes_out_on_stdout_and_comes_in_on_stdin(tmp_path: Path) -> None:
    source = make_repository(tmp_path / "source", "archive").path
    command = [sys.executable, "-m", "ostrata", "tar"]
    tar = subprocess.run([*command, "export", "--repo", source, "os/stable"], capture_output=True, check=True)
    assert (tar.stdout, tar.stderr) == (TARS[0], b"")
    for number, arguments in enumerate([[], ["-"]]):
        repo = tmp_path / f"repo{number}"
        done = subprocess.run(
            [*command, "import", "--repo", repo, *arguments, "--write-ref", "x"],
            input=tar.stdout,
            capture_output=True,
            check=True,
        )
        assert done.stdout.decode() == f"{COMMIT}\n"
        assert open_repository(str(repo)).resolve("x") == COMMIT


def test_the_layout_of_a_tar_can_be_chosen(tmp_path: Path) -> None:
    source = make_repository(tmp_path / "source", "archive").path
    command = [sys.executable, "-m", "ostrata", "tar", "export", "--repo", source, "os/stable"]
    tar = subprocess.run([*command, "--layout", "ostree-ext-0.15"], capture_output=True, check=True).stdout
    assert [tar] == tarbuilder.encapsulated_layers(TREE, commit_bytes(TREE), None, layout="ostree-ext-0.15")


def test_a_tar_file_is_imported_with_the_documented_fields(
    tmp_path: Path, repo: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "os.tar").write_bytes(TARS[0])
    arguments = ["tar", "import", "--repo", repo, str(tmp_path / "os.tar"), "--mode", "archive"]
    assert run([*arguments, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert list(found) == ["commit", "ref", "new_objects", "new_bytes"]
    assert (found["commit"], found["ref"], open_repository(repo).mode) == (COMMIT, None, "archive")
    assert run([*arguments, "--write-ref", "a", "-q"]) == 0
    assert capfd.readouterr() == (f"{COMMIT}\n", "")
    assert run([*arguments, "--max-size", "1000"]) == 1
    assert run(["tar", "import", "--repo", repo, "/no/such"]) == 1
    assert "/no/such: no such file" in capfd.readouterr().err


def test_a_tar_is_not_written_to_a_terminal(tmp_path: Path) -> None:
    source = make_repository(tmp_path / "source", "archive").path
    ours, terminal = pty.openpty()
    command = [sys.executable, "-m", "ostrata", "tar", "export", "--repo", source, "os/stable"]
    done = subprocess.run(command, stdout=terminal, stderr=subprocess.PIPE, timeout=60)
    os.close(terminal)
    os.close(ours)
    assert done.returncode == 2
    assert b"A tar is not written to a terminal" in done.stderr
