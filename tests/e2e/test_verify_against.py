"""`ostrata verify IMAGE --against DIR`: one change of each kind is told, path by path, and nothing besides."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ostrata.errors import escape

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away and set capabilities")

OWNED = "usr/bin/owned \u00fc\nb"
FIRST, SECOND, THIRD = LINKS = ("usr/lib/links/first", "usr/lib/links/second", "usr/lib/links/third")
CAPABILITIES = tuple(bytes.fromhex(f"01000002{bits}000000000000000000000000") for bits in ("00200000", "00040000"))
CONTENTS = (b"what is in it", b"what is of it")

# path, what, in the image, in the directory
CHANGES = [
    (
        "usr/bin/capable",
        "xattr security.capability",
        *(f"0x{value.hex()}" for value in CAPABILITIES),
    ),
    ("usr/bin/content", "content", *(f"sha256:{hashlib.sha256(content).hexdigest()}" for content in CONTENTS)),
    ("usr/bin/group", "gid", "2", "5"),
    (OWNED, "uid", "1", "4"),
    ("usr/link", "target", "bin/same", "bin/gone"),
    ("usr/share/kind", "type", "directory", "file"),
    ("usr/share/mode", "mode", "0755", "2755"),
]
LINK_CHANGES = [
    (FIRST, "hard links", f"/{SECOND}, /{THIRD}", f"/{SECOND}"),
    (SECOND, "hard links", f"/{FIRST}, /{THIRD}", f"/{FIRST}"),
    (THIRD, "hard links", f"/{FIRST}, /{SECOND}", "none"),
]


def make_tree(root: Path) -> Path:
    """An entry for each change, and some that stay."""
    for directory in ("usr/bin", "usr/lib/links", "usr/share/kind", "usr/share/mode"):
        (root / directory).mkdir(parents=True)
    for path in (OWNED, "usr/bin/capable", "usr/bin/content", "usr/bin/group", "usr/bin/same", FIRST):
        (root / path).write_bytes(CONTENTS[0])
    os.chown(root / OWNED, 1, 2)
    os.chown(root / "usr/bin/group", 1, 2)
    os.setxattr(root / "usr/bin/capable", "security.capability", CAPABILITIES[0])
    (root / "usr/link").symlink_to("bin/same")
    for path in (SECOND, THIRD):
        os.link(root / FIRST, root / path)
    return root


def change_each(root: Path) -> None:
    os.setxattr(root / "usr/bin/capable", "security.capability", CAPABILITIES[1])
    (root / "usr/bin/content").write_bytes(CONTENTS[1])
    os.chown(root / "usr/bin/group", 1, 5)
    os.chown(root / OWNED, 4, 2)
    (root / "usr/link").unlink()
    (root / "usr/link").symlink_to("bin/gone")
    (root / "usr/share/kind").rmdir()
    (root / "usr/share/kind").write_bytes(b"")
    (root / "usr/share/mode").chmod(0o2755)
    (root / THIRD).unlink()
    (root / THIRD).write_bytes(CONTENTS[0])


def ostrata(*arguments: str | os.PathLike[str]) -> tuple[int, str]:
    """Exit code and stdout."""
    done = subprocess.run([sys.executable, "-m", "ostrata", *arguments], stdout=subprocess.PIPE, text=True, timeout=60)
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("layers", "expected"), [("plain", [*CHANGES, *LINK_CHANGES]), ("ostree", CHANGES)], ids=["plain", "ostree"]
)
def test_exactly_what_was_changed_in_a_copy_of_the_tree_is_told(
    layers: str, expected: list[tuple[str, str, str, str]], tmp_path: Path
) -> None:
    tree, image = make_tree(tmp_path / "tree"), f"oci:{tmp_path}/image:t"
    copy = tmp_path / "copy"
    subprocess.run(["cp", "--archive", tree, copy], check=True, timeout=60)
    assert ostrata("build", "--quiet", "--format", layers, tree, image)[0] == 0
    verify = ("verify", "--quiet", image, "--against", copy)
    code, out = ostrata(*verify, "--json")
    assert (code, json.loads(out)["differences"]["shown"]) == (0, [])
    code, out = ostrata(*verify)
    assert (code, "no difference in 17 entries" in out) == (0, True)

    change_each(copy)
    code, out = ostrata(*verify, "--json")
    found = json.loads(out)
    assert (code, found["ok"], found["differences"]["count"]) == (4, False, len(expected))
    keys = ("path", "what", "image", "against", "reason")
    assert [tuple(each[key] for key in keys) for each in found["differences"]["shown"]] == sorted(
        (f"/{path}", *rest, None) for path, *rest in expected
    )
    assert any("hard links are not compared" in note for note in found["notes"]) == (layers == "ostree")

    code, out = ostrata(*verify)
    assert (code, f"{len(expected)} differences in 17 entries" in out) == (4, True)
    rows = [re.split(" {2,}", line.strip()) for line in out.splitlines() if line.startswith("/")]
    assert [row[:2] for row in rows] == [[f"/{escape(path)}", what] for path, what, *_ in sorted(expected)]
    for row, (_, _, *values) in zip(rows, sorted(expected), strict=True):
        assert all(value.startswith(cell) for value, cell in zip(values, row[2:], strict=True))  # long ones are folded
