"""The coordinates in which a fit is solved: columns near 0 and of size 1.

Newton's steps do not depend on coordinates, but their rounding does, and so does every test of
what is small: the gradient of a column in units of 1e-6 is small anywhere, and a column of unix
seconds looks like the intercept. The location and the size of a column come from some hundred of
its rows: any that are near enough will do, since nothing that is computed depends on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbce._linear_options import Frame

from .sparse import SparseRows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastbce._inputs import Array

    from .samples import Rows

# Rows that tell where columns lie: 0.3 ms for 30 columns.
SAMPLE_ROWS, LEAST_SAMPLE, SAMPLE_ELEMENTS = 512, 64, 1 << 20
# A column is far from 0 where its middle is so many times its spread away; nearer ones lose less
# than two digits of 16 in sums of products, and need no subtraction in the kernels.
FAR = 8.0
# Squares of columns whose sizes lie between 2^-40 and 2^40 can be summed in float32.
LARGEST_EXPONENT = 40
# Quartiles of a normal distribution are so many standard deviations apart.
QUARTILES = 1.349
# Elements of X that are looked at at a time.
AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Coordinates:
    """Stands for ``(x - center) / scale``; parameters have the intercept first, if there is one."""

    center: Array
    scale: Array  # powers of two: dividing by them rounds nothing
    intercept: bool
    framed: bool  # whether the kernels have to subtract the centers
    reach: Array  # how far the elements of a column lie from 0 here, in some hundred rows

    @property
    def size(self) -> int:
        """Number of parameters."""
        return len(self.scale) + self.intercept

    @cached_property
    def frame(self) -> Frame | None:
        """What the kernels do to the elements of X."""
        return Frame(self.center, 1 / self.scale) if self.framed else None

    def split(self, theta: Array) -> tuple[float, Array]:
        """Return the intercept, and the coefficients of ``x - center``."""
        intercept, coef = (float(theta[0]), theta[1:]) if self.intercept else (0.0, theta)
        return intercept, coef / self.scale

    def standard(self, theta: Array) -> Array:
        """Return the parameters in these coordinates of parameters in the user's."""
        if not self.intercept:
            return np.asarray(theta * self.scale)
        return np.concatenate([[theta[0] + theta[1:] @ self.center], theta[1:] * self.scale])

    @cached_property
    def matrix(self) -> Array:
        """Turns parameters in these coordinates into the user's."""
        if not self.intercept:
            return np.diag(1 / self.scale)
        matrix = np.diag(np.concatenate([[1.0], 1 / self.scale]))
        matrix[0, 1:] = -self.center / self.scale
        return matrix

    def raw(self, theta: Array) -> Array:
        """Return the parameters in the user's coordinates."""
        intercept, coef = self.split(theta)
        return np.concatenate([[intercept - coef @ self.center], coef]) if self.intercept else coef

    def penalty(self, precision: Array) -> Array:
        """Return a diagonal precision in these coordinates, of one in the user's."""
        factor = self.scale if not self.intercept else np.concatenate([[1.0], self.scale])
        # A column in units of 1e-200 is held at 0 by any penalty; infinity would be no number.
        return np.minimum(precision / factor / factor, 1e200)

    def design(self, X: Array) -> Array:
        """Return some rows in these coordinates, after a 1 for the intercept."""
        rows = np.ones((len(X), self.size))
        np.subtract(X, self.center, out=rows[:, int(self.intercept) :], dtype=np.float64)
        rows[:, int(self.intercept) :] /= self.scale
        return rows


def parts(X: Array, elements: int = AT_ONCE) -> list[slice]:
    """Cut the rows so that no array as long as they are is made."""
    step = max(elements // max(X.shape[1], 1), 1)
    return [slice(start, start + step) for start in range(0, len(X), step)]


def counted(X: Array, weight: Array | None) -> Iterator[Array]:
    """Give the rows part by part, without those of weight 0."""
    for part in parts(X):
        rows = X[part] if weight is None else X[part][weight[part] > 0]
        if len(rows):
            yield rows


def sample_size(columns: int) -> int:
    """Return the number of rows that tell where columns lie."""
    return max(LEAST_SAMPLE, min(SAMPLE_ROWS, SAMPLE_ELEMENTS // max(columns, 1)))


@np.errstate(all="ignore")
def coordinates_of(rows: Rows, intercept: bool, *, always: bool = False) -> Coordinates:
    """Return coordinates for these samples; with `always`, the centers are taken off in any case.

    Without an intercept nothing makes up for a center: then all are 0.
    """
    sample = rows.sample(sample_size(rows.columns))
    counted = slice(None) if sample.weight is None else sample.weight > 0
    middle, spread = _location(sample.X[counted])
    if isinstance(rows, SparseRows):
        # Some hundred rows may hold one element of a column, or none.
        spread = np.where(middle == 0, rows.root_mean_squares(), spread)
    constant = np.flatnonzero((spread == 0) & (middle != 0))
    if len(constant) and sample.n < rows.n:
        # Constant in the sample and not 0: whether elsewhere too, and by how much not.
        seen = rows.reduce(
            partial(_deviations, columns=constant, middle=middle[constant]), np.maximum
        )
        spread[constant] = seen
    framed = always or bool(np.any(np.abs(middle) > FAR * spread))
    if not intercept:
        spread = np.where(spread > np.abs(middle), spread, np.abs(middle))
        middle, framed = np.zeros_like(middle), False
    spread = np.where((spread > 0) & np.isfinite(spread), spread, 1.0)
    exponent = np.clip(np.round(np.log2(spread)), -1000, 1000)
    framed = framed or bool(np.any(np.abs(exponent) > LARGEST_EXPONENT))
    center = np.where(np.isfinite(middle) & framed, middle, 0.0)
    scale = np.exp2(exponent)
    reach = np.max(np.abs(sample.X[counted] - center), axis=0, initial=0.0) / scale
    return Coordinates(center, scale, intercept, framed, reach)


def _location(X: Array) -> tuple[Array, Array]:
    """Return middle and spread of columns; one wild value moves neither.

    They are the median and the distance of the quartiles; where more than half of the values are
    the same, the root mean square of the distances from them.
    """
    if not len(X):
        return np.zeros(X.shape[1]), np.zeros(X.shape[1])
    columns = np.sort(X.T.astype(np.float64, order="C"), axis=1)
    n = columns.shape[1]
    middle = columns[:, n // 2]
    # Half of each, since the difference of the largest numbers overflows.
    spread = (columns[:, (3 * n) // 4] / 2 - columns[:, n // 4] / 2) * (2 / QUARTILES)
    largest = np.maximum(np.abs(columns[:, 0]), np.abs(columns[:, -1]))
    unit = np.where(largest > 0, largest, 1.0)[:, None]
    away = columns / unit - middle[:, None] / unit
    root = np.sqrt(np.mean(away * away, axis=1)) * unit[:, 0]
    return middle.copy(), np.where(spread > 0, spread, root)


def _deviations(X: Array, _y: Any, weight: Array | None, columns: Array, middle: Array) -> Array:
    """Return the largest distances of some columns from their middles."""
    most = np.zeros(len(columns))
    for rows in counted(X, weight):
        some = rows[:, columns].astype(np.float64)
        most = np.maximum(most, np.abs(some - middle).max(axis=0))
    return most
