"""From a tree to a contentmeta document."""

import os
from dataclasses import replace
from datetime import date

import pytest

from encapsulated_images import check_image, make_image
from ostrata.codecs import contentmeta as contentmeta_codec
from ostrata.errors import MalformedError, NotFoundError, PlanError, UnsupportedError
from ostrata.model.component import Component
from ostrata.model.component_map import ComponentMap, MapRule
from ostrata.model.history import History
from ostrata.pipeline.explain import explain
from ostrata.pipeline.plan import (
    PlanOptions,
    default_clock,
    open_commit_to_plan,
    open_directory_to_plan,
    plan_tree,
    write_contentmeta,
)
from ostrata.pipeline.previous_plan import PreviousPlan, read_previous_plan
from ostrata.planning.layer_counts import LAYER_COUNTS
from ostrata.planning.strategies import STRATEGIES
from ostrata.sources.modifiers import Modifiers
from ostrata.stores.ostree_repository import open_repository
from ostree_trees import make_tree
from planned_trees import commit_tree, make_packaged_tree

CLOCK = date(2024, 6, 1)
OPTIONS = PlanOptions(CLOCK)
PACKAGES = {
    f"p{number:02}": {f"usr/share/p{number:02}/žluť {number}": b"%d" % number * number * 100} for number in range(1, 21)
}


@pytest.fixture
def tree(tmp_path):
    return make_packaged_tree(tmp_path / "tree", PACKAGES)


@pytest.fixture
def repository(tmp_path, tree):
    os.link(tree / "usr/share/p01/žluť 1", tree / "usr/share/p02/hard link")
    commit_tree(tmp_path / "repo", tree)
    return open_repository(str(tmp_path / "repo"))


@pytest.fixture
def planned(repository):
    return open_commit_to_plan(repository, "os")


def layer_of(result, planned, path):
    return result.contentmeta.mapping[planned.objects[path]]


def test_every_object_of_the_commit_is_mapped(planned):
    contentmeta = plan_tree(planned, OPTIONS).contentmeta
    assert set(contentmeta.mapping) == set(planned.objects.values())
    assert set(contentmeta.mapping.values()) == set(contentmeta.layers)
    assert contentmeta_codec.decode(contentmeta_codec.encode(contentmeta)) == contentmeta


def test_max_layers_counts_the_layer_with_the_commit(planned, tmp_path, repository):
    result = plan_tree(planned, replace(OPTIONS, max_layers=5))
    assert len(result.contentmeta.layers) == 4
    image = make_image(repository.path, "os", f"oci:{tmp_path}/image:x", contentmeta=result.contentmeta)
    assert len(image.layers) == 5
    assert check_image(f"oci:{tmp_path}/image:x", repository.path, "os").problems.count == 0


def test_two_layers_are_the_fewest(planned):
    assert len(plan_tree(planned, replace(OPTIONS, max_layers=2)).contentmeta.layers) == 1
    with pytest.raises(PlanError, match="expected at least 2 layers, found 1"):
        plan_tree(planned, replace(OPTIONS, max_layers=1))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_plans_all_components(planned, strategy):
    result = plan_tree(planned, replace(OPTIONS, strategy=strategy, max_layers=8))
    names = [name for layer in result.plan.layers for name in layer]
    assert sorted(names) == [component.name for component in result.components.components]
    assert 1 <= len(result.contentmeta.layers) <= 7


def test_a_directory_is_planned_as_its_commit_would_be(tmp_path):
    tree = make_tree(tmp_path / "tree")
    commit_tree(tmp_path / "repo", tree)
    from_commit = open_commit_to_plan(open_repository(str(tmp_path / "repo")), "os")
    from_directory = open_directory_to_plan(str(tree), Modifiers(), jobs=2)
    assert from_directory.objects == dict(from_commit.objects)
    assert plan_tree(from_directory, OPTIONS).contentmeta.mapping == plan_tree(from_commit, OPTIONS).contentmeta.mapping


def test_modifiers_decide_what_a_directorys_objects_are_called(tree):
    plain = open_directory_to_plan(str(tree), Modifiers())
    canonical = open_directory_to_plan(str(tree), Modifiers(owner_uid=7))
    skipped = open_directory_to_plan(str(tree), Modifiers(skip=frozenset(["/usr/share/p03"])))
    assert set(plain.objects.values()).isdisjoint(canonical.objects.values())
    gone = plain.objects.keys() - skipped.objects.keys()
    assert gone == {"usr/share/p03/žluť 3"}
    assert "/usr/share/p03" not in str(plan_tree(skipped, OPTIONS).claims.by_path)


def test_without_packages_a_tree_is_planned_with_a_note(tmp_path):
    tree = tmp_path / "tree"
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/a").write_text("a")
    planned = open_directory_to_plan(str(tree), Modifiers())
    result = plan_tree(planned, OPTIONS)
    assert any("no package database" in note for note in result.notes)
    assert [component.name for component in result.components.components] == ["/usr/bin"]
    with pytest.raises(NotFoundError, match="no package database"):
        plan_tree(planned, replace(OPTIONS, require_packages=True))


def test_an_empty_tree_has_an_empty_plan(tmp_path):
    (tmp_path / "tree").mkdir()
    planned = open_directory_to_plan(str(tmp_path / "tree"), Modifiers())
    assert plan_tree(planned, OPTIONS).contentmeta.layers == {}
    assert plan_tree(planned, replace(OPTIONS, max_layers=None)).contentmeta.layers == {}


def test_a_damaged_database_is_a_note_or_an_error(tree):
    (tree / "var/lib/dpkg").mkdir(parents=True)
    (tree / "var/lib/dpkg/status").write_bytes(b"no paragraph\n")
    planned = open_directory_to_plan(str(tree), Modifiers())
    notes = plan_tree(planned, OPTIONS).notes
    assert any("the dpkg database cannot be read" in note for note in notes)
    assert not any("no package database" in note for note in notes)  # there is another one
    with pytest.raises(MalformedError):
        plan_tree(planned, replace(OPTIONS, require_packages=True))


def test_a_database_that_cannot_be_read_is_not_said_to_be_missing(tmp_path):
    (tmp_path / "tree/var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "tree/var/lib/dpkg/status").write_bytes(b"no paragraph\n")
    notes = plan_tree(open_directory_to_plan(str(tmp_path / "tree"), Modifiers()), OPTIONS).notes
    assert [note.partition(":")[0] for note in notes] == [
        "the dpkg database cannot be read", "no package database could be read"]  # fmt: skip


def test_unused_rules_for_packages_are_named_as_they_are_written(planned):
    rules = ComponentMap((MapRule("none*", "mine", syntax="package", place="line 1"),))
    notes = plan_tree(planned, replace(OPTIONS, component_map=rules)).notes
    assert any(note.endswith("1: 'package:none*' (line 1)") for note in notes)


def test_rules_that_match_nothing_are_noted(planned):
    rules = ComponentMap((MapRule("usr/share/p01", "mine", place="line 1"), MapRule("nowhere", "x", place="line 2")))
    result = plan_tree(planned, replace(OPTIONS, component_map=rules))
    assert [note for note in result.notes if "match nothing" in note] == [
        "rules of the map that match nothing: 1: 'nowhere' (line 2)"
    ]
    assert "mine" in {component.name for component in result.components.components}


def test_an_exclusive_layer_holds_nothing_else(planned):
    rules = ComponentMap((MapRule("usr/share/p0*", "mine", exclusive="alone", place="line 1"),))
    result = plan_tree(planned, replace(OPTIONS, component_map=rules, max_layers=4))
    assert ("mine",) in result.plan.layers


def test_a_history_adds_dates(planned):
    history = History((Component("p05", "p05", 1, 1, updates=(date(2023, 3, 3),)),))
    result = plan_tree(planned, replace(OPTIONS, history=history))
    by_name = {component.name: component for component in result.components.components}
    assert date(2023, 3, 3) in by_name["p05"].updates
    assert date(2023, 3, 3) not in by_name["p06"].updates


def test_auto_tries_a_ladder_and_takes_a_step_of_it(planned):
    result = plan_tree(planned, replace(OPTIONS, max_layers=None))
    assert [step.max_layers for step in result.steps] == list(LAYER_COUNTS)
    assert result.max_layers in LAYER_COUNTS


# Carried on


def test_auto_carries_on_as_many_layers_as_there_were(planned):
    options = replace(OPTIONS, max_layers=None)
    fresh = plan_tree(planned, options)
    names = [component.name for component in fresh.components.components]
    assert len(names) < 48 == fresh.max_layers  # a layer for each: none of the other steps costs less
    gone = tuple((f"gone{number}",) for number in range(64))
    one, many = PreviousPlan((tuple(names), *gone), "a fake"), PreviousPlan((tuple(names), *3 * gone), "a fake")
    assert plan_tree(planned, options, one).max_layers == 96
    assert plan_tree(planned, options, many).max_layers == 48
    assert plan_tree(planned, options, PreviousPlan(gone, "a fake")).max_layers == 48
    for other in (replace(options, rebalance="full"), replace(options, strategy="chunkah")):
        assert plan_tree(planned, other, one).max_layers == plan_tree(planned, other).max_layers


def test_a_plan_that_was_written_is_carried_on(planned, tmp_path, repository):
    first = plan_tree(planned, replace(OPTIONS, max_layers=6))
    write_contentmeta(str(tmp_path / "contentmeta.json"), first.contentmeta)
    make_image(repository.path, "os", f"oci:{tmp_path}/image:x", contentmeta=first.contentmeta)
    for name in (f"{tmp_path}/contentmeta.json", f"oci:{tmp_path}/image:x"):
        previous = read_previous_plan(name, required=True)
        assert previous.clock == CLOCK
        again = plan_tree(planned, replace(OPTIONS, clock=date(2025, 1, 1), max_layers=6), previous)
        assert again.contentmeta.mapping == first.contentmeta.mapping
        assert "5 of 5 layers carried on" in (again.previous or "")


def test_names_with_commas_and_newlines_are_carried_on(planned, tmp_path):
    rules = ComponentMap((MapRule("usr/share/p0?", "a,b\nc"), MapRule("usr/share/p1?", "x" * 4096)))
    options = replace(OPTIONS, component_map=rules, max_layers=4)
    first = plan_tree(planned, options)
    write_contentmeta(str(tmp_path / "contentmeta.json"), first.contentmeta)
    again = plan_tree(planned, options, read_previous_plan(str(tmp_path / "contentmeta.json")))
    assert again.carried is not None
    assert (again.carried.new, again.carried.gone) == (0, 0)


def test_a_previous_plan_of_another_world_gives_a_valid_plan(planned):
    previous = PreviousPlan((("none of ours",), ("p01", "p01"), ()), "a fake")
    result = plan_tree(planned, replace(OPTIONS, max_layers=3), previous)
    assert set(result.contentmeta.mapping) == set(planned.objects.values())
    assert len(result.contentmeta.layers) <= 2
    assert "1 named twice" in (result.previous or "")


@pytest.mark.parametrize("strategy", ["rechunk", "rpm-ostree", "chunkah"])
def test_the_line_on_the_previous_plan_says_what_a_reference_strategy_does_with_it(planned, strategy):
    options = replace(OPTIONS, max_layers=4, strategy=strategy)
    names = [component.name for component in plan_tree(planned, options).components.components]
    previous = PreviousPlan(((names[0], names[-1]), ("gone",), tuple(names[1:-1])), "a fake")
    result = plan_tree(planned, options, previous)
    forgets = strategy == "chunkah"
    said = "has no memory and does not use it" if forgets else "carries 2 of 3 layers on in its own way"
    assert result.previous == f"the previous plan, by a fake: the strategy {strategy} {said}"
    assert (result.plan == plan_tree(planned, options).plan) == forgets


@pytest.mark.parametrize("strategy", ["rechunk", "rpm-ostree"])
def test_the_line_on_the_previous_plan_says_why_a_reference_strategy_plans_afresh(planned, strategy):
    options = replace(OPTIONS, max_layers=4, strategy=strategy)
    fresh = plan_tree(planned, options)
    each_alone = tuple((component.name,) for component in fresh.components.components)
    for layers, why in (
        (each_alone, "since it has more layers than are allowed"),
        ((("gone",), ("lost", "gone")), "since it names nothing that is here"),
        ((), "since it names nothing that is here"),
    ):
        result = plan_tree(planned, options, PreviousPlan(layers, "a fake"))
        assert result.previous == f"the previous plan, by a fake: the strategy {strategy} plans afresh, {why}"
        assert result.plan == fresh.plan


def test_the_line_on_the_previous_plan_says_that_a_full_rebalance_plans_afresh(planned):
    options = replace(OPTIONS, max_layers=4, rebalance="full")
    fresh = plan_tree(planned, options)
    names = [component.name for component in fresh.components.components]
    result = plan_tree(planned, options, PreviousPlan((tuple(names[::2]), tuple(names[1::2])), "a fake"))
    assert "the strategy ostrata plans afresh, as a full rebalance asks it to" in (result.previous or "")
    assert result.plan == fresh.plan
    nothing = plan_tree(planned, replace(options, rebalance="auto"), PreviousPlan((), "a fake"))
    assert "the strategy ostrata plans afresh, since it names nothing that is here" in (nothing.previous or "")


# The clock


def test_the_clock_is_the_day_after_the_commit():
    assert default_clock(1_715_947_200, CLOCK) == date(2024, 5, 18)


@pytest.mark.parametrize("timestamp", [None, 0, 1, 1 << 40, 1 << 63, 253402300799])
def test_a_time_that_says_nothing_is_not_a_clock(timestamp):
    assert default_clock(timestamp, CLOCK) == CLOCK


def test_the_document_is_created_when_the_commit_was(planned, tree):
    assert plan_tree(planned, OPTIONS).contentmeta.created == "2024-05-17T12:00:00Z"
    directory = open_directory_to_plan(str(tree), Modifiers())
    assert plan_tree(directory, OPTIONS).contentmeta.created == "2024-06-01T00:00:00Z"


# Explaining


def test_an_explanation_names_rule_component_and_layer(planned):
    result = plan_tree(planned, replace(OPTIONS, max_layers=4))
    path = "usr/share/p05/žluť 5"
    found = explain(planned, result, "/" + path)
    assert (found.path, found.rule, found.component.name) == (path, "package", "p05")
    assert found.layer == layer_of(result, planned, path)
    assert "p05" in found.layer_components


def test_an_explanation_says_which_path_of_an_object_counts(planned):
    found = explain(planned, plan_tree(planned, OPTIONS), "usr/share/p02/hard link")
    assert (found.rule, found.object_rule, found.object_component) == ("beside", "package", "p01")
    assert found.twins == ("usr/share/p01/žluť 1",)


def test_what_is_not_there_or_a_directory_is_not_explained(planned):
    result = plan_tree(planned, OPTIONS)
    with pytest.raises(NotFoundError, match="/usr/none: no such path"):
        explain(planned, result, "usr/none")
    with pytest.raises(UnsupportedError):
        explain(planned, result, "/usr/share/")


MIB = 1 << 20
LEARNED = History((), changed_paths={"office": {"usr/lib/office/lib1.so": (date(2024, 5, 1), date(2024, 5, 9))}})


@pytest.fixture
def office(tmp_path):
    """A tree whose largest package has a library that its updates change, and help that they do not."""
    files = {"usr/lib/office/lib1.so": b"lib", "usr/share/office/help.png": os.urandom(MIB * 5 // 2)}
    commit_tree(tmp_path / "repo", make_packaged_tree(tmp_path / "tree", {**PACKAGES, "office": files}))
    return open_commit_to_plan(open_repository(str(tmp_path / "repo")), "os")


def test_a_history_of_paths_splits_a_component_where_that_pays(office):
    whole = plan_tree(office, OPTIONS)
    result = plan_tree(office, replace(OPTIONS, history=LEARNED, max_layers=6))
    sizes = {item.name: (item.size, item.compressed_size) for item in result.components.components}
    before = {item.name: (item.size, item.compressed_size) for item in whole.components.components}
    assert sizes["office"][0] == 3
    assert tuple(map(sum, zip(sizes["office"], sizes["office (stable)"], strict=True))) == before["office"]
    layers = [layer_of(result, office, path) for path in ("usr/lib/office/lib1.so", "usr/share/office/help.png")]
    assert layers[0] != layers[1]
    assert set(result.contentmeta.mapping) == set(office.objects.values())


def test_an_explanation_names_the_part(office):
    result = plan_tree(office, replace(OPTIONS, history=LEARNED))
    found = explain(office, result, "usr/share/office/help.png")
    assert (found.component.name, found.rule) == ("office (stable)", "package")
    assert found.why.endswith("; no update that the history knows of changed it")
    assert explain(office, result, "usr/lib/office/lib1.so").component.name == "office"


def test_a_part_begins_in_the_layer_of_its_component(office):
    first = plan_tree(office, replace(OPTIONS, max_layers=6))
    previous = PreviousPlan(first.plan.layers, "a test", CLOCK)
    result = plan_tree(office, replace(OPTIONS, history=LEARNED, max_layers=6, rebalance="never"), previous)
    assert result.contentmeta.mapping == first.contentmeta.mapping
    assert (result.carried.joined, result.carried.new) == (1, 0)


def test_nothing_is_split_that_would_take_the_name_of_another(office):
    rule = MapRule("usr/share/p01", "office (stable)")
    result = plan_tree(office, replace(OPTIONS, history=LEARNED, component_map=ComponentMap((rule,))))
    assert sum(item.name == "office (stable)" for item in result.components.components) == 1
    assert layer_of(result, office, "usr/lib/office/lib1.so") == layer_of(result, office, "usr/share/office/help.png")
