"""`ostrata compare`, as it is called."""

import json
from pathlib import Path
from typing import Any

import pytest

from layer_images import TarImage, tar_image
from ostrata.cli import run


def tar_of(size: int) -> bytes:
    return bytes([size % 251]) * size


@pytest.fixture
def images(tmp_path: Path) -> tuple[str, str]:
    """Two images that share the first of their two layers; then of 2000 and of 3000 bytes."""
    return written(tmp_path / "old", (1000, 2000), "kernel"), written(tmp_path / "new", (1000, 3000), "k|e`r\nnel,<b>")


def written(path: Path, sizes: tuple[int, ...], components: str) -> str:
    image: TarImage = tar_image(path, [tar_of(size) for size in sizes])
    image.manifest["layers"][-1]["annotations"] = {"ostree.components": components}
    return image.write().reference


def test_json_has_the_documented_fields(images: tuple[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", *images, "--json"]) == 0
    found: dict[str, Any] = json.loads(capfd.readouterr().out)
    assert list(found) == ["ok", "old", "new", "download_bytes", "fail_above", "shared", "added", "removed"]
    assert (found["ok"], found["download_bytes"], found["fail_above"]) == (True, 3000, None)
    assert [found[name]["bytes"] for name in ("shared", "added", "removed")] == [1000, 3000, 2000]
    assert found["added"]["layers"][0]["components"] == ["k|e`r\nnel", "<b>"]


@pytest.mark.parametrize(("limit", "code"), [("2999", 4), ("3000", 0), ("3kB", 0), ("2KiB", 4), ("1GiB", 0)])
@pytest.mark.parametrize("form", [[], ["--json"], ["--markdown"]])
def test_a_download_above_the_limit_is_exit_code_4_and_still_shown(
    limit: str, code: int, form: list[str], images: tuple[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["compare", *images, "--fail-above", limit, *form]) == code
    out, err = capfd.readouterr()
    assert ("expected a download of at most" in err) == (code == 4)
    assert ('"ok": false' if code else '"ok": true') in out if form == ["--json"] else "to download" in out


def test_the_table_shows_every_layer_on_one_line_each(
    images: tuple[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["compare", *images]) == 0
    out = capfd.readouterr().out
    words = [line.split()[0] for line in out.splitlines()[1:4]]
    assert words == ["shared", "added", "removed"]
    assert "k|e`r\\nnel, <b>" in out
    assert "3.0 kB to download in 1 of 2 layers; 1.0 kB in 1 layers are unchanged, 2.0 kB in 1 layers are gone" in out


def test_markdown_keeps_names_from_being_markup(images: tuple[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", *images, "--markdown"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith("**Update size**: 3.0 kB to download")
    assert lines[2:4] == ["| layer | size | contents |", "|---|---:|---|"]
    assert lines[4] == r"| added | 3.0 kB | k\|e\`r\\nnel, \<b\> |"
    assert lines[5] == "| removed | 2.0 kB | kernel |"
    assert len(lines) == 6


def test_images_with_the_same_layers_have_no_table_in_markdown(
    images: tuple[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["compare", images[0], images[0], "--markdown", "--fail-above", "1B"]) == 0
    assert capfd.readouterr().out.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["--json", "--markdown"], ["--fail-above", "many"], ["--platform", "amd64"], ["--platform", "/x"]]
)
def test_wrong_usage_is_told(arguments: list[str], images: tuple[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", *images, *arguments]) == 2
    assert capfd.readouterr().out == ""


def test_an_image_that_is_not_there_is_an_error(images: tuple[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", images[0], "oci:nowhere"]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert "nowhere" in err
