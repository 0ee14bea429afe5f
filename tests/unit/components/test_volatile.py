"""What every build writes anew."""

import pytest

from ostrata.components.volatile import volatile_claim


def component(path):
    claim = volatile_claim(path)
    return None if claim is None else claim.component


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        (
            "initramfs",
            ["usr/lib/modules/6.1.0-9/initramfs.img", "usr/lib/modules/6.1/initrd", "boot/initrd.img-6.1",
             "boot/initramfs-linux-fallback.img", "boot/loader/initrd", "usr/lib/ostree-boot/initramfs-1.img-abc",
             "initrd.img", "initrd.img.old"],
        ),
        (
            "package database",
            ["usr/lib/sysimage/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm/rpmdb.sqlite-wal", "usr/share/rpm/Packages.db",
             "var/lib/rpm", "usr/lib/sysimage/rpm-ostree-base-db/rpmdb.sqlite", "var/lib/dpkg/status",
             "var/lib/dpkg/info/a\nb.list", "usr/lib/sysimage/dpkg/status", "var/lib/pacman/local/a-1-1/desc",
             "usr/lib/sysimage/lib/pacman/sync/core.db", "lib/apk/db/installed", "usr/lib/apk/db/installed",
             "var/lib/apt/extended_states", "usr/lib/sysimage/libdnf5/packages.toml", "var/lib/dnf/history.sqlite"],
        ),
        ("ld.so.cache", ["etc/ld.so.cache", "usr/etc/ld.so.cache", "var/cache/ldconfig/aux-cache"]),
        (
            "caches",
            ["var/cache/man/index.db", "usr/share/icons/hicolor/icon-theme.cache", "usr/share/mime/mime.cache",
             "usr/share/mime/text/plain.xml", "usr/share/applications/mimeinfo.cache",
             "usr/share/glib-2.0/schemas/gschemas.compiled", "usr/lib/udev/hwdb.bin", "etc/udev/hwdb.bin",
             "usr/lib64/gdk-pixbuf-2.0/2.10.0/loaders.cache", "usr/lib/x86_64-linux-gnu/gio/modules/giomodule.cache",
             "usr/lib/fontconfig/cache/x.cache-8", "usr/share/fonts/X11/misc/fonts.dir", "usr/share/info/dir",
             "var/lib/systemd/catalog/database", "usr/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
             "etc/ssl/certs/ca-certificates.crt", "etc/selinux/targeted/policy/policy.33",
             "usr/etc/selinux/targeted/contexts/files/file_contexts.bin", "etc/dconf/db/local"],
        ),
    ],
)  # fmt: skip
def test_what_builds_write_is_known_by_its_path(name, paths):
    assert {path: component(path) for path in paths} == dict.fromkeys(paths, name)


@pytest.mark.parametrize(
    "path",
    ["usr/bin/initramfs", "usr/lib/modules/6.1/vmlinuz", "usr/lib/modules/6.1/a/initramfs.img", "opt/initrd.img",
     "var/lib/rpmx/a", "usr/lib/rpm/macros", "usr/share/rpmlint/a", "var/lib/dpkg-x/status", "usr/lib/apk/db",
     "opt/etc/ld.so.cache", "etc/ld.so.cache/x", "etc/ld.so.conf", "usr/share/mime/packages/a.xml.in",
     "usr/share/icons/icon-theme.cache.old", "usr/lib/udev/hwdb.d/20-x.hwdb", "etc/selinux/config", "home/var/cache/a"],
)  # fmt: skip
def test_what_only_looks_like_it_is_not(path):
    assert component(path) is None


def test_volatile_components_are_taken_to_change_often():
    claims = map(volatile_claim, ["initrd.img", "var/lib/dpkg/status", "etc/ld.so.cache", "var/cache/x"])
    assert [claim.interval for claim in claims if claim] == [1.0, 1.0, 1.0, 7.0]
