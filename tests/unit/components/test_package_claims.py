"""Claims of package databases."""

import pytest

from ostrata.components.package_claims import claim_packages, component_of
from ostrata.components.package_claims import owners as owners_of
from ostrata.model.package import Package


def package(name, *paths, **more):
    known = {"version": "1-1", "arch": "noarch", "source": name, **more}
    return Package(name, paths=paths, **known)


def owners(databases, **options):
    return {path: claim.component for path, claim in claim_packages(databases, **options).owned.items()}


def test_a_package_that_owns_everything_leaves_the_others_theirs():
    everything = package("all", *(f"usr/{number}" for number in range(100)))
    small = [package(f"p{number}", f"usr/{number}") for number in range(0, 100, 2)]
    found = owners({"rpm": [everything, *small]})
    assert found == owners({"rpm": [*small[::-1], everything]})
    assert found["usr/0"] == "p0"
    assert found["usr/1"] == "all"
    assert list(found.values()).count("all") == 50


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (package("a", "usr/x"), package("b", "usr/x")),
        (package("a", "usr/x", source="s1", version="1"), package("a", "usr/x", source="s2", version="2")),
        (package("a", "usr/x", source="s1", arch="arm"), package("a", "usr/x", source="s2", arch="x86")),
    ],
)
def test_of_two_that_own_one_path_the_first_counts_in_any_order(one, other):
    assert owners({"rpm": [one, other]}) == owners({"rpm": [other, one]}) == {"usr/x": component_of(one)}


def test_of_two_databases_the_one_that_comes_first_by_name_counts_between_equals():
    claims = claim_packages({"rpm": [package("a", "usr/x")], "dpkg": [package("a", "usr/x")]})
    assert claims.owned["usr/x"].why == "the dpkg package a 1-1 lists it"


def test_a_path_is_brought_by_the_package_whose_claim_counts():
    core = package("kernel-core", "usr/a", "usr/ghost", source="kernel", ghosts=frozenset(["usr/ghost"]))
    modules = package("kernel-modules", "usr/a", "usr/b", "usr/d", source="kernel")
    databases = {"rpm": [core], "dpkg": [modules]}
    found = owners_of(databases, {"usr/a", "usr/b", "usr/c", "usr/ghost"})
    assert found == {"usr/a": core, "usr/b": modules}
    assert {path: component_of(owner) for path, owner in found.items()} == {
        path: claim.component for path, claim in claim_packages(databases).owned.items() if path in found
    }
    assert owners_of(databases, ()) == {}


def test_a_path_that_one_lists_and_another_brings_belongs_to_the_latter():
    ghostly = package("a", "var/x", ghosts=frozenset(["var/x"]))
    claims = claim_packages({"rpm": [ghostly, package("b", "var/x", "var/y")]})
    assert claims.owned["var/x"].component == "b"
    assert claims.ghosts["var/x"].component == "a"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("a,b", "a%2Cb"),
        ("a\nb", "a%0Ab"),
        ("", "binary"),
        ("\udcff", "%FF"),
        (" a ", "%20a%20"),
    ],
)
def test_any_source_has_a_name_that_survives(source, name):
    assert component_of(package("binary", source=source)) == name


def test_a_package_without_any_name_has_a_component():
    assert component_of(package("")) == "unnamed"


def test_a_name_of_4_kib_is_cut_and_tells_from_others():
    long, longer = (component_of(package("p", source="x" * size)) for size in (4096, 4097))
    assert len(long) == len(longer) == 200
    assert long != longer


def test_hostile_names_are_escaped_for_people():
    claims = claim_packages({"rpm": [package("\x1b[31m", "usr/x", version="1\n2")]})
    assert claims.owned["usr/x"].why == "the rpm package \\x1b[31m 1\\n2 lists it"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("var/lib/dpkg/info/bash.list", "bash"),
        ("usr/lib/sysimage/dpkg/info/libc6:amd64.md5sums", "libc6"),
        ("var/lib/dpkg/info/g++.postinst", "g++"),
        ("var/lib/dpkg/status.d/bash", "bash"),
        ("var/lib/dpkg/status.d/bash.md5sums", "bash"),
        ("var/lib/pacman/local/bash-5.2-1/files", "bash"),
        ("usr/lib/sysimage/lib/pacman/local/gtk-doc-1:1.33-2/mtree", "gtk-doc"),
        ("var/lib/dpkg/info/bash", None),
        ("var/lib/dpkg/info/sub/bash.list", None),
        ("var/lib/dpkg/status", None),
        ("var/lib/pacman/local/bash-5.2-1/desc", None),
        ("var/lib/pacman/local/bash/files", None),
    ],
)
def test_files_of_a_database_that_tell_of_one_package_name_it(path, name):
    packages = [package(each) for each in ("bash", "libc6", "g++", "gtk-doc", "gtk")]
    found = claim_packages({"dpkg": packages}).database(path)
    assert (found.name if found else None) == name
