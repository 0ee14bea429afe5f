"""What of a container's tree can be in a commit; all else is told."""

from __future__ import annotations

import pytest

from ostrata.model.tree import Directory, Tree
from ostrata.pipeline.import_fitting import FittingTree, fit
from ostrata.sources.image_layer import index_layer
from ostrata.sources.image_union import union
from plain_images import Change, directory, layer_tar, symlink


def fitted(*changes: Change, base: Tree | None = None) -> FittingTree:
    return fit(union([index_layer([layer_tar(changes)])]), base)


def left_out(*changes: Change, base: Tree | None = None) -> dict[str, str]:
    found = fitted(*changes, base=base)
    assert len({each.path for each in found.left_out}) == len(found.left_out)
    return {each.path: each.reason for each in found.left_out}


def test_what_a_commit_can_hold_stays() -> None:
    found = fitted(
        directory("usr"), Change("usr/ž \n"), symlink("bin", "usr/bin"), Change("opt/x"), Change("var/lib/y")
    )

    assert sorted(found.entries) == ["", "bin", "opt", "opt/x", "usr", "usr/ž \n", "var", "var/lib", "var/lib/y"]
    assert found.left_out == ()


def test_etc_is_moved_to_usr_etc() -> None:
    found = fitted(directory("etc", 0o750, uid=7), Change("etc/a b/passwd"), Change("etcetera"))

    assert sorted(found.entries) == ["", "etcetera", "usr", "usr/etc", "usr/etc/a b", "usr/etc/a b/passwd"]
    assert (found.entries["usr/etc"].attributes.mode, found.entries["usr/etc"].attributes.uid) == (0o750, 7)
    assert found.left_out == ()


def test_usr_etc_and_etc_become_one_and_etc_wins() -> None:
    changes = (
        *(Change("usr/etc/one"), Change("usr/etc/both", data=b"1"), Change("usr/etc/file/below")),
        *(directory("usr/etc/d", 0o700), Change("usr/etc/d/x")),
        *(Change("etc/two"), Change("etc/both", data=b"22"), Change("etc/file"), directory("etc/d", 0o711)),
    )
    found = fitted(*changes)

    names = {path.removeprefix("usr/etc/") for path in found.entries if path.startswith("usr/etc/")}
    assert names == {"one", "two", "both", "file", "d", "d/x"}
    assert found.entries["usr/etc/both"].size == 2  # type: ignore[union-attr]
    assert found.entries["usr/etc/d"].attributes.mode == 0o711
    reason = "/etc has one too, which is kept"
    assert left_out(*changes) == dict.fromkeys(("usr/etc/both", "usr/etc/file", "usr/etc/file/below"), reason)


@pytest.mark.parametrize("odd", [symlink("usr/etc", "../etc"), Change("usr/etc")])
def test_what_is_no_directory_in_the_place_of_usr_etc_is_told(odd: Change) -> None:
    assert left_out(odd, Change("etc/passwd")) == {"usr/etc": "/etc has one too, which is kept"}
    assert isinstance(fitted(odd, Change("etc/passwd")).entries["usr/etc"], Directory)


@pytest.mark.parametrize("odd", [symlink("etc", "elsewhere"), Change("etc"), symlink("usr", "system"), Change("usr")])
def test_nothing_is_lost_where_etc_cannot_be_moved(odd: Change) -> None:
    changes = [odd] if odd.path == "etc" else [odd, Change("etc/passwd")]

    assert sorted(fitted(*changes).entries) == sorted({"", "etc", *(change.path for change in changes)})
    assert left_out(*changes) == {}


@pytest.mark.parametrize("top", ["dev", "proc", "run", "sys", "tmp"])
def test_what_lies_where_runtimes_mount_something_goes_and_the_directory_stays(top: str) -> None:
    changes = [directory(top, 0o1777), Change(f"{top}/x"), Change(f"{top}/d/y"), Change(f"{top}x")]

    assert sorted(fitted(*changes).entries) == ["", top, f"{top}x"]
    assert left_out(*changes) == dict.fromkeys(
        (f"{top}/x", f"{top}/d", f"{top}/d/y"), f"runtimes mount something on /{top}"
    )


def test_there_what_the_base_has_stays_as_layers_made_it() -> None:
    base = union([index_layer([layer_tar([Change("run/kept"), directory("run/d")])])]).tree
    changes = [Change("run/kept", data=b"changed"), Change("run/d/new"), Change("run/new")]
    found = fitted(*changes, base=base)

    assert sorted(found.entries) == ["", "run", "run/d", "run/kept"]
    assert found.entries["run/kept"].size == 7  # type: ignore[union-attr]
    assert sorted(left_out(*changes, base=base)) == ["run/d/new", "run/new"]


def test_devices_and_fifos_go() -> None:
    changes = [
        Change("usr/null", "char", device=(1, 3)),
        Change("usr/disk", "block", device=(8, 0)),
        Change("etc/pipe", "fifo"),
    ]
    assert left_out(*changes) == {
        "usr/null": "a character device: a commit has none",
        "usr/disk": "a block device: a commit has none",
        "etc/pipe": "a FIFO: a commit has none",
    }
    assert sorted(fitted(*changes).entries) == ["", "usr", "usr/etc"]


def test_names_and_targets_that_are_not_utf8_go_with_all_that_is_below() -> None:
    changes = [
        Change("usr/\udcff/below"),
        Change("usr/a\udce4"),
        symlink("usr/link", "to\udcff"),
        symlink("usr/ž", "ü"),
    ]

    reason = "its name is not UTF-8"
    assert left_out(*changes) == {
        "usr/\udcff": reason,
        "usr/\udcff/below": reason,
        "usr/a\udce4": reason,
        "usr/link": "its target 'to\\xff' is not UTF-8",
    }
    assert sorted(fitted(*changes).entries) == ["", "usr", "usr/ž"]


def test_extended_attributes_without_a_value_go_and_their_file_stays() -> None:
    xattrs = {"user.empty": b"", "user.full": b"1", "user.\x1bž": b""}
    found = fitted(Change("usr/a", xattrs=xattrs), directory("usr/d", xattrs={"user.empty": b""}))

    assert found.entries["usr/a"].attributes.xattrs == ((b"user.full", b"1"),)
    assert found.entries["usr/d"].attributes.xattrs == ()
    assert {each.path: each.reason for each in found.left_out} == {
        "usr/a": "extended attributes without a value: user.\\x1bž, user.empty",
        "usr/d": "extended attributes without a value: user.empty",
    }


@pytest.mark.parametrize("name", ["hostname", "resolv.conf"])
def test_what_builders_leave_behind_goes_when_it_is_empty(name: str) -> None:
    assert left_out(Change(f"etc/{name}")) == {f"etc/{name}": "empty: builders leave it behind"}
    assert left_out(Change(f"etc/{name}", data=b"x"), Change("etc/other"), Change(f"usr/{name}")) == {}
    assert f"usr/etc/{name}" in fitted(Change(f"etc/{name}", data=b"x")).entries


def test_the_place_of_the_repository_is_told_once() -> None:
    changes = [Change("sysroot/ostree/repo/objects/00/11.file"), Change("sysroot/ostree/x"), Change("sysroot/other")]

    assert left_out(*changes) == {
        "sysroot/ostree": "copies of repository objects, whose files a commit has by their paths: 6 entries"
    }
    assert sorted(fitted(*changes).entries) == ["", "sysroot", "sysroot/other"]
