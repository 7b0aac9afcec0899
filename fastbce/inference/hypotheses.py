"""Tests of several coefficients at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import linalg
from scipy.special import chdtrc

from . import tables

if TYPE_CHECKING:
    from fastbce._typing import Array

    from .result import LogitResult

# Smallest share of a restriction that the others do not explain: below it, a statistic is rounding.
LEAST_SHARE = 1e-12
# Two log-likelihoods of the same samples agree to this, relative.
SAME = 1e-9


@dataclass(frozen=True)
class TestResult:
    """The result of a test.

    Parameters
    ----------
    name : str
        What was tested.
    statistic : float
        Distributed as chi-squared if the hypothesis holds.
    df : int
        Its degrees of freedom.
    pvalue : float
        Probability of so large a statistic or a larger one.
    """

    name: str
    statistic: float
    df: int
    pvalue: float

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, for JSON."""
        content: dict[str, Any] = tables.plain(dict(self.__dict__))
        return content

    def __str__(self) -> str:
        p = "p < 0.001" if self.pvalue < 0.001 else f"p = {self.pvalue:.3f}"
        return f"{self.name}: chi2({self.df}) = {tables.number(self.statistic)}, {p}"


def chi_squared(name: str, statistic: float, df: int) -> TestResult:
    """Return a test whose statistic is chi-squared; one below 0 is rounding of 0."""
    statistic = max(float(statistic), 0.0)
    return TestResult(name, statistic, df, float(chdtrc(df, statistic)) if df else float("nan"))


def wald(result: LogitResult, hypothesis: Any, value: Any) -> TestResult:
    """See :meth:`fastbce.inference.LogitResult.wald_test`."""
    matrix, which = _restrictions(result.names, hypothesis)
    goal = np.asarray(value, np.float64)
    if goal.shape not in ((), (len(matrix),)):
        raise ValueError(
            f"value has shape {goal.shape}, but there are {len(matrix)} restrictions: pass a "
            f"number or {len(matrix)} of them"
        )
    # In standard errors, so that neither units nor scales of the columns matter.
    scaled = matrix * result.bse
    spread = scaled @ result.correlation @ scaled.T
    size = np.sqrt(np.diag(spread))
    if not np.all(size > 0):
        raise ValueError(
            f"restriction {int(np.argmin(size > 0)) + 1} of {which} has no variance: it names no "
            "parameter, or its standard error is 0"
        )
    spread = spread / np.outer(size, size)
    away = (matrix @ result.params - goal) / size
    values, vectors = linalg.eigh(spread)
    if values[0] < LEAST_SHARE * values[-1]:
        few = ""
        if result.clusters:
            few = f", or there are too few clusters ({min(result.clusters)}) for so many"
        raise ValueError(
            f"the {len(matrix)} restrictions are linearly dependent{few}: leave some of {which} out"
        )
    return chi_squared(
        f"Wald test of {which}", float(np.sum((vectors.T @ away) ** 2 / values)), len(matrix)
    )


def _restrictions(names: tuple[str, ...], hypothesis: Any) -> tuple[Array, str]:
    """Return the matrix of what shall be 0, and its name."""
    if hypothesis is None:
        hypothesis = [name for name in names if name != "const"]
        if not hypothesis:
            raise ValueError("the intercept is the only parameter; name it to test it")
    if isinstance(hypothesis, str):
        hypothesis = [hypothesis]
    if isinstance(hypothesis, Mapping):
        raise TypeError("the hypothesis must be names of parameters or a matrix, got a mapping")
    if isinstance(hypothesis, Sequence) and all(isinstance(name, str) for name in hypothesis):
        if not hypothesis:
            raise ValueError("the hypothesis names no parameter")
        unknown = [name for name in hypothesis if name not in names]
        if unknown:
            raise ValueError(
                f"there is no parameter {unknown[0]!r}; the parameters are {', '.join(names[:20])}"
                + (f" and {len(names) - 20} more" if len(names) > 20 else "")
            )
        if len(set(hypothesis)) < len(hypothesis):
            raise ValueError(f"a parameter is named twice: {', '.join(hypothesis)}")
        return np.eye(len(names))[[names.index(name) for name in hypothesis]], ", ".join(hypothesis)
    matrix = np.atleast_2d(np.asarray(hypothesis, np.float64))
    if matrix.ndim != 2 or matrix.shape[1] != len(names) or not len(matrix):
        raise ValueError(
            f"the hypothesis has shape {np.shape(hypothesis)}; a matrix needs one column for each "
            f"of the {len(names)} parameters, {names[0]!r} first"
        )
    if not np.all(np.isfinite(matrix)):
        raise ValueError("the hypothesis holds NaN or infinity")
    return matrix, f"{len(matrix)} restriction{'s' * (len(matrix) > 1)}"


def likelihood_ratio(one: LogitResult, other: LogitResult) -> TestResult:
    """See :meth:`fastbce.inference.LogitResult.lr_test`."""
    small, large = sorted((one, other), key=lambda result: len(result.params))
    for result in (small, large):
        if result.method != "maximum likelihood":
            raise ValueError(
                "penalised likelihoods of models with different columns cannot be compared; the "
                "p-values of a Firth fit are likelihood-ratio tests, and wald_test takes several"
            )
        if not result.has_likelihood:
            what = "sampling weights" if result.weight_kind == "sampling" else "clusters"
            raise ValueError(
                f"with {what} twice the difference of log-likelihoods is not chi-squared; use "
                "wald_test"
            )
    difference = _difference(small, large)
    if difference:
        raise ValueError(f"the fits are not of the same samples: {difference}")
    df = len(large.params) - len(small.params)
    if not df:
        raise ValueError(
            f"both models have {df + len(small.params)} parameters: neither is nested in the other"
        )
    missing = _columns_beyond(small, large)
    if missing:
        raise ValueError(
            f"the models are not nested: {', '.join(missing[:10])} of the smaller one is no column "
            "of the larger one"
        )
    gain = large.llf - small.llf
    if gain < -SAME * abs(small.llf):
        raise ValueError(
            f"the models are not nested: the smaller one fits better by {-gain:.6g} in its "
            "log-likelihood"
        )
    more = [name for name in large.names if name not in small.names]
    return chi_squared(f"likelihood-ratio test of {', '.join(more)}", 2 * gain, df)


def _difference(small: LogitResult, large: LogitResult) -> str:
    """Return what tells that two fits were not of the same samples, or nothing."""
    if small.nobs != large.nobs:
        return f"one has {small.nobs:,.10g} observations, the other {large.nobs:,.10g}"
    if small.weight_kind != large.weight_kind:
        return f"weights are {small.weight_kind} in one and {large.weight_kind} in the other"
    if abs(small.llnull - large.llnull) > SAME * abs(large.llnull):
        return "their null models have different log-likelihoods"
    labels = [result.evidence and result.evidence.labels for result in (small, large)]
    if None not in labels and labels[0] != labels[1]:
        return "labels, weights or offsets differ, or their order"
    return ""


def _columns_beyond(small: LogitResult, large: LogitResult) -> list[str]:
    """Return the columns of one model that the other has not."""
    a, b = small.evidence, large.evidence
    if a is None or b is None or a.columns is None or b.columns is None:
        return [name for name in small.names if name not in large.names]
    known = set(b.columns)
    return [n for n, column in zip(small.names, a.columns, strict=True) if column not in known]
