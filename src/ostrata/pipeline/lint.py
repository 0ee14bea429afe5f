"""What stands between a tree and a format, all at once, and without changing anything.

Three kinds of findings: what a default step will change, what will be refused unless something is done, and advice. The
steps are the judges: what a step would change is a finding, so that lint and build cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ostrata.model.tree import Directory
from ostrata.pipeline.build import kernels, view_of
from ostrata.pipeline.build_sources import PreparedSource
from ostrata.pipeline.fitting import Change, Step, TreeView, fit
from ostrata.pipeline.fitting_steps import OSTREE_STEPS

CHANGED = "changed"
REFUSED = "refused"
ADVICE = "advice"

_NEEDED = ("drop-other-encodings", "merge-etc")
"""Steps that are not taken unless asked for, and without which a tree that needs them is refused."""
_WHITEOUT = "/.wh."


@dataclass(frozen=True, slots=True)
class LintFinding:
    """`severity` is CHANGED, REFUSED or ADVICE; `step` is the one that would help; `paths` are (path, what of it)."""

    severity: str
    what: str
    paths: tuple[Change, ...] = ()
    step: str | None = None


def lint(prepared: PreparedSource, steps: Iterable[Step] = OSTREE_STEPS) -> list[LintFinding]:
    """The findings, the refused ones first. `steps` are all those of the format."""
    found = list(_layer_findings(prepared))
    with view_of(prepared) as view:
        for step in steps:
            fitted = step.take(view)
            if fitted.changes:
                found.append(LintFinding(_severity(step), step.why, tuple(fitted.changes), step.name))
            if step.is_default or step.name in _NEEDED:
                view = fitted.view  # noqa: PLW2901  # the next step sees what it will see
    found += _remaining(view)
    return sorted(found, key=lambda finding: (REFUSED, CHANGED, ADVICE).index(finding.severity))


def _severity(step: Step) -> str:
    if step.is_default:
        return CHANGED
    return REFUSED if step.name in _NEEDED else ADVICE


def _layer_findings(prepared: PreparedSource) -> Iterator[LintFinding]:
    for finding in prepared.findings:
        yield LintFinding(ADVICE, f"{finding.what}: {finding.count}", (Change(finding.path, "the first"),))


def _remaining(view: TreeView) -> Iterator[LintFinding]:
    """What no step helps with."""
    tree = fit(view, ()).tree
    whiteouts = [path for path in tree.entries if _WHITEOUT in f"/{path}"]
    if whiteouts:
        what = "a name that begins with .wh. means a deletion in an image layer"
        yield LintFinding(REFUSED, what, tuple(Change(path, "rename or exclude it") for path in whiteouts))
    versions = sorted(kernels(tree))
    if not versions:
        yield LintFinding(ADVICE, "no kernel: expected /usr/lib/modules/VERSION/vmlinuz, without it nothing boots")
    elif len(versions) > 1:
        places = tuple(Change(f"usr/lib/modules/{version}/vmlinuz", "a kernel") for version in versions)
        yield LintFinding(ADVICE, f"{len(versions)} kernels: a bootable commit has one", places)
    if versions and not isinstance(tree.entries.get("sysroot"), Directory):
        yield LintFinding(ADVICE, "no directory /sysroot: a deployment mounts its disk there")
    boot = tuple(Change(path, "not seen by a deployment") for path in tree.entries if path.startswith("boot/"))
    if boot:
        yield LintFinding(ADVICE, "/boot is the machine's own: a deployment has its kernel in /usr/lib/modules", boot)
