"""The command line as people and scripts meet it: exit codes, what is on stdout and stderr, and what is left behind."""

import csv
import gc
import io
import json
import os
import signal
import subprocess
import sys
import time
from base64 import b64decode
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import tarbuilder
from ostrata import cli
from ostrata.errors import escape
from ostrata.model.tree import Directory, Symlink
from ostrata.pipeline.places import open_image
from repositories import CREATED, ROOT, TREE, expected_entries, make_repository
from tarbuilder import Node

COMMANDS = [*([name] for name in cli.COMMANDS), ["container", "encapsulate"], ["container", "export"]]
COMMANDS += [["container", "unencapsulate"], ["container", "import"], ["tar", "export"], ["tar", "import"]]
DIRECTORY = Node("directory", 0o755)
HOSTILE = {
    "": DIRECTORY,
    "carriage\rreturn": Node("file", 0o644, data=b"1"),
    'quote " comma , semicolon ;': Node("file", 0o600, 4294967294, 5, data=b"12"),
    "new\nline": Node("directory", 0o1777, xattrs=((b"user.a=b c", b"\0\xff"), (b"user.\xff", b"2"))),
    "new\nline/\x1b[31m\u202e": Node("symlink", 0o777, data=b"=cmd|' /C calc'!A0\r\n"),
    "new\nline/tab\t": Node("file", 0o4755, xattrs=((b"security.capability", b"\1" * 20),), data=b"x" * 1500),
    " ": DIRECTORY,
}


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    def fails(self, *words, code=1):
        """One clear line, perhaps a hint below it, and nothing else."""
        assert (self.code, self.out) == (code, ""), self
        first, *hints = self.err.removesuffix("\n").split("\n")
        assert first.startswith("ostrata: error: ") and len(hints) <= 1
        assert all(hint.startswith("  ") for hint in hints)
        assert first.isprintable() and all(hint.isprintable() for hint in hints)
        for word in words:
            assert word in self.err
        return self


@pytest.fixture
def ostrata(capfd):
    """Run a command line in this process."""
    handler = signal.getsignal(signal.SIGTERM)

    def run(*arguments):
        capfd.readouterr()
        code = cli.run([os.fspath(argument) for argument in arguments])
        return Done(code, *capfd.readouterr())

    yield run
    signal.signal(signal.SIGTERM, handler)
    gc.enable()


def command_line(*arguments):
    return [sys.executable, "-m", "ostrata", *map(os.fspath, arguments)]


def spawn(*arguments, **more):
    """Run a command line as a process of its own."""
    done = subprocess.run(command_line(*arguments), capture_output=True, timeout=60, **more)
    return Done(done.returncode, done.stdout.decode("utf-8", "surrogateescape"), done.stderr.decode())


@pytest.fixture
def repo(tmp_path):
    return make_repository(tmp_path / "repo", "archive").path


def planned(tree):
    """A contentmeta file: the objects in three layers, in turn."""
    checksums = dict.fromkeys(tarbuilder.file_checksum(tree[path]) for path in tarbuilder.walk(tree))
    mapping = {checksum: "abc"[number % 3] for number, checksum in enumerate(checksums)}
    return json.dumps({"version": 1, "layers": {"b": "ž\n", "a": "A", "c": "C"}, "mapping": mapping})


def snapshot(path):
    return {str(file): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


# Help


@pytest.mark.parametrize("command", [[], *COMMANDS], ids=" ".join)
def test_every_command_helps_with_examples(ostrata, command):
    for option in ("--help", "-h"):
        done = ostrata(*command, option)
        assert (done.code, done.err) == (0, "")
        assert "\n  Examples:\n    ostrata " in done.out and done.out.startswith("Usage: ostrata")
        assert max(map(len, done.out.splitlines())) < 120


def test_help_comes_at_once_and_imports_little():
    seconds = []
    for _ in range(3):
        started = time.monotonic()
        assert spawn("--help").code == 0
        seconds.append(time.monotonic() - started)
    assert min(seconds) < 1
    code = "import sys; from ostrata import cli; cli.run(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert not {"rich", "deflate", "multiprocessing", "ostrata.codecs", "ostrata.stores"} & set(done.stderr.split())


def test_the_version_is_shown(ostrata):
    assert ostrata("--version").out.startswith("ostrata 0.")


# Exit codes


def test_wrong_usage_is_code_2_and_nothing_on_stdout(ostrata, repo, tmp_path):
    for arguments in (
        ["nothing"],
        ["ls"],
        ["ls", "--repo", repo],
        ["ls", "--repo", repo, "os/stable", "/", "more"],
        ["encapsulate", "--repo", repo, "os/stable", f"oci:{tmp_path}/i", "--jobs", "0"],
        ["encapsulate", "--repo", repo, "os/stable", f"oci:{tmp_path}/i", "--label", "=x"],
        ["encapsulate", "--repo", repo, "os/stable", f"oci:{tmp_path}/i", "--label", "x"],
        ["encapsulate", "--repo", repo, "os/stable", f"oci:{tmp_path}/i", "--unmapped", "x"],
        ["encapsulate", "--repo", repo, "os/stable", f"oci:{tmp_path}/i", "--format-version", "3"],
        ["verify", "oci:x", "--repo", repo],
    ):
        done = ostrata(*arguments)
        assert (done.code, done.out) == (2, "")
        assert "Error: " in done.err and "Traceback" not in done.err
    assert not (tmp_path / "i").exists()


def test_an_unknown_command_lists_those_there_are(ostrata):
    assert ", ".join(cli.COMMANDS) in ostrata("nothing").err


def test_wrong_usage_is_shown_escaped(ostrata, repo, tmp_path):
    done = ostrata("encapsulate", "--repo", repo, "os/stable", f"oci:{tmp_path}/i", "--label", "\x1b[31m")
    assert done.code == 2 and "\x1b" not in done.err


@pytest.mark.parametrize("revision", ["nothing\x1b[31m", "nothing", "\udcff\n", "..", "ab" * 32])
@pytest.mark.parametrize("command", ["ls", "encapsulate", "container"])
def test_a_revision_that_is_not_there_is_one_clear_line(ostrata, repo, tmp_path, command, revision):
    destination = [] if command == "ls" else [f"oci:{tmp_path}/new"]
    names = ["container", "export"] if command == "container" else [command]
    ostrata(*names, "--repo", repo, revision, *destination).fails()
    assert not (tmp_path / "new").exists()


def test_no_repository_is_one_clear_line_and_nothing_is_made(ostrata, tmp_path):
    for name in ("no\nsuch\x1b", ""):
        ostrata("ls", "--repo", tmp_path / name, "r").fails("no OSTree repository here")
        done = ostrata("encapsulate", "--repo", tmp_path / name, "r", f"oci:{tmp_path}/new")
        done.fails("no OSTree repository here")
    assert os.listdir(tmp_path) == []


def test_a_damaged_image_is_code_4(ostrata, repo, tmp_path):
    image = f"oci:{tmp_path}/image"
    assert ostrata("encapsulate", "--repo", repo, "os/stable", image, "-q").code == 0
    assert ostrata("verify", image, "--repo", repo, "os/stable").code == 0
    blob = max((tmp_path / "image/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    done = ostrata("verify", image, "--json")
    assert done.code == 4 and json.loads(done.out)["ok"] is False


@pytest.fixture
def slow(tmp_path):
    """A repository whose commit takes a while to compress."""
    data = os.urandom(1 << 22)
    tree = {"": DIRECTORY} | {
        f"f{number}": Node("file", 0o644, data=b"%d" % number + data) for number in range(24)
    }  # fmt: skip
    (tmp_path / "meta.json").write_text(planned(tree))
    return make_repository(tmp_path / "slow", "bare-user", tree).path


@pytest.mark.parametrize("whole_group", [False, True])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_says_so_and_leaves_nothing_half_made(slow, tmp_path, number, code, whole_group):
    small = make_repository(tmp_path / "small", "archive").path
    image = tmp_path / "image"
    assert spawn("encapsulate", "--repo", small, "os/stable", f"oci:{image}:t").code == 0
    before = snapshot(image)
    arguments = ["encapsulate", "--repo", slow, "os/stable", f"oci:{image}:t", "--contentmeta", tmp_path / "meta.json"]
    process = subprocess.Popen(
        command_line(*arguments, "--jobs", "2", "--compression", "zstd", "--compression-level", "15"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 20
    while not list((image / "blobs/sha256").glob(".ostrata-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    (os.killpg if whole_group else os.kill)(process.pid, number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (code, "")
    assert err.strip() == ("ostrata: interrupted" if number == signal.SIGINT else "")
    assert not list(image.rglob(".ostrata-*"))
    assert {path: data for path, data in snapshot(image).items() if path in before} == before


# Output


def test_json_is_parseable_and_alone_on_stdout(ostrata, repo, tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/\x1b[31m\n").touch()
    image = f"oci:{tmp_path}/image"
    for arguments, key in (
        (["init", "--repo", tmp_path / "a repo"], "made"),
        (["commit", "--repo", tmp_path / "a repo", "-b", "r", tmp_path / "tree"], "checksum"),
        (["ls", "--repo", tmp_path / "a repo", "r"], "entries"),
        (["encapsulate", "--repo", repo, "os/stable", image], "manifest"),
        (["inspect", image], "layers"),
        (["verify", image], "problems"),
    ):
        done = ostrata(*arguments, "--json")
        assert done.code == 0
        assert key in json.loads(done.out)
    ostrata("inspect", f"oci:{tmp_path}/nothing", "--json").fails()
    ostrata("ls", "--repo", repo, "nothing", "--json").fails()


def test_the_report_of_encapsulate_adds_up(ostrata, repo, tmp_path):
    arguments = ["encapsulate", "--repo", repo, "os/stable", "--json"]
    first = json.loads(ostrata(*arguments, f"oci:{tmp_path}/one").out)
    assert first["built"] == {"layers": 1, "bytes": first["layers"][0]["size"]}
    assert first["reused"] == {"layers": 0, "bytes": 0}
    second = json.loads(ostrata(*arguments, f"oci:{tmp_path}/two", "--previous", f"oci:{tmp_path}/one").out)
    assert (second["built"]["layers"], second["reused"]) == (0, first["built"])
    assert second["manifest"] == first["manifest"]
    assert second["layers"] == [first["layers"][0] | {"how": "same recipe"}]
    done = ostrata(*arguments[:-1], f"oci:{tmp_path}/three", "--previous", f"oci:{tmp_path}/one")
    assert "0 layers built (0 B), 1 reused" in done.err and "1 by same recipe" in done.err
    assert done.out.strip() == first["manifest"]["digest"]


def assert_record_is(record, entry, path):
    attributes = entry.attributes
    assert record["path"] == "/" + path
    kinds = {Directory: "directory", Symlink: "symlink"}
    assert record["type"] == kinds.get(type(entry), "file")
    assert int(record["mode"], 8) == attributes.mode
    assert (int(record["uid"]), int(record["gid"])) == (attributes.uid, attributes.gid)
    assert int(record["size"]) == getattr(entry, "size", 0)
    assert (record.get("target") or None) == getattr(entry, "target", None)
    xattrs = json.loads(record["xattrs"] or "{}") if isinstance(record["xattrs"], str) else record["xattrs"]
    assert {name: b64decode(value) for name, value in xattrs.items()} == {
        name.decode("utf-8", "backslashreplace"): value for name, value in attributes.xattrs
    }
    if not isinstance(entry, Directory):
        assert record["checksum"] == entry.content


@pytest.mark.parametrize("tree", [TREE, HOSTILE], ids=["tree", "hostile"])
@pytest.mark.parametrize("mode", ["archive", "bare-user"])
def test_ls_gives_back_every_entry_as_json_and_csv(ostrata, tmp_path, tree, mode):
    repository = make_repository(tmp_path / mode, mode, tree)
    expected = expected_entries(tree)
    listed = json.loads(ostrata("ls", "--repo", repository.path, "os/stable", "--json").out)
    assert listed["commit"] == tarbuilder.checksum_of(tarbuilder.commit_bytes(tree))
    lines = ostrata("ls", "--repo", repository.path, "os/stable", "--csv").out
    rows = list(csv.DictReader(io.StringIO(lines, newline="")))
    for records in (listed["entries"], rows):
        assert len(records) == len(expected)
        for record in records:
            path = record["path"][1:]
            assert_record_is(record, expected[path], path)
    assert rows[0]["dirmeta"] == tarbuilder.checksum_of(tarbuilder.dirmeta_bytes(tree[""]))


@pytest.mark.parametrize("tree", [TREE, HOSTILE], ids=["tree", "hostile"])
def test_ls_has_a_line_for_every_entry_with_escaped_names(ostrata, tmp_path, tree):
    repository = make_repository(tmp_path / "repo", "archive", tree)
    done = ostrata("ls", "--repo", repository.path, "os/stable", "--bytes")
    lines = done.out.removesuffix("\n").split("\n")
    assert len(lines) == len(tree) and all(line.isprintable() for line in lines)
    for path, node in tree.items():
        letter = {"directory": "d", "file": "-", "symlink": "l"}[node.kind]
        name = f" /{escape(path)}" + (f" -> {escape(node.data)}" if node.kind == "symlink" else "")
        name += "".join(f" {escape(key)}={len(value)}B" for key, value in node.xattrs)
        [line] = [line for line in lines if line.endswith(name) and line.startswith(f"{letter}{node.mode:05o} ")]
        assert f"{node.uid}:{node.gid} " in line


def test_ls_shows_a_part_of_the_tree(ostrata, repo):
    for path in ("/usr/share", "usr/share", "/usr/share/"):
        entries = json.loads(ostrata("ls", "--repo", repo, "os/stable", path, "--json").out)["entries"]
        assert [entry["path"] for entry in entries] == ["/usr/share", "/usr/share/a", "/usr/share/link"]
    ostrata("ls", "--repo", repo, "os/stable", "/usr/sh").fails("no '/usr/sh' in the commit")
    ostrata("ls", "--repo", repo, "os/stable", "/\x1b\udcff").fails("no '/\\x1b\\xff' in the commit")


@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"]])
def test_a_reader_that_has_enough_is_no_error(tmp_path, form):
    tree = {"": DIRECTORY} | {f"{number:0200}": Node("file", 0o644) for number in range(5000)}
    repository = make_repository(tmp_path / "repo", "bare-user", tree)
    process = subprocess.Popen(
        command_line("ls", "--repo", repository.path, "os/stable", *form),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(20) in (0, 1)


# container


@pytest.mark.parametrize("name", ["encapsulate", "export"])
def test_container_is_encapsulate_with_format_version_1_and_the_digest_alone_on_stdout(ostrata, repo, tmp_path, name):
    meta = tmp_path / "meta.json"
    meta.write_text(planned(TREE))
    (tmp_path / "config.json").write_text('{"Env": ["A=1"]}')
    options = ["--contentmeta", meta, "--label", "k=v=w", "--config", tmp_path / "config.json", "--cmd", "/bin/sh",
               "--copymeta-opt", "version", "--compression-fast"]  # fmt: skip
    before = ["--repo", repo, *options, "os/stable"]
    done = ostrata("container", name, *before, f"oci:{tmp_path}/one")
    assert done.code == 0
    digest = open_image(f"oci:{tmp_path}/one")[1].descriptor.digest
    assert done.out == f"{digest}\n"
    assert ostrata("encapsulate", *before, f"oci:{tmp_path}/two", "--format-version", "1").out == done.out
    assert ostrata("encapsulate", *before, f"oci:{tmp_path}/three").out != done.out
    last = ["--repo", repo, "os/stable", f"oci:{tmp_path}/four:t", *options, "--format-version", "2", "-q"]
    done = ostrata("container", name, *last)
    assert done.err == ""
    assert done.out == ostrata("encapsulate", *before, f"oci:{tmp_path}/three").out


# Input files


CHECKSUM = "ab" * 32
LAYERS = '"layers": {"a": "A"}'
MAPPING = f'"mapping": {{"{CHECKSUM}": "a"}}'
BAD_CONTENTMETA = {
    "empty": ("", "not JSON"),
    "duplicate keys": (f'{{{LAYERS}, {MAPPING}, {LAYERS}}}', "the key 'layers' appears twice"),
    "duplicate mapping": (f'{{{LAYERS}, "mapping": {{"{CHECKSUM}": "a", "{CHECKSUM}": "a"}}}}', "appears twice"),
    "NaN": (f'{{{LAYERS}, {MAPPING}, "version": NaN}}', "version: expected a number, found NaN"),
    "Infinity": (f'{{{LAYERS}, {MAPPING}, "version": -Infinity}}', "version: expected a number, found -Infinity"),
    "a boolean as version": (f'{{{LAYERS}, {MAPPING}, "version": true}}', "version: expected an integer, found a bool"),
    "a float as version": (f'{{{LAYERS}, {MAPPING}, "version": 1.0}}', "version: expected an integer, found 1.0"),
    "a string as version": (f'{{{LAYERS}, {MAPPING}, "version": "1"}}', "version: expected an integer, found a string"),
    "5,000 digits": (f'{{{LAYERS}, {MAPPING}, "version": {"1" * 5000}}}', "at most 20 digits"),
    "version 2": (f'{{{LAYERS}, {MAPPING}, "version": 2}}', "version: expected 1, found 2"),
    "deep nesting": ("[" * 200_000, "nested too deeply"),
    "deep nesting of a label": (f'{{{LAYERS}, {MAPPING}, "labels": {"[" * 5000 + "]" * 5000}}}', ""),
    "lone surrogate": (f'{{{LAYERS}, {MAPPING}, "labels": {{"k": "\\ud800"}}}}', "labels: k: half of a surrogate pair"),
    "surrogate key": (f'{{{LAYERS}, {MAPPING}, "labels": {{"\\udfff": "v"}}}}', "labels: half of a surrogate pair"),
    "BOM": ("\ufeff{}", "byte order mark"),
    "trailing data": (f"{{{LAYERS}, {MAPPING}}} x", "not JSON: extra data"),
    "unknown layer": (f'{{{LAYERS}, "mapping": {{"{CHECKSUM}": "b\\u001b"}}}}', "that 'layers' has, found 'b\\x1b'"),
    "short key": (f'{{{LAYERS}, "mapping": {{"abc": "a"}}}}', "keys of 64 lower-case hex digits, found 'abc'"),
    "upper case": (f'{{{LAYERS}, "mapping": {{"{CHECKSUM.upper()}": "a"}}}}', "keys of 64 lower-case hex digits"),
    "key and newline": (f'{{{LAYERS}, "mapping": {{"{CHECKSUM}\\n": "a"}}}}', "keys of 64 lower-case hex digits"),
    "full-width digits": (f'{{{LAYERS}, "mapping": {{"{"１" * 64}": "a"}}}}', "keys of 64 lower-case hex digits"),
    "a list": ("[]", "expected an object, found a list"),
    "null": ("null", "expected an object, found null"),
    "layers a list": (f'{{"layers": ["a"], {MAPPING}}}', "layers: expected an object, found a list"),
    "layer name a number": (f'{{"layers": {{"a": 1}}, {MAPPING}}}', "layers: a: expected a string, found an integer"),
    "mapping a string": (f'{{{LAYERS}, "mapping": "x"}}', "mapping: expected an object, found a string"),
    "mapping to null": (f'{{{LAYERS}, "mapping": {{"{CHECKSUM}": null}}}}', "expected a string, found null"),
    "no mapping": (f"{{{LAYERS}}}", "the key 'mapping' is missing"),
    "unknown key": (f'{{{LAYERS}, {MAPPING}, "order": true}}', "found 'order'"),
    "ordered a string": (f'{{{LAYERS}, {MAPPING}, "ordered": "yes"}}', "ordered: expected true or false"),
    "ordered a number": (f'{{{LAYERS}, {MAPPING}, "ordered": 1}}', "ordered: expected true or false"),
    "created a number": (f'{{{LAYERS}, {MAPPING}, "created": 5}}', "created: expected a string"),
    "created no time": (f'{{{LAYERS}, {MAPPING}, "created": "yesterday"}}', "created: expected a time"),
    "label a number": (f'{{{LAYERS}, {MAPPING}, "labels": {{"k": 1}}}}', "labels: k: expected a string"),
    "label without name": (f'{{{LAYERS}, {MAPPING}, "labels": {{"": "v"}}}}', "labels: a label without a name"),
    "not UTF-8": ('{"a": "\udcff"}', "expected UTF-8, found byte 0xff at offset 7"),
    "an unfinished string": ('{"layers": {"a', "not JSON"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_CONTENTMETA)
def test_a_bad_contentmeta_is_one_clear_line_and_nothing_is_written(ostrata, repo, tmp_path, name):
    text, message = BAD_CONTENTMETA[name]
    (tmp_path / "meta.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    destination = f"oci:{tmp_path}/new"
    done = ostrata("encapsulate", "--repo", repo, "os/stable", destination, "--contentmeta", tmp_path / "meta.json")
    done.fails(f"{tmp_path}/meta.json: contentmeta: ", message)
    assert sorted(os.listdir(tmp_path)) == ["meta.json", "repo"]


@pytest.mark.parametrize("option", ["--contentmeta", "--config"])
@pytest.mark.parametrize("what", ["a directory", "a FIFO", "400 MB", "nothing", "/dev/zero"])
def test_an_input_that_is_no_ordinary_file_is_refused_quickly(ostrata, repo, tmp_path, what, option):
    path = tmp_path / "input"
    if what == "a directory":
        path.mkdir()
    elif what == "a FIFO":
        os.mkfifo(path)
    elif what == "400 MB":
        path.touch()
        os.truncate(path, 400 << 20)
    elif what == "/dev/zero":
        path.symlink_to(what)
    started = time.monotonic()
    done = ostrata("encapsulate", "--repo", repo, "os/stable", f"oci:{tmp_path}/new", option, path)
    done.fails(f"{tmp_path}/input: ")
    assert time.monotonic() - started < 5
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "text", ["[]", '{"Labels": {"k": 1}}', '{"Labels": []}', '{"a": 1.5}', '{"a": 1, "a": 1}', '{"a": "\\ud800"}', "{"]
)
def test_a_bad_base_config_is_one_clear_line(ostrata, repo, tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    done = ostrata(
        "encapsulate", "--repo", repo, "os/stable", f"oci:{tmp_path}/new", "--config", tmp_path / "config.json"
    )
    done.fails(f"{tmp_path}/config.json: ")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "options",
    [["--created", "now\x1b"], ["--label", "ostree.commit=x"], ["--copymeta", "no\x1b"], ["--previous", "oci:/no"],
     ["--compression-level", "99"], ["--layout", "ostree-ext-0.15", "--format-version", "2"], ["--label", "k=\udcff"],
     ["--cmd", "\udcff"], ["--arch", "\udcff"], ["--previous", "docker://x/y"], ["--compression", "none",
     "--compression-level", "3"]],
    ids=lambda options: " ".join(options[:2]).encode("ascii", "backslashreplace").decode(),
)  # fmt: skip
def test_a_bad_option_is_one_clear_line_and_nothing_is_written(ostrata, repo, tmp_path, options):
    ostrata("encapsulate", "--repo", repo, "os/stable", f"oci:{tmp_path}/new", *options).fails()
    assert os.listdir(tmp_path) == ["repo"]


def test_copied_metadata_reads_well(ostrata, repo, tmp_path):
    done = ostrata("encapsulate", "--repo", repo, "os/stable", f"oci:{tmp_path}/new", "--copymeta", "version")
    assert done.fails().err == ("ostrata: error: the commit has no metadata 'version'\n  it has no metadata\n")


# Destinations


@pytest.mark.parametrize(
    ("destination", "words"),
    [
        ("foo:bar", ["expected a transport, found 'foo'", "oci:PATH"]),
        ("/some/path", ["expected a transport and a colon"]),
        ("path", ["expected a transport and a colon"]),
        ("oci:", ["expected a path"]),
        ("oci::tag", ["expected a path"]),
        ("oci-archive:", ["expected a path"]),
        ("oci:new:a b", ["expected a tag"]),
        ("oci:new:\x1b[31m", ["expected a tag", "\\x1b"]),
        ("docker:registry.example/os", ["expected docker://HOST/NAME"]),
        ("\x1b[31m:x", ["\\x1b"]),
        ("oci:no/such/directory", ["no/such: no such file or directory"]),
        ("oci-archive:no/such/directory", ["no/such"]),
        ("oci:" + "n" * 300, ["file name too long"]),
        ("oci:/dev/null", ["expected a directory, found a file"]),
        ("oci-archive:/dev/null", ["expected a regular file, found a character device"]),
        ("oci-archive:/", []),
    ],
)
def test_a_destination_that_is_none_is_one_clear_line(ostrata, repo, tmp_path, monkeypatch, destination, words):
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    ostrata("encapsulate", "--repo", repo, "os/stable", destination).fails(*words)
    assert os.listdir(tmp_path / "cwd") == []


@pytest.mark.parametrize("destination", ["docker://registry.example/os", "dir:new", "containers-storage:os"])
def test_a_transport_of_skopeos_without_skopeo_says_so(repo, tmp_path, destination):
    (tmp_path / "cwd").mkdir()
    options = ["--authfile", tmp_path / "auth.json", "--tmpdir", tmp_path / "cwd"]
    done = spawn(
        "encapsulate", "--repo", repo, "os/stable", destination, *options, cwd=tmp_path / "cwd",
        env=os.environ | {"PATH": str(tmp_path / "cwd")},
    )  # fmt: skip
    done.fails(f"skopeo is needed for {destination} and is not installed", "install skopeo")
    assert os.listdir(tmp_path / "cwd") == []


@pytest.mark.parametrize("name", ["file", "other directory", "other archive"])
def test_what_is_there_and_is_no_image_is_kept(ostrata, repo, tmp_path, name):
    place = tmp_path / name
    if name == "other directory":
        place.mkdir()
        (place / "precious").write_text("x")
    else:
        place.write_text("precious" * 100)
    before = snapshot(tmp_path)
    transport = "oci-archive" if name == "other archive" else "oci"
    ostrata("encapsulate", "--repo", repo, "os/stable", f"{transport}:{place}").fails(str(place))
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("index", [b"", b"{", b'{"schemaVersion":2,"manifests":1}', b"\xff", bytes(100)])
def test_a_layout_with_a_corrupt_index_is_kept_byte_for_byte(ostrata, repo, tmp_path, index):
    image = f"oci:{tmp_path}/image:t"
    assert ostrata("encapsulate", "--repo", repo, "os/stable", image).code == 0
    (tmp_path / "image/index.json").write_bytes(index)
    before = snapshot(tmp_path)
    ostrata("encapsulate", "--repo", repo, "os/stable", image, "--label", "k=v").fails(f"{tmp_path}/image: ", "index")
    assert snapshot(tmp_path) == before


@contextmanager
def mounted(path, *options):
    path.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", *options, "none", path], capture_output=True)
    if done.returncode:
        pytest.skip("mounting is not possible here")
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


def remount(path, *options):
    subprocess.run(["mount", "-o", ",".join(["remount", *options]), path], check=True)


@pytest.mark.skipif(not ROOT, reason="mounting needs root")
@pytest.mark.parametrize("transport", ["oci", "oci-archive"])
def test_a_read_only_destination_is_one_clear_line(ostrata, repo, tmp_path, transport):
    with mounted(tmp_path / "mount") as place:
        image = f"{transport}:{place}/image"
        first = ostrata("encapsulate", "--repo", repo, "os/stable", image)
        before = snapshot(place)
        remount(place, "ro")
        for destination in (image, f"{transport}:{place}/new"):
            done = ostrata("encapsulate", "--repo", repo, "os/stable", destination, "--label", "k=v")
            done.fails(str(place), "read-only file system")
        assert snapshot(place) == before
        assert ostrata("verify", image, "--repo", repo, "os/stable").code == 0
        assert first.code == 0


@pytest.mark.skipif(ROOT, reason="root may write everywhere")
@pytest.mark.parametrize("transport", ["oci", "oci-archive"])
def test_a_destination_that_may_not_be_written_is_one_clear_line(ostrata, repo, tmp_path, transport):
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed").chmod(0o555)
    ostrata("encapsulate", "--repo", repo, "os/stable", f"{transport}:{tmp_path}/closed/new").fails("permission denied")
    assert os.listdir(tmp_path / "closed") == []


@pytest.mark.skipif(not ROOT, reason="mounting needs root")
@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("transport", ["oci", "oci-archive"])
def test_a_full_disk_is_one_clear_line_and_the_same_command_succeeds_later(ostrata, repo, tmp_path, transport, jobs):
    data = os.urandom(300_000)
    tree = {"": DIRECTORY} | {f"f{number}": Node("file", 0o644, data=b"%d" % number + data) for number in range(5)}
    large = make_repository(tmp_path / "large", "archive", tree).path
    meta = tmp_path / "meta.json"
    meta.write_text(planned(tree))
    with mounted(tmp_path / "mount", "-o", "size=700k") as place:
        image = f"{transport}:{place}/image:t"
        old = ostrata("encapsulate", "--repo", repo, "os/stable", image).out.strip()
        again = ["encapsulate", "--repo", large, "os/stable", image, "--contentmeta", meta, "--jobs", jobs]
        ostrata(*again).fails(str(place), "no space left on device")
        assert str(open_image(image)[1].descriptor.digest) == old
        assert ostrata("verify", image, "--repo", repo, "os/stable").code == 0
        assert not list(place.rglob(".ostrata-*"))
        ostrata("encapsulate", "--repo", large, "os/stable", f"{transport}:{place}/new:t", "-j", jobs).fails()
        assert not (place / "new/index.json").exists() and not (place / "new").is_file()
        remount(place, "size=20m")
        done = ostrata(*again)
        assert done.code == 0
        assert ostrata("verify", image, "--repo", large, "os/stable").code == 0
    assert done.out == ostrata(*again[:4], f"{transport}:{tmp_path}/elsewhere:t", *again[5:]).out


def test_a_file_size_limit_is_one_clear_line(repo, tmp_path):
    tree = {"": DIRECTORY, "f": Node("file", 0o644, data=os.urandom(300_000))}
    large = make_repository(tmp_path / "large", "archive", tree).path
    line = (
        f'ulimit -f 100; exec {sys.executable} -m ostrata encapsulate --repo "{large}" os/stable "oci:{tmp_path}/new"'
    )
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
    Done(done.returncode, done.stdout, done.stderr).fails("file too large")
    assert not (tmp_path / "new/index.json").exists() and not list(tmp_path.rglob(".ostrata-*"))


def test_created_is_the_commits_time(ostrata, repo, tmp_path):
    ostrata("encapsulate", "--repo", repo, "os/stable", f"oci:{tmp_path}/new")
    assert json.loads(ostrata("inspect", f"oci:{tmp_path}/new", "--json").out)["created"] == CREATED
    assert Path(tmp_path / "new/index.json").exists()
