"""Histories from images and contentmeta files that were really made."""

import gzip
import json
import os
from datetime import date

import pytest

import tarbuilder
from encapsulated_images import make_image, write_contentmeta
from ostrata.codecs import history as history_codec
from ostrata.errors import MalformedError, NotFoundError, OstrataError, PlanError
from ostrata.formats.encapsulated_config import ConfigOptions
from ostrata.model.plan import Contentmeta
from ostrata.pipeline.learn import learn, write_history
from ostrata.pipeline.places import open_image
from ostrata.pipeline.simulate import read_history
from ostrata.stores.ostree_repository import open_repository
from repositories import HandmadeRepository
from tarbuilder import Node

DIRECTORY = Node("directory", 0o755)
RECHUNK = "dev.hhd.rechunk.info"


class Warnings:
    """A watcher that keeps the warnings, and what was read."""

    def __init__(self):
        self.messages = []
        self.totals = []

    def start(self, phase, total):
        self.totals.append(total)

    def advance(self, amount):
        pass

    def warn(self, message):
        self.messages.append(message)


class Series:
    """Releases in one repository and one layout, made from file contents."""

    def __init__(self, path):
        self.path = path
        self.repository = HandmadeRepository(path / "repo")
        self.layout = path / "layout"

    def contentmeta(self, files, layers, **more):
        nodes = {name: Node("file", 0o644, data=data) for name, data in files.items()}
        mapping = {
            tarbuilder.file_checksum(nodes[name]): layer for layer, (_, names) in layers.items() for name in names
        }
        return Contentmeta({layer: title for layer, (title, _) in layers.items()}, mapping, **more)

    def image(self, tag, created, files, layers, labels=None, directories=None, **options):
        nodes = {name: Node("file", 0o644, data=data) for name, data in files.items()}
        commit = self.repository.put_tree({"": DIRECTORY, "usr": DIRECTORY} | (directories or {}) | nodes)
        config = ConfigOptions(created=created, labels=tuple((labels or {}).items()))
        reference = f"oci:{self.layout}:{tag}"
        make_image(self.repository.path, commit, reference, contentmeta=self.contentmeta(files, layers), config=config,
                   **options)  # fmt: skip
        return reference


@pytest.fixture
def series(tmp_path):
    return Series(tmp_path)


def _dates(history):
    return {item.name: (item.since, item.updates) for item in history.components}


ONE_EACH = {"1": ("alpha", ["usr/a", "usr/new\nline"]), "2": ("žluť beta", ["usr/b"])}
FIRST = {"usr/a": b"a" * 10, "usr/new\nline": b"n", "usr/b": b"b"}


def test_layers_of_one_component_tell_when_it_changed_and_where(series):
    one = series.image("1", "2024-01-01T00:00:00Z", FIRST, ONE_EACH)
    two = series.image("2", "2024-01-08T23:59:59Z", FIRST | {"usr/a": b"A" * 12}, ONE_EACH)
    three = series.image("3", "2024-01-15T23:30:00-01:00", FIRST | {"usr/a": b"A" * 12}, ONE_EACH)
    history = learn([three, one, two], title="t")
    assert _dates(history) == {"alpha": (None, (date(2024, 1, 8),)), "žluť beta": (None, ())}
    assert history.changed_paths == {"alpha": {"usr/a": (date(2024, 1, 8),)}}
    assert [item.size for item in history.components] == [13, 1]
    layers = open_image(three)[1].layers
    assert [item.compressed_size for item in history.components] == [layer.descriptor.size for layer in layers[1:]]
    assert (history.title, history.notes) == ("t", ())


def test_a_layer_that_the_release_before_had_is_not_read_again(series):
    one = series.image("1", "2024-01-01T00:00:00Z", FIRST, ONE_EACH)
    two = series.image("2", "2024-01-08T00:00:00Z", FIRST | {"usr/b": b"B"}, ONE_EACH)
    progress = Warnings()
    learn([one, two], progress=progress)
    sizes = [layer.descriptor.size for layer in open_image(two)[1].layers]
    assert progress.totals == [sizes[1] + sizes[2], sizes[2]]


def test_the_result_does_not_depend_on_jobs(series):
    images = [
        series.image("1", "2024-01-01T00:00:00Z", FIRST, ONE_EACH),
        series.image("2", "2024-01-08T00:00:00Z", FIRST | {"usr/a": b"A"}, ONE_EACH),
    ]
    assert history_codec.encode(learn(images, jobs=2)) == history_codec.encode(learn(images))


def test_another_compression_is_no_change(series):
    one = series.image("1", "2024-01-01T00:00:00Z", FIRST, ONE_EACH)
    two = series.image("2", "2024-01-08T00:00:00Z", FIRST, ONE_EACH, compression="gzip")
    assert {updates for _, updates in _dates(learn([one, two])).values()} == {()}


def test_components_that_move_between_layers_did_not_change(series):
    one = series.image("1", "2024-01-01T00:00:00Z", FIRST, ONE_EACH)
    turned = {"2": ("alpha", ONE_EACH["1"][1]), "1": ("žluť beta", ["usr/b"])}
    two = series.image("2", "2024-01-08T00:00:00Z", FIRST, dict(reversed(turned.items())))
    assert {updates for _, updates in _dates(learn([one, two])).values()} == {()}


def test_without_reading_layers_their_diff_ids_tell(series):
    one = series.image("1", "2024-01-01T00:00:00Z", FIRST, ONE_EACH)
    two = series.image("2", "2024-01-08T00:00:00Z", FIRST | {"usr/b": b"B"}, ONE_EACH)
    history = learn([one, two], read_layers=False)
    assert _dates(history) == {"alpha": (None, ()), "žluť beta": (None, (date(2024, 1, 8),))}
    assert history.changed_paths == {}
    assert "2 components are known by their layers only" in history.notes[0]


SHARED = {"1": ("a,b,a", ["usr/a", "usr/b"])}


def test_components_that_share_a_layer_have_its_dates(series):
    files = {"usr/a": b"1234", "usr/b": b"12"}
    one = series.image("1", "2024-01-01T00:00:00Z", files, SHARED)
    two = series.image("2", "2024-01-08T00:00:00Z", files | {"usr/b": b"34"}, SHARED)
    history = learn([one, two])
    assert _dates(history) == {name: (None, (date(2024, 1, 8),)) for name in "ab"}
    assert [item.size for item in history.components] == [3, 3]
    assert "2 components are known by their layers only" in history.notes[0]


def test_versions_in_the_label_of_rechunk_tell_them_apart(series):
    def label(**packages):
        return {RECHUNK: json.dumps({"version": 2, "uniq": "", "layers": [["a", "dedi:meta:b"]], "packages": packages})}

    files = {"usr/a": b"1", "usr/b": b"2"}
    one = series.image("1", "2024-01-01T00:00:00Z", files, SHARED, label(a="1-1", b="5"))
    two = series.image("2", "2024-01-08T00:00:00Z", files | {"usr/b": b"3"}, SHARED, label(a="1-1", b="6"))
    history = learn([one, two])
    assert _dates(history) == {"a": (None, ()), "b": (None, (date(2024, 1, 8),))}
    assert history.notes == ()


def test_a_damaged_label_is_not_used_and_told(series):
    one = series.image("1", "2024-01-01T00:00:00Z", FIRST, ONE_EACH, {RECHUNK: "{"})
    progress = Warnings()
    learn([one], progress=progress)
    assert "not used: label dev.hhd.rechunk.info: not JSON" in progress.messages[0]


def test_the_prefixes_of_rechunk_are_no_part_of_a_name(series):
    layers = {"1": ("dedi:meta:a", ["usr/a"]), "2": ("meta:b", ["usr/b"])}
    image = series.image("1", "2024-01-01T00:00:00Z", {"usr/a": b"1", "usr/b": b"2"}, layers)
    assert [item.name for item in learn([image]).components] == ["a", "b"]


DATABASE = "usr/lib/apk/db/installed"


def _database(**paths):
    stanzas = [f"P:{name}\nV:1\nA:noarch\no:{name[0]}-source\nF:usr\nR:{path}\n" for name, path in paths.items()]
    return ("\n".join(stanzas) + "\n").encode()


def test_packages_tell_apart_what_shares_a_layer(series):
    layers = {"1": ("x,y", ["usr/a", "usr/b", "usr/b2"]), "2": ("configuration", ["usr/c"]), "3": ("p,q", ["usr/d"])}
    layers["3"][1].append(DATABASE)
    directories = dict.fromkeys(("usr/lib", "usr/lib/apk", "usr/lib/apk/db"), DIRECTORY)
    files = {"usr/a": b"1234", "usr/b": b"12", "usr/b2": b"1", "usr/c": b"c", "usr/d": b"d"}
    files[DATABASE] = _database(a="a", b="b", b2="b2")
    one = series.image("1", "2024-01-01T00:00:00Z", files, layers, directories=directories)
    two = series.image("2", "2024-01-08T00:00:00Z", files | {"usr/b2": b"2"}, layers, directories=directories)
    history = learn([one, two], by_package=True)
    changed = (None, (date(2024, 1, 8),))
    assert _dates(history) == {
        "a-source": (None, ()),
        "b-source": changed,
        "configuration": (None, ()),
        "unclaimed": (None, ()),
    }
    assert history.changed_paths == {"b-source": {"usr/b2": (date(2024, 1, 8),)}}
    sizes = {item.name: item.size for item in history.components}
    assert sizes == {"a-source": 4, "b-source": 3, "configuration": 1, "unclaimed": 1 + len(files[DATABASE])}
    shared = open_image(two)[1].layers[1].descriptor.size
    compressed = {item.name: item.compressed_size for item in history.components}
    assert (compressed["a-source"], compressed["b-source"]) == (round(shared * 4 / 7), round(shared * 3 / 7))
    assert history.notes == ()


def test_packages_are_found_in_an_image_of_one_layer(series):
    tree = dict.fromkeys(("", "usr", "usr/lib", "usr/lib/apk", "usr/lib/apk/db"), DIRECTORY)
    tree |= {"usr/a": Node("file", 0o644, data=b"1234"), DATABASE: Node("file", 0o644, data=_database(a="a"))}
    reference = f"oci:{series.layout}:t"
    make_image(series.repository.path, series.repository.put_tree(tree), reference)
    assert {item.name: item.size for item in learn([reference], by_package=True).components}["a-source"] == 4


def test_an_image_without_packages_is_refused_when_they_are_asked_for(series):
    image = series.image("1", "2024-01-01T00:00:00Z", FIRST, ONE_EACH)
    with pytest.raises(NotFoundError, match="no package database with packages"):
        learn([image], by_package=True)


def test_an_image_of_one_layer_says_nothing(series):
    commit = series.repository.put_tree({"": DIRECTORY})
    reference = f"oci:{series.layout}:t"
    make_image(series.repository.path, commit, reference)
    with pytest.raises(PlanError, match="no component is known"):
        learn([reference])


def test_a_damaged_layer_is_found(series):
    image = series.image("1", "2024-01-01T00:00:00Z", FIRST, ONE_EACH)
    digest = open_image(image)[1].layers[1].descriptor.digest
    path = series.layout / "blobs" / "sha256" / digest.encoded
    data = bytearray(path.read_bytes())
    data[data.index(b"a" * 10)] ^= 1
    os.chmod(path, 0o644)
    path.write_bytes(data)
    with pytest.raises(OstrataError, match="layer sha256:"):
        learn([image])


def _file(series, name, created, files, layers=ONE_EACH):
    path = series.path / name
    return str(write_contentmeta(path, series.contentmeta(files, layers, created=created)))


def test_contentmeta_files_tell_by_their_objects(series):
    files = [
        _file(series, "1", "2024-01-01T00:00:00Z", FIRST),
        _file(series, "2", "2024-01-08T00:00:00Z", FIRST | {"usr/b": b"B"}),
        _file(series, "3", "2024-01-15T00:00:00Z", FIRST | {"usr/b": b"B", "usr/c": b"c"},
              ONE_EACH | {"3": ("", ["usr/c"]), "4": ("empty", [])}),
    ]  # fmt: skip
    history = learn(files)
    assert _dates(history) == {
        "alpha": (None, ()),
        "žluť beta": (None, (date(2024, 1, 8),)),
        "3": (date(2024, 1, 15), ()),
    }
    assert {item.name: item.size for item in history.components}["alpha"] == 2  # objects


def test_a_repository_has_the_sizes_of_objects(series):
    series.repository.put_tree({"": DIRECTORY, "usr": DIRECTORY} | {
        name: Node("file", 0o644, data=data) for name, data in FIRST.items()
    })  # fmt: skip
    file = _file(series, "1", "2024-01-01T00:00:00Z", FIRST)
    history = learn([file], repository=open_repository(str(series.repository.path)))
    assert [(item.size, item.compressed_size) for item in history.components] == [(11, 11), (1, 1)]


def test_a_release_without_a_date_is_refused(series):
    with pytest.raises(NotFoundError, match="it does not say when it was created"):
        learn([_file(series, "1", None, FIRST)])


def test_images_and_files_are_not_compared(series):
    image = series.image("1", "2024-01-01T00:00:00Z", FIRST, ONE_EACH)
    with pytest.raises(PlanError, match="found both"):
        learn([image, _file(series, "1", "2024-01-01T00:00:00Z", FIRST)])


def test_what_is_not_there_or_no_image_is_an_error(series):
    with pytest.raises(NotFoundError):
        learn([f"oci:{series.path}/none:t"])
    with pytest.raises(NotFoundError):
        learn([f"{series.path}/none.json"])
    (series.path / "x").write_bytes(b"[]")
    with pytest.raises(MalformedError):
        learn([f"{series.path}/x"])


def test_a_written_history_is_read_again(series, monkeypatch):
    image = series.image("1", "2024-01-01T00:00:00Z", FIRST, ONE_EACH)
    history = learn([image])
    for name in ("history.json", "history.json.gz"):
        write_history(str(series.path / name), history)
        assert read_history(str(series.path / name)) == history
    assert gzip.decompress((series.path / "history.json.gz").read_bytes()).startswith(b'{"components":')
    monkeypatch.chdir(series.path)
    write_history("here.json", history)
    assert read_history("here.json") == history


def test_a_history_that_cannot_be_written_leaves_nothing(series):
    history = learn([series.image("1", "2024-01-01T00:00:00Z", FIRST, ONE_EACH)])
    with pytest.raises(NotFoundError):
        write_history(f"{series.path}/none/history.json", history)
