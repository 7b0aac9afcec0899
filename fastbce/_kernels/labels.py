"""What an element's label asks for: whether the element counts, and what its two sides weigh.

An element's loss is ``a * -log(p) + b * -log(1 - p)``. Without options a is its label and b is one
less it; label smoothing and pos_weight change both, and nothing else in the loops. An element that
is ignored, or whose sample weight is 0, has neither: its loss and derivatives are exactly 0,
whatever its score, label and weight hold. Options that are absent are None, and cost nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compile import inner as block
from .compile import point
from .exp_log import fma, like
from .reductions import LANES
from .sigmoid import probability_point


@point
def kept_point(i: Any, y: Any, w: Any, mask: Any, ignore: Any) -> Any:
    """Tell whether element i counts."""
    kept = True
    if w is not None:
        kept = kept & (w[i] != 0)
    if mask is not None:
        kept = kept & (mask[i] != 0)
    if ignore is not None:
        kept = kept & (y[i] != ignore)
    return kept


@point
def only_point(kept: Any, value: Any) -> Any:
    """Return the value of an element that counts, else 0."""
    return value if kept else like(value, 0)


@point
def sides_point(i: Any, t: Any, smooth: Any, pos: Any) -> Any:
    """Return what the label t weighs on the positive side and on the negative one."""
    a, b = t, like(t, 1) - t
    if smooth is not None:
        # Each from the label: one less a rounded a would lose the digits of a small b.
        rest, half = like(t, 1.0 - smooth), like(t, 0.5 * smooth)
        a, b = fma(a, rest, half), fma(b, rest, half)
    if pos is not None:
        a = a * pos[i]
    return a, b


@point
def both_sides_point(value: Any, a: Any, b: Any, pos: Any) -> Any:
    """Return the value times what both sides weigh, which is 1 without pos_weight."""
    if pos is not None:
        return value * (a + b)
    else:
        return value


@point
def column_of(pos: Any, first: Any) -> Any:
    """Return where the row of pos_weight, repeated past its end, starts for an element."""
    if pos is not None:
        return first % (pos.size - LANES)
    else:
        return 0


@point
def most_of(pos: Any, size: Any) -> Any:
    """Return how many elements a loop may handle at a time: pos_weight's row goes on for LANES."""
    if pos is not None:
        return min(size, LANES)
    else:
        return size


@block
def check_unit_block(values: Any, y: Any, w: Any, mask: Any, ignore: Any, bad: Any) -> None:
    """Note in `bad` that a value of an element that counts is NaN or outside [0, 1]."""
    wrong = 0
    for i in range(values.size):
        fits = (values[i] >= 0) & (values[i] <= 1)
        wrong |= np.int32(kept_point(i, y, w, mask, ignore) & (not fits))
    if wrong != 0:
        bad[0] = 1


@point
def check_unit(values: Any, y: Any, w: Any, mask: Any, ignore: Any, bad: Any) -> None:
    """Look for labels or probabilities that are NaN or outside [0, 1], if that is asked for."""
    if bad is not None:
        check_unit_block(values, y, w, mask, ignore, bad)


@point
def beyond_point(x: Any, bounds: Any) -> Any:
    """Tell whether a probability is clipped; logits have no bounds."""
    if bounds is not None:
        return (x < bounds[0]) | (x > bounds[1])
    else:
        return False


@block
def count_block(
    x: Any, y: Any, w: Any, mask: Any, ignore: Any, bounds: Any, chain: Any, counts: Any
) -> None:
    """Count the elements that count, those on their label's side, and those beyond the bounds."""
    counted, right, clipped = 0, 0, 0
    for i in range(x.size):
        kept = kept_point(i, y, w, mask, ignore)
        score = probability_point(x[i], chain)
        middle = like(score, 0 if bounds is None else 0.5)
        # Neither holds for NaN.
        one = (score > middle) & (y[i] > 0.5)
        zero = (score <= middle) & (y[i] <= 0.5)
        counted += np.int32(kept)
        right += np.int32(kept & (one | zero))
        clipped += np.int32(kept & beyond_point(score, bounds))
    counts[0] += counted
    counts[1] += right
    counts[2] += clipped


@point
def count(
    x: Any,
    y: Any,
    w: Any,
    mask: Any,
    ignore: Any,
    bounds: Any,
    chain: Any,
    counts: Any,
    thread: Any,
) -> None:
    """Count as :func:`count_block` does, in the thread's row, if that is asked for."""
    if counts is not None:
        count_block(x, y, w, mask, ignore, bounds, chain, counts[thread])


@block
def is_hard_block(y: Any, mask: Any, ignore: Any) -> Any:
    """Tell whether all labels but those of ignored elements are 0 or 1."""
    soft = 0
    for i in range(y.size):
        soft |= np.int32((y[i] != 0) & (y[i] != 1) & kept_point(i, y, None, mask, ignore))
    return soft == 0
