"""Which thread does what: the worker threads of the team, and the cutting of long calls.

Compiled code hands jobs to the workers (:mod:`fastbce._team`); what is left to Python is to make
the threads, to let them sleep and to wake them, and to start anew in a forked child.
"""

from __future__ import annotations

import atexit
import ctypes
import math
import os
import threading
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from .team import ABSENT, ASLEEP, COMPILED, IDLE, PATIENCE, SLOT, STOP, WAKING, WORKERS, serve

# Seconds between the starts of two calls of which the second closely follows the first.
SOON = 200e-6
# Work, in what pays for a thread that is awake, that pays for waking one.
LONG = 9


class _Team:
    """The workers of this process and the slots that their jobs arrive in."""

    def __init__(self) -> None:
        self.slots = np.full(WORKERS * SLOT, ABSENT, np.int64)
        self.states = memoryview(self.slots.data)[::SLOT]
        self.lock = threading.Lock()
        self.threads: list[threading.Thread] = []
        self.bells: list[threading.Lock] = []
        self.kept_off: list[int | None] = []  # processors

    def rouse(self, count: int) -> None:
        """See to it that up to `count` workers exist and are awake, or will be shortly."""
        states = self.states[:count]
        if ASLEEP not in states and ABSENT not in states:
            return  # 0.2 us where the lock and a look at the array take 0.6
        with self.lock:
            while len(self.threads) < min(count, WORKERS):
                if not self._hire():
                    break
            for worker in range(min(count, len(self.threads))):
                if self.slots[worker * SLOT] == ASLEEP:
                    self._keep_apart(worker)
                    self.slots[worker * SLOT] = WAKING
                    self.bells[worker].release()

    def _hire(self) -> bool:
        worker = len(self.threads)
        bell = threading.Lock()
        bell.acquire()
        thread = threading.Thread(
            target=_serve, args=(self.slots, worker, bell), name="fastbce", daemon=True
        )
        self.slots[worker * SLOT] = IDLE
        try:
            thread.start()
        except RuntimeError:  # the system allows no more threads: fewer do the work
            self.slots[worker * SLOT] = ABSENT
            return False
        self.threads.append(thread)
        self.bells.append(bell)
        self.kept_off.append(None)
        return True

    def _keep_apart(self, worker: int) -> None:
        """Keep a worker that is about to wake up off the processor of the caller, who stays busy.

        The system may wake it there and leave it for milliseconds: on two processors one of them
        idle, two threads then took 345 us where one takes 235 and two on their own take 125.
        """
        thread = self.threads[worker]
        if _current_cpu is None or thread.native_id is None:
            return
        cpu = _current_cpu()
        if cpu == self.kept_off[worker]:
            return  # as it was: 10 us less
        try:
            others = os.sched_getaffinity(0) - {cpu}
            if others:
                os.sched_setaffinity(thread.native_id, others)
                self.kept_off[worker] = cpu
        except OSError:  # a container may forbid it
            pass

    def dismiss(self) -> None:
        """End the threads: none may be in compiled code while the interpreter shuts down."""
        with self.lock:
            for worker, thread in enumerate(self.threads):
                while thread.is_alive():
                    self.slots[worker * SLOT] = STOP
                    if self.bells[worker].locked():
                        self.bells[worker].release()
                    thread.join(0.01)
            self.threads, self.bells, self.kept_off = [], [], []


_current_cpu: Callable[[], int] | None
try:
    _current_cpu = ctypes.CDLL(None).sched_getcpu
except (AttributeError, OSError, TypeError):  # not Linux
    _current_cpu = None


def _serve(slots: Any, worker: int, bell: threading.Lock) -> None:
    while serve(slots, worker, PATIENCE) == ASLEEP:
        bell.acquire()


_team = _Team()


@atexit.register
def _dismiss_team() -> None:
    _team.dismiss()


def _new_team() -> None:
    """In a forked child the parent's threads do not exist, and its lock may be held."""
    global _team
    _team = _Team()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_team)


_last_call, _work_in_a_row = -math.inf, 0.0


def threads_for(work: int, least: int, most: int) -> int:
    """Return how many threads pay, `most` or fewer, if each must have `least` of the work.

    A worker that sleeps joins 35-50 us later, and waking it costs the caller about 50 in all;
    without a call it goes to sleep after about 100. So a call is shared if it is long, or if it and
    those that it closely follows are, taken together: a row that could have been shared from its
    start on is likely to go on.
    """
    global _last_call, _work_in_a_row
    threads = min(most, work // least)
    if threads < 2:
        return 1
    now = perf_counter()
    share = work / (threads * least)
    _work_in_a_row = share + (_work_in_a_row if now - _last_call < SOON else 0.0)
    _last_call = now
    return threads if _work_in_a_row >= LONG else 1


def crew(threads: int) -> Any:
    """Return the slots for a call on so many threads, with the workers awake."""
    team = _team
    if threads > 1 and COMPILED:
        team.rouse(threads - 1)
    return team.slots


def grain_of(n: int, unit: int, threads: int, strip: int) -> int:
    """Return how many elements a thread takes at a time, in whole units.

    Four parts a thread even out what one of them loses to an interruption, and leave each core most
    of what it had in its cache after the last call on the same arrays; parts of some thousand
    elements keep the 20 ns of taking one out of sight, and none is so large that the last one
    keeps the others waiting. In long arrays larger parts are nearer to what the memory allows
    (sigmoid, 5 x 10^7 float32: 16 strips take 3 % less time than 4).
    """
    wanted = n // (4 * threads)
    if wanted > 4 * strip:
        wanted = max(4 * strip, min(wanted // 8, 16 * strip))
    elif wanted < strip // 4:
        wanted = strip // 4
    return max(wanted // unit, 1) * unit
