"""Samples in a sparse matrix: loss, gradient and Hessian from the elements that are not 0.

Whatever else is asked of them, once in a fit, sees dense chunks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from scipy import sparse

from fastbce.functional import bce_with_logits_loss_gradient_hessian

from .samples import LEAST_THINNING, Memory, add, part_size

if TYPE_CHECKING:
    from fastbce._inputs import Array
    from fastbce._linear_options import Gram

T = TypeVar("T")

# Elements of a dense chunk, 32 MiB of float64.
CHUNK_ELEMENTS = 1 << 22


class SparseRows(Memory):
    """See :class:`fastbce.linear_model.samples.Rows`; `X` is a matrix of SciPy in rows."""

    X: Any

    def reduce(
        self,
        function: Callable[[Array, Array, Array | None], T],
        combine: Callable[[T, T], T] = add,
    ) -> T:
        """Return the results of all dense chunks, combined in their order."""
        step = max(CHUNK_ELEMENTS // max(self.columns, 1), 1)
        parts = [slice(start, start + step) for start in range(0, self.n, step)]
        return reduce(combine, (function(*self._dense(part)) for part in parts))

    def _dense(self, part: slice) -> tuple[Array, Array, Array | None]:
        weight = None if self.weight is None else self.weight[part]
        return self.X[part].toarray(), self.y[part], weight

    def part(self) -> Memory | None:
        """Return every k-th sample, dense, or None where there are few anyway."""
        every = self.n // part_size(self.columns)
        return self.thinned(every) if every >= LEAST_THINNING else None

    def thinned(self, every: int) -> Memory:
        """Return every so many-th sample, dense."""
        return Memory(*map(_contiguous, self._dense(slice(None, None, every))))

    def root_mean_squares(self) -> Array:
        """Return the root of the mean square of each column."""
        squares = np.square(self.X.data, dtype=np.float64)
        return np.sqrt(np.bincount(self.X.indices, squares, self.columns) / self.n)

    def sums(
        self, coef: Array, intercept: float, gram: Gram | None, *, plain: bool
    ) -> tuple[float, Array, Array | None]:
        """Return the sums of loss, gradient and Hessian, as the linear pass does."""
        z = self.X @ coef + intercept
        loss, slope, curve = bce_with_logits_loss_gradient_hessian(
            z, self.y, sample_weight=None if plain else self.weight, reduction="sum"
        )
        gradient = np.concatenate([[slope.sum()], self.X.T @ slope])
        if gram is None:
            return float(loss), gradient, None
        X = self.X
        factors = np.repeat(curve, np.diff(X.indptr))
        weighted = sparse.csr_array((X.data * factors, X.indices, X.indptr), X.shape)
        matrix = np.empty((gradient.size, gradient.size))
        matrix[0, 0] = curve.sum()
        matrix[0, 1:] = matrix[1:, 0] = X.T @ curve
        matrix[1:, 1:] = (weighted.T @ sparse.csr_array(X)).toarray()
        return float(loss), gradient, matrix


def _contiguous(array: Any) -> Any:
    return None if array is None else np.ascontiguousarray(array)


def rows_of(X: Any, y: Array, weight: Array | None, offset: Array | None) -> Memory:
    """Return samples in memory, dense or sparse.

    Raises
    ------
    ValueError
        If there is an offset for a sparse matrix.
    """
    if not sparse.issparse(X):
        return Memory(X, y, weight, offset)
    if offset is not None:
        raise ValueError("a sparse X has no offset; pass X.toarray()")
    return SparseRows(X, y, weight)
