"""`ostrata commit` and `ostrata init`, as they are called."""

import json
import os

import pytest

from ostrata.cli import run
from ostrata.stores.ostree_repository import open_repository


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    (root / "usr").mkdir(parents=True)
    (root / "usr/with space").write_bytes(b"12345")
    return str(root)


@pytest.fixture
def repo(tmp_path):
    return str(tmp_path / "repo")


def test_the_checksum_is_the_only_thing_on_stdout(tree, repo, capfd):
    assert run(["commit", "--repo", repo, "-b", "os/stable", tree]) == 0
    out, err = capfd.readouterr()
    assert out == open_repository(repo).resolve("os/stable") + "\n"
    assert "1 files, 0 symlinks and 2 directories" in err
    assert open_repository(repo).mode == "bare-user"


def test_quiet_says_nothing_else(tree, repo, capfd):
    assert run(["commit", "--repo", repo, "--orphan", "--mode", "archive", "-q", tree]) == 0
    out, err = capfd.readouterr()
    assert len(out) == 65
    assert err == ""
    assert open_repository(repo).mode == "archive"


def test_json_has_the_documented_fields(tree, repo, capfd):
    arguments = ["commit", "--repo", repo, "-b", "os", "--canonical-permissions", "--timestamp", "@0", "--json", tree]
    assert run(arguments) == 0
    found = json.loads(capfd.readouterr().out)
    assert list(found) == [
        "checksum", "parent", "files", "symlinks", "directories", "content_bytes", "new_objects", "new_bytes", "branch"
    ]  # fmt: skip
    assert found["checksum"] == open_repository(repo).resolve("os")
    assert (found["parent"], found["branch"], found["content_bytes"], found["new_objects"]) == (None, "os", 5, 5)


def test_every_option_reaches_the_commit(tree, repo, tmp_path):
    (tmp_path / "override").write_text("=256 /usr/with space\n")
    (tmp_path / "skip").write_text("/gone\n")
    os.mkfifo(f"{tree}/gone")
    arguments = ["commit", "--repo", repo, "--branch", "b-r", "--subject", "S", "--body", "B", "--parent", "none"]
    arguments += ["--timestamp", "2024-01-02T03:04:05Z", "--bind-ref", "a", "--owner-uid", "1", "--owner-gid", "2"]
    arguments += [
        "--add-metadata-string",
        "k=v=w",
        "--add-metadata-string",
        "a=",
        "--no-xattrs",
        "--mode-ro-executables",
    ]
    arguments += ["--statoverride", f"{tmp_path}/override", "--skip-list", f"{tmp_path}/skip", "-j1", "-q", tree]
    assert run(arguments) == 0
    opened = open_repository(repo)
    commit = opened.read_commit(opened.resolve("b-r"))[0]
    assert (commit.subject, commit.body, commit.timestamp) == ("S", "B", 1704164645)
    assert [(key, value.value) for key, value in commit.metadata.items()] == [
        ("k", "v=w"), ("a", ""), ("ostree.ref-binding", ["a", "b-r"])
    ]  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["-b", "x", "--orphan"],
        ["--orphan", "--timestamp", "yesterday"],
        ["--orphan", "--timestamp", "@-1"],
        ["--orphan", "--add-metadata-string", "k"],
        ["--orphan", "--add-metadata-string", "=v"],
        ["--orphan", "--canonical-permissions", "--owner-uid", "1"],
        ["--orphan", "--mode", "bare-split-xattrs"],
        ["--orphan", "-j", "0"],
    ],
)
def test_wrong_usage_is_told_and_makes_no_repository(tree, repo, arguments, capfd):
    assert run(["commit", "--repo", repo, *arguments, tree]) == 2
    assert capfd.readouterr().out == ""
    assert not os.path.exists(repo)


def test_errors_are_one_line_and_exit_with_1(tree, repo, capfd):
    os.mkfifo(f"{tree}/pipe\n")
    assert run(["commit", "--repo", repo, "--orphan", tree]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(f"ostrata: error: {tree}: cannot commit /pipe\\n (FIFO)\n")


def test_a_tree_that_is_a_file_is_wrong_usage(tree, repo):
    assert run(["commit", "--repo", repo, "--orphan", f"{tree}/usr/with space"]) == 2


def test_init_makes_a_repository_once(repo, capfd):
    for made in (True, False):
        assert run(["init", "--repo", repo, "--mode", "archive", "--json"]) == 0
        assert json.loads(capfd.readouterr().out) == {"repo": repo, "mode": "archive", "made": made}
    assert run(["init", "--repo", repo, "--mode", "bare"]) == 1
    assert "expected a repository of mode bare, found archive" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["commit", "init"])
def test_help_has_examples(name, capfd):
    assert run([name, "--help"]) == 0
    assert f"ostrata {name} --repo repo" in capfd.readouterr().out
