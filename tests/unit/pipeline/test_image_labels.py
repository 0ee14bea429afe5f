"""The labels of a planned image, and git."""

import json
import subprocess
from datetime import UTC, date, datetime

import pytest

from ostrata.codecs import rechunk_label
from ostrata.model.component import ComponentPlan
from ostrata.model.package import Package
from ostrata.pipeline.labels import LabelOptions, make_labels
from ostrata.pipeline.previous_plan import NO_PREVIOUS_PLAN, PreviousPlan

MOMENT = datetime(2024, 5, 17, 12, tzinfo=UTC)
PACKAGES = [Package("p1", "1:2-3", "x", "src", ()), Package("p2", "2-3", "x", "src", ())]
INSIDE = {"src": PACKAGES}
PLAN = ComponentPlan((("src", "unclaimed"), ("initramfs",)), date(2024, 5, 18))


def labels(previous=NO_PREVIOUS_PLAN, **options):
    return make_labels(LabelOptions(moment=MOMENT, **options), previous, PACKAGES, PLAN, INSIDE)


def test_the_plans_day_is_a_label():
    assert labels() == ({"ostrata.plan-clock": "2024-05-18"}, [])


def test_version_and_templates_are_filled_in():
    found, notes = labels(PreviousPlan(version="240517"), version="<date>", templates=[("t", "<version> <previous>")])
    assert found["org.opencontainers.image.version"] == "240517.1"
    assert found["t"] == "240517.1 240517"
    assert notes == []


def test_rechunks_label_names_packages():
    found, _ = labels(rechunk_label=True, version="41", revision="abc")
    info = rechunk_label.decode(found["dev.hhd.rechunk.info"])
    assert info.layers == (("p1", "p2", "unpackaged"), ("initramfs",))
    assert info.packages == {"p1": "2-3", "p2": "2-3"}
    assert (info.unique, info.revision) == ("41", "abc")
    assert found["org.opencontainers.image.revision"] == "abc"


def test_the_image_info_is_a_tag():
    found, _ = labels(templates=[("t", "<imginfo>")])
    assert json.loads(found["t"])["version"] == 2


def test_tags_without_a_value_are_noted():
    found, notes = labels(templates=[("t", "<previous><pkgupd>")])
    assert found["t"] == "<previous>-\n"
    assert len(notes) == 2
    assert any("<previous>" in note for note in notes)
    assert any("<pkgupd>" in note for note in notes)


@pytest.fixture
def git(tmp_path, need):
    need("git")
    directory = tmp_path / "git"

    def run(*words):
        command = ["git", "-C", str(directory), "-c", "user.name=A", "-c", "user.email=a@b", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    directory.mkdir()
    run("init", "-q")
    run("commit", "-q", "--allow-empty", "-m", "First")
    old = run("rev-parse", "HEAD")
    run("commit", "-q", "--allow-empty", "-m", "Second; $(touch pwned) <version>")
    return directory, old, run("rev-parse", "HEAD")


def test_commits_are_asked_of_git(git):
    directory, old, new = git
    previous = PreviousPlan(revision=old)
    found, notes = labels(previous, templates=[("t", "<commits>")], git_directory=str(directory), revision=new)
    assert found["t"].endswith("** Second; $(touch pwned) <version>\n")
    assert notes == []


@pytest.mark.parametrize("revision", ["--output=/tmp/x", "; touch pwned", "$(touch pwned)", "a..b", "\n", "none"])
def test_a_previous_images_revision_is_never_more_than_a_revision(git, revision, tmp_path):
    directory, _, new = git
    previous = PreviousPlan(revision=revision)
    found, notes = labels(previous, templates=[("t", "<commits>")], git_directory=str(directory), revision=new)
    assert found["t"] == "-\n"
    assert len(notes) == 1
    assert not list(tmp_path.rglob("pwned"))


def test_commits_that_cannot_be_known_are_noted():
    _, notes = labels(changelog="<commits>", templates=[("t", "<changelog>")])
    assert notes == ["<commits>: not known without --git-dir and --revision and a revision of the previous image"]
