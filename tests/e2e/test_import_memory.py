"""The memory that an import takes grows with the entries of an image; the size of its layers does not matter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from derived_images import derived_image
from measured_program import PROGRAM, peak_of
from ostrata.errors import LimitError
from ostrata.pipeline.import_image import import_image
from ostrata.sources import image_union
from ostrata.stores.ostree_repository import open_repository
from ostrata.stores.ostree_writer import init_repository
from plain_images import Change, write_image

BOUND = 512 << 20
ENTRIES = 400_000
"""More than twice those of a desktop system."""
WORKERS = 2 * (30 << 20)
"""What two workers take before they have anything to do."""


def peak(place: Path, entries: int) -> int:
    """Bytes of memory of one process that imports an image of so many small files in 8 layers."""
    names = [f"usr/share/some-package-{number // 64}/a-file-of-a-usual-name-{number}" for number in range(entries)]
    write_image(place / "image", [[Change(name, data=name.encode()) for name in names[start::8]] for start in range(8)])
    return peak_of_import(place)


def peak_of_import(place: Path) -> int:
    arguments = ["import", f"oci:{place}/image:t", "--repo", f"{place}/repo", "--jobs", "1", "--quiet"]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True)
    return peak_of(done.stdout)


def test_an_image_of_many_entries_fits_into_the_bound(tmp_path: Path) -> None:
    few, many = (peak(tmp_path / str(entries), entries) for entries in (4_000, 24_000))
    each = (many - few) / 20_000
    assert 200 < each < 2_000
    assert few + WORKERS + each * ENTRIES < BOUND, f"{each:.0f} bytes each"


def test_the_size_of_a_layer_does_not_matter(tmp_path: Path) -> None:
    """One process does all, so that nothing that is held is held elsewhere."""
    sizes = (1 << 10, 128 << 20)
    for size in sizes:
        write_image(tmp_path / str(size) / "image", [[Change("usr/file", data=bytes(size))]])
    small, large = (peak_of_import(tmp_path / str(size)) for size in sizes)
    assert large - small < 16 << 20


def test_an_image_of_more_is_refused_and_no_ref_moves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(image_union, "MAX_ENTRIES", 40)
    repo = str(tmp_path / "repo")
    init_repository(repo, "archive")
    few = [Change(f"opt/{number}") for number in range(10)]
    found = import_image(repo, *derived_image(tmp_path / "few", few), ref="a/ref")
    layers = (few, [Change(f"usr/{number}") for number in range(20)])
    with pytest.raises(LimitError, match="expected at most 40 entries in all layers together, found more"):
        import_image(repo, *derived_image(tmp_path / "many", *layers), ref="a/ref")
    assert open_repository(repo).resolve("a/ref") == found.checksum
