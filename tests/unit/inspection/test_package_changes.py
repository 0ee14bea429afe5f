"""Packages before and after."""

from histories import HOSTILE
from ostrata.inspection.package_changes import PackageChange, compare_packages
from ostrata.model.package import Package


def _package(name, version="1", arch="x86_64", size=10):
    return Package(name, version, arch, name, (), size=size)


def test_packages_are_added_removed_and_updated():
    old = [_package("gone", size=3), _package("same"), _package("newer", "1")]
    new = [_package("newer", "2", size=14), _package("same"), _package("came", size=5)]
    changes = compare_packages(old, new)
    assert changes.added == (PackageChange("came", (), ("1",), 0, 5),)
    assert changes.removed == (PackageChange("gone", ("1",), (), 3, 0),)
    assert changes.updated == (PackageChange("newer", ("1",), ("2",), 10, 14),)
    assert changes.unchanged == 1
    assert changes


def test_equal_lists_have_no_change_whatever_their_order():
    packages = [_package(name) for name in HOSTILE]
    changes = compare_packages(packages, packages[::-1])
    assert not changes
    assert changes.unchanged == len(HOSTILE)


def test_a_name_that_is_installed_twice_changes_by_what_is_on_one_side_only():
    old = [_package("kernel", "1"), _package("kernel", "2"), _package("lib", "1", "i686"), _package("lib", "1")]
    new = [_package("kernel", "3"), _package("kernel", "2"), _package("lib", "2", "i686"), _package("lib", "2")]
    assert compare_packages(old, new).updated == (
        PackageChange("kernel", ("1",), ("3",), 20, 20),
        PackageChange("lib", ("1",), ("2",), 20, 20),
    )


def test_one_more_version_of_a_name_is_an_update_that_takes_nothing_away():
    changes = compare_packages([_package("kernel", "1")], [_package("kernel", "1"), _package("kernel", "2")])
    assert changes.updated == (PackageChange("kernel", (), ("2",), 10, 20),)


def test_another_architecture_is_an_update():
    assert compare_packages([_package("a", "1", "noarch")], [_package("a", "1")]).updated == (
        PackageChange("a", ("1",), ("1",), 10, 10),
    )


def test_sizes_that_nobody_tells_are_not_known():
    changes = compare_packages([_package("a", "1", size=None)], [_package("a", "2"), _package("b", size=None)])
    assert changes.updated[0].old_size is None
    assert changes.updated[0].new_size == 10
    assert (changes.added[0].old_size, changes.added[0].new_size) == (0, None)
