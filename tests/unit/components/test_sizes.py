"""Compressed sizes by name."""

from ostrata.components.sizes import OBJECT_BYTES, compressed_size


def share(path: str) -> float:
    return (compressed_size(path, 1_000_000) - OBJECT_BYTES) / 1_000_000


def test_what_is_compressed_already_stays_as_large():
    for path in ("a.PNG", "usr/b.tar.xz", "boot/initrd.img-6.1.0-amd64", "usr/lib/modules/6/vmlinuz"):
        assert share(path) > 0.9


def test_libraries_are_known_by_their_suffix_with_and_without_a_version():
    assert share("libc.so.6") == share("libc.so") == share("x.so.1.2.3") == 0.35


def test_a_directorys_suffix_means_nothing():
    assert share("a.png/program") == share("program") < 0.5


def test_an_empty_file_costs_its_headers():
    assert compressed_size("x", 0) == OBJECT_BYTES
