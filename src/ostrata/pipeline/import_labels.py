"""SELinux labels of a merged tree, as ostree-ext gives them (its `container/store.rs`): layers do not have them.

All of the merged tree is labelled, by the policy in its own /usr/etc/selinux unless another one is given: a layer may
have brought a policy of its own. Most files of the base get the label that they have, and stay its objects. Without
a policy, or with one that is switched off, every entry keeps the label that it has.

The policy may be a stranger's. Of its files only the text of ``file_contexts*`` is written to disk and read: the
compiled regular expressions beside it (``.bin``) are machine data that libselinux believes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from ostrata.errors import LimitError, OstrataError, UnsupportedError, escape, within
from ostrata.model.image import StoredImage
from ostrata.model.tree import Directory, Entry, RegularFile, Symlink
from ostrata.pipeline.import_notes import ImportNotes
from ostrata.protocols import BlobStore
from ostrata.sources.image_union import content_place
from ostrata.sources.selinux import SelinuxPolicy, open_policy
from ostrata.stores.layer_spool import LayerSpool
from ostrata.stores.ostree_repository import OstreeRepository
from ostrata.stores.ostree_writer import RepositoryWriter

MAX_POLICY = 64 << 20
"""Bytes of all files of a policy that are read."""

_ROOT = "usr/etc/selinux"
_READ = re.compile(rf"{_ROOT}/(config|[^/]+/contexts/files/file_contexts[^/]*)")
_COMPILED = re.compile(rf"{_ROOT}/[^/]+/policy/policy\.[0-9]+")
_OTHERWISE = "another policy (--selinux-policy TREE) can label the files, or none (--no-selinux)"


def relabelled(entries: Mapping[str, Entry], policy: SelinuxPolicy) -> dict[str, Entry]:
    """Those entries whose label is not the policy's, with the policy's. Raises: as `SelinuxPolicy.label`."""
    found: dict[str, Entry] = {}
    for path, entry in entries.items():
        old = entry.attributes.xattrs
        new = policy.relabelled(path, entry.file_type, old)
        if new != old:
            found[path] = replace(entry, attributes=replace(entry.attributes, xattrs=new))
    return found


def own_policy(
    writer: RepositoryWriter,
    store: BlobStore,
    image: StoredImage,
    entries: Mapping[str, Entry],
    notes: ImportNotes,
    max_size: int,
) -> SelinuxPolicy | None:
    """The policy in the merged tree `entries`, None when it has none or SELinux is off in it.

    Its files are kept in the transaction's directory, as long as the transaction. Raises: what `open_policy` raises;
    LimitError.
    """
    if f"{_ROOT}/config" not in entries:
        return None
    place = f"{writer.place.directory}/policy"
    try:
        with (
            within("the image's own SELinux policy"),
            LayerSpool(store, image.layers, tmpdir=writer.place.directory, max_size=max_size) as spool,
        ):
            _write_policy(place, entries, _Contents(writer.repository, notes, spool))
            policy = open_policy(place)
            if policy is not None and writer.place.mode == "bare-user-only":
                raise UnsupportedError("a bare-user-only repository cannot hold labels")
            return policy
    except OstrataError as error:
        inside = [each.replace(escape(place), "") for each in error.places]
        error.places = [each for each in inside if each]
        error.hint = f"{error.hint}; {_OTHERWISE}" if error.hint else _OTHERWISE
        raise


@dataclass(frozen=True, slots=True)
class _Contents:
    """Opens files of the merged tree: objects of the repository, or in a layer."""

    repository: OstreeRepository
    notes: ImportNotes
    spool: LayerSpool

    def open(self, entry: RegularFile) -> Iterator[bytes]:
        place = content_place(entry.content)
        known = self.notes.find_any(entry.content, entry.size) if place is not None else entry.content
        if place is None or known is not None:
            return self.repository.open_file(known or entry.content).content
        return self.spool.read(*place, entry.size)


def _write_policy(place: str, entries: Mapping[str, Entry], contents: _Contents) -> None:
    """What `open_policy` looks at. Parents are directories of the tree: nothing leads out of `place`."""
    total = 0
    for path in sorted(entry for entry in entries if entry == _ROOT or entry.startswith(f"{_ROOT}/")):
        entry, target = entries[path], f"{place}/{path}"
        if isinstance(entry, Directory):
            os.makedirs(target, mode=0o700)
        elif isinstance(entry, Symlink):
            if ".." in entry.target or entry.target.startswith("/"):
                raise UnsupportedError("a symlink that leads elsewhere", where=escape(f"/{path}"))
            os.symlink(entry.target, target)
        elif _COMPILED.fullmatch(path):
            _write(target, iter(()))  # only that it is there is of interest
        elif _READ.fullmatch(path) and not path.endswith(".bin"):
            total += entry.size
            if total > MAX_POLICY:
                raise LimitError(f"expected at most {MAX_POLICY:,} bytes, found more", where=escape(f"/{path}"))
            _write(target, contents.open(entry))


def _write(path: str, content: Iterator[bytes]) -> None:
    with open(path, "xb") as file:
        for piece in content:
            file.write(piece)
