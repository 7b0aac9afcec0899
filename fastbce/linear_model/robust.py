"""Covariances of the coefficients that hold when the model is wrong, or samples come in clusters.

All of them are sandwiches ``H^-1 S H^-1``. `S` is taken between roots of ``H^-1``: columns that
nearly depend on each other cancel before squares are taken.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastbce.inference import InferenceError

from .coordinates import Coordinates, parts

if TYPE_CHECKING:
    from fastbce._inputs import Array

    from .objective import Objective
    from .solvers import Peak

# Powers of 1 - h, the leverage, that divide squared residuals.
LEVERAGE_POWERS = {"HC0": 0, "HC1": 0, "HC2": 1, "HC3": 2}
# Eigenvalues of a sum of squares below this share of the largest are rounding.
ROUNDING = 1e-12


class Wanted(NamedTuple):
    """Which covariance is asked for, and what the weights mean."""

    cov_type: str
    weight_kind: str = "frequency"
    clusters: Array | None = None  # numbers of the samples' clusters, a column each way


class Covariance(NamedTuple):
    """A covariance in the user's coordinates."""

    matrix: Array
    errors: Array
    clusters: tuple[int, ...] = ()


def covariance_of(objective: Objective, peak: Peak, wanted: Wanted, nobs: float) -> Covariance:
    """Return the covariance at a maximum.

    Raises
    ------
    InferenceError
        If there are too few samples or clusters for it, or a variance by two ways of clusters is
        negative.
    """
    root = peak.inverse.root
    outer = objective.coordinates.matrix @ root
    total, k = objective.rows.total, len(peak.theta)
    if wanted.cov_type == "nonrobust":
        # Analytic weights are those relative to their mean.
        scale = np.sqrt(total / nobs) if wanted.weight_kind == "analytic" else 1.0
        return Covariance(*_from_half(outer * scale, np.ones(root.shape[1])))
    if wanted.cov_type in ("HC1", "cluster") and nobs <= k:
        raise InferenceError(
            f"cov_type={wanted.cov_type!r} divides by n - k, but there are {nobs:g} observations "
            f"for {k} parameters; use 'HC0'"
        )
    if wanted.clusters is not None:
        middle, counts = _clustered(objective, peak, wanted.clusters)
        middle *= (nobs - 1) / (nobs - k)
    else:
        middle, counts = _scores_squared(objective, peak, wanted), ()
        if wanted.cov_type == "HC1":
            middle *= nobs / (nobs - k)
    values, vectors = np.linalg.eigh(middle)
    values[np.abs(values) < ROUNDING * np.max(np.abs(values), initial=0.0)] = 0.0
    covariance, errors = _from_half(outer @ (vectors * np.sqrt(np.abs(values))), np.sign(values))
    if not np.all(np.isfinite(errors)):
        raise InferenceError(
            "with two ways of clusters a variance is negative, since that of their intersection "
            "is taken off: there are too few clusters for it. Use one way"
        )
    return Covariance(covariance, errors, counts)


def _from_half(half: Array, sign: Array) -> tuple[Array, Array]:
    """Return ``half diag(sign) half^T``, and the roots of its diagonal without its squares."""
    unit = np.max(np.abs(half), axis=1, initial=0.0, keepdims=True)
    unit[unit == 0] = 1.0
    # Variances are sums of squares, but where a sign is negative.
    variances = np.sum((half / unit) ** 2 * sign, axis=1)
    with np.errstate(invalid="ignore"):
        return (half * sign) @ half.T, unit[:, 0] * np.sqrt(variances)


def _scores_squared(objective: Objective, peak: Peak, wanted: Wanted) -> Array:
    """Return the sum of the outer products of the samples' scores, between roots."""
    return objective.rows.reduce(
        partial(
            _squared,
            coordinates=objective.coordinates,
            theta=peak.theta,
            root=peak.inverse.root,
            wanted=Wanted(wanted.cov_type, wanted.weight_kind),
            offset=objective.rows.offset,
        )
    )[0]


class _Part(NamedTuple):
    """Some samples: residuals, variances of labels, and rows between roots."""

    residuals: Array
    variances: Array
    along: Array


def _part(
    X: Array, y: Array, offset: Array | None, coordinates: Coordinates, theta: Array, root: Array
) -> _Part:
    design = coordinates.design(X)
    z = design @ theta
    if offset is not None:
        z += offset
    e = np.exp(-np.abs(z))
    positive = y > 0
    # Of the label's own side: no difference of two ones.
    size = np.where((z >= 0) == positive, e, 1.0) / (1 + e)
    return _Part(np.where(positive, size, -size), e / (1 + e) ** 2, design @ root)


@np.errstate(all="ignore")
def _squared(
    X: Array,
    y: Array,
    weight: Array | None,
    coordinates: Coordinates,
    theta: Array,
    root: Array,
    wanted: Wanted,
    offset: Array | None,
) -> tuple[Array]:
    """Return the sum of outer products, of one chunk."""
    power = LEVERAGE_POWERS[wanted.cov_type]
    total = np.zeros((root.shape[1],) * 2)
    for part in parts(X):
        shift = None if offset is None else offset[part]
        residuals, variances, along = _part(X[part], y[part], shift, coordinates, theta, root)
        factor = residuals**2
        w = 1.0 if weight is None else weight[part]
        if power:
            # Of one of the rows that a frequency weight stands for.
            own = variances if wanted.weight_kind == "frequency" else variances * w
            # Below 1: a direction that one sample alone tells of would separate.
            leverage = own * np.sum(along**2, axis=1)
            factor /= (1 - leverage) ** power
        factor *= w if wanted.weight_kind == "frequency" else w * w
        total += (along.T * factor) @ along
    return (total,)


@np.errstate(all="ignore")
def _clustered(objective: Objective, peak: Peak, clusters: Array) -> tuple[Array, tuple[int, ...]]:
    """Return the middle of the sandwich by clusters, and their numbers."""
    rows = objective.rows
    weight = rows.reduce(lambda _X, _y, weight: weight)
    used = np.ones(len(clusters), np.bool_) if weight is None else weight > 0
    codes = [_numbered(clusters[:, way], used) for way in range(clusters.shape[1])]
    counts = tuple(int(code.max()) + 1 for code in codes)
    if min(counts) < 2:
        raise InferenceError("all samples are in one cluster; clusters need at least 2")
    signs = [1.0] * len(codes)
    if len(codes) == 2:
        codes.append(_numbered(codes[0] * counts[1] + codes[1], used))
        signs.append(-1.0)

    def scores(X: Array, y: Array, weight: Array | None) -> list[Array]:
        sums = [np.zeros((int(code.max()) + 1, peak.inverse.root.shape[1])) for code in codes]
        for part in parts(X):
            shift = None if rows.offset is None else rows.offset[part]
            found = _part(
                X[part], y[part], shift, objective.coordinates, peak.theta, peak.inverse.root
            )
            w = 1.0 if weight is None else weight[part]
            own = found.along * (found.residuals * w)[:, None]
            for code, total in zip(codes, sums, strict=True):
                np.add.at(total, code[part], own)
        return sums

    size = peak.inverse.root.shape[1]
    middle = np.zeros((size, size))
    for sign, total in zip(signs, rows.reduce(scores), strict=True):
        count = len(total)
        middle += sign * count / (count - 1) * (total.T @ total)
    return middle, counts


def _numbered(values: Array, used: Array) -> Array:
    """Return the numbers of the clusters of the samples that count; the others are in the first."""
    codes = np.zeros(len(values), np.intp)
    codes[used] = np.unique(values[used], return_inverse=True)[1].reshape(-1)
    return codes
