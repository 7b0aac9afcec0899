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

from .compile import inner as block
from .compile import kernel, point
from .exp_log import fma, like
from .logits import logits_block
from .reductions import add_block, tree_sum
from .results import APART
from .vectors import (
    TILE_COLUMNS,
    WIDTHS,
    add,
    load,
    minus,
    splat,
    sums,
    tile_add,
    tile_step,
    tile_zero,
    vector_fma,
)

# How an element of `X` is moved before it is used: not at all, by the center of its place along the
# vector (a row of `X`, whose elements lie along it), or by one number for the whole vector (a
# column). The products of a column 10^9 standard deviations from 0 would lose what it tells.
SHIFTS = ("none", "along", "whole")


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


def _dots_step(width: int, shift: str) -> Any:
    load_some, element = load[width], _shifted(width, shift)

    @point
    def step(x, places, centers, other, i, one, totals):
        v = load_some(other, i, one)
        return (
            vector_fma(element(x, places[0], centers, 0, i, one), v, totals[0]),
            vector_fma(element(x, places[1], centers, 1, i, one), v, totals[1]),
            vector_fma(element(x, places[2], centers, 2, i, one), v, totals[2]),
            vector_fma(element(x, places[3], centers, 3, i, one), v, totals[3]),
        )

    return step


def _combine_step(width: int, shift: str) -> Any:
    add_some, element = add[width], _shifted(width, shift)

    @point
    def step(x, places, centers, factors, out, i, one, zero):
        total = vector_fma(element(x, places[0], centers, 0, i, one), factors[0], zero)
        total = vector_fma(element(x, places[1], centers, 1, i, one), factors[1], total)
        total = vector_fma(element(x, places[2], centers, 2, i, one), factors[2], total)
        total = vector_fma(element(x, places[3], centers, 3, i, one), factors[3], total)
        add_some(out, i, total)

    return step


def _dots_of(shift: str) -> Any:
    step16, step8, step4, step2, step1 = (_dots_step(width, shift) for width in WIDTHS)

    @point
    def dots(x, places, centers, other):
        one = like(other[0], 1)
        n = other.size
        zero = splat(like(other[0], 0))
        totals = (zero, zero, zero, zero)
        i = 0
        if isinstance(one, np.float32):
            for i in range(0, n - 15, 16):
                totals = step16(x, places, centers, other, i, one, totals)
            i = n // 16 * 16
            if n & 8:
                totals = step8(x, places, centers, other, i, one, totals)
                i += 8
        else:
            for i in range(0, n - 7, 8):
                totals = step8(x, places, centers, other, i, one, totals)
            i = n // 8 * 8
        if n & 4:
            totals = step4(x, places, centers, other, i, one, totals)
            i += 4
        if n & 2:
            totals = step2(x, places, centers, other, i, one, totals)
            i += 2
        if n & 1:
            totals = step1(x, places, centers, other, i, one, totals)
        return sums(totals[0], totals[1], totals[2], totals[3])

    return dots


def _combine_of(shift: str) -> Any:
    step16, step8, step4, step2, step1 = (_combine_step(width, shift) for width in WIDTHS)

    @point
    def combine(x, places, centers, p, q, r, s, out, n):
        one = like(p, 1)
        zero = splat(like(p, 0))
        factors = (splat(p), splat(q), splat(r), splat(s))
        if isinstance(one, np.float32):
            for i in range(0, n - 15, 16):
                step16(x, places, centers, factors, out, i, one, zero)
            i = n // 16 * 16
            if n & 8:
                step8(x, places, centers, factors, out, i, one, zero)
                i += 8
        else:
            for i in range(0, n - 7, 8):
                step8(x, places, centers, factors, out, i, one, zero)
            i = n // 8 * 8
        if n & 4:
            step4(x, places, centers, factors, out, i, one, zero)
            i += 4
        if n & 2:
            step2(x, places, centers, factors, out, i, one, zero)
            i += 2
        if n & 1:
            step1(x, places, centers, factors, out, i, one, zero)

    return combine


# Dot products of a vector with the parts of `x` that start at four places, and four parts of `x`
# times a factor each, added to `out`; both after the shift.
dots, dots_along, dots_whole = (_dots_of(shift) for shift in SHIFTS)
combine, combine_along, combine_whole = (_combine_of(shift) for shift in SHIFTS)


@block
def row_logits_block(x: Any, lead: Any, frame: Any, coef: Any, intercept: Any, z: Any) -> None:
    """Write the logits of rows."""
    m = z.size
    last = (m - 1) * lead
    for i in range(0, m, 4):
        # Behind the last row it is read again: its result does not depend on its place.
        a = i * lead
        places = (a, min(a + lead, last), min(a + 2 * lead, last), min(a + 3 * lead, last))
        if frame is None:
            values = dots(x, places, None, coef)
        else:
            values = dots_along(x, places, frame[0], coef)
        z[i] = values[0] + intercept
        z[min(i + 1, m - 1)] = values[1] + intercept
        z[min(i + 2, m - 1)] = values[2] + intercept
        z[min(i + 3, m - 1)] = values[3] + intercept


@block
def row_gradient_block(x: Any, lead: Any, frame: Any, r: Any, gradient: Any) -> None:
    """Add each row times its residual to the gradient, four rows at a time."""
    m, n = r.size, gradient.size
    whole = m // 4 * 4
    for i in range(0, whole, 4):
        a = i * lead
        places = (a, a + lead, a + 2 * lead, a + 3 * lead)
        if frame is None:
            combine(x, places, None, r[i], r[i + 1], r[i + 2], r[i + 3], gradient, n)
        else:
            combine_along(x, places, frame[0], r[i], r[i + 1], r[i + 2], r[i + 3], gradient, n)
    for i in range(whole, m):
        row = x[i * lead : i * lead + n]
        for j in range(row.size):
            value = like(r[i], row[j])
            if frame is not None:
                value -= frame[0, j]
            gradient[j] += np.float64(value * r[i])


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
def column_logits_block(x: Any, lead: Any, frame: Any, coef: Any, intercept: Any, z: Any) -> None:
    """Write the logits of the rows at the start of the columns."""
    m = z.size
    z[:] = intercept
    whole = coef.size // 4 * 4
    for j in range(0, whole, 4):
        a = j * lead
        places = (a, a + lead, a + 2 * lead, a + 3 * lead)
        if frame is None:
            combine(x, places, None, coef[j], coef[j + 1], coef[j + 2], coef[j + 3], z, m)
        else:
            four = _four(frame[0], j, coef.size - 1)
            combine_whole(x, places, four, coef[j], coef[j + 1], coef[j + 2], coef[j + 3], z, m)
    for j in range(whole, coef.size):
        column = x[j * lead : j * lead + m]
        factor = coef[j]
        for i in range(column.size):
            value = like(factor, column[i])
            if frame is not None:
                value -= frame[0, j]
            z[i] = fma(value, factor, z[i])


@block
def column_gradient_block(x: Any, lead: Any, frame: Any, r: Any, gradient: Any) -> None:
    """Add each column's product with the residuals to the gradient."""
    n = gradient.size
    last = (n - 1) * lead
    for j in range(0, n, 4):
        a = j * lead
        places = (a, min(a + lead, last), min(a + 2 * lead, last), min(a + 3 * lead, last))
        if frame is None:
            values = dots(x, places, None, r)
        else:
            values = dots_whole(x, places, _four(frame[0], j, n - 1), r)
        for k in range(min(4, n - j)):
            gradient[j + k] += np.float64(values[k])


# --- Gram matrix of weighted rows ----------------------------------------------------------------


@block
def pack_rows_block(x: Any, lead: Any, frame: Any, columns: Any, count: Any, rows: Any) -> None:
    """Copy `count` rows to `rows`.

    That has a stride of whole vectors; the elements behind a row are 0 and stay so. With a frame
    (centers and factors) the elements are moved and scaled before they are rounded to its type.
    """
    stride = rows.size // count
    for i in range(count):
        target = rows[i * stride : i * stride + columns]
        source = x[i * lead : i * lead + columns]
        if frame is None:
            for j in range(target.size):
                target[j] = source[j]
        else:
            center, factor = frame[0, :columns], frame[1, :columns]
            for j in range(target.size):
                target[j] = (source[j] - center[j]) * factor[j]


@block
def pack_columns_block(x: Any, lead: Any, frame: Any, columns: Any, count: Any, rows: Any) -> None:
    """Do the same for `X` by columns."""
    stride = rows.size // count
    for j in range(columns):
        source = x[j * lead : j * lead + count]
        if frame is None:
            for i in range(source.size):
                rows[i * stride + j] = source[i]
        else:
            center, factor = frame[0, j], frame[1, j]
            for i in range(source.size):
                rows[i * stride + j] = (source[i] - center) * factor


@block
def scale_block(rows: Any, q: Any, scaled: Any, total: Any) -> None:
    """Write each row times its factor, and the sums of these rows to `total`."""
    stride = rows.size // q.size
    total[:] = 0
    for i in range(q.size):
        target, source = scaled[i * stride : (i + 1) * stride], rows[i * stride : (i + 1) * stride]
        factor = like(source[0], q[i])
        for j in range(target.size):
            value = factor * source[j]
            target[j] = value
            total[j] += value


@block
def gram_block(rows: Any, scaled: Any, count: Any, columns: Any, gram: Any) -> None:
    """Add the products of the columns of `scaled` and `rows` to `gram`, upper triangle at least.

    Rows have a stride of whole vectors, as in `gram`, which has whole tiles.

    A strip of the rows, one vector wide, stays in the first-level cache for all tiles above and on
    the diagonal.
    """
    one = like(rows[0], 1)
    width = 16 if isinstance(one, np.float32) else 8
    stride = rows.size // count
    for k in range(0, columns, width):
        for j in range(0, min(k + width, columns), TILE_COLUMNS):
            tile = tile_zero(one)
            for i in range(0, count * stride, stride):
                tile = tile_step(rows, i + k, scaled, i + j, tile)
            tile_add(gram, j * stride + k, stride, tile)


# --- the pass ------------------------------------------------------------------------------------


@block
def square_block(values: Any, w: Any) -> None:
    """Square the values and multiply them by the weights."""
    for i in range(values.size):
        square = values[i] * values[i]
        values[i] = square if w is None else square * like(square, w[i])


@block
def linear_pass(
    index: Any,
    first: Any,
    y: Any,
    w: Any,
    x: Any,
    lead: Any,
    by_column: Any,
    frame: Any,
    coef: Any,
    intercept: Any,
    span: Any,
    totals: Any,
    gram: Any,
    gram_span: Any,
    meat: Any,
    work: Any,
    lanes: Any,
    packed: Any,
) -> None:
    """Write the sums of each `span` rows to their row of `totals`.

    They are the loss, the residuals' sum and the gradient. Where `gram` is an array, the Gram
    matrix of the rows weighted with the Hessian (with `meat`, with their squared residuals) is
    added to its part for each `gram_span` rows: a row that begins with the sum of the weights, one
    of the sums of weighted rows, and the matrix. With a frame, whose rows are centers and factors,
    the centers are taken off the elements of `X` everywhere, and the factors scale the Gram matrix.
    `work`, `lanes` and `packed` are scratch space.
    """
    step = work.shape[2] - APART
    given, more = (None, None, (None, None)), (None, None, None)  # no options of the loss
    for s in range(0, y.size, span):
        into = totals[(first + s) // span]
        into[:] = 0.0
        gradient = into[2 : 2 + coef.size]
        losses, residuals = lanes[index, 0, :step], lanes[index, 1, :step]
        curvatures = lanes[index, 2, :step]
        losses[:] = 0.0
        residuals[:] = 0.0
        curvatures[:] = 0.0
        end = min(s + span, y.size)
        for start in range(s, end, step):
            stop = min(start + step, end)
            m = stop - start
            z, r = work[index, 0, :m], work[index, 1, :m]
            loss, q = work[index, 2, :m], work[index, 3, :m]
            if by_column is None:
                rows = x[(first + start) * lead :]
                row_logits_block(rows, lead, frame, coef, intercept, z)
            else:
                rows = x[first + start :]
                column_logits_block(rows, lead, frame, coef, intercept, z)
            hess = None if gram is None else q
            one = like(intercept, 1)
            labels = y[start:stop]
            if w is None:
                logits_block(z, labels, None, *given, loss, None, r, hess, one, *more)
            else:
                logits_block(z, labels, w[start:stop], *given, loss, None, r, hess, one, *more)
            add_block(loss, losses)
            add_block(r, residuals)
            if by_column is None:
                row_gradient_block(rows, lead, frame, r, gradient)
            else:
                column_gradient_block(rows, lead, frame, r, gradient)
            if gram is not None:
                if meat is not None:
                    # A weight of 2 is two rows, each with its own square.
                    logits_block(z, labels, None, *given, None, None, q, None, one, *more)
                    if w is None:
                        square_block(q, None)
                    else:
                        square_block(q, w[start:stop])
                add_block(q, curvatures)
                stride = packed.shape[2] // (step + 1)
                plain, scaled = packed[index, 0, : m * stride], packed[index, 1, : m * stride]
                total = packed[index, 1, step * stride :]
                if by_column is None:
                    pack_rows_block(rows, lead, frame, coef.size, m, plain)
                else:
                    pack_columns_block(rows, lead, frame, coef.size, m, plain)
                scale_block(plain, q, scaled, total)
                matrix = gram[(first + start) // gram_span]
                for j in range(stride):
                    matrix[stride + j] += np.float64(total[j])
                gram_block(plain, scaled, m, coef.size, matrix[2 * stride :])
        if gram is not None:
            gram[(first + s) // gram_span, 0] += tree_sum(curvatures)
        into[0] = tree_sum(losses)
        into[1] = tree_sum(residuals)


@kernel
def linear_run(thread: Any, first: Any, arrays: Any, options: Any) -> None:
    """Run :func:`linear_pass`: its branches for what is absent are pruned for plain arguments."""
    y, w = arrays
    x, lead, by_column, frame, coef, intercept, span, totals = options[:8]
    gram, gram_span, meat, work, lanes, packed = options[8:]
    linear_pass(
        thread,
        first,
        y,
        w,
        x,
        lead,
        by_column,
        frame,
        coef,
        intercept,
        span,
        totals,
        gram,
        gram_span,
        meat,
        work,
        lanes,
        packed,
    )
