"""Every path claimed once, by the strongest rule that has something to say."""

import hashlib
from dataclasses import dataclass
from datetime import date

from hypothesis import given, settings
from hypothesis import strategies as st

from ostrata.components.claim import RULES
from ostrata.components.claims import claim_paths
from ostrata.components.components import form_components
from ostrata.components.unclaimed import BIG_FILE
from ostrata.model.component import Component
from ostrata.model.component_map import ComponentMap, MapRule
from ostrata.model.package import Package
from ostrata.model.tree import Attributes, Directory, RegularFile, Tree
from sources import Link, MemorySource


def package(name, *paths, source=None, version="1-1", **more):
    return Package(name, version, "noarch", source or name, paths, **more)


def rules_of(files, packages=(), rules=(), **options):
    """Path -> (component, rule)."""
    databases = {"rpm": list(packages)} if packages else {}
    claims = claim_paths(MemorySource(files), databases, ComponentMap(tuple(rules)), **options)
    assert list(claims.by_path) == list(files)
    return {path: (claim.component, claim.rule) for path, claim in claims.by_path.items()}


def test_a_path_belongs_to_the_source_of_the_package_that_lists_it():
    files = {"usr/bin/a": b"a", "usr/bin/link": Link("a")}
    owner = package("a-tools", "usr/bin", *files, source="a")
    assert rules_of(files, [owner]) == dict.fromkeys(files, ("a", "package"))
    assert rules_of(files, [owner], by_package=True) == dict.fromkeys(files, ("a-tools", "package"))


def test_a_path_of_two_packages_belongs_to_the_one_that_lists_fewer():
    files = {"usr/x": b"x", "usr/y": b"y", "usr/z": b"z"}
    everything = package("all", *files)
    small = package("small", "usr/x")
    assert rules_of(files, [everything, small]) == {
        "usr/x": ("small", "package"),
        "usr/y": ("all", "package"),
        "usr/z": ("all", "package"),
    }
    assert rules_of(files, [small, everything]) == rules_of(files, [everything, small])


def test_of_two_packages_that_list_as_many_the_first_by_name_counts():
    one, other = package("b", "usr/x"), package("a", "usr/x")
    assert rules_of({"usr/x": b""}, [one, other])["usr/x"] == ("a", "package")
    assert rules_of({"usr/x": b""}, [other, one])["usr/x"] == ("a", "package")


def test_a_map_counts_more_than_a_package():
    rule = MapRule("usr/x", "mine")
    assert rules_of({"usr/x": b"", "usr/y": b""}, [package("p", "usr/x", "usr/y")], [rule]) == {
        "usr/x": ("mine", "map"),
        "usr/y": ("p", "package"),
    }


def test_what_every_build_writes_is_apart_even_where_a_package_lists_it_without_content():
    files = {
        "usr/lib/modules/6.1/initramfs.img": b"i",
        "boot/initrd.img-6.1": b"i2",
        "usr/share/rpm/rpmdb.sqlite": b"r",
        "usr/lib/sysimage/rpm/rpmdb.sqlite": b"r",
        "usr/etc/ld.so.cache": b"l",
        "usr/share/icons/hicolor/icon-theme.cache": b"c",
        "usr/share/glib-2.0/schemas/gschemas.compiled": b"g",
        "var/lib/dpkg/status": b"d",
    }
    ghosts = package("p", *files, ghosts=frozenset(files))
    found = rules_of(files, [ghosts])
    assert {rule for _, rule in found.values()} == {"volatile"}
    assert [component for component, _ in found.values()] == [
        "initramfs",
        "initramfs",
        "package database",
        "package database",
        "ld.so.cache",
        "caches",
        "caches",
        "package database",
    ]


def test_a_package_that_brings_such_a_file_keeps_it():
    path = "usr/lib/modules/6.1/initramfs.img"
    assert rules_of({path: b""}, [package("kernel", path)])[path] == ("kernel", "package")


def test_files_of_a_database_that_tell_of_one_package_are_its():
    files = {
        "var/lib/dpkg/info/a.list": b"",
        "var/lib/dpkg/info/b:amd64.md5sums": b"",
        "var/lib/dpkg/info/unknown.list": b"",
        "var/lib/dpkg/info/format": b"",
        "var/lib/pacman/local/b-1-1/mtree": b"",
        "var/lib/pacman/local/b-1-1/desc": b"",
    }
    found = rules_of(files, [package("a", source="src"), package("b")])
    assert list(found.values()) == [
        ("src", "database"),
        ("b", "database"),
        ("package database", "volatile"),
        ("package database", "volatile"),
        ("b", "database"),
        ("package database", "volatile"),
    ]


def test_a_ghost_that_is_not_volatile_is_its_packages():
    found = rules_of({"usr/lib/state": b""}, [package("p", "usr/lib/state", ghosts=frozenset(["usr/lib/state"]))])
    assert found["usr/lib/state"] == ("p", "ghost")


def test_a_moved_file_is_recognised_by_its_content():
    files = {"usr/lib/ostree-boot/vmlinuz-1": b"kernel", "usr/lib/ostree-boot/other": b"else", "usr/empty": b""}
    sha256, empty = hashlib.sha256(b"kernel").hexdigest(), hashlib.md5(b"").hexdigest()
    kernel = package(
        "kernel", "boot/vmlinuz", "boot/e", digests={"boot/vmlinuz": ("sha256", sha256), "boot/e": ("md5", empty)}
    )
    found = rules_of(files, [kernel])
    assert found["usr/lib/ostree-boot/vmlinuz-1"] == ("kernel", "moved")
    assert found["usr/empty"] == ("unclaimed", "unclaimed")
    assert found["usr/lib/ostree-boot/other"] == ("unclaimed", "unclaimed")


def test_a_file_that_is_in_its_place_proves_nothing_about_another():
    digest = ("sha256", hashlib.sha256(b"same").hexdigest())
    files = {"usr/bin/a": b"same", "usr/copy": b"same"}
    found = rules_of(files, [package("a", "usr/bin/a", digests={"usr/bin/a": digest})])
    assert found["usr/copy"] == ("unclaimed", "unclaimed")


def test_an_algorithm_that_nobody_has_is_passed_over():
    found = rules_of({"usr/x": b"x"}, [package("a", "usr/gone", digests={"usr/gone": ("sha9", "00")})])
    assert found["usr/x"] == ("unclaimed", "unclaimed")


def test_compiled_files_follow_what_they_come_from():
    files = {
        "usr/lib/py/m.py": b"1",
        "usr/lib/py/__pycache__/m.cpython-311.pyc": b"2",
        "usr/lib/py/__pycache__/m.cpython-311.opt-1.pyc": b"3",
        "usr/lib/py/n.py": b"4",
        "usr/lib/py/n.pyc": b"5",
        "usr/lib/py/orphan.pyc": b"6",
    }
    found = rules_of(files, [package("m", "usr/lib/py/m.py"), package("n", "usr/lib/py/n.py")])
    assert [component for component, _ in found.values()] == ["m", "m", "m", "n", "n", "unclaimed"]
    assert found["usr/lib/py/n.pyc"][1] == "compiled"


def test_a_file_among_files_of_one_component_is_its():
    files = {"usr/lib/foo/a": b"1", "usr/lib/foo/new/deep": b"2", "usr/lib/stray": b"3", "var/lib/foo/a": b"4",
             "var/lib/foo/state": b"5"}  # fmt: skip
    found = rules_of(files, [package("foo", "usr/lib/foo/a", "var/lib/foo/a")])
    assert found["usr/lib/foo/new/deep"] == ("foo", "beside")
    assert found["usr/lib/stray"] == ("unclaimed", "unclaimed")
    assert found["var/lib/foo/state"] == ("unclaimed", "unclaimed")


def test_a_file_among_files_of_two_components_is_neithers():
    files = {"usr/lib/foo/a": b"1", "usr/lib/foo/b": b"2", "usr/lib/foo/x": b"3"}
    found = rules_of(files, [package("a", "usr/lib/foo/a"), package("b", "usr/lib/foo/b")])
    assert found["usr/lib/foo/x"] == ("unclaimed", "unclaimed")


def test_big_files_of_nobody_are_components_of_their_own():
    files = {"opt/big, one": bytes(BIG_FILE), "opt/less": bytes(BIG_FILE - 1)}
    found = rules_of(files, [package("p")])
    assert list(found.values()) == [("/opt/big%2C one", "big"), ("unclaimed", "unclaimed")]


def test_without_packages_directories_are_components():
    files = {"top": b"0", "usr/lib/firmware/a/b/c": b"1", "usr/lib/firmware/d": b"2", "usr/bin/e": b"3"}
    assert list(rules_of(files).values()) == [
        ("/", "directory"),
        ("/usr/lib/firmware", "directory"),
        ("/usr/lib/firmware", "directory"),
        ("/usr/bin", "directory"),
    ]


# Extended attributes


@dataclass
class Marked:
    """A source without content."""

    tree: Tree

    def open(self, path):
        raise AssertionError(path)


def marked(entries):
    """Paths to xattrs; those that end with a slash are directories."""
    found = {}
    for path, xattrs in entries.items():
        attributes = Attributes(0o755, xattrs=tuple(sorted(xattrs.items())))
        if path == "" or path.endswith("/"):
            found[path.rstrip("/")] = Directory(attributes)
        else:
            found[path] = RegularFile(attributes, 1, path)
    return Marked(Tree(found))


def test_the_nearest_attribute_names_the_component():
    source = marked(
        {
            "": {},
            "outside": {},
            "opt/": {b"user.component": b"apps\0"},
            "opt/a": {},
            "opt/b": {b"user.component": b"special"},
            "opt/in/": {},
            "opt/in/c": {b"user.update-interval": b"monthly"},
        }
    )
    claims = claim_paths(source, {"rpm": [package("p", "opt/a")]})
    found = {path: (claim.component, claim.rule, claim.interval) for path, claim in claims.by_path.items()}
    assert found == {
        "outside": ("unclaimed", "unclaimed", 7.0),
        "opt/a": ("apps", "attribute", 30.0),
        "opt/b": ("special", "attribute", None),
        "opt/in/c": ("apps", "attribute", 30.0),
    }
    assert claims.notes == ()


def test_attributes_that_say_nothing_or_too_much_are_noted():
    source = marked(
        {
            "": {},
            "a": {b"user.component": b" "},
            "b": {b"user.component": b"x", b"user.update-interval": b"often\n\x1b[31m"},
            "c": {b"user.component": b"y", b"user.update-interval": b"30"},
            "d": {b"user.component": b"y", b"user.update-interval": b"7"},
            "e": {b"user.update-interval": b"7"},
        }
    )
    claims = claim_paths(source, {})
    assert claims.by_path["d"].interval == 7.0
    assert len(claims.notes) == 4
    assert not any("\x1b" in note or "\n" in note for note in claims.notes)


# Components


def components_of(files, packages=(), **options):
    source = MemorySource(files)
    databases = {"rpm": list(packages)}
    rules = ComponentMap(tuple(options.pop("rules", ())))
    claims = claim_paths(source, databases, rules)
    objects = {path: source.tree.entries[path].content for path in claims.by_path}
    return form_components(claims, source.tree.entries, objects, databases, **options)


def test_twins_are_one_object_in_the_component_that_comes_first_by_name():
    files = {"usr/x/a": b"same", "usr/y/b": b"same", "usr/y/c": b"other", "usr/z": b"same"}
    found = components_of(files, [package("zz", "usr/x/a"), package("aa", "usr/y/b", "usr/y/c")])
    assert [(component.name, component.paths, component.size) for component in found.components] == [
        ("aa", ("usr/x/a", "usr/y/b", "usr/y/c", "usr/z"), 9)
    ]


def test_the_stronger_claim_on_one_of_its_paths_has_an_object():
    files = {"usr/x": b"same", "usr/y": b"same"}
    rules = [MapRule("usr/x", "zz")]
    found = components_of(files, [package("aa", "usr/x", "usr/y")], rules=rules)
    assert [component.name for component in found.components] == ["zz"]


def test_updates_are_those_of_all_packages_of_the_source_or_their_builds():
    day = date(2024, 5, 17)
    packages = [
        package("a1", "usr/a", source="a", changed=(date(2024, 1, 1),), built=day),
        package("a2", source="a", changed=(date(2023, 1, 1),)),
        package("b", "usr/b", built=day),
    ]
    found = components_of({"usr/a": b"a", "usr/b": b"b"}, packages)
    assert [component.updates for component in found.components] == [(date(2023, 1, 1), date(2024, 1, 1)), (day,)]


def test_what_a_map_takes_from_packages_has_their_dates():
    packages = [package("a", "usr/a", changed=(date(2024, 1, 1),))]
    rules = [MapRule("usr/a", "mine", interval=3.0, exclusive="alone")]
    mine = components_of({"usr/a": b"a"}, packages, rules=rules).components[0]
    assert (mine.name, mine.updates, mine.interval, mine.exclusive) == ("mine", (date(2024, 1, 1),), 3.0, "alone")


def test_a_history_adds_dates_and_says_more_than_a_guessed_interval():
    files = {"usr/etc/ld.so.cache": b"l", "usr/a": b"a", "boot/initrd.img": b"i"}
    history = [
        Component("ld.so.cache", "x", 1, 1, updates=(date(2024, 2, 2),)),
        Component("a", "x", 1, 1, updates=(date(2024, 2, 2),)),
        Component("initramfs", "x", 1, 1),
    ]
    found = components_of(files, [package("a", "usr/a", changed=(date(2024, 1, 1),))], history=history)
    by_name = {component.name: component for component in found.components}
    assert by_name["a"].updates == (date(2024, 1, 1), date(2024, 2, 2))
    assert by_name["ld.so.cache"].interval is None
    assert by_name["initramfs"].interval == 1.0


def test_coverage_counts_each_object_once():
    coverage = components_of(
        {"usr/a": b"aaa", "usr/b": b"aaa", "usr/c": b"c"}, [package("a", "usr/a", "usr/b")]
    ).coverage
    assert (coverage.paths, coverage.all_paths, coverage.bytes, coverage.all_bytes) == (2, 3, 3, 4)
    assert coverage.percent == 75.0


NAMES = st.sampled_from(["usr", "lib", "etc", "var", "__pycache__", "a.py", "a.cpython-311.pyc", "x", "ž\n", "rpm"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


@st.composite
def claimed_trees(draw):
    files = {}
    for path in draw(st.lists(PATHS, max_size=12, unique=True)):
        if not any(other.startswith(path + "/") or path.startswith(other + "/") for other in files):
            files[path] = draw(st.sampled_from([b"", b"1", b"2", b"a longer one"]))
    listed = st.lists(PATHS, max_size=6, unique=True)
    packages = [
        package(name, *draw(listed), source=draw(st.sampled_from(["", "s", "a,b", "x" * 4096])))
        for name in draw(st.lists(st.sampled_from(["p", "q", "r s", "\n"]), unique=True))
    ]
    patterns = st.lists(NAMES | st.sampled_from(["*", "**", "?"]), min_size=1, max_size=3).map("/".join)
    rules = [MapRule(pattern, draw(st.sampled_from(["m", "n,o"]))) for pattern in draw(st.lists(patterns, max_size=3))]
    return files, packages, rules


@given(claimed_trees(), st.booleans())
@settings(max_examples=200)
def test_every_path_is_in_exactly_one_component_and_no_object_is_cut(tree, by_package):
    files, packages, rules = tree
    source = MemorySource(files)
    databases = {"rpm": packages}
    claims = claim_paths(source, databases, ComponentMap(tuple(rules)), by_package=by_package)
    assert all(claim.rule in RULES for claim in claims.by_path.values())
    objects = {path: source.tree.entries[path].content for path in files}
    found = form_components(claims, source.tree.entries, objects, databases, by_package=by_package)
    paths = [path for component in found.components for path in component.paths]
    assert sorted(paths) == sorted(files)
    component_of = {path: component.name for component in found.components for path in component.paths}
    for path, checksum in objects.items():
        assert component_of[path] == found.claims[checksum].component
    turned = {"rpm": packages[::-1]}
    again = claim_paths(source, turned, ComponentMap(tuple(rules)), by_package=by_package)
    assert (
        form_components(again, source.tree.entries, objects, turned, by_package=by_package).components
        == found.components
    )
