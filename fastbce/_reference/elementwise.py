"""The ``"numpy"`` backend: the formulas in plain NumPy, one temporary after another.

It is the oracle that the kernels are tested against, so it stays obvious rather than fast. A
family's function gets the arrays of a call, its parameters and what becomes of the losses: "sum"
returns their sum as float64, "samples" writes means over the last axis, "none" each of them.
``bad_labels[0]`` becomes 1 where a label is NaN or outside [0, 1].
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbce._operations import Operation
from fastbce._typing import Array, Call

# What makes the results of this backend.
empty = np.empty


def compute(
    operation: Operation, call: Call, parameters: tuple[Any, ...] = (), losses: str = "none"
) -> float | None:
    """Write the results of a call; return the sum of the losses if that is what is wanted."""
    formula, more = _FORMULAS[operation.family.name], (losses,) if operation.family.is_loss else ()
    with np.errstate(all="ignore"):
        total: float | None = formula(call, *parameters, *more)
    return total


def sigmoid(call: Call) -> None:
    """Write ``1 / (1 + exp(-x))``."""
    (x,), (out,) = call.inputs, call.outputs
    z, e = _softplus_terms(x, call.dtype)
    _store(out, np.where(z >= 0, 1, e) / (1 + e))


def sigmoid_backward(call: Call) -> None:
    """Write ``dvalues * output * (1 - output)``."""
    (dvalues, output), (out,) = call.inputs, call.outputs
    s = output.astype(call.dtype)
    _store(out, dvalues.astype(call.dtype) * s * (1 - s))


def softplus(call: Call) -> None:
    """Write ``log(1 + exp(x))``."""
    (x,), (out,) = call.inputs, call.outputs
    z, e = _softplus_terms(x, call.dtype)
    _store(out, np.maximum(z, 0) + np.log1p(e))


def log_sigmoid(call: Call) -> None:
    """Write ``-log(1 + exp(-x))``."""
    (x,), (out,) = call.inputs, call.outputs
    z, e = _softplus_terms(x, call.dtype)
    _store(out, np.minimum(z, 0) - np.log1p(e))


def logit(call: Call) -> None:
    """Write ``log(p / (1 - p))``; the difference of two logarithms would cancel near 1/2."""
    (p,), (out,) = call.inputs, call.outputs
    p = p.astype(call.dtype)
    middle = np.abs(p - 0.5) <= 0.25
    _store(out, np.where(middle, 2 * np.arctanh(2 * p - 1), np.log(p) - np.log1p(-p)))


def clipped(
    call: Call, bounds: tuple[Any, Any], scale: float, bad_labels: Array | None, losses: str
) -> float | None:
    """Write the clipped BCE and its gradient; return the sum of the losses if asked for."""
    (y_pred, y_true, weight), (loss, grad) = call.inputs, call.outputs
    dtype = call.dtype
    c = np.clip(y_pred.astype(dtype), *bounds)
    y = y_true.astype(dtype)
    _check_labels(y, bad_labels)
    values = gradient = None
    if loss is not None or losses == "sum":
        values = _weighted(-(y * np.log(c) + (1 - y) * np.log1p(-c)), weight)
    if grad is not None:
        gradient = _weighted((c - y) / (c * (1 - c)), weight) * dtype.type(scale)
    # Outputs are written last: one of them may be the array of an input.
    total = _emit(values, loss, losses)
    _store(grad, gradient)
    return total


def logits(call: Call, scale: float, bad_labels: Array | None, losses: str) -> float | None:
    """Write the BCE of logits, probabilities, gradient and Hessian; return the sum if asked for."""
    (z, y_true, weight), (loss, prob, grad, hess) = call.inputs, call.outputs
    dtype = call.dtype
    z, e = _softplus_terms(z, dtype)
    y = y_true.astype(dtype)
    _check_labels(y, bad_labels)
    positive = z >= 0
    values = probabilities = gradient = hessian = None
    if loss is not None or losses == "sum":
        # |z| times the label's share on the wrong side: no two terms cancel, and a right
        # label at +-inf costs 0 rather than inf - inf.
        wrong = np.where(positive, 1 - y, y)
        linear = np.where(wrong == 0, 0, np.abs(z) * wrong)
        values = _weighted(linear + np.log1p(e), weight)
    if prob is not None:
        probabilities = np.where(positive, 1, e) / (1 + e)
    if grad is not None:
        share = (1 - y) * np.where(positive, 1, e) - y * np.where(positive, e, 1)
        gradient = _weighted(share / (1 + e), weight) * dtype.type(scale)
    if hess is not None:
        hessian = _weighted(e / (1 + e) ** 2, weight) * dtype.type(scale)
    # Outputs are written last: one of them may be the array of an input.
    total = _emit(values, loss, losses)
    _store(prob, probabilities)
    _store(grad, gradient)
    _store(hess, hessian)
    return total


def _softplus_terms(logits: Any, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    z = logits.astype(dtype)
    return z, np.exp(-np.abs(z))


def _store(out: Array | None, values: Any) -> None:
    if out is not None:
        np.copyto(out, values, casting="same_kind")


def _weighted(values: Array, weight: Array | None) -> Array:
    return values if weight is None else values * weight.astype(values.dtype)


def _check_labels(labels: Array, bad_labels: Array | None) -> None:
    if bad_labels is not None:
        bad_labels[0] |= not np.all((labels >= 0) & (labels <= 1))


def _emit(values: Array | None, loss: Array | None, losses: str) -> float | None:
    if values is None:
        return None
    _store(loss, np.mean(values, axis=-1, dtype=np.float64) if losses == "samples" else values)
    return float(np.sum(values, dtype=np.float64)) if losses == "sum" else None


_FORMULAS: dict[str, Any] = {
    function.__name__: function
    for function in (sigmoid, sigmoid_backward, softplus, log_sigmoid, logit, clipped, logits)
}
