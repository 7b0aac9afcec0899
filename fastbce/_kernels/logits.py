"""Loss of logits, gradient, Hessian and probabilities."""

from __future__ import annotations

from typing import Any

from .compile import inner as block
from .compile import kernel, point
from .exp_log import exp_point, fma, like, log_point
from .focal import focal_curvature_point, focal_loss_point, focal_slope_point, focus_point
from .labels import (
    both_sides_point,
    check_unit,
    column_of,
    count,
    kept_point,
    most_of,
    only_point,
    sides_point,
)
from .reductions import (
    LANES,
    STRIP,
    TERMS,
    add_logarithms,
    add_losses,
    clear,
    lanes_of,
    row_means_block,
    sums_of,
    tree_sum,
)
from .results import cut, fence, flush, into, stage, step_of
from .sigmoid import sigmoid_of_exp_point


@point
def wrong_side_point(z: Any, positive: Any, a: Any, b: Any) -> Any:
    """Return max(z, 0) b - min(z, 0) a: |z| times what the label weighs on the wrong side.

    Nothing cancels, and a right label at an infinite logit costs 0 instead of inf - inf.
    """
    wrong = b if positive else a
    return like(z, 0) if wrong == 0 else abs(z) * wrong


@point
def shares_point(positive: Any, e: Any, d: Any) -> Any:
    """Return the sigmoid of x, that of -x and the smaller one; `e` is exp(-|x|) and `d` 1 + e.

    As in :func:`fastbce._kernels.sigmoid.sigmoid_point`: e / (1 + e) alone is 1 ULP worse.
    """
    q = e / d
    small, large = fma(-e, q, e), like(e, 1) - q
    right, left = (large, small) if positive else (small, large)
    return right, left, small


@block
def logits_block(
    z: Any,
    y: Any,
    w: Any,
    mask: Any,
    pos: Any,
    rules: Any,
    loss: Any,
    prob: Any,
    grad: Any,
    hess: Any,
    scale: Any,
    linear: Any,
    products: Any,
    focus: Any,
) -> None:
    """Loss of logits (an element each, or added to the lanes), probabilities, derivatives.

    The loss is :func:`wrong_side_point` plus log(1 + e): no two terms cancel. A lane holds the mean
    of the first, since their sum may overflow, and P, the product of the 1 + e minus 1:
    P' = P + e (1 + P) keeps the tiny e that 1 + e would lose. An element that does not count has
    e = 0 and no sides, and so no loss and no derivatives. With `focus`, the two weights of the
    labels and gamma, it is the focal loss.
    """
    losses, slopes, curvatures = into(loss, z), into(grad, z), into(hess, z)
    shares = into(prob, z)
    for i in range(z.size):
        x = z[i]
        one = like(x, 1)
        kept = kept_point(i, y, w, mask, rules[0])
        a, b = sides_point(i, like(x, y[i]), rules[1], pos)
        a, b = only_point(kept, a), only_point(kept, b)
        whole, e_low = exp_point(-abs(x))
        e = only_point(kept, whole)
        positive = x >= 0
        d = one + e
        d_low = e - (d - one)
        if loss is not None:
            value = both_sides_point(log_point(d, d_low), a, b, pos)
            value = wrong_side_point(x, positive, a, b) + value
            if focus is not None:
                factor, _ = focus_point(x, a, b, e, log_point(d, d_low), focus)
                value = focal_loss_point(value, only_point(kept, factor))
            losses[i] = value if w is None else value * like(x, w[i])
        if linear is not None:
            linear[i] = fma(wrong_side_point(x, positive, a, b), like(x, 1 / TERMS), linear[i])
            products[i] = fma(e, one + products[i], products[i])
        if prob is not None:
            shares[i] = sigmoid_of_exp_point(x, whole, e_low)
        if grad is not None:
            weight = like(x, scale)
            if w is not None:
                weight *= like(x, w[i])
            right, left, small = shares_point(positive, e, d)
            slope = fma(-a, left, b * right)
            curvature = both_sides_point(fma(-small, small, small), a, b, pos)
            if focus is not None:
                log_d = log_point(d, d_low)
                factor, ratio = focus_point(x, a, b, e, log_d, focus)
                # The ratio is 0 before the loss is infinite.
                plain = wrong_side_point(x, positive, a, b) + log_d
                pull = like(x, 0) if ratio == 0 else plain * ratio
                weight *= only_point(kept, factor)
                if hess is not None:
                    curvature = focal_curvature_point(
                        curvature, slope, pull, ratio, left - right, b - a, focus[2]
                    )
                slope = focal_slope_point(slope, pull, b - a, focus[2])
            slopes[i] = slope * weight
            if hess is not None:
                curvatures[i] = curvature * weight


@kernel
def logits_run(thread: Any, first: Any, arrays: Any, options: Any) -> None:
    """Loss of logits, probability, gradient and Hessian of each element."""
    z, y, w, mask, loss, prob, grad, hess = arrays
    scale, bad_labels, rules, pos, spaces = options
    check_unit(y, y, w, mask, rules[0], bad_labels)
    count(z, y, w, mask, rules[0], None, None, rules[3], thread)
    step = step_of(spaces, most_of(pos, z.size))
    for s in range(0, z.size, step):
        e = min(s + step, z.size)
        values = stage(loss, spaces, thread, 0, s, e)
        slopes = stage(grad, spaces, thread, 1, s, e)
        curvatures = stage(hess, spaces, thread, 2, s, e)
        shares = stage(prob, spaces, thread, 3, s, e)
        column = column_of(pos, first + s)
        given = (cut(w, s, e), cut(mask, s, e), cut(pos, column, column + e - s), rules[:2])
        wanted = (values, shares, slopes, curvatures)
        logits_block(cut(z, s, e), cut(y, s, e), *given, *wanted, scale, None, None, rules[2])
        flush(loss, spaces, thread, 0, s, e, 0, z.size)
        flush(grad, spaces, thread, 1, s, e, 0, z.size)
        flush(hess, spaces, thread, 2, s, e, 0, z.size)
        flush(prob, spaces, thread, 3, s, e, 0, z.size)
    fence(spaces)


@kernel
def logits_sum_run(thread: Any, first: Any, arrays: Any, options: Any) -> float:
    """All but losses; the sum of the losses of each `span` elements goes to `partials`.

    Returns the sum of all.
    """
    z, y, w, mask, _, prob, grad, hess = arrays
    scale, bad_labels, rules, pos, spaces, partials, span, work, lanes = options
    focus, step, total = rules[2], step_of(spaces, LANES), 0.0
    for start in range(0, z.size, STRIP):
        stop = min(start + STRIP, z.size)
        strip = (cut(y, start, stop), cut(w, start, stop), cut(mask, start, stop))
        check_unit(strip[0], *strip, rules[0], bad_labels)
        count(cut(z, start, stop), *strip, rules[0], None, None, rules[3], thread)
        running, linear, products = lanes_of(work, lanes, thread, stop - start)
        clear(running)
        clear(linear)
        clear(products)
        for s in range(start, stop, step):
            e = min(s + step, stop)
            a = s % LANES
            b = a + e - s
            g = stage(grad, spaces, thread, 0, s, e)
            h = stage(hess, spaces, thread, 1, s, e)
            p = stage(prob, spaces, thread, 2, s, e)
            column = column_of(pos, first + s)
            given = (cut(w, s, e), cut(mask, s, e), cut(pos, column, column + e - s), rules[:2])
            own = (cut(linear, 0, e - s), cut(linear, a, b), cut(products, a, b))
            losses, linears, factors = sums_of(w, pos, focus, *own)
            wanted = (losses, p, g, h, scale, linears, factors, focus)
            logits_block(cut(z, s, e), cut(y, s, e), *given, *wanted)
            add_losses(losses, cut(running, a, b))
            flush(grad, spaces, thread, 0, s, e, start, stop)
            flush(hess, spaces, thread, 1, s, e, start, stop)
            flush(prob, spaces, thread, 2, s, e, start, stop)
        add_logarithms(w, pos, focus, linear, products, running)
        found = tree_sum(running)
        partials[(first + start) // span] += found
        total += found
    fence(spaces)
    return total


@kernel
def logits_rows_run(thread: Any, first: Any, arrays: Any, options: Any) -> None:
    """Loss as means over rows of `outputs` elements, some rows at a time, and all else."""
    z, y, w, mask, _, prob, grad, hess = arrays
    scale, bad_labels, rules, pos, spaces, loss, outputs, rows, work = options
    for s in range(0, z.size, rows * outputs):
        e = min(s + rows * outputs, z.size)
        values = work[thread, : e - s]
        results = (cut(prob, s, e), cut(grad, s, e), cut(hess, s, e))
        part = (cut(z, s, e), cut(y, s, e), cut(w, s, e), cut(mask, s, e), values, *results)
        logits_run(thread, first + s, part, (scale, bad_labels, rules, pos, spaces))
        row_means_block(values, outputs, cut(loss, (first + s) // outputs, (first + e) // outputs))
