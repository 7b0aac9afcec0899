"""The options of the losses by their definitions: naive formulas in 80-bit long double.

What is ignored is left out of everything, labels are smoothed, then weighted; nothing here knows
how the kernels do it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from cases import EPS, clip_bounds

if TYPE_CHECKING:
    from cases import Array, Case

WIDE = np.longdouble


def counted(y: Array, options: dict[str, Any]) -> Array:
    """Tell which elements neither the mask nor ignore_index takes out."""
    kept = np.broadcast_to(options.get("mask", True), y.shape).copy()
    if options.get("ignore_index") is not None:
        kept &= y != options["ignore_index"]
    return kept


def elements(case: Case, x: Array, y: Array, options: dict[str, Any]) -> dict[str, Array]:
    """Return loss, gradient and Hessian of each element, and how large the gradient's terms are."""
    smoothing = WIDE(options.get("label_smoothing", 0.0))
    t = y.astype(WIDE) * (1 - smoothing) + smoothing / 2
    a, b = t * np.asarray(options.get("pos_weight", 1.0)).astype(WIDE), 1 - t
    z = x.astype(WIDE)
    results = {}
    if case.kind == "logits":
        s, r = 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(z))
        softplus = np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))
        right = np.maximum(-z, 0) + np.log1p(np.exp(-np.abs(z)))
        # Nothing of infinity is nothing.
        results["loss"] = np.where(a == 0, 0, a * right) + np.where(b == 0, 0, b * softplus)
        results["gradient"] = b * s - a * r
        results["terms"] = np.maximum(b * s, a * r)
        results["hessian"] = (a + b) * s * r
        results["probabilities"] = s
    else:
        rule = options.get("gradient", "reference")
        low, high = clip_bounds(x.dtype, options.get("eps", EPS))
        if rule == "torch":
            low, high = low * 0, high * 0 + 1
        c = np.clip(z, WIDE(low), WIDE(high))
        positive, negative, least = -np.log(c), -np.log1p(-c), WIDE(0)
        if rule == "torch":
            positive, negative = np.minimum(positive, 100), np.minimum(negative, 100)
            least = WIDE(2.0**-15 if x.dtype.str[1:] == "f2" else 1e-12)
        results["loss"] = a * positive + b * negative
        denominator = np.maximum(c * (1 - c), least)
        outside = (z < low) | (z > high) if rule == "zero" else np.zeros(z.shape, bool)
        results["gradient"] = np.where(outside, 0, (b * c - a * (1 - c)) / denominator)
        results["terms"] = np.maximum(b * c, a * (1 - c)) / denominator
    return results


def expected(
    case: Case, x: Array, y: Array, options: dict[str, Any], reduction: str
) -> dict[str, Array]:
    """Return every result of a call, and the size of the terms of its gradient."""
    weight = np.broadcast_to(np.asarray(options.get("sample_weight", 1.0)).astype(WIDE), y.shape)
    kept = counted(y, options)
    with np.errstate(all="ignore"):
        results = elements(case, x, y, options)
        probabilities = results.pop("probabilities", None)
        results = {
            name: np.where(kept & (weight != 0), value * weight, 0)
            for name, value in results.items()
        }
        ignoring = options.get("mask") is not None or options.get("ignore_index") is not None
        divisor = options.get("divisor") or ("kept" if ignoring else "elements")
        counts = {"elements": np.ones(y.shape), "kept": kept, "weights": np.where(kept, weight, 0)}
        axis = -1 if reduction == "samples" else None
        parts = np.sum(counts[divisor].astype(WIDE), axis, keepdims=True)
        if reduction in ("mean", "samples"):
            loss = np.sum(results["loss"], axis, keepdims=True) / parts
            results = {
                name: value / np.where(parts == 0, 1, parts) for name, value in results.items()
            }
            results["loss"] = loss.squeeze(axis)
        elif reduction == "sum":
            results["loss"] = np.sum(results["loss"])
    if probabilities is not None:
        results["probabilities"] = probabilities
    return results
