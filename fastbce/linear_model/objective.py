"""The penalised mean loss of samples as a function of the parameters, in its coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbce._linear_options import Frame, Gram
from fastbce.linear import linear_backend

from .coordinates import Coordinates, coordinates_of, parts
from .samples import add
from .sparse import SparseRows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastbce._inputs import Array

    from .samples import Rows

FLOAT64 = np.dtype(np.float64)
HESSIAN = Gram("hessian", FLOAT64)
# Elements of X that are copied beside an offset at a time, 4 MiB.
OFFSET_ELEMENTS = 1 << 19

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

    def sums(self, theta: Array, gram: Gram | None = None, *, plain: bool = False) -> Sums:
        """Return the sums of loss, gradient and Gram matrix without penalty.

        Of `plain` rows, neither weights nor offsets count.
        """
        intercept, coef = self.coordinates.split(theta)
        frame, scale = self.coordinates.frame, self.coordinates.scale
        if isinstance(self.rows, SparseRows) and frame is None:
            value, slope, matrix = self.rows.sums(coef, intercept, gram, plain=plain)
        else:
            given: dict[str, Any] = {
                "coef": coef,
                "intercept": intercept,
                "gram": gram,
                "frame": frame,
            }
            if self.rows.offset is None or plain:
                function = partial(_sums, plain=plain, **given)
            else:
                function = partial(_sums_beside, offset=self.rows.offset, **given)
            value, slope, matrix = self.rows.reduce(function)
        with np.errstate(all="ignore"):
            slope[1:] /= scale
            if matrix is not None and frame is None:
                matrix[1:] /= scale[:, None]
                matrix[:, 1:] /= scale
        if not self.coordinates.intercept:
            slope = slope[1:]
            matrix = None if matrix is None else matrix[1:, 1:]
        return value, slope, matrix

    def projected(self, theta: Array, basis: Array) -> Array:
        """Return the Hessian of the samples along directions, the columns of `basis`.

        The samples are multiplied by the directions first, so that what cancels in a product does
        so before squares are taken. Plain NumPy: for the few fits that need it.
        """
        return self.rows.reduce(
            partial(
                _projected,
                coordinates=self.coordinates,
                theta=theta,
                basis=basis,
                offset=self.rows.offset,
            )
        )[0]

    def spread(self, basis: Array) -> Array:
        """Return the same where all probabilities are 1/2: a quarter of the squares' sums."""
        zero, coordinates = np.zeros(len(basis)), self.coordinates
        return self.rows.reduce(
            partial(_projected, coordinates=coordinates, theta=zero, basis=basis, offset=None)
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
    plain: bool,
) -> Sums:
    """Return what :meth:`Objective.sums` does, of one chunk."""
    weight = None if plain else weight
    result: Sums = linear_backend().linear(X, y, weight, coef, intercept, FLOAT64, gram, frame)
    return result


def _sums_beside(
    X: Array,
    y: Array,
    weight: Array | None,
    coef: Array,
    intercept: float,
    gram: Gram | None,
    frame: Frame | None,
    offset: Array,
) -> Sums:
    """Return the same with an offset, of one chunk."""
    linear = linear_backend().linear
    # The offset is one more column, with the coefficient 1, of some rows at a time.
    coef = np.append(coef, 1.0)
    if frame is not None:
        frame = Frame(np.append(frame.center, 0.0), np.append(frame.factor, 1.0))
    found = None
    for part in parts(X, OFFSET_ELEMENTS):
        rows = np.empty((len(X[part]), coef.size))
        rows[:, :-1] = X[part]
        rows[:, -1] = offset[part]
        some = None if weight is None else weight[part]
        value, slope, matrix = linear(rows, y[part], some, coef, intercept, FLOAT64, gram, frame)
        one: Sums = value, slope[:-1], None if matrix is None else matrix[:-1, :-1].copy()
        found = one if found is None else add(found, one)
    return found or (0.0, np.zeros(coef.size), None)


def designs(
    X: Array, coordinates: Coordinates, theta: Array, offset: Array | None
) -> Iterator[tuple[slice, Array, Array]]:
    """Give the rows part by part: which they are, in these coordinates, and their logits."""
    for part in parts(X):
        design = coordinates.design(X[part])
        z = design @ theta
        yield part, design, z if offset is None else z + offset[part]


@np.errstate(all="ignore")
def _projected(
    X: Array,
    y: Array,
    weight: Array | None,
    coordinates: Coordinates,
    theta: Array,
    basis: Array,
    offset: Array | None,
) -> tuple[Array]:
    """Return what :meth:`Objective.projected` does, of one chunk."""
    total = np.zeros((basis.shape[1],) * 2)
    for part, design, z in designs(X, coordinates, theta, offset):
        e = np.exp(-np.abs(z))
        factor = e / (1 + e) ** 2
        if weight is not None:
            factor *= weight[part]
        along = design @ basis
        total += (along.T * factor) @ along
    return (total,)
