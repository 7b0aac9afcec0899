"""Sums over samples of two classes, and what is wrong with labels, probabilities and weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from .clipped import clip_point, hard_loss_point
from .compile import INNER, kernel
from .compile import inner as block
from .exp_log import like
from .reductions import LANES, STRIP, clear, tree_sum
from .results import cut

COLUMNS = 4  # of the sums
SQUARES, POSITIVES, WEIGHTS, LOGS = range(COLUMNS)
WRONG, UNEVEN = range(2)  # columns of what was seen


def second_of(x: Any) -> Any:
    """Return the probability of the second class: the number, or the last of a row's two."""
    return x.imag if isinstance(x, np.complexfloating) else x


@overload(second_of, jit_options=INNER)
def _second_of_overload(x):
    return (lambda x: x.imag) if isinstance(x, types.Complex) else lambda x: x


@block
def samples_block(
    p: Any,
    y: Any,
    w: Any,
    zero: Any,
    one: Any,
    both: Any,
    bounds: Any,
    squares: Any,
    positives: Any,
    weights: Any,
    logs: Any,
    seen: Any,
) -> None:
    """Add each sample's squared error, label, weight and loss to its lanes.

    Where `both` is not None, a complex number is a row of two probabilities, whose sum must be 1 to
    within so much.
    """
    wrong, uneven = 0, 0
    for i in range(p.size):
        is_one, is_zero = y[i] == one, y[i] == zero
        label = 1.0 if is_one else 0.0
        share = second_of(p[i])
        fits = (share >= 0) & (share <= 1) & (is_one | is_zero)
        error = np.float64(share) - label
        square = error * error
        if both is not None:
            other = p[i].real
            fits = fits & (other >= 0) & (other <= 1)
            uneven |= np.int32(not (abs(other + share - like(share, 1)) <= both))
            rest = np.float64(other) - (1.0 - label)
            square += rest * rest
        weight = 1.0
        if w is not None:
            weight = np.float64(w[i])
            fits = fits & (weight >= 0) & (weight < np.inf)
            weights[i] += weight
        squares[i] += square * weight
        positives[i] += label * weight
        if bounds is not None:
            if both is None:
                loss = hard_loss_point(clip_point(np.float64(share), bounds), is_one)
            else:
                true = share if is_one else p[i].real
                loss = hard_loss_point(clip_point(np.float64(true), bounds), True)
            logs[i] += loss * weight
        wrong |= np.int32(not fits)
    seen[WRONG] |= wrong
    seen[UNEVEN] |= uneven


@kernel
def samples_run(thread: Any, first: Any, arrays: Any, options: Any) -> None:
    """Write the sums of each strip to `partials`, what was seen to the thread's row of `seen`."""
    p, y, w, _ = arrays
    zero, one, both, bounds, partials, seen, lanes = options
    for s in range(0, p.size, STRIP):
        e = min(s + STRIP, p.size)
        width = min(LANES, e - s)
        for column in range(COLUMNS):
            clear(lanes[thread, column, :width])
        for a in range(s, e, LANES):
            b = min(a + LANES, e)
            samples_block(
                cut(p, a, b),
                cut(y, a, b),
                cut(w, a, b),
                zero,
                one,
                both,
                bounds,
                lanes[thread, SQUARES, : b - a],
                lanes[thread, POSITIVES, : b - a],
                lanes[thread, WEIGHTS, : b - a],
                lanes[thread, LOGS, : b - a],
                seen[thread],
            )
        for column in range(COLUMNS):
            partials[(first + s) // STRIP, column] = tree_sum(lanes[thread, column, :width])
