"""Trees that `extract` writes, compared with what umoci makes of the same images."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ostrata.pipeline.extract import extract
from plain_images import Change, Found, RandomLayers, directory, opaque, snapshot, write_image

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("umoci") is None, reason="umoci is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can unpack owners and capabilities"),
]
Run = Callable[..., str]
LAYER_COUNTS = (1, 2, 5, 20, 60, 120)


def unpack(run: Run, image: Path, bundle: Path) -> dict[bytes, Found]:
    run("umoci", "unpack", "--image", f"{image}:t", bundle)
    return snapshot(bundle / "rootfs")


@pytest.mark.parametrize("seed", range(12))
def test_an_extracted_tree_is_the_one_that_umoci_unpacks(seed: int, run: Run, tmp_path: Path) -> None:
    layers = RandomLayers(seed)
    count = LAYER_COUNTS[seed % len(LAYER_COUNTS)]
    store, image = write_image(tmp_path / "image", [layers.layer(20) for _ in range(count)])

    extract(store, image, str(tmp_path / "tree"), jobs=1 + seed % 2)

    assert snapshot(tmp_path / "tree") == unpack(run, tmp_path / "image", tmp_path / "bundle")


@pytest.mark.parametrize("order", [1, -1])
def test_an_opaque_directory_with_an_entry_has_what_the_entry_says(order: int, run: Run, tmp_path: Path) -> None:
    base = [directory("d", 0o700, uid=3, xattrs={"user.old": b"1", "user.both": b"1"}), directory("d/s"), Change("d/x")]
    again = [directory("d", 0o755, xattrs={"user.both": b"2"}), opaque("d")]
    store, image = write_image(tmp_path / "image", [base, [*again[::order], Change("d/new")]])

    extract(store, image, str(tmp_path / "tree"))

    found = snapshot(tmp_path / "tree")
    assert found == unpack(run, tmp_path / "image", tmp_path / "bundle")
    assert sorted(found) == [b".", b"d", b"d/new"]


def test_devices_are_the_ones_that_umoci_makes(run: Run, tmp_path: Path) -> None:
    devices = [
        Change("dev/null", "char", mode=0o666, device=(1, 3)),
        Change("dev/sda1", "block", mode=0o660, gid=6, device=(8, 1)),
        Change("dev/again", "link", to="dev/null"),
    ]
    store, image = write_image(tmp_path / "image", [[Change("dev/", "directory", mode=0o755), *devices]])

    extract(store, image, str(tmp_path / "tree"))

    assert snapshot(tmp_path / "tree") == unpack(run, tmp_path / "image", tmp_path / "bundle")
