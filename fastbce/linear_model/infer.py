"""Standard errors of an unpenalised fit, or the reason why there are none."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np
from scipy import optimize
from scipy.special import logit, xlogy
from sklearn.exceptions import ConvergenceWarning

from fastbce.functional import bce_with_logits_loss, sigmoid
from fastbce.inference import Evidence, InferenceError, LogitResult

from . import separation
from .curvature import EPS
from .messages import warn
from .robust import Wanted, covariance_of
from .samples import Memory
from .solvers import NEWTON_COLUMNS, Peak, Solution, settle
from .sparse import SparseRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastbce._inputs import Array

    from .objective import Objective
    from .samples import Rows

# A standard error of so many logits, for a change that moves logits by 1 (root mean square), says
# that next to nothing is known. 20 rows of coin tosses give 0.5, a strong model of 100 rows 10.
NOTHING_KNOWN = 100.0
# How many logits rounding of the gradient may add to a step; a step of 0.05 logits is looked for.
DOUBTFUL = 1e-3
# Rows whose values stand for a column where two fits are compared.
EVIDENCE_ROWS = 1 << 12


def infer(
    objective: Objective, solution: Solution, names: Sequence[str], wanted: Wanted, tol: float
) -> LogitResult:
    """Return the inference on an unpenalised fit, whose end is moved to the checked maximum.

    Parameters
    ----------
    objective : Objective
        What was minimised, without a penalty.
    solution : Solution
        Where the solver ended; its parameters are those of the result afterwards.
    names : sequence of str
        One for each parameter.
    wanted : Wanted
        Which covariance, and what weights mean.
    tol : float
        Of the solver.

    Returns
    -------
    LogitResult
        With the covariance that is wanted.

    Raises
    ------
    InferenceError
        If columns are linearly dependent or separate the classes, or the maximum was not reached.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        If the classes are so nearly separated that some standard errors are large without bounds.
    """
    if objective.rows.columns > NEWTON_COLUMNS:
        raise InferenceError(
            f"the Hessian of {objective.rows.columns} columns does not fit into memory, so there "
            f"are no standard errors; fit at most {NEWTON_COLUMNS} columns"
        )
    peak = settle(objective, solution, tol)
    error, change = _least_known(objective, peak)
    # Beyond this, steps do not tell whether they have ended at a maximum.
    doubtful = error**2 * EPS * objective.rows.total > DOUBTFUL
    moves = separation.refuse(objective, peak, names, doubtful=doubtful)
    if not solution.converged:
        raise InferenceError(
            f"the fit did not converge ({solution.reason}), so there are no standard errors"
        )
    if moves or doubtful:
        direction = peak.step if moves else change
        raise separation.too_far(separation.columns_of(objective, direction, names))
    if not peak.settled:
        raise InferenceError(
            "the fit did not converge: the likelihood is so flat that its maximum, if it has one, "
            f"cannot be reached in float64 (the next step is {peak.decrement**0.5:.1g} standard "
            "errors long), so there are no standard errors"
        )
    _warn_of_separation(objective, error, change, names)
    return _result(objective, peak, names, wanted)


def _result(objective: Objective, peak: Peak, names: Sequence[str], wanted: Wanted) -> LogitResult:
    """Return the inference at a checked maximum, in the user's coordinates."""
    rows = objective.rows
    nobs = observations(rows, wanted.weight_kind)
    covariance = covariance_of(objective, peak, wanted, nobs)
    # Analytic weights count relative to their mean.
    scale = nobs / rows.total if wanted.weight_kind == "analytic" else 1.0
    return LogitResult(
        names=tuple(names),
        params=objective.coordinates.raw(peak.theta),
        covariance=covariance.matrix,
        cov_type=wanted.cov_type,
        nobs=nobs,
        llf=-peak.loss * scale,
        llnull=null_likelihood(rows) * scale,
        standard_errors=covariance.errors,
        weight_kind=wanted.weight_kind,
        clusters=covariance.clusters,
        evidence=evidence_of(rows, intercept=objective.coordinates.intercept),
    )


def observations(rows: Rows, weight_kind: str) -> float:
    """Return the number of samples, as weights of a kind count them."""
    if weight_kind == "frequency" or not rows.weighted:
        return rows.total
    count: tuple[int] = rows.reduce(_weighted)
    return float(count[0])


def _weighted(_X: Array, y: Array, weight: Array | None) -> tuple[int]:
    return (len(y) if weight is None else int(np.count_nonzero(weight)),)


def null_likelihood(rows: Rows) -> float:
    """Return the log-likelihood of the intercept alone, and of the offset if there is one."""
    total, positives = rows.total, rows.positives
    if rows.offset is None:
        share = positives / total
        return float(total * (xlogy(share, share) + xlogy(1 - share, 1 - share)))
    labels, weight = rows.reduce(lambda _X, y, weight: (y, weight))
    z = rows.offset + null_intercept(rows)
    return -float(bce_with_logits_loss(z, labels, sample_weight=weight, reduction="sum"))


def null_intercept(rows: Rows) -> float:
    """Return the intercept of the model that has nothing else but the offset."""
    share = rows.positives / rows.total
    odds = float(logit(min(max(share, EPS), 1 - EPS)))
    if rows.offset is None:
        return odds
    offset, weight = rows.offset, rows.reduce(lambda _X, _y, weight: weight)

    def excess(intercept: float) -> float:
        return float(np.average(sigmoid(offset + intercept), weights=weight) - share)

    # The mean probability grows with the intercept; at the ends, all are on one side of the share.
    low, high = odds - float(offset.max()), odds - float(offset.min())
    if not excess(low) < 0 < excess(high):
        return low
    return float(optimize.brentq(excess, low, high, xtol=1e-12, rtol=4 * EPS))


def evidence_of(rows: Rows, *, intercept: bool) -> Evidence | None:
    """Return what tells whether another fit is of the same samples."""
    if not isinstance(rows, Memory):
        return None
    labels = crc32(rows.y != 0)
    for array in (rows.weight, rows.offset):
        labels = crc32(b"none" if array is None else np.ascontiguousarray(array).data, labels)
    if isinstance(rows, SparseRows):
        return Evidence(labels, None)
    some = rows.sample(EVIDENCE_ROWS).X
    columns = [crc32(some[:, j].astype(np.float64).tobytes()) for j in range(rows.columns)]
    return Evidence(labels, (0, *columns) if intercept else tuple(columns))


def _least_known(objective: Objective, peak: Peak) -> tuple[float, Array]:
    """Return the largest standard error of a change of the logits by 1, and that change.

    By 1 in the root of the mean square. Columns that nearly agree have large standard errors too,
    of what they hold beyond each other; here it is the samples' probabilities, all but 0 or 1, that
    tell nothing. Where no error is large, 0 is returned.
    """
    root = peak.inverse.root
    if not np.max(np.linalg.norm(root, axis=1), initial=0.0) > 0.1 * NOTHING_KNOWN:
        return 0.0, np.zeros_like(peak.theta)
    # At coefficients of 0 each sample weighs 1/4.
    spread = 4 * objective.spread(root) / objective.rows.total
    values, vectors = np.linalg.eigh(spread)
    return float(np.sqrt(max(values[-1], 0.0))), root @ vectors[:, -1]


def _warn_of_separation(
    objective: Objective, error: float, change: Array, names: Sequence[str]
) -> None:
    # Tossed coins of the same weights would give 2 / sqrt(total): small weights are no separation.
    if error > NOTHING_KNOWN * max(1.0, 2 / np.sqrt(objective.rows.total)):
        which = separation.columns_of(objective, change, names)
        warn(
            f"the classes are nearly separated, by {which}: a change that moves the logits by 1 "
            f"has a standard error of {error:.1g}, so next to nothing is known of it, and normal "
            "confidence intervals and p-values do not hold. Leave columns out, or set a finite C",
            ConvergenceWarning,
        )
