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
from derived_images import BASE_COMMIT, derived_image, entries_of
from layer_images import tar_image
from ostrata.cli import run
from ostrata.stores.ostree_repository import open_repository
from ostrata.stores.ostree_writer import init_repository
from plain_images import Change, whiteout, write_image
from repositories import TREE, make_repository
from selinux_policies import FILE_CONTEXTS, label, make_policy, needs_libselinux
from tarbuilder import checksum_of, commit_bytes

COMMIT = checksum_of(commit_bytes(TREE))
TARS = tarbuilder.encapsulated_layers(TREE, commit_bytes(TREE), None)
FIELDS = [
    *("commit", "base", "ref", "image", "layers", "selinux"),
    *("new_objects", "new_bytes", "resumed", "left_out", "findings"),
]


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


def test_json_has_the_documented_fields(image: str, repo: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["import", image, "--repo", repo, "--write-ref", "r", "--json"]) == 0
    out, err = capfd.readouterr()
    found = json.loads(out)
    assert list(found) == FIELDS
    assert (found["commit"], found["base"], found["ref"]) == (COMMIT, None, "r")
    assert found["layers"] == {"commit": 1, "read": 1, "merged": 0, "merged_read": 0}
    index = json.loads(Path(image.removeprefix("oci:"), "index.json").read_bytes())
    assert found["image"] == index["manifests"][0]["digest"]
    assert (found["left_out"], found["findings"], err) == ([], [], "")


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


# Derived and plain images

LOSSES = [Change(f"run/{number}") for number in range(12)]
POLICY = [
    Change("etc/selinux/config", data=b"SELINUX=permissive\nSELINUXTYPE=tiny\n"),
    Change("etc/selinux/tiny/policy/policy.33"),
    Change("etc/selinux/tiny/contexts/files/file_contexts", data=FILE_CONTEXTS.encode()),
]


def test_a_derived_image_is_two_commits_and_the_ref_is_the_merged_one(
    tmp_path: Path, repo: str, capfd: pytest.CaptureFixture[str]
) -> None:
    derived_image(tmp_path / "derived", [Change("usr/new", data=b"new")])
    assert run(["import", f"oci:{tmp_path}/derived", "--repo", repo, "--write-ref", "os/mine"]) == 0
    out, err = capfd.readouterr()
    repository = open_repository(repo)
    assert out == f"{repository.resolve('os/mine')}\n"
    assert repository.resolve("os/mine^") == BASE_COMMIT
    assert err.startswith(f"ostrata: 2 of 2 layers of commit {BASE_COMMIT} read; 1 layer merged on top of it; new: ")


def test_what_a_commit_cannot_hold_is_shown_with_a_count(
    tmp_path: Path, repo: str, capfd: pytest.CaptureFixture[str]
) -> None:
    layer = [*LOSSES, Change("usr/\x1b", "fifo"), whiteout("usr/nothing"), whiteout("usr/neither")]
    derived_image(tmp_path / "derived", layer)
    command = ["import", f"oci:{tmp_path}/derived", "--repo", repo]
    assert run([*command, "--quiet"]) == 0
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "ostrata: warning: a whiteout that hides nothing (2 times, first: /usr/nothing)"
    assert lines[1] == "ostrata: warning: 13 entries are not in the commit, or not whole:"
    assert lines[2] == "  /usr/\\x1b: a FIFO: a commit has none"
    assert lines[3] == "  /run/0: runtimes mount something on /run"
    assert (len(lines), lines[-1]) == (13, "  and 3 more: --json lists all")
    assert run([*command, "--json"]) == 0
    out, err = capfd.readouterr()
    found = json.loads(out)
    assert (list(found), err) == (FIELDS, "")
    assert found["left_out"][0] == {"path": "/usr/\x1b", "reason": "a FIFO: a commit has none"}
    assert [each["path"] for each in found["left_out"][1:]] == sorted(f"/run/{number}" for number in range(12))
    assert found["findings"] == [{"what": "a whiteout that hides nothing", "path": "/usr/nothing", "count": 2}]
    assert found["layers"] == {"commit": 2, "read": 0, "merged": 1, "merged_read": 0}
    assert (found["base"], found["selinux"]) == (BASE_COMMIT, None)


def test_a_plain_image_is_one_commit(tmp_path: Path, repo: str, capfd: pytest.CaptureFixture[str]) -> None:
    write_image(tmp_path / "plain", [[Change("usr/a")], [Change("usr/b")]])
    assert run(["import", f"oci:{tmp_path}/plain", "--repo", repo]) == 0
    assert "ostrata: 2 layers merged into one commit; new: " in capfd.readouterr().err
    assert run(["import", f"oci:{tmp_path}/plain", "--repo", repo, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["base"], found["layers"]) == (None, {"commit": 0, "read": 0, "merged": 2, "merged_read": 0})


@needs_libselinux
def test_labels_are_the_images_own_anothers_or_none(
    tmp_path: Path, repo: str, capfd: pytest.CaptureFixture[str]
) -> None:
    write_image(tmp_path / "plain", [[*POLICY, Change("usr/bin/x")]])
    other = make_policy(tmp_path / "other", contexts=FILE_CONTEXTS.replace("bin_t", "other_t"))
    command = ["import", f"oci:{tmp_path}/plain", "--repo", repo, "--json", "--write-ref", "r"]
    for options, policy, expected in (
        ([], "tiny", label("bin") + b"\0"),
        (["--selinux-policy", str(other)], "tiny", label("other") + b"\0"),
        (["--no-selinux"], None, None),
    ):
        assert run([*command, *options]) == 0
        assert json.loads(capfd.readouterr().out)["selinux"] == policy
        xattrs = entries_of(repo, "r")["usr/bin/x"].attributes.xattrs
        assert dict(xattrs).get(b"security.selinux") == expected
    assert run(["import", f"oci:{tmp_path}/plain", "--repo", repo]) == 0
    assert "1 layer merged into one commit, labelled by the policy tiny; new: " in capfd.readouterr().err


def test_a_given_policy_that_is_off_sets_no_labels_and_says_so(
    tmp_path: Path, repo: str, capfd: pytest.CaptureFixture[str]
) -> None:
    write_image(tmp_path / "plain", [POLICY])
    off = make_policy(tmp_path / "off", config="SELINUX=disabled\n")
    assert run(["import", f"oci:{tmp_path}/plain", "--repo", repo, "-q", "--selinux-policy", str(off)]) == 0
    assert capfd.readouterr().err == f"ostrata: warning: SELinux is off in {off}: no labels are set\n"
    assert run(["import", f"oci:{tmp_path}/plain", "--repo", repo, "--selinux-policy", "/no/such"]) == 1
    assert capfd.readouterr().err == "ostrata: error: /no/such: no such directory\n"


@needs_libselinux
def test_a_policy_for_an_image_that_has_nothing_to_label_is_a_warning(
    tmp_path: Path, image: str, repo: str, capfd: pytest.CaptureFixture[str]
) -> None:
    policy = make_policy(tmp_path / "policy")
    assert run(["import", image, "--repo", repo, "-q", "--selinux-policy", str(policy)]) == 0
    out, err = capfd.readouterr()
    assert out == f"{COMMIT}\n"
    assert "--selinux-policy has nothing to label" in err


def test_two_answers_about_labels_are_wrong_usage(image: str, repo: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["import", image, "--repo", repo, "--no-selinux", "--selinux-policy", "/"]) == 2
    assert "--selinux-policy and --no-selinux exclude each other" in capfd.readouterr().err
    assert not os.path.exists(repo)


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


def test_unencapsulate_merges_layers_on_top(tmp_path: Path, repo: str, capfd: pytest.CaptureFixture[str]) -> None:
    derived_image(tmp_path / "derived", [Change("usr/new"), Change("run/new")])
    init_repository(repo)
    arguments = ["container", "unencapsulate", "--repo", repo, "--write-ref", "a/b", "--quiet"]
    assert run([*arguments, f"ostree-unverified-image:oci:{tmp_path}/derived"]) == 0
    out, err = capfd.readouterr()
    repository = open_repository(repo)
    assert out == f"Imported: a/b => {repository.resolve('a/b')}\n"
    assert repository.resolve("a/b^") == BASE_COMMIT
    assert err.splitlines()[1:] == ["  /run/new: runtimes mount something on /run"]


def test_unencapsulates_help_has_upstreams_options_in_upstreams_order(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["container", "unencapsulate", "--help"]) == 0
    upstreams = ["--repo", "--auth-anonymous", "--authfile", "--cert-dir", "--insecure-skip-tls-verification"]
    upstreams += ["--write-ref", "--quiet"]
    shown = [word.strip(",") for word in capfd.readouterr().out.split() if word.strip(",") in upstreams]
    assert list(dict.fromkeys(shown[shown.index("--auth-anonymous") - 1 :]))[: len(upstreams)] == upstreams


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
