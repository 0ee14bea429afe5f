"""The image that was built before: which of its layers can be taken over unread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from ostrata import parallel
from ostrata.codecs import plan_label
from ostrata.codecs.plan_label import CarriedPlan
from ostrata.errors import MalformedError, OstrataError
from ostrata.model.digest import Digest
from ostrata.model.image import OCI_MEDIA_TYPE, Descriptor, StoredImage
from ostrata.progress import Progress
from ostrata.protocols import BlobStore
from ostrata.stores.blobs import check_blob

_NOTHING_CARRIED = CarriedPlan((), {})


@dataclass(frozen=True, slots=True)
class PreviousImage:
    """An earlier image: its usable layers by (diff_id, media type), and what its labels say about recipes.

    `whole` gives, once, the blobs that were found to be what their names promise (see `checked_aside`).
    """

    store: BlobStore | None = None
    layers: Mapping[tuple[Digest, str], Descriptor] = field(default_factory=dict)
    carried: CarriedPlan = _NOTHING_CARRIED
    whole: Callable[[], frozenset[Digest]] = frozenset

    @property
    def has_recipes(self) -> bool:
        """Does it say of any layer how it was made?"""
        return bool(self.carried.diff_ids)

    def by_recipe(self, recipe: str, media_type: str) -> tuple[Digest, Descriptor] | None:
        """The layer made by `recipe`: its diff_id and blob."""
        diff_id = self.carried.diff_id(recipe)
        if diff_id is None or (diff_id, media_type) not in self.layers:
            return None
        return diff_id, self.layers[diff_id, media_type]

    def by_diff_id(self, diff_id: Digest, media_type: str) -> Descriptor:
        """The blob of the layer with that diff_id, which is one of `diff_ids(media_type)`."""
        return self.layers[diff_id, media_type]

    def diff_ids(self, media_type: str) -> frozenset[Digest]:
        """The diff_ids of the layers that have this media type."""
        return frozenset(diff_id for diff_id, kind in self.layers if kind == media_type)


NO_PREVIOUS = PreviousImage()


def previous_image(store: BlobStore, image: StoredImage, progress: Progress) -> PreviousImage:
    """What can be taken over from `image`, which is in `store`.

    Layers whose blob is missing or has another size are left out; damaged plan labels are ignored with a warning.
    """
    layers = {}
    for layer in image.layers:
        descriptor = layer.descriptor
        if store.blob_size(descriptor.digest) == descriptor.size:
            media_type = OCI_MEDIA_TYPE.get(descriptor.media_type, descriptor.media_type)
            layers[layer.diff_id, media_type] = replace(descriptor, media_type=media_type, annotations={})
    try:
        carried = plan_label.decode(image.config.labels, image.config.diff_ids)
    except MalformedError as error:
        progress.warn(f"the previous image's plan is not used: {error.what}")
        carried = _NOTHING_CARRIED
    return PreviousImage(store, layers, carried)


@dataclass(frozen=True, slots=True)
class CheckUnit:
    """A work unit: read these blobs."""

    store: BlobStore
    descriptors: tuple[Descriptor, ...]


@contextmanager
def checked_aside(
    previous: PreviousImage, *, is_whole: Callable[[BlobStore, Descriptor], bool] = lambda *_: False, jobs: int
) -> Iterator[PreviousImage]:
    """Have the blobs of `previous` verified by another process while this one finds out which of them it needs.

    `is_whole` tells of a blob whether that is known already.
    """
    if previous.store is None or not previous.has_recipes:
        yield previous
        return
    blobs = [(descriptor, is_whole(previous.store, descriptor)) for descriptor in previous.layers.values()]
    known = frozenset(descriptor.digest for descriptor, whole in blobs if whole)
    unit = CheckUnit(previous.store, tuple(descriptor for descriptor, whole in blobs if not whole))
    if jobs <= 1 or not unit.descriptors:
        yield replace(previous, whole=lambda: known)
        return
    with parallel.aside(whole_blobs, unit, jobs=jobs) as found:
        yield replace(previous, whole=lambda: known | found())


def whole_blobs(unit: CheckUnit) -> frozenset[Digest]:
    """The work unit's function. What is wrong with the others is told when they are taken over, if they are."""
    found = []
    for descriptor in unit.descriptors:
        with suppress(OstrataError):
            check_blob(unit.store, descriptor)
            found.append(descriptor.digest)
    return frozenset(found)
