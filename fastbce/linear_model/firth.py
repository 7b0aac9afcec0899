"""Fits by Firth's penalised likelihood: finite estimates and tests where classes separate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastbce.inference import InferenceError, LogitResult

from .curvature import inverse_of, refined
from .infer import evidence_of
from .objective import HESSIAN
from .profile import profile_of
from .separation import dependence
from .solvers import NEWTON_COLUMNS, NotFiniteError
from .surfaces import Firth, Level, maximised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastbce._inputs import Array

    from .objective import Objective

# Of the intervals that a fit comes with.
ALPHA = 0.05


@dataclass
class FirthFit:
    """The estimates, and the inference or the reason why there is none."""

    theta: Array
    steps: int
    result: LogitResult | str


def fit_firth(objective: Objective, start: Array, names: Sequence[str]) -> FirthFit:
    """Fit by Firth's method.

    Raises
    ------
    ValueError
        If columns depend on each other or are too many, or the maximum is not reached.
    """
    if objective.rows.columns > NEWTON_COLUMNS:
        raise ValueError(
            f"penalty='firth' needs the Hessian of {objective.rows.columns} columns, which does "
            f"not fit into memory; fit at most {NEWTON_COLUMNS} columns"
        )
    surface = Firth(objective)
    _refuse_dependence(objective, names)
    try:
        peak = maximised(surface, start)
    except InferenceError as error:
        raise ValueError(str(error)) from None
    steps = surface.evaluations - 1
    try:
        return FirthFit(peak.theta, steps, _result(surface, peak, names))
    except InferenceError as error:
        return FirthFit(peak.theta, steps, str(error))


def _refuse_dependence(objective: Objective, names: Sequence[str]) -> None:
    """Raise where the information is singular at coefficients of 0, and so everywhere."""
    zero, total = np.zeros(objective.coordinates.size), objective.rows.total
    information = np.asarray(objective.sums(zero, HESSIAN)[2]) / total
    if not np.all(np.isfinite(information)):
        raise NotFiniteError
    inverse = inverse_of(information)
    if not inverse.good:
        inverse = refined(objective, zero, information)
    if len(inverse.null):
        raise ValueError(str(dependence(objective, inverse.null, names)))


def _result(surface: Firth, peak: Level, names: Sequence[str]) -> LogitResult:
    objective, coordinates = surface.objective, surface.coordinates
    profile = profile_of(surface, peak, ALPHA)
    half = coordinates.matrix @ peak.root
    unit = np.max(np.abs(half), axis=1, keepdims=True)
    return LogitResult(
        names=tuple(names),
        params=coordinates.raw(peak.theta),
        covariance=half @ half.T,
        cov_type="nonrobust",
        nobs=objective.rows.total,
        llf=peak.value + surface.shift,
        llnull=_null(surface).value + surface.shift,
        standard_errors=unit[:, 0] * np.linalg.norm(half / unit, axis=1),
        method="firth",
        profile=profile,
        evidence=evidence_of(objective.rows, intercept=coordinates.intercept),
    )


def _null(surface: Firth) -> Level:
    """Return the maximum where all coefficients but the intercept are 0, with the same penalty."""
    first = int(surface.coordinates.intercept)
    zero = np.zeros(surface.coordinates.size)
    fixed = surface.coordinates.matrix[first:]
    if first and len(fixed):
        return maximised(surface, zero, fixed)
    level = maximised(surface, zero) if first else surface(zero)
    if level is None:
        raise InferenceError("the information is singular at coefficients of 0")
    return level
