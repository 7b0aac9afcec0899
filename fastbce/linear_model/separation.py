"""Whether the likelihood has a maximum, and which columns are to blame where it has none.

It has none along a direction in which no sample is moved away from its label. If some are moved
towards it, the classes separate there (Albert and Anderson, Biometrika 71, 1984); if none is, the
columns are linearly dependent. Where a Newton step still moves logits, a linear program decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linprog

from fastbce.inference import InferenceError

from .coordinates import Coordinates, counted, parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastbce._inputs import Array

    from .objective import Objective
    from .solvers import Peak

# A Newton step that would still change a logit by this much means that there is no maximum near.
MOVING = 0.05
# Share of the largest effect above which a column takes part in a direction.
NAMED = 0.05
# Share below which a coefficient is the rounding of the linear program.
ABSENT = 1e-7
# How far a direction may move a sample away from its label, where the mean sample is moved by 1.
WRONG_WAY = 1e-6
# Samples that the linear program starts from, and is given more of in each round.
PROGRAM_ROWS, PROGRAM_ROUNDS = 2_000, 30
# Columns of a direction that are left out one after the other to find which it needs.
MOST_TRIED = 40
# Sets of columns that are tried for a smaller one.
MOST_SETS = 200
# Columns that a message names.
MOST_NAMED = 10


def refuse(objective: Objective, peak: Peak, names: Sequence[str], *, doubtful: bool) -> bool:
    """Raise where the likelihood has no maximum; tell whether a Newton step still moves logits.

    Where classes separate, each Newton step still moves logits by about 1, all of them the right
    way. A total loss below log(2) (for unit weights) leaves no sample on the wrong side.
    """
    null = peak.inverse.null
    complete = peak.loss < np.log(2) and not objective.rows.weighted
    # A direction that moves samples, and which the Hessian does not feel, is no dependence.
    unfelt = _null_moves(objective, null)
    moves = unfelt or _moves(objective, peak.step)
    if complete or moves or doubtful:
        program = _Program(objective)
        direction = program.separating()
        if direction is not None:
            raise _separation(program, peak, direction, names)
    if len(null) and not unfelt:
        raise dependence(objective, null, names)
    return moves


def columns_of(objective: Objective, direction: Array, names: Sequence[str]) -> str:
    """Return the columns that take part in a direction, for a message."""
    first = int(objective.coordinates.intercept)
    return _listed([names[first + i] for i in _involved(direction[first:])])


def too_far(which: str) -> InferenceError:
    """Return the error for a maximum that exists, but at logits of a hundred and more."""
    return InferenceError(
        f"the classes are nearly separated, by {which}: the likelihood has a maximum, but so far "
        "out that float64 cannot reach it, so there are no standard errors. Leave columns out, or "
        "set a finite C"
    )


def _involved(effect: Array) -> list[int]:
    """Return the places of more than a small share of the largest effect, that one first."""
    effect = np.abs(effect)
    order = np.argsort(-effect, kind="stable")
    return [int(i) for i in order if effect[i] > NAMED * effect[order[0]]]


def _moves(objective: Objective, direction: Array) -> bool:
    """Tell whether a logit may change by `MOVING`; one fused pass instead of a slow one.

    Each sample that moves by so much changes the loss of the direction, magnified, by 0.3 or more.
    """
    if not np.all(np.isfinite(direction)):
        return True
    loss = objective.sums(direction * (2 / MOVING), plain=True)[0]
    return not abs(loss - objective.rows.n * np.log(2)) < 0.3


def _null_moves(objective: Objective, null: Array) -> bool:
    """Tell whether a direction that the Hessian does not feel moves a sample.

    Then the probability of that sample is 0 or 1 to the last digit.
    """
    if not len(null):
        return False
    scale = np.linalg.norm(null, axis=1, keepdims=True)
    reach = objective.rows.reduce(
        partial(_reach, coordinates=objective.coordinates, directions=null / scale), np.maximum
    )
    return bool(np.max(reach) > 1e-5)


def _reach(
    X: Array, _y: Array, weight: Array | None, coordinates: Coordinates, directions: Array
) -> Array:
    """Return the largest change of a logit along each direction."""
    most = np.zeros(len(directions))
    for rows in counted(X, weight):
        logits = coordinates.design(rows) @ directions.T
        most = np.maximum(most, np.abs(logits).max(axis=0))
    return most


@dataclass
class _Extent:
    """The least and the largest value of each column, for each class."""

    least: Array  # (2, columns)
    most: Array


def _extents(X: Array, y: Array, weight: Array | None) -> _Extent:
    shape = (2, X.shape[1])
    least, most = np.full(shape, np.inf), np.full(shape, -np.inf)
    for part in parts(X):
        for label in (0, 1):
            chosen = (y[part] > 0) == bool(label)
            if weight is not None:
                chosen &= weight[part] > 0
            if chosen.any():
                rows = X[part][chosen]
                least[label] = np.minimum(least[label], rows.min(axis=0))
                most[label] = np.maximum(most[label], rows.max(axis=0))
    return _Extent(least, most)


def _wider(first: _Extent, second: _Extent) -> _Extent:
    return _Extent(np.minimum(first.least, second.least), np.maximum(first.most, second.most))


def _separate_alone(extent: _Extent, *, intercept: bool) -> Array:
    """Return the numbers of the columns that separate the classes without any other."""
    least, most = extent.least, extent.most
    if intercept:
        apart = (least[1] >= most[0]) | (least[0] >= most[1])
        moved = least.min(axis=0) < most.max(axis=0)
    else:
        apart = ((least[1] >= 0) & (most[0] <= 0)) | ((most[1] <= 0) & (least[0] >= 0))
        moved = (least.min(axis=0) < 0) | (most.max(axis=0) > 0)
    return np.flatnonzero(apart & moved)


class _Program:
    """The linear program whose solutions separate the classes, with few coefficients.

    Minimise the sum of the coefficients' sizes, such that no sample moves away from its label, and
    all together move by 1 each in the mean. It sees some of the samples, and those that its last
    solution moves the wrong way, until there are none.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        coordinates = objective.coordinates
        self.first = int(coordinates.intercept)
        total, count = objective.rows.reduce(partial(_signed_total, coordinates=coordinates))
        self.mean = total / max(count, 1.0)
        sample = objective.rows.sample(PROGRAM_ROWS)
        self.rows = _signed(sample.X, sample.y, sample.weight, coordinates)

    def separating(self, columns: Array | None = None) -> Array | None:
        """Return a direction that separates the classes by these columns (or all), or None."""
        size = self.objective.coordinates.size
        columns = np.arange(self.first, size) if columns is None else columns
        for _ in range(PROGRAM_ROUNDS):
            found = self._solve(columns)
            if found is None:
                return None
            direction = np.zeros(size)
            direction[: self.first] = found[: self.first]
            direction[columns] = found[self.first :]
            worst = self.objective.rows.reduce(
                partial(_most_wrong, coordinates=self.objective.coordinates, direction=direction),
                _more_wrong,
            )
            if not len(worst.margins) or worst.margins.min() >= -WRONG_WAY:
                return direction
            self.rows = np.vstack([self.rows, worst.rows[worst.margins < -WRONG_WAY]])
        return None

    def _solve(self, columns: Array) -> Array | None:
        used = np.concatenate([np.arange(self.first), columns])
        rows, mean = self.rows[:, used], self.mean[used]
        free, count = self.first, len(columns)
        # The coefficients are differences of two that are not negative.
        wide = np.hstack([rows, -rows[:, free:]])
        found = linprog(
            np.concatenate([np.zeros(free), np.ones(2 * count)]),
            A_ub=-wide,
            b_ub=np.zeros(len(wide)),
            A_eq=np.concatenate([mean, -mean[free:]])[None],
            b_eq=[1.0],
            bounds=[(None, None)] * free + [(0, None)] * (2 * count),
            method="highs",
        )
        if found.x is None or found.status != 0:
            return None
        coef = found.x[free : free + count] - found.x[free + count :]
        return np.concatenate([found.x[:free], coef])


def _signed(X: Array, y: Array, weight: Array | None, coordinates: Coordinates) -> Array:
    """Return rows that times a direction are the samples' moves towards their labels."""
    rows = coordinates.design(X) * np.where(y > 0, 1.0, -1.0)[:, None]
    # Only the signs of their moves count: a sample far out weighs no more than others.
    size = np.abs(rows).max(axis=1, initial=0.0, keepdims=True)
    rows /= np.where(size > 0, size, 1.0)
    return rows if weight is None else rows[weight > 0]


def _signed_total(
    X: Array, y: Array, weight: Array | None, coordinates: Coordinates
) -> tuple[Array, float]:
    total, count = np.zeros(coordinates.size), 0
    for part in parts(X):
        rows = _signed(X[part], y[part], None if weight is None else weight[part], coordinates)
        total += rows.sum(axis=0)
        count += len(rows)
    return total, float(count)


@dataclass
class _Wrong:
    """The samples that a direction moves the most the wrong way."""

    margins: Array
    rows: Array

    def kept(self) -> _Wrong:
        few = np.argsort(self.margins, kind="stable")[: PROGRAM_ROWS // 2]
        return _Wrong(self.margins[few], self.rows[few])


def _most_wrong(
    X: Array, y: Array, weight: Array | None, coordinates: Coordinates, direction: Array
) -> _Wrong:
    worst = _Wrong(np.empty(0), np.empty((0, coordinates.size)))
    for part in parts(X):
        rows = _signed(X[part], y[part], None if weight is None else weight[part], coordinates)
        margins = rows @ direction
        wrong = margins < -WRONG_WAY
        worst = _more_wrong(worst, _Wrong(margins[wrong], rows[wrong]))
    return worst


def _more_wrong(first: _Wrong, second: _Wrong) -> _Wrong:
    return _Wrong(
        np.concatenate([first.margins, second.margins]), np.vstack([first.rows, second.rows])
    ).kept()


def _separation(
    program: _Program, peak: Peak, direction: Array, names: Sequence[str]
) -> InferenceError:
    """Return the error that names the columns: each that separates alone, or else a set."""
    objective, first = program.objective, program.first
    extent = objective.rows.reduce(_extents, _wider)
    alone = _separate_alone(extent, intercept=bool(first)) + first
    columns = alone if len(alone) else _smallest(program, direction)
    least = objective.rows.reduce(
        partial(_least_margin, coordinates=objective.coordinates, direction=peak.theta), min
    )
    advice = "Leave them out, fit with penalty='firth', or set a finite C"
    if len(alone) > 1:
        advice = f"Each of them does so alone. {advice}"
    return InferenceError(
        f"the classes separate {'completely' if least > 0 else 'quasi-completely'}: the likelihood "
        "has no maximum, its coefficients grow without bound and have no standard errors. Columns "
        f"that separate: {_listed([names[i] for i in columns])}. {advice}"
    )


def _listed(names: Sequence[str]) -> str:
    """Return names for a message, the first ones where there are many."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _least_margin(
    X: Array, y: Array, weight: Array | None, coordinates: Coordinates, direction: Array
) -> float:
    least = np.inf
    for part in parts(X):
        rows = _signed(X[part], y[part], None if weight is None else weight[part], coordinates)
        least = min(least, float(np.min(rows @ direction, initial=np.inf)))
    return least


def _support(direction: Array, first: int) -> Array:
    """Return the columns of a direction, that with the least part first."""
    size = np.abs(direction)
    size[:first] = 0.0
    order = np.argsort(size, kind="stable")
    return np.asarray(order[size[order] > ABSENT * size.max()])


def _smallest(program: _Program, direction: Array) -> Array:
    """Return columns that separate together, and of which none can be left out."""
    columns = _support(direction, program.first)
    if len(columns) > MOST_TRIED:
        return columns[::-1]
    for column in columns:
        if column in columns and len(columns) > 1:
            fewer = program.separating(columns[columns != column])
            if fewer is not None:
                columns = _support(fewer, program.first)
    # What is left may still not be the smallest set; where there are few others, they are tried.
    every = range(program.first, program.objective.coordinates.size)
    sets = [c for size in range(2, len(columns)) for c in _sets(every, size)]
    for chosen in sets[:MOST_SETS]:
        if program.separating(np.array(chosen)) is not None:
            return np.array(chosen)
    return np.sort(columns)


def _sets(every: range, size: int) -> list[tuple[int, ...]]:
    return list(combinations(every, size)) if comb(len(every), size) <= MOST_SETS else []


def dependence(objective: Objective, null: Array, names: Sequence[str]) -> InferenceError:
    """Return the error that names the columns which others make up; never the intercept."""
    first = int(objective.coordinates.intercept)
    names = names[first:]
    extent = objective.rows.reduce(_extents, _wider)
    least, most = extent.least.min(axis=0), extent.most.max(axis=0)
    constant = [int(i) for i in np.flatnonzero((least == most) & ((least == 0) | bool(first)))]
    effects = null[:, first:].copy()
    effects[:, constant] = 0.0
    groups = _groups(effects)
    advice = []
    if constant:
        advice.append(f"leave out {_listed([names[i] for i in constant])} (constant)")
    if groups:
        listed = [_listed([names[i] for i in group]) for group in groups[:MOST_NAMED]]
        more = f"; and {len(groups) - MOST_NAMED} more groups" if len(groups) > MOST_NAMED else ""
        advice.append(f"leave out one of each group: {'; '.join(listed)}{more}")
    n, count = objective.rows.n, len(null)
    few = f" (there are {n} rows for them)" if n <= len(names) else ""
    return InferenceError(
        f"the columns are linearly dependent ({count} too many){few}, so single coefficients have "
        f"no standard error: {', and '.join(advice)}"
    )


def _groups(effects: Array) -> list[list[int]]:
    """Return the columns of each dependency; each keeps one that no other one has."""
    free = np.ones(effects.shape[1], bool)
    groups = []
    for row in range(len(effects)):
        size = np.abs(effects[row:]) * free
        if not size.size or not size.max() > 1e-6:
            break
        # The clearest dependency that is left (Gauss-Jordan elimination with row exchange).
        best, pivot = divmod(int(np.argmax(size)), size.shape[1])
        effects[[row, row + best]] = effects[[row + best, row]]
        free[pivot] = False
        effects[row] /= effects[row, pivot]
        others = np.arange(len(effects)) != row
        effects[others] -= effects[others, pivot, None] * effects[row]
        groups.append(row)
    return [_involved(effects[row]) for row in groups]
