"""One way to run work units side by side.

A work unit is a small picklable value and a top-level function from it to a result. Units run in worker processes
(in line with one job); results come in input order and do not depend on the number of jobs. The first failure ends
the rest. Ctrl-C and SIGTERM end the workers at once, in the middle of a unit; what was registered `at_end` removes
their temporary files. A worker whose parent was killed ends by itself.

`advance` may be called by a unit from anywhere: the parent sees the sum. `shared` is a value that all units of a run
use: each worker gets it once, where it is forked without a copy.

`aside` has a single unit done by another process while this one goes on.
"""

from __future__ import annotations

import atexit
import heapq
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from multiprocessing.context import BaseContext
from multiprocessing.sharedctypes import Synchronized
from typing import Any, TypeVar

from ostrata.errors import AccessError

Unit = TypeVar("Unit")
Result = TypeVar("Result")

POLL_SECONDS = 0.2

_counter: Synchronized[int] | None = None
_inline_advance: Callable[[int], None] | None = None
_shared: Any = None
_at_end: list[Callable[[], None]] = []


def available_jobs() -> int:
    """The CPUs this process may use: affinity and the cgroup's quota, at least 1."""
    return max(1, min(len(os.sched_getaffinity(0)), _cgroup_cpus()))


def advance(amount: int) -> None:
    """Report `amount` done, from inside a unit."""
    if _counter is not None:
        with _counter.get_lock():
            _counter.value += amount
    elif _inline_advance is not None:
        _inline_advance(amount)


def shared() -> Any:
    """What this run's units have in common, from inside a unit; None without it."""
    return _shared


def at_end(function: Callable[[], None]) -> None:
    """Have `function` called when this process ends, or a worker is told to end."""
    _at_end.append(function)
    atexit.register(function)


def run(
    function: Callable[[Unit], Result],
    units: Iterable[Unit],
    *,
    jobs: int,
    weights: Sequence[int] | None = None,
    on_advance: Callable[[int], None] | None = None,
    meanwhile: Callable[[], None] | None = None,
    shared: Any = None,
) -> Generator[Result, None, None]:
    """Apply `function` to every unit, `jobs` at a time, and yield the results in input order.

    Heavier units (`weights`, any unit of measure) start first, so that the last one does not run alone; without
    weights the first units run while the later ones are still being made. `on_advance` gets what the units reported
    since its last call. `meanwhile` is called once, here, while the workers are busy. `shared` is what `shared()` tells
    the units.

    Raises: whatever the first failing unit raised; AccessError when a worker was killed.
    """
    count = len(units) if isinstance(units, Sequence) else jobs
    if jobs <= 1 or count <= 1:
        if meanwhile is not None:
            meanwhile()
        yield from _run_in_line(function, units, on_advance, shared)
        return
    with WorkerPool(min(jobs, count), shared) as pool:
        yield from pool.run(function, units, weights=weights, on_advance=on_advance, meanwhile=meanwhile)


@contextmanager
def aside(
    function: Callable[[Unit], Result], unit: Unit, *, jobs: int, by_fork: bool = False
) -> Iterator[Callable[[], Result]]:
    """Have `function(unit)` done by a process of its own, in a ``with`` block; the value waits for the result, once.

    With one job it is done here, when it is asked for; with `by_fork` also where no process can be forked, since what
    `function` refers to is too much to be sent. Raises, when asked: whatever `function` raised; AccessError when the
    process was killed.
    """
    if jobs <= 1 or (by_fork and not _can_fork()):
        yield lambda: function(unit)
        return
    context = _process_context()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, receiver, function, unit))
    with receiver:
        with sender, _told_later():
            process.start()
        try:
            yield lambda: _received(receiver)
        finally:
            process.terminate()
            process.join()


@contextmanager
def _told_later() -> Iterator[None]:
    """Hold SIGTERM back, from a process that is started here too, until it waits for it.

    A handler that it has from its parent would run within the hooks of `os.fork`, which swallow what is raised.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _answer(sender: Connection, receiver: Connection, function: Callable[[Unit], Result], unit: Unit) -> None:
    receiver.close()
    _initialise_worker(None, None)
    try:
        answer: tuple[Result | None, Exception | None] = function(unit), None
    except Exception as error:
        answer = None, error
    sender.send(answer)


def _received(receiver: Connection) -> Any:
    try:
        result, error = receiver.recv()
    except EOFError:
        raise _was_killed() from None
    if error is not None:
        raise error
    return result


def _was_killed() -> AccessError:
    return AccessError("a worker process was killed", hint="the machine may be out of memory; try fewer --jobs")


def _run_in_line(
    function: Callable[[Unit], Result], units: Iterable[Unit], on_advance: Callable[[int], None] | None, value: Any
) -> Iterator[Result]:
    global _inline_advance, _shared  # noqa: PLW0603
    for unit in units:
        _inline_advance, _shared = on_advance, value
        try:
            result = function(unit)
        finally:
            _inline_advance = _shared = None
        yield result


class WorkerPool:
    """Worker processes that outlive one `run`; a context manager."""

    def __init__(self, jobs: int, shared: Any = None) -> None:
        self._context = _process_context()
        self._counter: Synchronized[int] = self._context.Value("Q", 0)
        self._seen = 0
        self._others = set(multiprocessing.active_children())
        self._executor: Executor = ProcessPoolExecutor(
            max_workers=jobs,
            mp_context=self._context,
            initializer=_initialise_worker,
            initargs=(self._counter, shared),
        )

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._terminate()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def run(
        self,
        function: Callable[[Unit], Result],
        units: Iterable[Unit],
        *,
        weights: Sequence[int] | None = None,
        on_advance: Callable[[int], None] | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> Iterator[Result]:
        """See the module's `run`."""
        numbered: Iterable[tuple[int, Unit]] = enumerate(units)
        if weights is not None:
            numbered = sorted(numbered, key=lambda item: -weights[item[0]])
        futures: dict[Future[Result], int] = {}
        try:
            for index, unit in numbered:
                with _told_later():
                    futures[self._executor.submit(function, unit)] = index
            if meanwhile is not None:
                meanwhile()
            yield from self._in_order(futures, on_advance)
        except BrokenProcessPool as error:
            raise _was_killed() from error

    def _in_order(
        self, futures: dict[Future[Result], int], on_advance: Callable[[int], None] | None
    ) -> Iterator[Result]:
        pending = set(futures)
        finished: list[tuple[int, Result]] = []
        position = 0
        while pending:
            done, pending = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            self._report(on_advance)
            for future in done:
                # A future's result is taken out at once: what it holds can be large.
                heapq.heappush(finished, (futures.pop(future), future.result()))
            while finished and finished[0][0] == position:
                yield heapq.heappop(finished)[1]
                position += 1
        self._report(on_advance)

    def _report(self, on_advance: Callable[[int], None] | None) -> None:
        now = self._counter.value
        if on_advance is not None and now != self._seen:
            on_advance(now - self._seen)
        self._seen = now

    def _terminate(self) -> None:
        for process in set(multiprocessing.active_children()) - self._others:
            process.terminate()
        # One may end within sending its result: who reads it waits for the rest as long as somebody could write it.
        if (results := getattr(self._executor, "_result_queue", None)) is not None:
            results._writer.close()


def _process_context() -> Any:
    """Fork where that is safe (it is faster), the fork server where other threads run."""
    context: BaseContext = multiprocessing.get_context("fork" if _can_fork() else "forkserver")
    return context


def _can_fork() -> bool:
    return threading.active_count() == 1


def _initialise_worker(counter: Synchronized[int] | None, value: Any) -> None:
    global _counter, _shared
    _counter, _shared = counter, value
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides, and sends SIGTERM
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # in this thread and those it starts
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_when_told, daemon=True).start()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_when_told() -> None:
    """Wait for SIGTERM and end the process, wherever its other threads are.

    A handler in place of this thread would raise where nobody expects it: before a `with` block is entered, in a
    finaliser, or while the worker holds the lock that the others wait for.
    """
    signal.sigwait({signal.SIGTERM})
    for clean_up in _at_end:
        clean_up()
    os._exit(128 + signal.SIGTERM)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)


def _cgroup_cpus() -> int:
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        return max(1, -(-int(quota) // int(period))) if quota != "max" else 1 << 16
    except (OSError, ValueError):
        return 1 << 16
