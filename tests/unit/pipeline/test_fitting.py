"""Steps that make a tree fit for a format: what each changes, and what it leaves alone."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from ostrata.errors import LimitError, UnsupportedError
from ostrata.model.tree import Attributes, Directory, Entry, RegularFile, SpecialFile, Symlink
from ostrata.pipeline import fitting_steps
from ostrata.pipeline.fitting import Change, Fitted, Step, TreeView, choose_steps, fit, in_walk_order
from ostrata.pipeline.fitting_steps import OSTREE_STEPS, PLAIN_STEPS

DIRECTORY = Directory(Attributes(0o755, mtime=5))
PRIVATE = Directory(Attributes(0o700, 1, 2))


def file(content: str = "1", size: int = 3) -> RegularFile:
    return RegularFile(Attributes(0o644), size, content)


def view(entries: dict[str, Entry], special: dict[str, SpecialFile] | None = None) -> TreeView:
    return TreeView({"": DIRECTORY, **entries}, special or {})


def paths(fitted: Fitted) -> list[str]:
    return sorted(path for path in fitted.view.entries if path)


def test_the_default_steps_are_those_that_the_format_demands() -> None:
    names = [step.name for step in choose_steps(OSTREE_STEPS)]
    assert names == ["drop-special", "drop-empty-xattrs", "etc-to-usr-etc", "empty-sysroot", "keep-var-out"]
    assert [step.name for step in choose_steps(PLAIN_STEPS)] == ["drop-sockets"]


def test_steps_are_added_and_left_out_by_name_and_stay_in_order() -> None:
    chosen = choose_steps(OSTREE_STEPS, added=["var-to-factory", "passwd-locks"], left_out=["drop-special"])
    names = [step.name for step in chosen]
    assert names.index("passwd-locks") < names.index("etc-to-usr-etc")
    assert names.index("var-to-factory") < names.index("keep-var-out")
    assert "drop-special" not in names


@pytest.mark.parametrize("given", [{"added": ["no such\nstep"]}, {"left_out": ["no such\nstep"]}])
def test_a_step_that_there_is_not_is_an_error_that_lists_those_there_are(given: dict[str, list[str]]) -> None:
    with pytest.raises(UnsupportedError, match=r"(?s)no step is called 'no such\\nstep'\nthere are: drop-special,"):
        choose_steps(OSTREE_STEPS, **given)


def test_only_steps_that_changed_something_are_told() -> None:
    fitted = fit(view({"a": file(), "etc": DIRECTORY, "etc/b": file()}), choose_steps(OSTREE_STEPS))
    assert [step.name for step in fitted.taken] == ["etc-to-usr-etc"]
    assert list(fitted.taken[0].changes) == [Change("etc", "moved to /usr/etc"), Change("etc/b", "moved to /usr/etc/b")]
    assert list(fitted.tree.entries) == ["", "a", "usr", "usr/etc", "usr/etc/b"]


def test_a_fit_tree_is_not_changed_by_any_default_step() -> None:
    entries: dict[str, Entry] = {"usr": DIRECTORY, "usr/etc": PRIVATE, "usr/etc/a": file(), "var": DIRECTORY}
    fitted = fit(view(entries), choose_steps(OSTREE_STEPS))
    assert fitted.taken == ()
    assert dict(fitted.tree.entries) == {"": DIRECTORY, **entries}


# The order


def test_the_tree_is_in_walk_order_whatever_the_order_was() -> None:
    entries: dict[str, Entry] = {
        "": DIRECTORY,
        "b": file(),
        "z": Symlink(Attributes(0o777), "b", "2"),
        "a": DIRECTORY,
        "a/x": file(),
        "a/b": DIRECTORY,
        "a/b/\udcff": file(),
        "a.b": DIRECTORY,
        "ž": file(),
    }
    shuffled = list(entries.items())
    random.Random(1).shuffle(shuffled)
    wanted = ["", "b", "z", "ž", "a", "a/x", "a/b", "a/b/\udcff", "a.b"]
    assert list(in_walk_order(dict(shuffled)).entries) == wanted


def test_a_directory_that_is_missing_is_made() -> None:
    made = in_walk_order({"a/b/c": file()})
    assert list(made.entries) == ["", "a", "a/b", "a/b/c"]
    assert made.entries["a"].attributes.mode == 0o755


# What a commit cannot hold


def test_devices_fifos_and_sockets_go() -> None:
    special = {path: SpecialFile(Attributes(0o600), kind) for path, kind in (("f", "FIFO"), ("s", "socket"))}
    fitted = fitting_steps.drop_special(view({"a": file()}, special))
    assert not fitted.view.special
    assert list(fitted.changes) == [Change("f", "dropped: a FIFO"), Change("s", "dropped: a socket")]
    assert list(fitting_steps.drop_sockets(view({}, special)).view.special) == ["f"]


def test_extended_attributes_without_a_value_go_and_the_others_stay() -> None:
    entry = RegularFile(Attributes(0o644, xattrs=((b"user.a", b""), (b"user.b", b"x")), mtime=7), 3, "1")
    fitted = fitting_steps.drop_empty_xattrs(view({"a": entry, "b": file()}))
    assert fitted.view.entries["a"].attributes == Attributes(0o644, xattrs=((b"user.b", b"x"),), mtime=7)
    assert list(fitted.changes) == [Change("a", "extended attributes without a value dropped: user.a")]


def test_names_and_targets_that_are_not_utf_8_go_with_all_that_is_in_them() -> None:
    entries: dict[str, Entry] = {
        "\udcff": DIRECTORY,
        "\udcff/a": file(),
        "link": Symlink(Attributes(0o777), "\udcfe", "1"),
        "ž": file(),
    }
    fitted = fitting_steps.drop_other_encodings(view(entries, {"\udcff/fifo": SpecialFile(Attributes(0o600), "FIFO")}))
    assert paths(fitted) == ["ž"]
    assert not fitted.view.special
    assert Change("link", "dropped: its target '\\xfe' is not UTF-8") in fitted.changes


# Configuration


def test_etc_is_merged_into_usr_etc_where_no_path_is_in_both() -> None:
    entries = {"etc": PRIVATE, "etc/a": file("a"), "etc/d": PRIVATE, "etc/d/x": file("x")}
    entries |= {"usr": DIRECTORY, "usr/etc": DIRECTORY, "usr/etc/b": file("b"), "usr/etc/d": DIRECTORY}
    fitted = fitting_steps.etc_to_usr_etc(view(entries))
    assert paths(fitted) == ["usr", "usr/etc", "usr/etc/a", "usr/etc/b", "usr/etc/d", "usr/etc/d/x"]
    assert fitted.view.entries["usr/etc"] == fitted.view.entries["usr/etc/d"] == PRIVATE


def test_an_empty_etc_beside_usr_etc_goes() -> None:
    fitted = fitting_steps.etc_to_usr_etc(view({"etc": PRIVATE, "usr/etc": DIRECTORY, "usr/etc/b": file("b")}))
    assert paths(fitted) == ["usr/etc", "usr/etc/b"]
    assert fitted.view.entries["usr/etc"] == DIRECTORY


CONFLICTS: list[tuple[Entry | None, Entry | None]] = [
    (file("a"), file("b")),
    (file("a"), DIRECTORY),
    (DIRECTORY, file("a")),
    (Symlink(Attributes(0o777), "x", "a"), Symlink(Attributes(0o777), "y", "b")),
    (None, file("a")),
    (file("a"), None),
]


@pytest.mark.parametrize(("ours", "theirs"), CONFLICTS)
def test_a_path_in_both_is_refused_unless_they_are_to_be_merged(ours: Entry | None, theirs: Entry | None) -> None:
    fifo = SpecialFile(Attributes(0o600), "FIFO")
    entries: dict[str, Entry] = {"etc": DIRECTORY, "usr/etc": DIRECTORY, "usr/etc/other": file("o")}
    special = {}
    for path, entry in (("etc/a\nb", ours), ("usr/etc/a\nb", theirs)):
        if entry is None:
            special[path] = fifo
        else:
            entries[path] = entry
            if isinstance(entry, Directory):
                entries[f"{path}/in"] = file("i")
    with pytest.raises(UnsupportedError, match=r"(?s)both have /usr/etc/a\\nb\n--fix merge-etc"):
        fitting_steps.etc_to_usr_etc(view(entries, special))
    merged = fitting_steps.merge_etc(view(entries, special))
    assert all(change.what == "dropped: /etc has one too, which is kept" for change in merged.changes)
    fitted = fitting_steps.etc_to_usr_etc(merged.view)
    assert fitted.view.entries.get("usr/etc/a\nb") == ours
    assert ("usr/etc/a\nb/in" in fitted.view.entries) == isinstance(ours, Directory)
    assert "usr/etc/other" in fitted.view.entries


def test_the_same_file_in_both_is_no_conflict() -> None:
    entries = {"etc": DIRECTORY, "etc/a": file("a"), "usr/etc": DIRECTORY, "usr/etc/a": file("a")}
    assert paths(fitting_steps.etc_to_usr_etc(view(entries))) == ["usr/etc", "usr/etc/a"]


def test_an_etc_that_is_no_directory_stays() -> None:
    entries: dict[str, Entry] = {"etc": Symlink(Attributes(0o777), "usr/etc", "1"), "usr/etc": DIRECTORY}
    assert fitting_steps.etc_to_usr_etc(view(entries)).changes == ()


# Directories of the machine


def test_sysroot_and_ostree_are_emptied_and_their_neighbours_are_not() -> None:
    entries = {"sysroot": PRIVATE, "sysroot/ostree": DIRECTORY, "sysroot/ostree/x": file(), "sysroots": DIRECTORY}
    entries |= {"sysroots/a": file(), "ostree": DIRECTORY, "ostree/b": file()}
    assert paths(fitting_steps.empty_sysroot(view(entries))) == ["ostree", "sysroot", "sysroots", "sysroots/a"]


def test_the_link_to_the_repository_stays() -> None:
    entries: dict[str, Entry] = {"ostree": Symlink(Attributes(0o777), "sysroot/ostree", "1")}
    assert fitting_steps.empty_sysroot(view(entries)).changes == []


def test_what_is_in_var_goes() -> None:
    fitted = fitting_steps.keep_var_out(
        view({"var": PRIVATE, "var/lib": DIRECTORY, "var/lib/a": file(), "various": file()})
    )
    assert paths(fitted) == ["var", "various"]


def test_what_is_in_var_can_become_the_factory_settings() -> None:
    entries = {"var": PRIVATE, "var/lib": PRIVATE, "var/lib/a": file("a"), "var/b": file("b"), "var/c": file("c")}
    entries |= {"usr/share/factory/var/lib": DIRECTORY, "usr/share/factory/var/b": file("old")}
    special = {"var/fifo": SpecialFile(Attributes(0o600), "FIFO")}
    fitted = fitting_steps.var_to_factory(view(entries, special))
    assert paths(fitted) == [
        "usr/share/factory/var/b",
        "usr/share/factory/var/c",
        "usr/share/factory/var/lib",
        "usr/share/factory/var/lib/a",
        "var",
    ]
    assert fitted.view.entries["usr/share/factory/var/b"] == file("old")
    assert not fitted.view.special
    assert Change("var/b", "dropped: /usr/share/factory/var/b is there already") in fitted.changes
    assert Change("var/fifo", "dropped: a FIFO") in fitted.changes
    assert Change("var/c", "moved to /usr/share/factory/var/c") in fitted.changes


def test_nothing_is_moved_below_a_file() -> None:
    entries = {"var": DIRECTORY, "var/lib": DIRECTORY, "var/lib/a": file("a"), "usr/share/factory": file("f")}
    assert paths(fitting_steps.var_to_factory(view(entries))) == ["usr/share/factory", "var"]


def test_what_something_is_mounted_over_goes() -> None:
    entries = {f"{name}/x": file() for name in ("dev", "proc", "run", "sys", "tmp", "usr")}
    assert paths(fitting_steps.empty_mounts(view(entries))) == ["usr/x"]


# Leftovers


def test_leftovers_of_container_builds_go_where_they_are_empty() -> None:
    entries = {
        ".dockerenv": file(),
        "run/.containerenv": file(),
        "etc/hostname": file(size=0),
        "etc/hosts": file(size=0),
    }
    entries["etc/resolv.conf"] = file(size=3)
    assert paths(fitting_steps.builder_leftovers(view(entries))) == ["etc/hosts", "etc/resolv.conf"]


def test_locks_and_backups_of_passwd_go() -> None:
    entries = {f"{place}/{name}": file() for place in ("etc", "usr/etc") for name in ("passwd", "shadow-", ".pwd.lock")}
    assert paths(fitting_steps.passwd_locks(view(entries))) == ["etc/passwd", "usr/etc/passwd"]


@pytest.mark.parametrize("step", [*OSTREE_STEPS, *PLAIN_STEPS])
def test_every_step_that_is_taken_twice_changes_nothing_the_second_time(step: Step) -> None:
    entries = {"etc": DIRECTORY, "etc/passwd-": file(), "etc/hostname": file(size=0), "usr/etc": DIRECTORY}
    entries |= {"var": DIRECTORY, "var/a": file(), "sysroot/x": file(), "run/x": file(), "\udcff": file()}
    entries |= {"x": RegularFile(Attributes(0o644, xattrs=((b"user.a", b""),)), 3, "1")}
    special = {"s": SpecialFile(Attributes(0o600), "socket")}
    once = step.take(view(entries, special))
    assert once.changes or step.name in ("merge-etc", "split-passwd")  # which have nothing to do here
    assert not step.take(once.view).changes


# Users


def test_users_and_groups_of_packages_go_where_updates_reach_them() -> None:
    files = {
        "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nrooted:x:5:5::/:/bin/sh\nold:x:7:7::/:/bin/false\n",
        "etc/group": b"root:x:0:\nwheel:x:10:\npolkitd:x:998:",
        "usr/lib/passwd": b"old:x:1:1::/:/bin/sh",
    }
    entries = {path: file(path, len(data)) for path, data in files.items()}
    given = TreeView({"": DIRECTORY, **entries}, {}, lambda entry: files[entry.content])
    fitted = fitting_steps.split_passwd(given)
    found = {}
    for path in (*files, "usr/lib/group"):
        entry = fitted.view.entries[path]
        assert isinstance(entry, RegularFile)
        found[path] = fitted.view.made[entry.content]
        assert entry.size == len(found[path])
    assert found == {
        "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n",
        "etc/group": b"root:x:0:\nwheel:x:10:\n",
        "usr/lib/passwd": b"old:x:1:1::/:/bin/sh\nrooted:x:5:5::/:/bin/sh\n",
        "usr/lib/group": b"polkitd:x:998:\n",
    }
    assert list(fitted.changes) == [
        Change("etc/passwd", "moved to /usr/lib/passwd: rooted, old"),
        Change("etc/group", "moved to /usr/lib/group: polkitd"),
    ]
    assert not fitting_steps.split_passwd(replace(fitted.view, read=lambda _: b"!")).changes


def test_a_file_of_users_beyond_the_limit_is_refused() -> None:
    with pytest.raises(LimitError, match="/etc/passwd: expected at most 16,777,216 bytes, found"):
        fitting_steps.split_passwd(view({"etc/passwd": file(size=(16 << 20) + 1)}))
