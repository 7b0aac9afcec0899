"""Standard errors equal 60-digit arithmetic, or are refused with the columns named."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from checks import in_ci

pytest.importorskip("sklearn", reason="the estimator needs scikit-learn")
pytest.importorskip("scipy", reason="the estimator needs SciPy")
pytest.importorskip("mpmath", reason="the oracles need mpmath")

from fitted import WAYS, Outcome, fitted, named
from logit_oracle import Fit, maximum_likelihood, mpmath_maximum_likelihood

from fastbce.linear_model import LogisticRegression

if TYPE_CHECKING:
    from cases import Array

COV_TYPES = ("nonrobust", "HC0")
KINDS = [("fit", "newton"), ("fit", "lbfgs"), ("fit_stream", "auto"), in_ci("dask", "auto")]


def skip_without_dask(way: str) -> None:
    if way == "dask":
        pytest.importorskip("dask", reason="the collections are Dask's")


def check(outcome: Outcome, exact: Fit, cov_type: str = "nonrobust") -> None:
    result = outcome.right
    bse = exact.hc0 if cov_type == "HC0" else exact.bse
    # A coefficient near 0 has no relative accuracy: a millionth of its error is as good.
    off = np.abs(result.params - exact.params) / np.maximum(np.abs(exact.params), exact.bse)
    assert np.max(off) < 1e-6, f"coefficients off by {off}"
    np.testing.assert_allclose(result.bse, bse, rtol=1e-6)
    np.testing.assert_allclose(result.llf, exact.llf, rtol=1e-10)
    np.testing.assert_allclose(result.llnull, exact.llnull, rtol=1e-10)


def right_or_blamed(outcome: Outcome, exact: Fit, blamed: set[str], cov_type: str) -> None:
    """The numbers are right, or the columns named, these and no other."""
    if outcome.result is None:
        assert named(outcome.refusal, ["const", "x1", "x2", "x3", "x4"]) == blamed
        assert "separate" not in outcome.reason
    else:
        check(outcome, exact, cov_type)


def years(seed: int, n: int = 5_000) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    t = rng.integers(1997, 2003, n).astype(float)
    return t, (rng.random(n) < 0.7 + 0.03 * (t - 1999)).astype(int)


@pytest.mark.parametrize("cov_type", COV_TYPES)
@pytest.mark.parametrize(("way", "solver"), KINDS)
def test_years_and_their_squares(way: str, solver: str, cov_type: str) -> None:
    skip_without_dask(way)
    t, y = years(21)
    X = np.c_[t, t**2]
    exact = mpmath_maximum_likelihood(X, y)
    near = mpmath_maximum_likelihood(np.c_[t - 1999, (t - 1999) ** 2], y)
    assert near.bse[2] == pytest.approx(1.2774e-2, rel=1e-4)
    # The highest power does not depend on the origin.
    assert exact.bse[2] == pytest.approx(near.bse[2], rel=1e-12)
    check(fitted(X, y, way=way, solver=solver, cov_type=cov_type), exact, cov_type)


def test_samples_of_years_and_squares() -> None:
    for seed in (3, 9, 17, 22, 28):
        t, y = years(seed)
        X = np.c_[t, t**2]
        check(fitted(X, y), mpmath_maximum_likelihood(X, y))


@pytest.mark.parametrize("cov_type", COV_TYPES)
@pytest.mark.parametrize(("way", "solver"), KINDS)
def test_years_and_their_cubes(way: str, solver: str, cov_type: str) -> None:
    skip_without_dask(way)
    t, y = years(22)
    X = np.c_[t, t**2, t**3]
    outcome = fitted(X, y, way=way, solver=solver, cov_type=cov_type)
    right_or_blamed(outcome, mpmath_maximum_likelihood(X, y), {"x1", "x2", "x3"}, cov_type)


@pytest.mark.parametrize("origin", [3.0, 30.0, 100.0])
def test_cubics_that_have_to_be_fitted(origin: float) -> None:
    rng = np.random.default_rng(2)
    t = origin + rng.integers(0, 12, 400)
    y = (0.3 * (t - origin - 5) + rng.logistic(size=400) > 0).astype(int)
    X = np.c_[t, t**2, t**3].astype(float)
    exact = mpmath_maximum_likelihood(X, y)
    assert maximum_likelihood(X, y).condition < 1e7
    for cov_type in COV_TYPES:
        check(fitted(X, y, cov_type=cov_type), exact, cov_type)


@lru_cache
def pair(origin: float, noise: float) -> tuple[Array, Array, Fit]:
    """Return three columns, the first two of them nearly the same, and the exact fit."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(60, 3))
    y = (X[:, 0] + X[:, 2] + rng.logistic(size=60) > 0).astype(int)
    X[:, 1] = X[:, 0] + noise * X[:, 1]
    X[:, :2] += origin
    return X, y, mpmath_maximum_likelihood(X, y)


@pytest.mark.parametrize("noise", [1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8])
@pytest.mark.parametrize("origin", [0.0, 1e3])
@pytest.mark.parametrize(("way", "solver"), KINDS)
def test_nearly_collinear_pairs(way: str, solver: str, origin: float, noise: float) -> None:
    skip_without_dask(way)
    X, y, exact = pair(origin, noise)
    for cov_type in COV_TYPES:
        outcome = fitted(X, y, way=way, solver=solver, cov_type=cov_type)
        if noise >= 1e-6:
            check(outcome, exact, cov_type)
        else:
            right_or_blamed(outcome, exact, {"x1", "x2"}, cov_type)


@pytest.mark.parametrize("cov_type", COV_TYPES)
@pytest.mark.parametrize(("way", "solver"), KINDS)
def test_unix_time_in_milliseconds(way: str, solver: str, cov_type: str) -> None:
    skip_without_dask(way)
    rng = np.random.default_rng(4)
    u = rng.integers(0, 1_046, 200)
    y = (0.004 * (u - 500) + rng.logistic(size=200) > 0).astype(int)
    X = (1.6e12 + u)[:, None]
    exact = mpmath_maximum_likelihood(X, y)
    check(fitted(X, y, way=way, solver=solver, cov_type=cov_type), exact, cov_type)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_dependent_columns_never_blame_the_intercept(shift: float, intercept: bool) -> None:
    rng = np.random.default_rng(5)
    X = rng.normal(size=(80, 4))
    X[:, 3] = X[:, 0] + X[:, 1] if shift == 0 else 7 + shift - X[:, 0]
    X[:, 0] += shift
    y = (X[:, 2] + rng.logistic(size=80) > 0).astype(int)
    if shift and not intercept:
        return  # the constant is not in the span of the columns
    why = fitted(X, y, fit_intercept=intercept).refusal
    expected = {"x1", "x4"} if shift else {"x1", "x2", "x4"}
    assert "dependent" in why
    assert named(why, ["const", "x1", "x2", "x3", "x4"]) == expected, why


# --- many columns ---------------------------------------------------------------------------------


def shops(*, income: bool, n: int = 20_000) -> tuple[Array, Array]:
    """Return the indicators of two variables of 130 levels each, the first level left out."""
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 130, n), rng.integers(0, 130, n)
    y = (rng.random(n) < 0.3 + 0.3 * (a % 3 == 0)).astype(int)
    columns = [np.eye(130)[a][:, 1:], np.eye(130)[b][:, 1:]]
    if income:
        columns.append(5_000 + 1_000 * rng.normal(size=(n, 1)))
    return np.hstack(columns), y


@pytest.mark.parametrize(
    ("income", "n"),
    [
        (True, 5_000),
        pytest.param(True, 20_000, marks=pytest.mark.slow),
        pytest.param(False, 20_000, marks=pytest.mark.slow),
    ],
)
def test_hundreds_of_indicators(income: bool, n: int) -> None:
    X, y = shops(income=income, n=n)
    check(fitted(X, y), maximum_likelihood(X, y))


@pytest.mark.slow
@pytest.mark.parametrize(("way", "solver"), [("fit", "lbfgs"), ("fit_stream", "auto")])
def test_hundreds_of_indicators_in_other_ways(way: str, solver: str) -> None:
    X, y = shops(income=True)
    for cov_type in COV_TYPES:
        outcome = fitted(X, y, way=way, solver=solver, cov_type=cov_type)
        check(outcome, maximum_likelihood(X, y), cov_type)


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["auto", "newton", "lbfgs"])
def test_rare_events(solver: str) -> None:
    rng = np.random.default_rng(6)
    X = rng.normal(size=(1_000_000, 2)).round(1)
    y = np.zeros(len(X), int)
    y[rng.choice(len(X), 10, replace=False)] = 1
    rows, inverse = np.unique(np.c_[X, y], axis=0, return_inverse=True)
    exact = maximum_likelihood(rows[:, :2], rows[:, 2], np.bincount(inverse.ravel()))
    check(fitted(X, y, solver=solver), exact)


# --- a weight of 2 is two rows --------------------------------------------------------------------

EVERYTHING: tuple[str, ...] = (
    "params",
    "bse",
    "zvalues",
    "pvalues",
    "llf",
    "llnull",
    "aic",
    "bic",
    "nobs",
)
EVERYTHING += ("covariance", "llr", "llr_pvalue", "prsquared", "df_resid", "df_model")


def assert_same(one: Outcome, other: Outcome) -> None:
    for name in EVERYTHING:
        mine, theirs = getattr(one.right, name), getattr(other.right, name)
        # Entries of a covariance near 0 are as good as those beside them.
        atol = 1e-9 * np.max(np.abs(theirs)) if name == "covariance" else 1e-9
        np.testing.assert_allclose(mine, theirs, rtol=1e-7, atol=atol, err_msg=name)


@pytest.mark.parametrize("dtype", [in_ci(np.float32), np.float64])
@pytest.mark.parametrize("cov_type", COV_TYPES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("intercept", [True, False])
def test_weights_are_repetitions(intercept: bool, way: str, cov_type: str, dtype: Any) -> None:
    skip_without_dask(way)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(150, 3)).astype(dtype)
        y = (X[:, 0] + rng.logistic(size=150) > 0).astype(int)
        w = rng.integers(0, 5, 150)
        options: dict[str, Any] = {"cov_type": cov_type, "fit_intercept": intercept}
        weighted = fitted(X, y, w.astype(float), way=way, **options)
        repeated = fitted(np.repeat(X, w, 0), np.repeat(y, w), **options)
        assert_same(weighted, repeated)
        check(weighted, maximum_likelihood(X, y, w, intercept=intercept), cov_type)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cov_type", COV_TYPES)
@pytest.mark.parametrize("way", WAYS)
def test_class_weights_are_repetitions(way: str, cov_type: str, dtype: Any) -> None:
    skip_without_dask(way)
    rng = np.random.default_rng(7)
    X = rng.normal(size=(150, 3)).astype(dtype)
    y = (X[:, 0] + rng.logistic(size=150) > 0).astype(int)
    w = rng.integers(0, 3, 150)
    for given in (None, w):
        total = np.where(y == 1, 3, 2) * (np.ones_like(w) if given is None else given)
        amount = None if given is None else given.astype(float)
        weighted = fitted(X, y, amount, way=way, cov_type=cov_type, class_weight={0: 2, 1: 3})
        assert_same(
            weighted, fitted(np.repeat(X, total, 0), np.repeat(y, total), cov_type=cov_type)
        )


def test_weights_of_any_size_are_rows_of_that_size() -> None:
    """A factor on all weights divides variances by it, and changes nothing else."""
    rng = np.random.default_rng(8)
    X = rng.normal(size=(200, 3))
    y = (X[:, 0] + rng.logistic(size=200) > 0).astype(int)
    w = rng.random(200)
    one = fitted(X, y, w).right
    for factor in (1e-6, 1e-3, 1e3, 1e6):
        other = fitted(X, y, w * factor).right
        np.testing.assert_allclose(other.params, one.params, rtol=1e-6)
        np.testing.assert_allclose(other.bse * factor**0.5, one.bse, rtol=1e-7)
        np.testing.assert_allclose(other.llf, one.llf * factor, rtol=1e-9)
        np.testing.assert_allclose(other.nobs, one.nobs * factor, rtol=1e-12)


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_a_penalised_fit_takes_weights_as_repetitions(solver: str) -> None:
    rng = np.random.default_rng(9)
    X = rng.normal(size=(150, 3)) * [1e-3, 1, 1e3] + [0, 1e4, 1e6]
    y = (X[:, 1] - 1e4 + rng.logistic(size=150) > 0).astype(int)
    w = rng.integers(0, 5, 150)
    one = LogisticRegression(solver=solver).fit(X, y, w)
    other = LogisticRegression(solver=solver).fit(np.repeat(X, w, 0), np.repeat(y, w))
    np.testing.assert_allclose(one.coef_, other.coef_, rtol=1e-6)
