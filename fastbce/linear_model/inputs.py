"""What users pass to the estimator, as arrays of NumPy or matrices of SciPy in rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils.validation import validate_data

from fastbce._inputs import Array

from .survey import FLOATS


def as_numpy(values: Any, name: str) -> Any:
    """Return an array of another library (one with the Array API, a tensor) as NumPy's.

    Raises
    ------
    TypeError
        If NumPy cannot read it: it is on another device, or part of a graph.
    """
    kind = type(values)
    foreign = hasattr(values, "__array_namespace__") or kind.__module__.split(".")[0] == "torch"
    if isinstance(values, np.ndarray | np.generic) or not foreign:
        return values
    try:
        array = np.asarray(values)
        if array.dtype == object:
            array = np.from_dlpack(values)
    except Exception as error:
        device = f" on {values.device}" if hasattr(values, "device") else ""
        raise TypeError(
            f"{name} is a {kind.__module__}.{kind.__name__}{device}, which NumPy cannot read "
            f"({error}); pass an array of NumPy, such as {name}.detach().cpu().numpy() of a tensor"
        ) from error
    return array


def read(model: Any, X: Any) -> Any:
    """Return samples to predict as an array, or as a sparse matrix in rows."""
    return validate_data(model, as_numpy(X, "X"), dtype=FLOATS, reset=False, accept_sparse="csr")


def read_both(model: Any, X: Any, y: Any, *, reset: bool) -> Any:
    """Return samples and labels as arrays, a sparse `X` in rows."""
    X = as_numpy(X, "X")
    return validate_data(
        model,
        X,
        as_numpy(y, "y"),
        dtype=FLOATS,
        accept_sparse="csr",
        y_numeric=False,
        # Whether X is finite shows in the first loss: a check of its own would read X once more.
        ensure_all_finite=bool(sparse.issparse(X)),
        reset=reset,
    )


def as_offset(values: Any, n: int) -> Array | None:
    """Return what is added to the logits of `n` samples.

    Raises
    ------
    ValueError
        If there is not a finite number for each sample.
    """
    if values is None:
        return None
    try:
        offset = np.ascontiguousarray(as_numpy(values, "offset"), np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"offset must be {n} numbers, got {type(values).__name__}") from None
    if offset.shape != (n,):
        raise ValueError(f"offset has shape {offset.shape}, but X needs {(n,)}")
    bad = ~np.isfinite(offset)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"offset contains {offset[row]} in row {row + 1}")
    return offset


def as_clusters(values: Any, n: int) -> Array | None:
    """Return the numbers of the samples' clusters, a column for each way.

    Raises
    ------
    ValueError
        If there are not one or two labels for each sample, or one is missing.
    """
    if values is None:
        return None
    if hasattr(values, "columns"):
        columns = [np.asarray(values[name]) for name in values.columns]
    elif isinstance(values, tuple):
        columns = [np.asarray(as_numpy(value, "clusters")) for value in values]
    else:
        array = np.asarray(as_numpy(values, "clusters"))
        columns = [array] if array.ndim == 1 else list(array.T) if array.ndim == 2 else []
    if len(columns) not in (1, 2) or any(column.shape != (n,) for column in columns):
        shapes = ", ".join(str(column.shape) for column in columns) or "none"
        raise ValueError(
            f"clusters must be one label or two for each of {n} rows, of shape (n,), (n, 1) or "
            f"(n, 2), or a tuple of two arrays; got columns of shape {shapes}"
        )
    return np.column_stack([_codes(column) for column in columns])


def _codes(labels: Array) -> Array:
    missing = np.array([value is None or value != value for value in labels.tolist()], np.bool_)
    if missing.any():
        raise ValueError(
            f"clusters has no label in row {int(np.argmax(missing)) + 1}; leave out the rows "
            "without one, or give them clusters of their own"
        )
    try:
        return np.asarray(np.unique(labels, return_inverse=True)[1], np.intp).reshape(-1)
    except TypeError:
        raise ValueError("clusters mixes text and numbers") from None
