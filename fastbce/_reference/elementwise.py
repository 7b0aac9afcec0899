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

from fastbce._bfloat16 import bfloat16, numbers, write
from fastbce._operations import Operation
from fastbce._typing import Array, Call

# What makes the results of this backend.
empty = np.empty
# It has no way of its own for short calls.
SHORT = 0


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
    _store(out, _sigmoid(x, call.dtype))


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
    call: Call,
    scale: float,
    bounds: tuple[Any, Any],
    bad_labels: Array | None,
    bad_scores: Array | None,
    rules: tuple[Any, Any, Any, Any, Any, Any],
    pos_weight: Array | None,
    losses: str,
) -> float | None:
    """Write the clipped BCE and its gradient; return the sum of the losses if asked for."""
    (scores, y_true, weight, mask), (loss, prob, grad) = call.inputs, call.outputs
    ignore, smoothing, flat, floor, chain, counts = rules
    dtype = call.dtype
    p = numbers(scores, dtype) if chain is None else _sigmoid(scores, dtype)
    c = np.clip(p, *bounds)
    kept = _kept(y_true, weight, mask, ignore)
    y = numbers(y_true, dtype)
    _check_unit(y, kept, bad_labels)
    _check_unit(p, kept, bad_scores)
    _count(p, y, kept, counts, bounds)
    a, b = _sides(y, smoothing, pos_weight)
    values = gradient = None
    if loss is not None or losses == "sum":
        positive, negative = -np.log(c), -np.log1p(-c)
        if floor is not None:
            positive, negative = np.minimum(positive, 100), np.minimum(negative, 100)
        values = _weighted(a * positive + b * negative, weight, kept)
    if grad is not None:
        plain = smoothing is None and pos_weight is None
        numerator = c - a if plain else b * c - a * (1 - c)
        denominator = c * (1 - c)
        if floor is not None:
            denominator = np.maximum(denominator, dtype.type(floor))
        slope = numerator / denominator
        if flat is not None:
            slope = np.where((p < bounds[0]) | (p > bounds[1]), 0, slope)
        if chain is not None:
            slope = slope * p * (1 - p)
        gradient = _weighted(slope, weight, kept) * dtype.type(scale)
    # Outputs are written last: one of them may be the array of an input.
    total = _emit(values, loss, losses)
    _store(prob, p)
    _store(grad, gradient)
    return total


def logits(
    call: Call,
    scale: float,
    bad_labels: Array | None,
    rules: tuple[Any, Any, Any, Any],
    pos_weight: Array | None,
    losses: str,
) -> float | None:
    """Write the BCE of logits, probabilities, gradient and Hessian; return the sum if asked for."""
    (z, y_true, weight, mask), (loss, prob, grad, hess) = call.inputs, call.outputs
    dtype = call.dtype
    z, e = _softplus_terms(z, dtype)
    ignore, smoothing, focus, counts = rules
    kept = _kept(y_true, weight, mask, ignore)
    y = numbers(y_true, dtype)
    _check_unit(y, kept, bad_labels)
    _count(z, y, kept, counts)
    a, b = _sides(y, smoothing, pos_weight)
    positive = z >= 0
    wanted = loss is not None or losses == "sum"
    values: Any = None
    probabilities = gradient = hessian = None
    if wanted or focus is not None:
        # |z| times what the label weighs on the wrong side: no two terms cancel, and a right
        # label at +-inf costs 0 rather than inf - inf.
        wrong = np.where(positive, b, a)
        linear = np.where(wrong == 0, 0, np.abs(z) * wrong)
        values = linear + _of_both(np.log1p(e), a, b, pos_weight)
    if prob is not None:
        probabilities = np.where(positive, 1, e) / (1 + e)
    if grad is not None:
        share = b * np.where(positive, 1, e) - a * np.where(positive, e, 1)
        gradient = share / (1 + e)
    if hess is not None:
        hessian = _of_both(e / (1 + e) ** 2, a, b, pos_weight)
    if focus is not None:
        values, gradient, hessian = _focal(z, e, (a, b), focus, (values, gradient, hessian))
    values = _weighted(values, weight, kept) if wanted else None
    if gradient is not None:
        gradient = _weighted(gradient, weight, kept) * dtype.type(scale)
    if hessian is not None:
        hessian = _weighted(hessian, weight, kept) * dtype.type(scale)
    # Outputs are written last: one of them may be the array of an input.
    total = _emit(values, loss, losses)
    _store(prob, probabilities)
    _store(grad, gradient)
    _store(hess, hessian)
    return total


def _focal(
    z: Array,
    e: Array,
    sides: tuple[Array, Array],
    focus: tuple[float, float, float],
    plain: tuple[Any, Array | None, Array | None],
) -> tuple[Array, Array | None, Array | None]:
    """Return loss, gradient and Hessian of the focal loss by the plain ones.

    The derivatives of ``alpha_t u^gamma loss`` with ``u = 1 - p_t`` and ``r = p (1 - p) / u``.
    """
    loss, slope, curvature = plain
    (a, b), (one, zero, gamma) = sides, (z.dtype.type(value) for value in focus)
    positive = z >= 0
    wrong, right = np.where(positive, b, a), np.where(positive, a, b)
    n = wrong + e * right
    factor = (a * one + b * zero) * (n / (1 + e)) ** gamma
    value = np.where(factor == 0, 0, factor * loss)
    if slope is None:
        return value, None, None
    ratio = np.where(wrong == 0, 1, e / n) / (1 + e)
    pull = np.where(ratio == 0, 0, ratio * loss)
    if curvature is not None:
        tilt = np.where(positive, e - 1, 1 - e) / (1 + e)
        turn = 2 * slope * ratio + pull * ((gamma - 1) * (b - a) * ratio + tilt)
        curvature = factor * (curvature + gamma * (b - a) * turn)
    return value, factor * (slope + gamma * (b - a) * pull), curvature


def _kept(y_true: Array, weight: Array | None, mask: Array | None, ignore: Any) -> Array | None:
    """Return which elements count; None is all."""
    tests = [] if ignore is None else [_readable(y_true) != ignore]
    tests += [_readable(given) != 0 for given in (weight, mask) if given is not None]
    return np.logical_and.reduce(tests) if tests else None


def _readable(array: Array) -> Array:
    """Return an array that NumPy can compare with numbers."""
    return numbers(array, np.float32) if array.dtype == bfloat16 else array


def _sides(y: Array, smoothing: float | None, pos_weight: Array | None) -> tuple[Array, Array]:
    """Return what the labels weigh on the positive side and on the negative one."""
    a, b = y, 1 - y
    if smoothing is not None:
        a, b = (side * (1 - smoothing) + smoothing / 2 for side in (a, b))
    return (a if pos_weight is None else a * pos_weight), b


def _of_both(values: Array, a: Array, b: Array, pos_weight: Array | None) -> Array:
    return values if pos_weight is None else values * (a + b)


def _softplus_terms(logits: Any, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    z = numbers(logits, dtype)
    return z, np.exp(-np.abs(z))


def _sigmoid(x: Any, dtype: np.dtype[Any]) -> Array:
    z, e = _softplus_terms(x, dtype)
    return np.asarray(np.where(z >= 0, 1, e) / (1 + e))


def _store(out: Array | None, values: Any) -> None:
    if out is not None:
        write(out, values)


def _weighted(values: Array, weight: Array | None, kept: Array | None) -> Array:
    if weight is not None:
        values = values * numbers(weight, values.dtype)
    return values if kept is None else np.where(kept, values, 0)


def _check_unit(values: Array, kept: Array | None, bad: Array | None) -> None:
    if bad is not None:
        outside = ~((values >= 0) & (values <= 1))
        bad[0] |= np.any(outside if kept is None else outside & kept)


def _count(
    x: Array,
    y: Array,
    kept: Array | None,
    counts: Array | None,
    bounds: tuple[Any, Any] | None = None,
) -> None:
    """Add what counts, what is on its label's side, and what is beyond the bounds."""
    if counts is None:
        return
    middle = 0 if bounds is None else 0.5
    right = ((x > middle) & (y > 0.5)) | ((x <= middle) & (y <= 0.5))
    clipped = np.zeros(x.shape, bool) if bounds is None else (x < bounds[0]) | (x > bounds[1])
    every = np.ones(x.shape, bool) if kept is None else kept
    for place, found in enumerate((every, right & every, clipped & every)):
        counts[0, place] += np.count_nonzero(found)


def _emit(values: Array | None, loss: Array | None, losses: str) -> float | None:
    if values is None:
        return None
    _store(loss, np.mean(values, axis=-1, dtype=np.float64) if losses == "samples" else values)
    return float(np.sum(values, dtype=np.float64)) if losses == "sum" else None


_FORMULAS: dict[str, Any] = {
    function.__name__: function
    for function in (sigmoid, sigmoid_backward, softplus, log_sigmoid, logit, clipped, logits)
}
