"""Sums and means: lanes, their trees, means of rows.

Running sums are kept in ``LANES`` fixed lanes instead of the vector unit's, so that their order,
and with it every bit, is the same on every machine.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from .compile import INNER, point
from .compile import inner as block
from .exp_log import like, log_point
from .results import cut

# Running sums kept side by side, 2-4 KiB: twice as many leave the first-level cache too little
# room for the streams (float64 logits loss and gradient: 1.17 ns an element against 1.09).
LANES = 512
TERMS = 32  # terms of each lane between two logarithms of the lanes' products
STRIP = TERMS * LANES


@point
def lanes_of(work: Any, lanes: Any, thread: Any, size: Any) -> Any:
    """Return a thread's lanes for a strip of so many elements: the losses', linear, products."""
    width = min(LANES, size)
    return lanes[thread, :width], work[thread, 0, :width], work[thread, 1, :width]


@point
def clear(lanes: Any) -> None:
    """Write 0 to each lane; to compile ``lanes[:] = 0`` takes longer."""
    for i in range(lanes.size):
        lanes[i] = 0


@block
def add_block(values: Any, lanes: Any) -> None:
    """Add each value to its lane."""
    for i in range(values.size):
        lanes[i] += np.float64(values[i])


@block
def tree_sum(lanes: Any) -> Any:
    """Return the sum of the lanes, halving them; destroys them."""
    n = lanes.size
    while n > 1:
        half = (n + 1) // 2
        upper = cut(lanes, half, n)
        for i in range(upper.size):
            lanes[i] += upper[i]
        n = half
    return lanes[0]


@block
def log_products_block(products: Any) -> None:
    """Replace each lane's product by minus its logarithm."""
    for i in range(products.size):
        products[i] = -log_point(products[i], products[i] - products[i])


@block
def softplus_lanes_block(linear: Any, products: Any, lanes: Any) -> None:
    """Write the lane's sum and log(1 + P) to it; 1 + P is split exactly, whichever is larger."""
    for i in range(linear.size):
        p = products[i]
        one = like(p, 1)
        h = one + p
        low = (one - (h - p)) if p > one else (p - (h - one))
        lanes[i] = np.float64(linear[i]) * TERMS + np.float64(log_point(h, low))


def sums_of(w: Any, pos: Any, focus: Any, losses: Any, linear: Any, products: Any) -> Any:
    """Return where a block of logits puts losses: in lanes, or if they are weighted in an array.

    The first is the array and the others are the lanes; what is not used is None.
    """
    if w is None and pos is None and focus is None:
        return None, linear, products
    return losses, None, None


# By the types: Numba leaves out a branch where an argument is None, and not where it is an array,
# so that each result would have the type "array or None".
@overload(sums_of, jit_options=INNER)
def _sums_of_overload(w, pos, focus, losses, linear, products):
    if w is pos is focus is types.none:
        return lambda w, pos, focus, losses, linear, products: (None, linear, products)
    return lambda w, pos, focus, losses, linear, products: (losses, None, None)


@point
def add_losses(losses: Any, lanes: Any) -> None:
    """Add an array of losses to the lanes, if there is one."""
    if losses is not None:
        add_block(losses, lanes)


@point
def add_logarithms(w: Any, pos: Any, focus: Any, linear: Any, products: Any, lanes: Any) -> None:
    """Write what was put in the lanes of :func:`sums_of` to the lanes of the sum."""
    if w is None and pos is None and focus is None:
        softplus_lanes_block(linear, products, lanes)


@block
def row_means_block(values: Any, outputs: Any, means: Any) -> None:
    """Write the mean of each row of `outputs` values."""
    for row in range(means.size):
        total = 0.0
        part = cut(values, row * outputs, (row + 1) * outputs)
        for i in range(part.size):
            total += np.float64(part[i])
        means[row] = total / outputs
