from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ostrata import parallel
from ostrata.errors import AccessError, MalformedError


def square(number: int) -> int:
    parallel.advance(number)
    time.sleep(0.01 * (number % 3))
    return number * number


def fail_on_three(number: int) -> int:
    if number == 3:
        raise MalformedError("three", where="unit")
    return number


def add_shared(number: int) -> int:
    return number + int(parallel.shared()["added"])


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_results_come_in_input_order_and_progress_adds_up(jobs: int) -> None:
    seen: list[int] = []
    numbers = list(range(20))
    results = parallel.run(square, numbers, jobs=jobs, weights=numbers, on_advance=seen.append)
    assert list(results) == [number * number for number in numbers]
    assert sum(seen) == sum(numbers)


@pytest.mark.parametrize("jobs", [1, 2])
def test_something_else_is_done_once_meanwhile(jobs: int) -> None:
    done: list[int] = []
    results = parallel.run(square, [1, 2, 3], jobs=jobs, meanwhile=lambda: done.append(os.getpid()))
    assert list(results) == [1, 4, 9]
    assert done == [os.getpid()]


@pytest.mark.parametrize("jobs", [1, 3])
def test_units_have_in_common_what_is_shared(jobs: int) -> None:
    assert list(parallel.run(add_shared, range(5), jobs=jobs, shared={"added": 10})) == [10, 11, 12, 13, 14]
    assert parallel.shared() is None


def lengths(pair: tuple[bytes, int]) -> bytes:
    return bytes(len(pair[0]) + pair[1])


@pytest.mark.parametrize("size", [0, 3_000, 20_000, 3_000_000])
@pytest.mark.parametrize("weighted", [False, True])
def test_units_and_results_of_any_size_pass_each_other(size: int, weighted: bool) -> None:
    """Neither side may wait for the other to take what does not fit in the pipe."""
    units = [(bytes(size), number * 10_000) for number in range(40)]
    weights = [number for _, number in units] if weighted else None
    found = [len(result) for result in parallel.run(lengths, units, jobs=2, weights=weights)]
    assert found == [size + number for _, number in units]


def test_units_are_made_while_others_run() -> None:
    """Nobody waits until the last unit of a long row has been made."""
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(1000):
            made.append(number)
            yield number

    results = parallel.run(abs, numbers(), jobs=2)
    assert next(results) == 0
    assert len(made) < 1000
    assert list(results) == list(range(1, 1000))


def sleep_first(unit: tuple[int, float]) -> int:
    time.sleep(unit[1])
    return os.getpid()


def test_a_heavy_unit_keeps_no_other_one_waiting() -> None:
    """Those behind it are done by the other worker, and not kept ahead for the one that is busy."""
    units = [(0, 1.5), (1, 0.0), (2, 0.0), (3, 0.0), (4, 0.0)]
    busy, *others = parallel.run(sleep_first, units, jobs=2, weights=[5, 1, 1, 1, 1])
    assert busy not in others
    busy, *others = parallel.run(sleep_first, units, jobs=2)
    assert busy not in others


def fail_oddly(number: int) -> int:
    return [1][number]


def test_a_mistake_in_a_worker_tells_where_it_was() -> None:
    with pytest.raises(IndexError) as caught:
        list(parallel.run(fail_oddly, [0, 1], jobs=2))
    assert "fail_oddly" in caught.value.__notes__[0]


@pytest.mark.parametrize("jobs", [1, 3])
def test_the_first_failure_comes_out_whole(jobs: int) -> None:
    with pytest.raises(MalformedError, match="unit: three"):
        list(parallel.run(fail_on_three, range(50), jobs=jobs))


def test_a_killed_worker_is_an_error_with_a_hint() -> None:
    with pytest.raises(AccessError, match="a worker process was killed\nthe machine may be out of memory"):
        list(parallel.run(die, [1, 2], jobs=2))


def test_a_worker_that_is_killed_while_it_has_nothing_to_do_is_one_too() -> None:
    def units() -> Iterator[int]:
        yield from range(2)
        for process in multiprocessing.active_children():
            process.kill()
            process.join()
        yield from range(2, 9)

    with pytest.raises(AccessError, match="a worker process was killed"):
        list(parallel.run(abs, units(), jobs=2))


def test_workers_start_beside_other_threads() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        assert list(parallel.run(square, [1, 2, 3], jobs=2)) == [1, 4, 9]
        assert list(parallel.run(add_shared, [1, 2, 3], jobs=2, shared={"added": 5})) == [6, 7, 8]
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_unit_is_done_aside_while_others_run(jobs: int) -> None:
    with parallel.aside(square, 7, jobs=jobs) as squared:
        assert list(parallel.run(square, [1, 2, 3], jobs=jobs)) == [1, 4, 9]
        assert squared() == 49


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failure_aside_comes_out_whole_when_it_is_asked_for(jobs: int) -> None:
    with parallel.aside(fail_on_three, 3, jobs=jobs) as answer, pytest.raises(MalformedError, match="unit: three"):
        answer()


def test_what_is_too_much_to_be_sent_is_done_here_where_no_process_can_be_forked() -> None:
    """Beside another thread nothing is forked, and a function that cannot be pickled cannot be sent."""
    over = threading.Event()
    other = threading.Thread(target=over.wait)
    with parallel.aside(lambda unit: (os.getpid(), unit), 7, jobs=2, by_fork=True) as answer:
        process, unit = answer()
    assert (process != os.getpid(), unit) == (True, 7)
    other.start()
    try:
        with parallel.aside(lambda unit: (os.getpid(), unit), 7, jobs=2, by_fork=True) as answer:
            assert answer() == (os.getpid(), 7)
    finally:
        over.set()
        other.join()


def test_who_is_killed_aside_is_an_error_with_a_hint() -> None:
    with (
        parallel.aside(die, 1, jobs=2) as answer,
        pytest.raises(AccessError, match="a worker process was killed\nthe machine may be out of memory"),
    ):
        answer()


def test_nobody_waits_for_what_is_done_aside_and_not_asked_for() -> None:
    started = time.monotonic()
    with parallel.aside(time.sleep, 60, jobs=2):
        pass
    assert time.monotonic() - started < 30


CANCELLED = """
import signal, time
from ostrata import parallel

def raises(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGTERM, raises)  # as the command line has it
for _ in range(200):
    with parallel.aside(time.sleep, 60, jobs=2):
        pass
"""


def test_a_process_that_has_just_begun_ends_when_it_is_told_and_says_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", CANCELLED], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")


STOPPED = """
import time
from ostrata import parallel

for tick in range(14):
    results = parallel.run(bytes, [1, 300_000_000], jobs=2)
    next(results)
    time.sleep(tick * 0.05)
    results.close()
"""


def test_a_worker_that_ends_within_sending_its_result_holds_nobody_up() -> None:
    subprocess.run([sys.executable, "-c", STOPPED], check=True, timeout=60)


SLOW = """
import os, sys, time
from ostrata import parallel

def slow(directory):
    path = f"{directory}/{os.getpid()}.temporary"
    parallel.at_end(lambda: os.unlink(path))
    open(path, "w").close()
    time.sleep(60)

if __name__ == "__main__":
    try:
        list(parallel.run(slow, [sys.argv[1]] * 4, jobs=2))
    except KeyboardInterrupt:
        sys.exit(130)
"""


def _start(tmp_path: Path, text: str = SLOW) -> subprocess.Popen[bytes]:
    script = tmp_path / "slow.py"
    script.write_text(text)
    work = tmp_path / "work"
    work.mkdir()
    process = subprocess.Popen([sys.executable, str(script), str(work)])
    deadline = time.monotonic() + 20
    while len(list(work.iterdir())) < 2:
        assert time.monotonic() < deadline, "the workers did not start"
        time.sleep(0.02)
    return process


def test_an_interrupt_ends_the_workers_and_their_temporary_files(tmp_path: Path) -> None:
    process = _start(tmp_path)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    assert time.monotonic() - started < 10
    assert list((tmp_path / "work").iterdir()) == []


def test_a_second_signal_does_not_interrupt_the_removal_of_temporary_files(tmp_path: Path) -> None:
    # The second SIGTERM comes while the first one's files are being removed.
    script = SLOW.replace("lambda: os", "lambda: os.kill(os.getpid(), 15) or os")
    process = _start(tmp_path, script)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    assert list((tmp_path / "work").iterdir()) == []


FAILING = """
import os, signal, sys, time
from ostrata import parallel

def unit(number):
    if number % 7 == 3:
        raise ValueError
    time.sleep(0.0005 * (number % 3))

if __name__ == "__main__":
    for _ in range(30):
        try:
            list(parallel.run(unit, range(40), jobs=4))
        except ValueError:
            pass
"""


def test_a_failure_at_any_moment_leaves_no_worker_waiting(tmp_path: Path) -> None:
    # A worker that is told to end while it holds the queue's lock, or between two units, must not block the others.
    script = tmp_path / "failing.py"
    script.write_text(FAILING)
    assert subprocess.run([sys.executable, str(script)], timeout=100).returncode == 0


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    process = _start(tmp_path)
    workers = [int(path.stem) for path in (tmp_path / "work").iterdir()]
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while any(_runs(worker) for worker in workers):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
