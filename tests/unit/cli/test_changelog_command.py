"""`ostrata changelog`, as it is called."""

import json

import pytest

from ostrata.cli import run


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
