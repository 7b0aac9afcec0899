"""Data larger than memory: sources of chunks for ``LogisticRegression.fit_stream``.

A source gives ``(X, y)`` or ``(X, y, sample_weight)`` for some rows at a time, from the start each
time it is asked: a callable that returns an iterator, or an object that can be iterated again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ._columns import Advice, Column, as_known, index_of_pandas, inexact
from ._inputs import Array

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ArrayChunks", "ParquetChunks"]

# Elements of X in a chunk, 16 MiB of float32: reading in pieces of this size costs nothing extra.
CHUNK_ELEMENTS = 1 << 22
ADVICE = Advice("leave it out with features=, or pass a callable that drops, fills or encodes it")


class ArrayChunks:
    """Rows of arrays that lie in files, some thousand at a time.

    Parameters
    ----------
    X : array of shape (n, d)
        A memory map, or whatever else has a shape and gives an array for a slice of rows, as the
        data sets of h5py and zarr do.
    y : array of shape (n,)
        Labels.
    sample_weight : array of shape (n,), optional
        Non-negative weights.
    rows : int, optional
        Rows of a chunk; by default as many as make 2^22 elements.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbce.linear_model import LogisticRegression
    >>> from fastbce.streaming import ArrayChunks
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(400, 2))
    >>> y = (X[:, 0] + rng.logistic(size=400) > 0).astype(int)
    >>> model = LogisticRegression(C=float("inf")).fit_stream(ArrayChunks(X, y))
    >>> print(model.coef_.shape)
    (1, 2)
    """

    def __init__(
        self, X: Any, y: Any, sample_weight: Any = None, *, rows: int | None = None
    ) -> None:
        if getattr(X, "ndim", None) != 2:
            raise ValueError(
                f"X must be an array with two axes (samples, variables), got {type(X).__name__}"
                f" with shape {getattr(X, 'shape', None)}"
            )
        for name, values in (("y", y), ("sample_weight", sample_weight)):
            if values is not None and np.shape(values) != X.shape[:1]:
                raise ValueError(
                    f"{name} has shape {np.shape(values)}, but X with shape {X.shape} needs "
                    f"{X.shape[:1]}"
                )
        self.arrays = tuple(array for array in (X, y, sample_weight) if array is not None)
        self.rows = _rows_of_a_chunk(rows, X.shape[1])

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        """Give the chunks, from the start."""
        for start in range(0, len(self.arrays[0]), self.rows):
            part = slice(start, start + self.rows)
            # A copy of a memory map is what reads it: here, while the last chunk is computed on.
            arrays = tuple(
                np.array(array[part], copy=isinstance(array, np.ndarray) or None)
                for array in self.arrays
            )
            _refuse_rounding(arrays[0], start)
            yield arrays


def _refuse_rounding(X: Array, start: int) -> None:
    if X.dtype.kind in "iu" and X.dtype.itemsize == 8:
        found = inexact(X)
        if found.any():
            row, column = divmod(int(np.argmax(found)), X.shape[1])
            raise ValueError(
                f"X holds {X[row, column].item()} in row {start + row + 1} of column {column + 1}, "
                "which float64 would round, as it does with long identifiers"
            )


class ParquetChunks:
    """Columns of numbers of a Parquet file, or of a directory of them (needs pyarrow).

    Parameters
    ----------
    path : path-like
        The file, or a directory whose ``*.parquet`` files, those of its subdirectories included,
        are read in the order of their names.
    target : str
        Column of the labels: of two values of any kind.
    features : sequence of str, optional
        Columns of the variables; by default all that are not used otherwise.
    weights : str, optional
        Column of the samples' weights.
    rows : int, optional
        Most rows of a chunk; by default as many as make 2^22 elements.

    Notes
    -----
    Chunks are float32 where that holds the types of all columns in all files exactly, float64
    otherwise; whole numbers that float64 would round are refused. Columns that pandas wrote for the
    index of a frame are no variables unless `features` names them.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        target: str,
        features: Sequence[str] | None = None,
        weights: str | None = None,
        rows: int | None = None,
    ) -> None:
        root = Path(path)
        self.files = sorted(root.rglob("*.parquet")) if root.is_dir() else [root]
        if not self.files:
            raise FileNotFoundError(f"{root} holds no *.parquet files")
        self.target, self.weights = target, weights
        used = [target] if weights is None else [target, weights]
        schemas = _schemas(self.files)
        first = next(iter(schemas))
        self.feature_names = (
            _variables(schemas[first], used) if features is None else _listed(features, used)
        )
        for file, schema in schemas.items():
            _check_columns(file, schema, [*self.feature_names, *used])
            more = sorted({*_variables(schema, used)} - {*self.feature_names})
            if more and features is None:
                raise ValueError(
                    f"{file} has a column {more[0]!r}, which {first} has not; name the columns to "
                    "use with features="
                )
        if not self.feature_names:
            raise ValueError(f"{first} has no column beside {', '.join(used)}")
        _check_targets(schemas, target)
        kinds = [
            _number_type(*item, name) for item in schemas.items() for name in self.feature_names
        ]
        self.dtype = np.result_type(np.float32, *kinds)
        if weights is not None:
            for file, schema in schemas.items():
                _number_type(file, schema, weights)
        self.rows = _rows_of_a_chunk(rows, len(self.feature_names))

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        """Give the chunks, from the start."""
        from pyarrow import parquet

        names = [*self.feature_names, self.target]
        if self.weights is not None:
            names.append(self.weights)
        for path in self.files:
            before = 0
            # A mapped file leaves the compressed row group to the page cache.
            with parquet.ParquetFile(path, memory_map=True) as file:
                if not file.metadata.num_rows:
                    continue
                _check_columns(path, file.schema_arrow, names)
                for batch in file.iter_batches(self.rows, columns=names):
                    yield self._arrays(path, batch, before)
                    before += batch.num_rows

    def _arrays(self, path: Path, batch: pa.RecordBatch, before: int) -> tuple[Array, ...]:
        import pyarrow as pa

        def column(name: str) -> Column:
            values = as_known(pa.chunked_array([batch.column(name)]))
            return Column(path, name, values, ADVICE, before)

        X = np.empty((batch.num_rows, len(self.feature_names)), self.dtype, order="F")
        for j, name in enumerate(self.feature_names):
            X[:, j] = column(name).numbers(complete=True)
        y = column(self.target).labels()
        if self.weights is None:
            return X, y
        return X, y, column(self.weights).numbers(complete=True)


def _schemas(files: Sequence[Path]) -> dict[Path, pa.Schema]:
    """Return the schema of each file that has rows: what others promise does not matter."""
    from pyarrow import parquet

    schemas, filled = {}, {}
    for path in files:
        with parquet.ParquetFile(path) as file:
            schemas[path] = file.schema_arrow
            if file.metadata.num_rows:
                filled[path] = file.schema_arrow
    return filled or schemas


def _variables(schema: pa.Schema, used: Sequence[str]) -> list[str]:
    """Return the columns that are not used otherwise and do not number the rows."""
    passed = {*used, *index_of_pandas(schema)}
    return [name for name in schema.names if name not in passed]


def _listed(features: Sequence[str], used: Sequence[str]) -> list[str]:
    if isinstance(features, str):
        raise TypeError(f"features must be a list of names, got the text {features!r}")
    if set(features) & set(used):
        raise ValueError(f"{', '.join(used)} cannot be among the features")
    if len(set(features)) < len(features):
        raise ValueError(f"features names a column twice: {', '.join(features)}")
    return list(features)


def _check_columns(path: Path, schema: pa.Schema, names: Sequence[str]) -> None:
    missing = sorted({name for name in names if name not in schema.names})
    if missing:
        raise ValueError(
            f"{path} has no column {', '.join(map(repr, missing))}; its columns are "
            f"{', '.join(schema.names)}"
        )
    for name in names:
        if schema.names.count(name) > 1:
            raise ValueError(f"{path}: {schema.names.count(name)} columns are called {name!r}")


def _check_targets(schemas: dict[Path, pa.Schema], target: str) -> None:
    """Raise unless the target is of one kind, text or numbers, in all files."""
    kinds = {path: schema.field(target).type for path, schema in schemas.items()}
    (first, kind), *others = kinds.items()
    for path, other in others:
        if _is_number(kind) != _is_number(other):
            raise ValueError(
                f"{path}: the target {target!r} is of type {other}, but of type {kind} in {first}"
            )


def _is_number(kind: Any) -> bool:
    from pyarrow import types

    known = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
    return any(is_known(kind) for is_known in known)


def _number_type(path: Path, schema: pa.Schema, name: str) -> Any:
    from pyarrow import types

    field = schema.field(name)
    if not _is_number(field.type):
        raise ValueError(
            f"{path}: column {name!r} is of type {field.type}; only numbers can be streamed: "
            f"{ADVICE.leave_out}"
        )
    return np.float64 if types.is_decimal(field.type) else field.type.to_pandas_dtype()


def _rows_of_a_chunk(rows: int | None, columns: int) -> int:
    if rows is None:
        return max(CHUNK_ELEMENTS // max(columns, 1), 1)
    if rows < 1:
        raise ValueError(f"rows must be at least 1, got {rows}")
    return rows
