"""Map files: YAML, JSON, TSV, and rechunk's meta.yml."""

import json
from dataclasses import replace

import pytest

from ostrata.codecs import component_map
from ostrata.errors import LimitError, MalformedError, OstrataError, UnsupportedError
from ostrata.model.component_map import MapRule

YAML = """\
/usr/lib/firmware: firmware
"usr/share/**/*.pak": {component: game-data, interval: quarterly}
/opt/model.bin: {component: model, layer: true, interval: 3.5}
/opt/other.bin: {component: other, layer: "big ones"}
package:kernel*: kernel
"""
RULES = (
    MapRule("usr/lib/firmware", "firmware", place="line 1"),
    MapRule("usr/share/**/*.pak", "game-data", interval=91.0, place="line 2"),
    MapRule("opt/model.bin", "model", interval=3.5, exclusive="model", place="line 3"),
    MapRule("opt/other.bin", "other", exclusive="big ones", place="line 4"),
    MapRule("kernel*", "kernel", "package", place="line 5"),
)


def test_yaml_rules_keep_their_order():
    assert component_map.decode(YAML.encode(), name="map.yml").rules == RULES


def test_json_says_the_same():
    text = (
        '{"/usr/lib/firmware": "firmware",\n'
        '"usr/share/**/*.pak": {"component": "game-data", "interval": "quarterly"},\n'
        '"/opt/model.bin": {"component": "model", "layer": true, "interval": 3.5},\n'
        '"/opt/other.bin": {"component": "other", "layer": "big ones"},\n'
        '"package:kernel*": "kernel"}'
    )
    rules = component_map.decode(text.encode(), name="map.json").rules
    assert [replace(rule, place=rule.place.replace("rule", "line")) for rule in rules] == list(RULES)
    assert rules[4].place == "rule 5"


def test_tsv_says_the_same():
    text = (
        "/usr/lib/firmware\tfirmware\n"
        "usr/share/**/*.pak\tgame-data\tquarterly\n"
        "/opt/model.bin\tmodel\t3.5\tmodel\r\n"
        "/opt/other.bin\tother\t\tbig ones\n"
        "package:kernel*\tkernel\n"
        "\n# a remark\n"
    )
    assert component_map.decode(text.encode(), name="map.tsv").rules == RULES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("just words", "expected a mapping of patterns to components, found a text"),
        ("- a\n- b", "found a list"),
        ("", "found nothing"),
        ("/a: ''", "line 1: '/a': expected the name of a component, found an empty one"),
        ("/a: [b]", "expected the name of a component or a mapping, found a list"),
        ("/a: {interval: 3}", "the key 'component' is missing"),
        ("/a: {component: b, colour: red}", "expected the keys component, interval, layer, found 'colour'"),
        ("/a: {component: b, interval: often}", "found 'often'"),
        ("/a: {component: b, interval: 0}", "found '0'"),
        ("/a: {component: b, interval: nan}", "found 'nan'"),
        ("/a: {component: b, layer: ''}", "expected the name of a layer, found an empty one"),
        ("/a: {component: [b]}", "expected a text as 'component', found a list"),
        ("/: b", "expected a pattern of 1 to"),
        ("/a: b\n/a: c", "line 2: the key '/a' appears twice"),
        ("a: [b", "not YAML"),
    ],
)
def test_a_broken_map_is_malformed_and_says_where(text, message):
    with pytest.raises(MalformedError, match="component map") as caught:
        component_map.decode(text.encode(), name="map.yaml")
    assert message in str(caught.value)


@pytest.mark.parametrize("line", ["/a", "/a\tb\tc\td\te", "/a\tb\tc", "/a\t", "\tb"])
def test_a_broken_line_of_tsv_is_malformed(line):
    with pytest.raises(MalformedError, match="line 2"):
        component_map.decode(f"/x\ty\n{line}\n".encode(), name="map.tsv")


def test_json_is_read_strictly():
    with pytest.raises(MalformedError, match="not JSON"):
        component_map.decode(b"{a: b}", name="map.json")


def test_what_json_writes_and_yaml_does_not_read_is_read():
    pattern = "usr/share/\U0001f600/" + "x" * 2000
    text = json.dumps({f"/{pattern}": {"component": "\U0001f600", "layer": None, "interval": 1}}, indent="\t")
    rule = MapRule(pattern, "\U0001f600", interval=1.0, place="rule 1")
    assert component_map.decode(text.encode(), name="map.json").rules == (rule,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "expected a mapping of patterns to components, found a list"),
        ("3", "expected a mapping of patterns to components, found a text"),
        ('{"/a": null}', "rule 1: '/a': expected the name of a component, found an empty one"),
        ('{"/b": "b", "/a": []}', "rule 2: '/a': expected the name of a component or a mapping, found a list"),
        ('{"/a": {"component": {"a": {}}}}', "expected a text as 'component', found a mapping"),
        ('{"/a": {"component": ["a"]}}', "expected a text as 'component', found a list"),
        ('{"/a": {"component": null}}', "the key 'component' is missing"),
        ('{"/a": {"component": "a", "interval": true}}', "found 'true'"),
        ('{"/a": "b", "/a": "c"}', "/a"),
        ('{"/a": {"component": "b", "colour": "red"}}', "found 'colour'"),
        ('{"meta": {"a": {"pakages": ["x"]}}}', "line 1"),
    ],
)
def test_broken_json_is_malformed_and_says_where(text, message):
    with pytest.raises(MalformedError, match="component map") as caught:
        component_map.decode(text.encode(), name="map.json")
    assert message in str(caught.value)


def test_json_of_rechunks_form_is_understood():
    text = '{"version": 1, "meta": {"mesa": {"packages": ["mesa*"], "dedicated": true}}}'
    first, own = component_map.decode(text.encode(), name="meta.json").rules[::-1]
    assert (first.pattern, first.syntax, first.exclusive) == ("mesa*", "package", "mesa")
    assert own.pattern == "mesa"


@pytest.mark.parametrize("nothing", ["null", "~", ""])
def test_nothing_is_as_if_the_key_were_not_there(nothing):
    text = f"/a:\n  component: b\n  interval: {nothing}\n  layer: {nothing}\n"
    assert component_map.decode(text.encode()).rules == (MapRule("a", "b", place="line 1"),)
    with pytest.raises(MalformedError, match="expected the name of a component"):
        component_map.decode(f"/a: {nothing}\n".encode())


@pytest.mark.parametrize(("word", "layer"), [("yes", "b"), ("True", "b"), ("no", None), ("'yes please'", "yes please")])
def test_a_layer_is_named_after_its_component_or_by_a_name(word, layer):
    assert component_map.decode(f"/a: {{component: b, layer: {word}}}\n".encode()).rules[0].exclusive == layer


def test_a_mark_at_the_start_is_no_part_of_a_pattern():
    for name, text in (("map.tsv", "/a\tb\t\ttrue\n"), ("map.yml", "/a: {component: b, layer: true}\n")):
        data = text.encode("utf-8-sig")
        assert component_map.decode(data, name=name).rules == (MapRule("a", "b", exclusive="b", place="line 1"),)


def test_too_many_rules_are_refused(monkeypatch):
    monkeypatch.setattr(component_map, "MAX_RULES", 2)
    with pytest.raises(LimitError):
        component_map.decode(YAML.encode())


# rechunk


META = """\
version: 1
distro: fedora
max_layers: 69
meta:
  kernel:
    packages:
      - kernel*
    files:
      - /usr/lib/modules/*vmlinuz*
  # a remark
  mesa:
    packages: [mesa*]
    dedicated: True
  empty:
    files:
    dedicated: False
"""


def test_rechunks_groups_become_rules_whose_first_one_counts():
    rules = component_map.decode(META.encode(), name="meta.yml").rules
    assert rules[::-1] == (
        MapRule("kernel*", "kernel", "package", place="line 7"),
        MapRule("usr/lib/modules/*vmlinuz*", "kernel", "fnmatch", place="line 9"),
        MapRule("kernel", "kernel", "package"),
        MapRule("mesa*", "mesa", "package", exclusive="mesa", place="line 12"),
        MapRule("mesa", "mesa", "package", exclusive="mesa"),
        MapRule("empty", "empty", "package"),
    )


@pytest.mark.parametrize(
    "text",
    [
        "meta: {a: [x]}",
        "meta: {a: {packages: x}}",
        "meta: {a: {packages: [[x]]}}",
        "meta: {a: {pakages: [x]}}",
        "meta: {'': {packages: [x]}}",
        "version: 2\nmeta: {}",
        "version: [1]\nmeta: {}",
    ],
)
def test_a_broken_meta_yml_is_refused(text):
    with pytest.raises((MalformedError, UnsupportedError)) as caught:
        component_map.decode(text.encode())
    assert isinstance(caught.value, OstrataError)


def test_the_word_meta_alone_is_a_pattern():
    assert component_map.decode(b"meta: x").rules == (MapRule("meta", "x", place="line 1"),)
