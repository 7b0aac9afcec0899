"""The worker threads of the team.

Compiled code hands jobs to them (:mod:`fastbce._engine.team`); what is left to Python is to make
them, to let them sleep and wake them, and to start anew in a forked child.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from .team import (
    ABSENT,
    ASLEEP,
    COMPILED,
    IDLE,
    PARALLEL,
    PATIENCE,
    SLOT,
    STOP,
    WAKING,
    WORKERS,
    serve,
)


class _Team:
    """The workers of this process and the slots that their jobs arrive in."""

    def __init__(self) -> None:
        self.slots = np.full(WORKERS * SLOT, ABSENT, np.int64)
        self.slots[PARALLEL] = 0
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
        if worker == 0:
            # Compiled or loaded here, while the caller waits: a thread that still does so when the
            # memory is used up, or limited, ends the process (LLVM aborts).
            serve(np.full(SLOT, STOP), 0, PATIENCE)
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


def crew(threads: int) -> Any:
    """Return the slots for a call on so many threads, with the workers awake."""
    team = _team
    if threads > 1 and COMPILED:
        team.rouse(threads - 1)
    return team.slots
