"""The ``"numpy"`` backend: the formulas in plain NumPy, one temporary after another.

It is the oracle that the kernels are tested against, so it stays obvious rather than fast. The
functions have the signatures of :mod:`fastbce._engine`: arrays in, results written to the given
outputs, sums returned as float64. ``faults[0]`` becomes 1 where a label is NaN or outside [0, 1].
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbce._inputs import Array


def _softplus_terms(logits: Array, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    z = logits.astype(dtype)
    return z, np.exp(-np.abs(z))


def _store(out: Array, values: Any) -> None:
    np.copyto(out, values, casting="same_kind")


def _weighted(values: Array, weight: Array | None) -> Array:
    return values if weight is None else values * weight.astype(values.dtype)


def sigmoid(
    x: Array,
    out: Array,
    dtype: np.dtype[Any],
    plain: bool = False,
    aliased: bool = False,
    given: bool = False,
) -> None:
    """Write ``1 / (1 + exp(-x))``."""
    with np.errstate(all="ignore"):
        z, e = _softplus_terms(x, dtype)
        _store(out, np.where(z >= 0, 1, e) / (1 + e))


def sigmoid_backward(
    dvalues: Array,
    output: Array,
    out: Array,
    dtype: np.dtype[Any],
    plain: bool = False,
    aliased: bool = False,
    given: bool = False,
) -> None:
    """Write ``dvalues * output * (1 - output)``."""
    with np.errstate(all="ignore"):
        s = output.astype(dtype)
        _store(out, dvalues.astype(dtype) * s * (1 - s))


def _check_labels(labels: Array, faults: Array | None) -> None:
    if faults is not None:
        faults[0] |= not np.all((labels >= 0) & (labels <= 1))


def _emit(
    loss_values: Array | None, loss: Array | None, total: bool, samples: bool
) -> float | None:
    if loss_values is None:
        return None
    if loss is not None:
        if samples:
            _store(loss, np.mean(loss_values, axis=-1, dtype=np.float64))
        else:
            _store(loss, loss_values)
    return float(np.sum(loss_values, dtype=np.float64)) if total else None


def clipped(
    y_pred: Array,
    y_true: Array,
    weight: Array | None,
    bounds: tuple[Any, Any],
    scale: float,
    loss: Array | None,
    grad: Array | None,
    dtype: np.dtype[Any],
    faults: Array | None = None,
    total: bool = False,
    samples: bool = False,
    plain: bool = False,
    aliased: bool = False,
    given: bool = False,
) -> float | None:
    """Write the clipped BCE and its gradient; return the sum of the losses if `total`."""
    with np.errstate(all="ignore"):
        c = np.clip(y_pred.astype(dtype), *bounds)
        y = y_true.astype(dtype)
        _check_labels(y, faults)
        values = gradient = None
        if loss is not None or total:
            values = _weighted(-(y * np.log(c) + (1 - y) * np.log1p(-c)), weight)
        if grad is not None:
            gradient = _weighted((c - y) / (c * (1 - c)), weight) * dtype.type(scale)
        # Outputs are written last: one of them may be the array of an input.
        result = _emit(values, loss, total, samples)
        if grad is not None and gradient is not None:
            _store(grad, gradient)
        return result


def logits(
    logits: Array,
    y_true: Array,
    weight: Array | None,
    scale: float,
    loss: Array | None,
    grad: Array | None,
    hess: Array | None,
    dtype: np.dtype[Any],
    faults: Array | None = None,
    total: bool = False,
    samples: bool = False,
    plain: bool = False,
    aliased: bool = False,
    given: bool = False,
) -> float | None:
    """Write the BCE of logits, its gradient and its Hessian; return the sum if `total`."""
    with np.errstate(all="ignore"):
        z, e = _softplus_terms(logits, dtype)
        y = y_true.astype(dtype)
        _check_labels(y, faults)
        positive = z >= 0
        values = gradient = hessian = None
        if loss is not None or total:
            # |z| times the label's share on the wrong side: no two terms cancel, and a right
            # label at +-inf costs 0 rather than inf - inf.
            wrong = np.where(positive, 1 - y, y)
            linear = np.where(wrong == 0, 0, np.abs(z) * wrong)
            values = _weighted(linear + np.log1p(e), weight)
        if grad is not None:
            share = (1 - y) * np.where(positive, 1, e) - y * np.where(positive, e, 1)
            gradient = _weighted(share / (1 + e), weight) * dtype.type(scale)
        if hess is not None:
            hessian = _weighted(e / (1 + e) ** 2, weight) * dtype.type(scale)
        # Outputs are written last: one of them may be the array of an input.
        result = _emit(values, loss, total, samples)
        if grad is not None and gradient is not None:
            _store(grad, gradient)
        if hess is not None and hessian is not None:
            _store(hess, hessian)
        return result
