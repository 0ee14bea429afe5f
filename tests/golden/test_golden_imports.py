"""The golden commits survive the round trip: every layout, compression and mode, by our importer."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import pytest

from encapsulated_images import LAYOUTS, layout_name, make_image
from golden import make_small
from ostrata import read_contentmeta
from ostrata.formats.encapsulated import Layout
from ostrata.pipeline.import_image import import_image
from ostrata.pipeline.places import open_image
from ostrata.sources.ostree_commit import read_tree
from ostrata.stores.ostree_repository import open_repository
from ostrata.stores.ostree_writer import init_repository

MODES = ("archive", "bare-user", "bare") if os.geteuid() == 0 else ("archive", "bare-user")
VARIANTS = [
    pytest.param(*variant, id=f"{layout_name(variant[0])}, {variant[1]}, {variant[2]}")
    for variant in itertools.product(LAYOUTS, ("gzip", "zstd", "none"), MODES)
]


def round_trip(image: str, repo: Path, mode: str) -> str:
    init_repository(str(repo), mode)
    store, found = open_image(image)
    return import_image(str(repo), store, found, ref="imported", jobs=2).checksum


def same(repo: Path, source: Path, ref: str) -> None:
    """All paths with all their attributes, and all content."""
    found, expected = open_repository(str(repo)), open_repository(str(source))
    commit, tree = read_tree(found, "imported")
    wanted, wanted_tree = read_tree(expected, ref)
    assert commit == wanted
    assert tree == wanted_tree
    assert found.read_detached_metadata(commit.checksum) == expected.read_detached_metadata(commit.checksum)
    for checksum in {checksum for _, checksum in commit.files}:
        for _ in found.open_file(checksum).content:
            pass  # it compares itself with its checksum


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "repo"
    make_small.make_repository(path)
    return path


@pytest.mark.parametrize(("layout", "compression", "mode"), VARIANTS)
def test_the_small_commit_comes_back(layout: Layout, compression: str, mode: str, small: Path, tmp_path: Path) -> None:
    for shape, contentmeta in (("single", None), ("chunked", make_small._contentmeta())):
        image = f"oci:{tmp_path}/{shape}"
        made = make_image(small, make_small.REF, image, layout=layout, compression=compression, contentmeta=contentmeta)
        assert round_trip(image, tmp_path / f"{shape} repo", mode) == made.commit
        same(tmp_path / f"{shape} repo", small, make_small.REF)


@pytest.mark.parametrize(("layout", "compression", "mode"), VARIANTS)
def test_the_golden_commit_comes_back(
    layout: Layout, compression: str, mode: str, golden: Path, golden_repository: Path, tmp_path: Path
) -> None:
    expected = json.loads((golden / "expected.json").read_text())
    contentmeta = read_contentmeta(str(golden / "contentmeta.json"))
    image = f"oci:{tmp_path}/image"
    make_image(
        *(golden_repository, expected["ref"], image),
        layout=layout,
        compression=compression,
        contentmeta=contentmeta,
        reserved_layer=True,
    )
    assert round_trip(image, tmp_path / "imported", mode) == expected["commit"]
    same(tmp_path / "imported", golden_repository, expected["ref"])
