"""Data larger than memory: the coefficients of ``fit``, from chunks that are read repeatedly."""

from __future__ import annotations

import threading
import tracemalloc
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from logistic import logistic

pytest.importorskip("sklearn", reason="the estimator needs scikit-learn")
pytest.importorskip("scipy", reason="the estimator needs SciPy")

from sklearn.exceptions import ConvergenceWarning

from fastbce.inference import InferenceError
from fastbce.linear_model import LogisticRegression, stream
from fastbce.streaming import ArrayChunks, ParquetChunks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cases import Array

ROWS, COLUMNS, STEP = 5_000, 4, 700


def draw(rng: np.random.Generator, n: int = ROWS, d: int = COLUMNS) -> tuple[Array, Array]:
    return logistic(rng, n, d, coef=np.linspace(-1, 1, d), intercept=0.3, dtype="f4")


def pieces(*arrays: Array, step: int = STEP) -> Callable[[], Iterator[tuple[Array, ...]]]:
    """Return a function that gives chunks."""

    def chunks() -> Iterator[tuple[Array, ...]]:
        for start in range(0, len(arrays[0]), step):
            yield tuple(array[start : start + step] for array in arrays)

    return chunks


def mapped(X: Array, y: Array, path: Path) -> ArrayChunks:
    for name, array in (("X", X), ("y", y)):
        np.save(path / f"{name}.npy", array)
    load = [np.load(path / f"{name}.npy", mmap_mode="r") for name in ("X", "y")]
    return ArrayChunks(*load, rows=STEP)


def parquet(path: Path, **columns: Any) -> Path:
    pa = pytest.importorskip("pyarrow", reason="writes Parquet")
    from pyarrow import parquet as file

    path.parent.mkdir(exist_ok=True)
    file.write_table(pa.table(columns), path, row_group_size=1_500)
    return path


def columns_of(X: Array, y: Array, part: slice = slice(None)) -> dict[str, Array]:
    return {**{f"a{j}": X[part, j] for j in range(X.shape[1])}, "y": y[part]}


def one_file(X: Array, y: Array, path: Path) -> ParquetChunks:
    return ParquetChunks(parquet(path / "t.parquet", **columns_of(X, y)), target="y", rows=STEP)


def directory(X: Array, y: Array, path: Path) -> ParquetChunks:
    half = len(X) // 2
    parquet(path / "d" / "1.parquet", **columns_of(X, y, slice(half)))
    parquet(path / "d" / "2.parquet", **columns_of(X, y, slice(half, None)))
    return ParquetChunks(path / "d", target="y", rows=STEP)


SOURCES: dict[str, Callable[[Array, Array, Path], Any]] = {
    "callable": lambda X, y, path: pieces(X, y),
    "list": lambda X, y, path: list(pieces(X, y)()),
    "memory map": mapped,
    "Parquet file": one_file,
    "Parquet directory": directory,
}


def assert_same(stream: LogisticRegression, whole: LogisticRegression, rtol: float = 1e-9) -> None:
    assert stream.coef_.dtype == whole.coef_.dtype
    assert stream.n_features_in_ == whole.n_features_in_
    np.testing.assert_array_equal(stream.classes_, whole.classes_)
    # Rounded to float32 where the data is.
    tiny = max(rtol, float(np.finfo(whole.coef_.dtype).eps))
    np.testing.assert_allclose(stream.coef_, whole.coef_, rtol=tiny)
    np.testing.assert_allclose(stream.intercept_, whole.intercept_, rtol=tiny)
    if np.isinf(whole.C):
        mine, other = stream.result_, whole.result_
        for name in ("params", "bse", "llf", "llnull", "nobs", "bic"):
            np.testing.assert_allclose(getattr(mine, name), getattr(other, name), rtol=rtol)


@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
@pytest.mark.parametrize("kind", SOURCES)
def test_equal_to_fit(kind: str, solver: str, rng: np.random.Generator, tmp_path: Path) -> None:
    X, y = draw(rng)
    options: dict[str, Any] = {"C": np.inf, "solver": solver, "tol": 1e-9}
    stream = LogisticRegression(**options).fit_stream(SOURCES[kind](X, y, tmp_path))
    assert_same(stream, LogisticRegression(**options).fit(X, y))
    names = ["const", "x1", "x2", "x3", "x4"]
    if "Parquet" in kind:
        assert list(stream.feature_names_in_) == ["a0", "a1", "a2", "a3"]
        names[1:] = stream.feature_names_in_
    assert stream.result_.names == tuple(names)


def test_equal_to_fit_on_both_backends(backend: str, rng: np.random.Generator) -> None:
    X, y = draw(rng)
    model = LogisticRegression(C=np.inf, tol=1e-9).fit_stream(pieces(X, y))
    assert_same(model, LogisticRegression(C=np.inf, tol=1e-9).fit(X, y))


def test_many_rows_start_from_a_part(rng: np.random.Generator) -> None:
    X, y = draw(rng, 150_001)
    passes = []

    def chunks() -> Iterator[tuple[Array, ...]]:
        passes.append(1)
        return pieces(X, y, step=11_111)()

    stream = LogisticRegression(C=np.inf, tol=1e-9).fit_stream(chunks)
    assert_same(stream, LogisticRegression(C=np.inf, tol=1e-9).fit(X, y))
    assert len(passes) <= 9


def test_kept_rows_are_evenly_spaced(rng: np.random.Generator) -> None:
    n = 300_000
    X = np.arange(n, dtype=np.float64)[:, None]
    y = np.arange(n) % 2
    weight = np.arange(n, dtype=np.float64)
    survey, kept = stream.first_pass(pieces(X, y, weight, step=9_973))
    _, rows, labels, weights = kept.joined()
    every = rows[1, 0]
    assert every in (16, 32)
    np.testing.assert_array_equal(rows[:, 0], np.arange(0, n, every))
    np.testing.assert_array_equal(labels, rows[:, 0] % 2)
    np.testing.assert_array_equal(weights, rows[:, 0])
    assert survey.n == n


@pytest.mark.parametrize("class_weight", [None, "balanced", {"no": 1, "yes": 3}])
def test_weights_and_labels(class_weight: Any, rng: np.random.Generator) -> None:
    X, y = draw(rng)
    labels = np.where(y, "yes", "no")
    for weight in ([], [rng.exponential(size=len(y))]):
        for C in (1.0, np.inf):
            options = {"C": C, "tol": 1e-9, "class_weight": class_weight}
            stream = LogisticRegression(**options).fit_stream(pieces(X, labels, *weight))
            assert_same(stream, LogisticRegression(**options).fit(X, labels, *weight))


def test_frames_give_names(rng: np.random.Generator) -> None:
    pandas = pytest.importorskip("pandas", reason="names come with a pandas frame")
    X, y = draw(rng)
    frames = [
        (pandas.DataFrame(part, columns=list("abcd")), pandas.Series(labels))
        for part, labels in pieces(X, y)()
    ]
    model = LogisticRegression(C=np.inf).fit_stream(frames)
    assert list(model.feature_names_in_) == list("abcd")
    assert model.result_.names == ("const", *"abcd")
    frames[3] = (frames[3][0][list("abdc")], frames[3][1])
    with pytest.raises(ValueError, match=r"chunk 4 .* row 2101 on: .*a, b, d, c"):
        LogisticRegression().fit_stream(frames)


def test_a_chunk_without_weight(rng: np.random.Generator) -> None:
    X, y = draw(rng)
    weight = rng.exponential(size=len(y))
    weight[STEP : 2 * STEP] = 0
    stream = LogisticRegression(C=np.inf, tol=1e-9).fit_stream(pieces(X, y, weight))
    assert_same(stream, LogisticRegression(C=np.inf, tol=1e-9).fit(X, y, weight))


def test_empty_chunks_are_passed_over(rng: np.random.Generator) -> None:
    X, y = draw(rng)
    chunks = [(X[:0], y[:0]), *pieces(X, y)(), (X[:0], y[:0])]
    whole = LogisticRegression().fit(X, y)
    assert_same(LogisticRegression().fit_stream(chunks), whole)


def test_warm_start(rng: np.random.Generator) -> None:
    X, y = draw(rng)
    model = LogisticRegression(warm_start=True)
    first = model.fit_stream(pieces(X, y)).n_iter_[0]
    assert model.fit_stream(pieces(X, y)).n_iter_[0] < first


def test_robust_covariance(rng: np.random.Generator) -> None:
    X, y = draw(rng)
    options: dict[str, Any] = {"C": np.inf, "cov_type": "HC0", "tol": 1e-9}
    stream = LogisticRegression(**options).fit_stream(pieces(X, y))
    assert_same(stream, LogisticRegression(**options).fit(X, y))


def refused(X: Array, y: Array) -> str:
    with pytest.warns(ConvergenceWarning):
        model = LogisticRegression(C=np.inf).fit_stream(pieces(X, y))
    with pytest.raises(InferenceError) as caught:
        _ = model.result_
    return str(caught.value)


def test_no_maximum_is_named_as_by_fit(rng: np.random.Generator) -> None:
    X, y = draw(rng)
    apart = X.copy()
    apart[:, 1] = (y == 1) & (X[:, 2] > 0)
    assert "Columns that separate: x2." in refused(apart, y)
    assert "dependent" in refused(np.hstack([X, X[:, :1] + X[:, 1:2]]), y)


def test_too_few_iterations_are_reported_where_fit_stream_is_called(
    rng: np.random.Generator,
) -> None:
    X, y = draw(rng)
    with pytest.warns(ConvergenceWarning, match="max_iter was reached") as caught:
        LogisticRegression(max_iter=1, tol=1e-12).fit_stream(pieces(X, y))
    assert caught[0].filename == __file__


def test_values_that_are_not_finite_are_found(rng: np.random.Generator) -> None:
    X, y = draw(rng)
    X[3_333, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        LogisticRegression().fit_stream(pieces(X, y))


BAD: dict[str, tuple[Callable[[Array, Array], Any], type[Exception], str]] = {
    "generator": (lambda X, y: pieces(X, y)(), TypeError, "only once.*without calling it"),
    "number": (lambda X, y: 3, TypeError, "got int"),
    "returns nothing": (lambda X, y: lambda: None, TypeError, "got NoneType"),
    "not tuples": (lambda X, y: [X], TypeError, "chunk 1 .*got ndarray"),
    "four": (lambda X, y: [(X, y, y, y)], TypeError, "got tuple of 4"),
    "no chunks": (lambda X, y: [], ValueError, "no rows"),
    "lengths": (lambda X, y: [(X, y), (X, y[1:])], ValueError, "chunk 2 .*inconsistent"),
    "columns": (lambda X, y: [(X, y), (X[:, :3], y)], ValueError, "chunk 2 .*has 3 columns"),
    "some weights": (lambda X, y: [(X, y), (X, y, y)], ValueError, "chunk 2 .*and weights"),
    "negative": (lambda X, y: [(X, y, -1.0 - y)], ValueError, "Negative"),
    "weightless": (lambda X, y: [(X, y, 0 * y)], ValueError, "all sample weights are 0"),
    "three classes": (lambda X, y: [(X, y), (X, y + 1)], ValueError, "chunk 2 .*3 classes"),
    "one class": (lambda X, y: [(X, 0 * y)], ValueError, "one class"),
    "continuous": (lambda X, y: [(X, X[:, 0])], ValueError, "continuous"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_sources(name: str, rng: np.random.Generator) -> None:
    make, kind, text = BAD[name]
    with pytest.raises(kind, match=text):
        LogisticRegression().fit_stream(make(*draw(rng, 50)))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda X, y: (X[1:], y[1:]), "5000 rows when it was first read and 4999"),
        (lambda X, y: (X[:0], y[:0]), "and 0 when"),
        (lambda X, y: (X[:, :3], y), "chunk 1 .*has 3 columns"),
        (lambda X, y: (X, y + 1), "chunk 1 .*not in classes"),
    ],
)
def test_a_source_that_changes(change: Any, text: str, rng: np.random.Generator) -> None:
    X, y = draw(rng)
    passes = iter([(X, y), change(X, y)])
    with pytest.raises(ValueError, match=text):
        LogisticRegression().fit_stream(lambda: pieces(*next(passes))())


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "fastbce-reader" in thread.name]


@pytest.mark.parametrize("error", [OSError("the disk is gone"), KeyboardInterrupt()])
def test_an_error_of_the_reader_reaches_the_caller(
    error: BaseException, rng: np.random.Generator
) -> None:
    X, y = draw(rng)
    closed = []
    passes = iter(range(9))

    def chunks() -> Iterator[tuple[Array, ...]]:
        number = next(passes)
        try:
            for i, chunk in enumerate(pieces(X, y)()):
                if number == 1 and i == 3:
                    raise error
                yield chunk
        finally:
            closed.append(number)

    with pytest.raises(type(error)) as caught:
        LogisticRegression().fit_stream(chunks)
    assert caught.value is error
    assert closed == [0, 1]
    assert not readers()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_early_end_leaves_no_thread_and_no_open_source(error: type[BaseException]) -> None:
    closed = []

    def chunks() -> Iterator[int]:
        try:
            yield from range(1, 100)
        finally:
            closed.append(True)

    def use(chunk: int) -> None:
        assert len(readers()) == 1
        if chunk == 5:
            raise error

    source = chunks()
    with pytest.raises(error):
        stream.each(source, use)
    assert not readers()
    assert next(source) == 7  # 6 had been read ahead
    source.close()  # type: ignore[attr-defined]
    assert closed


def test_two_chunks_at_most_and_reading_goes_on_meanwhile() -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most, asked = [0], threading.Semaphore(0)

    class Chunk:
        pass

    def made() -> Chunk:
        chunk = Chunk()
        alive.add(chunk)
        most[0] = max(most[0], len(alive))
        asked.release()
        return chunk

    def use(chunk: Chunk) -> None:
        # The next chunk, or the end, is read while this one is in use.
        assert asked.acquire(timeout=10)

    asked.release()
    stream.each((made() for _ in range(20)), use)
    assert most == [2]


def test_memory_does_not_grow_with_the_rows(rng: np.random.Generator, tmp_path: Path) -> None:
    n, d, rows = 400_000, 20, 10_000
    X = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.float32, (n, d))
    X[:] = rng.standard_normal((n, d), np.float32)
    y = (X[:, 0] > rng.normal(size=n)).astype(np.int8)
    source = ArrayChunks(X, y, rows=rows)
    LogisticRegression(C=np.inf).fit_stream(ArrayChunks(X[:rows], y[:rows]))  # compile
    tracemalloc.start()
    LogisticRegression(C=np.inf).fit_stream(source)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # 2 chunks of 0.8 MB, 2 x 16,384 rows to start from and their copy of 5 MB, and change.
    assert peak < 12e6 < X.nbytes / 2


def test_array_chunks_read_in_pieces(rng: np.random.Generator) -> None:
    X, y = draw(rng)
    chunks = list(ArrayChunks(X, y, y, rows=1_500))
    assert [len(chunk[0]) for chunk in chunks] == [1_500, 1_500, 1_500, 500]
    assert all(len(chunk) == 3 for chunk in chunks)
    assert not np.shares_memory(chunks[0][0], X)
    np.testing.assert_array_equal(np.concatenate([chunk[0] for chunk in chunks]), X)
    assert len(list(ArrayChunks(X, y))) == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (lambda X, y: {"X": X[0], "y": y}, r"two axes.*ndarray.*\(4,\)"),
        (lambda X, y: {"X": [[1]], "y": y}, "list"),
        (lambda X, y: {"X": X, "y": y[1:]}, r"y has shape \(4999,\)"),
        (lambda X, y: {"X": X, "y": y, "sample_weight": X}, "sample_weight has shape"),
        (lambda X, y: {"X": X, "y": y, "rows": 0}, "rows must be at least 1"),
    ],
)
def test_bad_arrays(arguments: Any, text: str, rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match=text):
        ArrayChunks(**arguments(*draw(rng)))


@pytest.mark.ci
def test_parquet_columns_and_weights(rng: np.random.Generator, tmp_path: Path) -> None:
    X, y = draw(rng)
    weight = rng.exponential(size=len(y))
    text = np.where(y, "late", "on time")
    small = (X[:, 1] > 0).astype(np.int16)
    file = parquet(tmp_path / "t.parquet", a=X[:, 0], b=small, c=X[:, 2], t=text, w=weight)
    source = ParquetChunks(file, target="t", features=["c", "b"], weights="w", rows=999)
    model = LogisticRegression(C=np.inf, tol=1e-9).fit_stream(source)
    columns = np.column_stack([X[:, 2], small]).astype(np.float32)
    assert_same(model, LogisticRegression(C=np.inf, tol=1e-9).fit(columns, text, weight))
    assert list(model.feature_names_in_) == ["c", "b"]
    wide = parquet(tmp_path / "w.parquet", a=np.arange(10), y=np.arange(10) % 2)
    assert next(iter(ParquetChunks(wide, target="y")))[0].dtype == np.float64


@pytest.mark.parametrize(
    ("columns", "options", "text"),
    [
        ({}, {"target": "z"}, "no column 'z'; its columns are a, b, y"),
        ({}, {"target": "y", "features": ["b", "q"]}, "no column 'q'"),
        ({}, {"target": "y", "features": ["y"]}, "cannot be among the features"),
        ({}, {"target": "y", "rows": 0}, "rows must be at least 1"),
        ({"b": ["x", "y", "x", "y"]}, {"target": "y"}, "'b' is of type string; only numbers"),
        ({"b": [1.0, None, 2.0, 1.0]}, {"target": "y"}, "'b' has missing values"),
        ({"y": [1, None, 0, 1]}, {"target": "y"}, "'y' has missing values"),
    ],
)
def test_bad_parquet(columns: Any, options: Any, text: str, tmp_path: Path) -> None:
    data = {"a": [0.5, 2.0, 1.0, 3.0], "b": [1.0, 2.0, 4.0, 3.0], "y": [0, 1, 1, 0]} | columns
    file = parquet(tmp_path / "t.parquet", **data)
    with pytest.raises(ValueError, match=text):
        LogisticRegression().fit_stream(ParquetChunks(file, **options))


def test_parquet_files_that_differ(rng: np.random.Generator, tmp_path: Path) -> None:
    X, y = draw(rng)
    directory(X, y, tmp_path)
    parquet(tmp_path / "d" / "3.parquet", a0=X[:, 0], y=y)
    with pytest.raises(ValueError, match=r"3\.parquet has no column 'a1', 'a2', 'a3'"):
        ParquetChunks(tmp_path / "d", target="y")
    (tmp_path / "none").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no"):
        ParquetChunks(tmp_path / "none", target="y")
