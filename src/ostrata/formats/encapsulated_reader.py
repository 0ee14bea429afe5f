"""Encapsulated layers, read: the rules of the objects in them (`formats.encapsulated` writes them).

What importers ask of a layer:

* A file object comes directly behind its ``.file-xattrs-link``, once, and hashes to its name: owner and mode
  from the tar header, extended attributes from the link, target or content from the entry.
* The link is a hard link to a ``.file-xattrs`` object earlier in the layer, named by its checksum
  (ostree-ext-0.15), or a regular file (bootc). With the latter the object has PAX records of all its
  extended attributes but the SELinux label.
* A commit, dirtree or dirmeta hashes to its name, is in normal form, and is only in the first layer, where
  the commit comes first.

Importers look only at names that begin with ``sysroot/ostree/repo/``, letter by letter, and they ignore
files there that they do not know, and every path outside.

The rules are stated once, here, for both who keep them: an import ends at the first one that is broken, a check
collects all. A broken rule is a violation; what no importer looks at, but every writer does alike, is a remark.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ParamSpec, Protocol, TypeVar

from ostrata.codecs import ostree
from ostrata.codecs.tar_paths import normalise
from ostrata.codecs.tar_reader import XATTR_PREFIX, Content, Kind, TarEntry, read_members
from ostrata.errors import LimitError, MalformedError, OstrataError, UnsupportedError, escape
from ostrata.formats import encapsulated, encapsulated_config
from ostrata.model.digest import is_checksum
from ostrata.model.image import StoredImage
from ostrata.model.ostree import FileHeader

MAX_XATTRS = 1 << 20
"""Bytes of the extended attributes of one object that importers read."""
MAX_SHARED_XATTRS = 64 << 20
"""Bytes of all ``.file-xattrs`` objects of a layer: they must be kept while it is read."""
MAX_METADATA = 10 << 20
"""Bytes of the largest metadata object that importers read."""
MAX_OBJECTS = 4_000_000
"""The most objects of one layer."""

REPOSITORY = encapsulated.REPOSITORY.decode("ascii")

_SELINUX = XATTR_PREFIX + encapsulated.SELINUX.decode("ascii")
_SYMLINK_MODE = stat.S_IFLNK | 0o777
_DIRECTORY_KINDS = ("dirtree", "dirmeta")
_METADATA_KINDS = ("commit", "commitmeta", *_DIRECTORY_KINDS)

P = ParamSpec("P")
T = TypeVar("T")


class ViolationError(MalformedError):
    """An entry that breaks a rule of encapsulated layers."""


class Receiver(Protocol):
    """Whoever takes the objects of a layer, in its order."""

    def announce(self, checksum: str, header: FileHeader, size: int) -> None:
        """An entry with the name of a file object, before anything is checked; `header` has no xattrs yet."""

    def file(self, checksum: str, header: FileHeader, size: int, content: Content) -> str:
        """A file object of that name; take its content. The result is the checksum of what was taken."""

    def metadata(self, kind: str, checksum: str, data: bytes) -> None:
        """A commit, dirtree or dirmeta of that checksum, or a commit's detached metadata (``commitmeta``)."""

    def violation(self, place: str, what: str) -> None:
        """A rule that the layer as a whole breaks at `place`."""

    def remark(self, place: str, what: str) -> None:
        """Importers do not mind."""


def encapsulated_layers(image: StoredImage) -> int:
    """How many of the image's layers hold its OSTree commit: up to the one with the diff_id that its label names.

    The layers behind were added by somebody else. Raises: UnsupportedError for an image without that label;
    MalformedError when the label names no layer, or two.
    """
    final = image.config.labels.get(encapsulated_config.FINAL_DIFF_ID)
    if final is None:
        raise UnsupportedError(
            f"the image has no label {encapsulated_config.FINAL_DIFF_ID}: no OSTree commit is encapsulated in it"
        )
    diff_ids = [str(layer.diff_id) for layer in image.layers]
    if final not in diff_ids:
        label = encapsulated_config.FINAL_DIFF_ID
        raise MalformedError(f"no layer has the diff_id of the label {label}: expected {escape(final[:100])}")
    count = diff_ids.index(final) + 1
    last = image.layers[count - 1].descriptor
    if any(layer.descriptor.digest == last.digest for layer in image.layers[count:]):
        raise MalformedError(f"multiple entries for the last encapsulated layer, {last.digest}")
    return count


def read_layer(chunks: Iterable[bytes], receiver: Receiver, *, first: bool) -> None:
    """Read a layer's tar, given in pieces, up to the first broken rule; `first` is the layer with the commit.

    Paths and directories outside of the repository are passed over. Raises: ViolationError; MalformedError,
    UnsupportedError, LimitError for a tar that cannot be read; what `receiver` raises.
    """
    rules = ObjectRules(receiver, first=first)
    for entry, content in read_members(chunks):
        if not entry.path.startswith(REPOSITORY) or entry.kind is Kind.DIRECTORY:
            continue
        try:
            rules.take(entry, content)
        except OstrataError as error:
            error.places.append(escape(entry.path))
            raise
    rules.finish()


@dataclass(frozen=True, slots=True)
class _Link:
    """A ``.file-xattrs-link`` that waits for its object; `xattrs` is None when they could not be read."""

    checksum: str
    layout: str
    xattrs: bytes | None


class ObjectRules:
    """Takes the entries of a layer's repository one by one; directories are not for it."""

    def __init__(self, receiver: Receiver, *, first: bool) -> None:
        self.layouts: set[str] = set()
        self._receiver = receiver
        self._first = first
        self._object_entries = 0
        self._xattrs: dict[str, bytes] = {}
        self._xattrs_size = 0
        self._link: _Link | None = None
        self._files: set[str] = set()
        self._directory_objects: set[tuple[str, str]] = set()
        self._commit: str | None = None
        self._has_detached = False
        self._rules: dict[str, Callable[[TarEntry, Content, str], None]] = {
            "file": self._file,
            "file-xattrs": self._file_xattrs,
            "file-xattrs-link": self._file_xattrs_link,
            "commit": self._commit_object,
            "commitmeta": self._detached_metadata,
            "dirtree": self._dirtree,
            "dirmeta": self._dirmeta,
        }

    def take(self, entry: TarEntry, content: Content) -> bool:
        """Hand an object on to the receiver. False for a file that is none and that importers pass over.

        Raises: ViolationError; what the receiver and the content raise.
        """
        name = entry.path[len(REPOSITORY) :]
        if name.startswith("objects/"):
            kind, checksum = parse_object_path(entry.path)
            self._check_order(entry, kind)
            self._rules[kind](entry, content, checksum)
            return True
        if name.startswith("xattrs/"):
            raise ViolationError("extended attributes of the format version 0, which is not read")
        return name == "config" or name.startswith("refs/")

    def finish(self) -> None:
        """The end of the layer: what is missing."""
        if self._link is not None:
            dangling = "dangling xattrs for this file object at the end of the layer"
            self._receiver.violation(self._link.checksum, dangling)
        if len(self.layouts) > 1:
            self._receiver.remark("layer", "both layouts in one layer: " + " and ".join(sorted(self.layouts)))
        if self._first and self._commit is None:
            self._receiver.violation("layer", "no commit object in the first layer")

    def _check_order(self, entry: TarEntry, kind: str) -> None:
        """The first layer's first object is the commit, its second another metadata object."""
        position = self._object_entries
        self._object_entries += 1
        if position >= MAX_OBJECTS:
            raise LimitError(f"expected at most {MAX_OBJECTS} objects in a layer, found more")
        if not self._first:
            if kind == "commit":
                raise ViolationError("a commit object in a layer that is not the first")
            if kind in _METADATA_KINDS:
                raise ViolationError("a metadata object in a layer that is not the first")
        elif position == 0 and kind != "commit":
            self._receiver.violation(entry.path, "the first object is not the commit")
        elif position == 1 and kind not in _METADATA_KINDS:
            self._receiver.violation(entry.path, "expected a metadata object directly behind the commit")

    # File objects

    def _file_xattrs(self, entry: TarEntry, content: Content, checksum: str) -> None:
        self._expect_default_file(entry)
        data = _read(entry, content, MAX_XATTRS, "extended attributes")
        if checksum in self._xattrs:
            raise ViolationError("extended attributes twice in one layer")
        self._xattrs_size += len(data)
        if self._xattrs_size > MAX_SHARED_XATTRS:
            raise LimitError(
                f"expected extended attributes of at most {MAX_SHARED_XATTRS} bytes in a layer, found more"
            )
        self._xattrs[checksum] = data
        valid(ostree.verify, "file-xattrs", checksum, data)
        valid(ostree.decode_xattrs, data, in_any_order=True)

    def _file_xattrs_link(self, entry: TarEntry, content: Content, checksum: str) -> None:
        previous = self._link
        is_split = entry.kind is Kind.HARD_LINK
        layout = encapsulated.OSTREE_EXT_0_15 if is_split else encapsulated.BOOTC
        self._link = _Link(checksum, layout, None)
        self.layouts.add(layout)
        if previous is not None:
            dangling = f"found previous dangling xattrs for the file object {previous.checksum}"
            self._receiver.violation(entry.path, dangling)
        if entry.kind not in (Kind.FILE, Kind.HARD_LINK):
            raise ViolationError(f"expected a file or a hard link, found a {entry.kind.value}")
        xattrs = self._split_xattrs(entry) if is_split else _read(entry, content, MAX_XATTRS, "extended attributes")
        self._link = _Link(checksum, layout, xattrs)
        self._expect_default(entry)

    def _split_xattrs(self, entry: TarEntry) -> bytes:
        kind, checksum = parse_object_path(valid(normalise, entry.link_target))
        if kind != "file-xattrs":
            raise ViolationError(f"a hard link to a {kind} object: expected file-xattrs")
        if checksum not in self._xattrs:
            raise ViolationError(f"failed to find xattrs content {checksum} earlier in this layer")
        return self._xattrs[checksum]

    def _file(self, entry: TarEntry, content: Content, checksum: str) -> None:
        link, self._link = self._link, None
        self._receiver.announce(checksum, _file_header(entry, b""), entry.size)
        is_again = checksum in self._files
        self._files.add(checksum)
        if link is None:
            raise ViolationError("missing xattrs reference directly before the file object")
        if link.checksum != checksum:
            raise ViolationError(f"object mismatch: found xattrs for {link.checksum}")
        if is_again:
            raise ViolationError("duplicate object")
        if link.xattrs is None:
            return  # what is wrong with them has been said
        header = _file_header(entry, link.xattrs)
        actual = self._receiver.file(checksum, header, entry.size, content)
        if actual != checksum:
            raise ViolationError(f"corrupted file object: expected checksum {checksum}, found {actual}")
        if entry.pax or header.attributes.xattrs:
            self._check_pax_xattrs(entry, header, link.layout)
        if entry.kind is Kind.SYMLINK and entry.mode != 0o777:
            self._receiver.remark(entry.path, f"expected a symlink with the mode 0777, found {entry.mode:04o}")

    def _check_pax_xattrs(self, entry: TarEntry, header: FileHeader, layout: str) -> None:
        """Container runtimes read extended attributes from PAX records; they get all but the SELinux label."""
        found = pax_xattrs(entry)
        expected: dict[str, bytes] = {}
        if layout == encapsulated.BOOTC:
            pairs = header.attributes.xattrs
            expected = {XATTR_PREFIX + name.decode("utf-8", "surrogateescape"): value for name, value in pairs}
            expected.pop(_SELINUX, None)
        if found == expected:
            return
        names = sorted(key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key))
        shown = ", ".join(escape(name.removeprefix(XATTR_PREFIX)) for name in names[:5])
        what = f"the PAX records differ from the object's extended attributes: {shown}"
        self._receiver.remark(entry.path, what)

    # Metadata objects

    def _commit_object(self, entry: TarEntry, content: Content, checksum: str) -> None:
        data = self._metadata_object(entry, content, "commit", checksum)
        if self._commit is not None:
            raise ViolationError("found multiple commit objects")
        self._commit = checksum
        self._receiver.metadata("commit", checksum, data)
        valid(ostree.decode_commit, data)

    def _detached_metadata(self, entry: TarEntry, content: Content, checksum: str) -> None:
        self._expect_default_file(entry)
        data = _read(entry, content, MAX_METADATA, "a metadata object")
        if self._commit != checksum:
            raise ViolationError("detached metadata of another commit")
        if self._has_detached:
            raise ViolationError("detached metadata twice")
        self._has_detached = True
        self._receiver.metadata("commitmeta", checksum, data)
        valid(ostree.decode_metadata, data)
        if self._object_entries != 2:
            self._receiver.remark(entry.path, "detached metadata that is not directly behind the commit")

    def _dirtree(self, entry: TarEntry, content: Content, checksum: str) -> None:
        valid(ostree.decode_dirtree, self._directory_object(entry, content, "dirtree", checksum))

    def _dirmeta(self, entry: TarEntry, content: Content, checksum: str) -> None:
        valid(ostree.decode_dirmeta, self._directory_object(entry, content, "dirmeta", checksum))

    def _directory_object(self, entry: TarEntry, content: Content, kind: str, checksum: str) -> bytes:
        data = self._metadata_object(entry, content, kind, checksum)
        if (kind, checksum) in self._directory_objects:
            raise ViolationError("duplicate object")
        self._directory_objects.add((kind, checksum))
        self._receiver.metadata(kind, checksum, data)
        return data

    def _metadata_object(self, entry: TarEntry, content: Content, kind: str, checksum: str) -> bytes:
        self._expect_default_file(entry)
        return valid(ostree.verify, kind, checksum, _read(entry, content, MAX_METADATA, "a metadata object"))

    # What no importer looks at

    def _expect_default_file(self, entry: TarEntry) -> None:
        if entry.kind is not Kind.FILE:
            raise ViolationError(f"expected a file, found a {entry.kind.value}")
        self._expect_default(entry)

    def _expect_default(self, entry: TarEntry) -> None:
        if not is_default(entry, 0o644):
            self._receiver.remark(entry.path, f"expected 0:0 0644, found {show_attributes(entry)}")


def valid(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `function` returns; its refusal is a violation."""
    try:
        return function(*args, **kwargs)
    except (MalformedError, UnsupportedError, LimitError) as error:
        raise ViolationError(error.what) from error


def parse_object_path(path: str) -> tuple[str, str]:
    """(type, checksum) of ``sysroot/ostree/repo/objects/XX/REST.TYPE``. Raises: ViolationError."""
    parts = path[len(REPOSITORY) :].split("/") if path.startswith(REPOSITORY) else []
    if len(parts) != 3 or parts[0] != "objects":
        raise ViolationError(f"'{escape(path)}' is no object's path: expected objects/XX/REST.TYPE")
    rest, _, kind = parts[2].partition(".")
    if len(parts[1]) != 2 or not is_checksum(parts[1] + rest):
        raise ViolationError(f"invalid checksum part '{escape(parts[1])}/{escape(rest)}'")
    if kind not in ("file", "file-xattrs", "file-xattrs-link", *_METADATA_KINDS):
        raise ViolationError(f"invalid object type '{escape(kind)}'")
    return kind, parts[1] + rest


def pax_xattrs(entry: TarEntry) -> dict[str, bytes]:
    """The extended attributes in an entry's PAX records, by their keys."""
    return {key: value for key, value in entry.pax.items() if key.startswith(XATTR_PREFIX)}


def is_default(entry: TarEntry, mode: int) -> bool:
    """Is it owned by 0:0, with that mode?"""
    return entry.mode == mode and not entry.uid and not entry.gid


def show_attributes(entry: TarEntry) -> str:
    """Owner and mode for messages: ``0:0 0644``."""
    return f"{entry.uid}:{entry.gid} {entry.mode:04o}"


def _read(entry: TarEntry, content: Content, limit: int, what: str) -> bytes:
    if entry.size > limit:
        raise ViolationError(f"expected {what} of at most {limit} bytes, found {entry.size}")
    return b"".join(content)


def _file_header(entry: TarEntry, xattrs: bytes) -> FileHeader:
    """The header of a file object, as importers take it from the tar entry."""
    if entry.kind not in (Kind.FILE, Kind.SYMLINK):
        raise ViolationError(f"expected a file or a symlink, found a {entry.kind.value}")
    mode = _SYMLINK_MODE if entry.kind is Kind.SYMLINK else stat.S_IFREG | entry.mode
    try:
        entry.link_target.encode("utf-8")
    except UnicodeEncodeError:
        raise ViolationError(f"the symlink target '{escape(entry.link_target)}' is not UTF-8") from None
    return valid(ostree.file_header, entry.uid, entry.gid, mode, xattrs, entry.link_target)
