"""A column's unit and origin change no p-value, no likelihood, no prediction and no verdict.

Everything is compared with an oracle that fits the very numbers that the estimator was given:
with float32 columns far from 0, these are not the numbers one started from.
"""

from __future__ import annotations

import re
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from checks import in_ci
from logistic import logistic

pytest.importorskip("sklearn", reason="the estimator needs scikit-learn")
pytest.importorskip("scipy", reason="the estimator needs SciPy")
pytest.importorskip("mpmath", reason="the oracles need mpmath")

from fitted import WAYS, Outcome, fitted, named
from logit_oracle import Fit, assert_right, maximum_likelihood, mpmath_at, standardised
from sklearn.exceptions import ConvergenceWarning

import fastbce
from fastbce.inference import InferenceError
from fastbce.linear_model import LogisticRegression
from fastbce.linear_model.coordinates import SAMPLE_ROWS

if TYPE_CHECKING:
    from cases import Array

SOLVERS = ("auto", "newton", "lbfgs")
every_solver = pytest.mark.parametrize("solver", [SOLVERS[0], *map(in_ci, SOLVERS[1:])])
# All solvers, and all ways of fitting: Dask's tasks are slow in the making.
KINDS = [*(("fit", solver) for solver in SOLVERS), ("fit_stream", "auto"), ("dask", "auto")]
POWERS = (*range(-12, 13, 4), -100, 100)
SHIFTS = (1.0, 1e3, 1e6, 1e9)


def draw(seed: int, n: int = 300, d: int = 5) -> tuple[Array, Array]:
    return logistic(np.random.default_rng(seed), n, d, coef=(1, -0.5), intercept=0.4)


def probabilities(X: Array, exact: Fit, *, intercept: bool = True) -> tuple[Array, Array]:
    """Return the exact P(1), and how far the dtype's rounding of logits may move it.

    The logit is a sum of products with coefficients of the data's dtype, and a public intercept.
    """
    c = standardised(X, np.zeros(len(X)), intercept=intercept)
    coef = exact.params[int(intercept) :].astype(np.longdouble)
    wide = X.astype(np.longdouble)
    eta = (wide - c.center) @ coef
    if intercept:
        eta = eta + (exact.params[0] + c.center @ coef)
    rounding = np.finfo(X.dtype).eps * (4 * np.abs(wide) @ np.abs(coef) + abs(exact.params[0]))
    return np.asarray(1 / (1 + np.exp(-eta))), np.asarray(rounding + 1e-5)


def check(outcome: Outcome, X: Array, exact: Fit, *, intercept: bool = True) -> None:
    result = outcome.right
    assert_right(result, exact, bse=1e-6)
    np.testing.assert_allclose(result.zvalues, exact.zvalues, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(result.pvalues, exact.pvalues, rtol=1e-3, atol=1e-300)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = outcome.model.predict_proba(X)[:, 1]
    expected, rounding = probabilities(X, exact, intercept=intercept)
    off = np.abs(np.asarray(found, np.longdouble) - expected)
    assert np.all(off <= rounding), f"probabilities are off by up to {float(off.max()):.3g}"


@lru_cache
def in_units(power: int, column: int, intercept: bool) -> tuple[Array, Array, Fit]:
    X, y = draw(1)
    X[:, column] *= 10.0**power
    return X, y, maximum_likelihood(X, y, intercept=intercept)


@pytest.mark.parametrize("intercept", [True, False])
@every_solver
def test_units(solver: str, intercept: bool, backend: str) -> None:
    for power in POWERS:
        for column in (0, 4):
            X, y, exact = in_units(power, column, intercept)
            outcome = fitted(X, y, solver=solver, fit_intercept=intercept)
            check(outcome, X, exact, intercept=intercept)


@every_solver
def test_all_units_at_once_in_float32(solver: str, backend: str) -> None:
    X, y = draw(2)
    Z = (X * 10.0 ** np.array([-12, 12, -6, 6, 0])).astype(np.float32)
    for w in (None, np.arange(len(y)) % 4):
        check(fitted(Z, y, w, solver=solver), Z, maximum_likelihood(Z, y, w))


@pytest.mark.parametrize("power", [120, 160, 200, 300, -120, -160, -200, -300])
@every_solver
def test_huge_units(solver: str, power: int, backend: str) -> None:
    X, y = draw(3, 200, 2)
    X[:, 0] *= 10.0**power
    exact = maximum_likelihood(X, y)
    try:
        outcome = fitted(X, y, solver=solver)
    except ValueError as error:
        refusal = str(error)
    else:
        if outcome.result is not None:
            check(outcome, X, exact)
            return
        refusal = outcome.refusal
    # Where the square of the unit is no float64, there is no covariance to speak of.
    assert abs(power) > 150, "a variance of this unit can be represented"
    assert named(refusal, ["x1", "x2", "const"]) == {"x1"}
    assert "separate" not in refusal
    assert "dependent" not in refusal


@pytest.mark.parametrize("way", WAYS)
def test_huge_units_however_fitted(way: str) -> None:
    if way == "dask":
        pytest.importorskip("dask", reason="the collections are Dask's")
    X, y = draw(3, 200, 2)
    X[:, 0] *= 1e120
    check(fitted(X, y, way=way), X, maximum_likelihood(X, y))


@pytest.mark.parametrize("dtype", [in_ci(np.float32), np.float64])
@every_solver
def test_origin(solver: str, dtype: Any, backend: str) -> None:
    X, y = draw(4)
    w = np.arange(len(y)) % 3 / 2
    shifts = (1.0, 1e2, 1e5) if dtype == np.float32 else SHIFTS
    for shift in shifts:
        Z = (X + np.array([shift, 0, -shift, 0, shift])).astype(dtype)
        for weight in (None, w):
            outcome = fitted(Z, y, weight, solver=solver)
            check(outcome, Z, maximum_likelihood(Z, y, weight))


@pytest.mark.parametrize("dtype", [in_ci(np.float32), np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_units_and_origins_however_fitted(way: str, weighted: bool, dtype: Any) -> None:
    if way == "dask":
        pytest.importorskip("dask", reason="the collections are Dask's")
    X, y = draw(5)
    w = np.arange(len(y)) % 3 / 2 if weighted else None
    far = 1e5 if dtype == np.float32 else 1e9
    Z = ((X + np.array([far, -far, 3, 0, -30])) * 10.0 ** np.array([-12, 12, -6, 6, 0])).astype(
        dtype
    )
    for cov_type in ("nonrobust", "HC0"):
        outcome = fitted(Z, y, w, way=way, cov_type=cov_type)
        exact = maximum_likelihood(Z, y, w)
        assert_right(outcome.right, exact, bse=1e-6, hc0=cov_type == "HC0")


@lru_cache
def wide(dtype: Any, d: int = 257, weighted: bool = False) -> tuple[Array, Array, Array, Fit]:
    """Return columns in all units, some of them far from 0, one of them with an effect."""
    n = 1500
    rng = np.random.default_rng(6)
    X = rng.normal(size=(n, d))
    y = (X[:, 0] + rng.logistic(size=n) > 0).astype(int)
    far = np.resize([0, 1, -1e2, 1e5, 0] if dtype == np.float32 else [0, 1, -1e3, 1e6, 1e9], d)
    X = (X + far) * 10.0 ** np.resize([-9, -6, -3, 0, 3, 6, 12, -12], d)
    X, w = X.astype(dtype), 1 + np.arange(n) % 2
    return X, y, w, maximum_likelihood(X, y, w if weighted else None)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@every_solver
def test_many_columns(solver: str, dtype: Any) -> None:
    X, y, _, exact = wide(dtype)
    check(fitted(X, y, solver=solver), X, exact)


@pytest.mark.parametrize("way", WAYS)
def test_many_columns_however_fitted(way: str) -> None:
    if way == "dask":
        pytest.importorskip("dask", reason="the collections are Dask's")
    X, y, w, exact = wide(np.float64, weighted=True)
    assert_right(fitted(X, y, w, way=way).right, exact, bse=1e-6)


def test_many_columns_with_the_numpy_backend() -> None:
    X, y, _, exact = wide(np.float64, 300)
    with fastbce.use_backend("numpy"):
        check(fitted(X, y), X, exact)


@pytest.mark.parametrize("unit", [1e-3, 1e-6, 1e-9])
def test_one_small_unit_among_many_columns(unit: float) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1500, 257))
    y = (X[:, 0] + rng.logistic(size=1500) > 0).astype(int)
    X[:, 0] *= unit
    outcome = fitted(X, y)
    check(outcome, X, maximum_likelihood(X, y))
    assert outcome.right.pvalues[1] < 1e-40


# --- where the origin is what people have ---------------------------------------------------------


def city(rng: np.random.Generator) -> tuple[Array, Array, Array]:
    X = np.c_[rng.normal(40.71, 0.02, 200), rng.normal(-74.0, 0.02, 200)]
    return X, np.array([60, 40]), np.array([40.71, -74])


def weather(rng: np.random.Generator) -> tuple[Array, Array, Array]:
    X = np.c_[rng.integers(2015, 2025, 150), rng.normal(293, 5, 150)]
    return X, np.array([0.8, 0.3]), np.array([2020, 293])


def degrees(rng: np.random.Generator) -> tuple[Array, Array, Array]:
    X = 407_128_000.0 + rng.integers(-20_000, 20_000, (300, 1))
    return X, np.array([1e-4]), np.array([407_128_000])


@pytest.mark.parametrize("make", [city, weather, degrees])
def test_coordinates_years_and_map_metres(make: Any) -> None:
    comfortable = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        X, effect, center = make(rng)
        y = ((X - center) @ effect + rng.logistic(size=len(X)) > 0).astype(int)
        exact = maximum_likelihood(X, y)
        if exact.comfortable:
            comfortable += 1
            check(fitted(X, y), X, exact)
    assert comfortable > 50


@pytest.mark.parametrize("C", [1.0, 1e-4, np.inf])
@pytest.mark.parametrize("origin", [0.0, 1e6, 1.7e9])
@every_solver
def test_ten_minutes_of_unix_time(solver: str, origin: float, C: float, backend: str) -> None:
    rng = np.random.default_rng(0)
    u = np.round(rng.uniform(0, 600, 400), 1)
    y = (0.01 * (u - 300) + rng.logistic(size=400) > 0).astype(int)
    X = (origin + u)[:, None]
    exact = maximum_likelihood(X, y, C=C)
    outcome = fitted(X, y, C=C, solver=solver)
    assert not outcome.warned
    np.testing.assert_allclose(outcome.model.coef_[0], exact.params[1:], rtol=1e-6)
    assert outcome.model.score(X, y) == fitted(u[:, None], y, C=C).model.score(u[:, None], y)
    if np.isinf(C):
        check(outcome, X, exact)


@pytest.mark.parametrize("C", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize(("way", "solver"), KINDS)
def test_a_penalty_does_not_see_the_origin(solver: str, way: str, C: float) -> None:
    if way == "dask":
        pytest.importorskip("dask", reason="the collections are Dask's")
    X, y = draw(7)
    w = np.arange(len(y)) % 3 / 2
    # The penalty is on coefficients in the user's units: these are different ones on purpose.
    X *= 10.0 ** np.array([-3, 3, 0, 1, -1])
    X += np.array([1e5, 1e9, 1e8, 0, 1e4])
    exact = maximum_likelihood(X, y, w, C=C)
    outcome = fitted(X, y, w, way=way, C=C, solver=solver)
    assert not outcome.warned
    np.testing.assert_allclose(
        outcome.model.coef_[0], exact.params[1:], rtol=1e-5, atol=1e-5 * exact.bse[1:].min()
    )
    if way != "dask":
        expected, rounding = probabilities(X, exact)
        off = np.abs(outcome.model.predict_proba(X)[:, 1] - expected)
        assert np.all(off <= rounding)


@every_solver
def test_a_penalty_with_columns_of_all_units(solver: str) -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(3000, 10))
    y = (X @ (rng.normal(size=10) * 0.5) + rng.logistic(size=3000) > 0).astype(int)
    X *= 10.0 ** np.linspace(-3, 3, 10)
    exact = maximum_likelihood(X, y, C=1.0)
    outcome = fitted(X, y, C=1.0, solver=solver, max_iter=20_000)
    assert not outcome.warned
    off = np.abs(np.r_[outcome.model.intercept_, outcome.model.coef_[0]] - exact.params)
    assert np.max(off / exact.bse) < 1e-5


# --- columns that say nothing, and numbers that no column should have ----------------------------


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("value", [0.0, 1.0, 1e9])
def test_a_constant_column_is_the_one_to_blame(place: int, value: float) -> None:
    for seed in range(100 if value == 0 else 20):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(60, 3))
        y = np.delete(X, place, axis=1) @ [1, -1] + rng.logistic(size=60) > 0
        X[:, place] = value
        why = fitted(X, y.astype(int)).refusal
        blamed = named(why, ["x1", "x2", "x3"])
        assert "separate" not in why, (seed, why)
        assert blamed == {f"x{place + 1}"}, (seed, why)


@pytest.mark.parametrize("value", [-np.finfo(np.float64).max, np.finfo(np.float64).max, 1e200])
@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize(("way", "solver"), KINDS)
def test_a_cell_without_data(way: str, solver: str, label: int, value: float) -> None:
    """Such a cell is refused by its column's name, or the fit is what many digits say of it."""
    if way == "dask":
        pytest.importorskip("dask", reason="the collections are Dask's")
    X, y = draw(8, 100, 2)
    X[3, 0], y[3] = value, label
    names = ("x1", "x2", "const")
    try:
        outcome = fitted(X, y, way=way, solver=solver)
    except ValueError as error:
        refusal = str(error)
    else:
        if outcome.result is not None:
            assert_right_by_digits(X, y, outcome)
            return
        refusal = outcome.refusal
    # The value, in a row that is named, would do as well as the column's name.
    assert named(refusal, names) == {"x1"} or re.search(r"e\+?(308|200)", refusal), refusal


def assert_right_by_digits(X: Array, y: Array, outcome: Outcome) -> None:
    result = outcome.right
    step, bse = mpmath_at(X, y, result.params, digits=1_000)
    assert np.max(np.abs(step)) < 1e-5
    np.testing.assert_allclose(result.bse, bse, rtol=1e-5)


def test_four_rows_of_1e100() -> None:
    X, y = np.array([[0], [1e100], [2e100], [1e99]]), np.array([0, 1, 0, 1])
    exact = maximum_likelihood(X, y, C=1.0)
    model = fitted(X, y, C=1.0).model
    off = np.abs(np.r_[model.intercept_, model.coef_[0]] - exact.params)
    # The penalty on a coefficient of 1e-100 is nothing: this is the unpenalised maximum.
    assert np.all(off <= 1e-5 * exact.bse)


def test_partial_fit_does_not_see_huge_units() -> None:
    X, y = draw(9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        near = LogisticRegression(C=np.inf).partial_fit(X, y)
        far = LogisticRegression(C=np.inf).partial_fit(X * [1e-9, 1, 1e6, 1e100, 1e12], y)
    scaled = far.coef_[0] * [1e-9, 1, 1e6, 1e100, 1e12]
    np.testing.assert_allclose(scaled, near.coef_[0], rtol=1e-5)


def test_a_verdict_does_not_see_units_and_origins() -> None:
    X, y = draw(10, 80, 3)
    y = (X[:, 0] > 0).astype(int)
    for Z in (X, X * [1e-12, 1, 1e12], X * [1e100, 1, 1e-100], X + np.array([1e9, -1e9, 1e3])):
        with pytest.warns(ConvergenceWarning):
            model = LogisticRegression(C=np.inf).fit(Z, y)
        with pytest.raises(InferenceError, match=r"Columns that separate: x1\. "):
            _ = model.result_


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("away", [1e-6, 1.0, 1e3])
def test_a_column_that_differs_in_few_rows(away: float, weighted: bool, rng: Any) -> None:
    # A column's place and spread are those of every k-th row, in which it is constant here.
    X, y = draw(7, 4 * SAMPLE_ROWS, 2)
    w = rng.integers(1, 4, len(y)) if weighted else None
    X[:, 1] = 7.0
    some = np.arange(1, len(y), 8)
    X[some, 1] += away * rng.normal(size=len(some))
    check(fitted(X, y, w), X, maximum_likelihood(X, y, w))
