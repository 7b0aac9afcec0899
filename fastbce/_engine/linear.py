"""The ``"numba"`` backend of the linear pass: the layouts of `X`, spans of rows, scratch space."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fastbce._kernels import linear as k
from fastbce._kernels.linear import GRADIENT
from fastbce._kernels.results import APART, LINE
from fastbce._kernels.vectors import BYTES, TILE_COLUMNS
from fastbce._linear_options import Frame, Gram
from fastbce._threads import get_num_threads
from fastbce._typing import Array

from .calls import threads_for
from .operands import ArrayInterface, Operand
from .team import COMPILED, team_of
from .workers import crew

__all__ = ["COMPILED", "linear"]

# Bytes of X in a block of rows: it is read twice, the second time from the second-level cache,
# which holds the next one too.
BLOCK_BYTES = 1 << 17
MIN_ROWS, MAX_ROWS = 16, 1024
# Where the Gram matrix is wanted too, a block has fewer rows: copies of it stay in the first-level
# cache (500,000 x 128 float32 on one thread: 90 ms instead of 125).
GRAM_ROWS = 64
# Where they are wide, more rows for each addition to the matrix, which the second-level cache does
# not hold.
WIDE_GRAM, WIDE_GRAM_ROWS = 256, 128
# Columns of a Fortran-ordered X are read in runs of at least so many rows: a page.
MIN_COLUMN_RUN = 1024
# Sums of spans that are kept until the end, in float64 elements: 1 MiB.
MAX_TOTALS = 1 << 17
MAX_SPANS = 256
# Partial Gram matrices, one for each thread that works on it: at most 512 MiB of them, where there
# are so many columns that this is more than the least.
MAX_GRAMS, LEAST_GRAMS, MAX_GRAM_ELEMENTS = 8, 2, 1 << 26
# Multiply-adds that a thread must have to pay for its hand-over, 10-15 us.
MIN_PER_THREAD = 1 << 16
# Elements of X that one kernel call covers for each thread, 10-30 ms: how long Ctrl-C waits.
PIECE = 1 << 26
# Elements of X that are converted at a time where the kernel cannot read it in place.
CONVERTED = 1 << 17

_team = team_of(k.linear_run)


def linear(
    X: Array,
    y_true: Array,
    weight: Array | None,
    coef: Array,
    intercept: float,
    dtype: np.dtype[Any],
    gram: Gram | None = None,
    frame: Frame | None = None,
) -> tuple[float, Array, Array | None]:
    """See :func:`fastbce._reference.linear.linear`."""
    if y_true.dtype == np.bool_:
        y_true = y_true.view(np.uint8)
    n, columns = X.shape
    given = (weight, coef, *(frame or ()))
    sizes = [None if array is None else array.size for array in given]
    if y_true.size != n or sizes != [None if weight is None else n, *[columns] * (len(given) - 1)]:
        # What follows turns arrays into addresses: never with sizes that do not match.
        raise ValueError(
            f"X has shape {X.shape}, but there are {y_true.size} labels, and weights, "
            f"coefficients, centers and factors of sizes {sizes}"
        )
    coef = np.ascontiguousarray(coef, dtype)
    moved = None if frame is None else np.ascontiguousarray([frame.center, frame.factor], dtype)
    options: tuple[Any, ...] = (coef, dtype.type(intercept), gram, moved)
    y, w = _operand(y_true, None), None if weight is None else _operand(weight, dtype)
    memory = _memory(X)
    if memory is not None and y.flat is not None and (w is None or w.flat is not None):
        return _run(memory, y.flat, None if w is None else w.flat, *options)
    wanted = X.dtype.newbyteorder("=")
    if wanted not in (np.float32, np.float64):
        wanted = np.dtype(np.float32 if wanted == np.float16 else np.float64)
    loss, slope = 0.0, np.zeros(columns + 1)
    matrix = None if gram is None else np.zeros((columns + 1, columns + 1))
    rows = max(CONVERTED // max(columns, 1), MIN_ROWS)
    for start in range(0, n, rows):
        stop = min(start + rows, n)
        part = np.ascontiguousarray(X[start:stop], wanted)
        weights = None if w is None else w.piece(start, stop)
        some = _run(
            Memory(part.reshape(-1), columns, None), y.piece(start, stop), weights, *options
        )
        loss += some[0]
        slope += some[1]
        if matrix is not None:
            matrix += some[2]
    return loss, slope, matrix


def _operand(array: Array, dtype: np.dtype[Any] | None) -> Operand:
    native = array.dtype.newbyteorder("=")
    wanted = dtype or (np.dtype(np.float32) if native == np.float16 else native)
    return Operand(array, wanted)


class Memory(NamedTuple):
    """`X` as its memory: element (i, j) is ``flat[i * lead + j]``, or transposed by columns."""

    flat: Array
    lead: int
    by_column: bool | None  # True or None, which prunes branches


def _memory(X: Array) -> Memory | None:
    """Return the memory of `X`.

    None where neither the rows nor the columns are runs of native floats.
    """
    if X.dtype not in (np.float32, np.float64) or not X.flags.aligned:
        return None
    (n, columns), (down, across), size = X.shape, X.strides, X.itemsize
    if X.size == 0:
        return Memory(np.empty(0, X.dtype), 0, None)
    by_column: bool | None
    if (across == size or columns == 1) and (n == 1 or (down % size == 0 and down > 0)):
        lead, length, by_column = down // size if n > 1 else columns, n, None
        run = columns
    elif (down == size or n == 1) and across % size == 0 and across > 0:
        lead, length, by_column = across // size, columns, True
        run = n
    else:
        return None
    total = (length - 1) * lead + run
    flat = np.lib.stride_tricks.as_strided(X, (total,), (size,))
    if not flat.flags.writeable:
        flat = np.asarray(ArrayInterface(flat))
    return Memory(flat, lead, by_column)


def _rows_of_a_block(columns: int, itemsize: int, by_column: bool | None, gram: bool) -> int:
    if gram and by_column is None:
        return GRAM_ROWS if columns < WIDE_GRAM else WIDE_GRAM_ROWS
    rows = BLOCK_BYTES // (max(columns, 1) * itemsize)
    if by_column is not None:
        rows = max(rows, MIN_COLUMN_RUN)
    return max(MIN_ROWS, min(rows, MAX_ROWS if by_column is None else 2 * MAX_ROWS)) // 16 * 16


def _assembled(found: Array, columns: int) -> Array:
    """Return the Gram matrix of the rows after a 1, from what :func:`linear_run` added up."""
    matrix = np.empty((columns + 1, columns + 1))
    matrix[0, 0] = found[0, 0]
    matrix[0, 1:] = found[1, :columns]
    upper = np.triu(found[2 : columns + 2, :columns])
    matrix[1:, 1:] = upper + np.triu(upper, 1).T
    matrix[1:, 0] = matrix[0, 1:]
    return matrix


def _from_a_line(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return a new array that begins with a line of the cache."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    array: Array = memory[start : start + size].view(dtype).reshape(shape)
    return array


def _run(
    memory: Memory,
    y: Array,
    w: Array | None,
    coef: Array,
    intercept: Any,
    gram: Gram | None,
    frame: Array | None,
) -> tuple[float, Array, Array | None]:
    """Run the pass over X in memory; the partition into spans depends on its shape alone."""
    x, lead, by_column = memory
    n, columns = y.size, coef.size
    rows = _rows_of_a_block(columns, x.itemsize, by_column, gram is not None)
    spans = max(16, min(MAX_SPANS, MAX_TOTALS // (columns + 2)))
    span = rows * -(-n // (rows * spans))
    # Gradients begin with a line and so do their vectors, which are read and written again at once:
    # across two lines that takes twice the time for 16 columns.
    width = GRADIENT + -(-columns // GRADIENT) * GRADIENT
    totals = _from_a_line((-(-n // span), width), np.float64)
    grams, gram_span, stride = None, 1, 0
    unit = span
    if gram is not None:
        lanes = BYTES // gram.dtype.itemsize
        # Rows an even number of lines apart would share few sets of the cache.
        stride = (-(-columns // lanes) | 1) * lanes
        most = max(LEAST_GRAMS, min(MAX_GRAMS, MAX_GRAM_ELEMENTS // (columns + 1) ** 2))
        unit = gram_span = span * -(-len(totals) // most)
        height = 2 + -(-columns // TILE_COLUMNS) * TILE_COLUMNS
        grams = np.zeros((-(-n // gram_span), height * stride))

    most = min(get_num_threads(), -(-n // unit))
    threads = threads_for(n * (columns + 8), MIN_PER_THREAD, most)
    work = _from_a_line((threads, 6, rows + APART), coef.dtype)
    lanes_of_sums = _from_a_line((threads, 4, rows + APART), np.float64)
    packed = None if gram is None else np.zeros((threads, 2, (rows + 1) * stride), gram.dtype)
    grain = unit * max(1, n // (unit * 8 * threads))
    piece = max(PIECE * threads // (max(columns, 1) * grain), 1) * grain
    for start in range(0, n, piece):
        stop = min(start + piece, n)
        part = x[start * lead :] if by_column is None else x[start:]
        arrays = (y[start:stop], None if w is None else w[start:stop])
        options = (
            part,
            lead,
            by_column,
            frame,
            coef,
            intercept,
            span,
            totals[start // span :],
            None if grams is None else grams[start // gram_span :],
            gram_span,
            True if gram is not None and gram.of == "squared residuals" else None,
            work,
            lanes_of_sums,
            packed,
        )
        if threads == 1:
            # Without the team, which takes long to compile.
            k.linear_run(0, 0, arrays, options)
        else:
            _team(arrays, options, stop - start, grain, crew(threads), threads)
    # One after the other, in the order of the spans.
    sums = totals.cumsum(axis=0)[-1]
    matrix = None
    if grams is not None:
        matrix = _assembled(grams.cumsum(axis=0)[-1].reshape(-1, stride), columns)
    return float(sums[GRADIENT - 2]), sums[GRADIENT - 1 : GRADIENT + columns], matrix
