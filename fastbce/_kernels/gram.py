"""The Gram matrix of weighted rows: a block of rows is packed, scaled and multiplied in tiles."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compile import inner as block
from .compile import point
from .exp_log import like
from .vectors import TILE_COLUMNS, tile_add, tile_step, tile_zero


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


@block
def square_block(values: Any, w: Any) -> None:
    """Square the values and multiply them by the weights."""
    for i in range(values.size):
        square = values[i] * values[i]
        values[i] = square if w is None else square * like(square, w[i])


@point
def add_gram(
    x: Any,
    lead: Any,
    by_column: Any,
    frame: Any,
    columns: Any,
    q: Any,
    packed: Any,
    grams: Any,
    place: Any,
) -> None:
    """Add the products of the rows, weighted with `q`, to a matrix of `grams`, if there are any.

    Their sums go to its second row. `place` has the thread, the matrix and the most rows that a
    block has; `packed` is each thread's scratch space: two times so many rows, and one more each.
    """
    if grams is not None:
        thread, part, most = place
        count = q.size
        stride = packed.shape[2] // (most + 1)
        plain, scaled = packed[thread, 0, : count * stride], packed[thread, 1, : count * stride]
        total = packed[thread, 1, most * stride :]
        if by_column is None:
            pack_rows_block(x, lead, frame, columns, count, plain)
        else:
            pack_columns_block(x, lead, frame, columns, count, plain)
        scale_block(plain, q, scaled, total)
        gram = grams[part]
        for j in range(stride):
            gram[stride + j] += np.float64(total[j])
        gram_block(plain, scaled, count, columns, gram[2 * stride :])
