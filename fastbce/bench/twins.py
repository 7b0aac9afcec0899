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

from fastbce._backends import get_num_threads
from fastbce._engine.elementwise import share
from fastbce._engine.team import sharing
from fastbce._inputs import Array
from fastbce._kernels import elementwise as k
from fastbce._kernels.compile import OPTIONS
from fastbce._kernels.results import fence, nearby, settle

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
def _one_to_one(index: Any, start: Any, x: Any, out: Any, spaces: Any) -> None:
    _two_to_one(index, start, x, x, out, spaces)


@_twin
def _two_to_one(index: Any, start: Any, x: Any, y: Any, out: Any, spaces: Any) -> None:
    step = k.step_of(spaces, x.size)
    for s in range(0, x.size, step):
        e = min(s + step, x.size)
        result = nearby(out, spaces, index, 0, s, e)
        _add(x[s:e], y[s:e], result)
        settle(out, spaces, index, 0, s, e, 0, x.size)
    fence(spaces)


@_twin
def _two_to_two(index: Any, start: Any, x: Any, y: Any, out: Any, more: Any, spaces: Any) -> None:
    step = k.step_of(spaces, x.size)
    for s in range(0, x.size, step):
        e = min(s + step, x.size)
        first, second = nearby(out, spaces, index, 0, s, e), nearby(more, spaces, index, 1, s, e)
        _add_twice(x[s:e], y[s:e], first, second)
        settle(out, spaces, index, 0, s, e, 0, x.size)
        settle(more, spaces, index, 1, s, e, 0, x.size)
    fence(spaces)


@_twin
def _two_to_none(index: Any, start: Any, x: Any, y: Any, lanes: Any) -> None:
    mine = lanes[index]
    for s in range(0, x.size, k.LANES):
        e = min(s + k.LANES, x.size)
        left, right = x[s:e], y[s:e]
        for i in range(left.size):
            mine[i] += left[i] + right[i]


_SHARED = {
    (1, 1): sharing(_one_to_one),
    (2, 1): sharing(_two_to_one),
    (2, 2): sharing(_two_to_two),
    (2, 0): sharing(_two_to_none),
}


def _team_of(share: Any) -> Any:
    @_twin
    def team(arrays: Any, options: Any, n: Any, grain: Any, slots: Any, threads: Any) -> None:
        share(arrays, options, n, grain, slots, threads)

    return team


_TEAMS = {counts: _team_of(share) for counts, share in _SHARED.items()}


def twin(inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Callable[[], None]:
    """Return the twin of an operation with these arrays, ready to be called."""
    n = inputs[0].size
    team = _TEAMS[len(inputs), len(outputs)]

    def options(start: int, threads: int, spaces: Array) -> tuple[Any, ...]:
        return (spaces,) if outputs else (np.zeros((threads, k.LANES), inputs[0].dtype),)

    def run() -> None:
        threads = get_num_threads() if n >= 2 * k.STRIP else 1
        arrays, dtype = (*inputs, *outputs), inputs[0].dtype
        share(team, arrays, options, n, dtype, threads, bool(outputs), k.STRIP)

    return run
