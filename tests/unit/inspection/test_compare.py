"""What an update downloads, by the manifests of two images."""

from ostrata.inspection.compare import compare, total
from ostrata.model.digest import Digest
from ostrata.model.image import LAYER_GZIP, MANIFEST, Descriptor, Manifest


def manifest(*layers: tuple[str, int, str | None]) -> tuple[Digest, Manifest]:
    """A manifest of layers, each (content, size, components)."""
    descriptors = [
        Descriptor(LAYER_GZIP, Digest.of(content.encode()), size, {} if names is None else {"ostree.components": names})
        for content, size, names in layers
    ]
    config = Descriptor("config", Digest.of(b"config"), 1)
    return Digest.of(repr(layers).encode()), Manifest(MANIFEST, config, tuple(descriptors))


def test_layers_are_shared_added_or_removed_by_their_digest() -> None:
    old = manifest(("a", 10, "glibc,bash"), ("b", 20, None), ("c", 30, "kernel"))
    new = manifest(("b", 20, None), ("d", 31, "kernel"), ("a", 10, "bash"))
    found = compare(old, new)
    assert (found.old, found.new) == (old[0], new[0])
    assert [layer.size for layer in found.shared] == [20, 10]
    assert [layer.size for layer in found.added] == [31]
    assert [layer.size for layer in found.removed] == [30]
    assert (found.download_bytes, total(found.shared)) == (31, 30)


def test_a_layer_is_named_by_its_components_else_by_its_digest() -> None:
    found = compare(manifest(), manifest(("a", 1, "b,,\u00fc\n"), ("c", 1, None), ("d", 1, "")))
    assert [layer.components for layer in found.added] == [("b", "\u00fc\n"), (), ()]
    assert [layer.name for layer in found.added][:2] == ["b, \u00fc\n", str(Digest.of(b"c"))]


def test_a_layer_that_an_image_has_twice_is_downloaded_once() -> None:
    found = compare(manifest(("x", 5, None), ("x", 5, None)), manifest(("a", 10, None), ("a", 10, None)))
    assert found.download_bytes == 10
    assert total(found.removed) == 5


def test_an_image_compared_with_itself_downloads_nothing() -> None:
    image = manifest(("a", 10, None))
    found = compare(image, image)
    assert (found.download_bytes, found.added, found.removed) == (0, (), ())
