"""Standard errors and p-values: equal to statsmodels', and refused where they do not exist."""

from __future__ import annotations

import warnings
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from cases import needs_flights
from checks import at_night
from logistic import logistic

pytest.importorskip("sklearn", reason="the estimator needs scikit-learn")
pytest.importorskip("scipy", reason="the estimator needs SciPy")

from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning

from fastbce.inference import InferenceError, LogitResult
from fastbce.linear_model import LogisticRegression

if TYPE_CHECKING:
    from cases import Array


def breast_cancer() -> tuple[Array, Array]:
    data = load_breast_cancer()
    return data.data[:, [0, 1, 4, 8]], 1 - data.target


def flights() -> tuple[Array, Array]:
    needs_flights()
    from fastbce.demo._data import load_flights

    X, y, names = load_flights()
    base = ("month 1", "carrier 9E", "origin EWR")
    kept = [i for i, name in enumerate(names) if name not in base]
    return X[::7][:, kept], y[::7, 0]


def spector() -> tuple[Array, Array]:
    sm = pytest.importorskip("statsmodels.api", reason="bundled with statsmodels")
    data = sm.datasets.spector.load_pandas()
    return data.exog.to_numpy(), data.endog.to_numpy()


def fair() -> tuple[Array, Array]:
    sm = pytest.importorskip("statsmodels.api", reason="bundled with statsmodels")
    data = sm.datasets.fair.load_pandas()
    return data.exog.to_numpy(), (data.endog > 0).to_numpy()


@pytest.mark.parametrize(
    ("load", "cov_type"),
    [
        *product((breast_cancer, spector, fair), ("nonrobust", "HC0")),
        at_night(flights, "nonrobust"),
        at_night(flights, "HC0"),
    ],
)
def test_equal_to_statsmodels(load: Any, cov_type: str) -> None:
    sm = pytest.importorskip("statsmodels.api", reason="compares with statsmodels")
    X, y = load()
    ours = LogisticRegression(C=np.inf, cov_type=cov_type).fit(X, y).result_
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = sm.Logit(y.astype(float), sm.add_constant(X.astype(float))).fit(
            disp=0, method="newton", tol=1e-13, maxiter=100, cov_type=cov_type
        )
    pairs = [
        (ours.params, theirs.params),
        (ours.bse, theirs.bse),
        (ours.zvalues, theirs.tvalues),
        (ours.pvalues, theirs.pvalues),
        (ours.conf_int(), theirs.conf_int()),
        (ours.conf_int(0.2), theirs.conf_int(0.2)),
        (ours.cov_params(), theirs.cov_params()),
        (ours.odds_ratios, np.exp(theirs.params)),
    ]
    pairs += [
        (getattr(ours, name), getattr(theirs, name))
        for name in ("llf", "llnull", "llr", "llr_pvalue", "prsquared", "aic", "bic", "nobs")
    ]
    for mine, other in pairs:
        np.testing.assert_allclose(mine, other, rtol=1e-6)
    assert (ours.df_model, ours.df_resid) == (theirs.df_model, theirs.df_resid)


def refused(X: Array, y: Array, **options: Any) -> str:
    """Fit, and return why there is no inference."""
    with pytest.warns(ConvergenceWarning):
        model = LogisticRegression(C=np.inf, **options).fit(X, y)
    with pytest.raises(InferenceError) as caught:
        _ = model.result_
    return str(caught.value)


def test_without_intercept(rng: np.random.Generator) -> None:
    sm = pytest.importorskip("statsmodels.api", reason="compares with statsmodels")
    X, y = logistic(rng, 500)
    ours = LogisticRegression(C=np.inf, fit_intercept=False).fit(X, y).result_
    theirs = sm.Logit(y, X).fit(disp=0, method="newton", tol=1e-13)
    assert ours.names == ("x1", "x2", "x3")
    for name in ("params", "bse", "pvalues", "llf", "llr", "aic", "bic"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-6)


@pytest.mark.ci
def test_float32_gives_the_same_inference(rng: np.random.Generator) -> None:
    X, y = logistic(rng, 500)
    X = X.astype(np.float32)
    one = LogisticRegression(C=np.inf).fit(X, y).result_
    other = LogisticRegression(C=np.inf).fit(X.astype(np.float64), y).result_
    np.testing.assert_allclose(one.params, other.params, rtol=1e-7)
    np.testing.assert_allclose(one.bse, other.bse, rtol=1e-7)


def test_integer_weights_are_repetitions(rng: np.random.Generator) -> None:
    X, y = logistic(rng, 500)
    count = rng.integers(0, 4, len(y))
    weighted = LogisticRegression(C=np.inf).fit(X, y, count).result_
    repeated = LogisticRegression(C=np.inf).fit(np.repeat(X, count, 0), np.repeat(y, count)).result_
    for name in ("params", "bse", "llf", "llnull", "bic", "nobs"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-6)


def test_names_follow_the_columns(rng: np.random.Generator) -> None:
    pandas = pytest.importorskip("pandas", reason="names come with a pandas frame")
    X, y = logistic(rng, 500)
    frame = pandas.DataFrame(X, columns=["age", "a<b", "height"])
    result = LogisticRegression(C=np.inf).fit(frame, y).result_
    assert result.names == ("const", "age", "a<b", "height")
    assert "a<b" in result.summary()
    assert "a&lt;b" in result._repr_html_()


def test_summary(rng: np.random.Generator) -> None:
    X, y = logistic(rng, 500)
    result = LogisticRegression(C=np.inf).fit(X, y).result_
    text = result.summary(alpha=0.1)
    for part in ("P>|z|", "[0.05", "0.95]", "const", "x3", "<0.001", "odds ratio", "AIC", "500"):
        assert part in text
    assert str(result) == result.summary()
    assert all(line == line.rstrip() for line in text.splitlines())
    with pytest.raises(ValueError, match="alpha"):
        result.conf_int(0)


def test_a_penalty_is_refused(rng: np.random.Generator) -> None:
    model = LogisticRegression(C=1.0).fit(*logistic(rng, 500))
    with pytest.raises(InferenceError, match=r"penalty \(C=1\).*C=np.inf"):
        _ = model.result_
    assert not hasattr(LogisticRegression(), "result_")


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_complete_separation(solver: str) -> None:
    data = load_breast_cancer()
    X = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
    assert "separate completely" in refused(
        X, data.target, solver=solver, tol=1e-5, max_iter=10_000
    )


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
def test_quasi_complete_separation_names_the_column(
    solver: str, scale: float, rng: np.random.Generator
) -> None:
    X, y = logistic(rng, 500)
    X[:, 1] = scale * ((y == 1) & (X[:, 2] > 0))
    why = refused(X, y, solver=solver, tol=1e-5, max_iter=1_000)
    assert "separate quasi-completely" in why
    assert "Columns that separate: x2." in why


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_only_the_columns_that_separate_are_named(
    solver: str, fit_intercept: bool, rng: np.random.Generator
) -> None:
    X = rng.normal(size=(60, 3))
    options = {"solver": solver, "fit_intercept": fit_intercept, "max_iter": 1_000}
    alone = (X[:, 1] > 0).astype(int)
    # The others say something of the class too, so a fit gives them large coefficients as well.
    X[:, 0] += 2 * alone - 1
    assert "Columns that separate: x2." in refused(X, alone, **options)
    both = (X[:, 1] > X[:, 2]).astype(int)
    why = refused(X, both, **options)
    assert "Columns that separate: x2, x3." in why or "Columns that separate: x3, x2." in why


def test_a_strong_model_is_not_called_separated(rng: np.random.Generator) -> None:
    X = rng.normal(size=(2_000, 2))
    y = (30 * X[:, 0] + rng.logistic(size=2_000) > 0).astype(int)
    assert isinstance(LogisticRegression(C=np.inf).fit(X, y).result_, LogitResult)


def test_dependent_columns_are_named(rng: np.random.Generator) -> None:
    X, y = logistic(rng, 500)
    group = np.eye(3)[rng.integers(0, 3, len(y))]
    total = 1e3 * (X[:, :1] + X[:, 1:2])
    why = refused(np.hstack([X, group, total]), y)
    assert "2 too many" in why
    groups = [set(part.split(", ")) for part in why.rpartition(": ")[2].split("; ")]
    assert {frozenset(part) for part in groups} == {
        frozenset({"x4", "x5", "x6"}),
        frozenset({"x1", "x2", "x7"}),
    }


def test_a_constant_column_is_named(rng: np.random.Generator) -> None:
    X, y = logistic(rng, 500)
    why = refused(np.hstack([X, np.full((500, 1), 7.0)]), y)
    assert why.endswith("leave out x4 (constant)")


def test_a_fit_that_did_not_converge_is_refused(rng: np.random.Generator) -> None:
    assert "did not converge" in refused(*logistic(rng, 500), max_iter=1, tol=1e-12)


def test_p_values_are_uniform_where_there_is_no_effect(rng: np.random.Generator) -> None:
    pvalues = np.array(
        [
            LogisticRegression(C=np.inf, cov_type=kind)
            .fit(rng.normal(size=(400, 2)), rng.integers(0, 2, 400))
            .result_.pvalues[1:]
            for kind in ("nonrobust", "HC0")
            for _ in range(150)
        ]
    ).ravel()
    # 600 values: 5 % below 0.05, give or take 4 standard deviations.
    assert 0.014 < np.mean(pvalues < 0.05) < 0.086
    assert 0.42 < np.mean(pvalues < 0.5) < 0.58
