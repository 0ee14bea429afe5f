"""An OSTree commit as a source."""

from pathlib import Path

import pytest

from ostrata.errors import DigestMismatchError, NotFoundError
from ostrata.model.tree import RegularFile
from ostrata.pipeline.commit import CommitOptions, commit
from ostrata.protocols import Source
from ostrata.sources.ostree_source import OstreeSource, open_commit
from ostrata.stores.ostree_repository import open_repository
from ostrata.stores.ostree_writer import init_repository

NAME = "usr/a \u00fc\nb"


@pytest.fixture
def source(tmp_path: Path) -> OstreeSource:
    (tmp_path / "tree/usr").mkdir(parents=True)
    (tmp_path / "tree" / NAME).write_bytes(b"content" * 1000)
    (tmp_path / "tree/usr/empty").touch()
    (tmp_path / "tree/usr/link").symlink_to("empty")
    init_repository(str(tmp_path / "repo"), "archive")
    commit(str(tmp_path / "repo"), str(tmp_path / "tree"), CommitOptions("main", timestamp=1))
    return open_commit(open_repository(str(tmp_path / "repo")), "main")


def test_a_commit_is_a_source(source: OstreeSource) -> None:
    door: Source = source
    assert list(door.tree.entries) == ["", "usr", NAME, "usr/empty", "usr/link"]
    assert b"".join(bytes(piece) for piece in door.open(NAME)) == b"content" * 1000
    assert list(door.open("usr/empty")) == []
    assert source.commit.commit.timestamp == 1


@pytest.mark.parametrize("path", ["usr", "usr/link", "usr/missing", ""])
def test_only_regular_files_can_be_opened(path: str, source: OstreeSource) -> None:
    with pytest.raises(NotFoundError, match="no regular file of that name"):
        source.open(path)


def test_a_damaged_object_is_noticed_and_its_path_is_told(source: OstreeSource, tmp_path: Path) -> None:
    entries = source.tree.entries
    file, other = entries[NAME], entries["usr/empty"]
    assert isinstance(file, RegularFile)
    assert isinstance(other, RegularFile)
    objects = tmp_path / "repo/objects"
    place = {checksum: objects / checksum[:2] / f"{checksum[2:]}.filez" for checksum in (file.content, other.content)}
    place[file.content].write_bytes(place[other.content].read_bytes())
    with pytest.raises(DigestMismatchError, match="usr/a"):
        list(source.open(NAME))
