"""The OpenMP threads of another library, on which calls made for that library may run.

GNU OpenMP's threads watch for the next region for milliseconds. So inside a program that computes
with such a library, a worker of ours shares a core with a thread that only waits, and that core's
cache holds half of the data: between two operations of PyTorch, 3 x 10^5 float32 took 777 us on our
workers and 161 on its team. An adapter lends that team for its own calls, and no others.

Where processors are scarce a region waits for a thread that another process keeps from running
(10^6 float32 beside two busy processes: 11.7 ms, and 0.6 on our workers, who are never waited for
unless they run). So each call is timed, and what a region lost is paid back before the next.
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import numpy as np

from .team import ABSENT, COMPILED, NUMBER, PARALLEL, SLOT, WORKERS

# Our own workers are timed again every so many calls.
AGAIN = 64
# So many times as long as what regions lost, calls stay away from them.
PAUSE = 4
# What a region that lost nothing leaves of what earlier ones lost.
FORGIVEN = 15 / 16
# Seconds of which is no more to say: a process that was stopped is no reason to stay away for ever.
MOST_LOST = 0.25


class Choice:
    """Choose between our workers and a borrowed team for calls of one kind and size."""

    def __init__(self) -> None:
        self.own = math.inf
        """Seconds per element on our workers."""
        self.lost = 0.0
        """Seconds by which regions took longer, less what was forgiven."""
        self.away = 0.0
        """Seconds of calls for which to stay away from regions."""
        self.calls = 0
        self.begun = self.awake = False
        """Whether there was a region before, and whether the last call was one."""

    def borrows(self) -> bool:
        """Choose for the next call."""
        self.calls += 1
        # The first call of a kernel compiles it, and the second tells what it takes.
        return self.calls > 2 and self.away <= 0 and self.calls % AGAIN != 0

    def note(self, seconds: float, n: int, *, borrowed: bool) -> None:
        """Take in what a call took."""
        if not borrowed:
            now = seconds / n
            self.own = now if now < self.own else (self.own + now) / 2
            self.away -= seconds
        elif self.begun:  # the first region makes the team, which takes 6.6 ms
            own = self.own * n
            # Threads that sleep are no reason to stay away: they are awake in the next region, and
            # asleep again after a pause.
            if seconds > (own if self.awake else 2 * own):
                self.lost = min(self.lost + seconds - own, MOST_LOST)
                self.away = PAUSE * self.lost
            elif self.awake:
                self.lost *= FORGIVEN
        self.begun, self.awake = self.begun or borrowed, borrowed


class Lender:
    """A library, how many threads it allows now, and its team.

    Parameters
    ----------
    path : str, optional
        A shared library that is loaded and linked to the runtime; without one there is no team.
    threads : callable
        Returns how many threads the library may use, on the calling thread.
    """

    def __init__(self, path: str | None, threads: Callable[[], int]) -> None:
        self.threads = threads
        self.slots = _slots_of(path) if path and COMPILED else None
        self._choices: dict[Any, Choice] = {}
        if hasattr(os, "register_at_fork"):
            # A region in a child waits for threads that only the parent has, for ever.
            os.register_at_fork(after_in_child=self._withdraw)

    def choice(self, kind: Any, n: int) -> Choice:
        """Return what is known of calls of that kind, of about that many elements."""
        key = (kind, n.bit_length())
        return self._choices.get(key) or self._choices.setdefault(key, Choice())

    def _withdraw(self) -> None:
        self.slots = None


def _slots_of(path: str) -> Any:
    """Return slots without workers, with the addresses of the runtime; None if it has none."""
    loaded = getattr(os, "RTLD_NOLOAD", None)
    if loaded is None:  # Windows, whose runtimes have no such function
        return None
    try:
        library = ctypes.CDLL(path, mode=loaded | os.RTLD_NOW)
        # Not by the runtime's name, of which a process may have several: by what the library sees.
        parallel, number = library.GOMP_parallel, library.omp_get_thread_num
    except (OSError, AttributeError):
        return None
    slots = np.full(WORKERS * SLOT, ABSENT, np.int64)
    slots[PARALLEL] = ctypes.cast(parallel, ctypes.c_void_p).value or 0
    slots[NUMBER] = ctypes.cast(number, ctypes.c_void_p).value or 0
    return slots


# Set by an adapter around its calls.
lent: ContextVar[Lender | None] = ContextVar("fastbce_lent", default=None)
