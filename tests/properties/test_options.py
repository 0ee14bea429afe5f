"""Options in any combination: whatever is asked for, it is done, or refused with a reason, and jobs change nothing.

Every option of the commands that plan, build and report is drawn beside the others, on every kind of source. No command
line may end in a traceback, and with several jobs it must give what it gives with one: the same digests, files and
messages. More with

    python -m pytest -m judge tests/properties/test_options.py
"""

from __future__ import annotations

import io
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from ostrata.cli import run
from ostrata.codecs.history import encode as encode_history
from ostrata.model.component import Component
from ostrata.model.history import History
from ostrata.pipeline import build_cache
from planned_trees import commit_tree, make_packaged_tree

BUG = 3
FOUND = 4
"""Exit codes: of what is no error of the user's, and none of the machine's; of findings, which are on stdout."""

PLANNING = [
    ("--by-package",),
    ("--map", "map.yml"),
    ("--map", "map.tsv"),
    ("--history", "history.json"),
    *[("--max-layers", number) for number in ("auto", "2", "4", "300")],
    *[("--strategy", name) for name in ("ostrata", "rechunk", "rpm-ostree", "chunkah")],
    *[("--plan-clock", day) for day in ("2024-03-01", "1970-01-02", "2099-12-31")],
    *[("--rebalance", how) for how in ("never", "auto", "full")],
    ("--previous-required",),
    ("--require-packages",),
]
LABELS = [
    ("--rechunk-label",),
    ("--version", "41.<date>"),
    ("--label", "b=<version:b>, <previous>, <timestamp>"),
    ("--label", "c=plain"),
    ("--label", "d=<relver:gone>"),
    ("--label", "b-"),
    ("--tags-file", "tags"),
    ("--pretty", "a name"),
    ("--changelog", "<pretty>: <pkgupd>"),
    ("--formatter", "pkgupd.update=<name>"),
]
IMAGE = [
    *[("--compression", name) for name in ("gzip", "zstd", "none")],
    ("--compression-level", "1"),
    ("--compression-fast",),
    ("--config", "config.json"),
    ("--cmd", "/sbin/init"),
    ("--arch", "arm64"),
    ("--json",),
    ("--quiet",),
]
ENCAPSULATED = [("--reserved-layer",), ("--layout", "ostree-ext-0.15"), ("--format-version", "1")]
PREVIOUS = [("--previous", name) for name in ("oci:encapsulated", "oci:plain", "oci:missing", "contentmeta.json")]
BUILD = [
    *PLANNING,
    *LABELS,
    *IMAGE,
    *PREVIOUS,
    *ENCAPSULATED,
    *[("--format", "plain")] * 20,
    ("--exclude", "usr/lib/b/*"),
    ("--exclude", "not/there"),
    ("--owners", "owners"),
    ("--one-file-system",),
    *[("--fix", name) for name in ("var-to-factory", "merge-etc", "passwd-locks", "split-passwd", "empty-mounts")],
    *[("--without-step", name) for name in ("keep-var-out", "etc-to-usr-etc", "drop-empty-xattrs", "unknown")],
    ("--selinux", "source"),
    ("--show-steps",),
    ("--cache", "cache"),
    ("--bootable",),
    ("--subject", "a subject"),
    ("--add-metadata-string", "key=value"),
    ("--clamp-mtime", "2020-01-01T00:00:00Z"),
    ("--base", "oci:plain"),
    ("--annotation", "a=b"),
    ("--entrypoint", "/bin/sh"),
    ("--contentmeta", "contentmeta.json"),
    ("--unmapped", "layer-001"),
]
IMAGES = ("oci:encapsulated", "oci:plain")
COMMANDS = {
    "build": (BUILD, [("tree",), ("tree.tar",), ("oci:plain",), ("oci:encapsulated",), ("--repo", "repo", "os")]),
    "plan": (
        [*PLANNING, *LABELS, *PREVIOUS, ("--json",), ("--quiet",), ("--no-xattrs",), ("--output", "out.json")],
        [("tree",), ("--repo", "repo", "os")],
    ),
    "explain": (
        [*PLANNING, *PREVIOUS, ("--json",), ("--quiet",)],
        [
            (*source, path)
            for source in (("tree",), ("--repo", "repo", "os"))
            for path in ("/usr/lib/a/1", "/", "/none")
        ],
    ),
    "encapsulate": (
        [*PLANNING, *LABELS, *IMAGE, *PREVIOUS, *ENCAPSULATED, *[("--plan",)] * 20, ("--copymeta-opt", "key")],
        [("--repo", "repo", "os")],
    ),
    "lint": (
        [("--json",), ("--quiet",), ("--exclude", "usr/lib/b/*"), ("--owners", "owners")],
        [("tree",), ("tree.tar",)],
    ),
    "learn": (
        [
            ("--output", "out.json"),
            ("--output", "out.json.gz"),
            ("--layers",),
            ("--packages",),
            ("--title", "x"),
            ("--quiet",),
        ],
        [IMAGES[:1], IMAGES, ("contentmeta.json", "oci:encapsulated"), ("oci:missing", "oci:plain"), ("tree",)],
    ),
    "changelog": (
        [("--sizes",), ("--md",), ("--json",), ("--quiet",), ("--repo", "repo"), ("--git-dir", "tree")],
        [
            (old, new)
            for old in (*IMAGES, "tree", "contentmeta.json")
            for new in (IMAGES[0], "other", "os", "oci:missing")
        ],
    ),
    "simulate": (
        [
            *[("--strategy", name) for name in ("ostrata", "rechunk", "rpm-ostree", "chunkah")],
            *[("--plan-at", day) for day in ("2024-05-18", "2024-01-01", "1970-01-01", "2099-01-01")],
            *[("--until", day) for day in ("2024-05-18", "2024-08-01", "2099-12-31")],
            *[("--max-layers", numbers) for numbers in ("1", "2,64", "9999", "0")],
            *[("--every", days) for days in ("1", "1,7,28", "400", "0")],
            *[("--release-every", days) for days in ("1", "7", "999")],
            *[("--present-only",), ("--afresh",), ("--json",), ("--quiet",)],
        ],
        [("history.json",), ("dated.json",), ("contentmeta.json",)],
    ),
    "verify": (
        [("--json",), ("--quiet",), ("--mtime",), ("--max-size", "1GB"), ("--repo", "repo")],
        [
            *[(image,) for image in (*IMAGES, "oci:missing", "tree")],
            *[(image, "--against", other) for image in IMAGES for other in ("tree", "other", *IMAGES)],
            (IMAGES[0], "os"),
        ],
    ),
    "compare": (
        [("--json",), ("--markdown",), ("--fail-above", "1"), ("--fail-above", "1GiB"), ("--platform", "linux/arm64")],
        [(old, new) for old in IMAGES for new in (*IMAGES, "oci:missing")],
    ),
}
WRITES = ("build", "encapsulate")
WITHOUT_JOBS = ("simulate", "compare")

_SECONDS = re.compile(r'"plan_seconds": [0-9.e-]+|[0-9.]+ m?s\b')

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]


@st.composite
def command_lines(draw: st.DrawFn, command: str) -> list[str]:
    options, sources = COMMANDS[command]
    chosen = draw(st.lists(st.sampled_from(options), max_size=8, unique=True))
    return [command, *draw(st.sampled_from(sources)), *(part for option in chosen for part in option)]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """All that the options name, on a day that stays the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1715947200")
        yield _make_inputs(tmp_path_factory.mktemp("inputs"), patch)


def _make_inputs(place: Path, patch: pytest.MonkeyPatch) -> Path:
    tree = make_packaged_tree(
        place / "tree", {name: {f"usr/lib/{name}/{n}": f"{name} {n}".encode() * 99 for n in range(4)} for name in "abc"}
    )
    (tree / "usr/share").mkdir()
    (tree / "usr/share/big").write_bytes(os.urandom(1) * (1 << 20))
    (tree / "usr/lib/modules/6.1").mkdir(parents=True)
    (tree / "usr/lib/modules/6.1/vmlinuz").write_bytes(b"kernel")
    (tree / "lib").symlink_to("usr/lib")
    (tree / "etc").mkdir()
    (tree / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nme:x:1:1::/:/bin/sh\n")
    (tree / "etc/passwd-").write_text("")
    (tree / "var/lib/a").mkdir(parents=True)
    (tree / "var/lib/a/state").write_text("state")
    with suppress(OSError):  # no user xattrs on this file system
        os.setxattr(tree / "usr/lib/c/1", "user.component", b"apart")
        os.setxattr(tree / "usr/lib/c/2", "user.update-interval", b"weekly")
    for path in sorted(tree.rglob("*"), reverse=True):
        os.utime(path, (1_700_000_000, 1_700_000_000), follow_symlinks=False)
    with tarfile.open(place / "tree.tar", "w") as tar:
        tar.add(tree, ".")
    commit_tree(place / "repo", tree)
    (place / "map.yml").write_text("usr/lib/a/*: mine\nusr/share/**: {component: share, layer: alone}\nnone: none\n")
    (place / "map.tsv").write_text("usr/lib/b/1\tc\nusr/lib/**\trest\tdaily\n")
    (place / "tags").write_text("41.20240518\n")
    (place / "config.json").write_text('{"Env": ["A=1"], "Healthcheck": {"Test": ["NONE"]}}')
    (place / "owners").write_text("5:6 0640 usr/lib/a/1\n")
    make_packaged_tree(place / "other", {"a": {"usr/lib/a/1": b"new"}, "d": {"usr/lib/d": b"d"}}, versions={"a": "2"})
    dated = (Component(name, name, 10**6, 10**5, updates=(date(2024, 3, 3), date(2024, 6, 6))) for name in "abcd")
    (place / "dated.json").write_bytes(encode_history(History(tuple(dated))))
    with _working_in(place):
        patch.setattr(build_cache, "TICKS", 0)  # the tree was made just now
        always = ("--created", "2024-05-17T12:00:00Z", "--quiet")
        for line in (
            ("plan", "--repo", "repo", "os", "-o", "contentmeta.json", "-q"),
            ("build", "tree", "oci:encapsulated", "--max-layers", "6", "--cache", "cache", *always),
            ("build", "tree", "oci:plain", "--format", "plain", "--max-layers", "4", *always),
            ("learn", "oci:encapsulated", "-o", "history.json", "-q"),
        ):
            assert _run([*line])[0] == 0, line
        assert (place / "cache").read_text().count(" -") > 9
        for name in ("map.yml", "map.tsv", "history.json"):
            option = "--history" if name == "history.json" else "--map"
            assert _run(["plan", "tree", "-q", option, name])[0] == 0, name
    return place


def _run(line: list[str]) -> tuple[int, str, str]:
    """The exit code, and what was said."""
    out, err = io.TextIOWrapper(io.BytesIO()), io.TextIOWrapper(io.BytesIO())
    with redirect_stdout(out), redirect_stderr(err):
        code = run(line)
    return code, _text(out), _text(err)


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    stream.seek(0)
    return stream.read()


class _working_in:  # noqa: N801
    """A `with` block in another working directory."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def __enter__(self) -> None:
        self._before = Path.cwd()
        os.chdir(self._place)

    def __exit__(self, *_: object) -> None:
        os.chdir(self._before)


def _outcomes(inputs: Path, line: list[str]) -> Iterator[tuple[int, str, str]]:
    """With one job, and with three; twice the same of a command that has none."""
    for jobs in ("1", "3"):
        with TemporaryDirectory() as place:
            for item in inputs.iterdir():
                Path(place, item.name).symlink_to(item)
            Path(place, "cache").unlink()
            shutil.copy(inputs / "cache", place)  # a build writes it
            with _working_in(Path(place)):
                destination = ["oci:new"] if line[0] in WRITES else []
                more = [] if line[0] in WITHOUT_JOBS else ["--jobs", jobs]
                code, out, err = _run([*line, *destination, *more])
                written = Path("out.json").read_text() if Path("out.json").exists() else ""
                if code == 0 and destination:
                    assert _run(["verify", "oci:new", "-q"])[0] == 0, line
            yield code, _SECONDS.sub("", out + written), err.replace(place, "")


def _check(inputs: Path, line: list[str]) -> None:
    one, several = _outcomes(inputs, line)
    assert one[0] != BUG, (line, one[2])
    assert several == one, line
    assert one[0] in (0, FOUND) or one[2].startswith(("ostrata: ", "Usage: ")), (line, one)


@pytest.mark.parametrize("command", COMMANDS)
def test_any_options_do_what_they_say_or_are_refused(inputs: Path, command: str) -> None:
    @settings(max_examples=25, deadline=None, suppress_health_check=SLOW)
    @given(command_lines(command))
    def check(line: list[str]) -> None:
        _check(inputs, line)

    check()


@pytest.mark.judge
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("command", COMMANDS)
def test_many_more_options(inputs: Path, command: str, part: int) -> None:
    @seed(part)
    @settings(max_examples=500, deadline=None, suppress_health_check=SLOW)
    @given(command_lines(command))
    def check(line: list[str]) -> None:
        _check(inputs, line)

    check()
