from __future__ import annotations

import io
import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

import fidelity
from ostrata.codecs.plan_label import decode
from ostrata.codecs.tar_reader import Kind, read_members
from ostrata.destinations.layout import LayoutDestination
from ostrata.errors import AccessError, MalformedError, PlanError, UnsupportedError
from ostrata.layers.compressors import Plain, Zstd
from ostrata.model.image import Platform
from ostrata.pipeline.build_plain import build_plain
from ostrata.pipeline.build_sources import SourceOptions, prepare
from ostrata.pipeline.compare_contents import equal_contents
from ostrata.pipeline.image_layers import BASE, BUILT, SAME_DIFF_ID
from ostrata.pipeline.verify_against import verify_against
from ostrata.progress import SILENT
from plain_builds import OPTIONS, PLAN, build, config_of, entries_of, read, tars_of
from plain_images import Change, directory, layer_tar, link, symlink, write_image
from planned_trees import commit_tree, make_packaged_tree

PACKAGES = {
    "bash": {"usr/bin/bash": b"#" * 2000, "usr/share/bash/ž\n": b"notes"},
    "vim": {"usr/bin/vim": b"vim" * 700, "usr/share/vim/one": b"1"},
    "zlib": {"usr/lib/libz.so.1": b"z" * 3000},
}
NOON = 1_715_947_200  # 2024-05-17T12:00:00Z, the day of the packages


def packaged(path: Path, *, vim: bytes = b"vim" * 700) -> Path:
    tree = make_packaged_tree(path, {**PACKAGES, "vim": {**PACKAGES["vim"], "usr/bin/vim": vim}})
    (tree / "etc").mkdir()
    (tree / "etc/hosts").write_text("127.0.0.1\n")
    for file in tree.rglob("*"):
        os.utime(file, (NOON, NOON))
    return tree


def test_an_image_has_the_tree_of_its_source(tmp_path: Path) -> None:
    (tmp_path / "source.tar").write_bytes(fidelity.tar())

    build(tmp_path / "source.tar", tmp_path / "image")

    write_image(tmp_path / "expected", [fidelity.tar()])
    found = verify_against(read(tmp_path / "image"), read(tmp_path / "expected"))
    assert not found.differences
    assert found.entries == len({change.path for change in fidelity.changes()})


@pytest.mark.parametrize("compressor", [Plain(), Zstd(1), OPTIONS.compressor], ids=lambda each: each.name)
def test_planned_layers_hold_the_components_that_the_plan_says(tmp_path: Path, compressor: object) -> None:
    result = build(
        packaged(tmp_path / "tree"),
        tmp_path / "image",
        plan=PLAN,
        options=replace(OPTIONS, compressor=compressor),  # type: ignore[arg-type]
    )

    first, *planned = entries_of(tmp_path / "image")
    assert {entry.kind for entry in first.values()} == {Kind.DIRECTORY}
    names = [layer.layer.descriptor.annotations["ostrata.components"].split(",") for layer in result.layers[1:]]
    (vim,) = [entries for entries, inside in zip(planned, names, strict=True) if "vim" in inside]
    assert {"usr/bin/vim", "usr/share/vim/one"} <= set(vim)
    assert sum("usr/bin/vim" in entries for entries in planned) == 1
    assert {layer.how for layer in result.layers} == {BUILT}
    assert len(result.layers) <= 6


def test_directories_have_the_same_bytes_in_all_layers(tmp_path: Path) -> None:
    build(packaged(tmp_path / "tree"), tmp_path / "image", plan=PLAN)

    heads: dict[str, set[bytes]] = {}
    for tar in tars_of(tmp_path / "image"):
        with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
            for member in archive:
                if member.isdir():
                    heads.setdefault(member.name, set()).add(tar[member.offset : member.offset_data])
    assert len(heads["usr"]) == len(heads["usr/bin"]) == len(heads["."]) == 1
    assert all(len(each) == 1 for each in heads.values())


def test_the_digest_depends_on_neither_jobs_nor_the_kind_of_source(tmp_path: Path) -> None:
    tree = packaged(tmp_path / "tree")
    with tarfile.open(tmp_path / "tree.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.add(tree, ".")

    digests = {
        build(source, tmp_path / f"image {number}", plan=PLAN, jobs=jobs).manifest.digest
        for number, (source, jobs) in enumerate([(tree, 1), (tree, 3), (tmp_path / "tree.tar", 1)])
    }

    assert len(digests) == 1


def test_building_again_from_what_was_built_gives_the_same_manifest(tmp_path: Path) -> None:
    first = build(packaged(tmp_path / "tree"), tmp_path / "one", plan=PLAN)

    again = build(f"oci:{tmp_path}/one:t", tmp_path / "two", plan=PLAN, previous=tmp_path / "one")

    assert again.manifest == first.manifest
    assert {layer.how for layer in again.layers} == {SAME_DIFF_ID}


@pytest.mark.parametrize("planned", [False, True])
def test_building_again_without_the_previous_image_gives_the_same_manifest(tmp_path: Path, planned: bool) -> None:
    (tmp_path / "source.tar").write_bytes(fidelity.tar())
    plan = PLAN if planned else None
    first = build(tmp_path / "source.tar", tmp_path / "one", plan=plan)
    assert build(f"oci:{tmp_path}/one:t", tmp_path / "two", plan=plan).manifest == first.manifest


def test_one_changed_package_changes_the_layers_that_hold_it_and_no_other(tmp_path: Path) -> None:
    build(packaged(tmp_path / "old"), tmp_path / "one", plan=PLAN)

    result = build(packaged(tmp_path / "new", vim=b"new"), tmp_path / "two", plan=PLAN, previous=tmp_path / "one")

    built = [layer.layer.descriptor.annotations for layer in result.layers if layer.how == BUILT]
    assert ["vim" in each["ostrata.components"].split(",") for each in built] == [True]
    old = {layer.descriptor.digest for layer in read(tmp_path / "one")[1].layers}
    new = {layer.descriptor.digest for layer in read(tmp_path / "two")[1].layers}
    assert len(new - old) == 1


# Times


def test_files_are_not_younger_than_the_build_of_their_package(tmp_path: Path) -> None:
    tree = packaged(tmp_path / "tree")
    for path, time in (
        ("usr/bin/vim", NOON + 60),
        ("usr/bin/bash", NOON + 10 * 86400),
        ("etc/hosts", NOON + 10 * 86400),
    ):
        os.utime(tree / path, (time, time))

    result = build(tree, tmp_path / "image", plan=PLAN, options=replace(OPTIONS, unpackaged_mtime=5))

    found = {path: entry.mtime for layer in entries_of(tmp_path / "image") for path, entry in layer.items()}
    assert found["usr/bin/vim"] == NOON + 60
    assert found["usr/bin/bash"] == NOON + 12 * 3600  # midnight
    assert found["etc/hosts"] == 5
    assert found["usr/bin"] == found[""] == 0
    unpackaged = {"etc/hosts", "usr/lib/apk/db/installed", "usr/share/bash/ž\n"}  # apk's lists end at a newline
    assert {path for path, time in found.items() if time == 5} == unpackaged
    assert result.notes == ("times of 4 files clamped",)


def test_a_clamp_that_is_asked_for_holds_for_all_files(tmp_path: Path) -> None:
    build(packaged(tmp_path / "tree"), tmp_path / "image", plan=PLAN, options=replace(OPTIONS, clamp_mtime=7))
    times = {entry.mtime for layer in entries_of(tmp_path / "image") for entry in layer.values()}
    assert times == {0, 7}


# Links


def test_seventy_thousand_names_are_links_to_two_files(tmp_path: Path) -> None:
    (tmp_path / "source.tar").write_bytes(fidelity.tar(links=70_000))

    result = build(tmp_path / "source.tar", tmp_path / "image", options=replace(OPTIONS, compressor=Plain()))

    assert result.notes == ("1 copies in place of hard links: file systems have at most 65,000 names for a file",)
    (tar,) = tars_of(tmp_path / "image")
    members = [(entry.kind, entry.link_target) for entry, _ in read_members([tar]) if "lib/many/" in entry.path][1:]
    assert members[0] == members[65_000] == (Kind.FILE, "")
    assert members[1:65_000] == [(Kind.HARD_LINK, "usr/lib/many/00000")] * 64_999
    assert members[65_001:] == [(Kind.HARD_LINK, "usr/lib/many/65000")] * 4_999


def test_equal_files_of_a_commit_are_links_but_empty_ones_are_not(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "usr").mkdir(parents=True)
    for name, data in (("a", b"twins"), ("b", b"twins"), ("c", b""), ("d", b"")):
        (tree / "usr" / name).write_bytes(data)
    commit_tree(tmp_path / "repo", tree)

    build("os", tmp_path / "image", repository=str(tmp_path / "repo"))

    (layer,) = entries_of(tmp_path / "image")
    assert [layer[f"usr/{name}"].kind for name in "abcd"] == [Kind.FILE, Kind.HARD_LINK, Kind.FILE, Kind.FILE]
    assert {entry.mtime for entry in layer.values()} == {0}


# What goes wrong


@pytest.mark.parametrize("path", ["usr/.wh.x", ".wh.x/y", "usr/.wh..wh..opq"])
def test_names_that_mean_deletions_are_refused_before_anything_is_written(tmp_path: Path, path: str) -> None:
    (tmp_path / "tree" / path).parent.mkdir(parents=True)
    (tmp_path / "tree" / path).write_bytes(b"")
    with pytest.raises(UnsupportedError, match=r"begin with \.wh\."):
        build(tmp_path / "tree", tmp_path / "image")
    assert not (tmp_path / "image").exists()


def test_a_file_that_changes_meanwhile_ends_the_build_and_no_image_is_seen(tmp_path: Path) -> None:
    tree = packaged(tmp_path / "tree")
    with prepare(str(tree), SourceOptions(), tmpdir=str(tmp_path)) as prepared:
        (tree / "etc/hosts").write_text("another")
        with LayoutDestination(str(tmp_path / "image"), "t") as destination, pytest.raises(AccessError, match="hosts"):
            build_plain(prepared, prepared.tree, prepared.special, None, destination, OPTIONS)
    assert not (tmp_path / "image/index.json").exists()


def test_labels_that_only_ostrata_sets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"label 'ostrata\.plan'"):
        build(
            packaged(tmp_path / "tree"), tmp_path / "image", options=replace(OPTIONS, labels=(("ostrata.plan", "x"),))
        )


# Configuration


def test_the_sources_configuration_is_kept_and_its_layers_are_not(tmp_path: Path) -> None:
    write_image(tmp_path / "source", [[Change("a", data=b"1")], [Change("b", data=b"2")]], labels={"kept": "1"})
    build(f"oci:{tmp_path}/source:t", tmp_path / "image")
    config = config_of(tmp_path / "image")
    assert config["config"]["Labels"].keys() == {"kept", "ostrata.plan"}
    assert config["history"] == [{"created": OPTIONS.created, "created_by": "directories"}]
    assert len(config["rootfs"]["diff_ids"]) == 1


def test_a_damaged_configuration_is_refused_before_layers_are_written(tmp_path: Path) -> None:
    write_image(tmp_path / "source", [[Change("a", data=b"1")]])
    with prepare(f"oci:{tmp_path}/source:t", SourceOptions(), tmpdir=str(tmp_path)) as prepared:
        damaged = replace(prepared, config=b'{"architecture": "amd64", "architecture": "arm64"}')
        with (
            LayoutDestination(str(tmp_path / "image"), "t") as destination,
            pytest.raises(MalformedError, match="'architecture' appears twice"),
        ):
            build_plain(damaged, prepared.tree, prepared.special, None, destination, OPTIONS)
    assert not (tmp_path / "image").exists()


# On top of a base


BASE_LAYERS = [
    [directory("./"), directory("usr"), Change("usr/kept", data=b"k" * 900), Change("usr/gone", data=b"g")],
    [directory("usr/d"), Change("usr/d/x", data=b"x"), Change("usr/d/y", data=b"y"), symlink("lib", "usr/lib")],
]


def above(tmp_path: Path, changes: list[Change], **more: object) -> tuple[list[dict[str, object]], object]:
    """Build BASE_LAYERS and `changes` as one tar on top of BASE_LAYERS; the layers above, and the result."""
    write_image(tmp_path / "base", BASE_LAYERS)
    (tmp_path / "tree.tar").write_bytes(layer_tar(changes))
    result = build(tmp_path / "tree.tar", tmp_path / "image", base=f"oci:{tmp_path}/base:t", **more)  # type: ignore[arg-type]
    write_image(tmp_path / "expected", [changes])
    found = verify_against(read(tmp_path / "image"), read(tmp_path / "expected"))
    assert not found.differences
    return entries_of(tmp_path / "image")[2:], result  # type: ignore[return-value]


UNCHANGED = [change for layer in BASE_LAYERS for change in layer]


def test_a_bases_layers_stay_and_an_unchanged_tree_adds_nothing_but_the_root(tmp_path: Path) -> None:
    layers, result = above(tmp_path, UNCHANGED)
    assert [list(layer) for layer in layers] == [[""]]
    assert [report.how for report in result.layers] == [BASE, BASE, BUILT]
    base, image = read(tmp_path / "base")[1], read(tmp_path / "image")[1]
    assert [layer.descriptor.digest for layer in image.layers[:2]] == [layer.descriptor.digest for layer in base.layers]
    assert [layer.created_by for layer in image.layers] == ["layer 0", "layer 1", "directories"]


def test_what_is_gone_is_hidden_by_whiteouts_the_topmost_only(tmp_path: Path) -> None:
    kept = [change for change in UNCHANGED if not change.path.startswith(("usr/gone", "usr/d"))]
    layers, result = above(tmp_path, kept)
    assert list(layers[0]) == ["", "usr", "usr/.wh.d", "usr/.wh.gone"]
    assert result.notes == ()


def test_what_wastes_more_than_a_tenth_is_said(tmp_path: Path) -> None:
    _, result = above(tmp_path, [change for change in UNCHANGED if change.path != "usr/kept"])
    (note,) = result.notes
    assert note.startswith("100 % of the base's content")


@pytest.mark.parametrize(
    ("path", "new"),
    [
        ("usr/d", [Change("usr/d", data=b"a file now")]),
        ("usr/d", [symlink("usr/d", "gone")]),
        ("usr/gone", [directory("usr/gone"), Change("usr/gone/in", data=b"in")]),
        ("lib", [directory("lib"), Change("lib/in", data=b"in")]),
        ("lib", [symlink("lib", "usr/lib64")]),
        ("usr/gone", [Change("usr/gone", data=b"h")]),
        ("usr/gone", [Change("usr/gone", data=b"g", mode=0o600)]),
        ("usr/gone", [Change("usr/gone", data=b"g", mtime=1)]),
        ("usr/gone", [Change("usr/gone", data=b"g", xattrs={"user.a": b""})]),
        ("usr", [directory("usr", 0o711)]),
        ("usr/gone", [Change("usr/gone", "fifo")]),
    ],
    ids=str,
)
def test_whatever_changes_is_written_above_the_base(tmp_path: Path, path: str, new: list[Change]) -> None:
    inside = path == "usr/d"
    kept = [change for change in UNCHANGED if change.path != path and not (inside and change.path.startswith("usr/d/"))]
    at = next(position for position, change in enumerate(UNCHANGED) if change.path == path)
    layers, _ = above(tmp_path, [*kept[:at], *new, *kept[at:]])
    assert path in layers[0]
    assert not [name for name in layers[0] if ".wh." in name]
    assert "usr/kept" not in layers[0]


def test_a_new_name_of_a_file_of_the_base_brings_all_names_of_it(tmp_path: Path) -> None:
    layers, _ = above(tmp_path, [*UNCHANGED, link("usr/another", "usr/kept")])
    assert set(layers[0]) == {"", "usr", "usr/another", "usr/kept"}
    assert layers[0]["usr/kept"].kind is Kind.HARD_LINK


def test_changed_times_of_directories_and_clamped_ones_of_files_are_no_change(tmp_path: Path) -> None:
    touched = [replace(change, mtime=9) if change.kind == "directory" else change for change in UNCHANGED]
    layers, _ = above(tmp_path, touched, options=replace(OPTIONS, clamp_mtime=5))
    assert list(layers[0]) == [""]


def test_the_base_of_an_encapsulated_image_keeps_what_its_labels_say(tmp_path: Path) -> None:
    _, base = write_image(tmp_path / "plain", BASE_LAYERS)
    labels = {"ostree.final-diffid": str(base.layers[-1].diff_id), "ostree.commit": "c" * 64}
    write_image(tmp_path / "base", BASE_LAYERS, labels=labels)
    (tmp_path / "tree.tar").write_bytes(layer_tar(UNCHANGED))

    build(tmp_path / "tree.tar", tmp_path / "image", base=f"oci:{tmp_path}/base:t")
    build(f"oci:{tmp_path}/base:t", tmp_path / "alone")

    assert labels.items() <= config_of(tmp_path / "image")["config"]["Labels"].items()
    assert config_of(tmp_path / "alone")["config"]["Labels"].keys() == {"ostrata.plan"}


def test_layers_that_source_and_base_share_are_not_read(tmp_path: Path) -> None:
    write_image(tmp_path / "base", BASE_LAYERS, compresses=False)
    write_image(tmp_path / "source", [*BASE_LAYERS, [Change("new")]], compresses=False)
    with (
        prepare(f"oci:{tmp_path}/base:t", SourceOptions(), tmpdir=str(tmp_path)) as base,
        prepare(f"oci:{tmp_path}/source:t", SourceOptions(), tmpdir=str(tmp_path)) as source,
    ):
        for blob in (tmp_path / "base/blobs/sha256").iterdir():
            blob.write_bytes(b"")  # whoever reads it fails
        file = base.tree.entries["usr/kept"]
        pair = (file.content, file.content)  # type: ignore[union-attr]
        found = equal_contents(base, source, {pair: (file, file)}, jobs=1, progress=SILENT)  # type: ignore[dict-item]
    assert found == {pair}


def test_the_plan_of_an_image_with_a_base_is_carried_on(tmp_path: Path) -> None:
    tree = packaged(tmp_path / "tree")
    write_image(tmp_path / "base", BASE_LAYERS)
    first = build(tree, tmp_path / "one", base=f"oci:{tmp_path}/base:t", plan=PLAN)
    again = build(tree, tmp_path / "two", base=f"oci:{tmp_path}/base:t", plan=PLAN, previous=tmp_path / "one")
    assert again.manifest == first.manifest
    assert [report.how for report in again.layers] == [BASE, BASE, *[SAME_DIFF_ID] * (len(again.layers) - 2)]
    carried = decode(read(tmp_path / "one")[1].config.labels, ()).layers
    assert [identifier for identifier, _ in carried[:4]] == ["base-001", "base-002", "directories", "layer-001"]
    assert len(carried) == len(first.layers)


def test_only_what_is_written_above_a_base_is_planned(tmp_path: Path) -> None:
    build(packaged(tmp_path / "old"), tmp_path / "base")
    new = packaged(tmp_path / "new", vim=b"another")
    (new / "usr/share/more").write_bytes(b"more")

    result = build(new, tmp_path / "image", base=f"oci:{tmp_path}/base:t", plan=PLAN)

    above = [report.layer.descriptor.annotations.get("ostrata.components") for report in result.layers[1:]]
    assert (above[0], sorted(filter(None, above))) == (None, ["unclaimed", "vim"])
    written = sorted(path for layer in entries_of(tmp_path / "image")[1:] for path in layer if path.count("/") > 1)
    assert written == ["usr/bin/vim", "usr/share/more"]


def test_times_that_the_plan_clamps_are_no_change(tmp_path: Path) -> None:
    tree = packaged(tmp_path / "tree")
    for days in (5, 9):
        for file in ("usr/bin/vim", "usr/bin/bash"):
            os.utime(tree / file, (NOON + days * 86400, NOON + days * 86400))
        base = None if days == 5 else f"oci:{tmp_path}/base:t"
        result = build(tree, tmp_path / ("base" if days == 5 else "image"), base=base, plan=PLAN)
    assert [list(layer) for layer in entries_of(tmp_path / "image")[len(result.layers) - 1 :]] == [[""]]


def test_an_image_of_nothing_but_whiteouts_is_built(tmp_path: Path) -> None:
    layers, _ = above(tmp_path, [directory("./")])
    assert list(layers[0]) == ["", ".wh.lib", ".wh.usr"]


def test_a_base_that_is_no_image_is_refused(tmp_path: Path) -> None:
    tree = packaged(tmp_path / "tree")
    with pytest.raises(UnsupportedError, match="as base"):
        build(tree, tmp_path / "image", base=str(tree))


def test_a_base_for_another_platform_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    write_image(tmp_path / "base", BASE_LAYERS)
    (tmp_path / "tree.tar").write_bytes(layer_tar(UNCHANGED))
    options = replace(OPTIONS, platform=Platform("arm64"))
    with pytest.raises(UnsupportedError, match="expected a base for linux/arm64, found one for linux/amd64"):
        build(tmp_path / "tree.tar", tmp_path / "image", base=f"oci:{tmp_path}/base:t", options=options)
    assert not (tmp_path / "image").exists()


def test_history_and_diff_ids_fit_together_with_a_base_of_another_history(tmp_path: Path) -> None:
    write_image(tmp_path / "base", BASE_LAYERS)
    (tmp_path / "tree.tar").write_bytes(layer_tar([*UNCHANGED, Change("new", data=b"n")]))
    build(tmp_path / "tree.tar", tmp_path / "image", base=f"oci:{tmp_path}/base:t", plan=PLAN)
    config = config_of(tmp_path / "image")
    assert len(config["history"]) == len(config["rootfs"]["diff_ids"]) == 4
    assert json.dumps(config)
