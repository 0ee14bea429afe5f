"""Options of plans, as they are called: what they change, and what is said of it."""

import json
from datetime import date

import pytest

from ostrata.cli import run
from ostrata.codecs import contentmeta
from ostrata.planning.strategies import STRATEGIES
from planned_trees import make_packaged_tree

FILES = {f"p{number}": {f"usr/share/p{number}/file": b"%d" % number * 100_000} for number in range(1, 9)}
INSTALLED = "usr/lib/apk/db/installed"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1715947200")
    return make_packaged_tree(tmp_path / "tree", FILES)


def plan(capfd, *words):
    """The document of --json."""
    capfd.readouterr()
    assert run(["plan", "tree", "--json", *words]) == 0
    return json.loads(capfd.readouterr().out)


def names_of(found):
    return sorted(name for layer in found["layers"] for name in layer["components"])


def write_history(path, hot):
    """`hot` changes every week, the others never did."""
    days = [date(2024, month, day).isoformat() for month in range(1, 5) for day in (2, 9, 16, 23)]
    listed = [
        {"name": name, "size": 1, "compressed_size": 1, "since": None, "updates": days if name in hot else []}
        for name in FILES
    ]
    path.write_text(json.dumps({"version": 1, "components": listed}))


def test_the_share_of_known_origin_is_said(tree, capfd):
    (tree / "usr/share/nobody's").mkdir()
    (tree / "usr/share/nobody's/file").write_bytes(b"x" * 800_000)
    percent = plan(capfd)["coverage"]["percent"]
    assert 49 < percent < 51
    assert run(["plan", "tree"]) == 0
    assert f"{percent:.1f} % of 1.6 MB are of known origin" in capfd.readouterr().out


@pytest.mark.parametrize("damaged", [True, False])
def test_packages_that_cannot_be_read_are_a_warning_or_an_error(tree, capfd, damaged):
    (tree / INSTALLED).unlink()
    if damaged:
        (tree / INSTALLED).write_text("no package\n")
    assert run(["plan", "tree", "-q"]) == 0
    err = capfd.readouterr().err
    assert ("the apk database cannot be read" in err) == damaged
    assert "planned by big files and by directories" in err
    assert run(["plan", "tree", "-q", "--require-packages", "-o", "out.json"]) == 1
    assert capfd.readouterr().err.count("\n") == 1
    assert not (tree.parent / "out.json").exists()


@pytest.mark.parametrize("clock", ["2099-12-31", "1960-02-29", "2020-12-31", "9999-12-31", "0001-01-01"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_any_day_can_be_the_plans(tree, capfd, strategy, clock):
    stamps = iter((4102444799, 1609372800, 99999999999999, 0, 1, 1715947200, 1704067199, 253402300799))
    lines = (tree / INSTALLED).read_text().split("\n")
    (tree / INSTALLED).write_text("\n".join(f"t:{next(stamps)}" if line[:2] == "t:" else line for line in lines))
    found = plan(capfd, "--plan-clock", clock, "--max-layers", "4", "-s", strategy)
    assert found["clock"] == clock
    assert names_of(found) == sorted([*FILES, "package database"])
    assert found == plan(capfd, "--plan-clock", clock, "--max-layers", "4", "-s", strategy)


def test_packages_of_one_source_are_a_component_unless_asked_otherwise(tree, capfd):
    text = (tree / INSTALLED).read_text()
    (tree / INSTALLED).write_text(text.replace("A:noarch", "A:noarch\no:source"))
    assert names_of(plan(capfd)) == ["package database", "source"]
    assert names_of(plan(capfd, "--by-package")) == sorted([*FILES, "package database"])


def test_figures_are_shown_for_what_moves(tree, capfd):
    write_history(tree.parent / "old.json", ("p1", "p2", "p3", "p4"))
    write_history(tree.parent / "new.json", ("p3", "p4", "p5", "p6"))
    assert run(["plan", "tree", "-q", "--max-layers", "4", "--history", "old.json", "-o", "previous.json"]) == 0
    words = ["--max-layers", "4", "--history", "new.json", "--previous", "previous.json"]
    full, never = (plan(capfd, *words, "--rebalance", word)["rebalanced"] for word in ("full", "never"))
    assert full["moved"] > 0 == never["moved"]
    assert full["weekly_bytes_after"] < full["weekly_bytes_before"] == never["weekly_bytes_after"]
    assert run(["plan", "tree", *words, "--rebalance", "full"]) == 0
    out = capfd.readouterr().out
    assert f"rebalanced: {full['moved']} components moved, " in out
    assert " once; a weekly update " in out and " -> " in out


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_auto_compares_plans_of_the_strategy_that_is_asked_for(tree, capfd, strategy):
    files = {f"q{number}": {f"usr/share/q{number}/file": b"%d" % number * 9000} for number in range(1, 61)}
    make_packaged_tree(tree.parent / "many", files).rename(tree.parent / "larger")
    tree.rename(tree.parent / "aside")
    (tree.parent / "larger").rename(tree)
    found = plan(capfd, "--max-layers", "auto", "-s", strategy)
    for step in found["steps"]:
        told = plan(capfd, "--max-layers", str(step["max_layers"]), "-s", strategy)
        assert sum(layer["weekly_bytes"] for layer in told["layers"]) == pytest.approx(step["weekly_bytes"], abs=200)
    assert found["max_layers"] in [step["max_layers"] for step in found["steps"]]


def test_a_component_of_any_name_goes_through_a_map_into_the_plan(tree, capfd):
    rules = {"/usr/share/p1": "a,b", "/usr/share/p2": "new\nline", "/usr/share/p3": "x" * 4096}
    (tree.parent / "map.json").write_text(json.dumps(rules))
    assert run(["plan", "tree", "-q", "--map", "map.json", "-o", "out.json", "--max-layers", "20"]) == 0
    written = contentmeta.decode((tree.parent / "out.json").read_bytes())
    found = plan(capfd, "--map", "map.json", "--previous", "out.json", "--max-layers", "20")
    assert len(written.layers) == len(found["layers"]) == 9
    assert (found["carried"]["kept"], found["carried"]["new"], found["carried"]["gone"]) == (9, 0, 0)
    assert all("," not in name and "\n" not in name and len(name) < 300 for name in names_of(found))
    (tree.parent / "map.json").write_text(json.dumps({"/usr/share/p1": ""}))
    assert run(["plan", "tree", "-q", "--map", "map.json"]) == 1
    assert "map.json: component map: rule 1" in capfd.readouterr().err
