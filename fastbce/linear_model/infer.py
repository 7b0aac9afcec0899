"""Standard errors of an unpenalised fit, or the reason why there are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import xlogy
from sklearn.exceptions import ConvergenceWarning

from fastbce.inference import InferenceError, LogitResult

from . import separation
from .curvature import EPS
from .messages import warn
from .solvers import NEWTON_COLUMNS, Peak, Solution, settle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastbce._inputs import Array

    from .objective import Objective

# A standard error of so many logits, for a change that moves logits by 1 (root mean square), says
# that next to nothing is known. 20 rows of coin tosses give 0.5, a strong model of 100 rows 10.
NOTHING_KNOWN = 100.0
# How many logits rounding of the gradient may add to a step; a step of 0.05 logits is looked for.
DOUBTFUL = 1e-3


def infer(
    objective: Objective, solution: Solution, names: Sequence[str], cov_type: str, tol: float
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
    cov_type : str
        One of `fastbce.inference.COV_TYPES`.
    tol : float
        Of the solver.

    Returns
    -------
    LogitResult
        With `cov_type` covariance.

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
    return _result(objective, peak, names, cov_type)


def _result(objective: Objective, peak: Peak, names: Sequence[str], cov_type: str) -> LogitResult:
    """Return the inference at a checked maximum, in the user's coordinates."""
    matrix, root = objective.coordinates.matrix, peak.inverse.root
    if cov_type == "nonrobust":
        half = matrix @ root
    else:
        # The sandwich, between roots: near-dependent columns cancel before the squares.
        meat = objective.projected(peak.theta, root, "squared residuals")
        values, vectors = np.linalg.eigh(meat)
        half = matrix @ (root @ (vectors * np.sqrt(np.maximum(values, 0))))
    unit = np.max(np.abs(half), axis=1, initial=0.0, keepdims=True)
    unit[unit == 0] = 1.0
    total = objective.rows.total
    share = objective.rows.positives / total
    llnull = float(total * (xlogy(share, share) + xlogy(1 - share, 1 - share)))
    return LogitResult(
        names=tuple(names),
        params=objective.coordinates.raw(peak.theta),
        # A product with its own transpose: variances are sums of squares.
        covariance=half @ half.T,
        cov_type=cov_type,
        nobs=total,
        llf=-peak.loss,
        llnull=llnull,
        standard_errors=unit[:, 0] * np.linalg.norm(half / unit, axis=1),
    )


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
    spread = 4 * objective.projected(np.zeros_like(peak.theta), root) / objective.rows.total
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
