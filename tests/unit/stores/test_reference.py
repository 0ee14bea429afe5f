import pytest

from ostrata.errors import OstrataError
from ostrata.stores.reference import ImageReference, parse_reference


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("oci:/a b/ž", ImageReference("oci", "/a b/ž")),
        ("oci:rel:v1.0", ImageReference("oci", "rel", "v1.0")),
        ("oci:rel:", ImageReference("oci", "rel")),
        ("oci:/x:host/name:tag", ImageReference("oci", "/x", "host/name:tag")),
        ("oci-archive:/x.tar:latest", ImageReference("oci-archive", "/x.tar", "latest")),
        ("docker://host:5000/name:tag", ImageReference("docker", "//host:5000/name:tag")),
        ("registry:host/name:tag", ImageReference("docker", "//host/name:tag")),
        ("containers-storage:localhost/x", ImageReference("containers-storage", "localhost/x")),
        ("docker-archive:out.tar:n:t", ImageReference("docker-archive", "out.tar:n:t")),
    ],
)
def test_a_reference_is_a_transport_and_a_place(text, reference):
    assert parse_reference(text) == reference
    assert reference.is_native == text.startswith("oci")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/some/path", "expected a transport and a colon before the path, found '/some/path'"),
        ("./path:tag", "expected a transport and a colon before the path"),
        ("host/name:tag", "expected a transport and a colon before the path"),
        ("quay.io:x", "expected a transport, found 'quay.io'"),
        ("oci:", "expected a path or name after 'oci:'"),
        ("oci::tag", "expected a path after 'oci:'"),
        ("registry:", "expected a path or name after 'registry:'"),
        ("docker:name", "expected docker://HOST/NAME"),
        ("oci:/x:two words", "expected a tag of letters and digits"),
        ("oci:/x:a\nb", "expected a tag of letters and digits, with -._:@+/ between them, found 'a\\nb'"),
        ("oci:/x\0", "expected a reference without a NUL"),
        ("", "expected a transport"),
    ],
)
def test_a_bad_reference_is_refused_with_a_way_out(text, message):
    with pytest.raises(OstrataError) as caught:
        parse_reference(text)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("text", ["oci:/x:tag", "oci-archive:a", "docker://h/n:t"])
def test_a_reference_is_written_as_it_was_read(text):
    assert str(parse_reference(text)) == text
