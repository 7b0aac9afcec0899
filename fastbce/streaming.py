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

from ._validate import Array

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ArrayChunks", "ParquetChunks"]

# Elements of X in a chunk, 16 MiB of float32: reading in pieces of this size costs nothing extra.
CHUNK_ELEMENTS = 1 << 22


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
            yield tuple(
                np.array(array[part], copy=isinstance(array, np.ndarray) or None)
                for array in self.arrays
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
    Chunks are float32 where that holds all columns exactly, float64 otherwise.
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
        from pyarrow import parquet

        root = Path(path)
        self.files = sorted(root.rglob("*.parquet")) if root.is_dir() else [root]
        if not self.files:
            raise FileNotFoundError(f"{root} holds no *.parquet files")
        schema = parquet.read_schema(self.files[0])
        self.target, self.weights = target, weights
        used = [target] if weights is None else [target, weights]
        self.feature_names = list(features or (name for name in schema.names if name not in used))
        for name in [*self.feature_names, *used]:
            if name not in schema.names:
                raise ValueError(
                    f"{self.files[0]} has no column {name!r}; its columns are "
                    f"{', '.join(schema.names)}"
                )
        if not self.feature_names:
            raise ValueError(f"{self.files[0]} has no column beside {', '.join(used)}")
        if set(self.feature_names) & set(used):
            raise ValueError(f"{', '.join(used)} cannot be among the features")
        kinds = [_number_type(self.files[0], schema.field(name)) for name in self.feature_names]
        self.dtype = np.result_type(np.float32, *kinds)
        self.rows = _rows_of_a_chunk(rows, len(self.feature_names))

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        """Give the chunks, from the start."""
        from pyarrow import parquet

        names = [*self.feature_names, self.target]
        if self.weights is not None:
            names.append(self.weights)
        for path in self.files:
            # A mapped file leaves the compressed row group to the page cache.
            with parquet.ParquetFile(path, memory_map=True) as file:
                missing = set(names) - set(file.schema_arrow.names)
                if missing:
                    raise ValueError(
                        f"{path} has no column {', '.join(map(repr, sorted(missing)))}"
                    )
                for batch in file.iter_batches(self.rows, columns=names):
                    yield self._arrays(path, batch)

    def _arrays(self, path: Path, batch: pa.RecordBatch) -> tuple[Array, ...]:
        for field, column in zip(batch.schema, batch.columns, strict=True):
            if column.null_count:
                raise ValueError(
                    f"{path}: column {field.name!r} has missing values; leave it out, or pass a "
                    "callable that drops or fills them"
                )
        X = np.empty((batch.num_rows, len(self.feature_names)), self.dtype, order="F")
        for j, name in enumerate(self.feature_names):
            X[:, j] = batch.column(name).to_numpy(zero_copy_only=False)
        others = [self.target] if self.weights is None else [self.target, self.weights]
        return (X, *(batch.column(name).to_numpy(zero_copy_only=False) for name in others))


def _number_type(path: Path, field: pa.Field) -> Any:
    from pyarrow import types

    kind = field.type
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        raise ValueError(
            f"{path}: column {field.name!r} is of type {kind}; only numbers can be streamed: leave "
            "it out with features=, or pass a callable that encodes it"
        )
    return kind.to_pandas_dtype()


def _rows_of_a_chunk(rows: int | None, columns: int) -> int:
    if rows is None:
        return max(CHUNK_ELEMENTS // max(columns, 1), 1)
    if rows < 1:
        raise ValueError(f"rows must be at least 1, got {rows}")
    return rows
