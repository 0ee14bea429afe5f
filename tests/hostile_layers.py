"""Layers that strangers would make: each a list of tars, one on top of the other, and what must become of them.

`OUTSIDE` stands for the path of a canary beside the destination; `layers_of` puts a real path in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tarbuilder import (
    END,
    Header,
    directory_entry,
    file_entry,
    link_entry,
    long_entry,
    pax_entry,
    raw_pax_entry,
    symlink_entry,
)


@dataclass(frozen=True)
class Hostile:
    """`layers` makes the tars, given the canary's path. `refused` is what the refusal says; None: harmless, once read
    as paths below the destination, and then `holds` are paths that there must be.
    """

    layers: Callable[[str], Sequence[bytes]]
    refused: str | None = None
    holds: tuple[str, ...] = ()


def tar(*entries: bytes) -> bytes:
    return b"".join(entries) + END


def raw_symlink(path: str, target: str) -> bytes:
    """With any target, as its bytes are."""
    head = Header().attributes(0o777, 0, 0, 0, b"2")
    head.buffer[0 : len(path)] = path.encode()
    return long_entry(b"K", target.encode()) + head.finished()


def raw_name(path: str, kind: bytes = b"0", target: str = "", data: bytes = b"") -> bytes:
    """An entry with names that no writer lets through."""
    head = Header().attributes(0o644, 0, 0, len(data), kind)
    long_target = long_entry(b"K", target.encode()) if target else b""
    body = data + bytes(-len(data) % 512)
    return long_entry(b"L", path.encode("utf-8", "surrogateescape")) + long_target + head.finished() + body


def device(path: str, kind: bytes, major: int, minor: int) -> bytes:
    head = Header().attributes(0o666, 0, 0, 0, kind)
    head.buffer[0 : len(path)] = path.encode()
    head.number(329, 8, major)
    head.number(337, 8, minor)
    return head.finished()


def damaged(entry: bytes, at: int) -> bytes:
    changed = bytearray(entry)
    changed[at] ^= 1
    return bytes(changed)


def with_size(size: bytes) -> bytes:
    head = Header().attributes(0o644, 0, 0, 0, b"0")
    head.buffer[0:1] = b"f"
    head.buffer[124:136] = size
    return head.finished()


def pax_size(size: bytes) -> bytes:
    return pax_entry([(b"size", size)]) + file_entry("f", b"")


def sparse() -> bytes:
    head = Header().attributes(0o644, 0, 0, 0, b"S")
    head.buffer[0:1] = b"f"
    return head.finished()


def deep(depth: int, name: str = "d") -> str:
    return "/".join([name] * depth)


def ladder(steps: int, length: int) -> Callable[[str], Sequence[bytes]]:
    """CVE-2025-4517: a short way of symlinks along directories with long names, and from its end up and out."""

    def make(outside: str) -> Sequence[bytes]:
        entries, long, rungs = [], "", []
        for step in range(steps):
            name = "d" * length
            entries.append(directory_entry(f"{long}{name}"))
            entries.append(raw_name(f"{long}{step:x}", b"2", name))
            long += f"{name}/"
            rungs.append(f"{step:x}")
        short = "/".join(rungs)
        entries.append(raw_name(f"{short}/l", b"2", "../" * steps))
        entries.append(raw_name("escape", b"2", f"{short}/l/../../../../../../../../..{outside}"))
        entries.append(raw_name("escape/planted", data=b"out"))
        entries.append(raw_name(f"{short}/l/planted", data=b"out"))
        return [tar(*entries)]

    return make


def once(*entries: bytes) -> Callable[[str], Sequence[bytes]]:
    return lambda _: [tar(*entries)]


def raw(*tars: bytes) -> Callable[[str], Sequence[bytes]]:
    return lambda _: tars


FILE = file_entry("f", b"content")
DOUBLE = pax_entry([(b"path", b"a"), (b"path", b"b")]) + FILE

# The tar itself

TARS = {
    "a header with a wrong checksum": Hostile(once(damaged(FILE, 0)), "expected a header with the checksum"),
    "a wrong checksum behind a good entry": Hostile(once(FILE, damaged(FILE, 130)), "expected a header with the che"),
    "no end": Hostile(raw(FILE), "the tar ends without its two zero blocks"),
    "half an end": Hostile(raw(FILE + bytes(512)), "a lone zero block"),
    "nothing at all": Hostile(raw(b""), "the tar ends without its two zero blocks"),
    "cut within a file": Hostile(raw(FILE[:600]), "the tar ends within an entry"),
    "data after the end": Hostile(raw(tar(FILE) + FILE + END), "data after the end of the tar"),
    "another tar after the end": Hostile(raw(tar(FILE) + bytes(9216) + tar(FILE)), "data after the end of the tar"),
    "a PAX key twice": Hostile(once(DOUBLE), "twice"),
    "a PAX record whose length lies": Hostile(once(raw_pax_entry(b"99 path=a\n"), FILE), "PAX record"),
    "a negative size": Hostile(once(with_size(b"\xff" * 12)), "a negative size"),
    "a negative PAX size": Hostile(once(pax_size(b"-1")), "size"),
    "a size of 8 EiB": Hostile(once(with_size(b"\x80" + (1 << 63).to_bytes(11, "big"))), "size below 8 EiB"),
    "the last size below 8 EiB": Hostile(once(with_size(b"\x80" + ((1 << 63) - 1).to_bytes(11, "big"))), "at most"),
    "a size that overflows 64 bits": Hostile(once(with_size(b"\x80" + (1 << 70).to_bytes(11, "big"))), "8 EiB"),
    "a PAX size that overflows 64 bits": Hostile(once(pax_size(b"36893488147419103232")), "size"),
    "a PAX size of 5,000 digits": Hostile(once(pax_size(b"9" * 5000)), "size"),
    "a directory with a size": Hostile(
        once(Header().attributes(0o755, 0, 0, 512, b"5").finished() + bytes(512)), "with a size|name is empty"
    ),
    "a size that is more than there is": Hostile(once(with_size(b"%011o\0" % (1 << 30))), "the tar ends within an e"),
    "a PAX path with a NUL": Hostile(once(pax_entry([(b"path", b"a\0b")]), FILE), "a name with a NUL"),
    "a PAX link target with a NUL": Hostile(
        once(pax_entry([(b"linkpath", b"a\0b")]), symlink_entry("s", b"x")), "target with a NUL"
    ),
    "a name of 4,097 bytes": Hostile(once(raw_name("n/" * 2048 + "n")), "at most 4096 bytes, found 4097"),
    "a target of 5,000 bytes": Hostile(once(raw_name("s", b"2", "t" * 5000)), "at most 4096 bytes, found 5000"),
    "a name of a megabyte and more": Hostile(once(raw_name("n" * (1 << 20))), "at most 1048576 bytes"),
    "10,000 directories inside each other": Hostile(once(raw_name(deep(10_000))), "at most 4096 bytes, found 19999"),
    "a sparse file": Hostile(once(sparse()), "sparse"),
    "a global PAX path": Hostile(once(pax_entry([(b"path", b"x")], b"g"), FILE), "global PAX header with 'path'"),
}

# Names that lead out

NAMES = {
    "a name with ..": Hostile(once(raw_name("a/../../f")), "leads upwards"),
    "a name of ..": Hostile(once(raw_name("..", b"5")), "leads upwards"),
    "a name that leads out and in again": Hostile(once(raw_name("a/../b")), "leads upwards"),
    "an absolute name with ..": Hostile(once(raw_name("/../../f")), "leads upwards"),
    "an absolute name": Hostile(lambda outside: [tar(raw_name(f"{outside}/file", data=b"out"))], None, ("{}/file",)),
    "many slashes in front": Hostile(lambda outside: [tar(raw_name(f"///{outside}//new"))], None, ("{}/new",)),
    "a hard link with ..": Hostile(once(raw_name("l", b"1", "../canary/file")), "leads upwards"),
    "a hard link to outside": Hostile(
        lambda outside: [tar(raw_name("l", b"1", f"{outside}/file"))], "which neither a lower layer has nor this one"
    ),
    "a hard link to a later entry": Hostile(
        once(link_entry("l", "f"), FILE), "which neither a lower layer has nor this one before the link"
    ),
    "a hard link to itself": Hostile(once(FILE, link_entry("f", "f")), "a hard link to itself"),
    "a hard link to a directory": Hostile(
        once(directory_entry("d"), link_entry("l", "d")), "a hard link to a directory"
    ),
    "a hard link through a symlink to outside": Hostile(
        lambda outside: [tar(raw_symlink("out", outside), raw_name("l", b"1", "out/file"))],
        "which neither a lower layer has nor this one",
    ),
    "a hard link to a symlink to outside": Hostile(
        lambda outside: [tar(raw_symlink("out", f"{outside}/file"), raw_name("l", b"1", "out")), tar(FILE)],
        None,
        ("l", "out", "f"),
    ),
    "a file through a symlink": Hostile(
        lambda outside: [tar(raw_symlink("out", outside), raw_name("out/file", data=b"out"))], None, ("{}/file",)
    ),
    "a file through a symlink of an earlier layer": Hostile(
        lambda outside: [tar(raw_symlink("out", outside)), tar(raw_name("out/file", data=b"out"))], None, ("{}/file",)
    ),
    "a file through a symlink that goes up": Hostile(
        once(raw_symlink("out", "../../../../.."), raw_name("out/planted")), None, ("planted",)
    ),
    "a directory through a symlink": Hostile(
        lambda outside: [tar(raw_symlink("out", outside)), tar(raw_name("out/directory", b"5"))],
        None,
        ("{}/directory",),
    ),
    "a directory that becomes a symlink, and a file in it": Hostile(
        lambda outside: [
            tar(directory_entry("d"), file_entry("d/f", b"1")),
            tar(raw_symlink("d", outside)),
            tar(file_entry("d/file", b"2")),
        ],
        None,
        ("{}/file", "d"),
    ),
    "a file on a symlink to a file": Hostile(
        lambda outside: [tar(raw_symlink("f", f"{outside}/file")), tar(FILE)], None, ("f",)
    ),
    "a file on a symlink in the same layer": Hostile(
        lambda outside: [tar(raw_symlink("f", f"{outside}/file"), FILE)], None, ("f",)
    ),
    "a device on a symlink": Hostile(
        lambda outside: [tar(raw_symlink("f", f"{outside}/file")), tar(device("f", b"3", 1, 3), file_entry("g", b""))],
        None,
        ("g",),
    ),
    "the attributes of a symlink": Hostile(
        lambda outside: [
            tar(
                pax_entry([(b"SCHILY.xattr.trusted.x", b"1"), (b"linkpath", f"{outside}/file".encode())]),
                symlink_entry("s", b"x", 0o777, 5, 6),
            )
        ],
        None,
        ("s",),
    ),
    "symlinks in a circle": Hostile(
        once(symlink_entry("a", b"b"), symlink_entry("b", b"a"), file_entry("a/x", b"")), "more than 40 symlinks"
    ),
    "the ladder of CVE-2025-4517": Hostile(ladder(15, 247), None, ("planted",)),
    "the ladder of CVE-2025-4517, short": Hostile(ladder(3, 9), None, ("planted",)),
    "the ladder of CVE-2025-4517, too long": Hostile(ladder(17, 247), "at most 4096 bytes"),
    "more directories inside each other than a path has room for": Hostile(
        once(raw_name(deep(1500))), "directories nest deeper than 1024"
    ),
    "a long path by way of symlinks": Hostile(
        lambda _: [
            tar(raw_name(deep(15, "e" * 250), b"5"), raw_name("s", b"2", deep(15, "e" * 250))),
            tar(raw_name("s/" + deep(15, "e" * 250), b"5")),
        ],
        "expected paths of at most 4,096 characters",
    ),
    "an entry below a file": Hostile(once(FILE, file_entry("f/g", b"")), "which is no directory"),
    "a file as the root": Hostile(once(raw_name("./", b"2", "x")), "the root of the tree is a directory"),
}

# Whiteouts

WHITEOUTS = {
    ".wh.": Hostile(once(file_entry(".wh.", b"")), "is no whiteout"),
    ".wh..": Hostile(once(raw_name("d/.wh..")), "is no whiteout"),
    ".wh...": Hostile(once(directory_entry("d"), raw_name("d/.wh...")), "is no whiteout"),
    ".wh. far below": Hostile(once(raw_name("a/b/c/.wh.")), "is no whiteout"),
    "an entry below a whiteout": Hostile(once(file_entry("d/.wh.x/f", b"")), "an entry below a whiteout"),
    "an entry below an opaque marker": Hostile(once(file_entry("d/.wh..wh..opq/f", b""), FILE), None, ("f",)),
    "a directory as whiteout": Hostile(once(directory_entry(".wh.x")), "expected a file as whiteout"),
    "a symlink as opaque marker": Hostile(once(symlink_entry("d/.wh..wh..opq", b"x")), "expected a file as whiteout"),
    "a directory as opaque marker": Hostile(once(directory_entry("d/.wh..wh..opq")), "expected a file as whiteout"),
    "a whiteout with ..": Hostile(once(raw_name("../.wh.file")), "leads upwards"),
    "an opaque marker at the top": Hostile(
        lambda _: [tar(file_entry("old", b"")), tar(file_entry(".wh..wh..opq", b""), FILE)], None, ("f",)
    ),
    "an opaque marker in nothing": Hostile(once(file_entry("no/.wh..wh..opq", b""), FILE), None, ("f",)),
    "an opaque marker below a file": Hostile(
        lambda _: [tar(FILE), tar(file_entry("f/.wh..wh..opq", b""))], None, ("f",)
    ),
    "an opaque marker through a symlink": Hostile(
        lambda outside: [tar(raw_symlink("out", outside)), tar(raw_name("out/.wh..wh..opq"), FILE)], None, ("f", "out")
    ),
    "two opaque markers, behind what they must not hide": Hostile(
        once(file_entry("d/f", b""), *[file_entry("d/.wh..wh..opq", b"")] * 2), None, ("d/f",)
    ),
    "a whiteout through a symlink": Hostile(
        lambda outside: [
            tar(raw_symlink("out", outside)),
            tar(raw_name("out/.wh.file"), raw_name("out/.wh.directory"), FILE),
        ],
        None,
        ("f", "out"),
    ),
    "a whiteout of a symlink": Hostile(
        lambda outside: [tar(raw_symlink("out", outside)), tar(raw_name(".wh.out"), FILE)], None, ("f",)
    ),
    "a whiteout of a whiteout": Hostile(
        lambda _: [tar(FILE), tar(file_entry(".wh..wh.f", b""), file_entry("g", b""))], None, ("f", "g")
    ),
}

# What cannot be made everywhere

SPECIAL = {
    "devices": Hostile(
        once(FILE, device("null", b"3", 1, 3), device("disk", b"4", 8, 0), device("pipe", b"6", 0, 0)), None, ("f",)
    ),
    "a setuid program": Hostile(once(file_entry("su", b"x", 0o6755)), None, ("su",)),
    "the last owner that there is": Hostile(once(file_entry("f", b"x", 0o644, 0xFFFFFFFE, 0xFFFFFFFE)), None, ("f",)),
}

HOSTILE = {**TARS, **NAMES, **WHITEOUTS, **SPECIAL}
