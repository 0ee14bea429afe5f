"""Labels of `plan` and `encapsulate --plan`: every tag, and previous images that want to be more than data."""

import json
import subprocess

import pytest

from ostrata.cli import run
from ostrata.codecs import contentmeta, rechunk_label
from ostrata.pipeline.places import open_image
from planned_trees import commit_tree, make_packaged_tree

FILES = {name: {f"usr/share/{name}/file": name.encode() * 100} for name in ("kernel", "mesa", "new", "old", "zoo")}
TAGS = ("version", "date", "timestamp", "previous", "pretty", "version:kernel", "relver:kernel", "version:none")
EVERY_TAG = "|".join(f"<{tag}>" for tag in (*TAGS, "commits", "pkgupd"))
FORMATS = ["--formatter", "commits.commit=<short> <subject>;", "--formatter", "pkgupd.add=+<package> <new>\\t",
           "--formatter", "pkgupd.update=<package> <old>-><new>\\n", "--formatter", "pkgupd.remove=-<package> <old>",
           "--formatter", "pkgupd.none=none", "--formatter", "commits.none=no commits"]  # fmt: skip
ARGUMENTS = ["--version", "41.<date>", "--pretty", "Forty-one <date>", "--changelog", EVERY_TAG,
             "-l", "notes=<changelog>", "-l", "empty=", *FORMATS]  # fmt: skip


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A repository with two commits, os/1 and os/2."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1715947200")
    versions = [{"kernel": "6.8-1", "mesa": "24-1", "zoo": "1-1"}, {"kernel": "6.9-1", "mesa": "24-2", "zoo": "1-1"}]
    for number, (gone, known) in enumerate(zip(("new", "old"), versions, strict=True), 1):
        files = {name: content for name, content in FILES.items() if name != gone}
        tree = make_packaged_tree(tmp_path / f"tree{number}", files, versions=known)
        commit_tree(tmp_path / "repo", tree, f"os/{number}")
    return tmp_path


@pytest.fixture
def git(place, need):
    """The names of two commits of a git repository."""
    need("git")
    (place / "git").mkdir()
    command = ["git", "-C", "git", "-c", "user.name=A", "-c", "user.email=a@b"]
    subprocess.run([*command, "init", "-q"], check=True)
    found = []
    for subject in ("First", "Second; $(touch pwned) <version> `touch pwned`"):
        subprocess.run([*command, "commit", "-q", "--allow-empty", "-m", subject], check=True)
        head = subprocess.run([*command, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
        found.append(head.stdout.strip())
    return found


def labels_of(image):
    return open_image(image)[1].config.labels


def encapsulate(commit, image, *words):
    assert run(["encapsulate", "-q", "--repo", "repo", commit, image, "--plan", "--max-layers", "4", *words]) == 0
    return labels_of(image)


def expected_notes(git):
    return "|".join(
        [
            "41.240517.1",
            "240517",
            "2024-05-17T12:00:00Z",
            "41.240517",
            "Forty-one <date>",
            "6.9",
            "6.9-1",
            "<version:none>",
            f"{git[1][:7]} Second; $(touch pwned) <version> `touch pwned`;",
            "+new 1.0\tkernel 6.8->6.9\nmesa 24-1->24-2\n-old 1.0",
        ]
    )


@pytest.fixture
def first(place, git):
    return encapsulate("os/1", "oci:image:1", *ARGUMENTS, "--rechunk-label", "--revision", git[0], "--git-dir", "git")


def test_the_first_image_has_what_is_known(first, git):
    assert first["org.opencontainers.image.version"] == "41.240517"
    assert first["org.opencontainers.image.revision"] == git[0]
    assert first["empty"] == ""
    assert first["notes"].endswith("|<previous>|Forty-one <date>|6.8|6.8-1|<version:none>|no commits|none")
    assert rechunk_label.decode(first["dev.hhd.rechunk.info"]).packages["kernel"] == "6.8-1"


def test_encapsulate_fills_in_every_tag_against_the_image_before(first, git, place):
    words = [*ARGUMENTS, "--previous", "oci:image:1", "--revision", git[1], "--git-dir", "git"]
    assert encapsulate("os/2", "oci:image:2", *words)["notes"] == expected_notes(git)
    assert not list(place.rglob("pwned"))


def test_plan_fills_in_the_same_and_encapsulate_writes_it(first, git, place):
    words = [*ARGUMENTS, "--previous", "oci:image:1", "--revision", git[1], "--git-dir", "git"]
    assert run(["plan", "-q", "--repo", "repo", "os/2", "-o", "plan.json", "--max-layers", "4", *words]) == 0
    labels = contentmeta.decode((place / "plan.json").read_bytes()).labels
    assert labels["notes"] == expected_notes(git)
    assert run(["encapsulate", "-q", "--repo", "repo", "os/2", "oci:image:2", "--contentmeta", "plan.json"]) == 0
    assert labels_of("oci:image:2")["notes"] == expected_notes(git)


HOSTILE = ["$(touch pwned)", "`touch pwned`", "; touch pwned", "--output=pwned", "-h", "../..", "a..b", "<commits>",
           "x\n<version>\x1b[31m", "\u202e", "%s{0}\\1", "9" * 5000, ""]  # fmt: skip


@pytest.mark.parametrize("value", HOSTILE)
def test_what_a_previous_image_says_stays_data(git, place, value, capfd):
    packages = {"kernel": value, value or "x": value}
    info = json.dumps({"version": 2, "uniq": value, "layers": [[value]], "packages": packages, "revision": value})
    labels = {"dev.hhd.rechunk.info": info, "ostrata.plan-clock": value}
    labels |= dict.fromkeys(["org.opencontainers.image.version", "org.opencontainers.image.revision"], value)
    words = [word for key, text in labels.items() for word in ("-l", f"{key}={text}")]
    assert run(["encapsulate", "-q", "--repo", "repo", "os/1", "oci:image:1", *words]) == 0
    words = ["--version", "<previous>", "-l", "p=<previous>", "-l", "u=<pkgupd>", "-l", "c=<commits>", *FORMATS,
             "--revision", git[1], "--git-dir", "git"]  # fmt: skip
    labels = encapsulate("os/2", "oci:image:2", "--previous", "oci:image:1", *words)
    assert labels["p"] == value
    assert f"-{value or 'x'} " in labels["u"]
    assert labels["c"] == "no commits"
    assert not list(place.rglob("pwned"))
    err = capfd.readouterr().err
    assert "\x1b[31m" not in err
    assert "\u202e" not in err


def test_the_number_behind_a_version_counts_on(place):
    for number, version in enumerate(["41", "41.1", "41.2", "41.3"]):
        previous = ["--previous", f"oci:image:{number - 1}"] if number else []
        labels = encapsulate("os/1", f"oci:image:{number}", "--version", "41", *previous)
        assert labels["org.opencontainers.image.version"] == version
