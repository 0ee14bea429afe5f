"""`ostrata simulate`, as it is called."""

import json
from datetime import date

import pytest

from histories import component, day
from ostrata.cli import run
from ostrata.codecs import history as history_codec
from ostrata.model.history import History

COMPONENTS = (
    component("a", 4_000_000, 1, 8, *range(-30, 0), packed=1_000_000),
    component("b\n", 3_000_000, 8, 27, -100, -50, -20, packed=500_000),
)


@pytest.fixture
def history(tmp_path):
    path = tmp_path / "history.json"
    path.write_bytes(history_codec.encode(History(COMPONENTS, "what\x1b[31m this is")))
    return str(path)


PERIOD = ["--plan-at", "2024-01-01", "--until", "2024-01-29"]


def test_json_has_the_documented_fields_and_the_means(history, capfd):
    arguments = ["simulate", history, "-s", "rechunk", "--strategy", "chunkah", *PERIOD, "--every", "7,28,40", "--json"]
    assert run([*arguments, "--max-layers", "1", "--present-only"]) == 0
    out, err = capfd.readouterr()
    found = json.loads(out)
    assert err == ""
    assert list(found) == ["strategies"]
    assert [item["name"] for item in found["strategies"]] == ["rechunk", "chunkah"]
    first = found["strategies"][0]
    assert list(first) == ["name", "max_layers", "plan_seconds", "cadences"]
    assert first["max_layers"] == 1
    assert 0 <= first["plan_seconds"] < 10
    # Weeks: a; a and b; none; b. With one layer each costs both.
    assert first["cadences"] == [
        {"every": 7, "updates": 4, "mean_bytes": 3 * 1_500_000 / 4, "mean_changed_bytes": 3_000_000 / 4,
         "overfetch": 1.5, "mean_layers": 0.75},
        {"every": 28, "updates": 1, "mean_bytes": 1_500_000.0, "mean_changed_bytes": 1_500_000.0, "overfetch": 1.0,
         "mean_layers": 1.0},
        {"every": 40, "updates": 0, "mean_bytes": None, "mean_changed_bytes": None, "overfetch": None,
         "mean_layers": None},
    ]  # fmt: skip


def test_people_get_a_table_and_bars(history, capfd):
    assert run(["simulate", history, "-q", "-s", "rechunk", "-s", "rpm-ostree", *PERIOD, "--max-layers", "1,9"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert "what\\x1b[31m this is" in out
    assert "2024-01-01 to 2024-01-29 (exclusive), 2 components, 5 plans each" in out
    assert "every 28 days" in out
    bars = [line for line in out.splitlines() if "█" in line]
    assert sum("rechunk 1 " in line for line in bars) == 3
    assert sum("changed components" in line for line in bars) == 3
    longest = max(bars, key=lambda line: line.count("█"))
    assert longest.count("█") == 60


def test_a_period_without_a_change_has_empty_bars(history, capfd):
    arguments = ["simulate", history, "-s", "chunkah", "--plan-at", "2024-02-01", "--until", "2024-03-01"]
    assert run(arguments) == 0
    assert "0 B" in capfd.readouterr().out


def test_notes_on_the_file_are_warnings(tmp_path, capfd):
    document = json.loads(history_codec.encode(History(COMPONENTS)))
    document["components"][0]["updates"].reverse()
    path = tmp_path / "h"
    path.write_text(json.dumps(document))
    assert run(["simulate", str(path), "-s", "chunkah", "--json", *PERIOD]) == 0
    assert "the dates of 1 components are not in order" in capfd.readouterr().err


def test_by_default_the_last_364_days_are_replayed(history, capfd):
    assert run(["simulate", history, "-s", "chunkah"]) == 0
    assert f"{day(28 - 364)} to {day(28)} (exclusive)" in capfd.readouterr().out


def test_afresh_is_named(history, capfd):
    assert run(["simulate", history, "-s", "chunkah", "--afresh", "--release-every", "14", *PERIOD]) == 0
    out = capfd.readouterr().out
    assert "chunkah, afresh" in out
    assert "3 plans each" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["--strategy", "none"],
        ["--max-layers", "0"],
        ["--max-layers", "10001"],
        ["--every", "7,"],
        ["--every", "1.5"],
        ["--every", "-7"],
        ["--every", "٧"],
        ["--plan-at", "yesterday"],
        ["--until", "2024-02-30"],
        ["--release-every", "0"],
    ],
)
def test_wrong_usage_is_told(history, arguments, capfd):
    assert run(["simulate", history, *arguments]) == 2
    assert capfd.readouterr().out == ""


def test_errors_are_one_line(history, tmp_path, capfd):
    assert run(["simulate", history, "-s", "chunkah", "--plan-at", "2024-01-01", "--until", "2023-01-01"]) == 1
    assert "expected an end after 2024-01-01" in capfd.readouterr().err
    assert run(["simulate", str(tmp_path / "none")]) == 1
    assert capfd.readouterr().err.count("\n") == 1


NAMES = ("a,b", "new\nline", "x" * 4096, "žluť", "\u202egnp")
DATES = ["2099-01-01", "1960-02-29", "2020-12-31", "2021-01-03", "2020-12-28", "2021-06-01", "2020-12-31"]


def _document(names=NAMES, size=5, updates=DATES):
    listed = [
        {"name": name, "size": size, "compressed_size": size, "since": None, "updates": updates} for name in names
    ]
    return json.dumps({"version": 1, "components": listed})


@pytest.mark.parametrize("max_layers", ["1", "2", "5", "6", "1000"])
@pytest.mark.parametrize("more", [[], ["--present-only"], ["--afresh"]])
def test_hostile_names_and_dates_are_replayed_by_every_strategy(tmp_path, capfd, max_layers, more):
    path = tmp_path / "history.json"
    path.write_text(_document())
    words = ["simulate", str(path), "--plan-at", "2020-12-28", "--until", "2021-02-22", "--max-layers", max_layers]
    assert run([*words, *more, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)["strategies"]
    # Everything changes in the first week only (its last day is in week 53 of 2020), whatever shares a layer.
    assert [item["cadences"][1]["mean_bytes"] for item in found] == [25 / 8] * 4
    assert all(item["max_layers"] == int(max_layers) for item in found)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (_document(names=()), "expected at least one component, found none"),
        (_document(size=-1), "expected a size of 0 or more, found -1"),
        (_document(names=("",)), "expected a name, found an empty string"),
        (_document(names=("a", "a")), "two components are called"),
        (_document(updates=["2021-02-29"]), "expected a date like 2024-05-17"),
        ("{", "history"),
    ],
)
def test_histories_that_are_none_are_one_line_that_names_the_place(tmp_path, capfd, document, message):
    path = tmp_path / "history.json"
    path.write_text(document)
    assert run(["simulate", str(path), "--json"]) == 1
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert "history.json" in err


def test_an_end_in_2099_needs_no_more_than_one_plan(tmp_path, capfd):
    path = tmp_path / "history.json"
    path.write_text(_document())
    assert run(["simulate", str(path), "-s", "ostrata", "--plan-at", "1950-01-01", "--present-only", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)["strategies"][0]["cadences"]
    assert found[2]["updates"] == (date(2099, 1, 2) - date(1950, 1, 1)).days // 28
