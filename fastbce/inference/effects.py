"""Marginal effects: how much a probability changes with a variable, with delta-method errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit, ndtr, ndtri

from . import tables

if TYPE_CHECKING:
    import os

    from fastbce._typing import Array

    from .result import LogitResult

# Elements of X that are worked on at a time.
AT_ONCE = 1 << 18
AT = ("average", "means")


@dataclass(frozen=True)
class MarginalEffects:
    """Changes of the probability of the second class.

    Parameters
    ----------
    names : tuple of str
        Names of the variables.
    effects : ndarray
        Derivatives of the probability, or its changes from 0 to 1 for indicators.
    covariance : ndarray
        Their covariance by the delta method; the samples count as fixed.
    indicators : tuple of bool
        Which of them are changes from 0 to 1.
    at : {"average", "means"}
        Whether effects were averaged over the samples, or are those of a sample of means.
    """

    names: tuple[str, ...]
    effects: Array
    covariance: Array = field(repr=False)
    indicators: tuple[bool, ...]
    at: str

    @property
    def bse(self) -> Array:
        """Standard errors."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))

    @property
    def zvalues(self) -> Array:
        """Effects in standard errors."""
        with np.errstate(all="ignore"):
            return np.asarray(self.effects / self.bse)

    @property
    def pvalues(self) -> Array:
        """Two-sided p-values of each effect being 0."""
        return np.asarray(2 * ndtr(-np.abs(self.zvalues)))

    def conf_int(self, alpha: float = 0.05) -> Array:
        """Return confidence intervals, an array of shape (k, 2).

        Raises
        ------
        ValueError
            If `alpha` is not between 0 and 1.
        """
        reach = normal_reach(alpha) * self.bse
        return np.column_stack([self.effects - reach, self.effects + reach])

    def _columns(self, alpha: float) -> dict[str, Array]:
        low, high = self.conf_int(alpha).T
        return {
            "effect": self.effects,
            "std err": self.bse,
            "z": self.zvalues,
            "p": self.pvalues,
            "lower": low,
            "upper": high,
        }

    def to_frame(self, alpha: float = 0.05) -> Any:
        """Return the table as a data frame of pandas."""
        return tables.frame(self.names, self._columns(alpha))

    def to_csv(self, path: str | os.PathLike[str] | None = None, alpha: float = 0.05) -> str:
        """Return the table as CSV in full precision, and write it where a path is given."""
        return tables.csv_text(self.names, self._columns(alpha), path)

    def to_dict(self, alpha: float = 0.05) -> dict[str, Any]:
        """Return all of it in full precision, for JSON."""
        content: dict[str, Any] = tables.plain(
            {
                "at": self.at,
                "alpha": alpha,
                "names": self.names,
                "indicators": self.indicators,
                **self._columns(alpha),
                "covariance": self.covariance,
            }
        )
        return content

    def summary(self, alpha: float = 0.05, width: int | None = None) -> str:
        """Return the table as text."""
        low, high = f"[{alpha / 2:.3g}", f"{1 - alpha / 2:.3g}]"
        columns = self._columns(alpha)
        cells = {
            "effect": [tables.number(v) for v in columns["effect"]],
            "std err": [tables.number(v) for v in columns["std err"]],
            "z": [f"{v:.3f}" for v in columns["z"]],
            "P>|z|": [tables.probability(v) for v in columns["p"]],
            low: [tables.number(v) for v in columns["lower"]],
            high: [tables.number(v) for v in columns["upper"]],
        }
        names = [
            f"{name} (0 to 1)" if indicator else name
            for name, indicator in zip(self.names, self.indicators, strict=True)
        ]
        kind = "averaged over the samples" if self.at == "average" else "at the means"
        title = f"Marginal effects on the probability, {kind}"
        table = tables.text_table(names, cells, width or tables.terminal_width(), len(cells))
        return f"{title}\n{table}"

    def __str__(self) -> str:
        return self.summary()


def normal_reach(alpha: float) -> float:
    """Return how many standard errors an interval reaches to each side.

    Raises
    ------
    ValueError
        If `alpha` is not between 0 and 1.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie strictly between 0 and 1, got {alpha!r}")
    return float(-ndtri(alpha / 2))


@dataclass(frozen=True)
class Samples:
    """What effects are averaged over."""

    X: Array
    weight: Array | None
    offset: Array | None
    intercept: bool

    def mean(self, function: Callable[[Array, Array | float], Array]) -> Array:
        """Return the weighted mean of a function of rows and offsets over all rows."""
        total, mass = None, 0.0
        step = max(AT_ONCE // max(self.X.shape[1], 1), 1)
        for start in range(0, len(self.X), step):
            part = slice(start, start + step)
            design = np.ones((len(self.X[part]), self.X.shape[1] + self.intercept))
            design[:, int(self.intercept) :] = self.X[part]
            values = function(design, 0.0 if self.offset is None else self.offset[part])
            weight = np.ones(len(design)) if self.weight is None else self.weight[part]
            added = weight @ values
            total = added if total is None else total + added
            mass += float(weight.sum())
        return np.asarray(total) / mass


def marginal_effects(
    result: LogitResult,
    X: Any,
    at: str,
    groups: Sequence[Sequence[str]],
    weight: Any,
    offset: Any,
) -> MarginalEffects:
    """See :meth:`fastbce.inference.LogitResult.marginal_effects`."""
    if at not in AT:
        raise ValueError(f"at must be one of {list(AT)}, got {at!r}")
    intercept = result.names[:1] == ("const",)
    names = result.names[int(intercept) :]
    samples = _samples(X, names, weight, offset, intercept=intercept)
    indicator = [_is_indicator(samples.X[:, j]) for j in range(len(names))]
    others = _others(names, groups, indicator)
    if at == "means":
        samples = _sample_of_means(samples)
    first, theta = int(intercept), result.params
    effects = np.empty(len(names))
    slopes = np.zeros((len(names), len(theta)))

    def sloped(design: Array, shift: Array | float) -> Array:
        p = expit(design @ theta + shift)
        v = p * (1 - p)
        return np.column_stack([v, (v * (1 - 2 * p))[:, None] * design])

    height, *curve = samples.mean(sloped)
    for j in range(len(names)):
        if indicator[j]:
            change = samples.mean(_change(theta, first + j, [first + k for k in others[j]]))
            effects[j], slopes[j] = change[0], change[1:]
        else:
            effects[j] = theta[first + j] * height
            slopes[j] = theta[first + j] * np.array(curve)
            slopes[j, first + j] += height
    # In standard errors of the parameters: their variances may underflow.
    scaled = slopes * result.bse
    covariance = scaled @ result.correlation @ scaled.T
    return MarginalEffects(names, effects, covariance, tuple(indicator), at)


def _change(
    theta: Array, column: int, others: list[int]
) -> Callable[[Array, Array | float], Array]:
    """Return the function that gives changes from 0 to 1 and their derivatives."""

    def changed(design: Array, shift: Array | float) -> Array:
        result = np.zeros(1)
        for level, sign in ((1.0, 1.0), (0.0, -1.0)):
            design[:, [column, *others]] = 0.0
            design[:, column] = level
            p = expit(design @ theta + shift)
            result = result + sign * np.column_stack([p, (p * (1 - p))[:, None] * design])
        return result

    return changed


def _is_indicator(column: Array) -> bool:
    zero, one = column == 0, column == 1
    return bool(zero.any() and one.any() and np.all(zero | one))


def _samples(
    X: Any, names: tuple[str, ...], weight: Any, offset: Any, *, intercept: bool
) -> Samples:
    columns = getattr(X, "columns", None)
    if columns is not None and [str(column) for column in columns] != list(names):
        raise ValueError(
            f"X has the columns {', '.join(map(str, columns))}; the fit had {', '.join(names)}, in "
            "this order"
        )
    X = np.asarray(X)
    if X.dtype.kind not in "biuf" or X.ndim != 2 or X.shape[1] != len(names) or not len(X):
        raise ValueError(
            f"X must be numbers of shape (n, {len(names)}), one column for each of "
            f"{', '.join(names[:10])}, got {X.dtype} of shape {X.shape}"
        )
    found = []
    for name, values in (("sample_weight", weight), ("offset", offset)):
        array = None if values is None else np.asarray(values, np.float64)
        if array is not None and array.shape != (len(X),):
            raise ValueError(f"{name} has shape {array.shape}, but X needs {(len(X),)}")
        if array is not None and not np.all(np.isfinite(array)):
            raise ValueError(f"{name} holds NaN or infinity")
        found.append(array)
    if found[0] is not None and (np.any(found[0] < 0) or not found[0].any()):
        raise ValueError("sample_weight must not be negative, nor 0 everywhere")
    if not np.all(np.isfinite(X.sum(axis=0, dtype=np.float64))):
        bad = ~np.isfinite(X)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise ValueError(f"X holds {X[row, column]} in row {row + 1} of {names[column]!r}")
    return Samples(X, found[0], found[1], intercept)


def _sample_of_means(samples: Samples) -> Samples:
    """Return one sample with the means of all columns, and of the offset."""
    shift = np.zeros(len(samples.X)) if samples.offset is None else samples.offset
    weight = np.ones(len(samples.X)) if samples.weight is None else samples.weight
    first = int(samples.intercept)
    means = samples.mean(lambda design, _: design[:, first:])
    return Samples(
        means[None], None, np.array([np.average(shift, weights=weight)]), samples.intercept
    )


def _others(
    names: tuple[str, ...], groups: Sequence[Sequence[str]], indicator: list[bool]
) -> list[list[int]]:
    """Return the other indicators of the group of each column."""
    others: list[list[int]] = [[] for _ in names]
    for group in groups:
        if isinstance(group, str):
            raise TypeError(f"groups must be lists of names, got the text {group!r}")
        unknown = [name for name in group if name not in names]
        if unknown:
            raise ValueError(f"groups names {unknown[0]!r}, which is no column of the fit")
        places = [names.index(name) for name in group]
        for place in places:
            if not indicator[place]:
                raise ValueError(
                    f"groups names {names[place]!r}, which does not hold 0 and 1 alone: only "
                    "indicators of levels belong to a group"
                )
            if others[place]:
                raise ValueError(f"groups names {names[place]!r} twice")
            others[place] = [other for other in places if other != place]
    return others
