"""Files that builds write anew, and which no package brings: apart from everything else, so that they spoil no layer.

Intervals are guesses that hold where nothing better is known: an initramfs or a package database is another one in
every build, a cache when something that it was made of has changed.
"""

from __future__ import annotations

import re

from ostrata.components.claim import Claim

INITRAMFS = "initramfs"
PACKAGE_DATABASE = "package database"
LINKER_CACHE = "ld.so.cache"
CACHES = "caches"

_ETC = r"(?:usr/)?etc"
_EVERY_BUILD = 1.0
_WEEKLY = 7.0

_KINDS: tuple[tuple[str, str, float, tuple[str, ...]], ...] = (
    (
        INITRAMFS,
        "it is an initramfs",
        _EVERY_BUILD,
        (
            r"usr/lib/modules/[^/]+/init(?:ramfs|rd)[^/]*",
            r"(?:boot|usr/lib/ostree-boot)/(?:.*/)?init(?:ramfs|rd)[^/]*",
            r"initrd\.img(?:\.old)?",
        ),
    ),
    (
        PACKAGE_DATABASE,
        "it is part of a package database",
        _EVERY_BUILD,
        (
            r"(?:var/lib|usr/lib/sysimage|usr/share)/rpm(?:/.*)?",
            r"usr/lib/sysimage/rpm-ostree-base-db/.*",
            r"(?:var/lib|usr/lib/sysimage)/dpkg/.*",
            r"(?:var/lib|usr/lib/sysimage/lib)/pacman/.*",
            r"(?:usr/)?lib/apk/db/.*",
            r"(?:var/lib|usr/lib/sysimage)/(?:dnf|yum|libdnf5|apt|aptitude|zypp)/.*",
        ),
    ),
    (
        LINKER_CACHE,
        "ldconfig writes it",
        _EVERY_BUILD,
        (rf"{_ETC}/ld\.so\.cache", r"var/cache/ldconfig/.*"),
    ),
    (
        CACHES,
        "it is a cache of what is elsewhere",
        _WEEKLY,
        (
            r"var/cache/.*",
            r"usr/lib/fontconfig/cache/.*",
            r"usr/share/icons/(?:.*/)?icon-theme\.cache",
            r"usr/share/mime/(?:[^/]+|.*\.xml)",
            r"usr/share/applications/mimeinfo\.cache",
            r"usr/share/glib-2\.0/schemas/gschemas\.compiled",
            r"usr/share/fonts/(?:.*/)?(?:fonts\.(?:dir|scale|alias)|\.uuid|encodings\.dir)",
            r"usr/share/info/dir",
            r"usr/share/man/(?:.*/)?(?:index\.db|whatis|mandoc\.db|CACHEDIR\.TAG)",
            r"usr/lib(?:64)?/(?:.*/)?(?:loaders|immodules|giomodule)\.cache",
            rf"(?:{_ETC}/udev|usr/lib/udev)/hwdb\.bin",
            r"var/lib/systemd/catalog/database",
            rf"{_ETC}/dconf/db/[^/]+",
            rf"{_ETC}/pki/ca-trust/extracted/.*",
            rf"{_ETC}/ssl/certs/.*",
            rf"{_ETC}/selinux/[^/]+/(?:policy/policy\.\d+|contexts/files/.*\.bin)",
        ),
    ),
)
_CLAIMS = tuple(Claim(name, "volatile", why, interval) for name, why, interval, _ in _KINDS)
_PATTERN = re.compile("|".join(f"({'|'.join(patterns)})" for _, _, _, patterns in _KINDS), re.DOTALL)


def volatile_claim(path: str) -> Claim | None:
    """The claim of a path that every build writes anew; None for others."""
    match = _PATTERN.fullmatch(path)
    return None if match is None or match.lastindex is None else _CLAIMS[match.lastindex - 1]
