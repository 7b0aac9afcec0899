"""Minimise the penalised cross-entropy of a linear model, with the linear pass as the only cost.

The objective is the sum over samples of ``w_i loss_i`` plus ``(t - m)^T P (t - m) / 2``, divided by
the sum of the weights: `tol` bounds the largest element of the gradient of that mean, as in
scikit-learn. Coefficients, losses and gradients are float64 whatever `X` is; for a float32 `X` the
Hessian is float32 at first, in half the time: it sets the step, not the solution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from scipy import linalg, optimize

from ._inputs import Array
from ._rows import Rows
from .linear import linear_backend

FLOAT64 = np.dtype(np.float64)
# Columns up to which a Hessian is worth its time: it costs 4 gradients at 32 columns, 9 at 128.
NEWTON_COLUMNS = 256
# Newton decrement below which steps with the last Hessian shrink the gradient tenfold each.
NEAR = 1e-3
# A decrement ratio above which they do not, and the Hessian is evaluated anew.
SLOW = 0.1
# How well a part of the rows is solved first. Most take 6 steps; more mean that a rare column
# separates the part, not the rest, and its coefficient grows by 1 a step: from there the flights
# took 38 passes, from coefficients of 0 they take 7.
PART_TOL, PART_STEPS = 1e-4, 10
EPS = float(np.finfo(np.float64).eps)


@dataclass
class Objective:
    """The mean loss plus penalty as a function of the parameters, the intercept first."""

    rows: Rows
    fit_intercept: bool
    precision: Array  # P: a vector (diagonal) or a matrix
    center: Array
    gram_dtype: np.dtype[Any] = FLOAT64

    def __call__(self, theta: Array, hessian: bool = False) -> tuple[float, Array, Array | None]:
        """Return value, gradient and, if asked for, Hessian."""
        gram = "hessian" if hessian else None
        value, slope, matrix = self.sums(theta, gram, self.gram_dtype)
        offset = theta - self.center
        if self.precision.ndim == 1:
            pull = self.precision * offset
            if matrix is not None:
                matrix[np.diag_indices_from(matrix)] += self.precision
        else:
            pull = self.precision @ offset
            if matrix is not None:
                matrix += self.precision
        value += 0.5 * float(offset @ pull)
        total = self.rows.total
        return value / total, (slope + pull) / total, None if matrix is None else matrix / total

    def sums(
        self,
        theta: Array,
        gram: str | None,
        gram_dtype: np.dtype[Any] = FLOAT64,
        weighted: bool = True,
    ) -> tuple[float, Array, Array | None]:
        """Return the sums of loss, gradient and Gram matrix without penalty."""
        intercept, coef = self.split(theta)
        value, slope, matrix = self.rows.reduce(
            partial(
                _sums,
                coef=coef,
                intercept=intercept,
                gram=gram,
                gram_dtype=gram_dtype,
                weighted=weighted,
            )
        )
        if not self.fit_intercept:
            slope = slope[1:]
            matrix = None if matrix is None else matrix[1:, 1:]
        return value, slope, matrix

    def split(self, theta: Array) -> tuple[float, Array]:
        """Return intercept and coefficients."""
        return (float(theta[0]), theta[1:]) if self.fit_intercept else (0.0, theta)


def _sums(
    X: Array,
    y: Array,
    weight: Array | None,
    coef: Array,
    intercept: float,
    gram: str | None,
    gram_dtype: np.dtype[Any],
    weighted: bool,
) -> tuple[float, Array, Array | None]:
    """Return what :meth:`Objective.sums` does, of one chunk."""
    result: tuple[float, Array, Array | None] = linear_backend().linear(
        X, y, weight if weighted else None, coef, intercept, FLOAT64, gram, gram_dtype
    )
    return result


@dataclass
class Solution:
    """Where a solver stopped, and why."""

    theta: Array
    gradient: Array
    iterations: int
    converged: bool
    reason: str = ""


def inverse_of(hessian: Array, eps: float = EPS) -> tuple[Callable[[Array], Array], Array]:
    """Return a function that solves with a positive semi-definite matrix, and its null directions.

    `eps` is the relative error of the elements. The matrix is scaled to a unit diagonal first, so
    that units of measurement do not matter. Null directions are rows; the solution has no part in
    them.
    """
    scale = np.sqrt(np.diag(hessian))
    scale = 1 / np.where(scale > 0, scale, 1)
    scaled = hessian * scale[:, None] * scale
    # A pivot is 1 minus the share of a column that those before it explain.
    smallest = 100 * len(scale) * eps
    try:
        factor = linalg.cho_factor(scaled, lower=True)
        if np.min(np.diag(factor[0])) ** 2 > smallest:
            none = np.empty((0, len(scale)))
            return lambda v: scale * linalg.cho_solve(factor, scale * v), none
    except linalg.LinAlgError:
        pass
    values, vectors = linalg.eigh(scaled)
    kept = values > max(smallest, values[-1] * smallest)
    basis, inverse = vectors[:, kept], 1 / values[kept]
    null = (vectors[:, ~kept] * scale[:, None]).T
    return lambda v: scale * (basis @ (inverse * (basis.T @ (scale * v)))), null


class _Curvature:
    """The inverse Hessian: one that was evaluated, corrected by the steps since (BFGS)."""

    def __init__(self, objective: Objective, theta: Array, hessian: Array | None) -> None:
        eps = float(np.finfo(objective.gram_dtype).eps)
        self.solve, self.null = inverse_of(np.asarray(hessian), eps)
        if len(self.null) and objective.gram_dtype != FLOAT64:
            # Too close to singular for float32.
            objective.gram_dtype = FLOAT64
            self.solve, self.null = inverse_of(np.asarray(objective(theta, hessian=True)[2]))
        self.pairs: list[tuple[Array, Array, float]] = []

    def learn(self, step: Array, change: Array) -> None:
        """Take in how the gradient changed over a step."""
        curvature = float(step @ change)
        if curvature > 0:
            self.pairs.append((step, change, curvature))

    def __call__(self, gradient: Array) -> Array:
        """Return the inverse Hessian times the gradient, by the two-loop recursion."""
        shares = []
        rest = gradient.copy()
        for step, change, curvature in reversed(self.pairs):
            shares.append(float(step @ rest) / curvature)
            rest -= shares[-1] * change
        result = self.solve(rest)
        for (step, change, curvature), share in zip(self.pairs, reversed(shares), strict=True):
            result += (share - float(change @ result) / curvature) * step
        return result


def newton(objective: Objective, theta: Array, tol: float, max_iter: int) -> Solution:
    """Newton's method that seldom evaluates a Hessian, with a halving line search.

    With many rows, a part of them is solved first: its solution and its Hessian are close enough
    that the rest takes about five passes for the gradient alone. Otherwise far from the solution
    each pass brings the Hessian along; near it the last one serves on, corrected by what the steps
    tell. It ends when the gradient is below `tol` and the Newton decrement, which does not depend
    on units, is far below the square of that.
    """
    if theta.size == 0:
        return Solution(theta, theta, 0, True)
    objective.gram_dtype = objective.rows.dtype
    start = theta
    curvature, theta = _from_a_part(objective, start)
    value, gradient, hessian = objective(theta, curvature is None)
    if theta is not start and value > np.log(2):
        # Worse than coefficients of 0: the part is not like the rest.
        curvature, theta = None, start
        value, gradient, hessian = objective(theta, hessian=True)
    if not np.isfinite(value):
        return Solution(theta, gradient, 0, False, "the loss is not finite")
    curvature = curvature or _Curvature(objective, theta, hessian)
    for iteration in range(max_iter + 1):
        step = curvature(gradient)
        decrement = float(gradient @ step)
        rounding = EPS * abs(value)
        small = np.max(np.abs(gradient)) <= tol
        if decrement <= max(rounding, 1e-4 * tol**2 if small else 0.0):
            if np.max(np.abs(curvature.null @ gradient), initial=0.0) > tol:
                reason = "some coefficients are so large that the loss no longer feels them"
                return Solution(theta, gradient, iteration, False, reason)
            # The last step is free: its gain is below the rounding of the loss.
            return Solution(theta - step, gradient, iteration, True)
        if iteration == max_iter:
            break
        found = _search(objective, theta, step, value - 1e-4 * decrement + 4 * rounding, decrement)
        if found is None:
            reason = "no step along the Newton direction lowers the loss"
            return Solution(theta, gradient, iteration, False, reason)
        trial, value, new_gradient, hessian = found
        curvature.learn(trial - theta, new_gradient - gradient)
        theta, gradient = trial, new_gradient
        left = float(gradient @ curvature(gradient))
        if hessian is None and decrement > 10 * rounding and left > SLOW * decrement:
            hessian = objective(theta, hessian=True)[2]
        if hessian is not None:
            curvature = _Curvature(objective, theta, hessian)
    return Solution(theta, gradient, max_iter, False, "max_iter was reached")


def _search(
    objective: Objective, theta: Array, step: Array, enough: float, decrement: float
) -> tuple[Array, float, Array, Array | None] | None:
    """Return the first of ever shorter steps that lowers the value, with what is known there."""
    size = 1.0
    while size > 1e-10:
        trial = theta - size * step
        value, gradient, hessian = objective(trial, decrement > NEAR and size == 1.0)
        if value <= enough + 1e-4 * (1 - size) * decrement:
            return trial, value, gradient, hessian
        size /= 2
    return None


def _from_a_part(objective: Objective, theta: Array) -> tuple[_Curvature | None, Array]:
    """Return curvature and minimum of every k-th row, or None where rows are few."""
    part = objective.rows.part()
    if part is None or not part.total:
        return None, theta
    share = part.total / objective.rows.total
    sub = replace(objective, rows=part, precision=objective.precision * share)
    found = newton(sub, theta, PART_TOL, PART_STEPS)
    if not found.converged:
        return None, theta
    curvature = _Curvature(sub, found.theta, sub(found.theta, hessian=True)[2])
    # What no row of the part tells, others may.
    return (None if len(curvature.null) else curvature), found.theta


def lbfgs(objective: Objective, theta: Array, tol: float, max_iter: int) -> Solution:
    """SciPy's L-BFGS-B."""
    found = optimize.minimize(
        lambda t: objective(t)[:2],
        theta,
        method="L-BFGS-B",
        jac=True,
        options={"maxiter": max_iter, "maxls": 50, "gtol": tol, "ftol": EPS / 4},
    )
    reason = "" if found.success else str(found.message)
    if found.nit >= max_iter:
        reason = "max_iter was reached"
    return Solution(found.x, found.jac, int(found.nit), bool(found.success), reason)
