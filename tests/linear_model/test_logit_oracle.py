"""The oracles of the logistic regression agree with one another and with statsmodels."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from checks import in_ci
from logistic import logistic

pytest.importorskip("scipy", reason="the oracles need SciPy")
pytest.importorskip("mpmath", reason="the oracles need mpmath")

from logit_oracle import (
    Fit,
    differences,
    maximum_likelihood,
    mpmath_at,
    mpmath_maximum_likelihood,
    rank,
    separates,
    separating_sets,
)

if TYPE_CHECKING:
    pass


def assert_same(one: Fit, other: Fit, tolerance: float = 1e-9) -> None:
    assert one.converged
    assert other.converged
    found = differences(one, other)
    assert max(found.values()) < tolerance, found
    np.testing.assert_allclose(one.hc0, other.hc0, rtol=10 * tolerance)
    np.testing.assert_allclose(one.llnull, other.llnull, rtol=1e-13)
    assert one.nobs == other.nobs


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_equal_to_statsmodels(intercept: bool, weighted: bool, rng: np.random.Generator) -> None:
    sm = pytest.importorskip("statsmodels.api", reason="compares with statsmodels")
    X, y = logistic(rng, 80)
    w = rng.integers(0, 4, len(y)) if weighted else np.ones(len(y), int)
    ours = maximum_likelihood(X, y, w if weighted else None, intercept=intercept)
    design = np.repeat(sm.add_constant(X) if intercept else X, w, axis=0)
    model = sm.Logit(np.repeat(y, w), design)
    for cov_type, bse in (("nonrobust", ours.bse), ("HC0", ours.hc0)):
        theirs = model.fit(disp=0, method="newton", tol=1e-13, cov_type=cov_type)
        np.testing.assert_allclose(theirs.params, ours.params, rtol=1e-8)
        np.testing.assert_allclose(theirs.bse, bse, rtol=1e-8)
        np.testing.assert_allclose(theirs.llf, ours.llf, rtol=1e-12)
        np.testing.assert_allclose(theirs.llnull, ours.llnull, rtol=1e-9)
    assert ours.comfortable


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("origin", [0.0, 1.0, 1e5])
@pytest.mark.parametrize("units", [1.0, 1e12, 1e-100])
def test_equal_to_sixty_digits(
    intercept: bool, origin: float, units: float, rng: np.random.Generator
) -> None:
    X, y = logistic(rng, 50)
    X = (X + origin) * [units, 1.0, 1 / units]
    w = rng.integers(0, 4, len(y)) / 8
    ours = maximum_likelihood(X, y, w, intercept=intercept)
    assert_same(ours, mpmath_maximum_likelihood(X, y, w, intercept=intercept))


def test_far_from_zero(rng: np.random.Generator) -> None:
    X, y = logistic(rng, 50, 2)
    X += [1e9, -1e9]
    assert_same(maximum_likelihood(X, y), mpmath_maximum_likelihood(X, y))


@pytest.mark.parametrize("noise", [1e-3, 1e-5, 1e-7])
def test_nearly_collinear(noise: float, rng: np.random.Generator) -> None:
    X, y = logistic(rng, 60, 2)
    X[:, 1] = X[:, 0] + noise * X[:, 1]
    ours = maximum_likelihood(X, y)
    assert_same(ours, mpmath_maximum_likelihood(X, y), 1e-8)
    assert 0.1 < ours.condition * noise < 10


def test_the_digits_check_a_given_point(rng: np.random.Generator) -> None:
    X, y = logistic(rng, 50)
    exact = mpmath_maximum_likelihood(X, y)
    step, bse = mpmath_at(X, y, exact.params)
    assert np.max(np.abs(step)) < 1e-14
    np.testing.assert_allclose(bse, exact.bse, rtol=1e-14)
    step, _ = mpmath_at(X, y, exact.params + 1e-6 * exact.bse[1] * np.eye(4)[1])
    assert step[1] == pytest.approx(-1e-6, rel=1e-3)


def test_penalty_equals_scikit_learns(rng: np.random.Generator) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model", reason="compares with scikit-learn")
    X, y = logistic(rng, 80)
    X *= [1e-3, 1, 1e3]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = linear_model.LogisticRegression(
            C=0.3, solver="newton-cholesky", tol=1e-13, max_iter=500
        ).fit(X, y)
    ours = maximum_likelihood(X, y, C=0.3)
    np.testing.assert_allclose(ours.params[1:], theirs.coef_[0], rtol=1e-9)


def test_separated_classes_have_no_maximum(rng: np.random.Generator) -> None:
    X, y = logistic(rng, 80)
    assert separates(X, y) == "overlap"
    assert separating_sets(X, y) == ([], [])
    y = (X[:, 0] > X[:, 1]).astype(int)
    assert separates(X, y) == "separated"
    assert separating_sets(X, y) == ([], [(0, 1)])
    assert not maximum_likelihood(X, y).comfortable
    X[:, 2] = y * (X[:, 0] > 0)  # quasi: 0 for many of either class, 1 for one class alone
    assert separating_sets(X, y) == ([2], [(2,)])
    assert not maximum_likelihood(X, y).comfortable


@pytest.mark.parametrize("intercept", [True, in_ci(False)])
def test_verdicts_agree_on_small_data(intercept: bool) -> None:
    seen = {"overlap": 0, "separated": 0}
    for seed in range(150):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(5, 14))
        # Without an intercept, columns far from 0 are nearly proportional to one another.
        X = rng.integers(0, 4, (n, 2)) * 1.0 + (seed % 2) * intercept * 1e6
        y = rng.integers(0, 2, n)
        if y.min() == y.max() or rank(X, intercept=intercept) < 2 + intercept:
            continue
        verdict = separates(X, y, intercept=intercept)
        seen[verdict] += 1
        fit = maximum_likelihood(X, y, intercept=intercept)
        assert (verdict == "overlap") == (fit.converged and np.max(fit.unit_bse) < 1e3), seed
        alone, smallest = separating_sets(X, y, intercept=intercept)
        assert bool(smallest) == (verdict == "separated"), seed
        for j in range(2):
            one = separates(X[:, [j]], y, intercept=intercept)
            assert (one == "separated") == (j in alone), seed
    assert min(seen.values()) > 20, seen


def test_rows_without_weight_are_no_rows(rng: np.random.Generator) -> None:
    X, y = logistic(rng, 80)
    w: Any = np.ones(len(y))
    w[:3] = 0
    X[:3] = 1e3
    assert_same(maximum_likelihood(X, y, w), maximum_likelihood(X[3:], y[3:]))
    y = (X[:, 0] > 0).astype(int)
    y[:3] = 0
    assert separates(X, y) == "overlap"
    assert separates(X, y, w) == "separated"


def test_rank(rng: np.random.Generator) -> None:
    X, _ = logistic(rng, 60, 4)
    assert rank(X) == 5
    assert rank(X * [1e-12, 1, 1e12, 1] + 1e3) == 5
    X[:, 3] = 1e6
    assert (rank(X), rank(X, intercept=False)) == (4, 4)
    X[:, 2] = X[:, 0] - X[:, 1]
    assert (rank(X), rank(X, intercept=False)) == (3, 3)
