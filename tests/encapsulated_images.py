"""Encapsulated images for tests: a contentmeta for any commit, an image of it, its blobs and documents."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ostrata import (
    Contentmeta,
    EncapsulateOptions,
    EncapsulateResult,
    Verification,
    compressor,
    encapsulate,
    open_destination,
    open_image,
    open_repository,
    parse_reference,
    read_commit_tree,
    verify,
)
from ostrata.codecs import contentmeta as contentmeta_codec
from ostrata.formats.encapsulated import Layout

LAYOUTS = (Layout("bootc", 1), Layout("bootc", 2), Layout("ostree-ext-0.15", 1))
LAYERS = {"d": "the d's", "a": "žluťoučký\nlayer", "c": 'quoted "c"', "b": "b"}
"""Layer ids out of order, with names that JSON has to escape."""


def layout_name(layout: Layout) -> str:
    """For parametrised tests."""
    return f"{layout.name}-v{layout.format_version}"


def spread(repository: str | os.PathLike[str], revision: str) -> Contentmeta:
    """A contentmeta that sends every object of the commit to one of four layers, by its checksum."""
    commit = read_commit_tree(open_repository(os.fspath(repository)), revision)
    mapping = {checksum: "abcd"[int(checksum[-1], 16) % 4] for _, checksum in commit.files}
    return Contentmeta(LAYERS, mapping)


def write_contentmeta(path: Path, contentmeta: Contentmeta) -> Path:
    """The contentmeta as a file, for the command line."""
    path.write_bytes(contentmeta_codec.encode(contentmeta))
    return path


def make_image(
    repository: str | os.PathLike[str],
    revision: str,
    reference: str,
    *,
    compression: str = "none",
    **options: Any,
) -> EncapsulateResult:
    """Encapsulate through the library; `options` are those of EncapsulateOptions."""
    chosen = EncapsulateOptions(compressor=compressor(compression, level=None, fast=False), **options)
    with open_destination(reference) as destination:
        return encapsulate(open_repository(os.fspath(repository)), revision, destination, chosen, jobs=2)


def check_image(reference: str, repository: str | os.PathLike[str], revision: str) -> Verification:
    """`verify` with the repository the image was made of."""
    opened = open_repository(os.fspath(repository))
    image = open_image(reference)[1]
    return verify(parse_reference(reference), image, repository=opened, revision=revision)


def ostrata(*arguments: str | os.PathLike[str]) -> str:
    """Run the command line, return its stdout; its stderr is the test's failure message."""
    command = [sys.executable, "-m", "ostrata", *map(os.fspath, arguments)]
    done = subprocess.run(command, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode("utf-8", "backslashreplace")
    return done.stdout.decode("utf-8", "surrogateescape").strip()


def blob_path(layout: str | os.PathLike[str], digest: object) -> Path:
    """Where the layout directory keeps the blob."""
    return Path(layout, "blobs", *str(digest).split(":"))


def read_document(layout: str | os.PathLike[str], digest: object) -> Any:
    """A JSON blob of the layout directory, decoded by Python's own reader."""
    return json.loads(blob_path(layout, digest).read_bytes())
