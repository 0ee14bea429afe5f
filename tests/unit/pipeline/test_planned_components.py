"""What a plan makes of packages, wishes and everything else in a tree: its components, and what it notes."""

import hashlib
import os
from dataclasses import replace
from datetime import date
from types import SimpleNamespace

import pytest

from ostrata.components.unclaimed import BIG_FILE
from ostrata.errors import MalformedError, UnsupportedError
from ostrata.model.component_map import ComponentMap, MapRule
from ostrata.pipeline.plan import PlanOptions, open_commit_to_plan, open_directory_to_plan, plan_tree
from ostrata.sources.modifiers import Modifiers
from ostrata.stores.ostree_repository import open_repository
from planned_trees import commit_tree, make_packaged_tree
from rpm_databases import (
    ARCH,
    BASENAMES,
    BUILDTIME,
    DIRINDEXES,
    DIRNAMES,
    FILEDIGESTALGO,
    FILEDIGESTS,
    NAME,
    RELEASE,
    SHA256,
    SOURCERPM,
    VERSION,
    header,
    sqlite,
)

OPTIONS = PlanOptions(date(2024, 6, 1), max_layers=8)
BERKELEY = bytes(12) + b"\x61\x15\x06\x00" + bytes(4096)


def write(tree, files):
    for path, content in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(content)
    return tree


def rpm(name, source, path, content):
    """The header of an rpm package that owns one file."""
    directory, _, base = path.rpartition("/")
    return header(
        {
            NAME: name,
            VERSION: "1",
            RELEASE: "1",
            ARCH: "x86_64",
            SOURCERPM: f"{source}-1-1.src.rpm",
            BUILDTIME: [1_700_000_000],
            DIRNAMES: [f"/{directory}/"],
            DIRINDEXES: [0],
            BASENAMES: [base],
            FILEDIGESTALGO: [SHA256],
            FILEDIGESTS: [hashlib.sha256(content).hexdigest()],
        }
    )


@pytest.fixture
def tree(tmp_path):
    """A tree with an apk and an rpm database, and files of nobody."""
    path = make_packaged_tree(tmp_path / "tree", {"musl": {"usr/lib/libc.so": b"libc", "usr/etc/musl rc": b"rc"}})
    headers = [
        rpm("kernel-core", "kernel", "boot/vmlinuz", b"kernel"),
        rpm("kernel-modules", "kernel", "usr/lib/modules/6/a.ko", b"module"),
    ]
    write(
        path,
        {
            "usr/lib/sysimage/rpm/rpmdb.sqlite": sqlite(headers),
            "usr/lib/modules/6/a.ko": b"module",
            "usr/lib/modules/6/modules.dep": b"dep",
            "usr/lib/modules/6/initramfs.img": b"initramfs",
            "usr/lib/ostree-boot/vmlinuz-abc": b"kernel",
            "opt/model, large\n.bin": bytes(BIG_FILE),
            "opt/small": b"s",
        },
    )
    (path / "lib").symlink_to("usr/lib")
    return path


def plan(path, **options):
    return plan_tree(open_directory_to_plan(str(path), Modifiers()), replace(OPTIONS, **options))


def components(result):
    return {component.name: set(component.paths) for component in result.components.components}


def test_each_rule_finds_what_is_its_own(tree):
    result = plan(tree)
    assert components(result) == {
        "musl": {"usr/lib/libc.so", "usr/etc/musl rc"},
        "kernel": {"usr/lib/modules/6/a.ko", "usr/lib/modules/6/modules.dep", "usr/lib/ostree-boot/vmlinuz-abc"},
        "initramfs": {"usr/lib/modules/6/initramfs.img"},
        "package database": {"usr/lib/sysimage/rpm/rpmdb.sqlite", "usr/lib/apk/db/installed"},
        "/opt/model%2C large%0A.bin": {"opt/model, large\n.bin"},
        "unclaimed": {"opt/small", "lib"},
    }
    assert result.notes == ()
    assert {name for names in result.plan.layers for name in names} == set(components(result))


def test_packages_are_components_when_asked(tree):
    found = components(plan(tree, by_package=True))
    assert found["kernel-core"] == {"usr/lib/ostree-boot/vmlinuz-abc"}
    assert found["kernel-modules"] == {"usr/lib/modules/6/a.ko", "usr/lib/modules/6/modules.dep"}
    by_name = {component.name: component for component in plan(tree, by_package=True).components.components}
    assert by_name["kernel-core"].source == by_name["kernel-modules"].source == "kernel"


def test_a_map_names_paths_as_the_running_system_does(tree, tmp_path):
    rules = ComponentMap((MapRule("etc/musl*", "settings", place="line 1"), MapRule("lib/modules", "mods", place="l")))
    found = components(plan(tree, component_map=rules))
    assert found["settings"] == {"usr/etc/musl rc"}
    commit_tree(tmp_path / "repo", tree)
    planned = open_commit_to_plan(open_repository(str(tmp_path / "repo")), "os")
    result = plan_tree(planned, replace(OPTIONS, component_map=rules))
    assert components(result)["mods"] == {path for path in planned.objects if path.startswith("usr/lib/modules/")}
    assert result.notes == ()


def test_hard_links_stay_together_whoever_claims_them(tree):
    os.link(tree / "usr/lib/libc.so", tree / "usr/lib/modules/6/link")
    os.link(tree / "usr/lib/libc.so", tree / "opt/link")
    assert components(plan(tree))["musl"] == {
        "usr/lib/libc.so",
        "usr/etc/musl rc",
        "usr/lib/modules/6/link",
        "opt/link",
    }
    rules = ComponentMap((MapRule("opt", "mine", place="line 1"),))
    assert {"usr/lib/libc.so", "opt/link"} <= components(plan(tree, component_map=rules))["mine"]


@pytest.mark.parametrize("copy", ["usr/share/rpm", "usr/lib/sysimage/rpm-ostree-base-db"])
def test_a_package_database_is_one_component_under_all_its_names(tree, copy):
    (tree / copy).mkdir(parents=True)
    os.link(tree / "usr/lib/sysimage/rpm/rpmdb.sqlite", tree / copy / "rpmdb.sqlite")
    assert f"{copy}/rpmdb.sqlite" in components(plan(tree))["package database"]


def test_an_unreadable_database_is_a_warning_beside_those_that_can_be_read(tree):
    (tree / "usr/lib/sysimage/rpm/rpmdb.sqlite").write_bytes(b"garbage")
    result = plan(tree)
    (note,) = result.notes
    assert note.startswith("the rpm database cannot be read: /usr/lib/sysimage/rpm/rpmdb.sqlite: expected an SQLite")
    assert "musl" in components(result)
    with pytest.raises(MalformedError, match="expected an SQLite database"):
        plan(tree, require_packages=True)


def test_berkeley_db_is_named_with_the_way_out(tmp_path):
    tree = write(tmp_path / "tree", {"var/lib/rpm/Packages": BERKELEY, "usr/bin/a": b"a"})
    notes = plan(tree).notes
    assert "Berkeley DB" in notes[0]
    assert "rpmdb --dbpath TREE/var/lib/rpm" in notes[0]
    with pytest.raises(UnsupportedError, match="Berkeley DB"):
        plan(tree, require_packages=True)


def test_a_package_that_owns_everything_takes_only_what_no_other_has(tmp_path):
    files = {f"usr/share/{number}": b"%d" % number for number in range(5)}
    tree = make_packaged_tree(tmp_path / "tree", {"everything": files, "small": {"usr/share/3": b"3"}})
    found = components(plan(tree))
    assert found["small"] == {"usr/share/3"}
    assert found["everything"] == {"usr/share/0", "usr/share/1", "usr/share/2", "usr/share/4"}


def test_what_no_commit_holds_is_left_out_with_a_warning(tree, tmp_path):
    for number in range(7):
        os.mkfifo(tree / f"opt/fifo\n{number}")
    messages = []
    watcher = SimpleNamespace(start=lambda *_: None, advance=lambda *_: None, warn=messages.append)
    planned = open_directory_to_plan(str(tree), Modifiers(), progress=watcher)
    assert messages == [
        "not planned, since a commit cannot hold them: "
        + ", ".join(f"/opt/fifo\\n{number}" for number in range(5))
        + " and 2 more"
    ]
    assert not any("fifo" in path for path in plan_tree(planned, OPTIONS).claims.by_path)
