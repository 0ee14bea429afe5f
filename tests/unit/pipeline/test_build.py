"""Images of the format ostree, built without a repository: the same bytes as by way of one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from ostrata.errors import AccessError, DigestMismatchError, MalformedError, PlanError, UnsupportedError
from ostrata.formats import encapsulated
from ostrata.formats.encapsulated import Layout
from ostrata.formats.encapsulated_config import ConfigOptions
from ostrata.layers.compressors import compressor
from ostrata.model.component import Component
from ostrata.model.component_map import ComponentMap, MapRule
from ostrata.model.digest import Digest
from ostrata.model.history import History
from ostrata.pipeline import build as pipeline_build
from ostrata.pipeline import build_commit
from ostrata.pipeline.build import (
    BuildOptions,
    BuildResult,
    CommitText,
    base_config,
    build_ostree,
    check_apart,
    fit_source,
)
from ostrata.pipeline.build_cache import TICKS, BuildCache
from ostrata.pipeline.build_sources import SourceOptions, prepare
from ostrata.pipeline.commit import CommitOptions, commit
from ostrata.pipeline.encapsulate import EncapsulateOptions, encapsulate
from ostrata.pipeline.fitting import Step, choose_steps
from ostrata.pipeline.fitting_steps import OSTREE_STEPS
from ostrata.pipeline.places import open_destination, open_image, open_previous
from ostrata.pipeline.plan import PlanOptions, open_commit_to_plan, plan_tree
from ostrata.pipeline.previous_plan import read_previous_plan
from ostrata.progress import SILENT, Progress
from ostrata.sources.image import open_image_source
from ostrata.stores import blobs
from ostrata.stores.ostree_repository import open_repository
from ostrata.stores.ostree_writer import init_repository
from ostree_trees import add_user_xattrs, add_what_needs_root, make_tree
from plain_images import Change, directory, layer_tar, link, symlink, whiteout, write_image
from planned_trees import make_packaged_tree
from unprivileged import as_nobody

TIMESTAMP = 1_715_947_200
NO_STEPS: tuple[Step, ...] = ()
DEFAULT_STEPS = tuple(choose_steps(OSTREE_STEPS))
IMAGE = EncapsulateOptions(compressor=compressor("none"))
TEXT = CommitText(TIMESTAMP, "a subject", (("version", "41"),))


def build(
    source: str | os.PathLike[str],
    destination: str,
    *,
    steps: tuple[Step, ...] = DEFAULT_STEPS,
    image: EncapsulateOptions = IMAGE,
    source_options: SourceOptions | None = None,
    previous: str | None = None,
    cache: str | None = None,
    jobs: int = 1,
    progress: Progress = SILENT,
    **more: object,
) -> BuildResult:
    known = BuildCache(cache, os.fspath(source))
    options = BuildOptions(TEXT, image, cache=known, **more)  # type: ignore[arg-type]
    from_source = replace(source_options or SourceOptions(), bare=known.bare_files())
    tmpdir = os.path.dirname(destination.partition(":")[2])
    with (
        prepare(os.fspath(source), from_source, tmpdir=tmpdir, jobs=jobs) as prepared,
        open_destination(destination) as opened,
    ):
        source_with_made, fitted = fit_source(prepared, steps)
        return build_ostree(
            source_with_made,
            fitted,
            opened,
            options,
            previous=open_previous(previous, SILENT),
            previous_plan=read_previous_plan(previous),
            jobs=jobs,
            progress=progress,
        )


def digest(built: BuildResult) -> str:
    return str(built.image.manifest.digest)


class During:
    """Does something when a phase begins; the rest of a Progress."""

    def __init__(self, phase: str, does: Callable[[], object]) -> None:
        self._phase, self._does = phase, does

    def start(self, phase: str, total: int | None) -> None:
        if phase == self._phase:
            self._does()

    def advance(self, amount: int) -> None: ...

    def warn(self, message: str) -> None: ...


class Reading(During):
    """Notes how many bytes are hashed, and warnings."""

    def __init__(self, read: list[int]) -> None:
        super().__init__("", lambda: None)
        self._read = read
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def start(self, phase: str, total: int | None) -> None:
        if phase == "hashing files":
            self._read.append(total or 0)


def commit_and_encapsulate(
    tree: Path, work: Path, image: EncapsulateOptions = IMAGE, plan: PlanOptions | None = None
) -> str:
    """The manifest's digest of the image that goes by way of a repository."""
    init_repository(str(work / "repo"), "archive")
    options = CommitOptions(
        None, TIMESTAMP, TEXT.subject, no_bindings=True, metadata_strings=TEXT.metadata, bootable=TEXT.bootable
    )
    checksum = commit(str(work / "repo"), str(tree), options).checksum
    repository = open_repository(str(work / "repo"))
    if plan is not None:
        image = replace(image, contentmeta=plan_tree(open_commit_to_plan(repository, checksum), plan).contentmeta)
    with open_destination(f"oci:{work / 'by way of a repository'}") as destination:
        return str(encapsulate(repository, checksum, destination, image).manifest.digest)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Every shape of entry; hard links, twins, owners and xattrs where this user may set them."""
    made = make_tree(tmp_path / "tree")
    if os.geteuid() == 0:
        add_what_needs_root(made)
        try:
            add_user_xattrs(made)
        except OSError:
            pytest.skip("no user.* xattrs here")
    return made


@pytest.mark.skipif(os.geteuid() != 0, reason="the tree has files that only root may read")
@pytest.mark.parametrize("layout", [Layout(), Layout("ostree-ext-0.15", 1)])
def test_the_image_is_the_one_that_commit_and_encapsulate_make(tmp_path: Path, tree: Path, layout: Layout) -> None:
    image = EncapsulateOptions(layout, compressor("gzip"), config=ConfigOptions(labels=(("a", "b"),)))
    wanted = commit_and_encapsulate(tree, tmp_path, image)
    built = build(tree, f"oci:{tmp_path}/built", image=image, jobs=2)
    assert digest(built) == wanted
    assert [step.name for step in built.taken] == ["drop-empty-xattrs"]


def test_the_planned_image_is_the_one_that_commit_plan_and_encapsulate_make(tmp_path: Path) -> None:
    packages = {name: {f"usr/lib/{name}/{n}": f"{name} {n}".encode() * n for n in range(9)} for name in "abc"}
    tree = make_packaged_tree(tmp_path / "tree", packages)
    (tree / "usr/a file\nof nobody ž").write_text("?")
    os.link(tree / "usr/lib/a/3", tree / "usr/lib/b/hard link")
    plan = PlanOptions(clock=date(2024, 5, 18), max_layers=4)
    wanted = commit_and_encapsulate(tree, tmp_path, plan=plan)
    built = build(tree, f"oci:{tmp_path}/built", plan=plan)
    assert len(built.image.layers) == 4
    assert digest(built) == wanted


def test_the_bootable_image_is_the_same_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tmp_path / "tree"
    (tree / "usr/lib/modules/6.1 ž").mkdir(parents=True)
    (tree / "usr/lib/modules/6.1 ž/vmlinuz").write_text("a kernel")
    monkeypatch.setattr(f"{__name__}.TEXT", replace(TEXT, bootable=True))
    wanted = commit_and_encapsulate(tree, tmp_path)
    built = build(tree, f"oci:{tmp_path}/built")
    assert digest(built) == wanted
    assert open_image(f"oci:{tmp_path}/built")[1].config.labels["ostree.linux"] == "6.1 ž"


# Other sources


ROOTFS = [
    [
        directory("usr", 0o555, gid=35),
        Change("usr/sudo", mode=0o4111, uid=0, data=b"s" * 3000, xattrs={"security.capability": b"\1\0\0\2"}),
        link("usr/hard link", "usr/sudo"),
        directory("etc"),
        Change("etc/passwd", data=b"root:x:0:0::/root:/bin/sh\n"),
        directory("var"),
        Change("var/log", data=b"log"),
    ],
    [whiteout("usr/hard link"), Change("usr/new\nline ž", data=b"n" * 70_000, mode=0o640, uid=7, gid=8)],
    [symlink("lib", "usr/lib"), Change("usr/empty"), Change("dev/null", "char", device=(1, 3))],
]


def test_an_image_a_tar_of_it_and_a_commit_of_it_give_the_same_image(tmp_path: Path) -> None:
    write_image(tmp_path / "image", ROOTFS)
    flat = [*ROOTFS[0][:2], *ROOTFS[0][3:], ROOTFS[1][1], *ROOTFS[2]]
    (tmp_path / "tree.tar").write_bytes(layer_tar(flat))
    one = build(f"oci:{tmp_path}/image:t", f"oci:{tmp_path}/one")
    other = build(tmp_path / "tree.tar", f"oci:{tmp_path}/other")
    assert digest(one) == digest(other)
    assert [step.name for step in one.taken] == ["drop-special", "etc-to-usr-etc", "keep-var-out"]


def test_a_commit_gives_the_image_that_it_is_encapsulated_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tree/usr/etc").mkdir(parents=True)
    (tmp_path / "tree/usr/etc/a\nb ž").write_bytes(b"content" * 1000)
    wanted = commit_and_encapsulate(tmp_path / "tree", tmp_path)
    repository = open_repository(str(tmp_path / "repo"))
    checksum = next(
        name[:2] + path.stem for path in (tmp_path / "repo/objects").glob("*/*.commit") for name in (path.parent.name,)
    )
    assert repository.resolve(checksum) == checksum
    options = SourceOptions(repository=str(tmp_path / "repo"))
    read: list[int] = []
    built = build(checksum, f"oci:{tmp_path}/built", source_options=options, progress=Reading(read))
    assert (digest(built), read) == (wanted, [0])


def test_the_config_of_a_source_image_is_kept_but_for_what_it_says_of_that_image(tmp_path: Path) -> None:
    labels = {"containers.bootc": "1", "ostree.linux": "old", "ostree.commit": "old", "dev.hhd.rechunk.info": "old"}
    write_image(tmp_path / "image", ROOTFS, labels=labels | {"vendor": "ž"})
    with prepare(f"oci:{tmp_path}/image:t", SourceOptions(), tmpdir=str(tmp_path)) as prepared:
        config = base_config(prepared)
        assert config == {"Labels": {"containers.bootc": "1", "vendor": "ž"}}
        changed = replace(prepared, config=b'{"config": {"Healthcheck": {"Test": ["a"]}, "Labels": null}}')
        assert base_config(changed) == {"Healthcheck": {"Test": ["a"]}, "Labels": {}}
        for config_bytes in (b'{"config": []}', b'{"config": {"Labels": {"a": 1}}}', b'{"config": {}, "config": {}}'):
            with pytest.raises(MalformedError, match="the source's config"):
                base_config(replace(prepared, config=config_bytes))


# Contents that a step made


@pytest.mark.parametrize("kind", ["directory", "tar"])
def test_what_a_step_made_is_in_the_image(tmp_path: Path, kind: str) -> None:
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nother:x:1:1::/:/bin/sh\n")
    (tmp_path / "tree.tar").write_bytes(layer_tar([Change("etc/passwd", data=(tree / "etc/passwd").read_bytes())]))
    steps = tuple(choose_steps(OSTREE_STEPS, added=["split-passwd"]))
    cache = {"cache": str(tmp_path / "cache")} if kind == "directory" else {}
    source = tree if kind == "directory" else tmp_path / "tree.tar"
    build(source, f"oci:{tmp_path}/built", steps=steps, jobs=2, **cache)
    assert extracted(tmp_path / "built", "usr/lib/passwd") == b"other:x:1:1::/:/bin/sh\n"
    assert extracted(tmp_path / "built", "etc/passwd") == b"root:x:0:0::/:/bin/sh\n"


def extracted(image: Path, path: str) -> bytes:
    store, found = open_image(f"oci:{image}")
    with open_image_source(store, found) as source:
        return b"".join(source.open(path))


# What a commit cannot hold


def test_what_a_commit_cannot_hold_is_refused_all_at_once(tmp_path: Path) -> None:
    tar = [Change("dev/null", "char", device=(1, 3)), Change("a\udcff"), symlink("link", "\udcfe")]
    tar.append(Change("x", xattrs={"user.empty": b""}))
    (tmp_path / "tree.tar").write_bytes(layer_tar(tar))
    with pytest.raises(UnsupportedError) as caught:
        build(tmp_path / "tree.tar", f"oci:{tmp_path}/built", steps=NO_STEPS)
    for what in (r"/a\xff (its name", "/dev/null (character", "/link (its target", "/x (an empty extended attribute)"):
        assert what in str(caught.value)
    assert not (tmp_path / "built").exists()


def test_a_name_that_means_a_deletion_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/.wh.a\nb").write_text("!")
    with pytest.raises(UnsupportedError, match=r"begin with \.wh\."):
        build(tmp_path / "tree", f"oci:{tmp_path}/built")


# Source and destination


def test_a_source_within_the_destination_is_refused_and_the_other_way_round(tmp_path: Path) -> None:
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to("tree")
    for destination in ("tree/sub/image", "link/image", "tree", "link"):
        with pytest.raises(UnsupportedError, match="the destination lies within the source"):
            check_apart(str(tmp_path / "tree"), f"oci:{tmp_path}/{destination}:tag")
    with pytest.raises(UnsupportedError, match="the source lies within the destination"):
        check_apart(str(tmp_path / "link/sub"), f"oci:{tmp_path}/tree")
    check_apart(str(tmp_path / "tree"), f"oci:{tmp_path}/tree2")
    check_apart(str(tmp_path / "tree"), "docker://registry.example/os")


# Changes meanwhile


@pytest.mark.parametrize("phase", ["hashing files", "writing layers"])
@pytest.mark.parametrize("size", [1000, 3_000_000])
def test_a_file_that_changes_between_readings_is_an_error_that_says_which(
    tmp_path: Path, phase: str, size: int
) -> None:
    (tmp_path / "tree/usr").mkdir(parents=True)
    path = tmp_path / "tree/usr/a\nfile"
    path.write_bytes(b"a" * size)
    with pytest.raises(AccessError, match=r"/usr/a\\nfile: changed while"):
        during = During(phase, lambda: path.write_bytes(b"b" * size))
        build(tmp_path / "tree", f"oci:{tmp_path}/built", progress=during)
    assert not (tmp_path / "built/index.json").exists()


@pytest.mark.parametrize("size", [1000, 3_000_000])
def test_a_layer_that_changes_between_readings_is_an_error_that_says_which(tmp_path: Path, size: int) -> None:
    (tmp_path / "tree.tar").write_bytes(layer_tar([Change("usr/a\nfile", data=b"a" * size)]))

    def change() -> None:
        data = (tmp_path / "tree.tar").read_bytes()
        (tmp_path / "tree.tar").write_bytes(data.replace(b"aaaa", b"bbbb", 1))

    with pytest.raises(AccessError, match=r"/usr/a\\nfile: changed while it was built"):
        build(tmp_path / "tree.tar", f"oci:{tmp_path}/built", progress=During("writing layers", change))


# Again


def packaged(path: Path, changed: str = "") -> Path:
    packages = {
        name: {f"usr/lib/{name}/{n}": f"{changed if name == 'b' else name} {n}".encode() * 9 for n in range(9)}
        for name in "abcd"
    }
    return make_packaged_tree(path, packages)


PLAN = PlanOptions(clock=date(2024, 5, 18), max_layers=6)


def test_the_second_build_takes_unchanged_layers_from_the_first(tmp_path: Path) -> None:
    build(packaged(tmp_path / "one"), f"oci:{tmp_path}/first", plan=PLAN)
    again = build(
        packaged(tmp_path / "two", "changed"), f"oci:{tmp_path}/second", plan=PLAN, previous=f"oci:{tmp_path}/first"
    )
    assert sorted(layer.how for layer in again.image.layers).count("same recipe") == len(again.image.layers) - 2
    fresh = build(tmp_path / "two", f"oci:{tmp_path}/fresh", plan=PLAN)
    assert {layer.layer.diff_id for layer in fresh.image.layers} == {
        layer.layer.diff_id for layer in again.image.layers
    }


def test_the_number_of_jobs_changes_nothing(tmp_path: Path, tree: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("the tree has files that only root may read")
    digests = {digest(build(tree, f"oci:{tmp_path}/built{jobs}", jobs=jobs)) for jobs in (1, 2, 5)}
    assert len(digests) == 1


@pytest.mark.parametrize(
    "options",
    [
        PLAN,
        replace(PLAN, by_package=True),
        replace(PLAN, component_map=ComponentMap((MapRule("usr/lib/a/*", "mine"), MapRule("usr/lib/b/3", "c")))),
        replace(PLAN, history=History((Component("a", "a", 1, 1, updates=(date(2024, 3, 3),)),))),
        replace(PLAN, strategy="rechunk"),
    ],
    ids=["as it is", "by package", "map", "history", "rechunk"],
)
def test_the_number_of_jobs_changes_no_plan(tmp_path: Path, options: PlanOptions) -> None:
    tree = packaged(tmp_path / "tree")
    with suppress(OSError):  # no user xattrs on this file system
        os.setxattr(tree / "usr/lib/d/1", "user.component", b"apart")
    digests = [digest(build(tree, f"oci:{tmp_path}/built{jobs}", plan=options, jobs=jobs)) for jobs in (1, 2, 4)]
    assert digests == digests[:1] * 3


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_build_whose_plan_fails_leaves_no_trace(tmp_path: Path, jobs: int) -> None:
    with pytest.raises(PlanError, match="at least 2 layers"):
        build(packaged(tmp_path / "tree"), f"oci:{tmp_path}/image", plan=replace(PLAN, max_layers=1), jobs=jobs)
    assert not (tmp_path / "image").exists()


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_first_layer_that_cannot_be_made_fails_the_build(
    tmp_path: Path, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise AccessError("no such thing")

    monkeypatch.setattr(encapsulated, "ostree_layer", fails)
    with pytest.raises(AccessError, match="no such thing"):
        build(packaged(tmp_path / "tree"), f"oci:{tmp_path}/image", plan=PLAN, jobs=jobs)


def test_a_first_layer_too_large_for_memory_is_written_with_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = packaged(tmp_path / "tree")
    small = build(tree, f"oci:{tmp_path}/small", plan=PLAN, jobs=2)
    monkeypatch.setattr(pipeline_build, "MAX_IN_MEMORY", 0)
    assert digest(build(tree, f"oci:{tmp_path}/large", plan=PLAN, jobs=2)) == digest(small)


def test_a_package_database_in_var_is_read_though_var_is_kept_out(tmp_path: Path) -> None:
    tree = packaged(tmp_path / "tree")
    (tree / "var/lib").mkdir(parents=True)
    (tree / "usr/lib/apk").rename(tree / "var/lib/apk")
    (tree / "lib").mkdir()
    (tree / "lib/apk").symlink_to("../var/lib/apk")
    built = build(tree, f"oci:{tmp_path}/built", plan=PLAN)
    assert built.plan is not None
    names = {component.name for component in built.plan.components.components}
    assert {"a", "b", "c", "d"} <= names


# The cache


def test_what_is_in_the_cache_is_not_read_again(tmp_path: Path) -> None:
    tree = packaged(tmp_path / "tree")
    age(tree)
    first = build(tree, f"oci:{tmp_path}/first", cache=str(tmp_path / "cache"))
    victim = tree / "usr/lib/a/3"
    written = os.stat(tmp_path / "cache").st_ino
    lines = (tmp_path / "cache").read_text().splitlines()
    assert len(lines) == 1 + sum(path.is_file() for path in tree.rglob("*")) + len(first.image.layers)
    read: list[int] = []
    watch = Reading(read)
    again = build(tree, f"oci:{tmp_path}/first", cache=str(tmp_path / "cache"), progress=watch)
    assert digest(again) == digest(first)
    assert read == [0]
    assert os.stat(tmp_path / "cache").st_ino == written  # nothing new: it is not written again
    victim.write_bytes(b"changed")
    changed = build(tree, f"oci:{tmp_path}/changed", cache=str(tmp_path / "cache"), progress=watch)
    assert digest(changed) != digest(first)
    assert read == [0, len(b"changed")]


def age(tree: Path) -> None:
    """Wait until the times of change of the tree lie far enough back."""
    youngest = max(os.lstat(path).st_ctime_ns for path in tree.rglob("*"))
    while (tree.parent / "now").write_text("") or os.stat(tree.parent / "now").st_mtime_ns <= youngest + TICKS:
        time.sleep(0.1)


def test_a_file_that_was_changed_just_now_is_not_kept(tmp_path: Path) -> None:
    build(packaged(tmp_path / "tree"), f"oci:{tmp_path}/first", cache=str(tmp_path / "cache"))
    head, *lines = (tmp_path / "cache").read_text().splitlines()
    assert head.startswith(f"ostrata checksums 3 of user {os.geteuid()} with")
    assert lines
    assert all(line.startswith("blob:") for line in lines)


@pytest.mark.parametrize("kind", ["file", "empty", "symlink"])
def test_a_cache_that_lies_is_found_out_when_the_layer_is_written(tmp_path: Path, kind: str) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    if kind == "symlink":
        (tree / "a\nb").symlink_to("target")
    else:
        (tree / "a\nb").write_bytes(b"content" if kind == "file" else b"")
    age(tree)
    build(tree, f"oci:{tmp_path}/first", cache=str(tmp_path / "cache"))
    text = (tmp_path / "cache").read_text()
    assert text.endswith("\n")
    (tmp_path / "cache").write_text(text[:-9] + "00000000\n")  # files come last
    with pytest.raises(AccessError, match=r"/a\\nb: changed while it was built"):
        build(tree, f"oci:{tmp_path}/again", cache=str(tmp_path / "cache"))


@pytest.mark.parametrize("jobs", [1, 2])
def test_blobs_that_the_cache_knows_are_taken_over_unread(
    tmp_path: Path, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = str(tmp_path / "cache")
    build(packaged(tmp_path / "tree"), f"oci:{tmp_path}/one", plan=PLAN, cache=cache)
    checked: list[Digest] = []
    monkeypatch.setattr(blobs, "_verify", lambda _file, descriptor, _writer: checked.append(descriptor.digest))
    for name in ("two", "three"):  # a link to a blob is as well known as the blob
        again = build(
            tmp_path / "tree",
            f"oci:{tmp_path}/{name}",
            plan=PLAN,
            cache=cache,
            previous=f"oci:{tmp_path}/one",
            jobs=jobs,
        )
        assert {layer.how for layer in again.image.layers} == {"same recipe"}
        assert checked == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_blob_that_was_changed_since_is_read(tmp_path: Path, jobs: int) -> None:
    cache = str(tmp_path / "cache")
    first = build(packaged(tmp_path / "tree"), f"oci:{tmp_path}/one", plan=PLAN, cache=cache)
    blob = tmp_path / "one/blobs/sha256" / first.image.layers[1].layer.descriptor.digest.encoded
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)
    with pytest.raises(DigestMismatchError, match=f"blob sha256:{blob.name}"):
        build(
            tmp_path / "tree",
            f"oci:{tmp_path}/two",
            plan=PLAN,
            cache=cache,
            previous=f"oci:{tmp_path}/one",
            jobs=jobs,
        )


def test_a_build_that_fails_keeps_what_it_has_hashed(tmp_path: Path) -> None:
    tree = packaged(tmp_path / "tree")
    cache = tmp_path / "cache"
    build(tree, f"oci:{tmp_path}/one", cache=str(cache))
    blobs_of_one = [line for line in cache.read_text().splitlines() if line.startswith("blob:")]
    assert blobs_of_one
    age(tree)
    with pytest.raises(PlanError):
        build(tree, f"oci:{tmp_path}/two", plan=replace(PLAN, max_layers=1), cache=str(cache))
    assert cache.read_text().splitlines()[1 : 1 + len(blobs_of_one)] == blobs_of_one
    read: list[int] = []
    build(tree, f"oci:{tmp_path}/one", cache=str(cache), progress=Reading(read))
    assert read == [0]


def test_a_build_that_fails_while_it_hashes_leaves_the_cache_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = packaged(tmp_path / "tree")
    age(tree)
    cache = tmp_path / "cache"
    build(tree, f"oci:{tmp_path}/one", cache=str(cache))
    before = cache.read_bytes()
    (tree / "usr/lib/a/3").write_bytes(b"new")

    def fails(*_: object) -> str:
        raise AccessError("changed while it was read")

    monkeypatch.setattr(build_commit, "_hash_file", fails)
    with pytest.raises(AccessError, match="/usr/lib/a/3: changed while it was read"):
        build(tree, f"oci:{tmp_path}/two", cache=str(cache))
    assert cache.read_bytes() == before


def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> None:
        raise AccessError("no space left on device", where="cache")

    monkeypatch.setattr(BuildCache, "write", fails)
    watch = Reading([])
    build(packaged(tmp_path / "tree"), f"oci:{tmp_path}/one", cache=str(tmp_path / "cache"), progress=watch)
    assert watch.warnings == ["the cache is not kept: cache: no space left on device"]
    assert (tmp_path / "one/index.json").exists()


def test_a_file_that_is_no_cache_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "tree").mkdir()
    with pytest.raises(UnsupportedError, match="precious: expected a cache of checksums, found something else"):
        build(tmp_path / "tree", f"oci:{tmp_path}/built", cache=str(tmp_path / "precious"))
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.parametrize("place", ["tree/usr/cache", "link/cache"])
def test_a_cache_within_the_source_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "tree/usr").mkdir(parents=True)
    (tmp_path / "link").symlink_to("tree")
    with pytest.raises(UnsupportedError, match="the cache lies within the source"):
        build(tmp_path / "tree", f"oci:{tmp_path}/built", cache=str(tmp_path / place))


def test_a_cache_of_anything_but_a_directory_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "image", ROOTFS)
    with pytest.raises(UnsupportedError, match="for directories only"):
        build(f"oci:{tmp_path}/image:t", f"oci:{tmp_path}/built", cache=str(tmp_path / "cache"))


# Without root


def test_somebody_without_rights_and_tools_gets_the_same_bytes_as_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(tmp_path / "image", ROOTFS)
    wanted = digest(build(f"oci:{tmp_path}/image:t", f"oci:{tmp_path}/as root", plan=PLAN))
    monkeypatch.setenv("PATH", "")
    work = tmp_path / "work"
    work.mkdir()

    def build_there() -> None:
        assert digest(build(f"oci:{tmp_path}/image:t", f"oci:{work}/built", plan=PLAN)) == wanted

    as_nobody(build_there, work)
