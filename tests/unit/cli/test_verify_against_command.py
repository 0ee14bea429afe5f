"""`ostrata verify IMAGE --against`, as it is called."""

import json
import os
from pathlib import Path

import pytest

from encapsulated_images import make_image
from ostrata.cli import run
from ostrata.pipeline.commit import CommitOptions, commit
from ostrata.stores.ostree_writer import init_repository


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree/usr").mkdir(parents=True)
    (tmp_path / "tree/usr/new\nline").write_text("1")
    return tmp_path / "tree"


@pytest.fixture
def image(tree: Path, tmp_path: Path) -> str:
    init_repository(str(tmp_path / "repo"), "archive")
    commit(str(tmp_path / "repo"), str(tree), CommitOptions("main", timestamp=1))
    make_image(tmp_path / "repo", "main", f"oci:{tmp_path}/image")
    return f"oci:{tmp_path}/image"


def test_an_equal_tree_is_exit_code_0(image: str, tree: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", image, "--against", str(tree), "-q"]) == 0
    assert "no difference in 3 entries" in capfd.readouterr().out
    assert run(["verify", image, "--against", image, "-q"]) == 0


def test_differences_are_a_table_and_exit_code_4(image: str, tree: Path, capfd: pytest.CaptureFixture[str]) -> None:
    os.chmod(tree / "usr/new\nline", 0o600)
    os.mkfifo(tree / "fifo")
    assert run(["verify", image, "--against", str(tree), "-q"]) == 4
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].split() == ["path", "what", "image", "against", "reason"]
    assert lines[1].split() == ["/fifo", "entry", "-", "FIFO", "a", "commit", "holds", "no", "FIFO"]
    assert lines[2].split() == ["/usr/new\\nline", "mode", "0644", "0600"]
    assert "2 differences, 1 of them with a known reason" in lines[-1]


def test_json_has_the_documented_fields(image: str, tree: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tree / "usr/new\nline").write_text("2")
    assert run(["verify", image, "--against", str(tree), "--mtime", "--json", "-q"]) == 4
    result = json.loads(capfd.readouterr().out)
    assert list(result) == ["ok", "digest", "commit", "against", "entries", "notes", "differences"]
    assert (result["ok"], result["against"], result["entries"]) == (False, str(tree), 3)
    assert result["differences"]["count"] == 1
    (shown,) = result["differences"]["shown"]
    assert list(shown) == ["path", "what", "image", "against", "reason"]
    assert (shown["path"], shown["what"], shown["reason"]) == ("/usr/new\nline", "content", None)


def test_what_is_neither_image_nor_directory_is_an_error(image: str, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("nowhere", "oci:nowhere"):
        assert run(["verify", image, "--against", name, "-q"]) == 1
        out, err = capfd.readouterr()
        assert out == ""
        assert "nowhere" in err


def test_wrong_usage_is_told(image: str, tree: Path) -> None:
    assert run(["verify", image, "--mtime"]) == 2
    assert run(["verify", image, "--against", str(tree), "--repo", "r", "main"]) == 2
