"""Check how jobs are shared as plain Python, with ``NUMBA_DISABLE_JIT=1``: see test_interpreted.

One thread plays caller and worker in turn, on real words of memory.
"""

from __future__ import annotations

import sys
from ctypes import c_int64

import numpy as np
from numba import config

from fastbce._engine import team as t


def load(address: int) -> int:
    return c_int64.from_address(address).value


def store(address: int, value: int) -> None:
    c_int64.from_address(address).value = value


def swap(address: int, old: int, new: int) -> bool:
    if load(address) != old:
        return False
    store(address, new)
    return True


def states(slots: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[int]:
    return [int(state) for state in slots[:: t.SLOT]]


def main() -> None:
    """Offer a job to four workers of whom one takes it, one wakes up, and two are not there."""
    if not config.DISABLE_JIT:  # type: ignore[attr-defined]
        sys.exit("run with NUMBA_DISABLE_JIT=1")
    slots = np.full(t.SLOT * t.WORKERS, t.ABSENT, np.int64)
    slots[t.PARALLEL] = 0
    slots[: 4 * t.SLOT : t.SLOT] = t.ASLEEP, t.IDLE, t.WAKING, t.IDLE
    job = np.zeros(t._ARGUMENTS, np.int64)
    address = job.ctypes.data
    done: list[int] = []

    def run_job(at: int, worker: int) -> None:
        assert worker == (len(done) == 1)
        done.append(at)
        if len(done) == 1:
            assert states(slots)[:4] == [t.ASLEEP, at + t.OFFERED, at + t.OFFERED, t.IDLE]
            assert t.serve(slots, 1, 2) == t.ASLEEP
        job[t._FINISHED] += 1

    stand_ins = {"_load": load, "_store": store, "_swap": swap, "_run_job": run_job}
    for name, function in stand_ins.items():
        setattr(t, name, function)
    t._work_together(address, slots, 3)
    assert done == [address, address]
    assert states(slots)[:4] == [t.ASLEEP, t.ASLEEP, t.IDLE, t.IDLE]
    assert set(states(slots)[4:]) == {t.ABSENT}

    slots[t.SLOT] = t.WAKING
    assert t.serve(slots, 1, 2) == t.ASLEEP
    assert states(slots)[1] == t.ASLEEP
    slots[t.SLOT] = t.STOP
    assert t.serve(slots, 1, 2) == t.STOP

    job[t._FINISHED] = 0
    slots[:: t.SLOT] = t.ABSENT
    t._work_together(address, slots, 3)
    assert done == [address] * 3

    from checks import check_twins

    for n in (1, 100, 2000):
        check_twins(n)
    print("all as exact")


if __name__ == "__main__":
    main()
