import os
import stat

import pytest

from oci_images import make_image, put_image
from ostrata.destinations.skopeo import SkopeoDestination
from ostrata.errors import NotFoundError, TransferError, UnsupportedError
from ostrata.stores.reference import parse_reference

FAILS = """#!/bin/sh
test "$1" = --version && exit 0
echo 'some warning' >&2
echo 'time="2024-05-17T12:00:00Z" level=fatal msg="trying https://user:pa55@host/v2: \\"denied\\""' >&2
exit 1
"""
WORKS = """#!/bin/sh
test "$1" = --version && exit 0
for argument in "$@"; do printf '%s\\n' "$argument"; done > "$(dirname "$0")/arguments"
while test "$1" != --digestfile; do shift; done
printf 'sha256:%064d' 7 > "$2"
"""


def program(tmp_path, text):
    path = tmp_path / "a program"
    path.write_text(text)
    path.chmod(stat.S_IRWXU)
    return str(path)


def write(tmp_path, reference="docker://host/name:tag", **options):
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    options = {"tmpdir": str(scratch), **options}
    with SkopeoDestination(parse_reference(reference), **options) as destination:
        return put_image(destination, make_image())


def test_without_skopeo_the_error_says_so_at_once(tmp_path):
    with pytest.raises(NotFoundError, match="skopeo is needed for docker://host/name:tag and is not installed"):
        write(tmp_path, program=str(tmp_path / "absent"))


def test_a_failure_is_skopeos_last_message_without_secrets(tmp_path):
    with pytest.raises(TransferError) as caught:
        write(tmp_path, "docker://me:s3cret@host/name", program=program(tmp_path, FAILS))
    assert str(caught.value) == 'skopeo copy to docker://host/name: trying https://host/v2: "denied"'
    assert os.listdir(tmp_path / "scratch") == []


def test_the_digest_is_the_destinations_and_the_authfile_is_passed_on(tmp_path):
    descriptor = write(tmp_path, program=program(tmp_path, WORKS), authfile="/some/auth file")
    assert str(descriptor.digest) == "sha256:" + "7".rjust(64, "0")
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert arguments[:3] == ["copy", "--authfile", "/some/auth file"]
    assert arguments[-1] == "docker://host/name:tag"
    assert os.listdir(tmp_path / "scratch") == []


def test_a_temporary_directory_that_skopeo_cannot_read_is_refused(tmp_path):
    (tmp_path / "a:b").mkdir()
    with pytest.raises(UnsupportedError, match="without a colon"):
        write(tmp_path, program=program(tmp_path, WORKS), tmpdir=str(tmp_path / "a:b"))
