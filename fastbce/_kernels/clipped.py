"""Loss and gradient of predicted probabilities, which are clipped to bounds off 0 and 1.

With `chain`, the last of the rules that the loops get, the scores are logits: the probabilities are
their sigmoids, and the gradient goes on through these, as by one function after the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from .compile import INNER, kernel, point
from .compile import inner as block
from .exp_log import fma, like, log_point
from .labels import (
    both_sides_point,
    check_unit,
    column_of,
    count,
    is_hard_block,
    kept_point,
    most_of,
    only_point,
    sides_point,
)
from .reductions import (
    LANES,
    STRIP,
    TERMS,
    add_block,
    clear,
    lanes_of,
    log_products_block,
    row_means_block,
    softplus_lanes_block,
    tree_sum,
)
from .results import cut, fence, flush, into, stage, step_of
from .sigmoid import chained_point, probability_point

PRODUCT_EPS = 1e-9  # that many factors of at least this do not underflow float64
PEEK = 64  # labels looked at before a strip is taken to be hard
# PyTorch's limits of the loss of one side.
MOST_LOSS = 100.0
SMALL, UNSMALL, LOG_UNSMALL = 2.0**-64, 2.0**64, 44.3614195558365


@point
def clip_point(p: Any, bounds: Any) -> Any:
    """Return p clipped to the bounds; NaN stays NaN."""
    c = bounds[0] if p < bounds[0] else p
    return bounds[1] if c > bounds[1] else c


@point
def hard_loss_point(c: Any, positive: Any) -> Any:
    """Return -log(c), or -log(1 - c) with the rounding error of 1 - c put back."""
    one = like(c, 1)
    h = one - c
    # c - c is 0, or NaN for NaN: the logarithm looks at the bits of its argument alone.
    return -log_point(c if positive else h, c - c if positive else (one - h) - c)


@point
def limited_loss_point(c: Any, positive: Any) -> Any:
    """Return :func:`hard_loss_point` for any c in [0, 1], at most 100."""
    one = like(c, 1)
    h = abs(c) if positive else one - c  # -0 has a sign
    low = c - c if positive else (one - h) - c
    # The logarithm takes no subnormal numbers. Where h is small, `low` is 0.
    small = h < like(c, SMALL)
    value = -log_point(h * like(c, UNSMALL) if small else h, low)
    value = value + like(c, LOG_UNSMALL) if small else value
    return like(c, MOST_LOSS) if value > like(c, MOST_LOSS) else value


@point
def side_loss_point(c: Any, positive: Any, floor: Any) -> Any:
    """Return the loss of one side, by the one rule or the other."""
    if floor is None:
        return hard_loss_point(c, positive)
    else:
        return limited_loss_point(c, positive)


@point
def soft_loss_point(c: Any, a: Any, b: Any, floor: Any) -> Any:
    """Return -(a log(c) + b log(1 - c)); an absent side costs 0."""
    return a * side_loss_point(c, True, floor) + b * side_loss_point(c, False, floor)


@point
def numerator_point(c: Any, a: Any, b: Any, smooth: Any, pos: Any) -> Any:
    """Return b c - a (1 - c).

    That is c - a where both sides weigh 1; a smoothed a near 1 would lose the digits of b there
    (13 units of the larger term, float64).
    """
    if smooth is None and pos is None:
        return c - a
    else:
        return fma(b, c, -(a * (like(c, 1) - c)))


@point
def denominator_point(c: Any, floor: Any) -> Any:
    """Return c (1 - c), `floor` or more."""
    product = c * (like(c, 1) - c)
    if floor is not None:
        return like(c, floor) if product < like(c, floor) else product
    else:
        return product


@point
def clipped_slope_point(
    p: Any, c: Any, sides: Any, smooth: Any, pos: Any, bounds: Any, flat: Any, floor: Any
) -> Any:
    """Return the derivative of the clipped loss, with one division instead of two.

    Where `flat` is not None it is 0 for a p that was clipped.
    """
    a, b = sides
    slope = numerator_point(c, a, b, smooth, pos) / denominator_point(c, floor)
    if flat is not None:
        slope = only_point(not ((p < bounds[0]) | (p > bounds[1])), slope)
    return slope


@block
def clipped_block(
    p: Any,
    y: Any,
    w: Any,
    mask: Any,
    pos: Any,
    rules: Any,
    loss: Any,
    prob: Any,
    grad: Any,
    bounds: Any,
    scale: Any,
    hard: Any,
) -> None:
    """Clipped loss, probabilities and gradient; `hard` is None where labels may be soft."""
    ignore, smooth, flat, floor, chain = rules
    losses, shares, slopes = into(loss, p), into(prob, p), into(grad, p)
    for i in range(p.size):
        x = probability_point(p[i], chain)
        c = clip_point(x, bounds)
        kept = kept_point(i, y, w, mask, ignore)
        a, b = sides_point(i, like(c, y[i]), smooth, pos)
        if loss is not None:
            if hard is None:
                value = soft_loss_point(c, a, b, floor)
            else:
                value = both_sides_point(side_loss_point(c, y[i] != 0, floor), a, b, pos)
            value = only_point(kept, value)
            losses[i] = value if w is None else value * like(c, w[i])
        if prob is not None:
            shares[i] = x
        if grad is not None:
            slope = clipped_slope_point(x, c, (a, b), smooth, pos, bounds, flat, floor)
            slope = slope * like(c, scale)
            slope = slope if w is None else slope * like(c, w[i])
            slopes[i] = only_point(kept, chained_point(slope, x, chain))


@block
def clipped_product_block(
    p: Any,
    y: Any,
    mask: Any,
    rules: Any,
    bounds: Any,
    scale: Any,
    products: Any,
    prob: Any,
    grad: Any,
) -> Any:
    """Multiply each hard label's probability into its lane; tell whether a label was soft."""
    ignore, _, flat, floor, chain = rules
    shares, slopes = into(prob, p), into(grad, p)
    soft = 0
    for i in range(p.size):
        x = probability_point(p[i], chain)
        c = clip_point(x, bounds)
        kept = kept_point(i, y, None, mask, ignore)
        factor = np.float64(c) if y[i] != 0 else 1.0 - np.float64(c)
        products[i] *= factor if kept else 1.0
        soft |= np.int32((y[i] != 0) & (y[i] != 1) & kept)
        if prob is not None:
            shares[i] = x
        if grad is not None:
            sides = sides_point(i, like(c, y[i]), None, None)
            slope = clipped_slope_point(x, c, sides, None, None, bounds, flat, floor)
            slopes[i] = only_point(kept, chained_point(slope * like(c, scale), x, chain))
    return soft


@block
def clipped_soft_block(
    p: Any,
    y: Any,
    mask: Any,
    rules: Any,
    bounds: Any,
    scale: Any,
    linear: Any,
    products: Any,
    prob: Any,
    grad: Any,
) -> None:
    """Add each label's loss, hard or soft, to its lane.

    With s, the smaller of c and 1 - c, and r = s / (1 - s), the loss is log(1 + r) less log(r)
    times the label's share of the smaller side: no two terms cancel, and lanes as in
    :func:`logits_block` take one logarithm an element where the formula has two.
    """
    ignore, smooth, flat, floor, chain = rules
    shares, slopes = into(prob, p), into(grad, p)
    for i in range(p.size):
        x = probability_point(p[i], chain)
        c = clip_point(x, bounds)
        one = like(c, 1)
        kept = kept_point(i, y, None, mask, ignore)
        a, b = sides_point(i, like(c, y[i]), smooth, None)
        low = c < like(c, 0.5)
        small = c if low else one - c
        r = small / (one - small)
        cost = -log_point(r, like(c, 0)) * (a if low else b)  # NaN comes in the product
        cost, r = only_point(kept, cost), only_point(kept, r)
        linear[i] = fma(cost, like(c, 1 / TERMS), linear[i])
        products[i] = fma(r, one + products[i], products[i])
        if prob is not None:
            shares[i] = x
        if grad is not None:
            slope = clipped_slope_point(x, c, (a, b), smooth, None, bounds, flat, floor)
            slopes[i] = only_point(kept, chained_point(slope * like(c, scale), x, chain))


@point
def clipped_losses(
    p: Any,
    y: Any,
    w: Any,
    mask: Any,
    pos: Any,
    rules: Any,
    loss: Any,
    prob: Any,
    grad: Any,
    bounds: Any,
    scale: Any,
    smooth: Any,
) -> None:
    """Write what :func:`clipped_block` does, with one logarithm an element for hard labels."""
    if loss is None or smooth is not None:
        clipped_block(p, y, w, mask, pos, rules, loss, prob, grad, bounds, scale, None)
    elif is_hard_block(y, mask, rules[0]):
        clipped_block(p, y, w, mask, pos, rules, loss, prob, grad, bounds, scale, True)
    else:
        clipped_block(p, y, w, mask, pos, rules, loss, prob, grad, bounds, scale, None)


@kernel
def clipped_run(thread: Any, first: Any, arrays: Any, options: Any) -> None:
    """Clipped loss, probability and gradient of each element."""
    p, y, w, mask, loss, prob, grad = arrays
    scale, bounds, bad_labels, bad_scores, rules, pos, spaces = options
    check_unit(y, y, w, mask, rules[0], bad_labels)
    check_unit(p, y, w, mask, rules[0], bad_scores)
    count(p, y, w, mask, rules[0], bounds, rules[4], rules[5], thread)
    step = step_of(spaces, most_of(pos, p.size) if loss is None else LANES)
    for s in range(0, p.size, step):
        e = min(s + step, p.size)
        values = stage(loss, spaces, thread, 0, s, e)
        slopes = stage(grad, spaces, thread, 1, s, e)
        shares = stage(prob, spaces, thread, 2, s, e)
        column = column_of(pos, first + s)
        given = (cut(w, s, e), cut(mask, s, e), cut(pos, column, column + e - s), rules[:5])
        wanted = (values, shares, slopes)
        clipped_losses(cut(p, s, e), cut(y, s, e), *given, *wanted, bounds, scale, rules[1])
        flush(loss, spaces, thread, 0, s, e, 0, p.size)
        flush(grad, spaces, thread, 1, s, e, 0, p.size)
        flush(prob, spaces, thread, 2, s, e, 0, p.size)
    fence(spaces)


def _lanes_strip(p, labels, smooth, options, results, place, lanes):
    """Write the arrays of a strip, and add its losses up in the lanes.

    A product of probabilities needs one logarithm for 32 of them; soft labels and a tiny eps need
    one each. Whether labels are soft comes out of the product pass itself.
    """
    y, _, mask, _ = labels
    rules, bounds, scale = options
    prob, grad = results
    thread, spaces, _ = place
    running, linear, products = lanes
    n, step = p.size, step_of(spaces, LANES)
    soft = True
    if smooth is None:
        # Most soft strips show it at once. In place nothing can be done over: look at all.
        sure = n if grad is True or prob is True else min(PEEK, n)
        hard = is_hard_block(cut(y, 0, sure), cut(mask, 0, sure), rules[0])
        soft = bounds[0] < PRODUCT_EPS or not hard
        if not soft:
            for i in range(running.size):
                running[i] = 1.0
            found = 0
            for s in range(0, n, step):
                e = min(s + step, n)
                a = s % LANES
                g = stage(grad, spaces, thread, 0, s, e)
                shares = stage(prob, spaces, thread, 1, s, e)
                given = (cut(p, s, e), cut(y, s, e), cut(mask, s, e), rules, bounds, scale)
                found |= clipped_product_block(*given, cut(running, a, a + e - s), shares, g)
                flush(grad, spaces, thread, 0, s, e, 0, n)
                flush(prob, spaces, thread, 1, s, e, 0, n)
            log_products_block(running)
            soft = found != 0
    if soft:
        clear(linear)
        clear(products)
        for s in range(0, n, step):
            e = min(s + step, n)
            a = s % LANES
            b = a + e - s
            g = stage(grad, spaces, thread, 0, s, e)
            shares = stage(prob, spaces, thread, 1, s, e)
            given = (cut(p, s, e), cut(y, s, e), cut(mask, s, e), rules, bounds, scale)
            clipped_soft_block(*given, cut(linear, a, b), cut(products, a, b), shares, g)
            flush(grad, spaces, thread, 0, s, e, 0, n)
            flush(prob, spaces, thread, 1, s, e, 0, n)
        softplus_lanes_block(linear, products, running)


def _losses_strip(p, labels, smooth, options, results, place, lanes):
    """Do the same for losses that are weighted or limited, which are added up one by one."""
    y, w, mask, pos = labels
    rules, bounds, scale = options
    prob, grad = results
    thread, spaces, first = place
    running, values, _ = lanes
    n, step = p.size, step_of(spaces, LANES)
    clear(running)
    for s in range(0, n, step):
        e = min(s + step, n)
        a = s % LANES
        losses, g = cut(values, 0, e - s), stage(grad, spaces, thread, 0, s, e)
        shares = stage(prob, spaces, thread, 1, s, e)
        column = column_of(pos, first + s)
        given = (cut(w, s, e), cut(mask, s, e), cut(pos, column, column + e - s), rules)
        wanted = (losses, shares, g, bounds, scale, smooth)
        clipped_losses(cut(p, s, e), cut(y, s, e), *given, *wanted)
        add_block(losses, cut(running, a, a + e - s))
        flush(grad, spaces, thread, 0, s, e, 0, n)
        flush(prob, spaces, thread, 1, s, e, 0, n)


def _strip(
    p: Any, labels: Any, smooth: Any, options: Any, results: Any, place: Any, lanes: Any
) -> None:
    """Write the arrays of a strip, and add its losses up in the lanes, in one way or the other."""
    chosen = _way_of(labels, options[0], None)
    chosen(p, labels, smooth, options, results, place, lanes)


def _way_of(labels: Any, rules: Any, nothing: Any) -> Any:
    """Return the way for losses that are neither weighted nor limited, or for others."""
    _, w, _, pos = labels
    return _lanes_strip if w is pos is rules[3] is nothing else _losses_strip


# By the types: a branch for what is absent would be compiled where it is not.
@overload(_strip, jit_options=INNER)
def _strip_overload(p, labels, smooth, options, results, place, lanes):
    return _way_of(labels, options[0], types.none)


@kernel
def clipped_sum_run(thread: Any, first: Any, arrays: Any, options: Any) -> float:
    """All but losses; the sum of the losses of each `span` elements goes to `partials`.

    Returns the sum of all.
    """
    p, y, w, mask, _, prob, grad = arrays
    scale, bounds, bad_labels, bad_scores, rules, pos, spaces, partials, span, work, lanes = options
    total = 0.0
    for s in range(0, p.size, STRIP):
        e = min(s + STRIP, p.size)
        scores, given = cut(p, s, e), (cut(y, s, e), cut(w, s, e), cut(mask, s, e))
        check_unit(given[0], *given, rules[0], bad_labels)
        check_unit(scores, *given, rules[0], bad_scores)
        count(scores, *given, rules[0], bounds, rules[4], rules[5], thread)
        place, mine = (thread, spaces, first + s), lanes_of(work, lanes, thread, e - s)
        results = (cut(prob, s, e), cut(grad, s, e))
        parameters = (rules[:5], bounds, scale)
        _strip(scores, (*given, pos), rules[1], parameters, results, place, mine)
        found = tree_sum(mine[0])
        partials[(first + s) // span] += found
        total += found
    fence(spaces)
    return total


@kernel
def clipped_rows_run(thread: Any, first: Any, arrays: Any, options: Any) -> None:
    """Clipped loss as means over rows of `outputs` elements, some rows at a time, and gradient."""
    p, y, w, mask, _, prob, grad = arrays
    scale, bounds, bad_labels, bad_scores, rules, pos, spaces, loss, outputs, rows, work = options
    for s in range(0, p.size, rows * outputs):
        e = min(s + rows * outputs, p.size)
        values = work[thread, : e - s]
        results = (cut(prob, s, e), cut(grad, s, e))
        part = (cut(p, s, e), cut(y, s, e), cut(w, s, e), cut(mask, s, e), values, *results)
        parameters = (scale, bounds, bad_labels, bad_scores, rules, pos, spaces)
        clipped_run(thread, first + s, part, parameters)
        row_means_block(values, outputs, cut(loss, (first + s) // outputs, (first + e) // outputs))
