"""Why a path is where it is, in trees as they really are."""

import os
from dataclasses import replace
from datetime import date

import pytest

from ostrata.errors import NotFoundError, UnsupportedError
from ostrata.model.component_map import ComponentMap, MapRule
from ostrata.pipeline.explain import ComponentShare, explain, explain_directory
from ostrata.pipeline.plan import PlanOptions, open_commit_to_plan, open_directory_to_plan, plan_tree
from ostrata.sources.modifiers import Modifiers
from ostrata.stores.ostree_repository import open_repository
from planned_trees import commit_tree, make_packaged_tree

OPTIONS = PlanOptions(date(2024, 6, 1), max_layers=4)
PACKAGES = {
    "shell": {"usr/bin/sh": b"sh", "usr/etc/shell rc": b"rc"},
    "tools": {"usr/bin/tool": b"tool", "usr/lib/tools/a žluť": b"ab", "usr/lib/tools/c": b"c"},
}


@pytest.fixture
def tree(tmp_path):
    path = make_packaged_tree(tmp_path / "tree", PACKAGES)
    (path / "bin").symlink_to("usr/bin")
    (path / "round").symlink_to("round")
    (path / "usr/lib/tools/link").symlink_to("/usr/bin/tool")
    (path / "usr/lib/tools/__pycache__").mkdir()
    (path / "usr/lib/tools/found").write_bytes(b"found")
    return path


@pytest.fixture
def asked(tree):
    """Asks about a path of the tree."""
    planned = open_directory_to_plan(str(tree), Modifiers())
    result = plan_tree(planned, OPTIONS)
    return lambda path: explain(planned, result, path)


@pytest.mark.parametrize("path", ["usr/bin/sh", "/usr/bin/sh", "/bin/sh", "bin//sh", "/usr/lib/../bin/sh"])
def test_a_path_is_found_as_people_write_it(asked, path):
    found = asked(path)
    assert (found.path, found.component.name, found.rule) == ("usr/bin/sh", "shell", "package")
    assert [package.name for package in found.packages] == ["shell"]


def test_etc_is_that_of_usr_in_a_commit(tmp_path, tree):
    commit_tree(tmp_path / "repo", tree)
    planned = open_commit_to_plan(open_repository(str(tmp_path / "repo")), "os")
    found = explain(planned, plan_tree(planned, OPTIONS), "/etc/shell rc")
    assert (found.path, found.component.name) == ("usr/etc/shell rc", "shell")


def test_a_symlink_is_explained_itself(asked):
    found = asked("/usr/lib/tools/link")
    assert (found.path, found.component.name, found.rule) == ("usr/lib/tools/link", "tools", "beside")
    assert asked("bin").path == "bin"


def test_every_rule_says_why(asked):
    assert asked("usr/lib/tools/a žluť").why == "the apk package tools 1.0-r0 lists it"
    assert asked("usr/lib/tools/found").why == "all that is claimed in /usr/lib/tools is of this component"
    assert asked("usr/lib/apk/db/installed").why == "it is part of a package database"


def test_a_rule_of_the_map_is_named_by_its_place(tree):
    planned = open_directory_to_plan(str(tree), Modifiers())
    rules = ComponentMap((MapRule("usr/lib/tools/*", "mine", interval=3.0, exclusive="mine", place="line 7"),))
    found = explain(planned, plan_tree(planned, replace(OPTIONS, component_map=rules)), "/usr/lib/tools/c")
    assert (found.rule, found.why) == ("map", "/usr/lib/tools/*, line 7")
    assert (found.component.exclusive, found.layer_components) == ("mine", ("mine",))


def test_other_paths_of_an_object_are_named(tree):
    os.link(tree / "usr/bin/sh", tree / "usr/lib/tools/hard link")
    planned = open_directory_to_plan(str(tree), Modifiers())
    found = explain(planned, plan_tree(planned, OPTIONS), "usr/lib/tools/hard link")
    assert (found.rule, found.object_component, found.twins) == ("beside", "shell", ("usr/bin/sh",))


@pytest.mark.parametrize("path", ["usr/none", "/bin/none", "round/x", "usr/bin/sh/x", "\udcff", "\n"])
def test_what_is_not_there_is_an_error_that_names_it(asked, path):
    with pytest.raises(NotFoundError, match="no such path in the tree") as caught:
        asked(path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("path", ["", "/", "usr", "/usr/lib/tools/", ".", "bin/"])
def test_a_directory_is_in_many_layers(asked, path):
    if path == "bin/":
        assert asked(path).path == "bin"
    else:
        with pytest.raises(UnsupportedError, match="directories are in every layer"):
            asked(path)


def test_a_directory_is_told_by_the_components_in_it(tree):
    os.link(tree / "usr/bin/tool", tree / "usr/bin/tool again")
    planned = open_directory_to_plan(str(tree), Modifiers())
    result = plan_tree(planned, OPTIONS)
    shares = explain_directory(planned, result, "/usr/bin/")
    assert shares is not None
    layers = {share.component: share.layer for share in shares}
    assert shares == (
        ComponentShare("tools", layers["tools"], 2, 4),
        ComponentShare("shell", layers["shell"], 1, 2),
    )
    assert layers["shell"] == explain(planned, result, "usr/bin/sh").layer
    everything = explain_directory(planned, result, "/") or ()
    assert sum(share.paths for share in everything) == len(planned.objects)
    assert explain_directory(planned, result, "usr/bin/sh") is None
    with pytest.raises(NotFoundError, match="no such path"):
        explain_directory(planned, result, "usr/none")
