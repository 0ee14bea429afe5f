"""`ostrata learn`, as it is called."""

import pytest

import tarbuilder
from encapsulated_images import make_image, write_contentmeta
from ostrata.cli import run
from ostrata.model.plan import Contentmeta
from ostrata.pipeline.simulate import read_history
from repositories import HandmadeRepository
from tarbuilder import Node

FIRST, SECOND = "1" * 64, "2" * 64


@pytest.fixture
def releases(tmp_path):
    found = []
    for number, checksum in ((1, FIRST), (2, SECOND)):
        contentmeta = Contentmeta({"a": "a"}, {checksum: "a"}, created=f"2024-01-0{number}T00:00:00Z")
        found.append(str(write_contentmeta(tmp_path / f"{number}.json", contentmeta)))
    return found


def test_the_history_is_written_and_summed_up(releases, tmp_path, capfd):
    output = str(tmp_path / "history.json.gz")
    assert run(["learn", *releases, "-o", output, "--title", "t"]) == 0
    out, err = capfd.readouterr()
    assert out == ""
    assert f"1 component, 1 update on 1 day, written to {output}" in err
    assert read_history(output).title == "t"


def test_quiet_says_warnings_only(releases, tmp_path, capfd):
    output = str(tmp_path / "h.json")
    assert run(["learn", *releases, "-o", output, "-q"]) == 0
    assert capfd.readouterr() == ("", "")
    assert run(["learn", releases[0], "-o", output, "-q"]) == 0
    assert "one release says nothing about updates" in capfd.readouterr().err


def test_wrong_usage_is_told(releases, tmp_path, capfd):
    assert run(["learn", "-o", str(tmp_path / "h")]) == 2
    assert run(["learn", *releases]) == 2
    assert not (tmp_path / "h").exists()


def test_a_source_that_is_not_there_leaves_no_history(tmp_path, capfd):
    assert run(["learn", str(tmp_path / "none"), "-o", str(tmp_path / "h")]) == 1
    assert capfd.readouterr().err.startswith("ostrata: error: ")
    assert not (tmp_path / "h").exists()


DATABASE = "usr/lib/apk/db/installed"


@pytest.fixture
def image(tmp_path):
    files = {DATABASE: b"P:a\nV:1\nF:usr\nR:a\n\n", "usr/a": b"1"}
    tree = {path: Node("directory", 0o755) for path in ("", "usr", "usr/lib", "usr/lib/apk", "usr/lib/apk/db")}
    tree |= {path: Node("file", 0o644, data=data) for path, data in files.items()}
    repository = HandmadeRepository(tmp_path / "repo")
    mapping = {tarbuilder.file_checksum(tree[path]): "1" for path in files}
    reference = f"oci:{tmp_path}/layout:t"
    make_image(repository.path, repository.put_tree(tree), reference, contentmeta=Contentmeta({"1": "all"}, mapping))
    return reference


@pytest.mark.parametrize(
    ("options", "names", "size"),
    [([], ["all"], 20), (["--no-layers"], ["all"], None), (["--packages"], ["a", "all"], 1)],
)
def test_options_reach_what_is_learned(image, tmp_path, options, names, size):
    output = str(tmp_path / "h.json")
    assert run(["learn", image, "-o", output, "-q", *options]) == 0
    components = read_history(output).components
    assert [item.name for item in components] == names
    if size is None:
        assert components[0].size == components[0].compressed_size
    else:
        assert components[0].size == size


def test_a_repository_reaches_what_is_learned(tmp_path):
    repository = HandmadeRepository(tmp_path / "repo")
    checksum = repository.put_file(Node("file", 0o644, data=b"12345"))
    contentmeta = Contentmeta({"a": "a"}, {checksum: "a"}, created="2024-01-01T00:00:00Z")
    path = str(write_contentmeta(tmp_path / "meta.json", contentmeta))
    output = str(tmp_path / "h.json")
    assert run(["learn", path, "-o", output, "-q", "--repo", str(repository.path)]) == 0
    assert read_history(output).components[0].size == 5
