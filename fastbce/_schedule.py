"""Which thread does what: partition, a team of threads, cancellation. No mathematics.

Each thread gets one long contiguous run of the elements and works through it piece by piece; the
caller takes the first run itself. Pieces exist so that Ctrl-C and errors stop a long call early.

A job is handed over through a row of flags rather than a queue. A worker that has just finished
one watches for the next outside the interpreter lock for a while (:mod:`fastbce._spin`); the caller
rings, waits until that worker has taken the job, and only then starts its own share, so that the
two never wait for the interpreter lock in the system's scheduler. That takes about 4 us, where an
executor takes 20-90. A worker that sleeps is woken by a lock.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable

import numpy as np

from ._spin import PATIENCE, await_flag, raise_and_await

Work = Callable[[int, int], None]

RUNG, TAKEN, DONE = 0, 8, 16  # places of the flags, a cache line apart


class _Worker:
    """One thread and the flags that it shares with the caller it works for."""

    def __init__(self) -> None:
        self.flags = np.zeros(24, np.int64)
        self.busy = threading.Lock()  # held by the caller that it works for
        self.sleep = threading.Lock()  # guards the decision to sleep
        self.asleep = False
        self.bell = threading.Lock()
        self.bell.acquire()
        self.finished = threading.Event()
        self.job: Callable[[], None] | None = None
        self.calls = 0
        self.thread = threading.Thread(target=self._serve, name="fastbce", daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        call = 0
        while True:
            call += 1
            rung = raise_and_await(self.flags, DONE, call - 1, RUNG, call, PATIENCE)
            if rung < call:
                with self.sleep:
                    self.asleep = self.flags[RUNG] < call
                if self.asleep:
                    self.bell.acquire()
            job, self.job = self.job, None
            if job is None:
                return
            self.flags[TAKEN] = call
            job()
            del job
            self.finished.set()

    def start(self, job: Callable[[], None] | None) -> None:
        """Hand over a job; None ends the thread."""
        self.job = job
        self.finished.clear()
        self.calls += 1
        with self.sleep:
            asleep, self.asleep = self.asleep, False
            if asleep:
                self.flags[RUNG] = self.calls
        if asleep:
            self.bell.release()
        else:
            raise_and_await(self.flags, RUNG, self.calls, TAKEN, self.calls, PATIENCE)

    def wait(self) -> None:
        """Wait for the end of the job."""
        if await_flag(self.flags, DONE, self.calls, PATIENCE) < self.calls:
            self.finished.wait()


class _Team:
    """The workers of this process; they are made when first needed."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.workers: list[_Worker] = []

    def claim(self, count: int) -> list[_Worker]:
        """Return up to `count` idle workers, making new ones while there are fewer in all."""
        with self.lock:
            claimed = [w for w in self.workers if w.busy.acquire(blocking=False)][:]
            for extra in claimed[count:]:
                extra.busy.release()
            del claimed[count:]
            while len(self.workers) < count:
                try:
                    worker = _Worker()
                except RuntimeError:  # no more threads allowed: fewer do the work
                    break
                worker.busy.acquire()
                self.workers.append(worker)
                claimed.append(worker)
            return claimed[:count]

    def dismiss(self) -> None:
        """End the threads: at exit, none may be inside compiled code."""
        for worker in self.workers:
            with worker.busy:
                worker.start(None)
                worker.thread.join()
        self.workers = []


_team = _Team()
atexit.register(lambda: _team.dismiss())


def _forget_team() -> None:
    """In a forked child the parent's threads do not exist, and its locks may be held."""
    global _team
    _team = _Team()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_team)


def partition(n: int, grain: int, parts: int) -> list[tuple[int, int]]:
    """Cut ``range(n)`` into at most `parts` runs of whole grains, as even as they come."""
    grains = -(-n // grain)
    parts = max(1, min(parts, grains))
    cuts = [min(n, grains * i // parts * grain) for i in range(parts + 1)]
    return list(zip(cuts[:-1], cuts[1:], strict=True))


def run(work: Work, n: int, grain: int, piece: int, threads: int) -> None:
    """Call ``work(start, stop)`` over all of ``range(n)``.

    Parameters
    ----------
    work : callable
        Must be safe to call from several threads for disjoint ranges.
    n : int
        Number of elements.
    grain : int
        Threads' runs start at multiples of it.
    piece : int
        Largest range of one call; a multiple of `grain`.
    threads : int
        Most threads to use, the caller's included. Fewer are used while other callers keep the
        workers busy.

    Raises
    ------
    BaseException
        The first exception of `work`, or KeyboardInterrupt; by then no thread is working on the
        call any more.
    """
    errors: list[BaseException] = []

    def share(start: int, stop: int) -> None:
        try:
            while start < stop and not errors:
                end = min(start + piece, stop)
                work(start, end)
                start = end
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            errors.append(error)

    workers = _team.claim(min(threads, -(-n // grain)) - 1) if threads > 1 else []
    try:
        ranges = partition(n, grain, len(workers) + 1)
        started = []
        for worker, (start, stop) in zip(workers, ranges[1:], strict=True):
            started.append(worker)
            worker.start(lambda start=start, stop=stop: share(start, stop))  # type: ignore[misc]
        share(*ranges[0])
    except BaseException as error:  # noqa: BLE001 - Ctrl-C between the steps above
        errors.append(error)
    for worker in workers:
        _wait(worker, errors)
        worker.busy.release()
    if errors:
        raise errors[0]


def _wait(worker: _Worker, errors: list[BaseException]) -> None:
    """Wait until the worker is done, even if Ctrl-C comes while waiting."""
    while True:
        try:
            worker.wait()
        except BaseException as error:  # noqa: BLE001 - raised when all threads are done
            errors.append(error)
        else:
            return
