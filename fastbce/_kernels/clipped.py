"""Loss and gradient of predicted probabilities, which are clipped to bounds off 0 and 1."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compile import kernel as block
from .compile import point
from .exp_log import fma, like, log_point
from .reductions import (
    LANES,
    STRIP,
    TERMS,
    add_block,
    check_unit,
    is_hard_block,
    lanes_of,
    log_products_block,
    row_means_block,
    softplus_lanes_block,
    tree_sum,
)
from .results import cut, fence, flush, into, stage, step_of

PRODUCT_EPS = 1e-9  # that many factors of at least this do not underflow float64
PEEK = 64  # labels looked at before a strip is taken to be hard


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
def soft_loss_point(c: Any, y: Any) -> Any:
    """Return -(y log(c) + (1 - y) log(1 - c)); an absent share costs 0."""
    return y * hard_loss_point(c, True) + (like(c, 1) - y) * hard_loss_point(c, False)


@point
def clipped_slope_point(c: Any, y: Any) -> Any:
    """Return the derivative of the clipped loss, with one division instead of two."""
    return (c - y) / (c * (like(c, 1) - c))


@block
def clipped_block(
    p: Any, y: Any, w: Any, loss: Any, grad: Any, bounds: Any, scale: Any, hard: Any
) -> None:
    """Clipped loss and gradient; `hard` is None where labels may be soft."""
    losses, slopes = into(loss, p), into(grad, p)
    for i in range(p.size):
        c = clip_point(p[i], bounds)
        t = like(c, y[i])
        if loss is not None:
            value = soft_loss_point(c, t) if hard is None else hard_loss_point(c, y[i] != 0)
            losses[i] = value if w is None else value * like(c, w[i])
        if grad is not None:
            slope = clipped_slope_point(c, t) * like(c, scale)
            slopes[i] = slope if w is None else slope * like(c, w[i])


@block
def clipped_product_block(p: Any, y: Any, bounds: Any, scale: Any, products: Any, grad: Any) -> Any:
    """Multiply each hard label's probability into its lane; tell whether a label was soft."""
    slopes = into(grad, p)
    soft = 0
    for i in range(p.size):
        c = clip_point(p[i], bounds)
        products[i] *= np.float64(c) if y[i] != 0 else 1.0 - np.float64(c)
        soft |= np.int32((y[i] != 0) & (y[i] != 1))
        if grad is not None:
            slopes[i] = clipped_slope_point(c, like(c, y[i])) * like(c, scale)
    return soft


@block
def clipped_soft_block(
    p: Any, y: Any, bounds: Any, scale: Any, linear: Any, products: Any, grad: Any
) -> None:
    """Add each label's loss, hard or soft, to its lane.

    With s, the smaller of c and 1 - c, and r = s / (1 - s), the loss is log(1 + r) less log(r)
    times the label's share of the smaller side: no two terms cancel, and lanes as in
    :func:`logits_block` take one logarithm an element where the formula has two.
    """
    slopes = into(grad, p)
    for i in range(p.size):
        c = clip_point(p[i], bounds)
        one = like(c, 1)
        t = like(c, y[i])
        low = c < like(c, 0.5)
        small = c if low else one - c
        r = small / (one - small)
        cost = -log_point(r, like(c, 0)) * (t if low else one - t)  # NaN comes in the product
        linear[i] = fma(cost, like(c, 1 / TERMS), linear[i])
        products[i] = fma(r, one + products[i], products[i])
        if grad is not None:
            slopes[i] = clipped_slope_point(c, t) * like(c, scale)


@point
def clipped_losses(p: Any, y: Any, w: Any, loss: Any, grad: Any, bounds: Any, scale: Any) -> None:
    """Clipped loss and gradient, with one logarithm per element where the labels are hard."""
    if loss is None:
        clipped_block(p, y, w, loss, grad, bounds, scale, None)
    elif is_hard_block(y):
        clipped_block(p, y, w, loss, grad, bounds, scale, True)
    else:
        clipped_block(p, y, w, loss, grad, bounds, scale, None)


@block
def clipped_run(thread: Any, first: Any, arrays: Any, options: Any) -> None:
    """Clipped loss and gradient of each element."""
    p, y, w, loss, grad = arrays
    bounds, scale, bad_labels, bad_scores, spaces = options
    check_unit(y, bad_labels)
    check_unit(p, bad_scores)
    step = step_of(spaces, p.size if loss is None else LANES)
    for s in range(0, p.size, step):
        e = min(s + step, p.size)
        values = stage(loss, spaces, thread, 0, s, e)
        slopes = stage(grad, spaces, thread, 1, s, e)
        clipped_losses(p[s:e], y[s:e], cut(w, s, e), values, slopes, bounds, scale)
        flush(loss, spaces, thread, 0, s, e, 0, p.size)
        flush(grad, spaces, thread, 1, s, e, 0, p.size)
    fence(spaces)


@block
def clipped_strip(
    p: Any, y: Any, w: Any, grad: Any, bounds: Any, scale: Any, place: Any, lanes: Any
) -> None:
    """Write the gradient of a strip, and add its losses up in the lanes.

    A product of probabilities needs one logarithm for 32 of them; soft labels and a tiny eps need
    one each, and weights one or two. Whether labels are soft comes out of the product pass itself.
    """
    thread, spaces = place
    running, linear, products = lanes
    n, step = p.size, step_of(spaces, LANES)
    if w is None:
        # Most soft strips show it at once. In place nothing can be done over: look at all.
        sure = n if grad is True else min(PEEK, n)
        soft = bounds[0] < PRODUCT_EPS or not is_hard_block(y[:sure])
        if not soft:
            running[:] = 1.0
            found = 0
            for s in range(0, n, step):
                e = min(s + step, n)
                a = s % LANES
                b = a + e - s
                g = stage(grad, spaces, thread, 0, s, e)
                found |= clipped_product_block(p[s:e], y[s:e], bounds, scale, running[a:b], g)
                flush(grad, spaces, thread, 0, s, e, 0, n)
            log_products_block(running)
            soft = found != 0
        if soft:
            linear[:] = 0
            products[:] = 0
            for s in range(0, n, step):
                e = min(s + step, n)
                a = s % LANES
                b = a + e - s
                g = stage(grad, spaces, thread, 0, s, e)
                clipped_soft_block(p[s:e], y[s:e], bounds, scale, linear[a:b], products[a:b], g)
                flush(grad, spaces, thread, 0, s, e, 0, n)
            softplus_lanes_block(linear, products, running)
    else:
        running[:] = 0.0
        for s in range(0, n, step):
            e = min(s + step, n)
            a = s % LANES
            values, g = linear[: e - s], stage(grad, spaces, thread, 0, s, e)
            clipped_losses(p[s:e], y[s:e], w[s:e], values, g, bounds, scale)
            add_block(values, running[a : a + e - s])
            flush(grad, spaces, thread, 0, s, e, 0, n)


@block
def clipped_sum_run(thread: Any, first: Any, arrays: Any, options: Any) -> None:
    """Clipped gradient; the sum of the losses of each `span` elements goes to `partials`."""
    p, y, w, _, grad = arrays
    bounds, scale, bad_labels, bad_scores, spaces, partials, span, work, lanes = options
    check_unit(y, bad_labels)
    check_unit(p, bad_scores)
    for s in range(0, p.size, STRIP):
        e = min(s + STRIP, p.size)
        weights, g, mine = cut(w, s, e), cut(grad, s, e), lanes_of(work, lanes, thread, e - s)
        clipped_strip(p[s:e], y[s:e], weights, g, bounds, scale, (thread, spaces), mine)
        partials[(first + s) // span] += tree_sum(mine[0])
    fence(spaces)


@block
def clipped_rows_run(thread: Any, first: Any, arrays: Any, options: Any) -> None:
    """Clipped loss as means over rows of `outputs` elements, some rows at a time, and gradient."""
    p, y, w, _, grad = arrays
    bounds, scale, bad_labels, bad_scores, spaces, loss, outputs, rows, work = options
    for s in range(0, p.size, rows * outputs):
        e = min(s + rows * outputs, p.size)
        values = work[thread, : e - s]
        part = (p[s:e], y[s:e], cut(w, s, e), values, cut(grad, s, e))
        clipped_run(thread, first, part, (bounds, scale, bad_labels, bad_scores, spaces))
        row_means_block(values, outputs, loss[(first + s) // outputs : (first + e) // outputs])
