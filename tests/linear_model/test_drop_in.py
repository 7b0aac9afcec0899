"""Where scikit-learn's estimator stood: its parameters, pipelines, sparse and foreign arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the estimator needs scikit-learn")
pytest.importorskip("scipy", reason="the estimator needs SciPy")

import sklearn
from data_sets import breast_cancer, fair
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression as Peer
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from fastbce.linear_model import LogisticRegression
from fastbce.linear_model import sparse as sparse_rows

if TYPE_CHECKING:
    from cases import Array


def test_penalties() -> None:
    X, y = breast_cancer()
    by_none = LogisticRegression(penalty=None).fit(X, y)
    by_c = LogisticRegression(C=np.inf).fit(X, y)
    np.testing.assert_array_equal(by_none.coef_, by_c.coef_)
    np.testing.assert_array_equal(by_none.result_.bse, by_c.result_.bse)
    with pytest.warns(UserWarning, match=r"penalty=None has no strength: C=0.5 is ignored"):
        LogisticRegression(penalty=None, C=0.5).fit(X, y)
    for options, match in (
        ({"penalty": "l1"}, r"unknown penalty 'l1'.*solver='saga'"),
        ({"penalty": "none"}, "unknown penalty 'none'"),
        ({"l1_ratio": 0.5}, "l1_ratio must be None or 0, got 0.5"),
        ({"n_jobs": 0}, "n_jobs"),
        ({"n_jobs": "two"}, "n_jobs"),
        ({"random_state": "x"}, "random"),
        ({"solver": "sagas"}, "unknown solver 'sagas'"),
    ):
        with pytest.raises(ValueError, match=match):
            LogisticRegression(**options).fit(X, y)


@pytest.mark.parametrize("solver", ["newton-cg", "newton-cholesky", "liblinear", "sag", "saga"])
def test_scikit_learns_solvers_stand_for_auto(solver: str) -> None:
    X, y = breast_cancer()
    model = LogisticRegression(solver=solver, l1_ratio=0, n_jobs=-1, random_state=0)
    with pytest.warns(UserWarning, match=f"solver='{solver}' is scikit-learn's"):
        model.fit(X, y)
    np.testing.assert_array_equal(model.coef_, LogisticRegression().fit(X, y).coef_)


def test_a_clone_of_firths_estimator_fits_in_a_pipeline() -> None:
    X, y = breast_cancer()
    X, y = X[::8], y[::8]
    model = clone(LogisticRegression(penalty="firth"))
    assert model.get_params()["penalty"] == "firth"
    found = make_pipeline(StandardScaler(), model).fit(X, np.where(y, "ill", "well"))
    assert found.score(X, np.where(y, "ill", "well")) > 0.8
    assert found[-1].n_features_in_ == 4


def test_pipelines_with_frames_and_metadata(rng: np.random.Generator) -> None:
    pandas = pytest.importorskip("pandas", reason="passes frames")
    X, y = fair()
    frame = pandas.DataFrame(X, columns=[f"v{i}" for i in range(X.shape[1])])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=np.inf))
    model.set_output(transform="pandas")
    model.fit(frame, y)
    assert model[-1].result_.names == ("const", *frame.columns)
    weight, offset = rng.exponential(size=len(y)), rng.normal(size=len(y))
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = LogisticRegression(C=np.inf).set_fit_request(sample_weight=True, offset=True)
        estimator.set_predict_proba_request(offset=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, estimator)
        pipeline.fit(frame, y, sample_weight=weight, offset=offset)
        expected = LogisticRegression(C=np.inf).fit(
            StandardScaler().fit_transform(X), y, weight, offset=offset
        )
        np.testing.assert_allclose(pipeline[-1].coef_, expected.coef_, rtol=1e-9)
        found = pipeline.predict_proba(frame, offset=offset)
        p = expected.predict_proba(StandardScaler().fit_transform(X), offset)
        np.testing.assert_allclose(found, p, rtol=1e-9)
        search = GridSearchCV(
            LogisticRegression()
            .set_fit_request(sample_weight=True)
            .set_score_request(sample_weight=True),
            {"C": [0.1, 1.0], "penalty": ["l2"]},
            cv=2,
        )
        search.fit(X, y, sample_weight=weight)
    assert cross_validate(LogisticRegression(), X, y, cv=2)["test_score"].shape == (2,)


# --- sparse matrices


@pytest.mark.parametrize("C", [1.0, np.inf])
@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_array, sparse.coo_array])
def test_sparse_matrices(
    kind: Any, C: float, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparse_rows, "CHUNK_ELEMENTS", 3_000)
    groups = rng.integers(0, 12, (2_000, 2))
    X = OneHotEncoder(drop="first").fit_transform(groups)
    X = sparse.hstack([X, rng.normal(size=(2_000, 1))])
    y = np.where(rng.random(2_000) < 0.3 + 0.4 * (groups[:, 0] > 5), "b", "a")
    weight = rng.exponential(size=2_000)
    for w, factors in ((None, None), (weight, None), (None, {"a": 1, "b": 2})):
        ours = LogisticRegression(C=C, class_weight=factors).fit(kind(X), y, w)
        dense = LogisticRegression(C=C, class_weight=factors).fit(X.toarray(), y, w)
        np.testing.assert_allclose(ours.coef_, dense.coef_, rtol=1e-6, atol=1e-9)
        np.testing.assert_array_equal(ours.classes_, ["a", "b"])
        np.testing.assert_allclose(
            ours.predict_proba(kind(X)), dense.predict_proba(X.toarray()), rtol=1e-5
        )
        if np.isinf(C):
            np.testing.assert_allclose(ours.result_.bse, dense.result_.bse, rtol=1e-6)
            found = ours.profile_conf_int(kind(X), y, w, names=["x1"])
            assert found.shape == (1, 2)


@pytest.mark.ci
def test_sparse_matrices_in_batches_and_what_is_refused(rng: np.random.Generator) -> None:
    X = sparse.random(300, 5, 0.4, "csr", rng=rng)
    y = np.arange(300) % 2
    batch = LogisticRegression().partial_fit(X, y)
    np.testing.assert_array_equal(
        batch.coef_, LogisticRegression().partial_fit(X.toarray(), y).coef_
    )
    with pytest.raises(ValueError, match=r"no offset; pass X.toarray\(\)"):
        LogisticRegression().fit(X, y, offset=np.zeros(300))
    with pytest.raises(ValueError, match=r"no clusters; pass X.toarray\(\)"):
        LogisticRegression(cov_type="cluster").fit(X, y, clusters=np.arange(300))
    X.data[3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        LogisticRegression().fit(X, y)


def test_sparse_matrices_with_more_columns_than_a_hessian(rng: np.random.Generator) -> None:
    X = sparse.random(3_000, 5_000, 0.004, "csr", rng=rng)
    some = np.asarray(X[:, :50].sum(axis=1)).ravel()
    y = (some + 0.2 * rng.logistic(size=3_000) > 0.1).astype(int)
    ours = LogisticRegression(max_iter=2_000).fit(X, y)
    theirs = Peer(solver="newton-cg", tol=1e-10, max_iter=1000).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-6)


def test_a_column_far_from_zero_in_a_sparse_matrix(rng: np.random.Generator) -> None:
    year = rng.integers(1990, 2020, 500).astype(float)
    X = np.column_stack([year, year**2, rng.random(500) < 0.1])
    y = (0.1 * (year - 2005) + rng.logistic(size=500) > 0).astype(int)
    ours = LogisticRegression(C=np.inf).fit(sparse.csr_array(X), y).result_
    np.testing.assert_allclose(
        ours.bse, LogisticRegression(C=np.inf).fit(X, y).result_.bse, rtol=1e-6
    )


# --- arrays of other libraries


class Foreign:
    """An array with the Array API that NumPy can read, or cannot."""

    def __init__(self, array: Array, *, readable: bool = True) -> None:
        self.array, self.readable, self.device = array, readable, "cuda:0"
        self.shape, self.ndim, self.dtype = array.shape, array.ndim, array.dtype

    def __array_namespace__(self, api_version: Any = None) -> Any:
        return np

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        if not self.readable:
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        return self.array


def test_arrays_of_other_libraries(rng: np.random.Generator) -> None:
    X, y = fair()
    weight, offset = rng.exponential(size=len(y)), rng.normal(size=len(y))
    expected = LogisticRegression(C=np.inf).fit(X, y, weight, offset=offset)
    foreign = (Foreign(X), Foreign(y), Foreign(weight))
    ours = LogisticRegression(C=np.inf).fit(*foreign, offset=Foreign(offset))
    np.testing.assert_array_equal(ours.coef_, expected.coef_)
    found = ours.predict_proba(Foreign(X), Foreign(offset))
    np.testing.assert_array_equal(found, expected.predict_proba(X, offset))
    with pytest.raises(TypeError, match=r"X is a .*Foreign on cuda:0, which NumPy cannot read"):
        LogisticRegression().fit(Foreign(X, readable=False), y)
    with pytest.raises(TypeError, match="y is a"):
        LogisticRegression().fit(X, Foreign(y, readable=False))


def test_a_program_that_was_written_for_scikit_learn(rng: np.random.Generator) -> None:
    X, y = breast_cancer()
    options: dict[str, Any] = {"C": 0.3, "max_iter": 1000, "n_jobs": None, "random_state": 3}
    ours = LogisticRegression(solver="lbfgs", **options).fit(X, y)
    options.pop("n_jobs")
    theirs = Peer(solver="newton-cholesky", tol=1e-12, **options).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-6)
