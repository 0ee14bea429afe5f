"""What a series of releases says about components."""

import pytest

from histories import day
from ostrata.errors import PlanError
from ostrata.simulation.learning import Learner, PublishedComponent, PublishedRelease, has_changed


def _learn(*releases):
    learner = Learner()
    for number, components in releases:
        learner.add(PublishedRelease(day(number), {item.name: item for item in components}))
    return learner.finish()


def _component(name, contents, size=1, **other):
    return PublishedComponent(name, size, size, contents=contents, **other)


def test_a_component_changes_when_its_contents_do():
    history = _learn(
        (0, [_component("a", 1), _component("b", 1)]),
        (7, [_component("a", 2), _component("b", 1)]),
        (9, [_component("a", 3, size=50), _component("b", 1)]),
    )
    assert [(item.name, item.since, item.updates, item.size) for item in history.components] == [
        ("a", None, (day(7), day(9)), 50),
        ("b", None, (), 1),
    ]
    assert history.notes == ()


def test_a_later_component_appears_on_the_day_of_its_release():
    history = _learn((0, [_component("a", 1)]), (7, [_component("a", 1), _component("b", 1)]))
    assert [(item.name, item.since, item.updates) for item in history.components] == [
        ("a", None, ()),
        ("b", day(7), ()),
    ]


def test_a_component_that_is_gone_is_left_out_with_a_note():
    history = _learn((0, [_component("a", 1), _component("b", 1)]), (7, [_component("a", 1)]))
    assert [item.name for item in history.components] == ["a"]
    assert "1 components vanished" in history.notes[0]


def test_a_component_that_comes_back_keeps_its_dates():
    a = _component("a", 1)
    history = _learn((0, [a, _component("b", 1)]), (1, [a, _component("b", 2)]), (2, [a]), (3, [a, _component("b", 3)]))
    assert [(item.name, item.since, item.updates) for item in history.components][1] == ("b", None, (day(1),))


def test_releases_of_one_day_count_as_one_date():
    history = _learn((0, [_component("a", 1)]), (7, [_component("a", 2)]), (7, [_component("a", 3)]))
    assert history.components[0].updates == (day(7),)


def test_paths_tell_what_changed_inside():
    first = _component("a", 1, paths={"usr/stays": "1", "usr/changes": "1", "usr/goes": "1"})
    second = _component("a", 2, paths={"usr/stays": "1", "usr/changes": "2", "usr/comes": "1"})
    history = _learn((0, [first]), (3, [second]), (4, [second]))
    assert history.changed_paths == {"a": {"usr/changes": (day(3),), "usr/comes": (day(3),)}}


def test_the_most_exact_thing_that_both_have_decides():
    def changed(old, new):
        return has_changed(PublishedComponent("a", 1, 1, *old), PublishedComponent("a", 1, 1, *new))

    assert not changed(("x", "1", "l"), ("x", "2", "m"))
    assert changed(("x", "1", "l"), ("y", "1", "l"))
    assert not changed((None, "1", "l"), ("x", "1", "m"))
    assert changed((None, "1", "l"), ("x", "2", "l"))
    assert changed((None, None, "l"), ("x", "1", "m"))
    assert not changed(("x", None, None), (None, "1", "m"))


def test_components_with_the_dates_of_their_layer_are_told():
    shared = [PublishedComponent(name, 1, 1, layer="x") for name in ("a", "b")]
    assert "2 components are known by their layers only" in _learn((0, shared), (1, shared)).notes[0]


def test_one_release_is_told_to_be_too_few():
    assert "one release says nothing" in _learn((0, [_component("a", 1)])).notes[0]


def test_nothing_to_learn_is_an_error():
    with pytest.raises(PlanError, match="no component is known"):
        _learn((0, [_component("a", 1)]), (1, []))
    with pytest.raises(PlanError, match="no component is known"):
        _learn()


def test_an_older_release_behind_a_newer_one_is_refused():
    with pytest.raises(PlanError, match="expected a release of 2024-01-08 or later, found 2024-01-01"):
        _learn((7, [_component("a", 1)]), (0, [_component("a", 1)]))
