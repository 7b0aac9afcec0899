"""The loss for scikit-learn's loops: its own tests, and its trees."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbce
from fastbce._settings import settings

ensemble = pytest.importorskip("sklearn.ensemble", reason="a loss for scikit-learn")
base = pytest.importorskip("sklearn.base", reason="a loss for scikit-learn")
datasets = pytest.importorskip("sklearn.datasets", reason="real data to train on")
threadpoolctl = pytest.importorskip("threadpoolctl", reason="scikit-learn needs it")

from fastbce.interop.sklearn import FocalLoss, HalfBinomialLoss

PLUGIN = """
import sklearn._loss.loss as losses
from fastbce.interop.sklearn import HalfBinomialLoss
(name,) = [key for key, value in losses._LOSSES.items() if value is losses.HalfBinomialLoss]
losses.HalfBinomialLoss = losses._LOSSES[name] = HalfBinomialLoss
"""


@pytest.mark.ci
def test_the_tests_of_scikit_learn_accept_it(tmp_path: Path) -> None:
    file = Path(sys.modules["sklearn"].__file__ or "").parent / "_loss/tests/test_loss.py"
    if not file.exists():
        pytest.skip("this scikit-learn was installed without its tests")
    (tmp_path / "with_ours.py").write_text(PLUGIN, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), str(Path(fastbce.__file__).parents[1])])
    options = ["-c", os.devnull, "-p", "with_ours", "-p", "no:cacheprovider", "-q"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(file), "-k", "HalfBinomialLoss or binomial"],
        env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    # Each of their 128 combinations of dtypes and arguments, and then some.
    assert int(done.stdout.split(" passed")[0].split()[-1].strip(",")) > 150


@pytest.mark.ci
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
def test_trees_are_the_same(*, weighted: bool) -> None:
    X, y = datasets.load_breast_cancer(return_X_y=True)
    weight = np.random.default_rng(7).uniform(0.2, 3, len(y)) if weighted else None
    options = {"max_iter": 10, "random_state": 0, "early_stopping": True}
    trees = ensemble.HistGradientBoostingClassifier
    with threadpoolctl.threadpool_limits(
        1
    ):  # teams of OpenMP wait for each other beside other work
        expected = trees(**options).fit(X, y, sample_weight=weight).predict_proba(X)
        model = trees(loss=HalfBinomialLoss(), **options).fit(X, y, sample_weight=weight)
        found = model.predict_proba(X)
    assert np.ptp(expected) > 0.5
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_results_go_where_they_are_asked_for(rng: np.random.Generator) -> None:
    z, w = rng.normal(size=100) * 30, rng.uniform(0.5, 2, 100)
    y = rng.integers(0, 2, 100).astype(np.float64)
    loss = HalfBinomialLoss()
    p = 1 / (1 + np.exp(-z))
    for dtype in (np.float32, np.float64):
        gradient, hessian = np.empty(100, dtype), np.empty(100, dtype)
        results = loss.gradient_hessian(y, z[:, None], w, gradient, hessian, n_threads=2)
        assert results[0] is gradient
        assert results[1] is hessian
        np.testing.assert_allclose(gradient, (p - y) * w, rtol=1e-5, atol=1e-10)
        np.testing.assert_allclose(hessian, p * (1 - p) * w, rtol=1e-5, atol=1e-10)


def test_one_thread_means_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def spy(*args: Any, **options: Any) -> None:
        seen.append(fastbce.get_num_threads())

    monkeypatch.setattr(fastbce.functional, "bce_with_logits_gradient", spy)
    monkeypatch.setattr(settings, "num_threads", 3)
    z = np.zeros(4)
    for threads in (1, 2):
        HalfBinomialLoss().gradient(z, z, n_threads=threads)
    assert seen == [1, 3]


@pytest.mark.ci
def test_focal_values(rng: np.random.Generator) -> None:
    z, y = rng.normal(size=100) * 3, rng.integers(0, 2, 100).astype(np.float64)
    w = rng.normal(size=100)  # scikit-learn takes negative weights
    focal = pickle.loads(pickle.dumps(FocalLoss(alpha=0.4, gamma=1.5, min_hessian=0.0)))
    options: dict[str, Any] = {"alpha": 0.4, "gamma": 1.5, "reduction": "none"}
    expected, slope, curvature = fastbce.focal_loss_gradient_hessian(z, y, **options)
    assert (curvature < 0).any()
    for out, wanted in (
        (focal.loss(y, z, w), expected * w),
        (focal.gradient(y, z, w), slope * w),
        *zip(focal.loss_gradient(y, z), (expected, slope), strict=True),
        *zip(focal.gradient_hessian(y, z), (slope, np.maximum(curvature, 0)), strict=True),
    ):
        np.testing.assert_allclose(out, wanted, rtol=1e-14)


def test_focal_trees() -> None:
    X, y = datasets.load_breast_cancer(return_X_y=True)
    options = {"max_iter": 10, "random_state": 0, "early_stopping": False}
    trees = ensemble.HistGradientBoostingClassifier
    with threadpoolctl.threadpool_limits(1):
        plain = trees(**options).fit(X, y).predict_proba(X)
        same = trees(loss=FocalLoss(alpha=-1.0, gamma=0.0), **options).fit(X, y).predict_proba(X)
        model = base.clone(trees(loss=FocalLoss(), **options)).fit(X, y)
        right = model.score(X, y)
    np.testing.assert_allclose(same, plain, rtol=0, atol=1e-6)
    assert right > 0.95


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"alpha": 2.0}, ValueError),
        ({"gamma": -1.0}, ValueError),
        ({"gamma": "2"}, TypeError),
        ({"min_hessian": np.inf}, ValueError),
        ({"min_hessian": None}, TypeError),
    ],
    ids=str,
)
def test_focal_errors(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(options))):
        FocalLoss(**options)
