"""`ostrata build` and `ostrata lint`, as they are called."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from ostrata.cli import run
from ostrata.pipeline.places import open_image
from plain_images import Change, directory, whiteout, write_image
from planned_trees import TIMESTAMP, make_packaged_tree
from selinux_policies import label, make_policy, needs_libselinux
from unprivileged import as_nobody

FIELDS = ["commit", "manifest", "layers", "built", "reused", "steps"]
PACKAGES = {name: {f"usr/lib/{name}/{n}": f"{name} {n}".encode() * 99 for n in range(5)} for name in "abcd"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    tree = make_packaged_tree(tmp_path / "tree", PACKAGES)
    (tree / "etc").mkdir()
    (tree / "etc/a b\nc").write_text("configuration")
    (tree / "etc/passwd-").write_text("a backup")
    return tmp_path


def build(*words: str) -> int:
    return run(["build", *words, "--created", "2024-05-17T12:00:00Z", "--compression", "none"])


def test_the_digest_is_the_only_thing_on_stdout_and_steps_are_told(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert build("tree", "oci:image:1", "--max-layers", "4") == 0
    out, err = capfd.readouterr()
    image = open_image("oci:image:1")[1]
    assert out == f"{image.descriptor.digest}\n"
    assert "ostrata: step etc-to-usr-etc: 3 paths\n  /etc: moved to /usr/etc\n  /etc/a b\\nc: moved to" in err
    assert len(image.layers) == 4
    assert image.config.created == "2024-05-17T12:00:00Z"


def test_json_has_the_documented_fields(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert build("tree", "oci:image:1", "--json", "--fix", "passwd-locks") == 0
    found: dict[str, Any] = json.loads(capfd.readouterr().out)
    assert list(found) == FIELDS
    assert [step["name"] for step in found["steps"]] == ["passwd-locks", "etc-to-usr-etc"]
    assert found["steps"][0]["changes"] == [{"path": "etc/passwd-", "what": "dropped: a lock or backup file"}]


def test_every_path_can_be_shown(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for number in range(9):
        (place / f"tree/etc/{number}").write_text("!")
    assert build("tree", "oci:image:1", "-q", "--show-steps") == 0
    err = capfd.readouterr().err
    assert all(f"  /etc/{number}: moved to /usr/etc/{number}\n" in err for number in range(9))


def test_a_step_can_be_left_out(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert build("tree", "oci:image:1", "--json", "--without-step", "etc-to-usr-etc") == 0
    assert json.loads(capfd.readouterr().out)["steps"] == []


def test_the_second_build_carries_the_plan_on_and_takes_layers_over(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert build("tree", "oci:image:1", "-q", "--max-layers", "5") == 0
    (place / "tree/usr/lib/b/3").write_text("changed")
    capfd.readouterr()
    assert build("tree", "oci:image:2", "--json", "--max-layers", "5", "--previous", "oci:image:1") == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["built"]["layers"], found["reused"]["layers"]) == (2, 3)


@pytest.mark.parametrize("name", ["oci:none:1", "docker://localhost/none:1"])
@pytest.mark.parametrize("words", [(), ("--format", "plain"), ("--contentmeta", "map.json", "--unmapped", "rest")])
def test_a_first_build_has_no_previous_image(
    place: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    words: tuple[str, ...],
) -> None:
    monkeypatch.setenv("PATH", os.fspath(place))  # no skopeo
    (place / "map.json").write_text('{"version": 1, "layers": {"rest": "the rest"}, "mapping": {}}')
    assert build("tree", "oci:image:1", "--previous", name, *words) == 0
    assert "the previous plan cannot be read, and is not used" in capfd.readouterr().err
    assert build("tree", "oci:image:2", "--previous", name, *words, "--previous-required") == 1


def test_labels_are_templates_and_those_of_the_source_image_can_be_removed(place: Path) -> None:
    write_image(place / "source", [[Change("usr/a", data=b"!")]], labels={"old": "1", "kept": "2"})
    words = ("--version", "41", "-l", "shown=<version>", "-l", "old-")
    assert build("oci:source:t", "oci:image:1", "-q", *words) == 0
    labels = open_image("oci:image:1")[1].config.labels
    assert (labels["shown"], labels["kept"], labels.get("old")) == ("41", "2", None)


def test_the_time_is_the_source_date_epoch_or_the_source_images(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(place / "source", [[Change("usr/a", data=b"!")]], created="2020-01-02T03:04:05Z")
    assert run(["build", "oci:source:t", "oci:image:1", "-q"]) == 0
    assert open_image("oci:image:1")[1].config.created == "2020-01-02T03:04:05Z"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(TIMESTAMP))
    assert run(["build", "oci:source:t", "oci:image:2", "-q"]) == 0
    assert open_image("oci:image:2")[1].config.created == "2024-05-17T12:00:00Z"


def test_the_architecture_is_the_source_images(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_image(place / "source", [[Change("usr/a", data=b"!")]])
    assert build("oci:source:t", "oci:image:1", "-q") == 0
    assert open_image("oci:image:1")[1].config.platform.architecture == "amd64"
    assert build("oci:source:t", "oci:image:1", "-q", "--arch", "arm64") == 1
    assert "expected an image for linux/arm64, found one for linux/amd64" in capfd.readouterr().err


def test_the_format_plain_is_built_from_the_same_options(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert build("tree", "oci:image:1", "--format", "plain", "--json", "--max-layers", "4", "-l", "a=b") == 0
    found = json.loads(capfd.readouterr().out)
    assert list(found) == FIELDS
    assert (found["commit"], found["steps"]) == (None, [])
    image = open_image("oci:image:1")[1]
    assert len(image.layers) == 4
    assert image.config.labels["a"] == "b"


@pytest.mark.parametrize("image_format", ["ostree", "plain"])
def test_several_sources_become_one_index(place: Path, capfd: pytest.CaptureFixture[str], image_format: str) -> None:
    for name in ("amd64", "arm64"):
        path = place / name
        write_image(path, [[directory("usr"), Change("usr/a", data=name.encode())]])
        change_architecture(path, name)
    assert build("oci:amd64", "oci:arm64", "oci:image:1", "--json", "--format", image_format) == 0
    found = json.loads(capfd.readouterr().out)
    assert len(found["images"]) == 2
    assert build("oci:amd64", "oci:image:1", "--format", image_format, "-q") == 0


@pytest.mark.usefixtures("place")
def test_a_cache_is_for_one_source(capfd: pytest.CaptureFixture[str]) -> None:
    assert build("one", "other", "oci:image:1", "--cache", "cache") == 2
    assert "--cache is for one source" in capfd.readouterr().err


def change_architecture(path: Path, name: str) -> None:
    """The layout's image once more, untagged, for another architecture."""
    import hashlib

    def put(data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (path / "blobs/sha256" / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    def read(descriptor: dict[str, Any]) -> dict[str, Any]:
        return json.loads((path / "blobs/sha256" / descriptor["digest"][7:]).read_bytes())  # type: ignore[no-any-return]

    entry = json.loads((path / "index.json").read_text())["manifests"][0]
    manifest = read(entry)
    manifest["config"] |= put(json.dumps(read(manifest["config"]) | {"architecture": name}).encode())
    changed = {"mediaType": entry["mediaType"]} | put(json.dumps(manifest).encode())
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [changed]}))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "plain", "--bootable"], "--bootable means nothing with --format plain"),
        (["--clamp-mtime", "2024-05-17T12:00:00Z"], "--clamp-mtime means nothing with --format ostree"),
        (["--add-metadata-string", "no value"], "expected K=V, found 'no value'"),
        (["-l", "no value"], "expected K=V, or K- to remove a label"),
    ],
)
def test_wrong_usage_is_exit_code_2(
    place: Path, capfd: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert build("tree", "oci:image:1", *words) == 2
    assert message in capfd.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tree", "oci:tree/image"], "the destination lies within the source"),
        (["no such tree", "oci:image"], "no such tree"),
        (["tree", "oci:image", "--exclude", "no/such*"], "nothing in the source matches what is to be excluded"),
        (["tree", "oci:image", "--fix", "everything"], "no step is called 'everything'"),
        (["tree", "oci:image", "--bootable"], "no kernel"),
    ],
)
def test_what_the_user_can_act_on_is_exit_code_1_and_leaves_nothing(
    place: Path, capfd: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert build(*words) == 1
    assert message in capfd.readouterr().err
    assert not (place / "image/index.json").exists()


def test_a_map_that_matches_nothing_is_told(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (place / "map.tsv").write_text("no/such/path\tcomponent\n")
    assert build("tree", "oci:image:1", "-q", "--map", "map.tsv") == 0
    assert "rules of the map that match nothing: 1" in capfd.readouterr().err


def test_a_tree_extracted_without_rights_is_built_with_its_true_owners(place: Path) -> None:
    changes = [Change("usr/su", mode=0o4755, data=b"s"), Change("usr/mine", uid=7, gid=8, data=b"m")]
    write_image(place / "source", [[directory("usr", 0o755), *changes]])
    work = place / "work"
    work.mkdir()

    def extract_and_build() -> None:
        os.chdir(work)
        words = ["extract", "oci:../source:t", "tree", "--manifest", "owners.json", "-q"]
        assert run(words) == 0
        assert build("tree", "oci:image:1", "-q", "--owners", "owners.json") == 0

    as_nobody(extract_and_build, work)
    assert build("oci:source:t", "oci:image:1", "-q") == 0
    ours, wanted = (open_image(f"oci:{path}:1")[1] for path in ("work/image", "image"))
    assert ours.layers == wanted.layers


@needs_libselinux
@pytest.mark.parametrize("where", ["source", "tree"])
def test_files_are_labelled_by_a_policy(place: Path, where: str, capfd: pytest.CaptureFixture[str]) -> None:
    make_policy(place / "tree")
    assert build("tree", "oci:image:1", "-q", "--selinux", where, "--show-steps") == 0
    assert "labels set by the policy tiny" in capfd.readouterr().err
    assert run(["import", "oci:image:1", "--repo", "repo", "--write-ref", "os", "-q"]) == 0
    capfd.readouterr()
    assert run(["ls", "--repo", "repo", "os", "/usr/lib/a/3", "--json"]) == 0
    entries = json.loads(capfd.readouterr().out)["entries"]
    assert base64.b64decode(entries[0]["xattrs"]["security.selinux"]) == label("usr") + b"\0"


def test_a_source_without_a_policy_is_told_and_not_labelled(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert build("tree", "oci:image:1", "-q", "--selinux", "source") == 0
    assert "SELinux is off in source: no labels are set" in capfd.readouterr().err


def test_lint_lists_all_findings_and_ends_with_4(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["lint", "tree"]) == 4
    out = capfd.readouterr().out
    assert "etc-to-usr-etc" in out
    assert "passwd-locks" in out
    assert "/etc/a b\\nc: moved to /usr/etc/a b\\nc" in out


def test_lint_of_a_fit_tree_ends_with_0(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_image(place / "source", [[directory("sysroot"), Change("usr/lib/modules/1/vmlinuz", data=b"!")]])
    assert run(["lint", "oci:source:t", "-q"]) == 0
    assert capfd.readouterr().out == "nothing: the tree is fit as it is\n"


def test_lint_as_json_has_every_path(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_image(place / "source", [[Change("etc/a\udcff", data=b"!")], [whiteout("x")]])
    assert run(["lint", "oci:source:t", "--json"]) == 4
    found = json.loads(capfd.readouterr().out)["findings"]
    assert list(found[0]) == ["severity", "what", "step", "paths"]
    assert [finding["severity"] for finding in found] == ["refused", "changed", "advice", "advice"]
