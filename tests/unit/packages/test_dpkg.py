from __future__ import annotations

import gzip
from datetime import date

import pytest

from ostrata.errors import LimitError, MalformedError
from ostrata.model.package import Package
from ostrata.packages import dpkg
from ostrata.packages.dpkg import DpkgDatabase
from sources import Link, MemorySource

DB = "var/lib/dpkg"
MD5 = "0123456789abcdef" * 2
Files = dict[str, bytes | Link]


def paragraph(name: str, *fields: str, state: str = "installed") -> str:
    return "\n".join([f"Package: {name}", f"Status: install ok {state}", "Version: 1", "Architecture: amd64", *fields])


def status(*paragraphs: str) -> Files:
    return {f"{DB}/status": ("\n\n".join(paragraphs) + "\n").encode()}


def listing(name: str, *paths: str) -> Files:
    return {f"{DB}/info/{name}.list": "".join(f"{path}\n" for path in ("/.", *paths)).encode()}


def changelog(*days: int) -> bytes:
    return gzip.compress("".join(f"\n -- A <a>  Mon, {day:02} Jan 2024 10:00:00 +0000" for day in days).encode())


def read(files: Files) -> dict[str, Package]:
    """With one job, and with a process aside: they must find the same."""
    packages = DpkgDatabase().read(MemorySource(files))
    assert packages is not None
    assert DpkgDatabase().read(MemorySource(files), jobs=2) == packages
    return {package.name: package for package in packages}


def test_a_package_has_its_paths_digests_and_days() -> None:
    tree = {
        **status(paragraph("bash", "Source: shell (2)", "Installed-Size: 5", f"Conffiles:\n /etc/rc é {MD5}")),
        **listing("bash", "/bin", "/bin/bash", "/etc", "/etc/rc é"),
        f"{DB}/info/bash.md5sums": f"{MD5[::-1]}  bin/bash\n{MD5}  not/listed\n".encode(),
        "usr/share/doc/bash/changelog.Debian.gz": changelog(5, 3),
        "bin": Link("usr/bin"),
        "usr/bin/bash": b"",
    }
    assert read(tree)["bash"] == Package(
        name="bash",
        version="1",
        arch="amd64",
        source="shell",
        paths=("", "bin", "usr/bin/bash", "etc", "etc/rc é"),
        changed=(date(2024, 1, 3), date(2024, 1, 5)),
        digests={"usr/bin/bash": ("md5", MD5[::-1]), "etc/rc é": ("md5", MD5)},
        size=5 * 1024,
    )


def test_a_tree_without_a_database_has_none() -> None:
    assert DpkgDatabase().read(MemorySource({"usr/bin/dpkg": b"", f"{DB}/info/x.list": b""})) is None


def test_only_packages_with_files_are_there() -> None:
    states = ["installed", "half-configured", "unpacked", "config-files", "not-installed"]
    found = read(status(*(paragraph(state, state=state) for state in states)))
    assert sorted(found) == ["half-configured", "installed", "unpacked"]


def test_a_database_in_usr_is_found_where_var_has_none() -> None:
    moved = {path.replace(DB, "usr/lib/sysimage/dpkg"): data for path, data in status(paragraph("a")).items()}
    assert list(read(moved)) == ["a"]
    assert list(read({**moved, **status(paragraph("b"))})) == ["b"]


def test_lists_named_with_an_architecture_are_each_packages_own() -> None:
    other = paragraph("libc", "Multi-Arch: same").replace("amd64", "i386")
    tree = {
        **status(paragraph("libc", "Multi-Arch: same"), other),
        **listing("libc:amd64", "/lib/x86/libc"),
        **listing("libc:i386", "/lib/i386/libc"),
    }
    packages = DpkgDatabase().read(MemorySource(tree))
    assert packages is not None
    assert [(package.arch, package.paths[1]) for package in packages] == [
        ("amd64", "lib/x86/libc"),
        ("i386", "lib/i386/libc"),
    ]


def test_a_diverted_path_is_the_diverting_packages_own() -> None:
    tree = {
        **status(paragraph("dash"), paragraph("bash"), paragraph("other")),
        **listing("dash", "/bin/sh"),
        **listing("bash", "/bin/sh", "/bin/ls"),
        **listing("other", "/bin/ls"),
        f"{DB}/diversions": b"/bin/sh\n/bin/sh.distrib\ndash\n/bin/ls\n/bin/ls.local\n:\n",
    }
    paths = {name: package.paths[1:] for name, package in read(tree).items()}
    assert paths == {
        "dash": ("bin/sh",),
        "bash": ("bin/sh.distrib", "bin/ls.local"),
        "other": ("bin/ls.local",),
    }


def test_paths_that_a_merged_usr_makes_one_are_there_once() -> None:
    tree = {**status(paragraph("a")), **listing("a", "/lib/x", "/usr/lib/x"), "lib": Link("usr/lib")}
    assert read(tree)["a"].paths == ("", "usr/lib/x")


def test_what_a_killed_dpkg_left_behind_counts() -> None:
    tree = {
        **status(paragraph("a"), paragraph("b")),
        f"{DB}/updates/0001": (paragraph("a", state="config-files") + "\n").encode(),
        f"{DB}/updates/0000": (paragraph("a") + "\n\n" + paragraph("c") + "\n").encode(),
        f"{DB}/updates/tmp.i": b"not finished",
    }
    assert sorted(read(tree)) == ["b", "c"]


def test_packages_of_images_without_dpkg_have_the_paths_of_their_sums() -> None:
    tree: Files = {
        f"{DB}/status.d/bGliYw": b"Package: libc6\nVersion: 2\nArchitecture: amd64\n",
        f"{DB}/status.d/bGliYw.md5sums": f"{MD5}  lib/libc.so.6\n".encode(),
        "lib": Link("usr/lib"),
    }
    package = read(tree)["libc6"]
    assert (package.paths, package.digests) == (("usr/lib/libc.so.6",), {"usr/lib/libc.so.6": ("md5", MD5)})
    assert sorted(read({**tree, **status(paragraph("a"))})) == ["a", "libc6"]


def test_packages_of_one_source_share_a_changelog() -> None:
    tree = {
        **status(*(paragraph(name, "Source: s") for name in ("none", "damaged", "good"))),
        **listing("none"),
        **listing("damaged"),
        **listing("good"),
        "usr/share/doc/damaged/changelog.Debian.gz": b"damaged",
        "usr/share/doc/good/changelog.Debian.gz": changelog(3),
    }
    assert {package.changed for package in read(tree).values()} == {(date(2024, 1, 3),)}


@pytest.mark.parametrize(
    ("files", "days"),
    [
        ({"changelog.gz": changelog(3)}, [3]),
        ({"changelog": gzip.decompress(changelog(3))}, [3]),
        ({"changelog.Debian": gzip.decompress(changelog(3)), "changelog.gz": changelog(4)}, [3]),
        ({"changelog.Debian.gz": changelog(3), "changelog.Debian.amd64.gz": changelog(4)}, [3, 4]),
        ({"changelog.Debian.gz": changelog(3), "changelog.Debian.i386.gz": changelog(4)}, [3]),
        ({"changelog.Debian.gz": Link("../other/log"), "../other/log": b""}, []),
        ({"changelog.gz": gzip.compress(b"upstream\n -- notes\n", mtime=0)}, []),
        ({}, []),
    ],
)
def test_the_changelog_has_several_names(files: Files, days: list[int]) -> None:
    documentation = {f"usr/share/doc/{'' if name.startswith('..') else 'a/'}{name.lstrip('./')}": data
                     for name, data in files.items()}  # fmt: skip
    package = read({**status(paragraph("a")), **listing("a"), **documentation})["a"]
    assert package.changed == tuple(date(2024, 1, day) for day in days)
    assert package.dropped_dates == 0


def test_a_symlinked_documentation_directory_is_followed() -> None:
    tree = {
        **status(paragraph("a", "Source: s")),
        "usr/share/doc/a": Link("b"),
        "usr/share/doc/b/changelog.Debian.gz": changelog(3),
    }
    assert read(tree)["a"].changed == (date(2024, 1, 3),)


def test_dates_that_are_none_are_counted() -> None:
    tree = {**status(paragraph("a")), "usr/share/doc/a/changelog.Debian.gz": changelog(3, 32, 33)}
    package = read(tree)["a"]
    assert (package.changed, package.dropped_dates) == ((date(2024, 1, 3),), 2)


def test_what_dpkg_does_without_is_a_note() -> None:
    tree = {
        **status(paragraph("a"), paragraph("b"), paragraph("c")),
        **listing("b", "/gone"),
        f"{DB}/info/b.md5sums": b"damaged",
        **listing("c"),
        "usr/share/doc/c/changelog.Debian.gz": changelog(3)[:-4],
    }
    assert {name: package.notes for name, package in read(tree).items()} == {
        "a": ("its list of files is missing",),
        "b": ("its MD5 sums cannot be read",),
        "c": ("its changelog cannot be read",),
    }


def test_sums_are_read_only_where_the_tree_lacks_something() -> None:
    tree = {
        **status(paragraph("a", f"Conffiles:\n /etc/a {MD5}"), paragraph("b")),
        **listing("a", "/bin", "/bin/a", "/etc/a"),
        f"{DB}/info/a.md5sums": b"damaged",
        **listing("b", "/bin/b"),
        f"{DB}/info/b.md5sums": b"damaged too",
        "bin": Link("usr/bin"),
        "usr/bin/a": b"",
        "etc/a": b"",
    }
    found = read(tree)
    assert (found["a"].paths, found["a"].digests, found["a"].notes) == (("", "bin", "usr/bin/a", "etc/a"), {}, ())
    assert found["b"].notes == ("its MD5 sums cannot be read",)


def test_changelogs_that_swell_without_end_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dpkg, "MAX_CHANGELOG", 100_000)
    monkeypatch.setattr(dpkg, "MAX_CHANGELOGS", 250_000)
    names = ["a", "b", "c", "d", "e"]
    bomb = gzip.compress(gzip.decompress(changelog(3)) + b"\n" * 10_000_000)
    tree: Files = {f"usr/share/doc/{name}/changelog.Debian.gz": bomb for name in names}
    found = read({**status(*map(paragraph, names)), **tree})
    assert [bool(found[name].changed) for name in names] == [True, True, True, False, False]
    assert found["d"].notes[0] == "its changelog cannot be read"


def test_what_dpkg_refuses_is_an_error_with_its_place() -> None:
    with pytest.raises(MalformedError, match=r"^/var/lib/dpkg/info/a.list: expected a newline"):
        read({**status(paragraph("a")), f"{DB}/info/a.list": b"/.\n/us"})
    with pytest.raises(MalformedError, match=r"^/var/lib/dpkg/diversions: expected three lines"):
        read({**status(paragraph("a")), **listing("a"), f"{DB}/diversions": b"/.\n"})
    with pytest.raises(MalformedError, match=r"^/var/lib/dpkg/status: the paragraph at line 1: "):
        read(status(paragraph("../../etc/passwd")))


def test_a_status_file_of_a_hundred_megabytes_is_refused() -> None:
    with pytest.raises(LimitError, match=r"/var/lib/dpkg/status: expected at most 67,108,864 bytes"):
        read({f"{DB}/status": b"x" * 100_000_000})
