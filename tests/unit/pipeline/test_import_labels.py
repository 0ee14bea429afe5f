"""Merged commits are labelled by the policy in them, or by another one; nothing of the policy is believed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from derived_images import BASE, BASE_COMMIT, content_of, derived_image, entries_of
from ostrata.errors import LimitError, MalformedError, NotFoundError, OstrataError, UnsupportedError
from ostrata.model.tree import Entry
from ostrata.pipeline import import_labels
from ostrata.pipeline.import_image import ImportedImage, import_image
from ostrata.pipeline.import_labels import own_policy
from ostrata.pipeline.import_notes import ImportNotes
from ostrata.sources.selinux import open_policy
from ostrata.stores.ostree_repository import open_repository
from ostrata.stores.ostree_writer import init_repository, open_writer
from plain_images import Change, directory, link, symlink, write_image
from repositories import expected_entries
from selinux_policies import FILE_CONTEXTS, has_libselinux, label, make_policy, needs_libselinux
from tarbuilder import Node, file_checksum

CONFIG = b"SELINUX=enforcing\nSELINUXTYPE=tiny\n"
POLICY = [
    Change("etc/selinux/config", data=CONFIG),
    Change("etc/selinux/tiny/policy/policy.33", data=b"compiled"),
    Change("etc/selinux/tiny/contexts/files/file_contexts", data=FILE_CONTEXTS.encode()),
]
LABEL = b"security.selinux"


def do_import(tmp_path: Path, *layers: list[Change], **options: object) -> ImportedImage:
    repo = str(tmp_path / "repo")
    init_repository(repo, "archive")
    return import_image(repo, *derived_image(tmp_path / "image", *layers), ref="merged", **options)  # type: ignore[arg-type]


def label_of(entry: Entry) -> bytes | None:
    return dict(entry.attributes.xattrs).get(LABEL)


def labels(tmp_path: Path, revision: str = "merged") -> dict[str, bytes | None]:
    return {path: label_of(entry) for path, entry in entries_of(tmp_path / "repo", revision).items()}


def full(name: str) -> bytes:
    return label(name) + b"\0"


@needs_libselinux
def test_all_of_the_merged_tree_is_labelled_by_the_policy_in_it(tmp_path: Path) -> None:
    more = [
        Change("usr/bin/su"),
        symlink("usr/bin/l", "su"),
        directory("opt"),
        Change("usr/bin/\x1bž\n"),
        Change("proc/x"),
    ]
    found = do_import(tmp_path, POLICY, more)

    assert found.merged is not None and found.merged.policy == "tiny"
    seen = labels(tmp_path)
    assert seen[""] == full("root")
    assert (seen["usr"], seen["usr/bin"], seen["usr/bin/\x1bž\n"]) == (full("usr"), full("bin"), full("bin"))
    assert (seen["usr/bin/su"], seen["usr/bin/l"], seen["opt"]) == (full("su_exec"), full("bin"), full("default"))
    assert (seen["usr/etc/passwd"], seen["usr/etc/sub/deep ž\n"]) == (full("usretc"), full("usretc"))
    assert seen["proc"] == full("mnt")
    assert None not in seen.values()


@needs_libselinux
def test_files_of_the_base_get_new_objects_only_where_the_label_differs(tmp_path: Path) -> None:
    same, other = ((LABEL, full("bin")),), ((LABEL, full("old")), (b"user.z", b"1"))
    base = dict(BASE) | {
        "usr/bin/same": Node("file", 0o755, 5, 6, same, b"same"),
        "usr/bin/other": Node("file", 0o4711, 5, 6, other, b"other"),
        "usr/bin/large": Node("file", 0o644, 0, 0, other, bytes(1_500_000)),
        "usr/bin/link": Node("symlink", 0o777, 5, 6, ((LABEL, full("old")),), b"same"),
    }
    init_repository(str(tmp_path / "repo"), "archive")
    import_image(str(tmp_path / "repo"), *derived_image(tmp_path / "image", POLICY, base=base), ref="merged", jobs=2)

    entries = entries_of(tmp_path / "repo", "merged")
    assert entries["usr/bin/same"] == expected_entries(base)["usr/bin/same"]
    for path in ("usr/bin/other", "usr/bin/large", "usr/bin/link"):
        xattrs = tuple(sorted((*(pair for pair in base[path].xattrs if pair[0] != LABEL), *same)))
        expected = replace(base[path], xattrs=xattrs)
        assert entries[path] == expected_entries({path: expected})[path]
    assert content_of(tmp_path / "repo", "merged", "usr/bin/large") == bytes(1_500_000)
    assert entries_of(tmp_path / "repo", "merged^") == expected_entries(base)


@needs_libselinux
@pytest.mark.parametrize("size", [5, 2_500_000])
def test_names_of_one_file_can_have_different_labels(size: int, tmp_path: Path) -> None:
    data = random.Random(size).randbytes(size)
    more = [
        Change("usr/bin/su", data=data),
        link("usr/su", "usr/bin/su"),
        link("usr/bin/again", "usr/bin/su"),
        link("su", "usr/su"),
    ]
    do_import(tmp_path, [*POLICY, *more])

    entries = entries_of(tmp_path / "repo", "merged")
    expected = {"usr/bin/su": "su_exec", "usr/su": "usr", "usr/bin/again": "bin", "su": "default"}
    for path, name in expected.items():
        assert entries[path].content == file_checksum(Node("file", 0o644, 0, 0, ((LABEL, full(name)),), data))  # type: ignore[union-attr]
        assert content_of(tmp_path / "repo", "merged", path) == data


@needs_libselinux
def test_copies_for_labels_are_bounded_like_layers(tmp_path: Path) -> None:
    data = random.Random(1).randbytes(1_500_000)
    links = [link("usr/su", "usr/bin/su"), link("su", "usr/bin/su")]
    with pytest.raises(LimitError, match="at most 2,000,000 bytes of copies for different labels"):
        do_import(tmp_path, [*POLICY, Change("usr/bin/su", data=data), *links], max_size=2_000_000)


@needs_libselinux
def test_a_layer_can_change_the_policy_and_the_last_one_labels(tmp_path: Path) -> None:
    other = FILE_CONTEXTS.replace("bin_t", "another_t").encode()
    more = [Change("etc/selinux/tiny/contexts/files/file_contexts.local", data=b"/opt system_u:object_r:opt_t:s0\n")]
    do_import(
        tmp_path, POLICY, [Change("etc/selinux/tiny/contexts/files/file_contexts", data=other)], [*more, Change("opt")]
    )

    assert labels(tmp_path)["usr/bin/sh"] == full("another")
    assert labels(tmp_path)["opt"] == full("opt")


@needs_libselinux
def test_the_bases_own_policy_labels_what_layers_add(tmp_path: Path) -> None:
    policy = {f"usr/{change.path}": Node("file", 0o644, data=change.data) for change in POLICY}
    directories = {parent for path in policy for parent in map(str, Path(path).parents) if parent != "."}
    base = dict(BASE) | dict.fromkeys(directories, BASE["usr"]) | policy
    init_repository(str(tmp_path / "repo"), "archive")
    found = import_image(
        str(tmp_path / "repo"), *derived_image(tmp_path / "image", [Change("usr/bin/su")], base=base), ref="merged"
    )
    assert found.merged is not None and found.merged.policy == "tiny"
    assert labels(tmp_path)["usr/bin/su"] == full("su_exec")


@needs_libselinux
def test_a_plain_image_is_labelled_by_its_own_policy_too(tmp_path: Path) -> None:
    init_repository(str(tmp_path / "repo"), "archive")
    import_image(
        str(tmp_path / "repo"), *write_image(tmp_path / "image", [POLICY, [Change("usr/bin/su")]]), ref="merged"
    )

    assert labels(tmp_path)["usr/bin/su"] == full("su_exec")


@needs_libselinux
def test_another_policy_can_be_given_and_the_base_keeps_its_checksum(tmp_path: Path) -> None:
    contexts = FILE_CONTEXTS.replace("bin_t", "given_t")
    policy = open_policy(str(make_policy(tmp_path / "policy", contexts=contexts)))
    found = do_import(tmp_path, [*POLICY, Change("usr/bin/new")], policy=policy)

    assert found.merged is not None and found.merged.policy == "tiny"
    assert labels(tmp_path)["usr/bin/new"] == full("given")
    assert open_repository(str(tmp_path / "repo")).resolve("merged^") == BASE_COMMIT
    assert entries_of(tmp_path / "repo", "merged^") == expected_entries(BASE)


@needs_libselinux
def test_layers_labels_stay_where_the_policy_has_none(tmp_path: Path) -> None:
    do_import(tmp_path, [*POLICY, Change("nothing", xattrs={"security.selinux": b"from:the:layer\0"})])

    assert labels(tmp_path)["nothing"] == b"from:the:layer\0"


def test_without_labels_every_entry_keeps_what_it_has(tmp_path: Path) -> None:
    found = do_import(tmp_path, [*POLICY, Change("usr/bin/new")], labels=False)

    assert found.merged is not None and found.merged.policy is None
    seen = labels(tmp_path)
    assert seen["usr/bin/new"] is None
    assert seen["usr/etc/sub/deep ž\n"] == full("old")


@pytest.mark.parametrize("config", [b"SELINUX=disabled\nSELINUXTYPE=tiny\n", b"", b"# SELINUX=enforcing\n"])
def test_a_policy_that_is_off_labels_nothing(config: bytes, tmp_path: Path) -> None:
    found = do_import(tmp_path, [*POLICY, Change("etc/selinux/config", data=config)])

    assert found.merged is not None and found.merged.policy is None
    assert labels(tmp_path)["usr/bin/sh"] is None


# What cannot be used


def refused(
    tmp_path: Path, changes: list[Change], kind: type[OstrataError], message: str, mode: str = "archive"
) -> None:
    repo = str(tmp_path / "repo")
    init_repository(repo, mode)
    with pytest.raises(kind, match=message) as caught:
        import_image(repo, *write_image(tmp_path / "image", [changes]), ref="merged")
    assert str(caught.value).startswith("the image's own SELinux policy: ")
    assert "--no-selinux" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert open_repository(repo).list_refs() == []
    assert [path.name for path in (tmp_path / "repo/tmp").iterdir()] == ["cache"]


def without(*names: str) -> list[Change]:
    return [change for change in POLICY if not change.path.endswith(names)]


def test_labels_that_cannot_be_had_are_an_error_and_no_commit_without_them(tmp_path: Path) -> None:
    policy = open_policy(str(make_policy(tmp_path / "policy"))) if has_libselinux() else None
    if policy is None:
        refused(tmp_path, POLICY, UnsupportedError, r"SELinux labels need libselinux\.so\.1, which is not here")
        return
    missing = replace(policy, library="libno-such-library.so")
    with pytest.raises(
        UnsupportedError, match=r"SELinux labels need libno-such-library\.so, which is not here\ninstall it"
    ):
        do_import(tmp_path, [Change("usr/bin/new")], policy=missing)
    assert open_repository(str(tmp_path / "repo")).list_refs() == []


@pytest.mark.parametrize("mode", ["archive", "bare-user"])
def test_without_libselinux_the_images_own_policy_is_an_error_too_and_the_repository_stays(
    mode: str, tmp_path: Path
) -> None:
    """A file that is no library stands before the real one on the way of the program's loader."""
    (tmp_path / "libraries/libselinux.so.1").parent.mkdir()
    (tmp_path / "libraries/libselinux.so.1").write_text("no library")
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path / "libraries")}
    derived_image(tmp_path / "image", [*POLICY, Change("usr/bin/new")])

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        image, repo = f"oci:{tmp_path}/image:t", str(tmp_path / "repo")
        command = [sys.executable, "-m", "ostrata", "import", image, "--repo", repo, "--write-ref", "merged", *options]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    init_repository(str(tmp_path / "repo"), mode)
    done = run("--quiet")
    assert (done.returncode, done.stdout) == (1, "")
    assert "policy tiny: SELinux labels need libselinux.so.1, which is not here\n" in done.stderr
    assert "--no-selinux" in done.stderr
    repository = open_repository(str(tmp_path / "repo"))
    assert repository.list_refs() == []
    assert [path.name for path in (tmp_path / "repo/tmp").iterdir()] == ["cache"]
    commits = {path.parent.name + path.stem for path in (tmp_path / "repo/objects").glob("*/*.commit")}
    assert commits == {BASE_COMMIT}
    assert entries_of(tmp_path / "repo", BASE_COMMIT) == expected_entries(BASE)

    done = run("--quiet", "--no-selinux")
    assert (done.returncode, done.stderr) == (0, "")
    assert labels(tmp_path)["usr/bin/new"] is None


@needs_libselinux
@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        (without("policy.33"), NotFoundError, "no compiled policy"),
        (without("file_contexts"), NotFoundError, "file_contexts"),
        (
            [*POLICY, Change("etc/selinux/config", data=b"SELINUX=1\nSELINUX=enforcing\n")],
            MalformedError,
            "SELINUXTYPE",
        ),
        (
            [*POLICY, Change("etc/selinux/config", data=CONFIG + b"SELINUXTYPE=../../x\n")],
            MalformedError,
            "SELINUXTYPE",
        ),
        ([*POLICY, Change(POLICY[2].path, data=b"/[ -- x\n")], MalformedError, "tiny: the policy has no label for /"),
        (
            [*without("config"), symlink("etc/selinux/config", "/etc/selinux/config")],
            UnsupportedError,
            "leads elsewhere",
        ),
        (
            [*POLICY, symlink("etc/selinux/tiny/contexts/files/file_contexts.local", "../x")],
            UnsupportedError,
            "leads elsewhere",
        ),
    ],
)
def test_a_policy_that_cannot_be_used_is_an_error(
    changes: list[Change], kind: type[OstrataError], message: str, tmp_path: Path
) -> None:
    refused(tmp_path, changes, kind, message)


@needs_libselinux
def test_a_bare_user_only_repository_holds_no_labels(tmp_path: Path) -> None:
    refused(tmp_path, POLICY, UnsupportedError, "bare-user-only repository cannot hold labels", "bare-user-only")


def test_the_bytes_of_a_policy_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_labels, "MAX_POLICY", 1000)
    refused(tmp_path, [*POLICY, Change(POLICY[2].path, data=bytes(1000))], LimitError, "at most 1,000 bytes")


@needs_libselinux
def test_compiled_expressions_and_all_else_of_a_policy_stay_out_of_libselinuxs_sight(tmp_path: Path) -> None:
    contexts = "etc/selinux/tiny/contexts/files"
    others = [
        Change(f"{contexts}/{name}", data=b"?") for name in ("file_contexts.bin", "file_contexts.local.bin", "media")
    ]
    store, image = write_image(
        tmp_path / "image", [[*POLICY, *others, Change("etc/selinux/tiny/active/modules", data=b"?")]]
    )
    repo = str(tmp_path / "repo")
    init_repository(repo, "archive")
    entries = entries_of(repo, import_image(repo, store, image).checksum)
    with open_writer(repo) as writer:
        policy = own_policy(writer, store, image, entries, ImportNotes(writer, image.layers), 1 << 30)
        files = {path.name for path in Path(writer.place.directory).rglob("*") if path.is_file()}
        assert files == {"config", "policy.33", "file_contexts"}
        assert policy is not None and [stamp[0] for stamp in policy.stamp] == ["file_contexts"]
