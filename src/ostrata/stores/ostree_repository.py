"""An OSTree repository, read (ostree: ostree-repo.c; layout in `ostree-repo(7)`).

A repository is a directory with `config` and `objects/`; an object lies in ``objects/XX/REST.SUFFIX``. What is not
found is looked up in the parent repository, each repository by its own mode. Every metadata object is compared with
its checksum when it is read, every content object while it is read. Nothing here writes.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from ostrata.codecs import ostree
from ostrata.errors import (
    DigestMismatchError,
    MalformedError,
    NotFoundError,
    OstrataError,
    UnsupportedError,
    escape,
    from_os_error,
    some_of,
    within,
)
from ostrata.model.digest import is_checksum
from ostrata.model.ostree import Commit, FileHeader, FileObject
from ostrata.stores.ostree_objects import READERS, ObjectReader, missing_object, read_whole

MAX_CONFIG = 1 << 20
MAX_PARENTS = 32

_REF_FRAGMENT = re.compile(r"\w[-._\w]*")
_HEX_PREFIX = re.compile(r"[0-9a-f]{1,63}")


def is_ref_name(name: str) -> bool:
    """Is `name` a valid ref: fragments of letters, digits and ``-._`` joined by slashes (ostree-core.c)?"""
    return all(_REF_FRAGMENT.fullmatch(fragment) for fragment in name.split("/"))


@dataclass(frozen=True)
class OstreeRepository:
    """One repository and, behind `parent`, those it borrows objects from. Open it with `open_repository`."""

    path: str
    mode: str
    parent: OstreeRepository | None = None

    @cached_property
    def reader(self) -> ObjectReader:
        return READERS[self.mode]

    @cached_property
    def _objects(self) -> str:
        return self.path + "/objects/"

    # Objects

    def read_metadata(self, kind: str, checksum: str) -> bytes:
        """The verified bytes of a commit, dirtree or dirmeta object.

        Raises: NotFoundError, DigestMismatchError, MalformedError.
        """
        path = f"{self._objects}{checksum[:2]}/{checksum[2:]}.{kind}"
        try:
            data = read_whole(path, ostree.MAX_METADATA_OBJECT)
        except FileNotFoundError:
            if self.parent is None:
                raise missing_object(kind, checksum) from None
            return self.parent.read_metadata(kind, checksum)
        except OSError as error:
            raise from_os_error(error, where=f"{kind} object {checksum}") from None
        return ostree.verify(kind, checksum, data)

    def read_header(self, checksum: str) -> tuple[FileHeader, int]:
        """A file object's header and the size of its content in bytes; the content is not read, nothing is hashed.

        Raises: NotFoundError, MalformedError, UnsupportedError.
        """
        try:
            return self.reader.read_header(self._file_path(checksum))
        except FileNotFoundError:
            if self.parent is None:
                raise missing_object("file", checksum) from None
            return self.parent.read_header(checksum)
        except (MalformedError, UnsupportedError, OSError) as error:
            raise _at_file_object(checksum, error) from None

    def open_file(self, checksum: str) -> FileObject:
        """A file object to be read once. It is compared with its checksum when its content is taken to the end.

        An object without content is compared at once. Raises (here or when content is taken): NotFoundError,
        DigestMismatchError, MalformedError, UnsupportedError.
        """
        try:
            found = self.reader.open_file(self._file_path(checksum))
        except FileNotFoundError:
            if self.parent is None:
                raise missing_object("file", checksum) from None
            return self.parent.open_file(checksum)
        except (MalformedError, UnsupportedError, OSError) as error:
            raise _at_file_object(checksum, error) from None
        verified = _verified(checksum, found)
        if found.size == 0:
            for _ in verified:
                pass
            return FileObject(found.header, 0, iter(()))
        return FileObject(found.header, found.size, verified)

    def estimated_size(self, checksum: str) -> int:
        """About how many bytes the content of a file object has: a cheap measure of the work it makes."""
        try:
            return int(os.lstat(self._file_path(checksum)).st_size * self.reader.expansion)
        except FileNotFoundError:
            return self.parent.estimated_size(checksum) if self.parent else 0

    def _file_path(self, checksum: str) -> str:
        return f"{self._objects}{checksum[:2]}/{checksum[2:]}{self.reader.suffix}"

    def part(self, _files: object = (), *, has_metadata: bool = True) -> OstreeRepository:
        """Some objects for a worker: the repository itself, which is small."""
        del has_metadata
        return self

    @contextmanager
    def opened(self) -> Iterator[OstreeRepository]:
        """The repository, which need not be opened again."""
        yield self

    def has_commit(self, checksum: str) -> bool:
        return self.has_object("commit", checksum)

    def has_object(self, kind: str, checksum: str) -> bool:
        """Is there a file for the object (``file``, ``dirtree``, ...)? Its bytes are not looked at."""
        suffix = self.reader.suffix if kind == "file" else f".{kind}"
        return os.path.lexists(f"{self._objects}{checksum[:2]}/{checksum[2:]}{suffix}") or (
            self.parent is not None and self.parent.has_object(kind, checksum)
        )

    # Commits

    def read_commit(self, checksum: str) -> tuple[Commit, bytes]:
        """A commit and its bytes. Raises: NotFoundError, also for partial and deleted commits; MalformedError."""
        if self._is_partial(checksum):
            raise NotFoundError(
                f"commit {checksum} is partial: not all of its objects are here",
                hint="pull the commit again, or run `ostree fsck`",
            )
        try:
            data = self.read_metadata("commit", checksum)
        except NotFoundError:
            if self._was_deleted(checksum):
                raise NotFoundError(f"commit {checksum} was deleted") from None
            raise
        with within(f"commit {checksum}"):
            return ostree.decode_commit(data), data

    def _is_partial(self, checksum: str) -> bool:
        """Is it partial where it is kept? The parents of a repository with the whole commit do not matter."""
        if os.path.lexists(f"{self.path}/state/{checksum}.commitpartial"):
            return True
        here = os.path.lexists(f"{self._objects}{checksum[:2]}/{checksum[2:]}.commit")
        return not here and self.parent is not None and self.parent._is_partial(checksum)

    def _was_deleted(self, checksum: str) -> bool:
        return os.path.lexists(f"{self._objects}{checksum[:2]}/{checksum[2:]}.tombstone-commit") or (
            self.parent is not None and self.parent._was_deleted(checksum)
        )

    def read_detached_metadata(self, checksum: str) -> bytes | None:
        """The commit's detached metadata (not covered by any checksum), or None.

        Raises: MalformedError.
        """
        try:
            data = read_whole(f"{self._objects}{checksum[:2]}/{checksum[2:]}.commitmeta", ostree.MAX_METADATA_OBJECT)
        except FileNotFoundError:
            return self.parent.read_detached_metadata(checksum) if self.parent else None
        except OSError as error:
            raise from_os_error(error, where=f"detached metadata of commit {checksum}") from None
        if not data:
            return None  # what removing detached metadata leaves behind
        with within(f"detached metadata of commit {checksum}"):
            ostree.decode_metadata(data)
        return data

    # Revisions

    def resolve(self, revision: str) -> str:
        """The commit checksum that `revision` names: a checksum, a unique prefix, a ref, each with any number of ``^``.

        Raises: NotFoundError, MalformedError.
        """
        base = revision.rstrip("^")
        checksum = self._resolve_base(base)
        for _ in range(len(revision) - len(base)):
            parent = self.read_commit(checksum)[0].parent
            if parent is None:
                raise NotFoundError(f"commit {checksum} has no parent", where=escape(revision))
            checksum = parent
        return checksum

    def _resolve_base(self, name: str) -> str:
        if is_checksum(name):
            return name
        if _HEX_PREFIX.fullmatch(name):
            candidates = sorted(self._commits_with_prefix(name))
            if len(candidates) > 1:
                raise NotFoundError(f"'{name}' is ambiguous: {len(candidates)} commits begin with it")
            if candidates:
                return candidates[0]
        checksum = self.read_ref(name)
        if checksum is None:
            raise NotFoundError(f"no ref or commit '{escape(name)}' in {escape(self.path)}", hint=self._ref_hint())
        return checksum

    def _commits_with_prefix(self, prefix: str) -> set[str]:
        found = self.parent._commits_with_prefix(prefix) if self.parent else set()
        for directory in sorted(os.listdir(self._objects)):
            if len(directory) == 2 and directory.startswith(prefix[:2]) and os.path.isdir(self._objects + directory):
                names = os.listdir(self._objects + directory)
                commits = {directory + name[:-7] for name in names if name.endswith(".commit")}
                found |= {commit for commit in commits if commit.startswith(prefix) and is_checksum(commit)}
        return found

    def read_ref(self, name: str) -> str | None:
        """The checksum that a ref holds, or None when there is none.

        ``REMOTE:REF`` names a remote's ref; a plain name is a local ref, else ``REMOTE/REF``, else the ref of any
        remote. Raises: MalformedError for a name or file that is no ref.
        """
        remote, colon, ref = name.rpartition(":")
        if not is_ref_name(ref) or (colon and _REF_FRAGMENT.fullmatch(remote) is None):
            raise MalformedError(f"'{escape(name)}' is not a valid ref name")
        for place in self._ref_places(remote, ref):
            checksum = _read_ref_file(f"{self.path}/refs/{place}")
            if checksum is not None:
                return checksum
        return self.parent.read_ref(name) if self.parent else None

    def _ref_places(self, remote: str, ref: str) -> Iterator[str]:
        if remote:
            yield f"remotes/{remote}/{ref}"
            return
        yield f"heads/{ref}"
        yield f"remotes/{ref}"
        remotes = f"{self.path}/refs/remotes"
        for directory in sorted(os.listdir(remotes)) if os.path.isdir(remotes) else ():
            yield f"remotes/{directory}/{ref}"

    def list_refs(self) -> list[str]:
        """Local refs by name, and remotes' refs as ``REMOTE:REF``; those of parents too."""
        found = set(self.parent.list_refs()) if self.parent else set()
        found |= set(_ref_files(f"{self.path}/refs/heads"))
        for name in _ref_files(f"{self.path}/refs/remotes"):
            remote, _, ref = name.partition("/")
            found.add(f"{remote}:{ref}")
        return sorted(found)

    def _ref_hint(self) -> str:
        refs = self.list_refs()
        if not refs:
            return "the repository has no refs"
        return f"refs here: {some_of([escape(ref) for ref in refs], 5)}"


def _verified(checksum: str, file: FileObject) -> Iterator[bytes]:
    hasher = hashlib.sha256(ostree.encode_file_header(file.header))
    try:
        for piece in file.content:
            hasher.update(piece)
            yield piece
    except (MalformedError, OSError) as error:
        raise _at_file_object(checksum, error) from None
    if hasher.hexdigest() != checksum:
        raise DigestMismatchError(
            f"corrupted file object: expected checksum {checksum}, found {hasher.hexdigest()}",
            hint="the repository is damaged; `ostree fsck` tells which objects to fetch again",
        )


def _at_file_object(checksum: str, error: OstrataError | OSError) -> OstrataError:
    """The same error, and which object it is about."""
    place = f"file object {checksum}"
    if isinstance(error, OSError):
        return from_os_error(error, where=place)
    error.places.append(place)
    return error


def open_repository(path: str) -> OstreeRepository:
    """Open the repository at `path` and its parents.

    Raises: NotFoundError when there is none, MalformedError or UnsupportedError for its config, AccessError.
    """
    with within(escape(path)):
        return _open(path, ())


def _open(path: str, children: tuple[str, ...]) -> OstreeRepository:
    real = os.path.realpath(path)
    if real in children:
        raise MalformedError("parent repositories name each other")
    if len(children) > MAX_PARENTS:
        raise MalformedError(f"expected at most {MAX_PARENTS} parent repositories behind each other, found more")
    try:
        text = read_whole(f"{path}/config", MAX_CONFIG).decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError("no OSTree repository here", hint="a repository has a file `config`") from None
    except UnicodeDecodeError:
        raise MalformedError("the repository's config is not UTF-8") from None
    core = parse_key_file(text).get("core", {})
    if core.get("repo_version") != "1":
        raise UnsupportedError(f"expected repo_version=1, found '{escape(core.get('repo_version', ''))}'")
    if not os.path.isdir(f"{path}/objects"):
        raise NotFoundError("no OSTree repository here", hint="a repository has a directory `objects`")
    mode = "archive" if core.get("mode") == "archive-z2" else core.get("mode", "bare")
    if mode not in READERS:
        raise UnsupportedError(f"unknown repository mode '{escape(mode)}'")
    parent = core.get("parent")
    return OstreeRepository(path, mode, _open_parent(parent, (*children, real)) if parent else None)


def _open_parent(path: str, children: tuple[str, ...]) -> OstreeRepository:
    with within(f"parent {escape(path)}"):
        return _open(path, children)


def parse_key_file(text: str) -> dict[str, dict[str, str]]:
    """GLib's key files as OSTree uses them: groups, ``key=value``, comments; the last of repeated keys wins.

    Raises: MalformedError with the line's number.
    """
    groups: dict[str, dict[str, str]] = {}
    group: dict[str, str] | None = None
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("[") and line.endswith("]"):
            group = groups.setdefault(line[1:-1], {})
            continue
        key, equals, value = line.partition("=")
        if group is None or not equals:
            raise MalformedError(f"expected a group or key=value, found '{escape(line[:80])}'", where=f"line {number}")
        group[key.strip()] = value.strip()
    return groups


def _read_ref_file(path: str) -> str | None:
    """The checksum in a ref file; aliases are symlinks and followed, as libostree does."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return None
        with open(path, "rb") as file:
            data = file.read(256)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise MalformedError(f"the ref cannot be read: {(error.strerror or '').lower()}", where=escape(path)) from None
    checksum = data.rstrip().decode("ascii", "replace")
    if not is_checksum(checksum):
        raise MalformedError("a ref that does not hold a checksum", where=escape(path))
    return checksum


def _ref_files(top: str) -> Iterator[str]:
    for directory, _, names in os.walk(top):
        for name in names:
            yield os.path.relpath(os.path.join(directory, name), top)
