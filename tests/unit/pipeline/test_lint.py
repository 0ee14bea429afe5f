"""What lint says of a tree: what build will change, what it refuses, and advice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from ostrata.pipeline.build_sources import SourceOptions, prepare
from ostrata.pipeline.lint import ADVICE, CHANGED, REFUSED, LintFinding, lint
from plain_images import Change, directory, layer_tar, symlink, whiteout, write_image

FIT = [
    directory("sysroot"),
    directory("usr/etc"),
    Change("usr/etc/passwd", data=b"root"),
    Change("usr/lib/modules/6.1/vmlinuz", data=b"a kernel"),
]


def findings(tmp_path: Path, *layers: list[Change]) -> list[LintFinding]:
    write_image(tmp_path / "image", layers)
    with prepare(f"oci:{tmp_path}/image:t", SourceOptions(), tmpdir=str(tmp_path)) as prepared:
        return lint(prepared)


def by_step(found: list[LintFinding]) -> Mapping[str | None, LintFinding]:
    return {finding.step: finding for finding in found}


def test_of_a_tree_that_is_fit_nothing_is_said(tmp_path: Path) -> None:
    assert findings(tmp_path, FIT) == []


def test_what_default_steps_will_change_is_a_finding_path_by_path(tmp_path: Path) -> None:
    changes = [Change("etc/a\nb", data=b"!"), Change("var/log", data=b"!"), Change("fifo", "fifo")]
    changes.append(Change("sysroot/x", data=b"!"))
    found = by_step(findings(tmp_path, [FIT[0], FIT[3], *changes]))
    assert set(found) == {"etc-to-usr-etc", "keep-var-out", "var-to-factory", "drop-special", "empty-sysroot"}
    assert [change.path for change in found["etc-to-usr-etc"].paths] == ["etc", "etc/a\nb"]
    assert found["var-to-factory"].severity == ADVICE
    assert {found[step].severity for step in found if step != "var-to-factory"} == {CHANGED}


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ([Change("usr/\udcff", data=b"!")], "drop-other-encodings"),
        ([symlink("link", "\udcff")], "drop-other-encodings"),
        ([Change("etc/passwd", data=b"other")], "merge-etc"),
    ],
)
def test_what_build_refuses_comes_first_with_the_step_that_helps(
    tmp_path: Path, changes: list[Change], step: str
) -> None:
    found = findings(tmp_path, [*FIT, *changes])
    assert (found[0].severity, found[0].step) == (REFUSED, step)


def test_several_kernels_and_none_are_told(tmp_path: Path) -> None:
    several = findings(tmp_path / "1", [*FIT, Change("usr/lib/modules/6.2/vmlinuz")])
    assert [finding.what for finding in several] == ["2 kernels: a bootable commit has one"]
    none = findings(tmp_path / "2", [*FIT[:3], Change("boot/vmlinuz-6.1")])
    assert [finding.what.partition(":")[0] for finding in none] == ["no kernel", "/boot is the machine's own"]
    assert {finding.severity for finding in several + none} == {ADVICE}


def test_what_is_strange_about_the_layers_is_told(tmp_path: Path) -> None:
    found = findings(tmp_path, [*FIT, whiteout("nothing here")])
    assert [finding.what for finding in found] == ["a whiteout that hides nothing: 1"]


def test_a_name_that_means_a_deletion_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tree/usr").mkdir(parents=True)
    (tmp_path / "tree/usr/.wh.a\nb").write_text("!")
    with prepare(str(tmp_path / "tree"), SourceOptions(), tmpdir=str(tmp_path)) as prepared:
        found = lint(prepared)[0]
    assert (found.severity, [change.path for change in found.paths]) == (REFUSED, ["usr/.wh.a\nb"])


def test_lint_reads_a_tar_too(tmp_path: Path) -> None:
    (tmp_path / "tree.tar").write_bytes(layer_tar(FIT))
    with prepare(str(tmp_path / "tree.tar"), SourceOptions(), tmpdir=str(tmp_path)) as prepared:
        assert lint(prepared) == []
