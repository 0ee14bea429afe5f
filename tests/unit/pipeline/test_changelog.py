"""What changed between images, directories and commits that were really made."""

import json
import shutil
import subprocess

import pytest

from encapsulated_images import make_image
from ostrata.errors import NotFoundError, OstrataError
from ostrata.formats.encapsulated_config import ConfigOptions
from ostrata.inspection.package_changes import PackageChange
from ostrata.pipeline.changelog import changelog
from ostrata.pipeline.commit import CommitOptions, commit
from ostrata.stores.ostree_repository import open_repository
from ostrata.stores.ostree_writer import init_repository

LABEL = "dev.hhd.rechunk.info"
REVISION = "org.opencontainers.image.revision"


class Watcher:
    """Keeps the warnings."""

    def __init__(self):
        self.messages = []

    def start(self, phase, total):
        pass

    def advance(self, amount):
        pass

    def warn(self, message):
        self.messages.append(message)


def _tree(path, **versions):
    """A directory with an apk database."""
    database = path / "usr/lib/apk/db"
    database.mkdir(parents=True)
    stanzas = [f"P:{name}\nV:{version}\nA:noarch\nI:{len(version)}000\n" for name, version in versions.items()]
    (database / "installed").write_text("\n".join(stanzas) + "\n")
    return str(path)


@pytest.fixture
def trees(tmp_path):
    return _tree(tmp_path / "old", gone="1", same="1", newer="1"), _tree(
        tmp_path / "new", newer="22", same="1", came="1"
    )


EXPECTED = (
    (PackageChange("came", (), ("1",), 0, 1000),),
    (PackageChange("gone", ("1",), (), 1000, 0),),
    (PackageChange("newer", ("1",), ("22",), 1000, 2000),),
)


def _groups(found):
    return found.changes.added, found.changes.removed, found.changes.updated


@pytest.fixture
def repository(tmp_path, trees):
    path = str(tmp_path / "repo")
    init_repository(path, "archive")
    for name, tree in zip(("os/old", "os/new"), trees, strict=True):
        commit(
            path,
            tree,
            CommitOptions(name, 0),
        )
    return path


def _label(**packages):
    return {LABEL: json.dumps({"version": 2, "layers": [], "packages": packages})}


def _image(repository, tmp_path, revision, **labels):
    reference = f"oci:{tmp_path}/layout:{revision[3:]}"
    make_image(repository, revision, reference, config=ConfigOptions(labels=tuple(labels.items())))
    return reference


def test_directories_are_compared_by_their_databases(trees):
    assert _groups(changelog(*trees)) == EXPECTED


def test_commits_are_compared_by_their_databases(repository):
    assert _groups(changelog("os/old", "os/new", repository=open_repository(repository))) == EXPECTED


def test_images_are_compared_by_their_databases(repository, tmp_path):
    old, new = (_image(repository, tmp_path, revision) for revision in ("os/old", "os/new"))
    assert _groups(changelog(old, new)) == EXPECTED


def test_an_image_and_a_directory_can_be_compared(repository, trees, tmp_path):
    assert _groups(changelog(_image(repository, tmp_path, "os/old"), trees[1])) == EXPECTED


def test_images_with_the_label_of_rechunk_are_compared_by_it(repository, tmp_path):
    old = _image(repository, tmp_path, "os/old", **_label(a="1-1", b="1-1"))
    new = _image(repository, tmp_path, "os/new", **_label(a="1-1", b="1-2"))
    found = changelog(old, new)
    assert _groups(found) == ((), (), (PackageChange("b", ("1-1",), ("1-2",), None, None),))
    assert found.changes.unchanged == 1
    assert _groups(changelog(old, new, read_databases=True)) == EXPECTED


def test_one_label_is_not_enough_and_a_damaged_one_is_told(repository, tmp_path):
    watcher = Watcher()
    old = _image(repository, tmp_path, "os/old", **{LABEL: "{"})
    new = _image(repository, tmp_path, "os/new", **_label(a="1"))
    assert _groups(changelog(old, new, progress=watcher)) == EXPECTED
    assert "not used: label" in watcher.messages[0]


def test_a_system_without_packages_is_refused(trees, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFoundError, match="empty: no package database"):
        changelog(trees[0], str(tmp_path / "empty"))


def test_a_database_that_cannot_be_read_is_an_error(trees, tmp_path):
    database = tmp_path / "new/usr/share/rpm/rpmdb.sqlite"
    database.parent.mkdir(parents=True)
    database.write_bytes(b"SQLite format 3\0" + b"x" * 100)
    with pytest.raises(OstrataError, match="new: "):
        changelog(*trees)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_commits_between_the_revisions_of_images_are_listed(repository, tmp_path):
    git = ["git", "-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false", "-C", str(tmp_path / "g")]
    subprocess.run(["git", "init", "-q", tmp_path / "g"], check=True, capture_output=True)
    revisions = []
    for subject in ("one", "two"):
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", subject], check=True)
        done = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
        revisions.append(done.stdout.strip())
    old = _image(repository, tmp_path, "os/old", **{REVISION: revisions[0]})
    new = _image(repository, tmp_path, "os/new", **{REVISION: revisions[1]})
    found = changelog(old, new, git_directory=str(tmp_path / "g"))
    assert [item.subject for item in found.commits] == ["two"]


def test_commits_need_images_that_say_their_revision(repository, trees, tmp_path):
    with pytest.raises(NotFoundError, match=f"no label {REVISION}"):
        changelog(_image(repository, tmp_path, "os/old"), trees[1], git_directory=".")
    with pytest.raises(NotFoundError, match="commits are known of images only"):
        changelog(*trees, git_directory=".")
