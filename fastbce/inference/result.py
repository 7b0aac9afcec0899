"""Inference on the coefficients of a logistic regression, as ``result_`` of the estimator has it.

Names and conventions are those of ``statsmodels.Logit``: the intercept is called ``const`` and
comes first, ``df_model`` does not count it, and the null model is the intercept alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import chdtrc, ndtr

from fastbce._inputs import Array

from . import effects, hypotheses, shown, tables

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from .effects import MarginalEffects
    from .hypotheses import TestResult

COV_TYPES = ("nonrobust", "HC0", "HC1", "HC2", "HC3", "cluster")
WEIGHT_KINDS = ("frequency", "sampling", "analytic")
TITLES = {"maximum likelihood": "Logistic regression", "firth": "Firth logistic regression"}


class InferenceError(AttributeError):
    """There are no standard errors for this fit; the text says why and what to do."""


class Profile(NamedTuple):
    """P-values and intervals from the (penalised) likelihood itself, not from standard errors."""

    statistics: Array  # of the likelihood-ratio test of each parameter being 0
    pvalues: Array
    alpha: float
    intervals: Array  # of shape (k, 2)


class Evidence(NamedTuple):
    """What tells whether two fits are of the same samples: checksums; None where rows stream by."""

    labels: int | None  # of labels, weights and offsets
    columns: tuple[int, ...] | None  # of each column, by some thousand of its rows


@dataclass(frozen=True)
class LogitResult:
    """Inference on the coefficients of an unpenalised or Firth logistic regression.

    Parameters
    ----------
    names : tuple of str
        Names of the parameters; ``"const"`` is the intercept.
    params : ndarray
        Estimates, the intercept first.
    covariance : ndarray
        Their covariance, ``H^-1`` or the sandwich ``H^-1 S H^-1``, where ``H`` is the Hessian of
        the negative log-likelihood.
    cov_type : {"nonrobust", "HC0", "HC1", "HC2", "HC3", "cluster"}
        Which of them. ``S`` is the sum of the outer products of the samples' scores; HC1 multiplies
        it by ``n / (n - k)``, HC2 and HC3 divide each product by ``1 - h`` and by its square, where
        ``h`` is the leverage; "cluster" sums scores within clusters first, and multiplies by
        ``G / (G - 1) (n - 1) / (n - k)`` for G clusters. Two ways of clusters are added, and that
        of their intersection is taken off.
    nobs : float
        Number of samples: the sum of frequency weights, or the number of samples whose weight is
        not 0.
    llf, llnull : float
        Log-likelihood of the model and of the intercept alone (and the offset), penalised for
        Firth's method.
    standard_errors : ndarray, optional
        Where they are known otherwise than from the diagonal of `covariance`, whose elements are
        below the smallest float64 for a variable in units of 1e-160.
    weight_kind : {"frequency", "sampling", "analytic"}, default "frequency"
        What weights mean: repetitions, inverse probabilities of being sampled, or precisions.
    clusters : tuple of int, default ()
        Number of clusters, of each way.
    method : {"maximum likelihood", "firth"}, default "maximum likelihood"
        What the estimates maximise.
    profile : Profile, optional
        P-values and intervals by the likelihood, which then take the place of those by standard
        errors.
    evidence : Evidence, optional
        For :meth:`lr_test`.

    Notes
    -----
    ``zvalues = params / bse``, two-sided p-values and intervals from the normal distribution.
    ``llr = 2 (llf - llnull)`` against the chi-squared distribution with `df_model` degrees of
    freedom; ``prsquared = 1 - llf / llnull`` (McFadden); ``aic = 2 k - 2 llf`` and
    ``bic = k log(nobs) - 2 llf`` for k parameters. The likelihood of samples in clusters, or with
    sampling weights, is none: then `llr_pvalue`, `aic` and `bic` are NaN.
    """

    names: tuple[str, ...]
    params: Array
    covariance: Array = field(repr=False)
    cov_type: str
    nobs: float
    llf: float
    llnull: float
    standard_errors: Array | None = field(default=None, repr=False)
    weight_kind: str = "frequency"
    clusters: tuple[int, ...] = ()
    method: str = "maximum likelihood"
    profile: Profile | None = field(default=None, repr=False)
    evidence: Evidence | None = field(default=None, repr=False)

    @property
    def bse(self) -> Array:
        """Standard errors."""
        if self.standard_errors is not None:
            return self.standard_errors
        return np.asarray(np.sqrt(np.diag(self.covariance)))

    @property
    def zvalues(self) -> Array:
        """Estimates in standard errors."""
        with np.errstate(divide="ignore"):
            return self.params / self.bse

    @property
    def pvalues(self) -> Array:
        """Two-sided p-values of each parameter being 0; by likelihood ratios for Firth's method."""
        if self.profile is not None:
            return self.profile.pvalues
        return np.asarray(2 * ndtr(-np.abs(self.zvalues)))

    def cov_params(self) -> Array:
        """Return the covariance of the parameters."""
        return self.covariance

    @property
    def correlation(self) -> Array:
        """Correlations of the parameters.

        Raises
        ------
        ValueError
            If a variance over- or underflows in the units of its column.
        """
        with np.errstate(all="ignore"):
            half = self.covariance / self.bse[:, None] / self.bse
        size = np.diag(half)
        if not np.all(np.abs(size - 1) < 1e-6):
            name = self.names[int(np.argmax(~(np.abs(size - 1) < 1e-6)))]
            raise ValueError(
                f"the variance of {name!r} is beyond the range of float64, or 0; fit its column in "
                "another unit"
            )
        return np.asarray(half)

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
            If `alpha` is not between 0 and 1, or, for Firth's method, not that of the profile.

        See Also
        --------
        fastbce.linear_model.LogisticRegression.profile_conf_int : By the likelihood itself.
        """
        reach = effects.normal_reach(alpha) * self.bse
        if self.profile is not None:
            if alpha != self.profile.alpha:
                raise ValueError(
                    f"the profile intervals of this fit are for alpha={self.profile.alpha:g}; "
                    f"profile_conf_int(X, y, alpha={alpha:g}) of the estimator gives others"
                )
            return self.profile.intervals
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
    def has_likelihood(self) -> bool:
        """Whether `llf` is the likelihood of independent samples."""
        return not self.clusters and self.weight_kind != "sampling"

    @property
    def llr(self) -> float:
        """Likelihood-ratio statistic against the intercept alone."""
        return 2 * (self.llf - self.llnull)

    @property
    def llr_pvalue(self) -> float:
        """P-value of the likelihood-ratio statistic."""
        known = self.df_model and self.has_likelihood
        return float(chdtrc(self.df_model, max(self.llr, 0.0))) if known else float("nan")

    @property
    def prsquared(self) -> float:
        """McFadden's pseudo R-squared."""
        return 1 - self.llf / self.llnull

    @property
    def has_criteria(self) -> bool:
        """Whether AIC and BIC are defined."""
        return self.has_likelihood and self.method == "maximum likelihood"

    @property
    def aic(self) -> float:
        """Akaike's information criterion."""
        return 2 * (len(self.params) - self.llf) if self.has_criteria else float("nan")

    @property
    def bic(self) -> float:
        """Bayesian information criterion."""
        if not self.has_criteria:
            return float("nan")
        return float(len(self.params) * np.log(self.nobs) - 2 * self.llf)

    def wald_test(self, hypothesis: Any = None, *, value: Any = 0.0) -> TestResult:
        """Test several coefficients at once, by their covariance.

        ``(R b - r)^T (R V R^T)^-1 (R b - r)`` is chi-squared with as many degrees of freedom as
        `R` has rows, if ``R b = r``.

        Parameters
        ----------
        hypothesis : str, sequence of str or array_like of shape (r, k), optional
            The parameters that are 0, or the matrix `R` with a column for each parameter; by
            default all parameters but the intercept.
        value : float or array_like of shape (r,), default 0.0
            The vector `r`.

        Returns
        -------
        TestResult
            With statistic, degrees of freedom and p-value.

        Raises
        ------
        ValueError
            If a name is unknown, the matrix does not fit, or rows depend on each other.
        """
        return hypotheses.wald(self, hypothesis, value)

    def lr_test(self, other: LogitResult) -> TestResult:
        """Test the larger of two nested models against the smaller one, by their likelihoods.

        Twice the difference of the log-likelihoods is chi-squared with as many degrees of freedom
        as the larger model has more parameters, if the smaller one holds.

        Parameters
        ----------
        other : LogitResult
            Of the same samples; either may be the larger one.

        Returns
        -------
        TestResult
            With statistic, degrees of freedom and p-value.

        Raises
        ------
        ValueError
            If samples, weights or offsets differ, if a column of the smaller model is not in the
            larger one, or if the likelihoods are penalised or none.
        """
        return hypotheses.likelihood_ratio(self, other)

    def marginal_effects(
        self,
        X: Any,
        at: str = "average",
        *,
        groups: Sequence[Sequence[str]] = (),
        sample_weight: Any = None,
        offset: Any = None,
    ) -> MarginalEffects:
        """Return how much the probability changes with each variable.

        The derivative of the probability by a variable, or its change from 0 to 1 for columns that
        hold 0 and 1 alone. Each column is moved by itself: what a variable does by way of a second
        column, such as its square, is not added up.

        Parameters
        ----------
        X : array_like of shape (n, d)
            Samples, with the columns of the fit.
        at : {"average", "means"}, default "average"
            Average the effects over the samples, or take those of a sample that has the means.
        groups : sequence of sequences of str, default ()
            Indicators of the levels of one variable, group by group: a change to one level is one
            from the reference, all others being 0. Without it other indicators stay as they are.
        sample_weight : array_like of shape (n,), optional
            Weights of the average.
        offset : array_like of shape (n,), optional
            Offsets of the logits.

        Returns
        -------
        MarginalEffects
            With standard errors by the delta method, from the covariance of this result.

        Raises
        ------
        ValueError
            If `X` does not fit, or a group names something else than indicators.
        """
        return effects.marginal_effects(self, X, at, groups, sample_weight, offset)

    def summary(self, alpha: float = 0.05, *, width: int | None = None) -> str:
        """Return a table of the fit and its parameters as text.

        Parameters
        ----------
        alpha : float, default 0.05
            One minus the level of confidence of the intervals.
        width : int, optional
            Columns of text; by default those of the terminal. Where a table is wider, names are
            shortened, and odds ratios go below the coefficients.

        Returns
        -------
        str
            Some facts about the fit, then one line a parameter: coefficients and odds ratios, each
            with its interval.
        """
        width = width or tables.terminal_width()
        facts = tables.text_facts(TITLES[self.method], shown.facts(self), width)
        cells = shown.cells(self, alpha)
        return f"{facts}\n{tables.text_table(self.names, cells, width, len(cells) - 3)}"

    def __str__(self) -> str:
        return self.summary()

    def to_html(self, alpha: float = 0.05) -> str:
        """Return the table as HTML, as notebooks show it."""
        return tables.html_table(
            TITLES[self.method], shown.facts(self), self.names, shown.cells(self, alpha)
        )

    def _repr_html_(self) -> str:
        # Of Firth's method the profile says for which intervals.
        return self.to_html()

    def to_frame(self, alpha: float = 0.05) -> Any:
        """Return the parameters as a data frame of pandas, which must be installed.

        Parameters
        ----------
        alpha : float, default 0.05
            One minus the level of confidence of the intervals.

        Returns
        -------
        pandas.DataFrame
            One row a parameter, its name in the index.
        """
        return tables.frame(self.names, shown.columns(self, alpha))

    def to_csv(self, path: str | os.PathLike[str] | None = None, alpha: float = 0.05) -> str:
        """Return the parameters as CSV, each number with all its digits.

        Parameters
        ----------
        path : path-like, optional
            A file to write the text to.
        alpha : float, default 0.05
            One minus the level of confidence of the intervals.

        Returns
        -------
        str
            A line of titles, then one a parameter.
        """
        return tables.csv_text(self.names, shown.columns(self, alpha), path)

    def to_dict(self, alpha: float = 0.05) -> dict[str, Any]:
        """Return everything in full precision, in lists and numbers as JSON has them.

        Parameters
        ----------
        alpha : float, default 0.05
            One minus the level of confidence of the intervals.

        Returns
        -------
        dict
            What is no finite number is None.
        """
        return shown.content(self, alpha)

    def to_json(self, alpha: float = 0.05) -> str:
        """Return :meth:`to_dict` as JSON."""
        return tables.json_text(self.to_dict(alpha))
