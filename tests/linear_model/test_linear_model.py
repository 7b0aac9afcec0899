"""The estimator: scikit-learn's contract, scikit-learn's coefficients, and what it adds."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from checks import in_ci
from logistic import logistic

pytest.importorskip("sklearn", reason="the estimator needs scikit-learn")
pytest.importorskip("scipy", reason="the estimator needs SciPy")

from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression as Peer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import fastbce
from fastbce.linear_model import LogisticRegression, infer, solvers
from fastbce.linear_model import samples as _rows

if TYPE_CHECKING:
    from cases import Array


def draw(
    rng: np.random.Generator, n: int = 3_000, d: int = 6, dtype: str = "f8"
) -> tuple[Array, Array]:
    """Draw columns of different units."""
    X, y = logistic(rng, n, d, coef=rng.normal(size=d) / 2, intercept=0.3)
    return (X * np.logspace(-1, 1, d)).astype(dtype), y


def peer(X: Array, y: Array, C: float = 1.0, weight: Any = None, **options: Any) -> Array:
    """Return scikit-learn's parameters at a tight tolerance, the intercept first."""
    model = Peer(C=C, solver="newton-cholesky", tol=1e-13, max_iter=500, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its line search may end at rounding level
        model.fit(X.astype(np.float64), y, weight)
    return np.concatenate([model.intercept_, model.coef_[0]])


def parameters(model: LogisticRegression) -> Array:
    return np.concatenate([model.intercept_, model.coef_[0]])


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_check_estimator(solver: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for report in check_estimator(LogisticRegression(solver=solver), on_fail=None):
            assert report["status"] in ("passed", "skipped"), report
            if report["status"] == "skipped":
                assert report["check_name"] == "check_array_api_input", report


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
@pytest.mark.parametrize("C", [0.01, 1.0, np.inf])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_coefficients_equal_scikit_learns(
    solver: str, C: float, fit_intercept: bool, backend: str, rng: np.random.Generator
) -> None:
    X, y = draw(rng)
    model = LogisticRegression(
        C=C, solver=solver, fit_intercept=fit_intercept, tol=1e-9, max_iter=2_000
    ).fit(X, y)
    expected = peer(X, y, C, fit_intercept=fit_intercept)
    np.testing.assert_allclose(parameters(model), expected, rtol=1e-6, atol=1e-12)
    assert model.n_iter_[0] >= 1


def test_many_rows_start_from_a_part(backend: str, rng: np.random.Generator) -> None:
    X, y = draw(rng, 150_000)
    model = LogisticRegression(C=np.inf).fit(X, y)
    np.testing.assert_allclose(parameters(model), peer(X, y, np.inf), rtol=1e-6)


def thinning(X: Array, y: Array) -> int:
    """Return how many rows there are for each row of the part that is solved first."""
    part = _rows.Memory(X, y).part()
    assert part is not None
    return int(part.X.strides[0] // X.strides[0])


def test_parts_have_parts_until_rows_are_few(rng: np.random.Generator) -> None:
    X, y = draw(rng, 400_000)
    rows: _rows.Memory | None = _rows.Memory(X, y)
    sizes = []
    while rows is not None:
        sizes.append(rows.n)
        rows = rows.part()
    assert sizes == [400_000, 66_667, 16_667, 4_167]


def test_a_large_batch_starts_from_a_part_too(rng: np.random.Generator) -> None:
    X, y = draw(rng, 50_000)
    model = LogisticRegression(C=10.0).partial_fit(X[:500], y[:500])
    assert _rows.Memory(X[500:], y[500:]).part() is not None
    model.partial_fit(X[500:], y[500:])
    np.testing.assert_allclose(parameters(model), peer(X, y, 10.0), rtol=2e-2, atol=2e-3)


def test_a_part_that_is_not_like_the_rest(rng: np.random.Generator) -> None:
    X, y = draw(rng, 150_000)
    every = thinning(X, y)
    y[::every] = 1 - y[::every]
    X[1::every, 0] *= 5
    rare = np.zeros((len(X), 1))
    rare[1:4_000:every] = 1
    X = np.hstack([X, rare])
    model = LogisticRegression(C=np.inf).fit(X, y)
    np.testing.assert_allclose(parameters(model), peer(X, y, np.inf), rtol=1e-6)
    y[::every] = 1
    model = LogisticRegression(C=np.inf).fit(X, y)
    np.testing.assert_allclose(parameters(model), peer(X, y, np.inf), rtol=1e-6)


def test_a_part_that_is_separated_costs_few_passes(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = draw(rng, 150_000)
    rare = np.zeros((len(X), 1))
    rare[1 :: 30 * thinning(X, y)] = 1
    rare[0] = 1  # the only one in the part
    y[0] = 0
    X = np.hstack([X, rare])
    passes = []

    def counted(self: _rows.Memory, *arguments: Any) -> Any:
        passes.append(self.n)
        return reduce(self, *arguments)

    reduce = _rows.Memory.reduce
    monkeypatch.setattr(_rows.Memory, "reduce", counted)
    model = LogisticRegression(C=np.inf).fit(X, y)
    assert passes.count(len(X)) < 12
    np.testing.assert_allclose(parameters(model), peer(X, y, np.inf), rtol=1e-6)


@pytest.mark.parametrize("order", ["C", in_ci("F")])
def test_float32_stays_float32(order: Any, rng: np.random.Generator) -> None:
    X, y = draw(rng, 60_000, dtype="f4")
    model = LogisticRegression(C=np.inf).fit(np.asarray(X, order=order), y)
    for array in (model.decision_function(X), model.predict_proba(X)):
        assert array.dtype == np.float32
    # The arithmetic of the fit is float64, and so are the coefficients.
    assert model.coef_.dtype == model.intercept_.dtype == np.float64
    np.testing.assert_allclose(parameters(model), peer(X, y, np.inf), rtol=1e-6)


def test_weights(rng: np.random.Generator) -> None:
    X, y = draw(rng)
    weight = rng.exponential(size=len(y))
    for options in ({}, {"class_weight": "balanced"}, {"class_weight": {0: 1, 1: 3}}):
        model = LogisticRegression(tol=1e-9, **options).fit(X, y, weight)
        expected = peer(X, y, weight=weight, **options)
        np.testing.assert_allclose(parameters(model), expected, rtol=1e-6)


def test_labels_of_any_kind(rng: np.random.Generator) -> None:
    X, y = draw(rng, 500)
    expected = LogisticRegression().fit(X, y)
    for labels in (y.astype(bool), np.where(y, "yes", "no"), np.where(y, 5.0, -1.0)):
        model = LogisticRegression().fit(X, labels)
        np.testing.assert_array_equal(model.coef_, expected.coef_)
        np.testing.assert_array_equal(model.classes_, np.unique(labels))
        assert np.isin(model.predict(X), labels).all()
        assert model.score(X, labels) == expected.score(X, y)


def test_probabilities_keep_both_tails(rng: np.random.Generator) -> None:
    X = np.array([[-1.0], [-0.5], [0.5], [1.0]])
    model = LogisticRegression().fit(X, np.array([0, 1, 0, 1]))
    model.coef_[:] = 100.0
    model.intercept_[:] = 0
    p, log_p = model.predict_proba([[1.0], [-1.0]]), model.predict_log_proba([[10.0], [-1.0]])
    assert p[0, 0] == pytest.approx(np.exp(-100.0), rel=1e-14)
    assert p[1, 1] == pytest.approx(np.exp(-100.0), rel=1e-14)
    np.testing.assert_allclose(log_p[0], [-1000.0, 0], atol=1e-300)
    np.testing.assert_allclose(log_p[1, 1], -100.0)


def test_warm_start(rng: np.random.Generator) -> None:
    X, y = draw(rng)
    model = LogisticRegression(warm_start=True)
    first = model.fit(X, y).n_iter_[0]
    coef = model.coef_
    assert model.fit(X, y).n_iter_[0] < first
    np.testing.assert_allclose(model.coef_, coef, rtol=1e-7)


def test_one_batch_of_partial_fit_is_fit(rng: np.random.Generator) -> None:
    X, y = draw(rng)
    whole = LogisticRegression(C=0.1, tol=1e-9).fit(X, y)
    model = LogisticRegression(C=0.1, tol=1e-9).partial_fit(X, y)
    np.testing.assert_allclose(parameters(model), parameters(whole), atol=1e-4)
    with pytest.raises(AttributeError, match="partial_fit"):
        _ = model.result_


def test_partial_fit_comes_close_to_fit(rng: np.random.Generator) -> None:
    X, y = draw(rng, 20_000, 3)
    whole = LogisticRegression(C=np.inf).fit(X, y)
    model = LogisticRegression(C=1e4)
    for start in range(0, len(X), 1_000):
        part = slice(start, start + 1_000)
        model.partial_fit(X[part], y[part], classes=[0, 1])
    error = np.abs(parameters(model) - parameters(whole))
    assert np.all(error < 0.5 * whole.result_.bse)


def test_partial_fit_needs_both_classes_once(rng: np.random.Generator) -> None:
    X, y = draw(rng)
    model = LogisticRegression()
    with pytest.raises(ValueError, match="classes="):
        model.partial_fit(X[y == 1], y[y == 1])
    model.partial_fit(X[y == 1], y[y == 1], classes=[0, 1])
    model.partial_fit(X[y == 0], y[y == 0])
    with pytest.raises(ValueError, match="not in classes"):
        model.partial_fit(X, y + 1)
    with pytest.raises(ValueError, match="balanced"):
        LogisticRegression(class_weight="balanced").partial_fit(X, y)


def test_too_few_iterations_are_reported(rng: np.random.Generator) -> None:
    X, y = draw(rng)
    for solver in ("newton", "lbfgs"):
        with pytest.warns(ConvergenceWarning, match=r"max_iter was reached.*Raise max_iter"):
            LogisticRegression(solver=solver, max_iter=1, tol=1e-12).fit(X, y)


@pytest.mark.parametrize(
    "options",
    [
        {"C": 0},
        {"C": -1},
        {"C": "1"},
        {"tol": 0},
        {"max_iter": 0},
        {"solver": "sgd"},
        {"cov_type": "HC9"},
    ],
)
def test_bad_parameters(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(ValueError, match=name):
        LogisticRegression(**options).fit([[0.0], [1.0]], [0, 1])


def test_three_classes_are_refused(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match=r"binary.*3 classes"):
        LogisticRegression().fit(rng.normal(size=(30, 2)), np.arange(30) % 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_values_that_are_not_finite_are_found(
    bad: float, solver: str, rng: np.random.Generator
) -> None:
    X, y = draw(rng, 100_000, 2)
    X[77_777, 1] = bad
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        LogisticRegression(solver=solver).fit(X, y)


def test_columns_whose_hessian_does_not_fit(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (infer, solvers):
        monkeypatch.setattr(module, "NEWTON_COLUMNS", 3)
    X, y = draw(rng)
    X[:, 0] = 1e-6 * X[:, 0] + 1.0
    model = LogisticRegression(C=10.0, max_iter=2_000).fit(X, y)
    expected = peer((X - X.mean(axis=0)), y, 10.0)[1:]
    np.testing.assert_allclose(model.coef_[0], expected, rtol=1e-6, atol=1e-9)
    with pytest.warns(ConvergenceWarning, match="Hessian of 6 columns does not fit"):
        LogisticRegression(C=np.inf, max_iter=2_000).fit(X, y)


def test_zero_weights_are_refused(rng: np.random.Generator) -> None:
    X, y = draw(rng, 50)
    with pytest.raises(ValueError, match="weights"):
        LogisticRegression().fit(X, y, np.zeros(50))


def test_copies_and_pickles_predict_the_same(rng: np.random.Generator) -> None:
    X, y = draw(rng, 500)
    model = LogisticRegression(C=np.inf).fit(X, y)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(twin.predict_proba(X), model.predict_proba(X))
        np.testing.assert_array_equal(twin.result_.bse, model.result_.bse)


def test_in_a_pipeline_and_a_search() -> None:
    data = load_breast_cancer()
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    search = GridSearchCV(pipeline, {"logisticregression__C": [0.01, 1.0]}, cv=3)
    assert search.fit(data.data, data.target).best_score_ > 0.96


def test_columns_out_of_scale(rng: np.random.Generator) -> None:
    X, y = draw(rng)
    scale = np.logspace(-6, 6, X.shape[1])
    plain = LogisticRegression(C=np.inf).fit(X, y)
    scaled = LogisticRegression(C=np.inf).fit(X * scale, y)
    np.testing.assert_allclose(scaled.coef_ * scale, plain.coef_, rtol=1e-6)


def test_same_bits_for_any_number_of_threads(threads: Any, rng: np.random.Generator) -> None:
    X, y = draw(rng, 100_000, 5, "f4")
    fits = []
    for count in (1, 2, 3):
        threads(count)
        fits.append(LogisticRegression().fit(X, y).coef_.tobytes())
    assert len(set(fits)) == 1
    assert fastbce.get_num_threads() == 3
