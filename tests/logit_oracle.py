"""Logistic regression computed apart from the package: what the estimator has to give.

Nothing here is fast, and nothing is shared with the package. Columns are centred and scaled in
``np.longdouble`` (64 bits of mantissa where the processor has them, and a range of 1e4932), so
that data 1e9 standard deviations from 0 lose nothing, steps come from QR factors, gradients and
log-likelihoods are sums in longdouble; and all of it is done once more with 60 digits.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import mpmath
import numpy as np
import numpy.typing as npt
from scipy.linalg import qr, solve_triangular
from scipy.optimize import linprog
from scipy.special import ndtr
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Sequence

Array: TypeAlias = npt.NDArray[Any]
Verdict = Literal["separated", "overlap"]
WIDE = np.longdouble
# A step this small, in squared standard errors, changes nothing that a test looks at.
DECREMENT = 1e-18
# Standardised coefficients are bounded by this in the linear programme; its own tolerance is 1e-7.
REACH = 1e6


@dataclass(frozen=True)
class Fit:
    """The maximum of a likelihood, the intercept first where there is one, in the user's units."""

    params: Array
    bse: Array
    hc0: Array
    llf: float
    llnull: float
    nobs: float
    converged: bool
    condition: float
    unit_bse: Array

    @property
    def zvalues(self) -> Array:
        return self.params / self.bse

    @property
    def pvalues(self) -> Array:
        return np.asarray(2 * ndtr(-np.abs(self.zvalues)))

    @property
    def comfortable(self) -> bool:
        """Tell whether nothing about the fit is near an edge: it has to be found."""
        return bool(self.converged and self.condition < 1e7 and np.all(self.unit_bse < 30))


@dataclass(frozen=True)
class Columns:
    """Columns of mean 0 and unit RMS: of the rows that have a weight, and of these alone."""

    values: Array
    center: Array
    scale: Array
    y: Array
    weight: Array


def standardised(X: Array, y: Array, weight: Any = None, *, intercept: bool = True) -> Columns:
    """Centre and scale; without an intercept, scale alone."""
    kept = np.ones(len(X), bool) if weight is None else np.asarray(weight) > 0
    w = np.ones(len(X)) if weight is None else np.asarray(weight, float)
    wide = np.asarray(X)[kept].astype(WIDE)
    center = np.zeros(wide.shape[1], WIDE)
    if intercept:
        # The difference to an element is exact; the mean of differences is small.
        center = np.sort(wide, axis=0)[len(wide) // 2]
        moved = wide - center
        rest = moved.mean(axis=0)
        wide, center = moved - rest, center + rest
        # A constant column is 0 to the last bit, whatever the mean of its zeros rounds to.
        wide[:, np.ptp(moved, axis=0) == 0] = 0
    scale = np.sqrt(np.mean(wide**2, axis=0))
    scale[scale == 0] = 1
    return Columns(wide / scale, center, scale, np.asarray(y)[kept] > 0, w[kept].astype(WIDE))


def rank(X: Array, *, intercept: bool = True, tol: float = 1e-10) -> int:
    """Return the rank of the centred and scaled columns, with the intercept."""
    columns = standardised(X, np.zeros(len(X)), intercept=intercept).values.astype(float)
    values = np.linalg.svd(columns, compute_uv=False)
    return int(np.sum(values > tol * max(values[0], 1e-300))) + int(intercept)


def _likelihood(design: Array, c: Columns, theta: Array) -> tuple[Any, Array, Array]:
    """Return the log-likelihood, the residuals and the variances, in longdouble."""
    eta = design @ theta
    sign = np.where(c.y, WIDE(1), WIDE(-1))
    with np.errstate(over="ignore", under="ignore"):
        llf = -np.sum(c.weight * np.logaddexp(WIDE(0), -sign * eta))
        wrong = 1 / (1 + np.exp(sign * eta))
        return llf, sign * wrong, wrong * (1 / (1 + np.exp(-sign * eta)))


def _root(matrix: Array, *, careful: bool = False) -> Array | None:
    """Return the inverse of R of the QR factors, in the columns' order, or None.

    Rows sorted by size and pivoted columns keep what tiny rows say (Cox and Higham, 1998): steps
    do without, because the next gradient corrects them.
    """
    if not careful:
        R = np.linalg.qr(matrix, mode="r")
        diagonal = np.abs(np.diag(R))
        if len(diagonal) == matrix.shape[1] and diagonal.min() > 1e-12 * diagonal.max():
            return np.asarray(solve_triangular(R, np.eye(len(R))))
    order = np.argsort(-np.max(np.abs(matrix), axis=1), kind="stable")
    R, pivots = qr(matrix[order], mode="r", pivoting=True, check_finite=False)
    R = R[: matrix.shape[1]]
    diagonal = np.abs(np.diag(R))
    if len(diagonal) < matrix.shape[1] or not diagonal.min() > 1e-15 * diagonal.max():
        return None
    inverse: Array = np.empty_like(R)
    inverse[pivots] = solve_triangular(R, np.eye(len(R)))
    return inverse


def _condition(matrix: Array) -> float:
    """Return the condition of a matrix whose columns are brought to one length."""
    length = np.linalg.norm(matrix, axis=0)
    if not np.all(length > 0):
        return np.inf
    R = np.linalg.qr(matrix / length, mode="r")
    values = np.linalg.svd(R, compute_uv=False)
    return float(values[0] / values[-1]) if values[-1] > 0 else np.inf


# A second thread of the BLAS makes these small factors 20 times slower where a core is busy.
@threadpool_limits.wrap(limits=1)  # type: ignore[untyped-decorator]
def maximum_likelihood(
    X: Array,
    y: Array,
    weight: Any = None,
    *,
    intercept: bool = True,
    C: float = np.inf,
    start: Array | None = None,
    steps: int = 100,
) -> Fit:
    """Fit by Newton's method with QR factors, from `start` or 0; a weight of 2 is two rows.

    With a finite `C`, the penalty of the package is on the user's coefficients; then only `params`
    and `llf`, without the penalty, are of use.
    """
    c = standardised(X, y, weight, intercept=intercept)
    design = np.column_stack([np.ones(len(c.y), WIDE), c.values]) if intercept else c.values
    narrow = design.astype(float)
    penalty = np.concatenate([np.zeros(int(intercept), WIDE), 1 / (WIDE(C) * c.scale**2)])
    extra = np.diag(np.sqrt(penalty).astype(float)) if np.isfinite(C) else narrow[:0]
    theta = np.zeros(design.shape[1], WIDE)
    if start is not None:
        coef = np.asarray(start[int(intercept) :], WIDE)
        theta[int(intercept) :] = coef * c.scale
        if intercept:
            theta[0] = start[0] + coef @ c.center
    llf, r, v = _likelihood(design, c, theta)
    converged, inverse = False, None
    for _ in range(steps):
        weighted = narrow * np.sqrt(c.weight * v).astype(float)[:, None]
        inverse = _root(np.vstack([weighted, extra]))
        if inverse is None:
            break
        gradient = design.T @ (c.weight * r) - penalty * theta
        half = inverse.T.astype(WIDE) @ gradient
        decrement = half @ half
        step = inverse.astype(WIDE) @ half
        goal = llf - np.sum(penalty * theta**2) / 2
        for _ in range(60):
            trial = theta + step
            new, r, v = _likelihood(design, c, trial)
            if new - np.sum(penalty * trial**2) / 2 >= goal - 1e-17 * abs(goal):
                break
            step = step / 2
        theta, llf = trial, new
        if decrement < DECREMENT:
            converged = True
            break
    return _in_users_units(c, design, theta, llf, r, v, inverse, converged=converged)


def _in_users_units(
    c: Columns,
    design: Array,
    theta: Array,
    llf: Any,
    r: Array,
    v: Array,
    inverse: Array | None,
    *,
    converged: bool,
) -> Fit:
    size, intercept = len(theta), len(theta) - len(c.scale)
    back = np.diag(np.concatenate([np.ones(intercept, WIDE), 1 / c.scale]))
    if intercept:
        back[0, 1:] = -c.center / c.scale
    bse = hc0 = unit = np.full(size, np.nan)
    condition = np.inf
    narrow = design.astype(float)
    weighted = narrow * np.sqrt(c.weight * v).astype(float)[:, None]
    if inverse is not None:
        last = _root(weighted, careful=True)
        inverse = inverse if last is None else last
        root = back @ inverse.astype(WIDE)
        bse = np.sqrt(np.sum(root**2, axis=1)).astype(float)
        scores = (narrow @ inverse) * (np.sqrt(c.weight) * r).astype(float)[:, None]
        # Of the triangular factor, so that the units' squares are never formed in float64.
        inner = np.asarray(np.linalg.qr(scores, mode="r"), WIDE)
        hc0 = np.sqrt(np.sum((inner @ root.T) ** 2, axis=0)).astype(float)
        unit = np.linalg.norm(inverse, axis=1)
        condition = max(_condition(narrow), _condition(weighted))
    total = float(c.weight.sum())
    share = float(c.weight[c.y].sum()) / total
    llnull = sum(float(total * s * np.log(s)) for s in (share, 1 - share) if s > 0)
    params = (back @ theta).astype(float)
    return Fit(params, bse, hc0, float(llf), llnull, total, converged, condition, unit)


# --- the same with as many digits as one likes ---------------------------------------------------


def _distinct(
    X: Array, y: Array, weight: Any, *, intercept: bool
) -> tuple[list[tuple[Any, ...]], list[Any]]:
    """Return ``(row, label, weight)``, equal rows once, and the columns' units.

    Units are powers of 2, so that nothing is rounded: they keep the matrices' entries alike.
    """
    w = np.ones(len(X)) if weight is None else np.asarray(weight, float)
    X = np.asarray(X).astype(float)
    _, exponent = np.frexp(np.max(np.abs(X), axis=0))
    found: dict[tuple[Any, ...], Any] = {}
    for row, label, amount in zip(X, y, w, strict=True):
        key = (*(float(value) for value in row), bool(label > 0))
        found[key] = found.get(key, mpmath.mpf(0)) + mpmath.mpf(float(amount))
    units = [mpmath.ldexp(1, int(power)) for power in exponent]
    start = [mpmath.mpf(1)] * int(intercept)
    rows = [
        (
            start + [mpmath.mpf(v) / unit for v, unit in zip(key[:-1], units, strict=True)],
            key[-1],
            amount,
        )
        for key, amount in found.items()
        if amount > 0
    ]
    return rows, start + units


def _mpmath_sums(rows: list[tuple[Any, ...]], theta: list[Any]) -> tuple[Any, Any, Any, Any]:
    """Return the log-likelihood, its gradient, minus its Hessian and the sum of squared scores."""
    size = len(theta)
    llf, gradient = mpmath.mpf(0), [mpmath.mpf(0)] * size
    hessian, meat = mpmath.zeros(size), mpmath.zeros(size)
    for row, label, weight in rows:
        eta = mpmath.fdot(row, theta)
        away = mpmath.exp(-eta if label else eta)
        wrong = away / (1 + away)
        llf -= weight * mpmath.log1p(away)
        residual = wrong if label else -wrong
        for i, x in enumerate(row):
            gradient[i] += weight * residual * x
            for j in range(i + 1):
                product = weight * x * row[j] * wrong
                hessian[i, j] += product / (1 + away)
                meat[i, j] += product * wrong
    for matrix in (hessian, meat):
        for i in range(size):
            for j in range(i):
                matrix[j, i] = matrix[i, j]
    return llf, mpmath.matrix(gradient), hessian, meat


def mpmath_at(
    X: Array, y: Array, params: Any, *, intercept: bool = True, digits: int = 60
) -> tuple[Array, Array]:
    """Return the Newton step from given parameters in standard errors, and these."""
    with mpmath.workdps(digits):
        rows, units = _distinct(X, y, None, intercept=intercept)
        theta = [mpmath.mpf(float(v)) * unit for v, unit in zip(params, units, strict=True)]
        _, gradient, hessian, _ = _mpmath_sums(rows, theta)
        inverse = mpmath.inverse(hessian)
        bse = [mpmath.sqrt(inverse[i, i]) for i in range(len(theta))]
        off = [float(a / b) for a, b in zip(inverse * gradient, bse, strict=True)]
        return np.array(off), np.array([float(b / u) for b, u in zip(bse, units, strict=True)])


def mpmath_maximum_likelihood(
    X: Array, y: Array, weight: Any = None, *, intercept: bool = True, digits: int = 60
) -> Fit:
    """Fit with many digits, without moving the origin: for few distinct rows and columns."""
    with mpmath.workdps(digits):
        rows, units = _distinct(X, y, weight, intercept=intercept)
        theta = [mpmath.mpf(0)] * len(rows[0][0])
        llf, gradient, hessian, meat = _mpmath_sums(rows, theta)
        converged = False
        for _ in range(200):
            step = mpmath.lu_solve(hessian, gradient)
            decrement = (gradient.T * step)[0]
            for _ in range(60):
                trial = [a + b for a, b in zip(theta, step, strict=True)]
                new, g, H, M = _mpmath_sums(rows, trial)
                if new >= llf - mpmath.mpf(10) ** (10 - digits):
                    break
                step = step / 2
            theta, llf, gradient, hessian, meat = trial, new, g, H, M
            if decrement < mpmath.mpf(10) ** -30:
                converged = True
                break
        inverse = mpmath.inverse(hessian)
        sandwich = inverse * meat * inverse
        total = mpmath.fsum(weight for _, _, weight in rows)
        share = mpmath.fsum(weight for _, label, weight in rows if label) / total
        llnull = total * mpmath.fsum(s * mpmath.log(s) for s in (share, 1 - share) if s > 0)
        bse, hc0 = (
            np.array([float(mpmath.sqrt(m[i, i]) / unit) for i, unit in enumerate(units)])
            for m in (inverse, sandwich)
        )
        params = np.array([float(v / unit) for v, unit in zip(theta, units, strict=True)])
        unit = np.full(len(params), np.nan)
        return Fit(
            params, bse, hc0, float(llf), float(llnull), float(total), converged, np.nan, unit
        )


# --- is there a maximum at all, and if not, because of which columns? ----------------------------


def separates(X: Array, y: Array, weight: Any = None, *, intercept: bool = True) -> Verdict:
    """Tell by a linear programme whether a direction separates the classes, quasi or completely.

    It looks for one in which no row moves away from its label and some row moves towards it.
    """
    c = standardised(X, y, weight, intercept=intercept)
    design = np.column_stack([np.ones(len(c.y), WIDE), c.values]) if intercept else c.values
    towards = (design * np.where(c.y, WIDE(1), WIDE(-1))[:, None]).astype(float)
    n, d = towards.shape
    # Moves of at most 1, and no more than the direction gives: their sum is 0 or clearly not.
    found = linprog(
        np.concatenate([np.zeros(d), -np.ones(n)]),
        A_ub=np.column_stack([-towards, np.eye(n)]),
        b_ub=np.zeros(n),
        bounds=[(-REACH, REACH)] * d + [(0, 1)] * n,
        method="highs",
    )
    if found.status != 0:
        raise RuntimeError(f"the linear programme ended without an answer: {found.message}")
    return "separated" if -found.fun > 1e-3 else "overlap"


def separates_alone(x: Array, y: Array, *, intercept: bool = True) -> bool:
    """Tell whether one column separates the classes: comparisons, no arithmetic."""
    one, zero = x[y > 0], x[~(y > 0)]
    if intercept:
        return bool(np.ptp(x) > 0 and (one.min() >= zero.max() or zero.min() >= one.max()))
    up = one.min() >= 0 and zero.max() <= 0
    down = one.max() <= 0 and zero.min() >= 0
    return bool(np.any(x != 0) and (up or down))


def separating_sets(
    X: Array, y: Array, *, intercept: bool = True
) -> tuple[list[int], list[tuple[int, ...]]]:
    """Return the columns that separate alone, and all smallest sets that do (up to 8 columns)."""
    X, y = np.asarray(X), np.asarray(y)
    if X.shape[1] > 8:
        raise ValueError(f"all subsets of {X.shape[1]} columns are too many")
    alone = [j for j in range(X.shape[1]) if separates_alone(X[:, j], y, intercept=intercept)]
    if alone:
        return alone, [(j,) for j in alone]
    for size in range(2, X.shape[1] + 1):
        found = [
            chosen
            for chosen in itertools.combinations(range(X.shape[1]), size)
            if separates(X[:, list(chosen)], y, intercept=intercept) == "separated"
        ]
        if found:
            return [], found
    return [], []


# --- comparing -----------------------------------------------------------------------------------


def differences(result: Any, exact: Fit, *, hc0: bool = False) -> dict[str, float]:
    """Return the largest errors: of params in standard errors, of the others relative."""
    bse = exact.hc0 if hc0 else exact.bse
    return {
        "params": float(np.max(np.abs(result.params - exact.params) / exact.bse)),
        "bse": float(np.max(np.abs(result.bse / bse - 1))),
        "llf": abs(result.llf - exact.llf) / max(abs(exact.llf), 1e-300),
    }


def wrong(
    result: Any,
    exact: Fit,
    *,
    params: float = 1e-5,
    bse: float = 1e-5,
    llf: float = 1e-7,
    hc0: bool = False,
) -> dict[str, float]:
    """Return what is further from the truth than allowed; NaN is always."""
    limits = {"params": params, "bse": bse, "llf": llf}
    found = differences(result, exact, hc0=hc0)
    return {name: error for name, error in found.items() if not error <= limits[name]}


def assert_right(result: Any, exact: Fit, names: Sequence[str] = (), **limits: Any) -> None:
    """Fail where a result is off, and say in which parameter most."""
    found = wrong(result, exact, **limits)
    if found:
        off = np.abs(result.params - exact.params) / exact.bse
        off = np.maximum(
            off, np.abs(result.bse / (exact.hc0 if limits.get("hc0") else exact.bse) - 1)
        )
        worst = int(np.argmax(np.where(np.isnan(off), np.inf, off)))
        raise AssertionError(
            f"{found} too far from the truth; worst parameter {worst} "
            f"({names[worst] if len(names) else result.names[worst]}): "
            f"{result.params[worst]!r} +- {result.bse[worst]!r} instead of "
            f"{exact.params[worst]!r} +- {exact.bse[worst]!r}"
        )
