"""What ``fastbce check`` measures: errors, equal bits, and differences from other libraries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastbce import functional
from fastbce._backends import active_backend
from fastbce._bfloat16 import bfloat16, numbers, write
from fastbce._inputs import check_focus, clip_bounds, float_dtypes
from fastbce._operations import OPERATIONS, Family, Operation
from fastbce._reference import elementwise as reference
from fastbce._reference.accuracy import MAX_ULP, MAX_ULP_16, ulps
from fastbce._threads import get_num_threads, set_num_threads
from fastbce._typing import Array, Call

from .frameworks import Results

DTYPES = {
    "float16": np.dtype(np.float16),
    "bfloat16": bfloat16,
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
}
# Those that other libraries are compared in: in the short ones each rounds where it likes.
COMPARED = ("float32", "float64")
EPS, ALPHA, GAMMA = 1e-7, 0.25, 2.0
# The Hessian of the focal loss crosses 0: its unit is that of the larger of it and the gradient.
CROSSES_ZERO, CROSSES_ZERO_ULP = ("focal", "hessian"), 9.0
# NumPy's own exp and log: of the "numpy" backend, and where no wider dtype has them exactly.
NUMPYS_OWN_ULP = 14.0
# The rounding of the mean, and of its division.
MEAN_ULP = 2.0
# So many units in the last place of the largest of the result, the argument and 1: nobody who means
# the same is further off, and who has another sign, clip or divisor is.
SAME_ULP = 16
# Two threads share a call from here on, and the last part is a short one.
LARGE = (1 << 18) + 3


@dataclass
class Row:
    """What was found for one result of one function in one dtype."""

    operation: str
    result: str
    dtype: str
    error: float
    limit: float
    same_bits: bool
    differences: dict[str, float] = field(default_factory=dict)
    """Largest difference from each library, in ULP of our result."""
    disagrees: list[str] = field(default_factory=list)
    """Libraries that mean something else."""

    @property
    def ok(self) -> bool:
        """Whether everything is as it should be."""
        return self.error <= self.limit and self.same_bits and not self.disagrees


def measure(libraries: dict[str, Results]) -> Iterator[tuple[str, str, list[Row]]]:
    """Yield the name of what was measured, its dtype and what was found.

    Parameters
    ----------
    libraries : dict
        By name, what each library computes.

    Yields
    ------
    tuple of str, str, list of Row
        An operation, a dtype, and a row for each result.
    """
    families = {operation.family: None for operation in OPERATIONS.values()}
    for dtype in DTYPES:
        for family in families:
            points = Points(family, dtype)
            others = points.others(libraries) if dtype in COMPARED else {}
            for operation in OPERATIONS.values():
                if operation.family is family:
                    yield operation.name, dtype, points.rows(operation, others)


class Points:
    """The arguments of a family in one dtype, always the same, and its exact results for them."""

    def __init__(self, family: Family, dtype: str) -> None:
        self.family, self.name, self.dtype = family, dtype, DTYPES[dtype]
        self.compute, _ = float_dtypes(np.empty(0, self.dtype))
        self.arguments = _arguments(family, self.dtype)
        wide: np.dtype[Any] = np.dtype(np.float64)
        if self.compute == np.float64:
            wide = np.dtype(np.longdouble)
        self.widens = np.finfo(wide).nmant >= np.finfo(self.compute).nmant + 8
        self.exact = self._steps(wide) if family.chain else self._formulas(self.arguments, wide)
        self.ordinary = self._ordinary()

    def _formulas(self, arguments: tuple[Array, ...], wide: np.dtype[Any]) -> dict[str, Array]:
        """Return the results of the formulas in plain NumPy, in a dtype of choice."""
        family = self.family
        outputs = tuple(np.empty(arguments[0].shape, wide) for _ in family.results)
        inputs = (*arguments, None, None) if family.is_loss else arguments
        parameters: tuple[Any, ...] = ()
        if family.clips:
            bounds = clip_bounds(EPS, self.compute, self.dtype)
            parameters = (1.0, bounds, None, None, (None,) * 6, None)
        elif family.is_loss:
            focus = check_focus(ALPHA, GAMMA) if family.kin else None
            parameters = (1.0, None, (None, None, focus, None), None)
        row = next(row for row in OPERATIONS.values() if row.family is family)
        reference.compute(row, Call(inputs, outputs, wide, True), parameters)
        return dict(zip(family.results, outputs, strict=True))

    def _steps(self, wide: np.dtype[Any]) -> dict[str, Array]:
        """Return what the functions that the chain replaces give, one after the other.

        Its probabilities are rounded on the way, and a rounding of one next to 1 moves the loss
        by many digits: the formula in a wider dtype says nothing about it. The bits of the steps
        are the promise.
        """
        scores, labels = (numbers(a, self.compute) for a in self.arguments)
        eps = float(clip_bounds(EPS, self.compute, self.dtype)[0])
        share: Any = functional.sigmoid(scores)
        loss, slope = functional.bce_loss_gradient(share, labels, reduction="none", eps=eps)
        gradient = functional.sigmoid_backward(slope, share)
        found = (loss, share, gradient)
        return {
            result: np.asarray(values).astype(wide)
            for result, values in zip(self.family.results, found, strict=True)
        }

    def _ordinary(self) -> Array:
        """Return which elements every library is good for: no infinities, clips or tiny numbers."""
        wide = [numbers(a, np.float64) for a in self.arguments]
        tiny = max(float(np.finfo(self.compute).tiny), 1e-37)
        found = np.ones(wide[0].shape, bool)
        for values, kind in zip(wide, self.family.arguments.values(), strict=True):
            size = np.abs(values)
            if kind == "numbers":
                found &= (size <= 80) & ((size >= tiny) | (size == 0))
            elif kind == "probabilities":
                found &= (values > 2 * EPS) & (values < 1 - 2 * EPS)
        return found

    def others(self, libraries: dict[str, Results]) -> dict[str, dict[str, Array]]:
        """Return the results of each library at the ordinary points."""
        if self.family.chain:  # compared with its steps, which are compared with the libraries
            return {}
        arguments = tuple(a[self.ordinary] for a in self.arguments)
        found = {"NumPy": self._formulas(arguments, self.compute)}
        for library, results in libraries.items():
            found[library] = {
                result: results[self.family.name, result](*arguments)
                for result in self.family.results
                if (self.family.name, result) in results
            }
        return found

    def rows(self, operation: Operation, others: dict[str, dict[str, Array]]) -> list[Row]:
        """Call a function, and compare each of its results."""
        found = dict(zip(operation.results, self._call(operation, self.arguments), strict=True))
        same = self._same_bits(operation)
        means = self._means(operation)
        rows = []
        for result, actual in found.items():
            error = float(self._errors(result, actual).max())
            if result == "loss":
                error = max(error, means - MEAN_ULP)
            row = Row(operation.name, result, self.name, error, self._limit(result), same)
            for library, results in others.items():
                if result in results:
                    self._compare(row, library, actual[self.ordinary], results[result])
            rows.append(row)
        return rows

    def _call(
        self, operation: Operation, arguments: tuple[Array, ...], reduction: str = "none"
    ) -> tuple[Array, ...]:
        options = {"reduction": reduction} if self.family.is_loss else {}
        results: Any = getattr(functional, operation.name)(*arguments, **options)
        return results if len(operation.results) > 1 else (results,)

    def _errors(self, result: str, actual: Array) -> Array:
        exact = self.exact[result]
        if (self.family.name, result) != CROSSES_ZERO:
            return ulps(actual, exact)
        return ulps(actual, exact, np.maximum(np.abs(exact), np.abs(self.exact["gradient"])))

    def _limit(self, result: str) -> float:
        if self.name not in COMPARED:
            return MAX_ULP_16
        which = (self.family.name, result)
        if self.family.chain:
            limit = 0.0
        elif which == CROSSES_ZERO:
            limit = CROSSES_ZERO_ULP
        else:
            limit = MAX_ULP[which][COMPARED.index(self.name)]
        exact = self.widens and active_backend() == "numba"
        return limit if exact else limit + NUMPYS_OWN_ULP

    def _means(self, operation: Operation) -> float:
        """Return by how many ULP the mean loss of the ordinary points is off."""
        if not operation.returns_loss:
            return 0.0
        arguments = tuple(a[self.ordinary] for a in self.arguments)
        exact = self.exact["loss"][self.ordinary].mean()
        mean = np.empty((), self.dtype)
        write(mean, self._call(operation, arguments, "mean")[0])
        return float(ulps(mean, exact).max())

    def _same_bits(self, operation: Operation) -> bool:
        """Tell whether one thread and all, two at least, give the same bits."""
        count = LARGE // len(self.arguments[0]) + 1
        arguments = tuple(np.tile(a, count)[:LARGE] for a in self.arguments)
        usual = get_num_threads()
        try:
            found = []
            for threads in (1, max(2, usual)):
                set_num_threads(threads)
                results = [*self._call(operation, arguments)]
                if operation.returns_loss:
                    kept = np.tile(self.ordinary, count)[:LARGE]
                    results += self._call(operation, tuple(a[kept] for a in arguments), "mean")
                found.append([np.asarray(result).tobytes() for result in results])
        finally:
            set_num_threads(usual)
        return found[0] == found[1]

    def _compare(self, row: Row, library: str, ours: Array, theirs: Array) -> None:
        wide = theirs.astype(np.longdouble)
        row.differences[library] = float(ulps(ours, wide, numbers(ours, np.longdouble)).max())
        size = np.maximum(1, np.abs(ours))
        for argument in self.arguments:
            size = np.maximum(size, np.abs(argument[self.ordinary]))
        unit = float(np.finfo(self.compute).eps)
        if not np.all(np.abs(ours - theirs) <= SAME_ULP * unit * size):
            row.disagrees.append(library)


# --- points --------------------------------------------------------------------------------------


def _arguments(family: Family, dtype: np.dtype[Any]) -> tuple[Array, ...]:
    """Return the arrays: special values, each power of two, dense grids; both labels for each."""
    kinds = tuple(family.arguments.values())
    drawn: dict[str, Any] = {"numbers": _numbers(), "probabilities": _probabilities(family.clips)}
    if family.is_loss:
        scores = drawn[kinds[0]]
        found: tuple[Array, ...] = (np.tile(scores, 2), np.repeat([0.0, 1.0], len(scores)))
    elif len(kinds) == 1:
        found = (drawn[kinds[0]],)
    else:
        first, second = (drawn[kind] for kind in kinds)
        # Lengths without a common divisor would meet every number; these meet many.
        size = max(len(first), len(second))
        found = (np.resize(first, size), np.resize(second, size))
    return tuple(_rounded(a, dtype) for a in found)


def _rounded(values: Array, dtype: np.dtype[Any]) -> Array:
    result = np.empty(values.shape, dtype)
    write(result, values)
    return result


def _numbers() -> Array:
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e30, 1e-30])
    powers = np.ldexp(1.0, np.arange(-1074, 1024))
    # Where the exponential changes the power of two that it takes out.
    steps = np.arange(1, 1077) * (np.log(2) / 2)
    large = np.array([np.finfo(kind).max for kind in (np.float16, np.float32, np.float64)])
    positive = np.concatenate([powers, steps, large, np.linspace(0, 40, 12_001)])
    return np.concatenate([special, positive, -positive])


def _probabilities(clips: bool) -> Array:
    special = np.array([np.nan, 0.0, -0.0, 1.0, 0.5, EPS, 1 - EPS])
    powers = np.ldexp(1.0, np.arange(-1074, 0))
    inside = np.concatenate([powers, 1 - powers[-60:], np.linspace(0, 1, 12_001)])
    # Whatever is outside is clipped, or has no logit.
    outside = np.array([-np.inf, -1e30, -0.1, 1.1, 1e30, np.inf])
    return np.concatenate([special, inside, outside]) if clips else np.append(special, inside)
