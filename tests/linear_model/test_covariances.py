"""Robust and clustered covariances, kinds of weights, offsets: as statsmodels and formulas say."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from checks import in_ci

pytest.importorskip("sklearn", reason="the estimator needs scikit-learn")
pytest.importorskip("scipy", reason="the estimator needs SciPy")

from data_sets import DATA, fair, statsmodels_glm
from sklearn.exceptions import ConvergenceWarning

from fastbce.inference import InferenceError, LogitResult
from fastbce.linear_model import LogisticRegression
from fastbce.streaming import ArrayChunks

if TYPE_CHECKING:
    from cases import Array


def inference(X: Array, y: Array, weight: Any = None, **options: Any) -> LogitResult:
    data = {name: options.pop(name) for name in ("offset", "clusters") if name in options}
    return LogisticRegression(C=np.inf, **options).fit(X, y, weight, **data).result_


def close(ours: LogitResult, theirs: Any, *names: str) -> None:
    for name in ("params", "bse", *names):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-6)
    np.testing.assert_allclose(ours.covariance, theirs.cov_params(), rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(ours.pvalues, theirs.pvalues, rtol=1e-6, atol=1e-300)


@pytest.mark.parametrize("cov_type", ["HC0", "HC1", "HC2", "HC3"])
@pytest.mark.parametrize("load", DATA)
def test_robust_covariances(load: Any, cov_type: str) -> None:
    X, y = load()
    ours = inference(X, y, cov_type=cov_type)
    theirs = statsmodels_glm(X, y)
    design = theirs.model.exog
    leverage = theirs.get_influence().hat_matrix_diag
    n, k = design.shape
    factor = theirs.resid_response**2
    if cov_type == "HC1":
        factor = factor * n / (n - k)
    elif cov_type in ("HC2", "HC3"):
        factor = factor / (1 - leverage) ** (int(cov_type[-1]) - 1)
    bread = theirs.cov_params()
    expected = bread @ (design.T * factor) @ design @ bread
    np.testing.assert_allclose(ours.bse, np.sqrt(np.diag(expected)), rtol=1e-6)
    assert ours.llf == pytest.approx(theirs.llf, rel=1e-9)


@pytest.mark.parametrize("ways", [1, 2])
@pytest.mark.parametrize("load", DATA)
def test_clusters(load: Any, ways: int, rng: np.random.Generator) -> None:
    sm = pytest.importorskip("statsmodels.api", reason="compares with statsmodels")
    X, y = load()
    groups = rng.integers(0, 40, (len(y), 2))[:, :ways]
    ours = inference(X, y, cov_type="cluster", clusters=groups)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = sm.Logit(y, sm.add_constant(X)).fit(
            disp=0,
            method="newton",
            tol=1e-13,
            cov_type="cluster",
            cov_kwds={"groups": groups.squeeze()},
        )
    close(ours, theirs)
    assert ours.clusters == (40,) * ways
    assert np.isnan(ours.llr_pvalue)
    assert np.isnan(ours.aic)
    assert "40 clusters" in ours.summary() or "40 and 40 clusters" in ours.summary()


def test_a_cluster_for_each_sample_is_hc1(rng: np.random.Generator) -> None:
    X, y = fair()
    ours = inference(X, y, cov_type="cluster", clusters=rng.permutation(len(y)))
    np.testing.assert_allclose(ours.bse, inference(X, y, cov_type="HC1").bse, rtol=1e-9)


def test_labels_of_clusters_may_be_text_in_a_frame(rng: np.random.Generator) -> None:
    pandas = pytest.importorskip("pandas", reason="passes a frame")
    X, y = fair()
    codes = rng.integers(0, 26, len(y)), rng.integers(0, 30, len(y))
    names = np.array(list("abcdefghijklmnopqrstuvwxyz"))[codes[0]]
    frame = pandas.DataFrame({"one": names, "other": codes[1]})
    two = [
        inference(X, y, cov_type="cluster", clusters=clusters).bse
        for clusters in (frame, (names, codes[1]), np.column_stack(codes))
    ]
    np.testing.assert_array_equal(two[0], two[1])
    np.testing.assert_array_equal(two[0], two[2])


@pytest.mark.parametrize("cov_type", ["nonrobust", "HC0", "HC1", "HC2", "HC3", "cluster"])
def test_frequency_weights_are_repetitions(cov_type: str, rng: np.random.Generator) -> None:
    X, y = fair()
    count = rng.integers(0, 4, len(y))
    clusters = np.arange(len(y)) % 30
    once: dict[str, Any] = {"cov_type": cov_type}
    often = dict(once)
    if cov_type == "cluster":
        # A cluster of weight 0 is none.
        clusters[-1], count[-1] = 99, 0
        once["clusters"], often["clusters"] = clusters, np.repeat(clusters, count)
    ours = inference(X, y, count, **once)
    repeated = inference(np.repeat(X, count, 0), np.repeat(y, count), **often)
    for name in ("params", "bse", "llf", "llnull", "nobs", "clusters"):
        np.testing.assert_allclose(getattr(ours, name), getattr(repeated, name), rtol=1e-8)


@pytest.mark.parametrize("load", DATA)
def test_analytic_weights_count_relative_to_their_mean(load: Any, rng: np.random.Generator) -> None:
    X, y = load()
    weight = rng.exponential(7.0, len(y))
    weight[:3] = 0.0
    used = weight > 0
    ours = inference(X, y, weight, weight_kind="analytic")
    scaled = weight[used] / weight[used].mean()
    theirs = statsmodels_glm(X[used], y[used], var_weights=scaled)
    close(ours, theirs)
    assert ours.nobs == len(y) - 3
    null = statsmodels_glm(np.empty((used.sum(), 0)), y[used], var_weights=scaled)
    p = theirs.fittedvalues
    llf = np.sum(scaled * np.log(np.where(y[used] == 1, p, 1 - p)))
    assert ours.llf == pytest.approx(llf, rel=1e-9)
    p = null.fittedvalues
    llnull = np.sum(scaled * np.log(np.where(y[used] == 1, p, 1 - p)))
    assert ours.llnull == pytest.approx(llnull, rel=1e-9)
    times = inference(X, y, 1e6 * weight, weight_kind="analytic")
    np.testing.assert_allclose(times.bse, ours.bse, rtol=1e-9)


@pytest.mark.parametrize("kind", ["sampling", "analytic"])
@pytest.mark.parametrize("cov_type", ["HC0", "HC1"])
@pytest.mark.parametrize("load", DATA)
def test_robust_covariances_of_weights_that_are_no_counts(
    load: Any, cov_type: str, kind: str, rng: np.random.Generator
) -> None:
    X, y = load()
    weight = rng.exponential(3.0, len(y))
    ours = inference(X, y, weight, weight_kind=kind, cov_type=cov_type)
    theirs = statsmodels_glm(X, y, var_weights=weight, fit={"cov_type": "HC0"})
    # Its HC1 is HC0.
    n, k = theirs.model.exog.shape
    factor = n / (n - k) if cov_type == "HC1" else 1.0
    np.testing.assert_allclose(ours.params, theirs.params, rtol=1e-6)
    np.testing.assert_allclose(ours.bse, theirs.bse * np.sqrt(factor), rtol=1e-6)
    assert ours.nobs == len(y)
    assert np.isnan(ours.llr_pvalue) == (kind == "sampling")


def test_leverages_of_analytic_weights(rng: np.random.Generator) -> None:
    X, y = fair()
    weight = rng.exponential(3.0, len(y))
    ours = inference(X, y, weight, weight_kind="analytic", cov_type="HC3")
    theirs = statsmodels_glm(X, y, var_weights=weight)
    design, p = theirs.model.exog, theirs.fittedvalues
    bread = np.linalg.inv((design.T * (weight * p * (1 - p))) @ design)
    leverage = weight * p * (1 - p) * np.einsum("ij,jk,ik->i", design, bread, design)
    factor = (weight * (y - p) / (1 - leverage)) ** 2
    expected = bread @ (design.T * factor) @ design @ bread
    np.testing.assert_allclose(ours.bse, np.sqrt(np.diag(expected)), rtol=1e-6)


@pytest.mark.parametrize(("order", "dtype"), [("C", "f8"), *map(in_ci, "CFF", ("f4", "f8", "f4"))])
@pytest.mark.parametrize("load", DATA)
def test_offsets(load: Any, order: Any, dtype: str, rng: np.random.Generator) -> None:
    X, y = load()
    X = np.asarray(X, dtype, order=order)
    offset = 3 * rng.normal(size=len(y)) + 1
    weight = rng.integers(0, 3, len(y))
    for w in (None, weight):
        model = LogisticRegression(C=np.inf, cov_type="HC0").fit(X, y, w, offset=offset)
        theirs = statsmodels_glm(X.astype(float), y, offset=offset, freq_weights=w)
        ours, p = model.result_, theirs.fittedvalues
        np.testing.assert_allclose(ours.params, theirs.params, rtol=1e-6)
        design, bread = theirs.model.exog, theirs.cov_params()
        factor = (y - p) ** 2 * (1 if w is None else w)
        expected = bread @ (design.T * factor) @ design @ bread
        np.testing.assert_allclose(ours.bse, np.sqrt(np.diag(expected)), rtol=1e-6)
        np.testing.assert_allclose(ours.llf, theirs.llf, rtol=1e-9)
        np.testing.assert_allclose(ours.llnull, theirs.llnull, rtol=1e-9)
        found = model.predict_proba(X, offset=offset)[:, 1]
        np.testing.assert_allclose(found, p, rtol=1e-4 if dtype == "f4" else 1e-6)
    with pytest.raises(ValueError, match="fitted with an offset"):
        model.predict(X)


@pytest.mark.ci
def test_an_offset_takes_part_in_every_solver_and_penalty(rng: np.random.Generator) -> None:
    X, y = fair()
    offset = rng.normal(size=len(y))
    # A penalised offset: a column in such units that its coefficient of 1 costs nothing.
    with_column = np.column_stack([X, 1e6 * offset])
    expected = LogisticRegression(C=1.0, tol=1e-10).fit(with_column[:, :-1], y, offset=offset)
    for solver in ("newton", "lbfgs"):
        model = LogisticRegression(C=1.0, tol=1e-10, solver=solver).fit(X, y, offset=offset)
        np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-6)
    design = np.column_stack([np.ones(len(y)), X])
    p = expected.predict_proba(X, offset)[:, 1]
    gradient = design.T @ (p - y) + np.concatenate([[0.0], expected.coef_[0]])
    assert np.max(np.abs(gradient)) < 1e-4
    far = X + 1e5  # the kernels take the centers off
    ours = inference(far, y, offset=offset).params[1:]
    np.testing.assert_allclose(ours, inference(X, y, offset=offset).params[1:], rtol=1e-5)


def test_what_is_refused(rng: np.random.Generator) -> None:
    X, y = rng.normal(size=(60, 2)), np.arange(60) % 2
    ones = np.ones(60)

    def refused(match: str, **options: Any) -> None:
        with pytest.raises(ValueError, match=match):
            inference(X, y, **options)

    refused("unknown cov_type 'HC4'", cov_type="HC4")
    refused("unknown weight_kind 'p'", weight_kind="p")
    refused("needs the clusters", cov_type="cluster")
    refused("cov_type='nonrobust'; set cov_type='cluster'", clusters=ones)
    refused(r"got columns of shape \(59,\)", cov_type="cluster", clusters=ones[1:])
    refused("no label in row 3", cov_type="cluster", clusters=[1.0, 2, np.nan, *range(57)])
    refused("offset contains nan in row 2", offset=[0, np.nan, *range(58)])
    refused(r"offset has shape \(59,\)", offset=ones[1:])
    refused("does not hold with sampling weights", weight=ones, weight_kind="sampling")
    with pytest.raises(ValueError, match="clusters of samples in memory"):
        LogisticRegression(C=np.inf, cov_type="cluster").fit_stream(ArrayChunks(X, y))
    for clusters, match in (
        (ones, "all samples are in one cluster"),
        (np.column_stack([np.arange(60) % 2, np.arange(60) // 2 % 2]), "a variance is negative"),
    ):
        model = LogisticRegression(C=np.inf, cov_type="cluster")
        with pytest.warns(ConvergenceWarning, match=match):
            model.fit(X, y, clusters=clusters)
        with pytest.raises(InferenceError, match=match):
            _ = model.result_


def test_streams_give_the_same_robust_errors() -> None:
    X, y = fair()
    for cov_type in ("HC1", "HC3"):
        streamed = LogisticRegression(C=np.inf, cov_type=cov_type).fit_stream(
            ArrayChunks(X, y, rows=100)
        )
        expected = inference(X, y, cov_type=cov_type).bse
        np.testing.assert_allclose(streamed.result_.bse, expected, rtol=1e-9)
