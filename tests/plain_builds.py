"""Plain images built for tests, and what is in them."""

from __future__ import annotations

import json
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from ostrata.codecs.decompression import decompress
from ostrata.codecs.tar_reader import TarEntry, read_members
from ostrata.destinations.layout import LayoutDestination
from ostrata.layers.compressors import Gzip
from ostrata.model.image import Platform, StoredImage
from ostrata.model.tree import Directory
from ostrata.pipeline.build_plain import PlainOptions, PlainResult, build_plain
from ostrata.pipeline.build_plan import plan_source
from ostrata.pipeline.build_sources import PreparedSource, SourceOptions, prepare
from ostrata.pipeline.places import open_image
from ostrata.pipeline.plan import PlanOptions, TreePlan
from ostrata.pipeline.previous import NO_PREVIOUS, previous_image
from ostrata.pipeline.previous_plan import read_previous_plan
from ostrata.progress import SILENT
from ostrata.protocols import BlobStore
from ostrata.stores.blobs import read_blob

OPTIONS = PlainOptions("2024-05-17T12:00:00Z", Platform("amd64"), Gzip(1))
PLAN = PlanOptions(date(2024, 6, 1), 6)
_MAX = 1 << 30


def build(
    source: str | Path,
    image: Path,
    *,
    options: PlainOptions = OPTIONS,
    plan: PlanOptions | None = None,
    previous: Path | None = None,
    base: str | None = None,
    repository: str | None = None,
    jobs: int = 1,
) -> PlainResult:
    """Build `source` into the layout `image`, tagged ``t``, planned with the plan of `previous`."""
    name = None if previous is None else f"oci:{previous}:t"
    with ExitStack() as stack:
        tmpdir = str(image.parent)
        prepared = stack.enter_context(
            prepare(str(source), SourceOptions(repository=repository), tmpdir=tmpdir, jobs=jobs)
        )
        if base is not None:
            options = replace(
                options, base=stack.enter_context(prepare(base, SourceOptions(), tmpdir=tmpdir, jobs=jobs))
            )
        destination = stack.enter_context(LayoutDestination(str(image), "t"))
        return build_plain(
            prepared,
            prepared.tree,
            prepared.special,
            None if plan is None else (lambda paths: plan_of(prepared, plan, name, paths)),
            destination,
            options,
            previous=NO_PREVIOUS if name is None else previous_image(*open_image(name), SILENT),
            jobs=jobs,
        )


def plan_of(prepared: PreparedSource, options: PlanOptions, previous: str | None, paths: Collection[str]) -> TreePlan:
    objects = {path: entry.content for path, entry in prepared.tree if not isinstance(entry, Directory)}
    before = read_previous_plan(previous, required=previous is not None)
    return plan_source(prepared, prepared.tree, objects, 0, options, before, only=paths)


def read(image: Path) -> tuple[BlobStore, StoredImage]:
    return open_image(f"oci:{image}:t")


def config_of(image: Path) -> dict[str, Any]:
    store, found = read(image)
    return json.loads(read_blob(store, found.manifest.config.digest, _MAX))  # type: ignore[no-any-return]


def tars_of(image: Path) -> list[bytes]:
    """The tars of the layers, the lowest first."""
    store, found = read(image)
    return [
        b"".join(
            decompress(iter([read_blob(store, layer.descriptor.digest, _MAX)]), layer.descriptor.media_type, limit=_MAX)
        )
        for layer in found.layers
    ]


def entries_of(image: Path) -> list[dict[str, TarEntry]]:
    """What each layer's tar has, by path."""
    return [
        {entry.path.removesuffix("/") if entry.path != "./" else "": entry for entry, _ in read_members([tar])}
        for tar in tars_of(image)
    ]
