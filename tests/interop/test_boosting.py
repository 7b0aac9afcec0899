"""Objectives for boosting: the models of the frameworks' own, and what goes wrong without care."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest

import fastbce
from fastbce.interop.boosting import Objective, Probabilities, init_score, objective

datasets = pytest.importorskip("sklearn.datasets", reason="real data to train on")

ROUNDS = 20
TREES: dict[str, dict[str, Any]] = {
    "xgboost": {"max_depth": 4, "nthread": 1, "eta": 0.1},
    "lightgbm": {
        "num_leaves": 15,
        "num_threads": 1,
        "learning_rate": 0.1,
        "verbose": -1,
        "deterministic": True,
        "force_row_wise": True,
    },
}
WEIGHTED = pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])


@pytest.fixture(scope="module")
def data() -> tuple[Any, Any, Any]:
    X, y = datasets.load_breast_cancer(return_X_y=True)
    return X, y, np.random.default_rng(7).uniform(0.2, 3, len(y))


def framework(name: str) -> Any:
    return pytest.importorskip(name, reason="its objective is compared with ours")


def close(ours: Any, theirs: Any) -> None:
    # A prediction that is the same everywhere says nothing.
    assert np.ptp(theirs) > 0.5
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


@WEIGHTED
def test_xgboost_native(data: tuple[Any, Any, Any], *, weighted: bool) -> None:
    xgboost = framework("xgboost")
    X, y, w = data
    weight = w if weighted else None
    matrix = xgboost.DMatrix(X, y, weight=weight)
    options = {**TREES["xgboost"], "objective": "binary:logistic"}
    expected = xgboost.train(options, matrix, ROUNDS).predict(matrix)
    score = init_score(y, weight)
    options["base_score"] = float(fastbce.sigmoid(score))
    model = xgboost.train(options, matrix, ROUNDS, obj=objective("logistic", "xgboost"))
    close(model.predict(matrix), expected)
    wrapped = Probabilities(model)
    close(wrapped.predict_proba(matrix)[:, 1], expected)
    assert np.array_equal(wrapped.predict(matrix), expected > 0.5)


@WEIGHTED
def test_xgboost_classifier(data: tuple[Any, Any, Any], *, weighted: bool) -> None:
    xgboost = framework("xgboost")
    X, y, w = data
    weight = w if weighted else None
    options = {"n_estimators": ROUNDS, "max_depth": 4, "n_jobs": 1}
    theirs = xgboost.XGBClassifier(**options).fit(X, y, sample_weight=weight)
    start = float(fastbce.sigmoid(init_score(y, weight)))
    model = xgboost.XGBClassifier(
        **options, objective=objective("logistic", "xgboost"), base_score=start
    ).fit(X, y, sample_weight=weight)
    expected = theirs.predict_proba(X)
    close(model.predict_proba(X), expected)
    close(Probabilities(model).predict_proba(X), expected)
    assert np.array_equal(model.predict(X), theirs.predict(X))


@WEIGHTED
def test_lightgbm_native(data: tuple[Any, Any, Any], *, weighted: bool) -> None:
    lightgbm = framework("lightgbm")
    X, y, w = data
    weight = w if weighted else None
    options = {**TREES["lightgbm"], "objective": "binary"}
    expected = lightgbm.train(options, lightgbm.Dataset(X, y, weight=weight), ROUNDS).predict(X)
    score = init_score(y, weight)
    options["objective"] = objective("logistic", "lightgbm")
    training = lightgbm.Dataset(X, y, weight=weight, init_score=np.full(len(y), score))
    model = Probabilities(lightgbm.train(options, training, ROUNDS), score)
    close(model.predict_proba(X)[:, 1], expected)
    assert np.array_equal(model.predict(X), expected > 0.5)


@WEIGHTED
def test_lightgbm_classifier(data: tuple[Any, Any, Any], *, weighted: bool) -> None:
    lightgbm = framework("lightgbm")
    X, y, w = data
    names = np.array(["malignant", "benign"])[y]
    y = (names == "malignant").astype(int)  # LightGBM's second class, in order
    weight = w if weighted else None
    options = {
        "n_estimators": ROUNDS,
        "num_leaves": 15,
        "n_jobs": 1,
        "verbose": -1,
        "deterministic": True,
        "force_row_wise": True,
    }
    theirs = lightgbm.LGBMClassifier(**options).fit(X, names, sample_weight=weight)
    score = init_score(y, weight)
    model = lightgbm.LGBMClassifier(**options, objective=objective("logistic", "lightgbm"))
    model.fit(X, names, sample_weight=weight, init_score=np.full(len(y), score))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's about names of columns
        wrapped = Probabilities(pickle.loads(pickle.dumps(model)), score)
        close(wrapped.predict_proba(X), theirs.predict_proba(X))
        assert np.array_equal(wrapped.predict(X), theirs.predict(X))


def test_gradients_carry_the_weights(rng: np.random.Generator) -> None:
    """Neither framework multiplies by them."""
    z, w = rng.normal(size=50), rng.uniform(0.5, 2, 50)
    y = rng.integers(0, 2, 50)
    p = 1 / (1 + np.exp(-z))
    gradient, hessian = objective("logistic", "lightgbm")(y, z, w)
    np.testing.assert_allclose(gradient, (p - y) * w, rtol=1e-12)
    np.testing.assert_allclose(hessian, p * (1 - p) * w, rtol=1e-12)


class Training:
    """What both frameworks' native training sets have."""

    def __init__(self, labels: Any, weight: Any = None) -> None:
        self.get_label, self.get_weight = lambda: labels, lambda: weight


def test_both_forms_agree(rng: np.random.Generator) -> None:
    z, w = rng.normal(size=9), rng.uniform(0.5, 2, 9)
    y = rng.integers(0, 2, 9).astype(np.float32)
    function = objective("logistic", "xgboost")
    for weight, given in ((None, None), (None, np.empty(0)), (w, w)):
        native, other = function(z, Training(y, given)), function(y, z, weight)
        assert np.array_equal(native, other)


def test_float32_scores_give_float32() -> None:
    gradient, hessian = objective("logistic", "xgboost")(np.ones(3), np.zeros(3, np.float32))
    assert gradient.dtype == hessian.dtype == np.float32


def test_init_score_is_the_log_odds() -> None:
    assert init_score([0, 1, 1, 1]) == pytest.approx(np.log(3), rel=1e-15)
    assert init_score([False, True], [1, 4]) == pytest.approx(np.log(4), rel=1e-15)
    assert init_score([0.25, 0.25]) == pytest.approx(-np.log(3), rel=1e-15)


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"unknown loss 'hinge'; choose one of \['logistic'"):
        objective("hinge", "xgboost")
    with pytest.raises(ValueError, match=r"unknown framework 'catboost'; choose one of"):
        objective("logistic", "catboost")
    function = objective("logistic", "lightgbm")
    with pytest.raises(ValueError, match=r"y_true\[1\] is -1"):
        function(np.array([1, -1]), np.zeros(2))
    with pytest.raises(ValueError, match=r"lightgbm passed scores of shape \(2, 3\)"):
        function(np.zeros(2), np.zeros((2, 3)))
    for y, weight in (([1, 1], None), ([0, 0], None), ([0, 1], [0, 2])):
        with pytest.raises(ValueError, match="all weight is in one class"):
            init_score(y, weight)
    with pytest.raises(ValueError, match="reach from -1 to 1"):
        init_score([-1, 1])
    with pytest.raises(ValueError, match=r"shape \(1, 2\)"):
        init_score([[0, 1]])
    with pytest.raises(ValueError, match="sample_weight has shape"):
        init_score([0, 1], [1.0])
    with pytest.raises(TypeError, match="got 3 of type int"):
        Probabilities(3)


def test_an_objective_can_be_pickled_and_compared() -> None:
    function = objective("logistic", "xgboost")
    assert pickle.loads(pickle.dumps(function)) == function == Objective("logistic", "xgboost")
