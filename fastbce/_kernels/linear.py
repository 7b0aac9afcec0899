"""The compiled functions of the linear pass: logits ``X @ coef``, loss, gradient and Gram matrix.

A block of rows that stays in the cache gives its logits, then the loss and the residuals, then the
gradient from the same rows: `X` comes from memory once. ``dots`` and ``combine`` serve both layouts
of `X`: by rows the logits are dot products and the gradient a combination of rows, by columns the
other way round. The mathematics of an element is :func:`fastbce._kernels.logits.logits_block`.

`X` is handed over as its memory: element (i, j) is ``x[i * lead + j]`` by rows, and
``x[j * lead + i]`` by columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from .compile import INNER, kernel, long_point, point
from .compile import inner as block
from .exp_log import fma, like
from .gram import add_gram, square_block
from .logits import logits_block
from .reductions import TERMS, add_block, clear, softplus_lanes_block, sums_of, tree_sum
from .results import APART, cut
from .vectors import (
    WIDTHS,
    add,
    load,
    minus,
    prefetch,
    splat,
    store_sums,
    sums,
    vector_fma,
)

# How an element of `X` is moved before it is used: not at all, by the center of its place along the
# vector (a row of `X`, whose elements lie along it), or by one number for the whole vector (a
# column). The products of a column 10^9 standard deviations from 0 would lose what it tells.
SHIFTS = ("none", "along", "whole")

# Columns of rows whose sums of lanes weigh: eight rows at a time take 6 % less of the pass for 32
# columns of float32, 10 % for 12, and 5 to 20 % more for 128.
SHORT_ROW = 64

# Where the gradient begins among the sums of a span: with a line. The last two before it are the
# loss and the sum of the residuals.
GRADIENT = 8

# Bytes of a block, at most, for which the next one is asked for.
MOST_AHEAD = 1 << 18


def _shifted(width: int, shift: str) -> Any:
    load_some = load[width]
    if shift == "none":

        @point
        def element(x, place, centers, which, i, one):
            return load_some(x, place + i, one)

    elif shift == "along":

        @point
        def element(x, place, centers, which, i, one):
            return minus(load_some(x, place + i, one), load_some(centers, i, one))

    else:

        @point
        def element(x, place, centers, which, i, one):
            return minus(load_some(x, place + i, one), centers[which])

    return element


def _whose(shift: str) -> tuple[int, int, int, int]:
    """Return the places of four centers; 0 throughout where a function for each has no use."""
    return (0, 1, 2, 3) if shift == "whole" else (0, 0, 0, 0)


def _dots_step(width: int, shift: str) -> Any:
    load_some, element = load[width], _shifted(width, shift)
    a, b, c, d = _whose(shift)

    @point
    def step(x, places, centers, other, ahead, i, one, totals):
        prefetch(x, places[0] + i, ahead)
        prefetch(x, places[1] + i, ahead)
        v = load_some(other, i, one)
        return (
            vector_fma(element(x, places[0], centers, a, i, one), v, totals[0]),
            vector_fma(element(x, places[1], centers, b, i, one), v, totals[1]),
            vector_fma(element(x, places[2], centers, c, i, one), v, totals[2]),
            vector_fma(element(x, places[3], centers, d, i, one), v, totals[3]),
        )

    return step


def _combine_step(width: int, shift: str) -> Any:
    add_some, element = add[width], _shifted(width, shift)
    a, b, c, d = _whose(shift)

    @point
    def step(x, places, centers, factors, ahead, out, i, one):
        prefetch(x, places[2] + i, ahead)
        prefetch(x, places[3] + i, ahead)
        zero = splat(like(one, 0))
        total = vector_fma(element(x, places[0], centers, a, i, one), factors[0], zero)
        total = vector_fma(element(x, places[1], centers, b, i, one), factors[1], total)
        total = vector_fma(element(x, places[2], centers, c, i, one), factors[2], total)
        total = vector_fma(element(x, places[3], centers, d, i, one), factors[3], total)
        add_some(out, i, total)

    return step


def _dots_of(shift: str) -> Any:
    step16, step8, step4, step2, step1 = (_dots_step(width, shift) for width in WIDTHS)

    @long_point
    def partial_dots(x, places, centers, other, ahead):
        one = like(other[0], 1)
        n = other.size
        zero = splat(like(other[0], 0))
        totals = (zero, zero, zero, zero)
        i = 0
        if isinstance(one, np.float32):
            for i in range(0, n - 15, 16):
                totals = step16(x, places, centers, other, ahead, i, one, totals)
            i = n // 16 * 16
            if n & 8:
                totals = step8(x, places, centers, other, ahead, i, one, totals)
                i += 8
        else:
            for i in range(0, n - 7, 8):
                totals = step8(x, places, centers, other, ahead, i, one, totals)
            i = n // 8 * 8
        if n & 4:
            totals = step4(x, places, centers, other, ahead, i, one, totals)
            i += 4
        if n & 2:
            totals = step2(x, places, centers, other, ahead, i, one, totals)
            i += 2
        if n & 1:
            totals = step1(x, places, centers, other, ahead, i, one, totals)
        return totals

    @long_point
    def dots(x, places, centers, other, ahead):
        totals = partial_dots(x, places, centers, other, ahead)
        return sums(totals[0], totals[1], totals[2], totals[3])

    return partial_dots, dots


def _combine_of(shift: str) -> Any:
    step16, step8, step4, step2, step1 = (_combine_step(width, shift) for width in WIDTHS)

    @long_point
    def combine(x, places, centers, factors, ahead, out, one, n):
        if isinstance(one, np.float32):
            for i in range(0, n - 15, 16):
                step16(x, places, centers, factors, ahead, out, i, one)
            i = n // 16 * 16
            if n & 8:
                step8(x, places, centers, factors, ahead, out, i, one)
                i += 8
        else:
            for i in range(0, n - 7, 8):
                step8(x, places, centers, factors, ahead, out, i, one)
            i = n // 8 * 8
        if n & 4:
            step4(x, places, centers, factors, ahead, out, i, one)
            i += 4
        if n & 2:
            step2(x, places, centers, factors, ahead, out, i, one)
            i += 2
        if n & 1:
            step1(x, places, centers, factors, ahead, out, i, one)

    return combine


# Products of a vector with the parts of `x` that start at four places, in lanes and as their sums,
# and four parts of `x` times a factor each, added to `out`; all after the shift.
(partial_dots, dots), (partial_dots_along, dots_along), (_, dots_whole) = map(_dots_of, SHIFTS)
combine, combine_along, combine_whole = map(_combine_of, SHIFTS)


@point
def _splats(factors, i):
    """Return vectors of four factors."""
    return splat(factors[i]), splat(factors[i + 1]), splat(factors[i + 2]), splat(factors[i + 3])


@point
def _places(a, step):
    """Return the first of four places, `step` elements apart."""
    return a, a + step, a + 2 * step, a + 3 * step


@point
def _four(center: Any, j: Any, last: Any) -> Any:
    """Return vectors of the centers of four columns; behind the last one it is repeated."""
    return (
        splat(center[min(j, last)]),
        splat(center[min(j + 1, last)]),
        splat(center[min(j + 2, last)]),
        splat(center[min(j + 3, last)]),
    )


@block
def linear_logits_block(
    x: Any, lead: Any, ahead: Any, by_column: Any, frame: Any, coef: Any, intercept: Any, z: Any
) -> None:
    """Write the logits of the rows at the start of `x`.

    By rows, ask for two of each four that lie `ahead` elements further on, line by line as these
    are read. The gradient asks for the other two, so that the next block comes from memory during
    both.
    """
    m = z.size
    if by_column is None:
        last = (m - 1) * lead
        # The sums of the lanes of eight rows are one vector. Long rows have few sums, and eight of
        # them at a time are slower.
        whole = m // 8 * 8 if coef.size <= SHORT_ROW else 0
        for i in range(0, whole, 8):
            a, b = i * lead, (i + 4) * lead
            if frame is None:
                first = partial_dots(x, _places(a, lead), None, coef, ahead)
                second = partial_dots(x, _places(b, lead), None, coef, ahead)
            else:
                first = partial_dots_along(x, _places(a, lead), frame[0], coef, ahead)
                second = partial_dots_along(x, _places(b, lead), frame[0], coef, ahead)
            store_sums(z, i, first, second, intercept)
        for i in range(whole, m, 4):
            # Behind the last row it is read again: its result does not depend on its place.
            a = i * lead
            places = (a, min(a + lead, last), min(a + 2 * lead, last), min(a + 3 * lead, last))
            if frame is None:
                values = dots(x, places, None, coef, ahead)
            else:
                values = dots_along(x, places, frame[0], coef, ahead)
            z[i] = values[0] + intercept
            z[min(i + 1, m - 1)] = values[1] + intercept
            z[min(i + 2, m - 1)] = values[2] + intercept
            z[min(i + 3, m - 1)] = values[3] + intercept
    else:
        one = like(intercept, 1)
        z[:] = intercept
        whole = coef.size // 4 * 4
        for j in range(0, whole, 4):
            a = j * lead
            places, factors = _places(a, lead), _splats(coef, j)
            if frame is None:
                combine(x, places, None, factors, None, z, one, m)
            else:
                four = _four(frame[0], j, coef.size - 1)
                combine_whole(x, places, four, factors, None, z, one, m)
        for j in range(whole, coef.size):
            column = x[j * lead : j * lead + m]
            factor = coef[j]
            for i in range(column.size):
                value = like(factor, column[i])
                if frame is not None:
                    value -= frame[0, j]
                z[i] = fma(value, factor, z[i])


@block
def linear_gradient_block(
    x: Any, lead: Any, ahead: Any, by_column: Any, frame: Any, r: Any, gradient: Any
) -> None:
    """Add the rows times their residuals to the gradient: four rows at a time, or four columns."""
    m, n = r.size, gradient.size
    if by_column is None:
        one = like(r[0], 1)
        whole = m // 4 * 4
        for i in range(0, whole, 4):
            places, factors = _places(i * lead, lead), _splats(r, i)
            if frame is None:
                combine(x, places, None, factors, ahead, gradient, one, n)
            else:
                combine_along(x, places, frame[0], factors, ahead, gradient, one, n)
        for i in range(whole, m):
            row = x[i * lead : i * lead + n]
            for j in range(row.size):
                value = like(r[i], row[j])
                if frame is not None:
                    value -= frame[0, j]
                gradient[j] += np.float64(value * r[i])
    else:
        last = (n - 1) * lead
        for j in range(0, n, 4):
            a = j * lead
            places = (a, min(a + lead, last), min(a + 2 * lead, last), min(a + 3 * lead, last))
            if frame is None:
                values = dots(x, places, None, r, None)
            else:
                values = dots_whole(x, places, _four(frame[0], j, n - 1), r, None)
            for k in range(min(4, n - j)):
                gradient[j + k] += np.float64(values[k])


@point
def _two_rows(scratch: Any, thread: Any, which: Any, size: Any) -> Any:
    """Return the first elements of two of a thread's rows."""
    return scratch[thread, which, :size], scratch[thread, which + 1, :size]


def _taken(wanted: Any, values: Any) -> Any:
    """Return the values where they are wanted, else None."""
    return None if wanted is None else values


# By the types, as in :func:`fastbce._kernels.reductions.sums_of`.
@overload(_taken, jit_options=INNER)
def _taken_overload(wanted, values):
    if wanted is types.none:
        return lambda wanted, values: None
    return lambda wanted, values: values


@point
def _add_losses(w: Any, loss: Any, scratch: Any, is_due: Any) -> None:
    """Add the losses of a block to their lanes.

    Without weights it added a term to each lane of `scratch`, and a lane takes one logarithm for
    TERMS of them, when it is due.
    """
    losses, linear, products, logarithms = scratch
    if w is not None:
        add_block(loss, losses)
    elif is_due:
        softplus_lanes_block(linear, products, logarithms)
        add_block(logarithms, losses)
        clear(linear)
        clear(products)


@point
def _add_curvatures(gram: Any, q: Any, lanes: Any) -> None:
    if gram is not None:
        add_block(q, lanes)


@point
def _add_total(gram: Any, part: Any, lanes: Any) -> None:
    if gram is not None:
        gram[part, 0] += tree_sum(lanes)


@point
def _square_residuals(meat: Any, z: Any, y: Any, w: Any, q: Any) -> None:
    """Write the squared residuals over the Hessian, where they are what the matrix weighs."""
    if meat is not None:
        # A weight of 2 is two rows, each with its own square.
        given, sums = (None, None, (None, None)), (None, None, None)
        logits_block(z, y, None, *given, None, None, q, None, like(q[0], 1), *sums)
        square_block(q, w)


@kernel
def linear_run(thread: Any, first: Any, arrays: Any, options: Any) -> None:
    """Write the sums of each `span` rows to their row of `totals`.

    They are the loss, the residuals' sum and the gradient (see `GRADIENT`). Where `gram` is an
    array, the Gram matrix of the rows weighted with the Hessian (with `meat`, with their squared
    residuals) is added to its part for each `gram_span` rows: a row that begins with the sum of the
    weights, one of the sums of weighted rows, and the matrix. With a frame, whose rows are centers
    and factors, the centers are taken off the elements of `X` everywhere, and the factors scale the
    Gram matrix.
    `work`, `lanes` and `packed` are scratch space.

    What is absent is for the functions called here to tell: Numba leaves out the branches of a
    function for arguments that are None, and not for members of a tuple. A function around all of
    this, with plain arguments, took a third more of the compilation.
    """
    y, w = arrays
    x, lead, by_column, frame, coef, intercept, span, totals = options[:8]
    gram, gram_span, meat, work, lanes, packed = options[8:]
    step = work.shape[2] - APART
    # Products of long rows would push it out of the cache before it is used.
    ahead = step * lead if step * coef.size * x.itemsize <= MOST_AHEAD else 0
    # Parts are cut off whole rows of scratch space: to slice those anew each time is much code.
    losses, residuals = _two_rows(lanes, thread, 0, step)
    curvatures, logarithms = _two_rows(lanes, thread, 2, step)
    logits, slopes = _two_rows(work, thread, 0, step)
    values, weighed = _two_rows(work, thread, 2, step)
    linear, products = _two_rows(work, thread, 4, step)
    one = like(intercept, 1)
    given = (None, None, (None, None))  # no options of the loss
    for s in range(0, y.size, span):
        into = totals[(first + s) // span]
        clear(into)
        gradient = into[GRADIENT : GRADIENT + coef.size]
        clear(losses)
        clear(linear)
        clear(products)
        clear(residuals)
        clear(curvatures)
        end = min(s + span, y.size)
        for start in range(s, end, step):
            stop = min(start + step, end)
            m = stop - start
            place = first + start
            rows = cut(x, place if by_column else place * lead, x.size)
            z, r = cut(logits, 0, m), cut(slopes, 0, m)
            loss, q = cut(values, 0, m), cut(weighed, 0, m)
            labels, weights = cut(y, start, stop), cut(w, start, stop)
            linear_logits_block(rows, lead, ahead, by_column, frame, coef, intercept, z)
            result, a, b = sums_of(w, None, None, loss, cut(linear, 0, m), cut(products, 0, m))
            wanted = (result, None, r, _taken(gram, q))
            logits_block(z, labels, weights, *given, *wanted, one, a, b, None)
            is_due = (start - s) // step % TERMS == TERMS - 1 or stop == end
            _add_losses(w, loss, (losses, linear, products, logarithms), is_due)
            add_block(r, residuals)
            linear_gradient_block(rows, lead, ahead, by_column, frame, r, gradient)
            _square_residuals(meat, z, labels, weights, q)
            _add_curvatures(gram, q, curvatures)
            part = (thread, place // gram_span, step)
            add_gram(rows, lead, by_column, frame, coef.size, q, packed, gram, part)
        _add_total(gram, (first + s) // gram_span, curvatures)
        into[GRADIENT - 2] = tree_sum(losses)
        into[GRADIENT - 1] = tree_sum(residuals)
