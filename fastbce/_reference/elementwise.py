"""The ``"numpy"`` backend: the formulas in plain NumPy, one temporary after another.

It is the oracle that the kernels are tested against, so it stays obvious rather than fast. A
family's function gets the arrays of a call, its parameters and what becomes of the losses: "sum"
returns their sum as float64, "samples" writes means over the last axis, "none" each of them.
``bad_labels[0]`` becomes 1 where a label is NaN or outside [0, 1], and ``bad_scores[0]`` where a
probability is.
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


def clipped(
    call: Call,
    bounds: tuple[Any, Any],
    scale: float,
    bad_labels: Array | None,
    bad_scores: Array | None,
    rules: tuple[Any, Any, Any, Any],
    pos_weight: Array | None,
    losses: str,
) -> float | None:
    """Write the clipped BCE and its gradient; return the sum of the losses if asked for."""
    (y_pred, y_true, weight, mask), (loss, grad) = call.inputs, call.outputs
    ignore, smoothing, flat, floor = rules
    dtype = call.dtype
    p = y_pred.astype(dtype)
    c = np.clip(p, *bounds)
    kept = _kept(y_true, weight, mask, ignore)
    _check_unit(y_true, kept, bad_labels)
    _check_unit(p, kept, bad_scores)
    a, b = _sides(y_true.astype(dtype), smoothing, pos_weight)
    values = gradient = None
    if loss is not None or losses == "sum":
        positive, negative = -np.log(c), -np.log1p(-c)
        if floor is not None:
            positive, negative = np.minimum(positive, 100), np.minimum(negative, 100)
        values = _weighted(a * positive + b * negative, weight, kept)
    if grad is not None:
        numerator = c - a if pos_weight is None else b * c - a * (1 - c)
        denominator = c * (1 - c)
        if floor is not None:
            denominator = np.maximum(denominator, dtype.type(floor))
        slope = numerator / denominator
        if flat is not None:
            slope = np.where((p < bounds[0]) | (p > bounds[1]), 0, slope)
        gradient = _weighted(slope, weight, kept) * dtype.type(scale)
    # Outputs are written last: one of them may be the array of an input.
    total = _emit(values, loss, losses)
    _store(grad, gradient)
    return total


def logits(
    call: Call,
    scale: float,
    bad_labels: Array | None,
    rules: tuple[Any, Any],
    pos_weight: Array | None,
    losses: str,
) -> float | None:
    """Write the BCE of logits, probabilities, gradient and Hessian; return the sum if asked for."""
    (z, y_true, weight, mask), (loss, prob, grad, hess) = call.inputs, call.outputs
    dtype = call.dtype
    z, e = _softplus_terms(z, dtype)
    kept = _kept(y_true, weight, mask, rules[0])
    _check_unit(y_true, kept, bad_labels)
    a, b = _sides(y_true.astype(dtype), rules[1], pos_weight)
    positive = z >= 0
    values = probabilities = gradient = hessian = None
    if loss is not None or losses == "sum":
        # |z| times what the label weighs on the wrong side: no two terms cancel, and a right
        # label at +-inf costs 0 rather than inf - inf.
        wrong = np.where(positive, b, a)
        linear = np.where(wrong == 0, 0, np.abs(z) * wrong)
        values = _weighted(linear + _of_both(np.log1p(e), a, b, pos_weight), weight, kept)
    if prob is not None:
        probabilities = np.where(positive, 1, e) / (1 + e)
    if grad is not None:
        share = b * np.where(positive, 1, e) - a * np.where(positive, e, 1)
        gradient = _weighted(share / (1 + e), weight, kept) * dtype.type(scale)
    if hess is not None:
        curvature = _of_both(e / (1 + e) ** 2, a, b, pos_weight)
        hessian = _weighted(curvature, weight, kept) * dtype.type(scale)
    # Outputs are written last: one of them may be the array of an input.
    total = _emit(values, loss, losses)
    _store(prob, probabilities)
    _store(grad, gradient)
    _store(hess, hessian)
    return total


def _kept(y_true: Array, weight: Array | None, mask: Array | None, ignore: Any) -> Array | None:
    """Return which elements count; None is all."""
    tests = [] if ignore is None else [y_true != ignore]
    tests += [given != 0 for given in (weight, mask) if given is not None]
    return np.logical_and.reduce(tests) if tests else None


def _sides(y: Array, smoothing: float | None, pos_weight: Array | None) -> tuple[Array, Array]:
    """Return what the labels weigh on the positive side and on the negative one."""
    a, b = y, 1 - y
    if smoothing is not None:
        a, b = (side * (1 - smoothing) + smoothing / 2 for side in (a, b))
    return (a if pos_weight is None else a * pos_weight), b


def _of_both(values: Array, a: Array, b: Array, pos_weight: Array | None) -> Array:
    return values if pos_weight is None else values * (a + b)


def _softplus_terms(logits: Any, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    z = logits.astype(dtype)
    return z, np.exp(-np.abs(z))


def _store(out: Array | None, values: Any) -> None:
    if out is not None:
        np.copyto(out, values, casting="same_kind")


def _weighted(values: Array, weight: Array | None, kept: Array | None) -> Array:
    if weight is not None:
        values = values * weight.astype(values.dtype)
    return values if kept is None else np.where(kept, values, 0)


def _check_unit(values: Array, kept: Array | None, bad: Array | None) -> None:
    if bad is not None:
        outside = ~((values >= 0) & (values <= 1))
        bad[0] |= np.any(outside if kept is None else outside & kept)


def _emit(values: Array | None, loss: Array | None, losses: str) -> float | None:
    if values is None:
        return None
    _store(loss, np.mean(values, axis=-1, dtype=np.float64) if losses == "samples" else values)
    return float(np.sum(values, dtype=np.float64)) if losses == "sum" else None


_FORMULAS: dict[str, Any] = {
    function.__name__: function for function in (sigmoid, sigmoid_backward, clipped, logits)
}
