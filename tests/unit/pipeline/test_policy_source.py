"""The SELinux policy of a source, whatever kind the source is."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from ostrata.errors import LimitError
from ostrata.pipeline import policy_source
from ostrata.pipeline.build_sources import SourceOptions, prepare
from ostrata.pipeline.fitting import TreeView, fit
from ostrata.pipeline.fitting_steps import selinux_labels
from ostrata.pipeline.policy_source import policy_of
from selinux_policies import label, make_policy, needs_libselinux


@pytest.fixture(params=["directory", "tar"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    tree = tmp_path / "tree"
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/su").write_text("su")
    make_policy(tree)
    if request.param == "directory":
        return str(tree)
    with tarfile.open(tmp_path / "tree.tar", "w") as archive:
        archive.add(tree, ".")
    return str(tmp_path / "tree.tar")


@needs_libselinux
def test_everything_gets_the_label_of_its_path(tmp_path: Path, source: str) -> None:
    with (
        prepare(source, SourceOptions(), tmpdir=str(tmp_path)) as prepared,
        policy_of(prepared, tmpdir=str(tmp_path)) as policy,
    ):
        assert policy is not None
        fitted = fit(TreeView(prepared.tree.entries, {}), [selinux_labels(policy)])
    found = {path: dict(entry.attributes.xattrs)[b"security.selinux"] for path, entry in fitted.tree}
    assert found["usr/bin/su"] == label("su_exec") + b"\0"
    assert found["usr/bin"] == label("bin") + b"\0"
    assert found["etc/selinux/config"] == label("etc") + b"\0"
    assert [step.name for step in fitted.taken] == ["selinux"]


def test_a_source_without_a_policy_has_none(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    with (
        prepare(str(tmp_path / "tree"), SourceOptions(), tmpdir=str(tmp_path)) as prepared,
        policy_of(prepared, tmpdir=str(tmp_path)) as policy,
    ):
        assert policy is None


def test_a_policy_in_a_tar_that_is_too_large_is_refused(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source.endswith("/tree"):
        pytest.skip("a directory's is read where it lies")
    monkeypatch.setattr(policy_source, "MAX_POLICY", 100)
    with (
        prepare(source, SourceOptions(), tmpdir=str(tmp_path)) as prepared,
        pytest.raises(LimitError, match="expected at most 100 bytes, found more"),
        policy_of(prepared, tmpdir=str(tmp_path)),
    ):
        pass
