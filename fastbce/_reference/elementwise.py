"""The ``"numpy"`` backend: the formulas in plain NumPy, one temporary after another.

It is the oracle that the kernels are tested against, so it stays obvious rather than fast. A
family's function gets the arrays of a call, its parameters and what becomes of the losses: "sum"
returns their sum as float64, "samples" writes means over the last axis, "none" each of them.
``bad_labels[0]`` becomes 1 where a label is NaN or outside [0, 1].
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbce._bfloat16 import numbers, write
from fastbce._operations import Operation
from fastbce._typing import Array, Call

# What makes the results of this backend.
empty = np.empty


def compute(
    operation: Operation, call: Call, parameters: tuple[Any, ...] = (), losses: str = "none"
) -> float | None:
    """Write the results of a call; return the sum of the losses if that is what is wanted."""
    family = operation.family.kin or operation.family
    formula, more = _FORMULAS[family.name], (losses,) if family.is_loss else ()
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
    s = numbers(output, call.dtype)
    _store(out, numbers(dvalues, call.dtype) * s * (1 - s))


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
    p = numbers(p, call.dtype)
    middle = np.abs(p - 0.5) <= 0.25
    _store(out, np.where(middle, 2 * np.arctanh(2 * p - 1), np.log(p) - np.log1p(-p)))


def clipped(
    call: Call, bounds: tuple[Any, Any], scale: float, bad_labels: Array | None, losses: str
) -> float | None:
    """Write the clipped BCE and its gradient; return the sum of the losses if asked for."""
    (y_pred, y_true, weight), (loss, grad) = call.inputs, call.outputs
    dtype = call.dtype
    c = np.clip(numbers(y_pred, dtype), *bounds)
    y = numbers(y_true, dtype)
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


def logits(
    call: Call,
    scale: float,
    bad_labels: Array | None,
    focus: tuple[float, float, float] | None,
    losses: str,
) -> float | None:
    """Write the BCE of logits, probabilities, gradient and Hessian; return the sum if asked for."""
    (z, y_true, weight), (loss, prob, grad, hess) = call.inputs, call.outputs
    dtype = call.dtype
    z, e = _softplus_terms(z, dtype)
    y = numbers(y_true, dtype)
    _check_labels(y, bad_labels)
    positive = z >= 0
    wanted = loss is not None or losses == "sum"
    values = probabilities = gradient = hessian = None
    if wanted or focus is not None:
        # |z| times the label's share on the wrong side: no two terms cancel, and a right
        # label at +-inf costs 0 rather than inf - inf.
        wrong = np.where(positive, 1 - y, y)
        values = np.where(wrong == 0, 0, np.abs(z) * wrong) + np.log1p(e)
    if prob is not None:
        probabilities = np.where(positive, 1, e) / (1 + e)
    if grad is not None:
        share = (1 - y) * np.where(positive, 1, e) - y * np.where(positive, e, 1)
        gradient = share / (1 + e)
    if hess is not None:
        hessian = e / (1 + e) ** 2
    if focus is not None:
        values, gradient, hessian = _focal(z, e, y, focus, (values, gradient, hessian))
    values = _weighted(values, weight) if wanted else None
    if gradient is not None:
        gradient = _weighted(gradient, weight) * dtype.type(scale)
    if hessian is not None:
        hessian = _weighted(hessian, weight) * dtype.type(scale)
    # Outputs are written last: one of them may be the array of an input.
    total = _emit(values, loss, losses)
    _store(prob, probabilities)
    _store(grad, gradient)
    _store(hess, hessian)
    return total


def _focal(
    z: Array,
    e: Array,
    y: Array,
    focus: tuple[float, float, float],
    plain: tuple[Any, Array | None, Array | None],
) -> tuple[Array, Array | None, Array | None]:
    """Return loss, gradient and Hessian of the focal loss by the plain ones.

    The derivatives of ``alpha_t u^gamma loss`` with ``u = 1 - p_t`` and ``r = p (1 - p) / u``.
    """
    loss, slope, curvature = plain
    one, zero, gamma = (z.dtype.type(value) for value in focus)
    positive = z >= 0
    wrong, right = np.where(positive, 1 - y, y), np.where(positive, y, 1 - y)
    n = wrong + e * right
    factor = (y * one + (1 - y) * zero) * (n / (1 + e)) ** gamma
    value = np.where(factor == 0, 0, factor * loss)
    if slope is None:
        return value, None, None
    ratio = np.where(wrong == 0, 1, e / n) / (1 + e)
    pull = np.where(ratio == 0, 0, ratio * loss)
    side = 1 - 2 * y
    if curvature is not None:
        tilt = np.where(positive, e - 1, 1 - e) / (1 + e)
        turn = 2 * slope * ratio + pull * ((gamma - 1) * side * ratio + tilt)
        curvature = factor * (curvature + gamma * side * turn)
    return value, factor * (slope + gamma * side * pull), curvature


def _softplus_terms(logits: Any, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    z = numbers(logits, dtype)
    return z, np.exp(-np.abs(z))


def _store(out: Array | None, values: Any) -> None:
    if out is not None:
        write(out, values)


def _weighted(values: Array, weight: Array | None) -> Array:
    return values if weight is None else values * numbers(weight, values.dtype)


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
