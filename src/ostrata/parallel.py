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
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from multiprocessing.sharedctypes import Synchronized
from traceback import format_exc
from typing import Any, TypeVar

from ostrata.errors import AccessError, OstrataError

Unit = TypeVar("Unit")
Result = TypeVar("Result")

POLL_SECONDS = 0.2

_AHEAD = 8
"""Units that a worker may have at once: while it does one, it must not wait until the next one is sent."""
_WAITING = 16 << 10
"""Bytes of the units that a worker has at once; a pipe takes as many and more."""

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
    with _Workers(min(jobs, count), shared) as workers:
        yield from workers.results(_messages(function, units, weights, jobs), on_advance, meanwhile)


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
    process = context.Process(target=_answer_aside, args=(sender, receiver, function, unit))
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


def _answer_aside(sender: Connection, receiver: Connection, function: Callable[[Unit], Result], unit: Unit) -> None:
    receiver.close()
    _initialise_worker(None, None)
    sender.send_bytes(_answer(function, unit))


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


@dataclass(slots=True)
class _Message:
    """A unit on its way: `number` tells its place, `ahead` how many units a worker may have with it."""

    number: int
    data: memoryview
    ahead: int


def _messages(
    function: Callable[[Unit], Result], units: Iterable[Unit], weights: Sequence[int] | None, jobs: int
) -> Iterator[_Message]:
    """The units in the order in which they are to start.

    While there are plenty and none is known to be heavy, workers get some ahead; otherwise one could wait for a slow
    one while another worker has nothing to do.
    """
    numbered: Iterable[tuple[int, Unit]] = enumerate(units)
    if weights is not None:
        numbered = sorted(numbered, key=lambda item: -weights[item[0]])
    last = len(units) - _AHEAD * jobs if isinstance(units, Sequence) else None
    for number, unit in numbered:
        ahead = _AHEAD if weights is None and (last is None or number < last) else 1
        yield _Message(number, ForkingPickler.dumps((function, unit)), ahead)


@dataclass(slots=True)
class _Worker:
    """A worker process, the way to it, and of each unit that it has the number and size, in order."""

    process: BaseProcess
    connection: Connection
    units: deque[tuple[int, int]] = field(default_factory=deque)

    def has_room(self, message: _Message) -> bool:
        """Whoever sends more than fits in the way would wait for a worker that waits for its result to be taken."""
        waiting = len(message.data) + sum(size for _, size in self.units)
        return not self.units or (len(self.units) < message.ahead and waiting <= _WAITING)

    def give(self, message: _Message) -> None:
        try:
            self.connection.send_bytes(message.data)
        except ConnectionError:
            raise _was_killed() from None
        self.units.append((message.number, len(message.data)))

    def take(self) -> tuple[int, Any]:
        """The first of its units' number and result."""
        number, _ = self.units.popleft()
        return number, _received(self.connection)


class _Workers:
    """The worker processes of one run; a context manager.

    One thread serves them all, over a pipe to each. A second one would have to ask for the interpreter at every piece
    of a large result, and workers would wait for that; a lock could be left behind by a worker that was killed.
    """

    def __init__(self, jobs: int, shared: Any) -> None:
        self._context = _process_context()
        self._counter: Synchronized[int] = self._context.Value("Q", 0)
        self._seen = 0
        self._jobs = jobs
        self._shared = shared
        self._workers: list[_Worker] = []

    def __enter__(self) -> _Workers:
        try:
            for _ in range(self._jobs):
                self._start()
        except BaseException:
            self._terminate()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._terminate()
            return
        for worker in self._workers:
            with suppress(ConnectionError):
                worker.connection.send(None)
        self._join()

    def _start(self) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._counter, self._shared))
        with theirs, _told_later():
            process.start()
        self._workers.append(_Worker(process, ours))

    def _terminate(self) -> None:
        for worker in self._workers:
            worker.process.terminate()
        self._join()

    def _join(self) -> None:
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()

    def results(
        self,
        messages: Iterator[_Message],
        on_advance: Callable[[int], None] | None,
        meanwhile: Callable[[], None] | None,
    ) -> Iterator[Any]:
        """Of all units, in their order."""
        finished: list[tuple[int, Any]] = []
        position = 0
        following = self._give(next(messages, None), messages)
        if meanwhile is not None:
            meanwhile()
        while busy := {worker.connection: worker for worker in self._workers if worker.units}:
            for connection in wait_for(list(busy), POLL_SECONDS):
                heapq.heappush(finished, busy[connection].take())  # type: ignore[index]
                following = self._give(following, messages)
            self._report(on_advance)
            while finished and finished[0][0] == position:
                yield heapq.heappop(finished)[1]
                position += 1
        self._report(on_advance)

    def _give(self, message: _Message | None, messages: Iterator[_Message]) -> _Message | None:
        """This unit and the next ones to whoever has room. Returns the first that nobody has."""
        while message is not None:
            worker = min(self._workers, key=lambda worker: len(worker.units))
            if not worker.has_room(message):
                break
            worker.give(message)
            message = next(messages, None)
        return message

    def _report(self, on_advance: Callable[[int], None] | None) -> None:
        now = self._counter.value
        if on_advance is not None and now != self._seen:
            on_advance(now - self._seen)
        self._seen = now


def _serve(connection: Connection, counter: Synchronized[int], value: Any) -> None:
    """What a worker does: one unit after another, until there is None."""
    _initialise_worker(counter, value)
    with suppress(EOFError, ConnectionError):
        while (work := connection.recv()) is not None:
            connection.send_bytes(_answer(*work))


def _answer(function: Callable[[Unit], Result], unit: Unit) -> memoryview:
    """The result and no failure, or the other way round. A failure that is a mistake of ours tells where it was."""
    try:
        return ForkingPickler.dumps((function(unit), None))
    except Exception as error:
        if not isinstance(error, OstrataError):
            error.add_note(f"in a worker process:\n{format_exc()}")
        return ForkingPickler.dumps((None, error))


def _received(connection: Connection) -> Any:
    try:
        result, error = connection.recv()
    except (EOFError, ConnectionError):
        raise _was_killed() from None
    if error is not None:
        raise error
    return result


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
