import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ostrata import parallel
from ostrata.errors import AccessError, LimitError, NotFoundError, UnsupportedError
from ostrata.stores import files

NAME = "a file\nž"


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    with files.TemporaryFile(str(tmp_path)) as file:
        file.write(b"abc")
        assert all(name.startswith(files.TEMPORARY) for name in os.listdir(tmp_path))
        file.complete(NAME)
    assert os.listdir(tmp_path) == [NAME]
    assert (tmp_path / NAME).read_bytes() == b"abc"


def test_what_is_not_complete_is_removed(tmp_path):
    with pytest.raises(KeyboardInterrupt), files.TemporaryFile(str(tmp_path)) as file:
        file.write(b"abc")
        raise KeyboardInterrupt
    with pytest.raises(ZeroDivisionError), files.TemporaryDirectory(str(tmp_path)) as directory:
        Path(directory.path, "x").write_bytes(b"")
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


def end_before_the_block_is_entered(directory):
    kept = files.TemporaryDirectory(directory), files.TemporaryFile(directory)
    end()
    del kept


def end_while_the_block_is_left(directory):
    with files.TemporaryFile(directory) as file:
        file.discard = end


def end():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


@pytest.mark.parametrize("unit", [end_before_the_block_is_entered, end_while_the_block_is_left])
def test_what_a_signal_keeps_a_worker_from_removing_is_removed_as_it_ends(tmp_path, unit):
    with pytest.raises(AccessError, match="a worker process was killed"):
        list(parallel.run(unit, [str(tmp_path)] * 2, jobs=2))
    assert os.listdir(tmp_path) == []


def test_what_is_left_when_the_process_ends_is_removed(tmp_path):
    script = "import sys; from ostrata.stores import files; files.TemporaryFile(sys.argv[1])"
    subprocess.run([sys.executable, "-W", "ignore", "-c", script, tmp_path], check=True)
    assert os.listdir(tmp_path) == []


def test_a_worker_leaves_the_files_of_its_parent_alone(tmp_path):
    with files.TemporaryDirectory(str(tmp_path)) as kept:
        with pytest.raises(AccessError):
            list(parallel.run(end_while_the_block_is_left, [kept.path] * 2, jobs=2))
        assert os.listdir(tmp_path) == [os.path.basename(kept.path)]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("before", ["nothing", "a file", "a symlink"])
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, None])
def test_what_a_failed_block_replaced_is_taken_back(tmp_path, before, error):
    path, spare = tmp_path / NAME, tmp_path / "spare"
    if before == "a file":
        path.write_bytes(b"old")
    elif before == "a symlink":
        path.symlink_to("elsewhere\n")
    new = tmp_path / "new"
    new.write_bytes(b"new")
    with contextlib.suppress(ZeroDivisionError, KeyboardInterrupt), files.taken_back(str(path), str(spare)):
        new.rename(path)
        if error is not None:
            raise error
    assert not os.path.lexists(spare)
    if error is None:
        assert path.read_bytes() == b"new"
    elif before == "a symlink":
        assert os.readlink(path) == "elsewhere\n"
    else:
        assert os.listdir(tmp_path) == ([NAME] if before == "a file" else [])
        assert before == "nothing" or path.read_bytes() == b"old"


def test_what_a_kill_leaves_while_a_file_is_replaced_bears_the_label_by_which_it_is_removed(tmp_path):
    (tmp_path / NAME).write_bytes(b"old")
    script = (
        "import os, sys; from ostrata.stores import files\n"
        "os.rename = lambda *_: os.kill(os.getpid(), 9)\n"
        "with files.TemporaryFile(sys.argv[1], 'label') as file:\n    file.publish(sys.argv[2])\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, tmp_path, NAME], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 3
    files.remove_stale(str(tmp_path), "label")
    assert os.listdir(tmp_path) == [NAME]
    assert (tmp_path / NAME).read_bytes() == b"old"


def test_what_is_written_in_part_only_is_an_error(tmp_path):
    # The system takes what it can first, as on a nearly full disk, and says why with the next call.
    script = (
        "import os, resource, sys; from ostrata.stores.files import write_all\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_all(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT), bytes(3000))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path / NAME], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert (tmp_path / NAME).stat().st_size == 1000


def test_a_block_that_fails_before_it_replaces_anything_changes_nothing(tmp_path):
    path = tmp_path / NAME
    path.write_bytes(b"old")
    for name in (NAME, "missing"):
        with pytest.raises(ZeroDivisionError), files.taken_back(str(tmp_path / name), str(tmp_path / "spare")):
            raise ZeroDivisionError
    assert os.listdir(tmp_path) == [NAME]
    assert path.read_bytes() == b"old"


def test_an_existing_file_is_replaced(tmp_path):
    (tmp_path / NAME).write_bytes(b"old")
    files.write_atomically(str(tmp_path), NAME, b"new")
    assert (tmp_path / NAME).read_bytes() == b"new"


def test_a_missing_directory_is_one_line(tmp_path):
    with pytest.raises(NotFoundError) as caught:
        files.write_atomically(str(tmp_path / "a\nb"), "x", b"")
    assert str(caught.value).isprintable()


def test_reading_refuses_what_is_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for path in (tmp_path, tmp_path / "fifo", tmp_path / "socket", Path("/dev/null")):
            with pytest.raises(UnsupportedError, match="expected a regular file, found a"):
                files.read_limited(str(path), 10)
    with pytest.raises(NotFoundError, match=r"absent: no such file or directory$"):
        files.read_limited(str(tmp_path / "absent"), 10)


def test_reading_takes_no_more_than_the_limit(tmp_path):
    (tmp_path / "large").write_bytes(b"")
    os.truncate(tmp_path / "large", 400 << 20)
    with pytest.raises(LimitError, match="expected at most 10 bytes, found 419,430,400"):
        files.read_limited(str(tmp_path / "large"), 10)
    (tmp_path / "exact").write_bytes(b"0123456789")
    assert files.read_limited(str(tmp_path / "exact"), 10) == b"0123456789"
    with pytest.raises(LimitError):
        files.read_limited("/proc/self/mountinfo", 10)  # says it has no bytes, and has


def test_a_file_is_linked_or_copied_and_never_replaced(tmp_path):
    (tmp_path / "source").write_bytes(b"abc")
    files.link_or_copy(str(tmp_path / "source"), str(tmp_path), "link")
    assert os.path.samefile(tmp_path / "source", tmp_path / "link")
    (tmp_path / "kept").write_bytes(b"old")
    files.link_or_copy(str(tmp_path / "source"), str(tmp_path), "kept")
    assert (tmp_path / "kept").read_bytes() == b"old"


def test_a_file_of_another_file_system_is_copied(tmp_path):
    shared = Path("/dev/shm")
    if not shared.is_dir() or os.stat(shared).st_dev == os.stat(tmp_path).st_dev:
        pytest.skip("no second file system here")
    with files.TemporaryDirectory(str(shared)) as elsewhere:
        source = Path(elsewhere.path, "source")
        source.write_bytes(b"abc" * 1000)
        files.link_or_copy(str(source), str(tmp_path), "copy")
    assert (tmp_path / "copy").read_bytes() == b"abc" * 1000


def test_a_source_that_ends_early_is_an_error(tmp_path):
    (tmp_path / "source").write_bytes(b"abc")
    with (
        open(tmp_path / "source", "rb") as source,
        files.TemporaryFile(str(tmp_path)) as file,
        pytest.raises(AccessError, match="expected 10 bytes to copy, found 3"),
    ):
        file.copy_from(source.fileno(), 10)


HOLDER = """
import sys, time
from ostrata.stores import files
file = files.TemporaryFile(sys.argv[1]); file.write(b"x")
directory = files.TemporaryDirectory(sys.argv[1])
other = files.TemporaryFile(sys.argv[1], "0123")
print("ready", flush=True); time.sleep(60)
"""


def test_only_stale_files_of_ours_are_removed(tmp_path):
    (tmp_path / "foreign").write_bytes(b"")
    (tmp_path / ".ostratax").write_bytes(b"")
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        files.remove_stale(str(tmp_path))
        assert len(os.listdir(tmp_path)) == 5  # the writer lives
        process.send_signal(signal.SIGKILL)
    files.remove_stale(str(tmp_path), "0123")
    assert len(os.listdir(tmp_path)) == 4
    files.remove_stale(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == [".ostratax", "foreign"]


def test_directories_of_dead_writers_are_held_for_the_block_and_removed_with_the_rest(tmp_path):
    (tmp_path / "foreign").mkdir()
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with files.stale_directories(str(tmp_path)) as none:
            assert none == ()
        process.send_signal(signal.SIGKILL)
    names = set(os.listdir(tmp_path))
    with files.stale_directories(str(tmp_path)) as stale:
        assert stale and all(Path(path).is_dir() and Path(path).name.startswith(".ostrata-") for path in stale)
        with files.stale_directories(str(tmp_path)) as held:
            assert held == ()
        files.remove_stale(str(tmp_path))
        assert set(os.listdir(tmp_path)) == names
    assert [name for name in os.listdir(tmp_path) if name.startswith(".ostrata-")] == []
    assert (tmp_path / "foreign").is_dir()


def test_stale_directories_stay_if_the_block_fails(tmp_path):
    (tmp_path / ".ostrata-0123").mkdir()
    with pytest.raises(ZeroDivisionError), files.stale_directories(str(tmp_path)):
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == [".ostrata-0123"]  # what was not looked at to the end is for the next run


def test_a_symlink_with_our_name_is_left_alone(tmp_path):
    (tmp_path / "target").write_bytes(b"")
    (tmp_path / ".ostrata-x").symlink_to("target")
    files.remove_stale(str(tmp_path))
    assert (tmp_path / ".ostrata-x").is_symlink()
    assert (tmp_path / "target").exists()


def test_a_region_is_a_file_of_its_own(tmp_path):
    (tmp_path / "file").write_bytes(b"0123456789")
    with files.open_region(os.open(tmp_path / "file", os.O_RDONLY), 2, 5) as region:
        assert region.read() == b"23456"
        region.seek(-2, os.SEEK_END)
        assert region.read(10) == b"56"
