"""Logistic regression on Dask arrays and data frames (extra ``dask``).

A pass over data that the workers hold is one task a worker, which sends the sums of its chunks:
the loss and the gradient, and the Hessian where that is asked for. Other data takes a task a chunk.
What a lost worker held or was computing is done again by another: the bits are the same.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import dask.array
import numpy as np
from dask.base import is_dask_collection
from dask.delayed import Delayed, delayed
from sklearn.utils.validation import check_is_fitted

from fastbce import linear_model
from fastbce._typing import Array
from fastbce.linear_model.checks import all_or_nothing, check_parameters
from fastbce.linear_model.samples import LEAST_THINNING, PART_COLUMNS, Memory, add, part_size
from fastbce.linear_model.survey import Chunked, Header, checked, survey_of

from ._chunks import Chunks

__all__ = ["LogisticRegression"]

T = TypeVar("T")


class LogisticRegression(linear_model.LogisticRegression):
    """:class:`fastbce.linear_model.LogisticRegression` on a Dask cluster.

    Parameters, attributes and results are those of that class. A fit reads the data about ten
    times: ``persist()`` collections that fit into the workers' memory, the others are made again
    for each pass. Without a ``distributed.Client`` Dask's local threads do the work. Data that is
    not Dask's is treated as by that class.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from fastbce.interop.dask import LogisticRegression
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(400, 2))
    >>> y = (X[:, 0] + rng.logistic(size=400) > 0).astype(int)
    >>> X, y = da.from_array(X, chunks=(100, 2)), da.from_array(y, chunks=100)
    >>> model = LogisticRegression(C=float("inf")).fit(X, y)
    >>> print(model.coef_.shape)
    (1, 2)
    """

    @all_or_nothing
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        offset: Any = None,
        clusters: Any = None,
    ) -> LogisticRegression:
        """Fit the model.

        Parameters
        ----------
        X : dask.array.Array or dask.dataframe.DataFrame
            Samples in rows.
        y : dask.array.Array or dask.dataframe.Series
            Labels of two classes, in the same partitions as `X`.
        sample_weight : dask.array.Array or dask.dataframe.Series, optional
            Non-negative weights, in the same partitions as `X`.
        offset, clusters : array_like, optional
            Of samples in memory alone.

        Returns
        -------
        LogisticRegression
            This estimator.

        Raises
        ------
        TypeError
            If only some of the arguments are Dask's.
        ValueError
            If the partitions do not match, a chunk is not valid or not like the others, or there
            is an offset or clusters.

        Warns
        -----
        sklearn.exceptions.ConvergenceWarning
            As the class above does.
        """
        if not is_dask_collection(X):
            super().fit(X, y, sample_weight, offset=offset, clusters=clusters)
            return self
        check_parameters(self)
        for name, values in (("offset", offset), ("clusters", clusters)):
            if values is not None:
                raise ValueError(f"{name} needs samples in memory; X is a collection of Dask")
        chunks = _chunks_of(X, y, sample_weight)
        survey = chunks.reduce(partial(_of_arrays, survey_of), operator.add)
        if survey is None:
            raise ValueError("X has no rows")
        self._fit(_Cluster(survey, self._learn(survey), chunks))
        return self

    def decision_function(self, X: Any, offset: Any = None) -> Any:
        """Return the logit of the second class for each row of `X`; lazy for Dask's data."""
        return self._mapped("decision_function", X, offset)

    def predict(self, X: Any, offset: Any = None) -> Any:
        """Return the more probable class of each row of `X`; lazy for Dask's data."""
        return self._mapped("predict", X, offset)

    def predict_proba(self, X: Any, offset: Any = None) -> Any:
        """Return the probabilities of both classes, one row a sample; lazy for Dask's data."""
        return self._mapped("predict_proba", X, offset, 2)

    def predict_log_proba(self, X: Any, offset: Any = None) -> Any:
        """Return the logarithms of the probabilities; lazy for Dask's data."""
        return self._mapped("predict_log_proba", X, offset, 2)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the share of the samples whose class is predicted."""
        if not is_dask_collection(X):
            return float(super().score(X, y, sample_weight))
        found = _chunks_of(X, y, sample_weight).reduce(partial(_hits, self._local()), add)
        if found is None:
            raise ValueError("X has no rows")
        hits, total = found
        return float(hits / total)

    def _mapped(self, method: str, X: Any, offset: Any, *width: int) -> Any:
        check_is_fitted(self)
        if not is_dask_collection(X):
            return getattr(super(), method)(X, offset)
        if offset is not None:
            raise ValueError("an offset needs samples in memory; X is a collection of Dask")
        dtype = self.classes_.dtype if method == "predict" else _float_dtype(X)
        local = delayed(partial(_answer, self._local(), method, (0, *width), dtype))
        pieces = _pieces(X, "X")
        lengths = X.chunks[0] if hasattr(X, "chunks") else [np.nan] * len(pieces)
        return dask.array.concatenate(
            [
                dask.array.from_delayed(local(piece), (length, *width), dtype)
                for piece, length in zip(pieces, lengths, strict=True)
            ],
            allow_unknown_chunksizes=True,
        )

    def _local(self) -> linear_model.LogisticRegression:
        """Return the same model for data in memory."""
        model = linear_model.LogisticRegression(**self.get_params())
        model.__dict__.update(self.__dict__)
        return model


def _float_dtype(X: Any) -> np.dtype[Any]:
    """Return the type of the logits of a collection: that of its floats, as in memory."""
    kinds = [X.dtype] if hasattr(X, "dtype") else list(X.dtypes)
    return np.dtype(np.float32 if all(k == np.float32 for k in kinds) else np.float64)


def _answer(
    model: linear_model.LogisticRegression, method: str, empty: Any, dtype: Any, X: Any
) -> Array:
    found: Array = getattr(model, method)(X) if len(X) else np.empty(empty, dtype)
    return found


def _hits(
    model: linear_model.LogisticRegression, X: Any, y: Any, weight: Any = None
) -> tuple[float, float] | None:
    if not len(X):
        return None
    right = model.predict(X) == np.asarray(y)
    weights = np.ones(len(right)) if weight is None else np.asarray(weight)
    return float(weights[right].sum()), float(weights.sum())


def _pieces(data: Any, name: str) -> list[Delayed]:
    """Return the chunks of a collection, whole rows each."""
    if isinstance(data, dask.array.Array):
        whole = data.rechunk({1: -1}) if data.ndim == 2 else data
        return list(whole.to_delayed().ravel())
    if hasattr(data, "to_delayed"):
        return list(data.to_delayed())
    raise TypeError(f"{name} must be a Dask array, data frame or series, got {type(data).__name__}")


def _cut_like(X: Any, data: Any) -> Any:
    """Return a vector in the chunks of `X`, where those are known."""
    both = isinstance(X, dask.array.Array) and isinstance(data, dask.array.Array)
    known = both and data.shape == X.shape[:1] and data.chunks[0] != X.chunks[0]
    return data.rechunk((X.chunks[0],)) if known else data


def _chunks_of(X: Any, y: Any, weight: Any) -> Chunks:
    """Return the chunks of all arguments side by side."""
    columns = [_pieces(X, "X")]
    futures: dict[Any, Any] = _futures_of(X)
    for name, data in (("y", y), ("sample_weight", weight)):
        if data is None and name == "sample_weight":
            continue
        like = _cut_like(X, data)
        pieces = _pieces(like, name)
        futures |= _futures_of(like)
        if len(pieces) != len(columns[0]):
            raise ValueError(
                f"{name} has {len(pieces)} partitions and X has {len(columns[0])}; they must "
                "match: take both from one data frame, or repartition one of them"
            )
        columns.append(pieces)
    return Chunks(list(zip(*columns, strict=True)), futures)


def _futures_of(data: Any) -> dict[Any, Any]:
    """Return what a cluster has of a collection."""
    try:
        from distributed import futures_of
    except ImportError:
        return {}
    return {future.key: future for future in futures_of(data)}


def _of_arrays(function: Callable[..., T], *chunk: Any) -> T | None:
    """Return ``function(header, X, y, weight)`` of a chunk as arrays, None if it is empty."""
    arrays = checked(*chunk)
    return None if arrays is None else function(*arrays)


def _apply(
    header: Header,
    X: Array,
    y: Array,
    weight: Array | None,
    rows: Chunked,
    function: Callable[[Array, Array, Array | None], T],
) -> T:
    return function(*rows.prepare(header, X, y, weight))


def _thinned(X: Array, y: Array, weight: Array | None, every: int) -> Memory:
    part = Memory(X, y, weight).thinned(every)
    return Memory(part.X.copy(), part.y, part.weight)


def _joined(first: Memory, second: Memory) -> Memory:
    weight = None
    if first.weight is not None and second.weight is not None:
        weight = np.concatenate([first.weight, second.weight])
    X, y = np.concatenate([first.X, second.X]), np.concatenate([first.y, second.y])
    return Memory(X, y, weight)


@dataclass(frozen=True)
class _Cluster(Chunked):
    """See :class:`fastbce.linear_model.samples.Rows`: chunks on the workers of a cluster."""

    chunks: Chunks

    def reduce(
        self,
        function: Callable[[Array, Array, Array | None], T],
        combine: Callable[[T, T], T] = add,
    ) -> T:
        """Return the results of all chunks, combined in a tree."""
        # Without the chunks, which would travel with every task.
        rows = Chunked(self.survey, self.factors)
        of_arrays = partial(_of_arrays, partial(_apply, rows=rows, function=function))
        result: T | None = self.chunks.reduce(of_arrays, combine)
        if result is None:
            raise ValueError("the chunks have no rows any more")
        return result

    def part(self) -> Memory | None:
        """Return every k-th sample of each chunk, or None where there are few anyway."""
        every = self.n // part_size(self.columns)
        if every < LEAST_THINNING or self.columns > PART_COLUMNS:
            return None
        return self.reduce(partial(_thinned, every=every), _joined)

    def sample(self, rows: int) -> Memory:
        """Return every k-th sample of each chunk, at least so many where there are."""
        return self.reduce(partial(_thinned, every=max(self.n // rows, 1)), _joined)
