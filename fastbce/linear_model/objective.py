"""The penalised mean loss of samples as a function of the parameters, in its coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbce._linear_options import Frame, Gram
from fastbce.linear import linear_backend

from .coordinates import Coordinates, coordinates_of, parts

if TYPE_CHECKING:
    from fastbce._inputs import Array

    from .samples import Rows

FLOAT64 = np.dtype(np.float64)

Sums = tuple[float, "Array", "Array | None"]


@dataclass
class Objective:
    """Minus the log-likelihood plus ``(t - m)^T P (t - m) / 2``, divided by the sum of weights.

    Everything is in `coordinates`: ``t``, the precision ``P`` (a vector stands for a diagonal) and
    its center ``m``. Coefficients, losses and gradients are float64 whatever `X` is; for a float32
    `X` the Hessian is float32 at first, in half the time: it sets the step, not the solution.
    """

    rows: Rows
    coordinates: Coordinates
    precision: Array
    center: Array
    gram_dtype: np.dtype[Any] = FLOAT64
    # Whether Hessians that look singular are taken apart more finely (see `curvature`).
    refine: bool = False

    def __call__(self, theta: Array, *, hessian: bool = False) -> Sums:
        """Return value, gradient and, if asked for, Hessian."""
        gram = Gram("hessian", self.gram_dtype) if hessian else None
        value, slope, matrix = self.sums(theta, gram)
        offset = theta - self.center
        pull = self.penalise(offset)
        value += 0.5 * float(offset @ pull)
        total = self.rows.total
        if matrix is not None:
            matrix += np.diag(self.precision) if self.precision.ndim == 1 else self.precision
            matrix /= total
        return value / total, (slope + pull) / total, matrix

    def penalise(self, direction: Array) -> Array:
        """Return P times directions, the last axis of the array."""
        if self.precision.ndim == 1:
            return direction * self.precision
        return direction @ self.precision

    def sums(self, theta: Array, gram: Gram | None = None, *, weighted: bool = True) -> Sums:
        """Return the sums of loss, gradient and Gram matrix without penalty."""
        intercept, coef = self.coordinates.split(theta)
        frame, scale = self.coordinates.frame, self.coordinates.scale
        value, slope, matrix = self.rows.reduce(
            partial(
                _sums, coef=coef, intercept=intercept, gram=gram, frame=frame, weighted=weighted
            )
        )
        with np.errstate(all="ignore"):
            slope[1:] /= scale
            if matrix is not None and frame is None:
                matrix[1:] /= scale[:, None]
                matrix[:, 1:] /= scale
        if not self.coordinates.intercept:
            slope = slope[1:]
            matrix = None if matrix is None else matrix[1:, 1:]
        return value, slope, matrix

    def projected(self, theta: Array, basis: Array, of: str = "hessian") -> Array:
        """Return the Gram matrix of the samples along directions, the columns of `basis`.

        The samples are multiplied by the directions first, so that what cancels in a product does
        so before squares are taken. Plain NumPy: for the few fits that need it.
        """
        return self.rows.reduce(
            partial(_projected, coordinates=self.coordinates, theta=theta, basis=basis, of=of)
        )[0]


def likelihood_of(rows: Rows, *, intercept: bool = True) -> Objective:
    """Return the objective without a penalty."""
    coordinates = coordinates_of(rows, intercept)
    none = np.zeros(coordinates.size)
    return Objective(rows, coordinates, none, none)


def _sums(
    X: Array,
    y: Array,
    weight: Array | None,
    coef: Array,
    intercept: float,
    gram: Gram | None,
    frame: Frame | None,
    *,
    weighted: bool,
) -> Sums:
    """Return what :meth:`Objective.sums` does, of one chunk."""
    result: Sums = linear_backend().linear(
        X, y, weight if weighted else None, coef, intercept, FLOAT64, gram, frame
    )
    return result


@np.errstate(all="ignore")
def _projected(
    X: Array,
    y: Array,
    weight: Array | None,
    coordinates: Coordinates,
    theta: Array,
    basis: Array,
    of: str,
) -> tuple[Array]:
    """Return what :meth:`Objective.projected` does, of one chunk."""
    total = np.zeros((basis.shape[1],) * 2)
    for part in parts(X):
        design = coordinates.design(X[part])
        z = design @ theta
        e = np.exp(-np.abs(z))
        if of == "hessian":
            factor = e / (1 + e) ** 2
        else:
            positive = y[part] > 0
            # Minus the residual of the label's own side: no difference of two ones.
            factor = (np.where((z >= 0) == positive, e, 1.0) / (1 + e)) ** 2
        if weight is not None:
            factor *= weight[part]
        along = design @ basis
        total += (along.T * factor) @ along
    return (total,)
