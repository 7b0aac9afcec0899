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

pytestmark = pytest.mark.ci

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
    np.testing.assert_allclose(gradient, (p - y) * w, rtol=1e-7)
    np.testing.assert_allclose(hessian, p * (1 - p) * w, rtol=1e-7)


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


def test_all_scores_give_float32() -> None:
    """Computed in the dtype of the scores: LightGBM's 1 - p of float64 is not rounded before."""
    for dtype in (np.float32, np.float64):
        gradient, hessian = objective("logistic", "xgboost")(np.ones(3), np.full(3, 40, dtype))
        assert gradient.dtype == hessian.dtype == np.float32
        np.testing.assert_allclose(gradient, -np.exp(-40), rtol=1e-6)
        np.testing.assert_allclose(hessian, np.exp(-40), rtol=1e-6)


def test_focal_derivatives(rng: np.random.Generator) -> None:
    z, w = rng.normal(size=200) * 3, rng.uniform(0.5, 2, 200)
    y = rng.integers(0, 2, 200)
    function = objective("focal", "lightgbm", alpha=0.4, gamma=1.5, min_hessian=0.0)
    gradient, hessian = function(y, z, w)

    def loss(z: Any) -> Any:
        p = np.where(y == 1, 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(z)))
        return -np.where(y == 1, 0.4, 0.6) * (1 - p) ** 1.5 * np.log(p) * w

    step = 1e-4
    slope = (loss(z + step) - loss(z - step)) / (2 * step)
    curvature = (loss(z + step) - 2 * loss(z) + loss(z - step)) / step**2
    np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-7)
    assert (curvature < -1e-3).any()
    np.testing.assert_allclose(hessian, np.maximum(curvature, 0), rtol=1e-4, atol=1e-6)
    assert (objective("focal", "lightgbm", min_hessian=0.5)(y, z)[1] >= 0.5).all()


def test_weights_of_label_1(rng: np.random.Generator) -> None:
    z, y = rng.normal(size=50), rng.integers(0, 2, 50)
    plain = objective("logistic", "xgboost")(y, z, np.where(y == 1, 3.0, 1.0))
    np.testing.assert_array_equal(objective("weighted", "xgboost", pos_weight=3)(y, z), plain)


def test_xgboost_weighted(data: tuple[Any, Any, Any]) -> None:
    xgboost = framework("xgboost")
    X, y, w = data
    matrix = xgboost.DMatrix(X, y, weight=w)
    options = {**TREES["xgboost"], "objective": "binary:logistic", "base_score": 0.5}
    theirs = xgboost.train({**options, "scale_pos_weight": 3.0}, matrix, ROUNDS)
    function = objective("weighted", "xgboost", pos_weight=3.0)
    model = xgboost.train(options, matrix, ROUNDS, obj=function)
    close(model.predict(matrix), theirs.predict(matrix))


@pytest.mark.parametrize("loss", ["weighted", "focal"])
def test_lightgbm_weighted_and_focal(data: tuple[Any, Any, Any], loss: str) -> None:
    lightgbm = framework("lightgbm")
    X, y, w = data
    options = {**TREES["lightgbm"], "objective": "binary"}
    if loss == "weighted":
        options["scale_pos_weight"] = 3.0
        function = objective("weighted", "lightgbm", pos_weight=3.0)
    else:  # the plain loss
        function = objective("focal", "lightgbm", alpha=-1.0, gamma=0.0)
    score = init_score(y, w)
    expected = lightgbm.train(options, lightgbm.Dataset(X, y, weight=w), ROUNDS).predict(X)
    training = lightgbm.Dataset(X, y, weight=w, init_score=np.full(len(y), score))
    options = {**TREES["lightgbm"], "objective": function}
    model = Probabilities(lightgbm.train(options, training, ROUNDS), score)
    close(model.predict_proba(X)[:, 1], expected)


def test_focal_trains(data: tuple[Any, Any, Any]) -> None:
    xgboost = framework("xgboost")
    X, y, w = data
    matrix = xgboost.DMatrix(X, y, weight=w)
    options = {**TREES["xgboost"], "objective": "binary:logistic", "base_score": 0.5}
    model = xgboost.train(options, matrix, ROUNDS, obj=objective("focal", "xgboost"))
    right = (model.predict(matrix) > 0.5) == (y == 1)
    assert np.average(right, weights=w) > 0.97


def test_init_score_is_the_log_odds() -> None:
    assert init_score([0, 1, 1, 1]) == pytest.approx(np.log(3), rel=1e-15)
    assert init_score([False, True], [1, 4]) == pytest.approx(np.log(4), rel=1e-15)
    assert init_score([0.25, 0.25]) == pytest.approx(-np.log(3), rel=1e-15)


def test_errors() -> None:
    options: dict[str, Any]
    with pytest.raises(ValueError, match=r"unknown loss 'hinge'; choose one of \['logistic'"):
        objective("hinge", "xgboost")
    with pytest.raises(ValueError, match=r"unknown framework 'catboost'; choose one of"):
        objective("logistic", "catboost")
    for loss, options, text in (
        ("logistic", {"gamma": 2.0}, "gamma is no option of the logistic loss, which has none"),
        ("focal", {"pos_weight": 2.0}, "of the focal loss, which has alpha, gamma, min_hessian"),
        ("weighted", {}, "pos_weight is missing"),
        ("focal", {"gamma": "2"}, "gamma must be one number"),
    ):
        with pytest.raises(TypeError, match=text):
            objective(loss, "xgboost", **options)
    for loss, options, text in (
        ("focal", {"gamma": -1.0}, "gamma"),
        ("focal", {"alpha": 1.5}, "alpha"),
        ("focal", {"min_hessian": np.nan}, "min_hessian"),
        ("weighted", {"pos_weight": -1.0}, "pos_weight"),
    ):
        with pytest.raises(ValueError, match=text):
            objective(loss, "xgboost", **options)
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
    assert objective("focal", "xgboost", gamma=1) != objective("focal", "xgboost", gamma=3)
