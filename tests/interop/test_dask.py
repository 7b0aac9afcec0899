"""The estimator on Dask's collections, on a real cluster of two processes."""

from __future__ import annotations

import logging
import operator
import os
import signal
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from logistic import logistic

pytest.importorskip("sklearn", reason="the estimator needs scikit-learn")
dask = pytest.importorskip("dask", reason="the collections are Dask's")
distributed = pytest.importorskip("distributed", reason="the cluster is Dask's")
da = pytest.importorskip("dask.array", reason="the collections are Dask's")
pd = pytest.importorskip("pandas", reason="Dask's data frames are of pandas'")
dd = pytest.importorskip("dask.dataframe", reason="the collections are Dask's")

from fastbce import linear_model
from fastbce.interop import _chunks
from fastbce.interop import dask as interop
from fastbce.interop._chunks import Chunks
from fastbce.interop.dask import LogisticRegression
from fastbce.linear_model.coordinates import Coordinates
from fastbce.linear_model.objective import Objective
from fastbce.linear_model.survey import survey_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cases import Array

pytestmark = pytest.mark.ci  # the first test that imports Dask's cluster takes 17 s
CHUNK = 2_000
EXACT: dict[str, Any] = {"C": np.inf, "tol": 1e-9}


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Two workers of one thread each, in processes that are started anew when they die."""
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def draw(seed: int, n: int = CHUNK) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return logistic(rng, n, 4, coef=np.linspace(-1, 1, 4), intercept=0.3, dtype="f4")


def chunk(seed: int, which: int) -> Array:
    return draw(seed)[which]


def arrays(count: int, chunk: Any = chunk) -> tuple[Any, Any]:
    """Return X and y whose chunks are made by the workers."""
    parts = [
        [
            da.from_delayed(dask.delayed(chunk)(seed, which), (CHUNK, 4)[: 2 - which], dtype)
            for seed in range(count)
        ]
        for which, dtype in enumerate((np.float32, np.int64))
    ]
    return da.concatenate(parts[0]), da.concatenate(parts[1])


def parameters(model: Any) -> Array:
    return np.concatenate([model.intercept_, model.coef_[0]])


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
def test_equal_to_fit(client: Any, solver: str) -> None:
    # Enough rows to start from a part.
    X, y = client.persist(arrays(40))
    model = LogisticRegression(solver=solver, **EXACT).fit(X, y)
    whole = linear_model.LogisticRegression(solver=solver, **EXACT).fit(X.compute(), y.compute())
    for name in ("params", "bse", "llf", "llnull", "nobs"):
        expected = getattr(whole.result_, name)
        np.testing.assert_allclose(getattr(model.result_, name), expected, rtol=1e-9)
    for method in ("decision_function", "predict", "predict_proba", "predict_log_proba"):
        lazy, expected = getattr(model, method)(X), getattr(whole, method)(X.compute())
        assert lazy.shape == expected.shape
        assert lazy.dtype == expected.dtype
        np.testing.assert_allclose(lazy.compute(), expected, rtol=1e-5)
        np.testing.assert_allclose(getattr(model, method)(X.compute()), expected, rtol=1e-5)
    assert model.score(X, y) == model.score(X.compute(), y.compute())


def test_data_frames_with_names_weights_and_an_empty_partition(client: Any) -> None:
    X, y = draw(0, 9_000)
    frame = pd.DataFrame(X, columns=list("abcd"))
    frame["w"] = np.random.default_rng(1).exponential(size=len(y))
    frame["late"] = np.where(y, "yes", "no")
    frame["day"] = np.arange(len(y)) // 1_000
    frame = frame[frame["day"] != 4]
    parts = dd.from_pandas(frame, npartitions=3)
    parts = dd.concat([parts, parts[parts["day"] > 100]]).persist()
    options: dict[str, Any] = {"class_weight": "balanced", "tol": 1e-9}
    names = list("abcd")
    model = LogisticRegression(**options).fit(parts[names], parts["late"], parts["w"])
    whole = linear_model.LogisticRegression(**options).fit(frame[names], frame["late"], frame["w"])
    np.testing.assert_allclose(parameters(model), parameters(whole), rtol=1e-6)
    assert list(model.feature_names_in_) == names
    assert list(model.classes_) == ["no", "yes"]
    found = model.predict(parts[names])
    np.testing.assert_array_equal(found.compute(), whole.predict(frame[names]))
    expected = whole.score(frame[names], frame["late"], frame["w"])
    assert model.score(parts[names], parts["late"], parts["w"]) == pytest.approx(expected)


def test_chunks_are_cut_alike(client: Any) -> None:
    X, y = draw(3, 10_000)
    cut = LogisticRegression(**EXACT).fit(
        da.from_array(X, chunks=(3_000, 2)), da.from_array(y, chunks=700)
    )
    whole = linear_model.LogisticRegression(**EXACT).fit(X, y)
    np.testing.assert_allclose(cut.result_.params, whole.result_.params, rtol=1e-9)


def test_same_bits_whoever_does_what(client: Any) -> None:
    data = arrays(19)
    fits = []
    for workers in (None, *client.scheduler_info()["workers"]):
        with dask.annotate(workers=workers) if workers else dask.config.set({}):
            X, y = client.persist(data, workers=workers)
        fits.append(LogisticRegression(**EXACT).fit(X, y).result_.params.tobytes())
    with dask.config.set(scheduler="synchronous"):
        fits.append(LogisticRegression(**EXACT).fit(*data).result_.params.tobytes())
    assert len(set(fits)) == 1


def test_only_sums_travel(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = client.persist(arrays(20))
    distributed.wait([X, y])
    sent = []
    gather = distributed.Client.gather

    def watched(self: Any, futures: Any, **options: Any) -> Any:
        found = gather(self, futures, **options)
        sent.append(found)
        return found

    chunks = interop._chunks_of(X, y, None)
    survey = chunks.reduce(partial(interop._of_arrays, survey_of), operator.add)
    assert survey is not None
    rows = interop._Cluster(survey, None, chunks)
    monkeypatch.setattr(distributed.Client, "gather", watched)
    coordinates = Coordinates(
        np.zeros(4), np.ones(4), intercept=True, framed=False, reach=np.ones(4)
    )
    objective = Objective(rows, coordinates, np.zeros(5), np.zeros(5))
    objective(np.zeros(5))
    objective(np.zeros(5), hessian=True)
    # A task a pass for each worker; what all have together is at most the 20 chunks.
    assert [1 <= len(found) <= 2 for found in sent] == [True, True]
    for found, size in zip(sent, [1 + 5, 1 + 5 + 25], strict=True):
        parts = [part for nodes in found for part in nodes.values()]
        assert len(parts) <= 20
        assert {sum(np.size(v) for v in part if v is not None) for part in parts} == {size}


def test_nodes_grow_where_all_below_are_there() -> None:
    for count in (1, 7, 8, 9, 64, 65, 200):
        whole: Any = {(0, i): str(i) for i in range(count)}
        some: Any = {node: part for node, part in whole.items() if node[1] % 23 != 5}
        missing = set(range(count)) - {i for _, i in some}
        _chunks._grow(some, count, "({} {})".format)
        assert _chunks._covered(some, count) == set(range(count)) - missing
        some |= {(0, i): str(i) for i in missing}
        for nodes in (whole, some):
            _chunks._grow(nodes, count, "({} {})".format)
        assert some == whole
        assert len(whole) == 1


def killer(flag: Path, after: int) -> Any:
    """Return a chunk function that kills its process once, when a fit is under way."""

    def chunk(seed: int, which: int) -> Array:
        with flag.open("a", encoding="ascii") as file:
            file.write(".")
        if flag.stat().st_size == after:
            os.kill(os.getpid(), signal.SIGKILL)
        return draw(seed)[which]

    return chunk


@pytest.mark.ci
def test_a_worker_killed_while_it_computes(client: Any, tmp_path: Path) -> None:
    expected = LogisticRegression(**EXACT).fit(*arrays(6))
    # Each pass makes 12 chunks: this is in the third.
    flag = tmp_path / "calls"
    model = LogisticRegression(**EXACT).fit(*arrays(6, killer(flag, 30)))
    assert flag.stat().st_size > 40
    np.testing.assert_array_equal(model.result_.params, expected.result_.params)
    np.testing.assert_array_equal(model.result_.bse, expected.result_.bse)


@pytest.mark.ci
def test_a_worker_killed_with_the_data_it_held(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = client.persist(arrays(12))
    distributed.wait([X, y])
    expected = LogisticRegression(**EXACT).fit(X, y)
    of_workers = Chunks._of_workers
    passes: list[int] = []
    killed = next(iter(client.run(os.getpid).values()))

    def deadly(self: Chunks, *arguments: Any) -> Any:
        if len(passes) == 2:
            os.kill(killed, signal.SIGKILL)
        found = of_workers(self, *arguments)
        passes.append(len(_chunks._covered(found, 12)))
        return found

    monkeypatch.setattr(Chunks, "_of_workers", deadly)
    model = LogisticRegression(**EXACT).fit(X, y)
    assert killed not in client.run(os.getpid).values()
    # One pass lacked the dead worker's chunks, and the last one had all of them again.
    assert passes[:2] == [12, 12]
    assert passes[2] < 12
    assert passes[-1] == 12
    np.testing.assert_array_equal(model.result_.params, expected.result_.params)
    np.testing.assert_array_equal(model.result_.bse, expected.result_.bse)


def test_data_frames_that_workers_hold(client: Any) -> None:
    X, y = draw(5, 4_000)
    frame = dd.from_pandas(pd.DataFrame(X, columns=list("abcd")).assign(y=y), npartitions=9)
    lazy = frame[list("abcd")], frame["y"]
    held = client.persist(lazy)
    distributed.wait(held)
    assert sum(len(s.keys) for s in interop._chunks_of(held[0], held[1], None)._held()) == 9
    assert not interop._chunks_of(lazy[0], lazy[1], None)._held()
    fits = [LogisticRegression(**EXACT).fit(*data) for data in (held, lazy)]
    # pandas keeps the columns of a frame that travelled in another order in memory.
    np.testing.assert_allclose(fits[0].result_.params, fits[1].result_.params, rtol=1e-12)
    assert fits[0].score(*held) == fits[1].score(*lazy)


def test_without_a_cluster(rng: np.random.Generator) -> None:
    X, y = draw(7, 5_000)
    with dask.config.set(scheduler="threads"):
        model = LogisticRegression(**EXACT).fit(da.from_array(X, 999), da.from_array(y, 999))
    whole = linear_model.LogisticRegression(**EXACT).fit(X, y)
    np.testing.assert_allclose(model.result_.params, whole.result_.params, rtol=1e-9)
    plain = LogisticRegression(**EXACT).fit(X, y)
    np.testing.assert_array_equal(plain.result_.params, whole.result_.params)


def test_errors() -> None:
    X, y = draw(0, 100)
    dX, dy = da.from_array(X, chunks=(50, 4)), da.from_array(y, chunks=50)
    with dask.config.set(scheduler="synchronous"):
        with pytest.raises(TypeError, match=r"y must be a Dask .*got ndarray"):
            LogisticRegression().fit(dX, y)
        with pytest.raises(ValueError, match=r"y has 1 partitions and X has 2"):
            LogisticRegression().fit(dX, dy[:50])
        with pytest.raises(ValueError, match=r"3 classes"):
            LogisticRegression().fit(dX, da.from_array(np.arange(100) // 40, chunks=50))
        with pytest.raises(ValueError, match="no rows"):
            LogisticRegression().fit(dX[:0], dy[:0])
        X[60, 2] = np.inf
        with pytest.raises(ValueError, match="infinity"):
            LogisticRegression().fit(da.from_array(X, chunks=(50, 4)), dy)
