"""No secret in what is printed, passed on or left (I6): tried with a skopeo that notes how it was called.

Authfiles are skopeo's to read: only their paths are passed on. A password in a reference is the user's own word on
the command line; skopeo gets that reference, nobody else does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from plain_images import Change, write_image
from repositories import make_repository

SECRET = "b3JpZ2luYWw6aHVudGVyMg"
PASSWORD = "hunter-two"
REMOTE = f"docker://me:{PASSWORD}@registry.example/os:1"
SAID = f"trying https://me:{PASSWORD}@registry.example/v2/: denied"

SKOPEO = """\
import json, os, pathlib, shutil, sys
here = pathlib.Path(@HERE@)
words = sys.argv[1:]
with open(here / "calls", "a") as calls:
    print(json.dumps({"words": words, "environment": dict(os.environ)}), file=calls)
if words[0] == "--version":
    sys.exit()
if (here / "fails").exists():
    sys.exit('time="now" level=fatal msg="@SAID@"')
if words[0] == "inspect":
    index = json.loads((here / "image/index.json").read_text())
    digest = index["manifests"][0]["digest"].removeprefix("sha256:")
    data = (here / "image/blobs/sha256" / digest).read_text()
    if "--config" in words:
        digest = json.loads(data)["config"]["digest"].removeprefix("sha256:")
        data = (here / "image/blobs/sha256" / digest).read_text()
    sys.stdout.write(data)
elif words[-1].startswith("oci:"):
    copy = pathlib.Path(words[-1].removeprefix("oci:").rpartition(":")[0])
    shutil.copytree(here / "image", copy)
    index = json.loads((copy / "index.json").read_text())
    index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] = "image"
    (copy / "index.json").write_text(json.dumps(index))
else:
    pathlib.Path(words[words.index("--digestfile") + 1]).write_text("sha256:" + "1" * 64)
"""


@dataclass(frozen=True)
class Place:
    """`work` is where ostrata may write; `registry` has skopeo, what it noted, the authfile and the image."""

    work: Path
    registry: Path

    @property
    def authfile(self) -> Path:
        return self.registry / "auth.json"

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.registry}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "TMPDIR": str(self.work / "tmp"), "HOME": str(self.work / "home")}
        authfile = [] if words[0] in WITHOUT_AUTHFILE else ["--authfile", str(self.authfile)]
        line = [sys.executable, "-m", "ostrata", *words, *authfile]
        return subprocess.run(line, capture_output=True, text=True, timeout=60, cwd=self.work, env=environment)

    def calls(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.registry / "calls").read_text().splitlines()]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path / "work", tmp_path / "registry")
    for name in ("tmp", "home"):
        (made.work / name).mkdir(parents=True)
    for image in (made.registry / "image", made.work / "own"):
        write_image(image, [[Change("etc/file", data=b"1")]])
    make_repository(made.work / "source", "archive")
    made.authfile.write_text(json.dumps({"auths": {"registry.example": {"auth": SECRET}}}))
    skopeo = made.registry / "skopeo"
    text = SKOPEO.replace("@HERE@", repr(str(made.registry))).replace("@SAID@", SAID)
    skopeo.write_text(f"#!{sys.executable}\n{text}")
    skopeo.chmod(0o755)
    return made


COMMANDS = {
    "import": ["import", REMOTE, "--repo", "repo", "--write-ref", "os", "--tmpdir", "tmp"],
    "extract": ["extract", REMOTE, "tree", "--tmpdir", "tmp"],
    "encapsulate": ["encapsulate", "--repo", "source", "os/stable", REMOTE, "--tmpdir", "tmp"],
    "export": ["container", "export", "--repo", "source", "os/stable", REMOTE],
    "unencapsulate": ["container", "unencapsulate", REMOTE, "--repo", "source"],
    "plan": ["plan", "--repo", "source", "os/stable", "--previous", REMOTE],
    "plan, required": ["plan", "--repo", "source", "os/stable", "--previous", REMOTE, "--previous-required"],
    "compare": ["compare", REMOTE, "oci:own:t"],
    "changelog": ["changelog", REMOTE, "oci:own:t"],
    "verify": ["verify", "oci:own:t", "--against", REMOTE],
}
STATUS = {"plan": (0, 0), "plan, required": (1, 1), "changelog": (1, 1)}
"""When skopeo succeeds, and when it fails: the image has no plan and no packages."""
WITHOUT_AUTHFILE = ("compare", "changelog", "verify")


@pytest.mark.parametrize("fails", [False, True], ids=["skopeo succeeds", "skopeo fails"])
@pytest.mark.parametrize("name", COMMANDS)
def test_no_secret_is_printed_passed_on_or_left(name: str, fails: bool, place: Place) -> None:
    if fails:
        (place.registry / "fails").touch()
    done = place.run(*COMMANDS[name])
    assert done.returncode == STATUS.get(name, (0, 1))[fails], done.stderr
    if fails:
        assert "denied" in done.stderr and "registry.example" in done.stderr
    check_calls(place, with_authfile=name not in WITHOUT_AUTHFILE)
    printed = done.stdout + done.stderr
    assert SECRET not in printed and PASSWORD not in printed
    for path in place.work.rglob("*"):
        assert PASSWORD not in str(path) and SECRET not in str(path)
        if path.is_file():
            found = path.read_bytes()
            assert SECRET.encode() not in found and PASSWORD.encode() not in found, path
    assert list((place.work / "tmp").iterdir()) == []


def check_calls(place: Place, *, with_authfile: bool) -> None:
    """The authfile goes by its path alone, and the password stands in the user's own reference alone."""
    calls = place.calls()
    assert any(str(place.authfile) in call["words"] for call in calls) is with_authfile
    assert any(REMOTE in call["words"] for call in calls)
    for call in calls:
        words = [word for word in call["words"] if word != REMOTE]
        shown = json.dumps([words, call["environment"]])
        assert SECRET not in shown and PASSWORD not in shown, call


def test_the_program_that_fails_inside_shows_no_secret(place: Place) -> None:
    """What is behind the error line: the exceptions of the library, with all their causes."""
    script = """
import sys, traceback
from ostrata.pipeline.places import open_source
from ostrata.stores.skopeo import SkopeoOptions
try:
    with open_source(sys.argv[1], skopeo=SkopeoOptions(authfile=sys.argv[2]), tmpdir=sys.argv[3]):
        pass
except Exception as error:
    print("".join(traceback.format_exception(error)), repr(error), vars(error) if hasattr(error, "__dict__") else "")
"""
    (place.registry / "fails").touch()
    environment = os.environ | {"PATH": f"{place.registry}{os.pathsep}{os.environ['PATH']}"}
    line = [sys.executable, "-c", script, REMOTE, str(place.authfile), str(place.work / "tmp")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, env=environment)
    assert "TransferError" in done.stdout and "denied" in done.stdout, done
    assert SECRET not in done.stdout + done.stderr and PASSWORD not in done.stdout + done.stderr
