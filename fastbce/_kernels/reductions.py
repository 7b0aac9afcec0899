"""Sums and means: lanes, their trees, means of rows.

Running sums are kept in ``LANES`` fixed lanes instead of the vector unit's, so that their order,
and with it every bit, is the same on every machine.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compile import inner as block
from .compile import point
from .exp_log import like, log_point

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
        upper = lanes[half:n]
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


@block
def row_means_block(values: Any, outputs: Any, means: Any) -> None:
    """Write the mean of each row of `outputs` values."""
    for row in range(means.size):
        total = 0.0
        for value in values[row * outputs : (row + 1) * outputs]:
            total += np.float64(value)
        means[row] = total / outputs
