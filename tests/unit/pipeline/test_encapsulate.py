"""A commit becomes an image: what it says, which layers it has, that bytes repeat, and what a previous image saves."""

import json
import os
import shutil
import zlib
from dataclasses import replace

import pytest

import tarbuilder
from encapsulated_images import LAYOUTS, blob_path, layout_name, read_document
from ostrata.codecs import oci, ostree, zstd
from ostrata.errors import (
    DigestMismatchError,
    MalformedError,
    NotFoundError,
    OstrataError,
    PlanError,
    UnsupportedError,
)
from ostrata.formats.encapsulated import Layout
from ostrata.formats.encapsulated_config import OURS, ConfigOptions
from ostrata.layers.compressors import compressor
from ostrata.model.digest import Digest
from ostrata.model.image import LAYER_GZIP, LAYER_TAR, LAYER_ZSTD
from ostrata.model.ostree import Variant
from ostrata.model.plan import Contentmeta
from ostrata.pipeline.commit import CommitOptions, commit
from ostrata.pipeline.encapsulate import EncapsulateOptions, encapsulate
from ostrata.pipeline.image_layers import BUILT, MAX_LAYERS, SAME_DIFF_ID, SAME_RECIPE
from ostrata.pipeline.places import open_destination, open_image, open_previous
from ostrata.pipeline.previous import checked_aside
from ostrata.pipeline.verify import verify
from ostrata.progress import SILENT
from ostrata.sources.modifiers import Modifiers
from ostrata.stores.ostree_repository import open_repository
from ostrata.stores.ostree_writer import init_repository
from ostrata.stores.reference import parse_reference
from repositories import CREATED, ROOT, TREE, HandmadeRepository, make_repository, tree_for
from tarbuilder import Node

RESERVED = "sha256:12787d84fa137cd5649a9005efe98ec9d05ea46245fdc50aecb7dd007f2035b1"
CREATED_LABEL = "org.opencontainers.image.created"
VERSION_LABEL = "org.opencontainers.image.version"
DIRECTORY = Node("directory", 0o755)
DEFAULT = Layout()
PLAIN = compressor("none", level=None, fast=False)
LAYERS = {"two": 'second, "quoted"\nžluť', "one": "first", "three": "third"}


class Warnings:
    """A watcher that keeps the warnings, and adds up what was done."""

    def __init__(self):
        self.messages = []
        self.done = 0

    def start(self, phase, total):
        self.done = 0

    def advance(self, amount):
        self.done += amount

    def warn(self, message):
        self.messages.append(message)


@pytest.fixture
def repository(tmp_path):
    return make_repository(tmp_path / "repo", "archive")


@pytest.fixture
def layout(tmp_path):
    return tmp_path / "layout"


def checksums(tree=TREE):
    return list(dict.fromkeys(tarbuilder.file_checksum(tree[path]) for path in tarbuilder.walk(tree)))


def spread(tree=TREE, layers=LAYERS, **more):
    """Every object of the tree in one of the layers, in turn."""
    ids = list(layers)
    return Contentmeta(layers, {name: ids[number % len(ids)] for number, name in enumerate(checksums(tree))}, **more)


def build(
    repository, layout, *, revision="os/stable", tag="t", previous=None, jobs=1, progress=None, kind=DEFAULT, **options
):
    progress = progress or Warnings()
    before = open_previous(previous, progress)
    name = f"oci:{layout}:{tag}" if ":" not in str(layout) else str(layout)
    with open_destination(name) as destination:
        return encapsulate(
            open_repository(str(repository.path)), revision, destination, EncapsulateOptions(kind, **options),
            previous=before, jobs=jobs, progress=progress,
        )  # fmt: skip


def documents(layout, result):
    manifest = read_document(layout, result.manifest.digest)
    return manifest, read_document(layout, manifest["config"]["digest"])


def describe(repository, layout, *, contentmeta=None, revision="os/stable", **config):
    """(labels of the config, annotations of the manifest, the config) of an image made with these options."""
    result = build(repository, layout, revision=revision, contentmeta=contentmeta, config=ConfigOptions(**config))
    manifest, config = documents(layout, result)
    return config["config"]["Labels"], manifest["annotations"], config


def with_metadata(repository, subject="", **metadata):
    variants = {key.replace("_", "."): value for key, value in metadata.items()}
    return repository.put_tree(TREE, subject=subject, metadata=variants)


def layer_tar(layout, report):
    data = blob_path(layout, report.layer.descriptor.digest).read_bytes()
    media_type = report.layer.descriptor.media_type
    if media_type == LAYER_GZIP:
        decompressor = zlib.decompressobj(31)
        tar = decompressor.decompress(data)
        assert decompressor.eof and not decompressor.unused_data, "a gzip layer is one member"
        return tar
    return zstd.ZstdDecompressor().decompress(data) if media_type == LAYER_ZSTD else data


def hows(result):
    return [report.how for report in result.layers]


def assert_right(repository, layout, tag="t", revision="os/stable"):
    reference = f"oci:{layout}:{tag}" if ":" not in str(layout) else str(layout)
    opened = open_repository(str(repository.path))
    found = verify(parse_reference(reference), open_image(reference)[1], repository=opened, revision=revision)
    assert (found.problems.shown, found.unreferenced.count) == ((), 0)


def assert_nothing_written(layout):
    assert not layout.exists()


# What the image says


def test_labels_later_ones_win(repository, layout):
    revision = with_metadata(repository, k=Variant("s", "commit"), version=Variant("s", "41"))
    base = {"Labels": {"k": "base", "base's own": "b", VERSION_LABEL: "base", CREATED_LABEL: "base"}}
    steps = (
        ({"base": base}, {}, "base"),
        ({"copymeta": ("k",)}, {}, "commit"),
        ({}, {"k": "file"}, "file"),
        ({"labels": (("k", "line"),)}, {}, "line"),
    )
    config, labels = {}, {}
    for more, file_labels, expected in steps:
        config |= more
        labels |= file_labels
        found, annotations, _ = describe(
            repository, layout, revision=revision, contentmeta=spread(labels=labels), **config
        )
        assert (found["k"], found["base's own"], found[VERSION_LABEL]) == (expected, "b", "41")
        assert found[CREATED_LABEL] == CREATED
        assert "base's own" not in annotations
        assert annotations.get("k") == (None if expected == "base" else expected)


def test_the_last_of_equal_labels_on_the_command_line_wins(repository, layout):
    labels, _, _ = describe(repository, layout, labels=(("k", "1"), ("k", None), ("j", None), ("j", "2")))
    assert "k" not in labels and labels["j"] == "2"


def test_labels_can_be_removed_wherever_they_come_from(repository, layout):
    revision = with_metadata(repository, version=Variant("s", "41"))
    keys = ("base", "file", VERSION_LABEL, CREATED_LABEL, "never there")
    labels, annotations, _ = describe(
        repository, layout, revision=revision, base={"Labels": {"base": "b"}},
        contentmeta=spread(labels={"file": "f"}), labels=tuple((key, None) for key in keys),
    )  # fmt: skip
    for key in keys:
        assert key not in labels and key not in annotations
    assert labels["ostree.commit"] == revision


@pytest.mark.parametrize("key", sorted(OURS))
def test_labels_that_say_what_the_image_is_cannot_be_set_or_removed(repository, layout, key):
    for value in ("x", None):
        with pytest.raises(PlanError, match=f"command-line label sets '{key}'"):
            describe(repository, layout, labels=((key, value),))
    with pytest.raises(PlanError, match=f"contentmeta file sets '{key}'"):
        describe(repository, layout, contentmeta=spread(labels={key: "x"}))
    assert_nothing_written(layout)


@pytest.mark.parametrize("key", sorted(OURS))
def test_what_a_base_config_or_the_commit_says_of_another_image_is_not_taken_over(repository, layout, key):
    revision = repository.put_tree(TREE, metadata={key: Variant("s", "stale")})
    labels, annotations, _ = describe(
        repository,
        layout,
        revision=revision,
        base={"Labels": {key: "stale"}},
        copymeta=(key,),
        copymeta_optional=(key,),
    )
    assert labels.get(key) != "stale"
    assert annotations.get(key) != "stale"


def test_created_comes_from_the_command_line_then_the_file_then_the_commit(repository, layout):
    for file_time, line_time, expected in (
        (None, None, CREATED),
        ("2001-01-01T00:00:00.5+02:00", None, "2001-01-01T00:00:00.5+02:00"),
        ("2001-01-01T00:00:00Z", "2002-02-02T00:00:00Z", "2002-02-02T00:00:00Z"),
    ):
        labels, annotations, config = describe(
            repository, layout, contentmeta=spread(created=file_time), created=line_time
        )
        assert config["created"] == labels[CREATED_LABEL] == annotations[CREATED_LABEL] == expected
        assert {entry["created"] for entry in config["history"]} == {expected}


def test_the_created_label_can_be_given(repository, layout):
    labels, _, config = describe(repository, layout, contentmeta=spread(labels={CREATED_LABEL: "file"}))
    assert (labels[CREATED_LABEL], config["created"]) == ("file", CREATED)
    labels, _, config = describe(repository, layout, labels=((CREATED_LABEL, "line"),))
    assert (labels[CREATED_LABEL], config["created"]) == ("line", CREATED)


def test_copied_metadata_must_be_there_unless_it_is_optional(repository, layout):
    revision = with_metadata(repository, a=Variant("s", "1\n\x01ž"), n=Variant("u", 5))
    labels, annotations, _ = describe(
        repository, layout, revision=revision, copymeta=("a",), copymeta_optional=("a", "missing")
    )
    assert labels["a"] == annotations["a"] == "1\n\x01ž" and "missing" not in labels
    with pytest.raises(NotFoundError, match=r"no metadata 'missing\\x1b'\nits metadata: a, n"):
        describe(repository, layout, revision=revision, copymeta=("missing\x1b",))
    for config in ({"copymeta": ("n",)}, {"copymeta_optional": ("n",)}):
        with pytest.raises(MalformedError, match="expected a string as the commit's metadata 'n', found the type u"):
            describe(repository, layout, revision=revision, **config)


@pytest.mark.parametrize("bootable", [True, False])
def test_bootable_commits_are_labelled_for_bootc_even_when_they_say_no(repository, layout, bootable):
    metadata = {"ostree.bootable": Variant("b", bootable), "ostree.linux": Variant("s", "6.1")}
    labels, annotations, _ = describe(repository, layout, revision=repository.put_tree(TREE, metadata=metadata))
    assert (labels["ostree.bootable"], labels["containers.bootc"]) == (str(bootable).lower(), "1")
    assert labels["ostree.linux"] == annotations["ostree.linux"] == "6.1"


def test_a_commit_that_says_nothing_of_booting_has_no_such_labels(repository, layout):
    labels, _, _ = describe(repository, layout)
    assert set(labels) == {"ostree.commit", "ostree.final-diffid", CREATED_LABEL, "ostrata.plan", "ostrata.recipes"}


@pytest.mark.parametrize("key", ["ostree.bootable", "version", "ostree.linux", "ostree.container-cmd"])
def test_metadata_of_a_wrong_type_is_refused(repository, layout, key):
    revision = repository.put_tree(TREE, metadata={key: Variant("u", 1)})
    with pytest.raises(MalformedError, match=key):
        describe(repository, layout, revision=revision)
    assert_nothing_written(layout)


def test_the_command_comes_from_the_option_then_the_commit_then_the_base_config(repository, layout):
    base = {"Cmd": ["base"]}
    revision = with_metadata(repository, **{"ostree.container-cmd": Variant("as", ["commit", "x y"])})
    for options, rev, expected in (
        ({}, "os/stable", None),
        ({"base": base}, "os/stable", ["base"]),
        ({"base": base}, revision, ["commit", "x y"]),
        ({"base": base, "cmd": ("option", "--a=b")}, revision, ["option", "--a=b"]),
    ):
        _, _, config = describe(repository, layout, revision=rev, **options)
        assert config["config"].get("Cmd") == expected


def test_a_base_configs_unknown_keys_are_kept(repository, layout):
    base = {"Env": ["A=1"], "X-Unknown": [1, {"ž": None}], "Labels": None, "StopSignal": "SIGRTMIN+3"}
    _, _, config = describe(repository, layout, base=base)
    assert {key: config["config"][key] for key in base if key != "Labels"} == {
        key: value for key, value in base.items() if key != "Labels"
    }


def test_the_architecture_is_an_input(repository, layout):
    result = build(repository, layout, architecture="riscv64")
    assert documents(layout, result)[1]["architecture"] == "riscv64"
    [entry] = json.loads((layout / "index.json").read_bytes())["manifests"]
    assert entry["platform"] == {"architecture": "riscv64", "os": "linux"}


def test_history_and_annotations_say_what_is_in_a_layer(repository, layout):
    result = build(repository, layout, contentmeta=spread(), reserved_layer=True)
    manifest, config = documents(layout, result)
    history = ["a subject", *LAYERS, "Reserved for new packages"]
    assert [entry["created_by"] for entry in config["history"]] == history
    names = [layer.get("annotations") for layer in manifest["layers"]]
    assert names == [None, *({"ostree.components": name} for name in (*LAYERS.values(), ""))]
    assert [report.layer.created_by for report in result.layers] == history


def test_a_commit_without_a_subject_has_its_checksum_in_the_history(repository, layout):
    revision = with_metadata(repository, x=Variant("s", "y"))
    _, _, config = describe(repository, layout, revision=revision)
    assert [entry["created_by"] for entry in config["history"]] == [f"ostree export of commit {revision}"]


@pytest.mark.parametrize(
    "config", [{"labels": (("k", "\udcff"),)}, {"cmd": ("\udcff",)}, {"labels": (("\udcff", "v"),)}]
)
def test_text_that_is_not_utf_8_is_refused_before_anything_is_written(repository, layout, config):
    with pytest.raises(MalformedError) as caught:
        describe(repository, layout, **config)
    assert "\\xff" in str(caught.value) and str(caught.value).isprintable()
    assert_nothing_written(layout)


# Which layers


def test_without_a_contentmeta_there_is_one_layer_with_everything(repository, layout):
    result = build(repository, layout)
    assert len(result.layers) == 1
    assert result.layers[0].objects == len(checksums())
    assert documents(layout, result)[1]["config"]["Labels"]["ostree.final-diffid"] == str(
        result.layers[0].layer.diff_id
    )
    assert_right(repository, layout)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_layers_works(repository, layout, count):
    layers = dict(list(LAYERS.items())[:count])
    result = build(repository, layout, contentmeta=spread(layers=layers))
    assert sum(report.objects for report in result.layers[1:]) == len(checksums())
    final = documents(layout, result)[1]["config"]["Labels"]["ostree.final-diffid"]
    assert final == str(result.layers[-1].layer.diff_id) and len(result.layers) == count + 1
    assert_right(repository, layout)


@pytest.mark.parametrize("contentmeta", [None, spread()], ids=["one layer", "planned"])
def test_the_reserved_layer_is_empty_last_and_final(repository, layout, contentmeta):
    result = build(repository, layout, contentmeta=contentmeta, reserved_layer=True)
    assert str(result.layers[-1].layer.diff_id) == RESERVED
    assert documents(layout, result)[1]["config"]["Labels"]["ostree.final-diffid"] == RESERVED
    assert_right(repository, layout)


def test_empty_layers_are_left_out_and_counted(repository, layout):
    progress = Warnings()
    layers = {"empty": "nothing", **LAYERS, "e": "nothing"}
    contentmeta = replace(spread(), layers=layers)
    result = build(repository, layout, contentmeta=contentmeta, progress=progress)
    assert progress.messages == ["2 layers of the contentmeta have no objects and are left out"]
    assert result.manifest == build(repository, layout, contentmeta=spread()).manifest


def test_a_commit_without_files_has_layer_0_only(tmp_path, layout):
    repository = make_repository(tmp_path / "empty", "archive", {"": DIRECTORY})
    progress = Warnings()
    result = build(repository, layout, contentmeta=Contentmeta(LAYERS, {}), progress=progress)
    assert len(result.layers) == 1
    assert progress.messages == ["3 layers of the contentmeta have no objects and are left out"]
    assert_right(repository, layout)


def test_mapped_checksums_that_the_commit_lacks_are_counted(repository, layout):
    progress = Warnings()
    mapping = {f"{number:064x}": "one" for number in range(5)} | dict(spread().mapping)
    result = build(repository, layout, contentmeta=Contentmeta(LAYERS, mapping), progress=progress)
    assert progress.messages == ["5 objects of the mapping are not in the commit"]
    assert result.manifest == build(repository, layout, contentmeta=spread()).manifest


def test_unmapped_objects_are_an_error_or_go_where_they_are_sent(repository, layout):
    mapping = dict(list(spread().mapping.items())[:-2])
    contentmeta = Contentmeta(LAYERS, mapping)
    with pytest.raises(PlanError, match="2 objects of the commit are not in the mapping: /usr/share/") as caught:
        build(repository, layout, contentmeta=contentmeta)
    assert "--unmapped" in caught.value.hint and str(caught.value).count("\n") == 1
    with pytest.raises(PlanError, match=r"the layer 'no\\nne' for unmapped objects is not in"):
        build(repository, layout, contentmeta=contentmeta, unmapped="no\nne")
    assert_nothing_written(layout)
    result = build(repository, layout, contentmeta=contentmeta, unmapped="three")
    assert {report.layer.created_by: report.objects for report in result.layers[1:]} == {"two": 2, "one": 1, "three": 3}
    assert_right(repository, layout)


def test_more_layers_than_runtimes_start_are_written_with_a_warning(tmp_path, layout):
    tree = {"": DIRECTORY} | {f"f{number}": Node("file", 0o644, data=b"%d" % number) for number in range(MAX_LAYERS)}
    repository = make_repository(tmp_path / "repo", "archive", tree)
    for count, expected in ((MAX_LAYERS - 1, []), (MAX_LAYERS, [f"{MAX_LAYERS + 1} layers: "])):
        progress = Warnings()
        layers = {f"l{number}": str(number) for number in range(count)}
        contentmeta = spread(tree, layers)
        result = build(repository, layout, contentmeta=contentmeta, progress=progress, compressor=PLAIN)
        assert len(result.layers) == count + 1
        assert [message[: len(start)] for message, start in zip(progress.messages, expected, strict=True)] == expected


@pytest.mark.parametrize("path", [".wh.x", "usr/.wh..wh..opq", "usr/.wh.d\n"])
@pytest.mark.parametrize("kind", ["file", "directory", "symlink"])
def test_whiteout_names_are_refused_before_anything_is_written(tmp_path, layout, path, kind):
    tree = {"": DIRECTORY, "usr": DIRECTORY, path: Node(kind, 0o755, data=b"x" if kind != "directory" else b"")}
    repository = make_repository(tmp_path / "repo", "archive", tree)
    with pytest.raises(UnsupportedError, match=r"1 names begin with \.wh\.") as caught:
        build(repository, layout)
    assert "/" + path.replace("\n", "\\n") in str(caught.value)
    assert_nothing_written(layout)


def test_an_unknown_revision_or_a_damaged_commit_writes_nothing(repository, layout):
    with pytest.raises(NotFoundError):
        build(repository, layout, revision="nothing")
    os.truncate(repository.object_path("commit", open_repository(str(repository.path)).resolve("os/stable")), 50)
    with pytest.raises(DigestMismatchError):
        build(repository, layout)
    assert_nothing_written(layout)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("path", ["usr/bin/sh", "usr/bin/empty", "usr/share/link"])
def test_a_damaged_file_object_fails_the_run_and_the_old_image_stays(repository, layout, path, jobs):
    old = build(repository, layout)
    checksum = tarbuilder.file_checksum(TREE[path])
    object_path = repository.object_path("file", checksum)
    data = bytearray(object_path.read_bytes())
    data[19] ^= 1  # a byte of the owner
    object_path.write_bytes(data)
    with pytest.raises(DigestMismatchError, match=f"expected checksum {checksum}, found "):
        build(repository, layout, contentmeta=spread(), jobs=jobs)
    object_path.unlink()
    with pytest.raises(NotFoundError, match=f"file object {checksum} is missing"):
        build(repository, layout, contentmeta=spread(), jobs=jobs)
    assert open_image(f"oci:{layout}:t")[1].descriptor.digest == old.manifest.digest
    assert not [name for name in os.listdir(layout / "blobs/sha256") if not name.isalnum()]


# The same bytes, always


def canonical():
    return tree_for("bare-user-only")


@pytest.mark.parametrize("contentmeta", [None, spread(canonical())], ids=["one layer", "planned"])
def test_the_digest_does_not_depend_on_jobs_runs_or_the_repositorys_mode(tmp_path, contentmeta):
    modes = ["archive", "bare-user", *(["bare", "bare-user-only", "bare-split-xattrs"] if ROOT else [])]
    found = set()
    for mode in modes:
        repository = make_repository(tmp_path / mode, mode, canonical())
        for jobs in (1, 2, 3) if mode == "archive" else (2,):
            result = build(repository, tmp_path / f"{mode}-{jobs}", contentmeta=contentmeta, jobs=jobs)
            found.add(result.manifest.digest)
    assert len(found) == 1
    assert_right(repository, tmp_path / f"{mode}-2")


def test_the_digest_does_not_depend_on_the_order_in_which_a_tree_was_made(tmp_path):
    digests = set()
    names = ["b", "a", "ž", "new\nline", "z"]
    for number, order in enumerate((names, sorted(names), names[::-1])):
        tree = tmp_path / f"tree{number}"
        tree.mkdir()
        for name in order:
            (tree / name).mkdir()
            for other in order:
                (tree / name / other).write_bytes(name.encode())
        init_repository(str(tmp_path / f"repo{number}"), "bare-user")
        options = CommitOptions("r", 1, modifiers=Modifiers(canonical_permissions=True))
        commit(str(tmp_path / f"repo{number}"), str(tree), options)
        repository = open_repository(str(tmp_path / f"repo{number}"))
        digests.add(build(repository, tmp_path / f"layout{number}", revision="r").manifest.digest)
    assert len(digests) == 1


@pytest.mark.parametrize("kind", LAYOUTS, ids=layout_name)
@pytest.mark.parametrize("planned", [True, False])
def test_layers_are_those_of_the_second_statement(repository, layout, kind, planned):
    contentmeta = spread() if planned else None
    result = build(repository, layout, kind=kind, contentmeta=contentmeta)
    chunks = [[name for name, home in spread().mapping.items() if home == layer] for layer in LAYERS]
    stated = tarbuilder.encapsulated_layers(
        TREE, tarbuilder.commit_bytes(TREE), chunks if planned else None, layout=kind.name, version=kind.format_version
    )
    assert [layer_tar(layout, report) for report in result.layers] == stated
    assert [report.layer.diff_id for report in result.layers] == [Digest.of(tar) for tar in stated]
    assert [report.tar_size for report in result.layers] == [len(tar) for tar in stated]
    assert_right(repository, layout)


def test_detached_metadata_is_in_layer_0(repository, layout):
    checksum = open_repository(str(repository.path)).resolve("os/stable")
    detached = ostree.encode_metadata({"k": Variant("s", "v")})
    repository.put_metadata("commitmeta", detached, checksum)
    result = build(repository, layout)
    stated = tarbuilder.encapsulated_layers(TREE, tarbuilder.commit_bytes(TREE), None, detached=detached)
    assert [layer_tar(layout, report) for report in result.layers] == stated
    assert_right(repository, layout)


@pytest.mark.parametrize(
    ("name", "level", "fast", "media_type"),
    [("gzip", None, False, LAYER_GZIP), ("gzip", 9, False, LAYER_GZIP), ("gzip", None, True, LAYER_GZIP),
     ("zstd", None, False, LAYER_ZSTD), ("zstd", 19, False, LAYER_ZSTD), ("zstd", None, True, LAYER_ZSTD),
     ("none", None, False, LAYER_TAR)],
)  # fmt: skip
def test_compression_changes_blobs_and_not_layers(repository, layout, name, level, fast, media_type):
    plain = build(repository, layout, contentmeta=spread(), compressor=PLAIN)
    chosen = compressor(name, level=level, fast=fast)
    result = build(repository, layout, contentmeta=spread(), compressor=chosen, jobs=2)
    assert [report.layer.diff_id for report in result.layers] == [report.layer.diff_id for report in plain.layers]
    assert {report.layer.descriptor.media_type for report in result.layers} == {media_type}
    for report in result.layers:
        assert Digest.of(layer_tar(layout, report)) == report.layer.diff_id
    assert_right(repository, layout)


def test_progress_adds_up_to_the_tars_and_more(repository, layout):
    progress = Warnings()
    result = build(repository, layout, contentmeta=spread(), progress=progress, jobs=2)
    assert progress.done == sum(report.tar_size for report in result.layers)


# A previous image


def strip_content(repository, tmp_path):
    """A copy of the repository that has no file object at all."""
    bare = HandmadeRepository(tmp_path / "without content", repository.mode)
    checksum = open_repository(str(repository.path)).resolve("os/stable")
    bare.put_ref("os/stable", checksum)
    for directory, _, names in os.walk(repository.path / "objects"):
        for name in names:
            kind = name.rpartition(".")[2]
            if kind in ("commit", "dirtree", "dirmeta", "commitmeta"):
                data = (repository.path / "objects" / directory / name).read_bytes()
                bare.put_metadata(kind, data, os.path.basename(directory) + name[:62])
    return bare


def edit_config(layout, change, tag="t"):
    """Give the tag an image whose config `change` has edited; the layers stay."""
    image = open_image(f"oci:{layout}:{tag}")[1]
    manifest = read_document(layout, image.descriptor.digest)
    config = read_document(layout, manifest["config"]["digest"])
    change(config)
    with open_destination(f"oci:{layout}:{tag}") as destination:
        data = json.dumps(config).encode()
        manifest["config"] |= {"digest": str(Digest.of(data)), "size": len(data)}
        destination.write_image(data, json.dumps(manifest).encode(), oci.decode_config(data).platform)


def strip_labels(config):
    for key in ("ostrata.plan", "ostrata.recipes"):
        del config["config"]["Labels"][key]


def changed_commit(repository):
    """One file of the layer 'one' is another; a new ref."""
    path = next(
        path for path in tarbuilder.walk(TREE) if spread().mapping[tarbuilder.file_checksum(TREE[path])] == "one"
    )
    tree = TREE | {path: replace(TREE[path], data=TREE[path].data + b" and more")}
    repository.put_ref("os/next", repository.put_tree(tree))
    mapping = dict(spread().mapping)
    new = {tarbuilder.file_checksum(tree[path]): "one"}
    return Contentmeta(LAYERS, mapping | new)


@pytest.mark.parametrize("contentmeta", [None, spread()], ids=["one layer", "planned"])
@pytest.mark.parametrize("mode", ["archive", "bare-user"])
def test_an_unchanged_commit_is_encapsulated_without_a_content_object(tmp_path, layout, contentmeta, mode):
    repository = make_repository(tmp_path / "repo", mode)
    old = build(repository, layout, contentmeta=contentmeta, reserved_layer=True)
    bare = strip_content(repository, tmp_path)
    with pytest.raises(NotFoundError):
        build(bare, tmp_path / "fails", contentmeta=contentmeta)
    new = build(
        bare, tmp_path / "new", previous=f"oci:{layout}:t", contentmeta=contentmeta, reserved_layer=True, jobs=2
    )
    assert set(hows(new)) == {SAME_RECIPE}
    assert new.manifest == old.manifest
    assert_right(repository, tmp_path / "new")


def test_after_a_change_only_its_layer_and_layer_0_are_built(repository, tmp_path, layout):
    build(repository, layout, contentmeta=spread())
    contentmeta = changed_commit(repository)
    new = build(repository, tmp_path / "new", revision="os/next", previous=f"oci:{layout}:t", contentmeta=contentmeta)
    assert [(report.layer.created_by, report.how) for report in new.layers] == [
        ("a subject", BUILT), ("two", SAME_RECIPE), ("one", BUILT), ("three", SAME_RECIPE)
    ]  # fmt: skip
    clean = build(repository, tmp_path / "clean", revision="os/next", contentmeta=contentmeta)
    assert new.manifest == clean.manifest
    assert_right(repository, tmp_path / "new", revision="os/next")


def test_without_recipes_layers_are_found_by_their_diff_id(repository, tmp_path, layout):
    old = build(repository, layout, contentmeta=spread())
    edit_config(layout, strip_labels)
    new = build(repository, tmp_path / "new", previous=f"oci:{layout}:t", contentmeta=spread(), jobs=2)
    assert set(hows(new)) == {SAME_DIFF_ID}
    assert new.manifest == old.manifest
    assert_right(repository, tmp_path / "new")


def test_blobs_of_another_compressor_are_kept_by_diff_id_and_not_compressed_again(repository, tmp_path, layout):
    old = build(repository, layout, contentmeta=spread(), compressor=compressor("gzip", level=1, fast=False))
    new = build(repository, tmp_path / "new", previous=f"oci:{layout}:t", contentmeta=spread())
    assert set(hows(new)) == {SAME_DIFF_ID}
    assert [report.layer for report in new.layers] == [report.layer for report in old.layers]


def test_layers_of_another_media_type_are_not_reused(repository, tmp_path, layout):
    build(repository, layout, contentmeta=spread(), compressor=compressor("zstd", level=None, fast=False))
    new = build(repository, tmp_path / "new", previous=f"oci:{layout}:t", contentmeta=spread())
    assert set(hows(new)) == {BUILT}
    assert {report.layer.descriptor.media_type for report in new.layers} == {LAYER_GZIP}


@pytest.mark.parametrize("fault", ["missing", "truncated", "a directory"])
def test_a_layer_whose_previous_blob_is_not_whole_is_built(repository, tmp_path, layout, fault):
    old = build(repository, layout, contentmeta=spread())
    path = blob_path(layout, old.layers[2].layer.descriptor.digest)
    if fault == "truncated":
        os.truncate(path, 100)
    else:
        path.unlink()
    if fault == "a directory":
        path.mkdir()
    new = build(repository, tmp_path / "new", previous=f"oci:{layout}:t", contentmeta=spread())
    assert hows(new) == [SAME_RECIPE, SAME_RECIPE, BUILT, SAME_RECIPE]
    assert new.manifest == old.manifest


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("archive", [False, True])
def test_a_damaged_blob_of_the_right_size_is_an_error(repository, tmp_path, layout, archive, jobs):
    old = build(repository, layout, contentmeta=spread())
    previous = f"oci:{layout}:t"
    digest = old.layers[2].layer.descriptor.digest
    damaged = blob_path(layout, digest)
    data = damaged.read_bytes()
    if archive:
        previous = f"oci-archive:{tmp_path}/old.tar"
        build(repository, previous, contentmeta=spread())
        damaged = tmp_path / "old.tar"
    whole = damaged.read_bytes()
    at = whole.index(data) + 50
    damaged.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(DigestMismatchError, match=f"blob {digest}: expected the digest {digest}, found sha256:"):
        build(repository, tmp_path / "new", previous=previous, contentmeta=spread(), jobs=jobs)
    assert not (tmp_path / "new/index.json").exists()


def test_the_blobs_of_the_previous_image_are_verified_aside(repository, tmp_path, layout):
    old = build(repository, layout, contentmeta=spread())
    digests = [report.layer.descriptor.digest for report in old.layers]
    damage(blob_path(layout, digests[1]))
    previous = open_previous(f"oci:{layout}:t", SILENT)
    for jobs, expected in ((1, []), (2, [digests[0], *digests[2:]])):
        with checked_aside(previous, jobs=jobs) as before:
            assert before.whole() == frozenset(expected)


@pytest.mark.parametrize("key", ["ostrata.plan", "ostrata.recipes"])
@pytest.mark.parametrize("value", ["AAAA", "not base64!", "ž", "A" * 100_001])
def test_a_damaged_plan_label_is_a_warning(repository, tmp_path, layout, key, value):
    old = build(repository, layout, contentmeta=spread())
    edit_config(layout, lambda config: config["config"]["Labels"].update({key: value}))
    progress = Warnings()
    new = build(repository, tmp_path / "new", previous=f"oci:{layout}:t", contentmeta=spread(), progress=progress)
    assert set(hows(new)) == {SAME_DIFF_ID}
    [message] = progress.messages
    assert message.startswith(f"the previous image's plan is not used: the label {key} ")
    assert new.manifest == old.manifest


def test_the_previous_image_can_be_in_an_archive_and_the_new_one_too(repository, tmp_path, layout):
    old = build(repository, f"oci-archive:{tmp_path}/old.tar", contentmeta=spread())
    for name in (f"oci:{layout}:t", f"oci-archive:{tmp_path}/new.tar:t", f"oci-archive:{tmp_path}/old.tar"):
        new = build(repository, name, previous=f"oci-archive:{tmp_path}/old.tar", contentmeta=spread())
        assert set(hows(new)) == {SAME_RECIPE}
        assert new.manifest == old.manifest
        assert_right(repository, name)


def test_the_previous_image_can_be_the_one_that_is_replaced(repository, layout):
    build(repository, layout, contentmeta=spread())
    contentmeta = changed_commit(repository)
    new = build(repository, layout, revision="os/next", previous=f"oci:{layout}:t", contentmeta=contentmeta)
    assert hows(new) == [BUILT, SAME_RECIPE, BUILT, SAME_RECIPE]
    assert_right(repository, layout, revision="os/next")
    again = build(repository, layout, revision="os/next", previous=f"oci:{layout}:t", contentmeta=contentmeta)
    assert set(hows(again)) == {SAME_RECIPE} and again.manifest == new.manifest


def damage(path):
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.unlink()  # it may be a link to another layout's
    path.write_bytes(data)


def test_a_damaged_blob_at_the_destination_is_replaced(repository, tmp_path, layout):
    old = build(repository, layout, contentmeta=spread())
    shutil.copytree(layout, tmp_path / "previous")
    blobs = [blob_path(layout, report.layer.descriptor.digest) for report in old.layers]
    for previous in (None, f"oci:{tmp_path}/previous:t"):
        damage(blobs[1])
        os.truncate(blobs[2], 100)
        assert build(repository, layout, previous=previous, contentmeta=spread()).manifest == old.manifest
        assert_right(repository, layout)


def test_a_damaged_blob_of_the_image_that_is_replaced_is_an_error(repository, layout):
    old = build(repository, layout, contentmeta=spread())
    digest = old.layers[2].layer.descriptor.digest
    damage(blob_path(layout, digest))
    with pytest.raises(DigestMismatchError, match=f"blob {digest}: expected the digest {digest}, found sha256:"):
        build(repository, layout, previous=f"oci:{layout}:t", contentmeta=spread())


def test_layers_of_another_layout_version_are_not_taken_for_the_same_recipe(repository, tmp_path, layout):
    build(repository, layout, contentmeta=spread())
    new = build(repository, tmp_path / "new", kind=Layout("bootc", 1), previous=f"oci:{layout}:t", contentmeta=spread())
    assert hows(new)[1:] == [BUILT] * 3
    assert_right(repository, tmp_path / "new")


def test_a_layer_whose_order_changed_is_built_again(repository, tmp_path, layout):
    build(repository, layout, contentmeta=spread(ordered=True))
    reverse = dict(reversed(spread().mapping.items()))
    contentmeta = Contentmeta(LAYERS, reverse, ordered=True)
    new = build(repository, tmp_path / "new", previous=f"oci:{layout}:t", contentmeta=contentmeta)
    assert hows(new) == [SAME_RECIPE, BUILT, BUILT, BUILT]
    assert_right(repository, tmp_path / "new")


def test_a_missing_previous_image_is_an_error(repository, tmp_path, layout):
    with pytest.raises(OstrataError, match="no such directory"):
        build(repository, layout, previous=f"oci:{tmp_path}/nothing:t")
    assert_nothing_written(layout)
