"""Memory-only twins: the reads and writes of an operation with one addition an element.

They run on the same team of threads with the same partition as the kernels, and write large results
past the caches where that is faster, so ``t / t_twin`` says how far an operation is from what the
memory allows, on any machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from fastbce._engine.calls import FAR, Kernel, share
from fastbce._engine.team import team_of
from fastbce._kernels.compile import OPTIONS
from fastbce._kernels.reductions import LANES, STRIP
from fastbce._kernels.results import fence, flush, stage, step_of
from fastbce._threads import get_num_threads
from fastbce._typing import Array

_twin = njit(nogil=True, **OPTIONS)


@_twin
def _add(x: Any, y: Any, out: Any) -> None:
    for i in range(x.size):
        out[i] = x[i] + y[i]


@_twin
def _add_twice(x: Any, y: Any, out: Any, more: Any) -> None:
    for i in range(x.size):
        value = x[i] + y[i]
        out[i] = value
        more[i] = value


@_twin
def _one_to_one(thread: Any, first: Any, arrays: Any, options: Any) -> None:
    x, out = arrays
    _two_to_one(thread, first, (x, x, out), options)


@_twin
def _two_to_one(thread: Any, first: Any, arrays: Any, options: Any) -> None:
    x, y, out = arrays
    (spaces,) = options
    step = step_of(spaces, x.size)
    for s in range(0, x.size, step):
        e = min(s + step, x.size)
        _add(x[s:e], y[s:e], stage(out, spaces, thread, 0, s, e))
        flush(out, spaces, thread, 0, s, e, 0, x.size)
    fence(spaces)


@_twin
def _two_to_two(thread: Any, first: Any, arrays: Any, options: Any) -> None:
    x, y, out, more = arrays
    (spaces,) = options
    step = step_of(spaces, x.size)
    for s in range(0, x.size, step):
        e = min(s + step, x.size)
        one, two = stage(out, spaces, thread, 0, s, e), stage(more, spaces, thread, 1, s, e)
        _add_twice(x[s:e], y[s:e], one, two)
        flush(out, spaces, thread, 0, s, e, 0, x.size)
        flush(more, spaces, thread, 1, s, e, 0, x.size)
    fence(spaces)


@_twin
def _two_to_none(thread: Any, first: Any, arrays: Any, options: Any) -> None:
    x, y = arrays
    (lanes,) = options
    mine = lanes[thread]
    for s in range(0, x.size, LANES):
        e = min(s + LANES, x.size)
        left, right = x[s:e], y[s:e]
        for i in range(left.size):
            mine[i] += left[i] + right[i]


_KERNELS = {
    counts: Kernel(run, team_of(run, _twin))
    for counts, run in {
        (1, 1): _one_to_one,
        (2, 1): _two_to_one,
        (2, 2): _two_to_two,
        (2, 0): _two_to_none,
    }.items()
}


def twin(inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Callable[[], None]:
    """Return the twin of an operation with these arrays, ready to be called."""
    n = inputs[0].size
    kernel = _KERNELS[len(inputs), len(outputs)]

    def options(start: int, threads: int, spaces: Array) -> tuple[Any, ...]:
        return (spaces,) if outputs else (np.zeros((threads, LANES), inputs[0].dtype),)

    def run() -> None:
        threads = get_num_threads() if n >= 2 * STRIP else 1
        streams = bool(outputs) and inputs[0].nbytes >= FAR
        share(kernel, options, (*inputs, *outputs), threads, STRIP, streams=streams)

    return run
