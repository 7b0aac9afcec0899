"""Inverses of Hessians: quickly where that is accurate, and as finely as float64 allows elsewhere.

A Gram matrix holds the squares of what the columns hold: of columns that agree in 8 digits, as a
year and its square do, it keeps nothing of the rest. Such a matrix still tells the directions. The
samples are multiplied by those (:meth:`Objective.projected`), and their Gram matrix is near the
identity, with all digits: a Cholesky factorisation done twice (CholeskyQR2; Yamamoto, Nakatsukasa,
Yanagisawa and Fukaya, ETNA 44, 2015) is as accurate as a QR factorisation of the samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg

if TYPE_CHECKING:
    from fastbce._inputs import Array

    from .objective import Objective

EPS = float(np.finfo(np.float64).eps)
# Reciprocal condition number of a matrix with a unit diagonal above which its inverse is accurate
# to 1e-7.
GOOD = 1e-8
# A direction along which columns cancel to less than this, relative to their size, counts as
# none: of what is left of it, rounding is 1e-6 and more.
FLAT = 1e-9
# Columns of float32 that agree but for its rounding, 6e-8, tell nothing beyond each other.
FLAT_FLOAT32 = 5e-7
# Rounds of multiplying out: each gains some 6 digits of the directions.
ROUNDS = 4


class Inverse:
    """The inverse of a matrix, as ``root @ root.T``, and the directions that this does not feel.

    Parameters
    ----------
    null : ndarray
        Those directions, in rows; the inverse has no part in them.
    root : ndarray, optional
        Square root of the inverse; by default from `lower` and `factor`.
    lower : ndarray, optional
        Cholesky factor of the matrix whose rows and columns are multiplied by `factor`.
    factor : ndarray, optional
        Factors that give the matrix a diagonal of ones.
    good : bool, default False
        Whether the elements are accurate to 1e-7.
    """

    def __init__(
        self,
        null: Array,
        *,
        root: Array | None = None,
        lower: Array | None = None,
        factor: Array | None = None,
        good: bool = False,
    ) -> None:
        self.null, self.good = null, good
        self._root, self._lower, self._factor = root, lower, factor

    @property
    def root(self) -> Array:
        """Square root of the inverse, a column for each direction."""
        if self._root is None:
            inverse, _ = linalg.lapack.dtrtri(self._lower, lower=1)
            self._root = np.asarray(self._factor)[:, None] * np.tril(inverse).T
        return self._root

    def __call__(self, vector: Array) -> Array:
        """Return the inverse times a vector."""
        if self._lower is not None and self._factor is not None:
            solved = linalg.cho_solve((self._lower, True), self._factor * vector)
            return np.asarray(self._factor * solved)
        return np.asarray(self.root @ (self.root.T @ vector))


def _unit_diagonal(hessian: Array) -> tuple[Array, Array]:
    """Return the matrix with a diagonal of ones, and the factors that made it."""
    diagonal = np.diag(hessian)
    factor = 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    return hessian * factor[:, None] * factor, factor


def _least(size: int, eps: float = EPS) -> float:
    """Return the share of an element of a matrix with a unit diagonal that is rounding."""
    return 100 * size * eps


def inverse_of(hessian: Array, eps: float = EPS) -> Inverse:
    """Return the inverse of a positive semi-definite matrix; null directions have no part in it.

    `eps` is the relative error of the elements.
    """
    size = len(hessian)
    scaled, factor = _unit_diagonal(hessian)
    try:
        lower = linalg.cholesky(scaled, lower=True)
        # A pivot is 1 minus the share of a column that those before it explain.
        if np.min(np.diag(lower), initial=1.0) ** 2 > _least(size, eps):
            norm = float(np.max(np.sum(np.abs(scaled), axis=0), initial=1.0))
            condition, _ = linalg.lapack.dpocon(lower, norm, uplo="L")
            good = bool(condition > GOOD)
            return Inverse(np.empty((0, size)), lower=lower, factor=factor, good=good)
    except linalg.LinAlgError:
        pass
    values, vectors = linalg.eigh(scaled)
    kept = values > max(1.0, values[-1]) * _least(size, eps)
    root = factor[:, None] * vectors[:, kept] / np.sqrt(values[kept])
    return Inverse((vectors[:, ~kept] * factor[:, None]).T, root=root)


@np.errstate(all="ignore")
def refined(objective: Objective, theta: Array, hessian: Array) -> Inverse:
    """Return the inverse as accurately as the samples allow; see the top of this file."""
    size = len(theta)
    scaled, factor = _unit_diagonal(hessian)
    values, vectors = linalg.eigh(scaled)
    floor = _least(size)
    longest = 1 / (FLAT if objective.rows.dtype == np.float64 else FLAT_FLOAT32)
    largest = values[-1] if values[-1] > 0 else 1.0
    basis = factor[:, None] * vectors / np.sqrt(np.maximum(values, floor * largest))
    null = np.empty((0, size))
    for _ in range(ROUNDS):
        gram = objective.projected(theta, basis) + basis.T @ objective.penalise(basis.T).T
        values, vectors = linalg.eigh(gram / objective.rows.total)
        largest = values[-1] if values[-1] > 0 else 1.0
        basis = basis @ (vectors / np.sqrt(np.maximum(values, floor * largest)))
        flat = np.linalg.norm(basis / factor[:, None], axis=0) > longest
        null = np.vstack([null, basis[:, flat].T])
        basis = basis[:, ~flat]
        if not basis.shape[1] or (not flat.any() and values[0] > 1e-3 * largest):
            break
    lengths = np.linalg.norm(null / factor, axis=1)
    return Inverse(null / lengths[:, None], root=basis, good=True)
