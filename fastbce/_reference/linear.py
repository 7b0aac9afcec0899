"""The linear pass in NumPy, one formula after another: the oracle and the ``"numpy"`` backend.

It has the signature of :mod:`fastbce._engine.linear`, and works on some thousand rows at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbce._linear_options import Frame, Gram
from fastbce._typing import Array

ROWS_ELEMENTS = 1 << 18


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
    """Return the sums over all rows of the loss, its gradient and, if asked for, a Gram matrix.

    The intercept comes first in the gradient and in the matrix, which is the sum of
    ``v (1, x) (1, x)^T`` with ``v = w s (1 - s)`` for ``gram.of == "hessian"`` and
    ``v = w (s - y)^2`` for ``"squared residuals"``, where ``s = sigmoid(x @ coef + b)``. With a
    frame, x stands for ``x - frame.center`` everywhere, times ``frame.factor`` in the matrix.
    """
    n, columns = X.shape
    loss, slope = 0.0, np.zeros(columns + 1)
    matrix = None if gram is None else np.zeros((columns + 1, columns + 1))
    step = max(ROWS_ELEMENTS // (columns + 1), 1)
    for start in range(0, n, step):
        rows = X[start : start + step].astype(dtype)
        y = y_true[start : start + step].astype(dtype)
        w = dtype.type(1) if weight is None else weight[start : start + step].astype(dtype)
        with np.errstate(all="ignore"):
            if frame is not None:
                rows -= frame.center.astype(dtype)
            z = rows @ coef.astype(dtype) + dtype.type(intercept)
            e = np.exp(-np.abs(z))
            wrong = np.where(z >= 0, 1 - y, y)
            values = w * (np.where(wrong == 0, 0, np.abs(z) * wrong) + np.log1p(e))
            share = (1 - y) * np.where(z >= 0, 1, e) - y * np.where(z >= 0, e, 1)
            residuals = share / (1 + e)
            loss += float(np.sum(values, dtype=np.float64))
            slope[0] += np.sum(w * residuals, dtype=np.float64)
            slope[1:] += (w * residuals) @ rows
            if matrix is not None and gram is not None:
                # A weight of 2 is two rows, each with its own square.
                factors = w * (e / (1 + e) ** 2 if gram.of == "hessian" else residuals**2)
                if frame is not None:
                    rows *= frame.factor.astype(dtype)
                full = np.column_stack([np.ones_like(y), rows])
                matrix += (full.T * factors) @ full
    # BLAS may round the two halves apart.
    return loss, slope, None if matrix is None else (matrix + matrix.T) / 2
