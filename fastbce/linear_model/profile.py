"""Profiles of a likelihood: its maximum where some parameters are given, intervals, tests.

An interval holds the values of a parameter whose profile is no more than half a quantile of
chi-squared below the maximum (Venzon and Moolgavkar, Applied Statistics 37, 1988). The signed root
of the distance from the maximum is nearly linear in the parameter, so Newton's method on it takes
two or three values.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import chdtrc, ndtri

from fastbce.inference import InferenceError, Profile

from .objective import likelihood_of
from .surfaces import Firth, Likelihood, Surface, maximised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastbce._inputs import Array
    from fastbce.inference import LogitResult

    from .samples import Memory
    from .surfaces import Level

MOST_VALUES = 60
# How near the root must come, relative to its goal.
NEAR = 1e-9
# Slope of the profile, per standard error, at which it never gets as low as an interval asks for.
FLAT = 1e-9
# Two log-likelihoods of the same samples agree to this, relative.
SAME = 1e-8


def profile_of(surface: Surface, peak: Level, alpha: float) -> Profile:
    """Return likelihood-ratio tests of each parameter being 0, and intervals.

    Raises
    ------
    InferenceError
        If a maximum is not reached.
    """
    matrix = surface.coordinates.matrix
    statistics = np.array([_statistic(surface, peak, row) for row in matrix])
    intervals = intervals_of(surface, peak, range(len(matrix)), alpha)
    return Profile(statistics, np.asarray(chdtrc(1, statistics)), alpha, intervals)


def _statistic(surface: Surface, peak: Level, row: Array) -> float:
    along = peak(row)
    start = peak.theta - along * (row @ peak.theta) / (row @ along)
    level = maximised(surface, start, row[None])
    return max(2 * (peak.value - level.value), 0.0)


def intervals_of(surface: Surface, peak: Level, which: Sequence[int], alpha: float) -> Array:
    """Return the profile intervals of some parameters, of shape (number, 2).

    A bound is infinite where the profile never comes down so far.

    Raises
    ------
    InferenceError
        If a maximum is not reached.
    """
    goal = float(-ndtri(alpha / 2))
    rows = surface.coordinates.matrix[list(which)]
    return np.array(
        [[_bound(surface, peak, row, goal, side) for side in (-1.0, 1.0)] for row in rows]
    ).reshape(-1, 2)


def _bound(surface: Surface, peak: Level, row: Array, goal: float, side: float) -> float:
    """Return the bound of a parameter on one side."""
    best = float(row @ peak.theta)
    error = float(np.linalg.norm(peak.root.T @ row))
    level, value = peak, best
    inner, outer = 0.0, np.inf  # distances from the estimate, in standard errors
    distance = goal
    for _ in range(MOST_VALUES):
        target = best + side * distance * error
        along = level(row)
        start = level.theta + along * (target - value) / (row @ along)
        level, value = maximised(surface, start, row[None]), target
        root = np.sqrt(max(2 * (peak.value - level.value), 0.0))
        along = level(row)
        # How fast the profile falls, per standard error.
        slope = -side * error * float(along @ level.score) / float(row @ along)
        if abs(root - goal) <= NEAR * goal:
            return target
        if root < goal:
            inner = distance
        else:
            outer = distance
        if not slope > FLAT:
            if np.isfinite(outer):
                break
            return side * np.inf
        distance += (goal - root) * root / slope
        if not inner < distance < outer:
            distance = (inner + outer) / 2 if np.isfinite(outer) else 2 * inner + goal
        elif not np.isfinite(outer):
            distance = min(distance, 4 * inner + goal)
        if outer - inner < NEAR * outer:
            return target
    raise InferenceError("a bound of a profile interval was not found: scale the columns")


def profile_conf_int(
    rows: Memory, result: LogitResult, alpha: float, names: Sequence[str] | None
) -> Array:
    """Return profile intervals of a fit, from its samples.

    Raises
    ------
    ValueError
        If the samples are others, a name is unknown, or there is no likelihood.
    InferenceError
        If a bound cannot be found.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie strictly between 0 and 1, got {alpha!r}")
    if not result.has_likelihood:
        what = "samples in clusters" if result.clusters else "sampling weights"
        raise ValueError(f"there is no likelihood of {what} to make profiles of; use conf_int")
    chosen = result.names if names is None else names
    unknown = [name for name in chosen if name not in result.names]
    if isinstance(chosen, str) or unknown:
        raise ValueError(f"names must be some of {', '.join(result.names[:20])}, got {names!r}")
    if result.weight_kind == "analytic" and rows.weight is not None:
        rows = replace(rows, weight=rows.weight * (result.nobs / rows.total))
    objective = likelihood_of(rows, intercept=result.names[:1] == ("const",))
    surface: Surface = Likelihood(objective)
    if result.method == "firth":
        surface = Firth(objective)
    level = surface(objective.coordinates.standard(result.params))
    value = -np.inf if level is None else level.value + surface.shift
    if level is None or not abs(value - result.llf) <= SAME * max(abs(result.llf), 1.0):
        raise ValueError(
            f"these are not the samples of the fit: its log-likelihood is {result.llf:.10g}, that "
            f"of these samples {value:.10g}; pass the same weights and offset too"
        )
    return intervals_of(surface, level, [result.names.index(name) for name in chosen], alpha)
