"""Minimise the penalised cross-entropy of a linear model, with the linear pass as the only cost.

Both solvers work in the coordinates of the objective, and both end where the Newton decrement
``g^T H^-1 g`` of the mean objective is small: half of it is what a Newton step would still gain, in
any units. A small gradient alone tells nothing of a level that 150 of 20,000 rows have.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import optimize
from scipy.sparse.linalg import LinearOperator, cg

from .curvature import EPS, Inverse, inverse_of, refined
from .objective import FLOAT64

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastbce._inputs import Array

    from .objective import Objective

# Columns up to which Hessians are evaluated: one of 4096 takes 128 MiB, and partial sums of it four
# times as much. On 324 columns of 60,000 flights Newton's method takes 0.8 s, L-BFGS 10 s to a
# point that is not the minimum.
NEWTON_COLUMNS = 4096
# Newton decrement below which steps with the last Hessian shrink the gradient tenfold each.
NEAR = 1e-3
# A decrement ratio above which they do not, and the Hessian is evaluated anew.
SLOW = 0.1
# The Newton decrement at which a part of the rows takes its last step, for each parameter and row:
# ten times what the minimum of a part is off by itself. Parts of 5,115, 20,459 and 81,836 flights
# take 2, 1 and 1 Hessians, and all of them then 7 passes.
PART_ENOUGH, PART_STEPS = 10.0, 10
# Decrements of the log-likelihood, in squared standard errors: what a fit that is checked comes
# down to (1e-7 standard errors), and what it must at least, where rounding ends it before.
SETTLED, ENOUGH = 1e-14, 1e-8
# How much of a coefficient, per standard deviation, the last step may still change: where standard
# errors are 10^6 logits, a step of one logit is a short one, but changes them by a factor.
STILL = 1e-7
MOST_EXTRA = 30
# The share of a Newton step that is tried last.
LEAST_STEP = 1e-10
# The gradient at which L-BFGS gives way to Newton steps, which double the digits: to go on to 1e-6
# took it more than 200 steps for 135 columns of 602 rows.
ROUGH = 1e-4
# Why a solver cannot go on where the other one may.
TOO_FLAT = "some coefficients are so large that the loss no longer feels them"
NO_STEP = "no step along the Newton direction lowers the loss"
# Products with a Hessian that does not fit, for one step: each is a pass for the gradient.
CG_STEPS = 200


@dataclass
class Solution:
    """Where a solver stopped, and why."""

    theta: Array
    gradient: Array
    iterations: int
    converged: bool
    reason: str = ""


class NotFiniteError(ArithmeticError):
    """Sums of squares of the samples overflow."""


@dataclass
class Peak:
    """What is known of a point that was checked with its own Hessian."""

    theta: Array
    loss: float  # the sum, without a penalty
    step: Array  # what Newton's method would still take off
    decrement: float  # of the sum
    inverse: Inverse  # of the Hessian of the sum

    @property
    def length(self) -> float:
        """How much of the coefficients the step would change, per standard deviation."""
        return float(np.max(np.abs(self.step), initial=0.0))

    @property
    def settled(self) -> bool:
        """Whether the point is a minimum, to 1e-4 standard errors."""
        return bool(self.decrement <= ENOUGH)


class Steps:
    """What the steps of a solver told of the Hessian (BFGS)."""

    def __init__(self) -> None:
        self.pairs: list[tuple[Array, Array, float]] = []

    def learn(self, step: Array, change: Array) -> None:
        """Take in how the gradient changed over a step."""
        curvature = float(step @ change)
        if curvature > 0:
            self.pairs.append((step, change, curvature))

    def corrected(self, inverse: Callable[[Array], Array], gradient: Array) -> Array:
        """Return the inverse, corrected by the steps, times the gradient: two-loop recursion."""
        shares = []
        rest = gradient.copy()
        for step, change, curvature in reversed(self.pairs):
            shares.append(float(step @ rest) / curvature)
            rest -= shares[-1] * change
        result = inverse(rest)
        for (step, change, curvature), share in zip(self.pairs, reversed(shares), strict=True):
            result += (share - float(change @ result) / curvature) * step
        return result


class _Curvature:
    """The inverse Hessian: one that was evaluated, corrected by the steps since (BFGS)."""

    def __init__(self, objective: Objective, theta: Array, hessian: Array) -> None:
        if not np.all(np.isfinite(hessian)) and objective.gram_dtype != FLOAT64:
            # float32 ends at 1e38, and squares of a wild value before.
            objective.gram_dtype = FLOAT64
            hessian = np.asarray(objective(theta, hessian=True)[2])
        if not np.all(np.isfinite(hessian)):
            raise NotFiniteError
        eps = float(np.finfo(objective.gram_dtype).eps)
        self.inverse = inverse_of(hessian, eps)
        if len(self.inverse.null) and objective.gram_dtype != FLOAT64:
            # Too close to singular for float32.
            objective.gram_dtype = FLOAT64
            hessian = np.asarray(objective(theta, hessian=True)[2])
            self.inverse = inverse_of(hessian)
        self.theta, self.hessian = theta, hessian
        if len(self.inverse.null) and objective.refine:
            self.inverse = refined(objective, theta, hessian)
        self.steps = Steps()

    def learn(self, step: Array, change: Array) -> None:
        """Take in how the gradient changed over a step."""
        self.steps.learn(step, change)

    def __call__(self, gradient: Array) -> Array:
        """Return the inverse Hessian times the gradient."""
        return self.steps.corrected(self.inverse, gradient)


def _rounding(value: float, theta: Array) -> float:
    """Return how far a value may be off: by its own digits, and by those of the logits."""
    return EPS * (abs(value) + float(np.sum(np.abs(theta))))


def solve(objective: Objective, theta: Array, solver: str, tol: float, max_iter: int) -> Solution:
    """Return the end of a solver by its name, or of the other one where that cannot go on.

    The first steps of a few samples of large weight may be so long that the loss is flat where
    they end, on the one way and not on the other.
    """
    fits = objective.rows.columns <= NEWTON_COLUMNS
    ways = [newton, lbfgs_finished]
    if solver == "lbfgs" or (solver == "auto" and not fits):
        ways.reverse()
    solution = ways[0](objective, theta, tol, max_iter)
    if fits and solution.reason in (TOO_FLAT, NO_STEP):
        other = ways[1](objective, theta, tol, max_iter)
        if other.converged:
            other.iterations += solution.iterations
            return other
    return solution


def newton(objective: Objective, theta: Array, tol: float, max_iter: int) -> Solution:
    """Newton's method that seldom evaluates a Hessian, with a halving line search.

    With many rows, a part of them is solved first: its solution and its Hessian are close enough
    that the rest takes about six passes for the gradient alone. Otherwise far from the solution
    each pass brings the Hessian along; near it the last one serves on, corrected by what the steps
    tell. It ends when the Newton decrement is below ``1e-4 tol^2``, far below the square of a
    gradient of `tol`, or below the rounding of the loss.
    """
    if theta.size == 0:
        return Solution(theta, theta, 0, True)
    curvature, begin = _from_a_part(objective, theta)
    return _descend(objective, (theta, begin), curvature, tol, max_iter)[0]


def _descend(
    objective: Objective,
    starts: tuple[Array, Array],
    curvature: _Curvature | None,
    tol: float,
    max_iter: int,
) -> tuple[Solution, _Curvature | None]:
    """Take the steps of :func:`newton`, from the second start if it is not worse than nothing.

    The curvature, or None, is what a part told at that start; returned is the last one.
    """
    objective.gram_dtype = FLOAT64 if objective.refine else objective.rows.dtype
    start, theta = starts
    value, gradient, hessian = objective(theta, hessian=curvature is None)
    if theta is not start and not value <= np.log(2):
        # Worse than coefficients of 0: the part is not like the rest.
        curvature, theta = None, start
        value, gradient, hessian = objective(theta, hessian=True)
    if not np.isfinite(value):
        return Solution(theta, gradient, 0, False, "the loss is not finite"), None
    borrowed = curvature is not None
    curvature = curvature or _Curvature(objective, theta, np.asarray(hessian))
    for iteration in range(max_iter + 1):
        step = curvature(gradient)
        decrement = float(gradient @ step)
        rounding = _rounding(value, theta)
        if decrement <= max(EPS * abs(value), 1e-4 * tol**2):
            null = curvature.inverse.null
            if np.max(np.abs(null @ gradient), initial=0.0) > tol:
                return Solution(theta, gradient, iteration, False, TOO_FLAT), curvature
            # The last step is free: its gain is below the rounding of the loss.
            return Solution(theta - step, gradient, iteration, True), curvature
        if iteration == max_iter:
            break
        enough = value - 1e-4 * decrement + 4 * rounding
        least = 0.5 if borrowed else LEAST_STEP
        found = _search(objective, theta, step, enough, decrement, least)
        if found is None and borrowed:
            # The part is not like the rest.
            borrowed, hessian = False, objective(theta, hessian=True)[2]
            curvature = _Curvature(objective, theta, np.asarray(hessian))
            continue
        if found is None:
            return Solution(theta, gradient, iteration, False, NO_STEP), curvature
        trial, value, new_gradient, hessian = found
        curvature.learn(trial - theta, new_gradient - gradient)
        theta, gradient = trial, new_gradient
        left = float(gradient @ curvature(gradient))
        if hessian is None and decrement > 10 * rounding and left > SLOW * decrement:
            hessian = objective(theta, hessian=True)[2]
        if hessian is not None:
            borrowed, curvature = False, _Curvature(objective, theta, hessian)
    return Solution(theta, gradient, max_iter, False, "max_iter was reached"), curvature


def _search(
    objective: Objective, theta: Array, step: Array, enough: float, decrement: float, least: float
) -> tuple[Array, float, Array, Array | None] | None:
    """Return the first of ever shorter steps that lowers the value, with what is known there."""
    size = 1.0
    while size > least:
        trial = theta - size * step
        value, gradient, hessian = objective(trial, hessian=decrement > NEAR and size == 1.0)
        if value <= enough + 1e-4 * (1 - size) * decrement:
            return trial, value, gradient, hessian
        size /= 2
    return None


def _from_a_part(objective: Objective, theta: Array) -> tuple[_Curvature | None, Array]:
    """Return curvature and minimum of every k-th row, or None where rows are few.

    The part begins with a part of its own. Each is solved as well as its rows are worth.
    """
    part = objective.rows.part()
    if part is None or not part.total:
        return None, theta
    sub = replace(
        objective, rows=part, precision=objective.precision * (part.total / objective.rows.total)
    )
    begin = _from_a_part(sub, theta)[1]
    # A penalty as of one row: a rare column may separate the part, not the rest, and its
    # coefficient would grow with each step.
    pull = np.zeros(theta.size)
    reach = np.clip(np.nan_to_num(sub.coordinates.reach), 1.0, 1e8)  # a wild value ends nothing
    pull[sub.coordinates.intercept :] = reach**2 * part.total / part.n
    diagonal = sub.precision.ndim == 1
    pulled = replace(sub, precision=sub.precision + (pull if diagonal else np.diag(pull)))
    # A decrement of 1e-4 tol^2 is enough.
    tol = 100 * np.sqrt(PART_ENOUGH * theta.size / part.n)
    found, last = _descend(pulled, (theta, begin), None, tol, PART_STEPS)
    if not found.converged or last is None:
        return None, theta
    curvature = _Curvature(sub, last.theta, last.hessian - np.diag(pull / part.total))
    # What no row of the part tells, others may.
    return (None if len(curvature.inverse.null) else curvature), found.theta


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
    return Solution(found.x, found.jac, int(found.nit), not reason, reason)


def lbfgs_finished(objective: Objective, theta: Array, tol: float, max_iter: int) -> Solution:
    """L-BFGS, and Newton steps from its end, where the gradient is small but the step may not be.

    Where the Hessian does not fit, conjugate gradients solve for the steps, from differences of
    gradients along their directions.
    """
    fits = objective.rows.columns <= NEWTON_COLUMNS
    if fits:
        found = lbfgs(objective, theta, max(tol, ROUGH), max(max_iter // 2, 1))
    else:
        found = lbfgs(objective, theta, tol, max_iter)
    if not np.all(np.isfinite(found.gradient)) or not (found.converged or fits):
        return found
    left = max_iter - found.iterations
    finish = newton if fits else _newton_cg
    end = finish(objective, found.theta, tol, max(left, MOST_EXTRA if found.converged else 0))
    end.iterations += found.iterations
    return end


def _newton_cg(objective: Objective, theta: Array, tol: float, max_iter: int) -> Solution:
    """Newton's method without a Hessian, close to the minimum."""
    size = theta.size
    for iteration in range(max_iter + 1):
        value, gradient, _ = objective(theta)

        def times(vector: Array, at: Array = theta, there: Array = gradient) -> Array:
            length = float(np.linalg.norm(vector))
            if not length:
                return np.zeros_like(vector)
            small = np.sqrt(EPS) * (1 + float(np.linalg.norm(at))) / length
            return np.asarray((objective(at + small * vector)[1] - there) / small)

        operator = LinearOperator((size, size), matvec=times, dtype=FLOAT64)
        step, _ = cg(operator, gradient, rtol=1e-2, maxiter=CG_STEPS)
        decrement = float(gradient @ step)
        if decrement <= max(EPS * abs(value), 1e-4 * tol**2):
            return Solution(theta - step, gradient, iteration, True)
        theta = theta - step
    return Solution(theta, gradient, max_iter, False, "max_iter was reached")


@np.errstate(all="ignore")
def check(objective: Objective, theta: Array) -> Peak:
    """Return what the Hessian at a point tells of it."""
    objective.gram_dtype = FLOAT64
    value, gradient, hessian = objective(theta, hessian=True)
    matrix, total = np.asarray(hessian), objective.rows.total
    if not np.all(np.isfinite(matrix)):
        raise NotFiniteError
    inverse = inverse_of(matrix)
    if not inverse.good:
        objective.refine = True
        inverse = refined(objective, theta, matrix)
    step = inverse(gradient)
    offset = theta - objective.center
    loss = value * total - 0.5 * float(offset @ objective.penalise(offset))
    of_sum = Inverse(inverse.null, root=inverse.root / np.sqrt(total), good=inverse.good)
    return Peak(theta, loss, step, float(gradient @ step) * total, of_sum)


def settle(objective: Objective, solution: Solution, tol: float) -> Peak:
    """Return the checked end of a fit, after the Newton steps that it still needs.

    `solution` follows them. Steps end when they are short, or do not shrink.
    """
    peak = check(objective, solution.theta)
    if solution.converged and not peak.settled:
        found = newton(objective, solution.theta, tol, MOST_EXTRA)
        solution.iterations += found.iterations
        peak = check(objective, found.theta)
    for _ in range(MOST_EXTRA):
        done = peak.decrement <= SETTLED and peak.length <= STILL
        if done or not (solution.converged and peak.settled):
            break
        closer = check(objective, peak.theta - peak.step)
        if not (closer.decrement < 0.25 * peak.decrement or closer.length < 0.5 * peak.length):
            break
        solution.iterations += 1
        peak = closer
    solution.theta = peak.theta
    return peak
