"""Firth's method equals R's logistf, and profile intervals equal R's confint and bisection."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the estimator needs scikit-learn")
pytest.importorskip("scipy", reason="the estimator needs SciPy")

from data_sets import DATA, ENDOMETRIAL, breast_cancer, fair, sex2, statsmodels_glm
from scipy.optimize import brentq
from scipy.special import chdtri
from sklearn.exceptions import ConvergenceWarning

from fastbce.inference import InferenceError
from fastbce.linear_model import LogisticRegression
from fastbce.streaming import ArrayChunks

if TYPE_CHECKING:
    from cases import Array


def firth(X: Array, y: Array, weight: Any = None, **options: Any) -> LogisticRegression:
    return LogisticRegression(penalty="firth", **options).fit(X, y, weight)


def test_sex2_as_logistf_prints_it() -> None:
    X, y, count = sex2()
    assert count.sum() == 239
    model = firth(np.repeat(X, count, 0), np.repeat(y, count))
    result = model.result_
    # logistf(case ~ age + oc + vic + vicl + vis + dia, data = sex2), whose steps end at 1e-5.
    coef = [0.12025405, -1.10598131, -0.06881673, 2.26887464, -2.11140817, -0.78831694, 3.09601166]
    lower = [-0.8185591, -1.9737884, -0.9414363, 1.2730216, -3.2608611, -1.6080879, 0.7745682]
    upper = [1.07315122, -0.30742514, 0.78920202, 3.43543273, -1.11773495, 0.01518468, 8.03029352]
    chisq = [0.06286298, 7.50773092, 0.02467044, 22.93139022, 19.10407252, 3.69740975, 7.89693139]
    p = [8.020268e-01, 6.143472e-03, 8.751911e-01, 1.678877e-06, 1.237805e-05, 5.449701e-02]
    np.testing.assert_allclose(result.params, coef, rtol=1e-6)
    np.testing.assert_allclose(result.conf_int(), np.column_stack([lower, upper]), rtol=5e-6)
    assert result.profile is not None
    np.testing.assert_allclose(result.profile.statistics, chisq, rtol=1e-6)
    np.testing.assert_allclose(result.pvalues[:6], p, rtol=1e-6)
    assert result.llr == pytest.approx(49.09064, abs=5e-6)
    assert result.llr_pvalue == pytest.approx(7.15089e-09, rel=1e-5)
    # The same data once for each pattern.
    weighted = firth(X, y, count)
    for name in ("params", "bse", "pvalues", "llf", "llnull"):
        np.testing.assert_allclose(
            getattr(weighted.result_, name), getattr(result, name), rtol=1e-8
        )
    # 90 %, printed by another example.
    lower = [-0.6673577, -1.8277045, -0.7986318, 1.4248338, -3.0613215, -1.4743338, 1.0835108]
    upper = [0.9177303, -0.4328451, 0.6507581, 3.2325326, -1.2704704, -0.1137542, 6.8752016]
    found = weighted.profile_conf_int(X, y, count, alpha=0.1)
    np.testing.assert_allclose(found, np.column_stack([lower, upper]), rtol=5e-6)
    with pytest.raises(ValueError, match=r"for alpha=0\.05"):
        weighted.result_.conf_int(0.1)


@pytest.mark.parametrize("move", [0.0, 1e4])
def test_endometrial_as_logistf_and_brglm2_print_it(move: float) -> None:
    X, y = ENDOMETRIAL[:, :3] + [0.0, move, 0.0], ENDOMETRIAL[:, 3]
    result = firth(X, y).result_
    coef = [3.77455951, 2.92927330, -0.03475175, -2.60416387]
    lower, upper = (
        [1.0825371, 0.6097244, -0.1244587, -4.3651832],
        [7.20928050, 7.85463171, 0.04045547, -1.23272106],
    )
    errors = [1.48869, 1.55076, 0.03958, 0.77602]
    own = slice(0 if move == 0 else 1, None)  # the intercept is another one
    np.testing.assert_allclose(result.params[own], coef[own], rtol=1e-6)
    expected = np.column_stack([lower, upper])[own]
    np.testing.assert_allclose(result.conf_int()[own], expected, rtol=5e-6)
    np.testing.assert_allclose(result.bse[own], errors[own], atol=5e-6)
    text = result.summary()
    for part in ("Firth", "penalised log-likelihood", "chi2", "P>chi2", "7.855"):
        assert part in text
    assert "AIC" not in text


@pytest.mark.parametrize("load", DATA)
def test_estimates_and_tests_by_modified_scores(load: Any) -> None:
    """As Heinze and Schemper have it: scores with half the leverages added, from scratch."""
    X, y = load()
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    design = np.column_stack([np.ones(len(y)), X])
    result = firth(X, y).result_
    theta, covariance = _modified_scores(design, y, np.arange(design.shape[1]))
    np.testing.assert_allclose(result.params, theta, rtol=1e-6)
    np.testing.assert_allclose(result.bse, np.sqrt(np.diag(covariance)), rtol=1e-6)
    assert result.profile is not None
    for place in (0, 2):
        free = np.delete(np.arange(len(theta)), place)
        without, _ = _modified_scores(design, y, free)
        fall = penalised(design, y, theta) - penalised(design, y, without)
        assert result.profile.statistics[place] == pytest.approx(2 * fall, rel=1e-6, abs=1e-9)


def _modified_scores(design: Array, y: Array, free: Array) -> tuple[Array, Array]:
    """Return where the modified scores of the free parameters are 0, and the covariance there."""
    theta = np.zeros(design.shape[1])
    for _ in range(500):
        p = 1 / (1 + np.exp(-design @ theta))
        root = design * np.sqrt(p * (1 - p))[:, None]
        covariance = np.linalg.inv(root.T @ root)
        leverage = np.sum((root @ covariance) * root, axis=1)
        score = design.T @ (y - p + leverage * (0.5 - p))
        step = np.linalg.solve((root.T @ root)[np.ix_(free, free)], score[free])
        theta[free] += step / max(1.0, float(np.max(np.abs(step))))
        if np.max(np.abs(step)) < 1e-12:
            break
    return theta, covariance


def penalised(design: Array, y: Array, theta: Array) -> float:
    """Return Firth's penalised log-likelihood, by its definition."""
    z = design @ theta
    p = 1 / (1 + np.exp(-z))
    information = (design.T * (p * (1 - p))) @ design
    return float(y @ z - np.logaddexp(0, z).sum() + np.linalg.slogdet(information)[1] / 2)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_no_other_parameters_have_a_larger_penalised_likelihood(
    fit_intercept: bool, rng: np.random.Generator
) -> None:
    X, y = breast_cancer()
    X = X[::4] * [1.0, 1e-3, 1e3, 1.0]
    y = y[::4]
    result = firth(X, y, fit_intercept=fit_intercept).result_
    design = np.column_stack([np.ones(len(y)), X]) if fit_intercept else X
    best = penalised(design, y, result.params)
    assert result.llf == pytest.approx(best, rel=1e-9)
    for _ in range(20):
        near = result.params + 1e-3 * result.bse * rng.normal(size=len(result.params))
        assert penalised(design, y, near) < best
    # The fall at an end of an interval, the others at their best, is half a quantile.
    goal = best - chdtri(1, 0.05) / 2
    for place, bounds in enumerate(result.conf_int()):
        for bound in bounds:
            others = np.delete(np.arange(len(result.params)), place)

            def fixed(free: Array, bound: float = bound, place: int = place) -> Array:
                return np.insert(free, place, bound)

            top = _highest(lambda free, f=fixed: penalised(design, y, f(free)), result, others)
            assert top == pytest.approx(goal, abs=1e-6)


def _highest(function: Any, result: Any, others: Array) -> float:
    from scipy.optimize import minimize

    unit = result.bse[others]
    found = minimize(
        lambda t: -function(t * unit),
        result.params[others] / unit,
        method="BFGS",
        options={"gtol": 1e-6},
    )
    return -float(found.fun)


def test_firth_from_a_stream_and_with_an_offset(rng: np.random.Generator) -> None:
    X, y = fair()
    X, y = X[::4], y[::4]
    expected = firth(X, y).result_
    streamed = LogisticRegression(penalty="firth").fit_stream(ArrayChunks(X, y, rows=50)).result_
    np.testing.assert_allclose(streamed.params, expected.params, rtol=1e-8)
    np.testing.assert_allclose(streamed.pvalues, expected.pvalues, rtol=1e-6)
    # An offset that the columns can make up for moves the coefficient alone.
    moved = LogisticRegression(penalty="firth").fit(X, y, offset=2.0 * X[:, 0]).result_
    change = np.zeros(len(expected.params))
    change[1] = 2.0
    np.testing.assert_allclose(moved.params + change, expected.params, atol=1e-7)
    np.testing.assert_allclose(moved.bse, expected.bse, rtol=1e-6)


def test_the_message_about_separation_leads_to_firths_method() -> None:
    X, y = ENDOMETRIAL[:, :3], ENDOMETRIAL[:, 3]
    with pytest.warns(ConvergenceWarning, match="separate: x1. .*fit with penalty='firth'"):
        LogisticRegression(C=np.inf).fit(X, y)
    assert np.isfinite(firth(X, y).result_.conf_int()).all()


def test_what_firth_refuses() -> None:
    X, y = ENDOMETRIAL[:, :3], ENDOMETRIAL[:, 3]
    with pytest.raises(ValueError, match="linearly dependent"):
        firth(np.column_stack([X, X[:, 0] + X[:, 1]]), y)
    with pytest.raises(ValueError, match="'nonrobust' with 'frequency' alone"):
        firth(X, y, cov_type="HC0")
    with pytest.raises(ValueError, match="needs all samples at once"):
        LogisticRegression(penalty="firth").partial_fit(X, y)
    with pytest.raises(ValueError, match="cannot be compared"):
        firth(X, y).result_.lr_test(firth(X[:, :1], y).result_)
    with pytest.warns(UserWarning, match="C=3 is ignored"):
        firth(X, y, C=3.0)


# --- profile intervals of ordinary fits ----------------------------------------------------------


def test_budworm_as_confint_prints_it() -> None:
    # Venables and Ripley, Modern Applied Statistics with S: moths of 20 killed by doses 1 to 32.
    dose = np.tile(np.arange(6.0), 2)
    dead = np.array([1, 4, 9, 13, 18, 20, 0, 2, 6, 10, 12, 16])
    female = np.repeat([0.0, 1.0], 6)
    X = np.column_stack([female, 1 - female, dose])
    X, y = np.vstack([X, X]), np.repeat([1, 0], 12)
    count = np.concatenate([dead, 20 - dead])
    model = LogisticRegression(C=np.inf, fit_intercept=False).fit(X, y, count)
    # confint of numdead ~ sex + ldose - 1: R interpolates, so to four digits.
    expected = [[-4.4581438, -2.613736], [-3.1728745, -1.655117], [0.8228708, 1.339058]]
    found = model.profile_conf_int(X, y, count)
    np.testing.assert_allclose(found, expected, rtol=2e-4)
    _by_bisection(X, y, count, found, intercept=False)


@pytest.mark.parametrize("load", DATA)
def test_profiles_by_bisection(load: Any) -> None:
    X, y = load()
    X, y = X[::5], y[::5]
    model = LogisticRegression(C=np.inf).fit(X, y)
    found = model.profile_conf_int(X, y)
    _by_bisection(X, y, None, found, intercept=True)
    names = model.result_.names
    some = model.profile_conf_int(X, y, names=[names[2], names[0]])
    np.testing.assert_allclose(some, found[[2, 0]], rtol=1e-12)


def _by_bisection(X: Array, y: Array, count: Any, found: Array, *, intercept: bool) -> None:
    """Compare with roots of the profile that statsmodels' fits with an offset give."""
    sm = pytest.importorskip("statsmodels.api", reason="compares with statsmodels")
    design = np.column_stack([np.ones(len(y)), X]) if intercept else X

    def fitted(columns: Array, offset: Array) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return sm.GLM(
                y, columns, family=sm.families.Binomial(), offset=offset, freq_weights=count
            ).fit(tol=1e-13, maxiter=200)

    best = fitted(design, np.zeros(len(y)))
    for place in (0, design.shape[1] - 1):
        rest = np.delete(design, place, axis=1)

        def below(value: float, place: int = place, rest: Array = rest) -> float:
            llf = fitted(rest, value * design[:, place]).llf
            return float(2 * (best.llf - llf) - chdtri(1, 0.05))

        b, se = best.params[place], best.bse[place]
        for side, bound in zip((-1, 1), found[place], strict=True):
            expected = brentq(below, b + side * 0.5 * se, b + side * 5 * se, xtol=1e-10 * se)
            assert bound == pytest.approx(expected, abs=1e-6 * se)


def test_profiles_with_weights_and_offsets(rng: np.random.Generator) -> None:
    X, y = fair()
    weight, offset = rng.exponential(size=len(y)), rng.normal(size=len(y))
    model = LogisticRegression(C=np.inf, weight_kind="analytic").fit(X, y, weight, offset=offset)
    found = model.profile_conf_int(X, y, weight, offset=offset, names=["x1"])
    # As frequency weights with the mean 1.
    same = LogisticRegression(C=np.inf).fit(X, y, weight / weight.mean(), offset=offset)
    other = same.profile_conf_int(X, y, weight / weight.mean(), offset=offset, names=["x1"])
    np.testing.assert_allclose(found, other, rtol=1e-8)
    others: list[dict[str, Any]] = [{"sample_weight": weight}, {"offset": offset}, {}]
    for wrong in others:
        with pytest.raises(ValueError, match="not the samples of the fit"):
            model.profile_conf_int(X, y, **wrong)
    with pytest.raises(ValueError, match="names must be some of const"):
        model.profile_conf_int(X, y, weight, offset=offset, names=["x99"])
    clustered = LogisticRegression(C=np.inf, cov_type="cluster")
    clustered.fit(X, y, clusters=np.arange(len(y)) % 50)
    with pytest.raises(ValueError, match="no likelihood of samples in clusters"):
        clustered.profile_conf_int(X, y)
    penalised = LogisticRegression().fit(X, y)
    with pytest.raises(InferenceError, match="penalty"):
        penalised.profile_conf_int(X, y)


def test_a_bound_may_be_infinite(rng: np.random.Generator) -> None:
    # One of the 12 with x = 1 fails: the profile is nearly flat to one side, not quite.
    x = np.repeat([0.0, 1.0], [40, 12])
    y = np.concatenate([np.arange(40) % 2, np.ones(12)])
    y[-1] = 0
    model = LogisticRegression(C=np.inf).fit(x[:, None], y)
    low, high = model.profile_conf_int(x[:, None], y)[1]
    theirs = statsmodels_glm(x[:, None], y)
    assert low > 0
    assert high > theirs.params[1] + 2.5 * theirs.bse[1]
    assert np.isfinite(high)
