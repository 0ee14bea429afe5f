"""The story of an import: an image of any kind becomes one commit, or two.

    whatever it is          -> layers that a killed import had finished are taken over (`import_resumed`)
    an encapsulated image   -> its own commit, with the checksum that it had (`import_commit`)
    a derived image         -> the same, and a second commit on top of it with the layers that somebody added
                               (`import_layers`)
    a plain image           -> one commit with all of its layers

All within one transaction; the ref moves last, to the commit that has all of the image. Whatever goes wrong, no ref
has moved, and no object is there in part; of a derived image the base may be there, whole and without a ref.
"""

from __future__ import annotations

from dataclasses import dataclass

from ostrata.errors import within
from ostrata.formats import encapsulated_config
from ostrata.formats.encapsulated_reader import encapsulated_layers
from ostrata.model.image import StoredImage
from ostrata.pipeline.import_commit import ImportedCommit, check_blob, import_encapsulated
from ostrata.pipeline.import_fitting import LeftOut
from ostrata.pipeline.import_layers import MergedCommit, merge_layers
from ostrata.pipeline.import_resumed import NOTHING, Resumed, resume
from ostrata.progress import SILENT, Progress
from ostrata.protocols import BlobStore
from ostrata.sources.image import MAX_TAR
from ostrata.sources.selinux import SelinuxPolicy
from ostrata.stores.ostree_writer import check_ref_name, open_writer


@dataclass(frozen=True, slots=True)
class ImportedImage:
    """An image in the repository: its own commit, if it has one, and the one that was made of the other layers.

    `checksum` is the commit that has all of the image: the second, if there is one. `new_*` are of both, bytes are of
    content; what a killed import had done is in them, and in `resumed`.
    """

    commit: ImportedCommit | None
    merged: MergedCommit | None
    resumed: Resumed = NOTHING

    @property
    def checksum(self) -> str:
        return (self.merged or self.commit).checksum  # type: ignore[union-attr]  # one of them is there

    @property
    def new_objects(self) -> int:
        return self.resumed.objects + sum(each.new_objects for each in self._commits)

    @property
    def new_bytes(self) -> int:
        return self.resumed.bytes + sum(each.new_bytes for each in self._commits)

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        return self.merged.left_out if self.merged is not None else ()

    @property
    def _commits(self) -> tuple[ImportedCommit | MergedCommit, ...]:
        return tuple(each for each in (self.commit, self.merged) if each is not None)


def import_image(
    repo_path: str,
    store: BlobStore,
    image: StoredImage,
    *,
    ref: str | None = None,
    policy: SelinuxPolicy | None = None,
    labels: bool = True,
    max_size: int = MAX_TAR,
    jobs: int = 1,
    progress: Progress = SILENT,
) -> ImportedImage:
    """Import all of `image` to the repository `repo_path`, and let `ref` point to its commit.

    What layers added is labelled by the SELinux `policy`, without one by the policy in the tree, with `labels` off by
    none; an encapsulated commit has its labels. `max_size` bounds the bytes of each layer's tar. Raises:
    UnsupportedError for media types that are not read, for what the repository's mode cannot hold, and for labels
    without libselinux; MalformedError, DigestMismatchError, LimitError, NotFoundError, AccessError.
    """
    if ref is not None:
        check_ref_name(ref)
    first = encapsulated_layers(image) if encapsulated_config.FINAL_DIFF_ID in image.config.labels else 0
    for number, layer in enumerate(image.layers[first:], first):
        with within(f"layer {number}"):
            check_blob(store, layer)
    with open_writer(repo_path, keeps_remains=True) as writer:
        resumed = resume(writer, image, first=first, jobs=jobs, progress=progress)
        commit = merged = None
        if first:
            commit = import_encapsulated(writer, store, image, max_size=max_size, jobs=jobs, progress=progress)
        if commit is None or first < len(image.layers):
            merged = merge_layers(
                writer,
                store,
                image,
                base=commit.checksum if commit is not None else None,
                first=first,
                policy=policy,
                labels=labels,
                max_size=max_size,
                jobs=jobs,
                progress=progress,
            )
        found = ImportedImage(commit, merged, resumed)
        if ref is not None:
            writer.write_ref(ref, found.checksum)
    return found
