"""Log-likelihoods as surfaces, Firth's penalised one among them, and how their maxima are found.

Firth's is the log-likelihood plus half the logarithm of the determinant of the information (Firth,
Biometrika 80, 1993; Heinze and Schemper, Statistics in Medicine 21, 2002). Its score is
``sum w (y - p + h (1/2 - p)) x`` with the leverages ``h``, for which each step reads the samples
once more.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from scipy import linalg

from fastbce.inference import InferenceError

from .coordinates import Coordinates
from .curvature import EPS, inverse_of, refined
from .objective import HESSIAN, designs
from .solvers import Steps

if TYPE_CHECKING:
    from fastbce._inputs import Array

    from .objective import Objective

MOST_STEPS, MOST_HALVINGS = 200, 40
# Decrement, in squared standard errors, at which a maximum is reached: the value is right to half
# of it.
REACHED = 1e-13
# One at which steps are taken without a look at the value.
CLOSE = 1e-9


class Level(NamedTuple):
    """What is known of a (penalised) log-likelihood at some parameters."""

    theta: Array
    value: float
    score: Array
    root: Array  # of the inverse of the information

    def __call__(self, vectors: Array) -> Array:
        """Return the inverse information times vectors."""
        return np.asarray(self.root @ (self.root.T @ vectors))


class Surface(Protocol):
    """A (penalised) log-likelihood."""

    # Whether the information is minus its Hessian.
    exact: bool

    @property
    def coordinates(self) -> Coordinates:
        """The coordinates of its parameters."""

    @property
    def shift(self) -> float:
        """What is added to its values in the user's coordinates."""

    def __call__(self, theta: Array) -> Level | None:
        """Return what is known at some parameters; None where the information is singular."""


class Likelihood:
    """The log-likelihood of samples as a surface."""

    exact = True

    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    @property
    def coordinates(self) -> Coordinates:
        """The coordinates of its parameters."""
        return self.objective.coordinates

    @property
    def shift(self) -> float:
        """What is added to its values in the user's coordinates."""
        return 0.0

    def __call__(self, theta: Array) -> Level | None:
        """Return what is known at some parameters; None where the information is singular."""
        loss, slope, matrix = self.objective.sums(theta, HESSIAN)
        if not np.isfinite(loss) or not np.all(np.isfinite(np.asarray(matrix))):
            return None
        root = root_of(self.objective, theta, np.asarray(matrix))
        return None if root is None else Level(theta, -loss, -slope, root)


@dataclass
class Firth:
    """The penalised log-likelihood as a surface."""

    objective: Objective
    evaluations: int = 0
    exact = False

    @property
    def coordinates(self) -> Coordinates:
        """The coordinates of its parameters."""
        return self.objective.coordinates

    @property
    def shift(self) -> float:
        """Half the change of the logarithm of the determinant to the user's coordinates."""
        return -float(np.linalg.slogdet(self.coordinates.matrix)[1])

    def __call__(self, theta: Array) -> Level | None:
        """Return what is known at some parameters; None where the information is singular."""
        self.evaluations += 1
        loss, slope, matrix = self.objective.sums(theta, HESSIAN)
        if not np.isfinite(loss) or not np.all(np.isfinite(np.asarray(matrix))):
            return None
        root = root_of(self.objective, theta, np.asarray(matrix))
        if root is None:
            return None
        pull: Array = self.objective.rows.reduce(
            partial(
                _pull,
                coordinates=self.coordinates,
                theta=theta,
                root=root,
                offset=self.objective.rows.offset,
            )
        )[0]
        half = -float(np.linalg.slogdet(root)[1])
        return Level(theta, half - loss, pull - slope, root)


@np.errstate(all="ignore")
def _pull(
    X: Array,
    _y: Array,
    weight: Array | None,
    coordinates: Coordinates,
    theta: Array,
    root: Array,
    offset: Array | None,
) -> tuple[Array]:
    """Return the score of the penalty, of one chunk."""
    total = np.zeros(len(theta))
    for part, design, z in designs(X, coordinates, theta, offset):
        e = np.exp(-np.abs(z))
        leverage = e / (1 + e) ** 2 * np.sum((design @ root) ** 2, axis=1)
        if weight is not None:
            leverage *= weight[part]
        # 1/2 - p, without a difference of two ones.
        total += (leverage * np.copysign(np.expm1(-np.abs(z)) / (2 * (1 + e)), -z)) @ design
    return (total,)


def root_of(objective: Objective, theta: Array, information: Array) -> Array | None:
    """Return the root of the inverse of the information, or None where that is singular."""
    total = objective.rows.total
    inverse = inverse_of(information / total)
    if not inverse.good:
        inverse = refined(objective, theta, information / total)
    if len(inverse.null) or not np.all(np.isfinite(inverse.root)):
        return None
    return np.asarray(inverse.root / np.sqrt(total))


def maximised(surface: Surface, start: Array, fixed: Array | None = None) -> Level:
    """Return the maximum, with Newton steps along which ``fixed @ theta`` stays as it is.

    Raises
    ------
    InferenceError
        If it is not reached.
    """
    here = surface(start)
    if here is None:
        raise InferenceError("the information is singular, so there is no maximum to look for")
    steps, last = Steps(), np.inf
    for _ in range(MOST_STEPS):
        step = steps.corrected(partial(_inverse, level=here, fixed=fixed), here.score)
        decrement = float(here.score @ step)
        close = decrement <= CLOSE
        if decrement <= REACHED or (close and not decrement < 0.5 * last):
            return here
        # Close to the maximum, rounding hides what a step gains; whether steps shrink tells.
        there = surface(here.theta + step) if close else _search(surface, here, step, decrement)
        if there is None:
            break
        if not surface.exact:
            # The information is not the Hessian of a penalised likelihood.
            steps.learn(there.theta - here.theta, here.score - there.score)
        here, last = there, decrement
    raise InferenceError(
        "the maximum of the likelihood was not reached: scale the columns, or leave some out"
    )


def _inverse(vector: Array, level: Level, fixed: Array | None) -> Array:
    """Return the inverse information times a vector, without what would move `fixed`."""
    step = level(vector)
    if fixed is None:
        return step
    along = level(fixed.T)
    moved = linalg.solve(fixed @ along, fixed @ step, assume_a="pos")
    return np.asarray(step - along @ moved)


def _search(surface: Surface, here: Level, step: Array, decrement: float) -> Level | None:
    """Return the first of ever shorter steps that raises the value."""
    rounding = 8 * EPS * (abs(here.value) + float(np.sum(np.abs(here.theta))))
    size = 1.0
    for _ in range(MOST_HALVINGS):
        there = surface(here.theta + size * step)
        if there is not None and there.value >= here.value + 1e-4 * size * decrement - rounding:
            return there
        size /= 2
    return None
