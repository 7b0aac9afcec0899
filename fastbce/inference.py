"""What an unpenalised fit says about its coefficients: standard errors, p-values, a summary.

Names and conventions are those of ``statsmodels.Logit``: the intercept is called ``const`` and
comes first, ``df_model`` does not count it, and the null model is the intercept alone.
"""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import chdtrc, ndtr, ndtri, xlogy

from ._inputs import Array
from ._solvers import inverse_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ._solvers import Objective

__all__ = ["COV_TYPES", "InferenceError", "LogitResult"]

COV_TYPES = ("nonrobust", "HC0")
# A Newton step that would still change a logit by this much means that there is no maximum.
MOVING = 0.05
# How far a separating direction may point the wrong way, relative to the furthest right way.
WRONG_WAY = 1e-3
# Share of the largest effect above which a column is named as part of a separation.
NAMED = 0.05
# Relative change of logits below which columns count as dependent.
FLAT = 1e-5
# Elements of X that are looked at at a time.
AT_ONCE = 1 << 16


class InferenceError(AttributeError):
    """There are no standard errors for this fit; the text says why and what to do."""


@dataclass(frozen=True)
class LogitResult:
    """Inference on the coefficients of an unpenalised logistic regression.

    Parameters
    ----------
    names : tuple of str
        Names of the parameters; ``"const"`` is the intercept.
    params : ndarray
        Maximum-likelihood estimates, the intercept first.
    covariance : ndarray
        Their covariance: the inverse Hessian of the negative log-likelihood, or the sandwich
        ``H^-1 S H^-1``, ``S`` the sum of the outer products of the samples' scores.
    cov_type : {"nonrobust", "HC0"}
        Which of them.
    nobs : float
        Number of samples, or the sum of their weights, which count as repetitions.
    llf, llnull : float
        Log-likelihood of the model and of the intercept alone.

    Notes
    -----
    ``zvalues = params / bse``, two-sided p-values and intervals from the normal distribution.
    ``llr = 2 (llf - llnull)`` against the chi-squared distribution with `df_model` degrees of
    freedom; ``prsquared = 1 - llf / llnull`` (McFadden); ``aic = 2 k - 2 llf`` and
    ``bic = k log(nobs) - 2 llf`` for k parameters.
    """

    names: tuple[str, ...]
    params: Array
    covariance: Array = field(repr=False)
    cov_type: str
    nobs: float
    llf: float
    llnull: float

    @property
    def bse(self) -> Array:
        """Standard errors."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))

    @property
    def zvalues(self) -> Array:
        """Estimates in standard errors."""
        return self.params / self.bse

    @property
    def pvalues(self) -> Array:
        """Two-sided p-values of each parameter being 0."""
        return np.asarray(2 * ndtr(-np.abs(self.zvalues)))

    def cov_params(self) -> Array:
        """Return the covariance of the parameters."""
        return self.covariance

    def conf_int(self, alpha: float = 0.05) -> Array:
        """Return confidence intervals.

        Parameters
        ----------
        alpha : float, default 0.05
            One minus the level of confidence.

        Returns
        -------
        ndarray of shape (k, 2)
            Lower and upper bounds.

        Raises
        ------
        ValueError
            If `alpha` is not between 0 and 1.
        """
        if not 0 < alpha < 1:
            raise ValueError(f"alpha must lie strictly between 0 and 1, got {alpha!r}")
        reach = -ndtri(alpha / 2) * self.bse
        return np.column_stack([self.params - reach, self.params + reach])

    @property
    def odds_ratios(self) -> Array:
        """``exp(params)``: the factor on the odds for one more unit of a variable."""
        with np.errstate(over="ignore"):
            return np.asarray(np.exp(self.params))

    def odds_ratios_conf_int(self, alpha: float = 0.05) -> Array:
        """Return confidence intervals of the odds ratios; see :meth:`conf_int`."""
        with np.errstate(over="ignore"):
            return np.asarray(np.exp(self.conf_int(alpha)))

    @property
    def df_model(self) -> int:
        """Number of parameters less one."""
        return len(self.params) - 1

    @property
    def df_resid(self) -> float:
        """Number of samples less the number of parameters."""
        return self.nobs - len(self.params)

    @property
    def llr(self) -> float:
        """Likelihood-ratio statistic against the intercept alone."""
        return 2 * (self.llf - self.llnull)

    @property
    def llr_pvalue(self) -> float:
        """P-value of the likelihood-ratio statistic."""
        return float(chdtrc(self.df_model, self.llr)) if self.df_model else float("nan")

    @property
    def prsquared(self) -> float:
        """McFadden's pseudo R-squared."""
        return 1 - self.llf / self.llnull

    @property
    def aic(self) -> float:
        """Akaike's information criterion."""
        return 2 * (len(self.params) - self.llf)

    @property
    def bic(self) -> float:
        """Bayesian information criterion."""
        return float(len(self.params) * np.log(self.nobs) - 2 * self.llf)

    def _facts(self) -> list[tuple[str, str]]:
        return [
            ("observations", f"{self.nobs:,.10g}"),
            ("covariance", self.cov_type),
            ("log-likelihood", f"{self.llf:.6g}"),
            ("null log-likelihood", f"{self.llnull:.6g}"),
            ("pseudo R-squared", f"{self.prsquared:.4f}"),
            ("LLR p-value", f"{self.llr_pvalue:.3g}"),
            ("AIC", f"{self.aic:.6g}"),
            ("BIC", f"{self.bic:.6g}"),
        ]

    def _rows(self, alpha: float) -> tuple[list[str], list[list[str]]]:
        low, high = f"{alpha / 2:.3g}", f"{1 - alpha / 2:.3g}"
        header = ["", "coef", "std err", "z", "P>|z|", f"[{low}", f"{high}]", "odds ratio"]
        columns = zip(
            self.names,
            self.params,
            self.bse,
            self.zvalues,
            self.pvalues,
            self.conf_int(alpha),
            self.odds_ratios,
            strict=True,
        )
        return header, [
            [
                name,
                f"{b:.4g}",
                f"{se:.3g}",
                f"{z:.3f}",
                "<0.001" if p < 0.001 else f"{p:.3f}",
                f"{lower:.4g}",
                f"{upper:.4g}",
                f"{ratio:.4g}",
            ]
            for name, b, se, z, p, (lower, upper), ratio in columns
        ]

    def summary(self, alpha: float = 0.05) -> str:
        """Return a table of the fit and its parameters as text.

        Parameters
        ----------
        alpha : float, default 0.05
            One minus the level of confidence of the intervals.

        Returns
        -------
        str
            Some facts about the fit, then one line a parameter.
        """
        header, rows = self._rows(alpha)
        widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

        def line(cells: Sequence[str]) -> str:
            first, *others = cells
            padded = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
            return "  ".join([first.ljust(widths[0]), *padded]).rstrip()

        rule = "-" * len(line(header))
        facts = [f"{name}: {value}" for name, value in self._facts()]
        half = (len(facts) + 1) // 2
        left = max(len(fact) for fact in facts[:half])
        pairs = [
            f"{a.ljust(left)}    {b}".rstrip()
            for a, b in zip(facts[:half], [*facts[half:], ""], strict=False)
        ]
        return "\n".join(
            ["Logistic regression", *pairs, rule, line(header), rule, *map(line, rows), rule]
        )

    def __str__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        header, rows = self._rows(0.05)

        def cells(tag: str, values: Sequence[str]) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(v)}</{tag}>" for v in values) + "</tr>"

        facts = "; ".join(f"{name}: {html.escape(value)}" for name, value in self._facts())
        body = "".join(cells("td", row) for row in rows)
        return (
            f"<table><caption>Logistic regression<br>{facts}</caption>"
            f"<thead>{cells('th', header)}</thead><tbody>{body}</tbody></table>"
        )


def infer(objective: Objective, theta: Array, names: Sequence[str], cov_type: str) -> LogitResult:
    """Return the inference on an unpenalised fit.

    Parameters
    ----------
    objective : Objective
        What was minimised, without a penalty.
    theta : ndarray
        Its minimum.
    names : sequence of str
        One for each parameter.
    cov_type : str
        One of `COV_TYPES`.

    Returns
    -------
    LogitResult
        With `cov_type` covariance.

    Raises
    ------
    InferenceError
        If columns are linearly dependent or separate the classes.
    """
    loss, gradient, hessian = objective.sums(theta, "hessian")
    assert hessian is not None  # noqa: S101 - it was asked for
    solve, null = inverse_of(hessian)
    _check_separation(objective, theta, loss, solve(gradient), names)
    if len(null):
        _check_null(objective, null, names)
    covariance = np.column_stack([solve(unit) for unit in np.eye(len(theta))])
    total = objective.rows.total
    if cov_type != "nonrobust":
        meat = objective.sums(theta, "squared residuals")[2]
        covariance = covariance @ meat @ covariance
    share = objective.rows.positives / total
    llnull = float(total * (xlogy(share, share) + xlogy(1 - share, 1 - share)))
    covariance = (covariance + covariance.T) / 2
    return LogitResult(tuple(names), theta, covariance, cov_type, total, -loss, llnull)


def _parts(X: Array) -> Iterator[slice]:
    """Cut the rows so that no array as long as they are is made."""
    step = max(AT_ONCE // max(X.shape[1], 1), 1)
    for start in range(0, len(X), step):
        yield slice(start, start + step)


def _moves(objective: Objective, direction: Array) -> bool:
    """Tell whether a logit may change by `MOVING`; one fused pass instead of a slow one.

    Each sample that moves by so much changes the loss of the direction, magnified, by 0.3 or more.
    """
    loss = objective.sums(direction * (2 / MOVING), None, weighted=False)[0]
    return not abs(loss - objective.rows.n * np.log(2)) < 0.3


def _moments(X: Array, _y: Array, _weight: Array | None) -> tuple[Array, Array]:
    """Return the sums of the columns and of their squares."""
    total, square = np.zeros(X.shape[1]), np.zeros(X.shape[1])
    for part in _parts(X):
        rows = X[part].astype(np.float64)
        total += rows.sum(axis=0)
        square += (rows**2).sum(axis=0)
    return total, square


def _spread(objective: Objective) -> Array:
    """Return how far each column moves a logit: its standard deviation, 1 for the intercept."""
    total, square = objective.rows.reduce(_moments)
    mean = total / objective.rows.n
    spread = np.sqrt(np.maximum(square / objective.rows.n - mean**2, 0))
    # A constant column beside the intercept moves logits as that does.
    spread = np.where(spread > 1e-12 * np.abs(mean), spread, np.abs(mean))
    return np.concatenate([[1.0], spread]) if objective.fit_intercept else spread


def _involved(effect: Array) -> list[int]:
    """Return the parameters with more than a small share of the largest effect, that one first."""
    effect = np.abs(effect)
    order = np.argsort(-effect, kind="stable")
    return [int(i) for i in order if effect[i] > NAMED * effect[order[0]]]


def _check_null(objective: Objective, null: Array, names: Sequence[str]) -> None:
    """Raise for directions that the Hessian does not feel."""
    spread = _spread(objective)
    effects = null * spread
    for direction, effect in zip(null, effects, strict=True):
        reach = np.abs(_margins(objective, direction))
        if np.max(reach) > FLAT * np.linalg.norm(effect):
            # It does move logits, of samples whose probability is 0 or 1 to the last digit.
            raise _separation("quasi-completely", direction, objective, names)
    free = np.arange(len(names)) >= bool(objective.fit_intercept)
    # Gauss-Jordan elimination: each dependency keeps one column that no other one has.
    for row in range(len(effects)):
        pivot = int(np.argmax(np.abs(effects[row]) * free))
        free[pivot] = False
        effects[row] /= effects[row, pivot]
        others = np.arange(len(effects)) != row
        effects[others] -= effects[others, pivot, None] * effects[row]
    groups = [", ".join(names[i] for i in _involved(effect)) for effect in effects]
    raise InferenceError(
        f"the columns are linearly dependent ({len(null)} too many), so single coefficients have "
        f"no standard error: leave out one of each group: {'; '.join(groups)}"
    )


def _separation(
    kind: str, direction: Array, objective: Objective, names: Sequence[str]
) -> InferenceError:
    direction = direction.copy()
    effect = direction * _spread(objective)
    if objective.fit_intercept:
        effect[0] = 0.0
    involved = _involved(effect)
    direction[np.setdiff1d(np.arange(len(direction)), involved)] = 0.0
    # A fit also gives the columns beside those that separate a coefficient: leave out, from the
    # least effect on, what the separation does without.
    for i in reversed(involved[1:]):
        fewer = direction.copy()
        fewer[i] = 0.0
        if _separates(objective, fewer, kind):
            direction = fewer
    separating = ", ".join(names[i] for i in involved if direction[i])
    return InferenceError(
        f"the classes separate {kind}: the likelihood has no maximum, its coefficients grow "
        "without bound and have no standard errors. Columns that separate: "
        f"{separating}. Leave them out, or set a finite C"
    )


def _separates(objective: Objective, direction: Array, kind: str) -> bool:
    """Tell whether the columns' part of a direction separates the classes, at any intercept."""
    _, coef = objective.split(direction)
    least, most = objective.rows.reduce(partial(_extents, coef=coef), _outer)
    if objective.fit_intercept:
        gap, reach = least[1] - most[0], max(most[1] - most[0], least[1] - least[0])
    else:
        gap, reach = min(least[1], -most[0]), max(most[1], -least[0])
    return bool(gap > 0) if kind == "completely" else bool(gap >= -WRONG_WAY * reach and reach > 0)


def _extents(X: Array, y: Array, weight: Array | None, coef: Array) -> tuple[Array, Array]:
    """Return the least and the largest logit of each class."""
    least, most = np.full(2, np.inf), np.full(2, -np.inf)
    for part in _parts(X):
        logits = X[part] @ coef
        for label in (0, 1):
            chosen = (y[part] > 0) == label
            if weight is not None:
                chosen &= weight[part] > 0
            if chosen.any():
                least[label] = min(least[label], logits[chosen].min())
                most[label] = max(most[label], logits[chosen].max())
    return least, most


def _outer(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
    return np.minimum(first[0], second[0]), np.maximum(first[1], second[1])


def _check_separation(
    objective: Objective, theta: Array, loss: float, step: Array, names: Sequence[str]
) -> None:
    """Raise where the likelihood has no maximum.

    Where classes separate, each Newton step still moves logits by about 1, all of them the right
    way. A total loss below log(2) (for unit weights) leaves no sample on the wrong side.
    """
    complete = loss < np.log(2) and not objective.rows.weighted
    direction = theta if complete else -step
    if not complete and not _moves(objective, direction):
        return
    low, high = _margins(objective, direction)
    if not complete and (high < MOVING or low < -WRONG_WAY * high):
        return
    kind = "completely" if low > (0 if complete else WRONG_WAY * high) else "quasi-completely"
    raise _separation(kind, direction, objective, names)


def _margins(objective: Objective, direction: Array) -> tuple[float, float]:
    """Return the least and the largest change of a logit towards its label."""
    intercept, coef = objective.split(direction)
    return objective.rows.reduce(partial(_margins_of, coef=coef, intercept=intercept), _wider)


def _margins_of(
    X: Array, y: Array, weight: Array | None, coef: Array, intercept: float
) -> tuple[float, float]:
    low, high = np.inf, -np.inf
    for part in _parts(X):
        change = X[part] @ coef + intercept
        change = np.where(y[part] > 0, change, -change)
        if weight is not None:
            change = change[weight[part] > 0]
        if change.size:
            low, high = min(low, float(change.min())), max(high, float(change.max()))
    return low, high


def _wider(first: tuple[float, float], second: tuple[float, float]) -> tuple[float, float]:
    return min(first[0], second[0]), max(first[1], second[1])
