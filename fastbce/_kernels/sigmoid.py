"""The sigmoid and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compile import kernel as block
from .compile import point
from .elements import loops_of
from .exp_log import exp_point, fma, like
from .float16 import element, number
from .results import cut, fence, flush, into, stage, step_of


@point
def sigmoid_point(x: Any) -> Any:
    """Return 1 / (1 + exp(-x)).

    With q = e / (1 + e): 1 - q on the right and e - e q on the left. The one rounding that counts
    is the last, where e / (1 + e) would add up three. float32 also carries the exponential's own
    rounding error on the left; on the right, where it has no business, it costs up to 0.5 ULP of
    1.7, and a selection costs 8 % of the time. float64 pays 25 % for it, so it does not.
    """
    e, e_low = exp_point(-abs(x))
    return sigmoid_of_exp_point(x, e, e_low)


@point
def sigmoid_of_exp_point(x: Any, e: Any, e_low: Any) -> Any:
    """Return the sigmoid of x by exp(-|x|) and the rounding error of that."""
    one = like(x, 1)
    q = e / (one + e)
    base = one if x >= 0 else e
    if isinstance(x, np.float32):
        return base + fma(-base, q, e_low)
    else:
        return fma(-base, q, base)


@point
def probability_point(x: Any, chain: Any) -> Any:
    """Return the probability that a score stands for: itself, or with `chain` its sigmoid."""
    if chain is None:
        return x
    else:
        return sigmoid_point(x)


@point
def chained_point(slope: Any, s: Any, chain: Any) -> Any:
    """Return the slope with respect to the score, by that to its probability `s`."""
    if chain is None:
        return slope
    else:
        return slope * s * (like(s, 1) - s)


sigmoid_block, sigmoid_run = loops_of("sigmoid", sigmoid_point)


@block
def sigmoid_backward_block(dvalues: Any, output: Any, out: Any) -> None:
    """Gradient through the sigmoid."""
    result = into(out, dvalues)
    for i in range(output.size):
        s = number(output[i])
        result[i] = element(result[i], number(dvalues[i]) * s * (like(s, 1) - s))


@block
def sigmoid_backward_run(thread: Any, first: Any, arrays: Any, options: Any) -> None:
    """Gradient through the sigmoid."""
    dvalues, output, out = arrays
    (spaces,) = options
    step = step_of(spaces, output.size)
    for s in range(0, output.size, step):
        e = min(s + step, output.size)
        result = stage(out, spaces, thread, 0, s, e)
        sigmoid_backward_block(cut(dvalues, s, e), cut(output, s, e), result)
        flush(out, spaces, thread, 0, s, e, 0, output.size)
    fence(spaces)
