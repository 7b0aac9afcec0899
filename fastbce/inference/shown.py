"""What a result shows of itself: facts, columns as numbers and as text, everything as a dict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import tables

if TYPE_CHECKING:
    from fastbce._typing import Array

    from .result import LogitResult


def facts(result: LogitResult) -> list[tuple[str, str]]:
    """Return names and values of what is said above the table."""
    covariance = result.cov_type
    if result.clusters:
        covariance += f" ({' and '.join(f'{count:,}' for count in result.clusters)} clusters)"
    penalised = "penalised " if result.method == "firth" else ""
    pseudo = "log-likelihood" if result.has_likelihood else "log pseudo-likelihood"
    found = [
        ("observations", f"{result.nobs:,.10g}"),
        ("covariance", covariance),
        (f"{penalised}{pseudo}", f"{result.llf:.10g}"),
        (f"null {penalised}{pseudo}", f"{result.llnull:.10g}"),
    ]
    if result.weight_kind != "frequency":
        found.insert(1, ("weights", result.weight_kind))
    if result.has_likelihood:
        found.append(("pseudo R-squared", f"{result.prsquared:.4f}"))
        found.append(("LLR p-value", f"{result.llr_pvalue:.3g}"))
    elif result.df_model:
        found.append(("Wald p-value", _wald_pvalue(result)))
    if result.has_criteria:
        found += [("AIC", f"{result.aic:.10g}"), ("BIC", f"{result.bic:.10g}")]
    return found


def _wald_pvalue(result: LogitResult) -> str:
    try:
        return f"{result.wald_test().pvalue:.3g}"
    except ValueError:  # fewer clusters than parameters
        return "nan"


def columns(result: LogitResult, alpha: float) -> dict[str, Array]:
    """Return the columns of the table as numbers."""
    (low, high), (low_ratio, high_ratio) = (
        result.conf_int(alpha).T,
        result.odds_ratios_conf_int(alpha).T,
    )
    statistic = {"z": result.zvalues}
    if result.profile is not None:
        statistic = {"chi2": result.profile.statistics}
    return {
        "coef": result.params,
        "std err": result.bse,
        **statistic,
        "p": result.pvalues,
        "lower": low,
        "upper": high,
        "odds ratio": result.odds_ratios,
        "odds ratio lower": low_ratio,
        "odds ratio upper": high_ratio,
    }


def cells(result: LogitResult, alpha: float) -> dict[str, list[str]]:
    """Return the columns of the table as text."""
    numbers = columns(result, alpha)
    low, high = f"[{alpha / 2:.3g}", f"{1 - alpha / 2:.3g}]"
    statistic, title = ("z", "P>|z|") if result.profile is None else ("chi2", "P>chi2")

    def shown(name: str) -> list[str]:
        return [tables.number(value) for value in numbers[name]]

    return {
        "coef": shown("coef"),
        "std err": shown("std err"),
        statistic: [f"{value:.3f}" for value in numbers[statistic]],
        title: [tables.probability(value) for value in numbers["p"]],
        low: shown("lower"),
        high: shown("upper"),
        "odds ratio": shown("odds ratio"),
        f"{low} ": shown("odds ratio lower"),
        f"{high} ": shown("odds ratio upper"),
    }


def content(result: LogitResult, alpha: float) -> dict[str, Any]:
    """Return everything in full precision, as JSON has it."""
    numbers = columns(result, alpha)
    found: dict[str, Any] = {
        "method": result.method,
        "names": result.names,
        "coefficients": numbers.pop("coef"),
        "standard errors": numbers.pop("std err"),
        "p-values": numbers.pop("p"),
        **numbers,
        "alpha": alpha,
        "covariance type": result.cov_type,
        "covariance": result.covariance,
        "clusters": result.clusters,
        "weights": result.weight_kind,
        "observations": result.nobs,
        "degrees of freedom": result.df_model,
        "log-likelihood": result.llf,
        "null log-likelihood": result.llnull,
        "LLR": result.llr,
        "LLR p-value": result.llr_pvalue,
        "pseudo R-squared": result.prsquared,
        "AIC": result.aic,
        "BIC": result.bic,
    }
    plain: dict[str, Any] = tables.plain(found)
    return plain
