"""`ostrata extract`, as it is called."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from ostrata.cli import run
from plain_images import Change, directory, link, symlink, write_image
from unprivileged import NOBODY, as_nobody

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
CHANGES = [
    directory("usr"),
    directory("usr/bin", 0o750),
    Change("usr/bin/a", data=b"a", mode=0o755),
    Change("usr/bin/ab", data=b"ab"),
    directory("usr/share"),
    link("usr/share/also a", "usr/bin/a"),
    Change("usr/share/doc", data=b"doc"),
    symlink("bin", "usr/bin"),
]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the image oci:image."""
    write_image(tmp_path / "image", [CHANGES])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def extract(*words: str) -> int:
    return run(["extract", "oci:image:t", "tree", *words])


def seen(tree: Path) -> set[str]:
    return {path.relative_to(tree).as_posix() for path in tree.rglob("*")}


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["/usr/bin/a"], {"usr", "usr/bin", "usr/bin/a"}),
        (["usr/bin"], {"usr", "usr/bin", "usr/bin/a", "usr/bin/ab"}),
        (["usr/./share//doc", "/bin"], {"usr", "usr/share", "usr/share/doc", "bin"}),
        (["usr/share/also a"], {"usr", "usr/share", "usr/share/also a"}),
    ],
)
def test_only_the_paths_that_are_named_are_extracted(place: Path, paths: list[str], expected: set[str]) -> None:
    assert extract("-q", *(word for path in paths for word in ("--path", path))) == 0
    assert seen(place / "tree") == expected
    assert (place / "tree/usr").stat().st_mode & 0o777 == 0o755  # what leads to them has its own attributes


def test_a_hard_link_has_its_content_where_its_first_name_is_not_wanted(place: Path) -> None:
    assert extract("-q", "--path", "usr/share/also a") == 0
    found = place / "tree/usr/share/also a"
    assert (found.read_bytes(), found.stat().st_mode & 0o777, found.stat().st_nlink) == (b"a", 0o755, 1)


def test_the_root_is_everything(place: Path) -> None:
    assert extract("-q", "--path", "/") == 0
    assert seen(place / "tree") == {change.path for change in CHANGES}
    assert (place / "tree/usr/bin/a").samefile(place / "tree/usr/share/also a")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("usr/b", "/usr/b: no such path in the image"),
        ("usr/bin/a/below", "/usr/bin/a/below: no such path in the image"),
        ("bin/a", "/bin is a symlink to usr/bin: name the path behind it"),
        ("../image", "/../image: no such path in the image"),
    ],
)
def test_a_path_that_is_not_there_is_told_and_nothing_is_made(
    place: Path, path: str, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert extract("-q", "--path", "usr/bin/a", "--path", path) == 1
    assert message in capfd.readouterr().err
    assert os.listdir(place) == ["image"]


def test_a_directory_in_use_is_written_to_if_that_is_asked_for(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (place / "tree/usr/bin").mkdir(parents=True)
    (place / "tree/usr/bin/a").write_bytes(b"old")
    (place / "tree/kept").write_bytes(b"kept")
    assert extract("-q") == 1
    assert "the destination is not empty" in capfd.readouterr().err
    assert seen(place / "tree") == {"usr", "usr/bin", "usr/bin/a", "kept"}
    assert (place / "tree/usr/bin/a").read_bytes() == b"old"
    assert extract("-q", "--overwrite") == 0
    assert (place / "tree/usr/bin/a").read_bytes() == b"a"
    assert (place / "tree/kept").read_bytes() == b"kept"


def test_a_manifest_within_the_destination_is_refused(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert extract("-q", "--manifest", "tree/unset.json") == 1
    assert "the manifest lies within the destination" in capfd.readouterr().err
    assert os.listdir(place) == ["image"]


def test_json_has_the_documented_fields(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert extract("--json", "--manifest", "unset.json") == 0
    found = json.loads(capfd.readouterr().out)
    manifest = json.loads((place / "unset.json").read_bytes())
    assert found.pop("image") == manifest["image"]
    unset = found.pop("unset")
    assert sum(unset.values()) == len(manifest["unset"])
    assert found == {
        "directory": "tree",
        "files": 3,
        "links": 1,
        "symlinks": 1,
        "directories": 4,
        "special": 0,
        "content_bytes": 6,
        "manifest": "unset.json",
        "findings": [],
    }


def test_what_cannot_be_set_without_rights_is_recorded(place: Path) -> None:
    changes = [
        Change("capable", xattrs={"security.capability": CAPABILITY}),
        Change("device", "char", device=(1, 3), mode=0o666),
        Change("plain", uid=NOBODY, gid=NOBODY),
        Change("setuid", mode=0o4755, uid=7, gid=8, data=b"s"),
    ]
    write_image(place / "rights", [[directory("", uid=NOBODY, gid=NOBODY), *changes]])
    work = place / "work"
    work.mkdir()

    def extract_there() -> None:
        os.chdir(work)
        assert run(["extract", "oci:../rights:t", "tree", "--manifest", "unset.json", "-q"]) == 0

    as_nobody(extract_there, work)
    unset = {record.pop("path"): record for record in json.loads((work / "unset.json").read_bytes())["unset"]}
    assert all(record.pop("reason") for record in unset.values())
    assert set(unset) == {"/capable", "/device", "/setuid"}
    assert unset["/setuid"] == {"owner": [7, 8], "mode": "4755"}
    assert unset["/capable"]["xattrs"] == {"security.capability": base64.b64encode(CAPABILITY).decode()}
    assert unset["/device"].keys() >= {"missing"}
    assert not (work / "tree/device").exists()
    assert (work / "tree/setuid").stat().st_mode & 0o7000 == 0
