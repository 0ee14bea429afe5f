"""`ostrata plan`, `explain` and `encapsulate --plan`, as they are called."""

import json
import random

import pytest

from ostrata.cli import run
from ostrata.codecs import contentmeta
from ostrata.pipeline.places import open_image
from planned_trees import commit_tree, make_packaged_tree

FILES = {f"p{number}": {f"usr/share/p{number}/file": b"%d" % number * 1000} for number in range(1, 9)}
FIELDS = ["strategy", "max_layers", "clock", "coverage", "layers", "carried", "rebalanced", "steps", "previous",
          "labels", "notes"]  # fmt: skip


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    tree = make_packaged_tree(tmp_path / "tree", FILES)
    commit_tree(tmp_path / "repo", tree)
    return tmp_path


def plan(*words):
    return run(["plan", "--repo", "repo", "os", *words])


def test_a_contentmeta_file_is_written_and_the_layers_are_shown(place, capfd):
    assert plan("-o", "out.json", "--max-layers", "4") == 0
    out, err = capfd.readouterr()
    written = contentmeta.decode((place / "out.json").read_bytes())
    assert list(written.layers) == ["layer-001", "layer-002", "layer-003"]
    assert all(identifier in out for identifier in written.layers)
    assert "9 components in 3 layers and the one with the commit" in out
    assert "warning" not in err


def test_json_has_the_documented_fields(place, capfd):
    assert plan("--json") == 0
    found = json.loads(capfd.readouterr().out)
    assert list(found) == FIELDS
    assert list(found["layers"][0]) == [
        "id", "components", "size", "compressed_size", "weekly_chance", "weekly_bytes"]  # fmt: skip
    assert (found["max_layers"], found["clock"], found["carried"]) == (96, "2024-05-18", None)


def test_the_same_is_planned_twice_and_with_other_jobs(place):
    for name, jobs in (("a", "1"), ("b", "3")):
        assert plan("-q", "-o", f"{name}.json", "-j", jobs) == 0
    assert (place / "a.json").read_bytes() == (place / "b.json").read_bytes()


def test_a_plan_drives_encapsulate_and_is_carried_on_from_the_image(place, capfd):
    assert plan("-q", "-o", "out.json", "--max-layers", "5", "--version", "41", "--rechunk-label") == 0
    assert run(["encapsulate", "--repo", "repo", "os", "oci:image:1", "--contentmeta", "out.json", "-q"]) == 0
    assert plan("--json", "--max-layers", "5", "--previous", "oci:image:1", "--version", "41",
                "--label", "x=<previous>|<pkgupd>") == 0  # fmt: skip
    found = json.loads(capfd.readouterr().out.split("\n", 1)[1])
    assert (found["carried"]["kept"], found["carried"]["new"]) == (9, 0)
    assert found["labels"]["org.opencontainers.image.version"] == "41.1"
    assert found["labels"]["x"] == "41|-\n"
    assert "4 of 4 layers carried on" in found["previous"]


def test_encapsulate_plans_on_the_fly(place, capfd):
    words = ["encapsulate", "--repo", "repo", "os", "--max-layers", "4", "--plan", "--json"]
    assert run([*words, "oci:image:1"]) == 0
    first = json.loads(capfd.readouterr().out)
    assert len(first["layers"]) == 4
    assert run([*words, "oci:image:2", "--previous", "oci:image:1"]) == 0
    second = json.loads(capfd.readouterr().out)
    assert [layer["how"] for layer in second["layers"]] == ["same recipe"] * 4


def encapsulate(*words):
    return run(["encapsulate", "--repo", "repo", "os", *words])


@pytest.mark.parametrize(
    "words",
    [["--by-package"], ["--max-layers", "96"], ["-s", "chunkah"], ["--map", "x.yml"], ["--rebalance", "full"],
     ["--rechunk-label"], ["--version", "1"], ["--formatter", "commits.none=x"]],
)  # fmt: skip
def test_options_about_planning_need_plan(place, capfd, words):
    assert encapsulate("oci:image:1", *words) == 2
    assert "needs --plan" in capfd.readouterr().err


def test_plan_and_contentmeta_exclude_each_other(place, capfd):
    assert plan("-q", "-o", "out.json") == 0
    assert encapsulate("oci:image:1", "--plan", "--contentmeta", "out.json") == 2
    assert "exclude each other" in capfd.readouterr().err


def test_encapsulate_fills_in_labels_as_plan_does(place, monkeypatch, capfd):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1600000000")
    words = [
        "--plan",
        "--version",
        "41.<date>",
        "-l",
        "kernel=<version:p3>-<previous>",
        "-l",
        "empty=",
        "--rechunk-label",
    ]
    assert encapsulate("oci:image:1", *words) == 0
    assert encapsulate("oci:image:2", *words, "--previous", "oci:image:1", "-l", "empty-") == 0
    labels = [open_image(f"oci:image:{tag}")[1].config.labels for tag in "12"]
    assert [label["org.opencontainers.image.version"] for label in labels] == ["41.200913", "41.200913.1"]
    assert labels[1]["kernel"] == "1.0-41.200913"
    assert (labels[0]["empty"], "empty" in labels[1]) == ("", False)
    assert all("dev.hhd.rechunk.info" in label for label in labels)
    assert "tags of labels without a value: <previous>" in capfd.readouterr().err


def test_without_plan_a_label_is_no_template(place):
    assert encapsulate("oci:image:1", "-l", "x=<date>") == 0
    assert open_image("oci:image:1")[1].config.labels["x"] == "<date>"


def test_labels_of_ours_are_refused_with_plan_too(place, capfd):
    assert encapsulate("oci:image:1", "--plan", "-l", "ostrata.plan=x") == 1
    assert "a command-line label" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["none.json", "oci:none:1", "oci-archive:none.tar"])
def test_a_first_build_has_no_previous_image(place, capfd, name):
    assert encapsulate("oci:image:1", "--plan", "--previous", name) == 0
    assert "the previous plan cannot be read, and is not used" in capfd.readouterr().err
    assert encapsulate("oci:image:2", "--plan", "--previous", name, "--previous-required") == 1


def test_encapsulate_carries_the_plan_of_a_contentmeta_file_on(place, capfd):
    assert plan("-q", "-o", "out.json", "--max-layers", "5") == 0
    assert encapsulate("oci:image:1", "--plan", "--max-layers", "5", "--previous", "out.json") == 0
    assert "4 of 4 layers carried on; components: 9 kept" in capfd.readouterr().err
    assert encapsulate("oci:image:2", "--plan", "-q", "--max-layers", "5", "--previous", "out.json") == 0
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("tags", ['{"Tags": ["41", "41.1", "40"]}', '{"RepoTags": ["41", "41.1"]}', "41\n 41.1 \n\n"])
def test_a_version_that_exists_is_not_given_again(place, capfd, tags):
    (place / "tags").write_text(tags)
    assert plan("--json", "--version", "41", "--tags-file", "tags") == 0
    assert json.loads(capfd.readouterr().out)["labels"]["org.opencontainers.image.version"] == "41.2"


def test_a_tags_file_that_is_none_is_an_error_that_names_it(place, capfd):
    (place / "tags").write_text('{"Tags": "41"}')
    assert plan("--version", "41", "--tags-file", "tags") == 1
    assert "tags: list of tags: expected strings in a list Tags or RepoTags" in capfd.readouterr().err


def test_one_is_said_as_one(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tree/usr").mkdir(parents=True)
    (tmp_path / "tree/usr/file").write_text("x")
    assert run(["plan", "tree"]) == 0
    assert "1 component in 1 layer and the one with the commit" in capfd.readouterr().out


def test_a_previous_plan_that_is_required_must_be_there(place, capfd):
    assert plan("-q", "--previous-required") == 1
    assert plan("-q", "--previous", "none.json", "--previous-required") == 1
    assert plan("-q", "--previous", "none.json") == 0
    assert "the previous plan cannot be read, and is not used" in capfd.readouterr().err


def test_a_map_file_that_is_not_yaml_is_an_error_that_names_it(place, capfd):
    (place / "map.yml").write_text("a: [b\n")
    assert plan("-q", "--map", "map.yml") == 1
    assert "map.yml: component map: not YAML" in capfd.readouterr().err


def test_rules_that_match_nothing_are_warned_of(place, capfd):
    (place / "map.yml").write_text("/usr/share/p1: {component: mine, layer: true}\n/nowhere: x\n")
    assert plan("-q", "--map", "map.yml") == 0
    assert "match nothing: 1: 'nowhere' (line 2)" in capfd.readouterr().err


@pytest.mark.parametrize(
    "words",
    [["--max-layers", "1"], ["--max-layers", "many"], ["--label", "x"], ["--formatter", "x=y"], ["--plan-clock", "x"],
     ["--strategy", "none"]],
)  # fmt: skip
def test_wrong_usage_is_exit_code_2(place, words):
    assert plan(*words) == 2


def test_auto_shows_what_it_compared(place, capfd):
    assert plan("--max-layers", "auto") == 0
    out = capfd.readouterr().out
    assert "<- chosen" in out
    assert all(str(number) in out for number in (48, 64, 96, 128, 192))


def test_the_clock_is_source_date_epochs_for_a_directory(place, monkeypatch, capfd):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1600000000")
    assert run(["plan", "tree", "--json", "--label", "d=<date>"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["clock"], found["labels"]["d"]) == ("2020-09-13", "200913")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "x")
    assert run(["plan", "tree"]) == 2


def test_explain_says_rule_component_and_layer(place, capfd):
    assert run(["explain", "--repo", "repo", "os", "/usr/share/p3/file", "--max-layers", "3"]) == 0
    out = capfd.readouterr().out
    assert "rule       package: the apk package p3 1.0-r0 lists it" in out
    assert "component  p3: 1 path, " in out
    assert "layer      layer-00" in out


def test_explain_has_the_documented_fields(place, capfd):
    assert run(["explain", "tree", "usr/lib/apk/db/installed", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert list(found) == ["path", "checksum", "component", "rule", "why", "object", "paths", "packages", "updates",
                           "interval", "exclusive", "size", "compressed_size", "layer"]  # fmt: skip
    assert (found["component"], found["rule"], found["interval"]) == ("package database", "volatile", 1.0)


def test_explain_of_a_directory_lists_components(place, capfd):
    assert run(["explain", "tree", "/usr/share/p3"]) == 0
    out = capfd.readouterr().out
    assert out.splitlines()[0] == "/usr/share/p3: a directory with files of 1 component"
    assert "1000 B" not in out and "1.0 kB        1 path  layer-00" in out
    assert run(["explain", "tree", "usr/share/", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["path"] == "usr/share"
    assert [row["component"] for row in found["components"]] == [f"p{number}" for number in range(1, 9)]
    assert list(found["components"][0]) == ["component", "layer", "paths", "size"]


def test_explain_of_what_is_not_there_is_an_error(place, capfd):
    assert run(["explain", "tree", "usr/none"]) == 1
    assert "/usr/none: no such path in the tree" in capfd.readouterr().err


def test_what_learn_finds_inside_a_package_splits_it(place, capfd):
    help_file = random.Random(1).randbytes(5 << 19)
    for release in (1, 2, 3):
        files = FILES | {"office": {"usr/lib/office/lib.so": b"%d" % release, "usr/share/office/help.png": help_file}}
        commit_tree(place / "repo", make_packaged_tree(place / f"tree{release}", files))
        created = f"2024-05-0{release}T00:00:00Z"
        assert encapsulate(f"oci:image:{release}", "--plan", "--max-layers", "4", "-q", "--created", created) == 0
    images = [f"oci:image:{release}" for release in (1, 2, 3)]
    assert run(["learn", *images, "--packages", "-o", "history.json", "-q"]) == 0
    capfd.readouterr()
    assert plan("--history", "history.json", "--max-layers", "4", "--json") == 0
    layers = [layer["components"] for layer in json.loads(capfd.readouterr().out)["layers"]]
    assert ["office (stable)"] in layers
    assert any("office" in names for names in layers)
