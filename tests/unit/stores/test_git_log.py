"""Commits of a git repository that is really there."""

import shutil
import subprocess

import pytest

from ostrata.errors import MalformedError, NotFoundError, TransferError
from ostrata.stores.git_log import read_commits

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def _git(directory, *words):
    identity = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, "-C", directory, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    path = str(tmp_path / "git repo")
    subprocess.run(["git", "init", "-q", path], check=True, capture_output=True)
    for subject in ("first", "second: $(touch x) `y`", "thírd\n\nbody"):
        _git(path, "commit", "-q", "--allow-empty", "-m", subject)
        _git(path, "tag", f"v{subject[:1]}")
    return path


def test_commits_between_revisions_are_told_newest_first(repository):
    commits = read_commits(repository, _git(repository, "rev-parse", "HEAD~2"), "HEAD")
    assert [commit.subject for commit in commits] == ["thírd", "second: $(touch x) `y`"]
    assert commits[0].full == _git(repository, "rev-parse", "HEAD")
    assert commits[0].full.startswith(commits[0].short)


def test_a_bare_repository_will_do(repository, tmp_path):
    subprocess.run(["git", "clone", "-q", "--bare", repository, tmp_path / "b"], check=True, capture_output=True)
    assert [commit.subject for commit in read_commits(str(tmp_path / "b"), "vf", "vs")] == ["second: $(touch x) `y`"]


def test_equal_revisions_have_nothing_between(repository):
    assert read_commits(repository, "HEAD", "HEAD") == ()


@pytest.mark.parametrize("revision", ["", "--output=/tmp/x", "a..b", "a b", "$(id)", "a\nb", "a;b", "^a", "x" * 201])
def test_what_is_no_plain_revision_never_reaches_git(repository, revision):
    with pytest.raises(MalformedError, match="expected a git revision"):
        read_commits(repository, revision, "HEAD", program="/none")


def test_an_unknown_revision_is_told_in_one_line(repository):
    with pytest.raises(TransferError, match=r"git log in .*git repo: .+") as raised:
        read_commits(repository, "0" * 40, "HEAD")
    assert "\n" not in str(raised.value)


def test_no_git_is_told(repository):
    with pytest.raises(NotFoundError, match="git is needed"):
        read_commits(repository, "HEAD", "HEAD", program="/none/git")
