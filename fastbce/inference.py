"""What an unpenalised fit says about its coefficients: standard errors, p-values, a summary.

Names and conventions are those of ``statsmodels.Logit``: the intercept is called ``const`` and
comes first, ``df_model`` does not count it, and the null model is the intercept alone.
"""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import chdtrc, ndtr, ndtri

from ._inputs import Array

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["COV_TYPES", "InferenceError", "LogitResult"]

COV_TYPES = ("nonrobust", "HC0")


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
    standard_errors : ndarray, optional
        Where they are known otherwise than from the diagonal of `covariance`, whose elements are
        below the smallest float64 for a variable in units of 1e-160.

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
    standard_errors: Array | None = field(default=None, repr=False)

    @property
    def bse(self) -> Array:
        """Standard errors."""
        if self.standard_errors is not None:
            return self.standard_errors
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
