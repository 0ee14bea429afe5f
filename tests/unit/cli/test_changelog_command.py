"""`ostrata changelog`, as it is called."""

import json
import subprocess

import pytest

from ostrata.cli import run
from planned_trees import commit_tree, make_packaged_tree


@pytest.fixture
def trees(tmp_path):
    found = []
    for name, stanzas in {"old": "P:a|b\nV:1\nI:1000\n", "new": "P:a|b\nV:2\nI:3000\n\nP:new\nV:1_x\nI:5\n"}.items():
        database = tmp_path / name / "lib/apk/db"
        database.mkdir(parents=True)
        (database / "installed").write_text(stanzas + "\n")
        found.append(str(tmp_path / name))
    return found


def test_json_has_the_documented_fields(trees, capfd):
    assert run(["changelog", *trees, "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == {
        "added": [{"name": "new", "old": [], "new": ["1_x"], "old_size": 0, "new_size": 5}],
        "removed": [],
        "updated": [{"name": "a|b", "old": ["1"], "new": ["2"], "old_size": 1000, "new_size": 3000}],
        "unchanged": 0,
        "commits": [],
    }


def test_people_get_a_table(trees, capfd):
    assert run(["changelog", *trees, "-q"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert [line.split() for line in out.splitlines() if line] == [
        ["package", "old", "new", "size"],
        ["added", "new", "1_x", "5", "B"],
        ["updated", "a|b", "1", "2", "+2.0", "kB"],
        ["1", "added,", "0", "removed,", "1", "updated,", "0", "unchanged", "packages"],
    ]


def test_markdown_takes_names_for_words(trees, capfd):
    assert run(["changelog", *trees, "--md"]) == 0
    out = capfd.readouterr().out
    assert "| a\\|b | 1 | 2 | +2.0 kB |" in out
    assert "| new |  | 1\\_x | 5 B |" in out
    assert "### Removed" not in out


def test_nothing_different_is_said(trees, capfd):
    assert run(["changelog", trees[0], trees[0]]) == 0
    assert capfd.readouterr().out == "0 added, 0 removed, 0 updated, 1 unchanged packages\n"


def test_wrong_usage_and_missing_systems_are_told(trees, tmp_path, capfd):
    assert run(["changelog", *trees, "--md", "--json"]) == 2
    assert run(["changelog", trees[0]]) == 2
    assert run(["changelog", trees[0], str(tmp_path / "none")]) == 1
    assert "none" in capfd.readouterr().err


@pytest.mark.parametrize("words", [[], ["--md"], ["--json"]])
def test_commits_between_two_images_are_listed(tmp_path, monkeypatch, need, capfd, words):
    need("git")
    monkeypatch.chdir(tmp_path)
    git = ["git", "-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false", "-C", "g"]
    subprocess.run(["git", "init", "-q", "g"], check=True)
    for number, subject in enumerate(("one", "a|b <x>; \u202e$(touch pwned)"), 1):
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", subject], check=True)
        head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
        tree = make_packaged_tree(tmp_path / str(number), {"p": {"usr/p": b"x"}}, versions={"p": str(number)})
        commit_tree(tmp_path / "repo", tree)
        told = ["-l", f"org.opencontainers.image.revision={head}", "-q"]
        assert run(["encapsulate", "--repo", "repo", "os", f"oci:image:{number}", *told]) == 0
    capfd.readouterr()
    assert run(["changelog", "oci:image:1", "oci:image:2", "--git-dir", "g", "-q", *words]) == 0
    out = capfd.readouterr().out
    if words == ["--json"]:
        commit = {"short": head[:7], "full": head, "subject": "a|b <x>; \u202e$(touch pwned)"}
        assert json.loads(out)["commits"] == [commit]
        return
    escaped = "a|b <x>; \\u202e$(touch pwned)" if not words else "a\\|b \\<x\\>; \\\\u202e$(touch pwned)"
    assert out.splitlines()[-1] == f"{'- ' if words else ''}{head[:7]} {escaped}"
    assert ("### Commits" in out) == bool(words)
