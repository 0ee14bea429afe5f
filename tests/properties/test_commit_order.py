"""A commit depends on the tree alone: not on the number of jobs, nor on the order in which directories list names."""

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ostrata.pipeline.commit import CommitOptions, commit
from ostrata.sources.modifiers import Modifiers
from ostrata.stores.ostree_writer import init_repository
from ostree_trees import make_tree

OPTIONS = CommitOptions(None, 0, modifiers=Modifiers(owner_uid=0, owner_gid=0))

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..")
)
contents = st.one_of(st.binary(max_size=20), names.map(lambda target: ("link", target)))
trees = st.recursive(contents, lambda inner: st.dictionaries(names, inner, max_size=5), max_leaves=12)
directories = st.dictionaries(names, trees, max_size=6)


def build(path, tree, *, backwards=False):
    """Make `tree` at `path`; directories list names in the order of creation or by hash, as the file system likes."""
    path.mkdir()
    for name, value in sorted(tree.items(), reverse=backwards):
        if isinstance(value, dict):
            build(path / name, value, backwards=backwards)
        elif isinstance(value, bytes):
            (path / name).write_bytes(value)
            (path / name).chmod(0o644)
        else:
            os.symlink(value[1], path / name)
    path.chmod(0o755)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(directories)
def test_the_order_in_which_a_tree_was_made_does_not_matter(tree):
    with tempfile.TemporaryDirectory() as top:
        repository = f"{top}/repo"
        init_repository(repository, "archive")
        build(Path(top, "forwards"), tree)
        build(Path(top, "backwards"), tree, backwards=True)
        first = commit(repository, f"{top}/forwards", OPTIONS)
        second = commit(repository, f"{top}/backwards", OPTIONS)
        assert first.checksum == second.checksum
        assert second.new_objects == 0


def test_one_job_and_three_give_the_same_repository(tmp_path):
    tree = make_tree(tmp_path / "tree")
    found = {}
    for jobs in (1, 3):
        path = str(tmp_path / f"repo{jobs}")
        init_repository(path, "archive")
        result = commit(path, str(tree), OPTIONS, jobs=jobs)
        found[jobs] = (result.checksum, object_files(path))
    assert found[1] == found[3]
    shutil.rmtree(tree)


def object_files(path):
    """Every object and its bytes."""
    return {
        os.path.relpath(file, path): file.read_bytes() for file in Path(path, "objects").rglob("*") if file.is_file()
    }
