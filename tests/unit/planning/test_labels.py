"""Labels from templates."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostrata.model.package import Package
from ostrata.planning.labels import CommitLine, Facts, Filler, next_version, package_versions, split_version

MOMENT = datetime(2024, 5, 7, 1, 2, 3, 999, tzinfo=UTC)


def package(name: str, version: str) -> Package:
    return Package(name, version, "x", name, ())


def fill(template: str, **facts) -> str:
    return Filler(Facts(MOMENT, **facts)).fill(template)


def test_date_and_timestamp_are_rechunks():
    assert fill("<date> <timestamp>") == "240507 2024-05-07T01:02:03Z"


def test_versions_of_packages_have_no_epoch():
    packages = [package("a", "1:2.3-4.fc40"), package("b", "5"), package("a", "9-9")]
    assert fill("<version:a>|<relver:a>|<version:b>|<relver:b>", packages=packages) == "2.3|2.3-4.fc40|5|5"


@pytest.mark.parametrize(
    ("version", "expected"),
    [("2:1.0-3", ("1.0", "1.0-3")), ("1.2-r0", ("1.2", "1.2-r0")), ("1", ("1", "1")), ("1-2-3", ("1-2", "1-2-3")),
     ("", ("", "")), ("-1", ("-1", "-1"))],
)  # fmt: skip
def test_a_version_ends_before_its_last_dash(version, expected):
    assert split_version(version) == expected


def test_known_values_are_filled_in_and_others_stay():
    filler = Filler(Facts(MOMENT, version="41", pretty="P"))
    assert filler.fill("<version> <pretty> <previous> <version:none> <b>x</b>") == (
        "41 P <previous> <version:none> <b>x</b>"
    )
    assert filler.unknown == {"<previous>", "<version:none>", "<b>"}


def test_values_are_never_read_as_templates():
    facts = {
        "version": "<previous>",
        "previous": "<commits> $(reboot) `id`",
        "packages": [package("p", "<date>-1")],
        "commits": [CommitLine("<full>", "<subject>", "<short><date>")],
    }
    assert fill("<version>|<previous>|<version:p>|<commits>", **facts) == (
        "<previous>|<commits> $(reboot) `id`|<date>|- **<full>** <short><date>\n"
    )


def test_the_changelogs_own_tags_are_filled_in_once():
    assert fill("<changelog>", changelog="v<version> <changelog>.", version="<date>") == "v<date> ."


def test_commits_are_lines_and_none_is_a_dash():
    commits = [CommitLine("abc", "abcdef", "Fix <x>"), CommitLine("def", "def0", "Add")]
    assert fill("<commits>", commits=commits) == "- **abc** Fix <x>\n- **def** Add\n"
    assert fill("<commits>") == "-\n"


def test_packages_that_came_changed_and_went_are_lines():
    packages = [package("new", "1-1"), package("up", "1:2-1"), package("rel", "3-2"), package("same", "1-1")]
    before = {"up": "1-9", "rel": "3-1", "same": "1-1", "gone": "4-4"}
    assert fill("<pkgupd>", packages=packages, previous_versions=before) == (
        " - **new**: x → 1\n - **rel**: 3-1 → 3-2\n - **up**: 1 → 2\n - **gone**: 4 → x\n"
    )


def test_without_previous_versions_nothing_is_said_to_be_new():
    assert fill("<pkgupd>", packages=[package("a", "1")]) == "-\n"


def test_lines_can_be_replaced():
    formats = {"commits.commit": "<hash>;", "commits.none": "none"}
    from ostrata.planning.labels import DEFAULT_FORMATS

    commits = [CommitLine("a", "b", "c")]
    assert fill("<commits>", commits=commits, formats={**DEFAULT_FORMATS, **formats}) == "b;"
    assert fill("<commits>", formats={**DEFAULT_FORMATS, **formats}) == "none"


def test_of_several_packages_of_a_name_the_first_counts():
    assert package_versions([package("a", "1:1-1"), package("a", "2-2")]) == {"a": "1-1"}


@pytest.mark.parametrize(
    ("previous", "taken", "expected"),
    [
        (None, (), "41"),
        ("40", (), "41"),
        ("41", (), "41.1"),
        ("41.1", (), "41.2"),
        ("41.9", (), "41.10"),
        ("411", (), "41"),
        ("41.x", (), "41"),
        ("40", ("41", "41.3"), "41.4"),
    ],
)
def test_a_version_that_exists_gets_the_next_number(previous, taken, expected):
    assert next_version("41", previous, taken) == expected


@given(st.text(max_size=5), st.none() | st.text(max_size=8), st.lists(st.text(max_size=8)))
def test_the_next_version_is_always_new(wanted, previous, taken):
    assert next_version(wanted, previous, taken) not in {previous, *taken}


TAGS = {"<version>": "version", "<previous>": "previous", "<pretty>": "pretty", "<imginfo>": "image_info"}
HOSTILE = st.text(max_size=8) | st.sampled_from(["<version>", "<previous>", "<commits>", "\\1", "\\g<0>", "%s", "<"])


@given(
    st.fixed_dictionaries(dict.fromkeys(TAGS.values(), HOSTILE)),
    st.lists(st.sampled_from([*TAGS, "text", " ", "<b", "&lt;", "\n"])),
)
def test_a_template_becomes_its_pieces_whatever_their_values_are(facts, pieces):
    expected = [facts[TAGS[piece]] if piece in TAGS else piece for piece in pieces]
    assert fill("".join(pieces), **facts) == "".join(expected)
