"""Minimise the penalised cross-entropy of a linear model, with the linear pass as the only cost.

The objective is the sum over samples of ``w_i loss_i`` plus ``(t - m)^T P (t - m) / 2``, divided by
the sum of the weights: `tol` bounds the largest element of the gradient of that mean, as in
scikit-learn. Coefficients, losses and gradients are float64 whatever `X` is; for a float32 `X` the
Hessian is float32 at first, in half the time: it sets the step, not the solution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg, optimize

from ._validate import Array
from .linear import linear_backend

FLOAT64 = np.dtype(np.float64)
# Columns up to which a Hessian is worth its time: it costs 4 gradients at 32 columns, 9 at 128.
NEWTON_COLUMNS = 128
# Newton decrement below which steps with the last Hessian shrink the gradient tenfold each.
NEAR = 1e-3
# A decrement ratio above which they do not, and the Hessian is evaluated anew.
SLOW = 0.05
EPS = float(np.finfo(np.float64).eps)


@dataclass
class Objective:
    """The mean loss plus penalty as a function of the parameters, the intercept first."""

    X: Array
    y: Array
    weight: Array | None
    total: float
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
        return (
            value / self.total,
            (slope + pull) / self.total,
            None if matrix is None else matrix / self.total,
        )

    def sums(
        self, theta: Array, gram: str | None, gram_dtype: np.dtype[Any] = FLOAT64
    ) -> tuple[float, Array, Array | None]:
        """Return the sums of loss, gradient and Gram matrix without penalty."""
        intercept, coef = (theta[0], theta[1:]) if self.fit_intercept else (0.0, theta)
        value, slope, matrix = linear_backend().linear(
            self.X, self.y, self.weight, coef, intercept, FLOAT64, gram, gram_dtype
        )
        if not self.fit_intercept:
            slope = slope[1:]
            matrix = None if matrix is None else matrix[1:, 1:]
        return value, slope, matrix


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


def newton(objective: Objective, theta: Array, tol: float, max_iter: int) -> Solution:
    """Newton's method with a halving line search.

    Far from the solution each pass brings the Hessian along. Near it the last one serves on: a
    pass without a Hessian is several times cheaper, and still gains a digit. It ends when the
    gradient is below `tol` and the Newton decrement, which does not depend on units, is below its
    square by as much as it can without extra Hessians.
    """
    if theta.size == 0:
        return Solution(theta, theta, 0, True)
    objective.gram_dtype = objective.X.dtype
    value, gradient, hessian = objective(theta, hessian=True)
    solve = _solver(objective, theta, hessian)
    for iteration in range(max_iter + 1):
        step = solve(gradient)
        decrement = float(gradient @ step)
        if not np.isfinite(decrement):
            return Solution(theta, gradient, iteration, False, "the loss is not finite")
        rounding = EPS * abs(value)
        small = np.max(np.abs(gradient)) <= tol
        if decrement <= max(rounding, 1e-4 * tol**2 if small else 0.0):
            # The last step is free: its gain is below the rounding of the loss.
            return Solution(theta - step, gradient, iteration, True)
        if iteration == max_iter:
            break
        size = 1.0
        while True:
            trial = theta - size * step
            wanted = decrement > NEAR and size == 1.0
            new_value, new_gradient, hessian = objective(trial, wanted)
            if new_value <= value - 1e-4 * size * decrement + 4 * rounding:
                break
            size /= 2
            if size < 1e-10:
                reason = "no step along the Newton direction lowers the loss"
                return Solution(theta, gradient, iteration, False, reason)
        theta, value, gradient = trial, new_value, new_gradient
        slow = size < 1 or gradient @ solve(gradient) > SLOW * decrement
        if hessian is None and slow and decrement > 10 * rounding:
            hessian = objective(theta, hessian=True)[2]
        if hessian is not None:
            solve = _solver(objective, theta, hessian)
    return Solution(theta, gradient, max_iter, False, "max_iter was reached")


def _solver(objective: Objective, theta: Array, hessian: Array | None) -> Callable[[Array], Array]:
    eps = float(np.finfo(objective.gram_dtype).eps)
    solve, null = inverse_of(np.asarray(hessian), eps)
    if len(null) and objective.gram_dtype != FLOAT64:
        # Too close to singular for float32.
        objective.gram_dtype = FLOAT64
        return _solver(objective, theta, objective(theta, hessian=True)[2])
    return solve


def lbfgs(objective: Objective, theta: Array, tol: float, max_iter: int) -> Solution:
    """SciPy's L-BFGS-B."""
    found = optimize.minimize(
        lambda t: objective(t)[:2],
        theta,
        method="L-BFGS-B",
        jac=True,
        options={"maxiter": max_iter, "maxls": 50, "gtol": tol, "ftol": 64 * EPS},
    )
    reason = "" if found.success else str(found.message)
    if found.nit >= max_iter:
        reason = "max_iter was reached"
    return Solution(found.x, found.jac, int(found.nit), bool(found.success), reason)
