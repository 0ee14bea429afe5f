"""Files of frames that are read from any place on."""

import os
import random
from pathlib import Path

import pytest

from ostrata.errors import AccessError, MalformedError
from ostrata.stores.packed_file import FRAME, Frames, PackedFile, PackedWriter


def write(path: Path, *pieces: bytes) -> None:
    with PackedWriter(str(path)) as file:
        for piece in pieces:
            file.write(piece)
        file.finish()


def read(path: Path, size: int, position: int) -> bytes:
    file = PackedFile(str(path), Frames())
    found = b""
    while len(found) < size and (piece := file.read(size - len(found), position + len(found))):
        found += piece
    file.close()
    return found


@pytest.mark.parametrize("size", [0, 1, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME, 40 * FRAME + 7])
def test_what_was_written_in_any_pieces_is_read_from_any_place(tmp_path: Path, size: int) -> None:
    chance = random.Random(size)
    data = chance.randbytes(size // 2) + bytes(size - size // 2)
    cuts = sorted(chance.randrange(size + 1) for _ in range(9))
    write(tmp_path / "file", *(data[start:end] for start, end in zip([0, *cuts], [*cuts, size], strict=True)))
    assert read(tmp_path / "file", size + 1, 0) == data
    for _ in range(20):
        position, count = chance.randrange(size + 1), chance.randrange(2 * FRAME)
        assert read(tmp_path / "file", count, position) == data[position : position + count]


def test_it_takes_less_room_than_what_it_holds(tmp_path: Path) -> None:
    write(tmp_path / "file", bytes(64 * FRAME))
    assert os.path.getsize(tmp_path / "file") < FRAME


def test_readers_that_share_frames_keep_no_more_than_one_alone(tmp_path: Path) -> None:
    data = random.Random(3).randbytes(20 * FRAME)
    kept = Frames()
    for name in ("a", "b", "c"):
        write(tmp_path / name, name.encode() + data)
    files = [PackedFile(str(tmp_path / name), kept) for name in ("a", "b", "c")]
    for start in range(0, len(data), FRAME):
        found = [file.read(FRAME, start) for file in files]
        assert found == [(name + data)[start : start + FRAME] for name in (b"a", b"b", b"c")]
    assert 0 < sum(map(len, kept.values())) <= 16 * FRAME
    for file in files:
        file.close()


def test_there_is_nothing_behind_the_end(tmp_path: Path) -> None:
    write(tmp_path / "file", b"abc")
    assert [read(tmp_path / "file", 1, position) for position in (2, 3, FRAME, 9 * FRAME)] == [b"c", b"", b"", b""]


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(AccessError, match="file: file exists"):
        PackedWriter(str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "precious"


def test_a_damaged_frame_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "file", random.Random(1).randbytes(FRAME))
    data = bytearray((tmp_path / "file").read_bytes())
    data[:4] = b"zstd"
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(MalformedError, match="file: not as it was written"):
        read(tmp_path / "file", 1, 0)
