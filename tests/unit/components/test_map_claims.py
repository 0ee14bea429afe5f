"""Rules of a map against paths."""

import pytest

from ostrata.components.map_claims import MapClaims
from ostrata.errors import MalformedError
from ostrata.model.component_map import ComponentMap, MapRule
from ostrata.model.package import Package
from ostrata.packages.tree_files import TreeFiles
from sources import Link, MemorySource


def matched(pattern: str, *paths: str, syntax="glob") -> set[str]:
    rules = ComponentMap((MapRule(pattern, "c", syntax),))
    return set(MapClaims(rules, []).claims(paths))


def test_a_path_stands_for_itself_and_all_that_is_in_it():
    assert matched("usr/lib", "usr/lib", "usr/lib/a/b", "usr/libx", "usr") == {"usr/lib", "usr/lib/a/b"}


def test_a_star_stays_within_a_name():
    assert matched("usr/*/a", "usr/x/a", "usr/x/y/a", "usr/x/a/b", "usr/a") == {"usr/x/a", "usr/x/a/b"}


def test_two_stars_cross_names():
    paths = ("a.pak", "usr/a.pak", "usr/x/y/a.pak", "usr/a.pakx")
    assert matched("**/*.pak", *paths) == {"a.pak", "usr/a.pak", "usr/x/y/a.pak"}
    assert matched("usr/**", *paths) == {"usr/a.pak", "usr/x/y/a.pak", "usr/a.pakx"}


def test_questions_and_brackets_stand_for_one_character_of_a_name():
    assert matched("a?c", "abc", "a/c", "ac", "a\nc") == {"abc", "a\nc"}
    assert matched("a[!b-d]e", "aae", "abe", "a/e", "a^e") == {"aae", "a^e"}
    assert matched("a[]x", "a[]x", "ax") == {"a[]x"}
    assert matched("a[&&|~]", "a&", "ab") == {"a&"}


def test_characters_of_expressions_mean_nothing():
    assert matched("a.b+(c)|*", "a.b+(c)|d", "axbb") == {"a.b+(c)|d"}


def test_a_star_of_rechunk_crosses_slashes():
    paths = ("usr/lib/modules/6/vmlinuz", "usr/lib/modules/6/vmlinuz.hmac", "usr/vmlinuz")
    assert matched("usr/lib/modules/*vmlinuz*", *paths, syntax="fnmatch") == set(paths[:2])


def test_names_that_are_not_utf_8_match():
    assert matched("a*", "a\udcff") == {"a\udcff"}


def claims_of(rules, paths, packages=()):
    found = MapClaims(ComponentMap(tuple(rules)), list(packages))
    return {path: claim.component for path, claim in found.claims(paths).items()}, found.unused()


def test_the_last_of_several_rules_that_match_counts():
    rules = [
        MapRule("usr/lib/a", "first", place="line 1"),
        MapRule("usr/**", "second", place="line 2"),
        MapRule("usr/lib", "third", place="line 3"),
        MapRule("usr/lib/b*", "fourth", place="line 4"),
    ]
    found, unused = claims_of(rules, ["usr/x", "usr/lib/a", "usr/lib/b", "usr/lib/c"])
    assert found == {"usr/x": "second", "usr/lib/a": "third", "usr/lib/b": "fourth", "usr/lib/c": "third"}
    assert unused == [rules[0]]


def test_a_rule_for_packages_stands_for_what_they_list_by_name_or_source():
    packages = [
        Package("kernel-core", "1", "x", "kernel", ("usr/a", "usr/b")),
        Package("mesa", "1", "x", "mesa-src", ("usr/c", "usr/not there")),
    ]
    rules = [MapRule("kernel*", "k", "package"), MapRule("mesa-src", "m", "package"), MapRule("usr/b", "b")]
    assert claims_of(rules, ["usr/a", "usr/b", "usr/c", "usr/d"], packages)[0] == {
        "usr/a": "k",
        "usr/b": "b",
        "usr/c": "m",
    }


@pytest.mark.parametrize(
    ("pattern", "path"),
    [("etc/a", "usr/etc/a"), ("etc/*.d/b", "usr/etc/x.d/b"), ("lib/f/*", "usr/lib/f/1"), ("lib/f", "usr/lib/f/1"),
     ("lib", "lib"), ("*/f", "usr/f"), ("lib/*", "usr/lib/x"), ("odd/*", None)],
)  # fmt: skip
def test_a_pattern_begins_where_its_directory_lies_in_the_tree(pattern, path):
    files = TreeFiles(MemorySource({"usr/etc/a": b"", "lib": Link("usr/lib"), "usr/lib/x": b"", "odd": Link("a*b")}))
    paths = ["usr/etc/a", "usr/etc/x.d/b", "usr/lib/f/1", "usr/lib/x", "lib", "usr/f"]
    rules = ComponentMap((MapRule(pattern, "c", place="line 1"),))
    found = MapClaims(rules, [], files.locate)
    claimed = list(found.claims(paths))
    assert (path in claimed) if path else claimed == []
    assert found.unused() == ([] if path else list(rules.rules))


def test_rules_that_stand_nowhere_are_not_reported():
    assert claims_of([MapRule("nothing", "c")], ["a"])[1] == []


def test_names_and_layers_become_names_that_survive():
    rule = MapRule("a", "x,y", exclusive="l,m", interval=3.0)
    claim = MapClaims(ComponentMap((rule,)), []).claims(["a"])["a"]
    assert (claim.component, claim.exclusive, claim.interval) == ("x%2Cy", "l%2Cm", 3.0)


def test_what_no_expression_can_be_made_of_is_malformed():
    with pytest.raises(MalformedError, match="line 9: not a pattern"):
        MapClaims(ComponentMap((MapRule("a[z-a]*", "c", place="line 9"),)), [])
