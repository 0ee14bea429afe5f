import io
import tarfile

import pytest

from oci_images import make_image, put_image
from ostrata.codecs.tar_headers import Header, encode_header
from ostrata.destinations.archive import ArchiveDestination
from ostrata.errors import LimitError, MalformedError, OstrataError, UnsupportedError
from ostrata.stores.images import open_store, read_image
from ostrata.stores.oci_archive import MAX_MEMBERS, open_archive
from ostrata.stores.reference import ImageReference

LAYOUT = ("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')


def tar(path, *members, form=tarfile.GNU_FORMAT, **attributes):
    with tarfile.open(path, "w", format=form) as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            for key, value in attributes.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(data))
    return str(path)


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "an archive ž"
    with ArchiveDestination(str(path), "v1") as destination:
        put_image(destination, make_image())
    return path


def test_an_image_in_an_archive_is_read_like_any_other(archive):
    store = open_store(ImageReference("oci-archive", str(archive)))
    image = make_image()
    assert read_image(store).descriptor == read_image(store, tag="v1").descriptor
    assert read_image(store).layers == (image.layer,)
    with store.open_blob(image.layer.descriptor.digest) as file:
        assert file.read() == image.blob
    assert store.blob_path(image.digest) is None


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_other_tools_tars_are_read(tmp_path, archive, form):
    with tarfile.open(archive) as source:
        files = [(f"./{m.name}", source.extractfile(m).read()) for m in source if m.isfile()]
    deep = [("d" * 60 + "/" + "ž" * 40, b"")]
    again = tar(tmp_path / "again.tar", *files, *deep, form=form, mtime=1.5 if form == tarfile.PAX_FORMAT else 1)
    store = open_archive(again)
    assert read_image(store).descriptor.digest == make_image().digest
    assert deep[0][0] in store.members


def test_every_cut_of_an_archive_is_refused(tmp_path, archive):
    data = archive.read_bytes()
    cut = tmp_path / "cut"
    for length in range(0, len(data), 211):
        cut.write_bytes(data[:length])
        with pytest.raises(OstrataError):
            open_archive(str(cut))


def test_a_flipped_header_byte_never_ends_the_list_silently(tmp_path, archive):
    data = archive.read_bytes()
    for position in range(1024, 1024 + 512, 7):
        flipped = bytearray(data)
        flipped[position] ^= 0x10
        (tmp_path / "bad").write_bytes(flipped)
        with pytest.raises(MalformedError, match="offset 1024: expected"):
            open_archive(str(tmp_path / "bad"))


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../b", "a//b", "a/./b"])
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    with pytest.raises(MalformedError, match="expected a path inside the archive"):
        open_archive(tar(tmp_path / "bad", LAYOUT, (name, b"")))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    with pytest.raises(UnsupportedError, match="expected files and directories"):
        open_archive(tar(tmp_path / "bad", ("x", b""), type=kind, linkname="/etc/shadow"))


def test_a_member_twice_is_refused(tmp_path):
    with pytest.raises(MalformedError, match="oci-layout: the archive has this member twice"):
        open_archive(tar(tmp_path / "bad", LAYOUT, LAYOUT))


def test_too_many_members_are_refused(tmp_path):
    (tmp_path / "bad").write_bytes(encode_header(Header("d/", 0, "5")) * (MAX_MEMBERS + 1))
    with pytest.raises(LimitError, match="expected at most 65,536 members"):
        open_archive(str(tmp_path / "bad"))


def test_other_files_are_refused_with_a_reason(tmp_path):
    with pytest.raises(MalformedError, match="expected an archive of an OCI layout"):
        open_archive(tar(tmp_path / "plain.tar", ("x", b"")))
    (tmp_path / "gz").write_bytes(b"\x1f\x8b\x08")
    with pytest.raises(UnsupportedError, match="found gzip\ndecompress"):
        open_archive(str(tmp_path / "gz"))
    with pytest.raises(UnsupportedError, match="found a directory"):
        open_archive(str(tmp_path))
    (tmp_path / "short").write_bytes(b"hello")
    with pytest.raises(MalformedError, match="truncated"):
        open_archive(str(tmp_path / "short"))
