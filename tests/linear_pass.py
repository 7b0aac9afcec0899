"""Data for the linear pass, and plain formulas in float64 to compare it with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from checks import same_bits

import fastbce

if TYPE_CHECKING:
    from cases import Array

# relative to the largest element
TOLERANCE = {"f4": 5e-6, "f8": 1e-13}


def draw(
    rng: np.random.Generator, shape: tuple[int, int], dtype: str = "f8"
) -> tuple[Array, Array, Array]:
    """Return X, hard labels and coefficients that give logits of some size."""
    X = rng.normal(size=shape).astype(dtype)
    coef = (2 * rng.normal(size=shape[1]) / max(shape[1], 1) ** 0.5).astype(dtype)
    return X, rng.integers(0, 2, shape[0]), coef


def exact(
    X: Array, y: Array, coef: Array, intercept: float, weight: Array | None = None
) -> tuple[Array, Array, Array]:
    """Return the mean loss, its gradient and its Hessian, the intercept first."""
    A = np.column_stack([np.ones(len(X)), X.astype(np.float64)])
    z = A @ np.concatenate([[intercept], coef.astype(np.float64)])
    w = np.ones(len(X)) if weight is None else weight.astype(np.float64)
    p = 1 / (1 + np.exp(-z))
    loss = np.sum(w * (np.logaddexp(0, z) - z * y)) / len(X)
    gradient = A.T @ (w * (p - y)) / len(X)
    hessian = (A.T * (w * p * (1 - p))) @ A / len(X)
    return loss, gradient, hessian


def assert_near(actual: Any, expected: Any, tolerance: float) -> None:
    scale = max(float(np.max(np.abs(expected), initial=0)), 1e-300)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)


def check(X: Array, y: Array, coef: Array, weight: Array | None = None, kind: str = "f8") -> None:
    loss, grad_coef, grad_intercept = fastbce.linear_bce_loss_gradient(
        X, y, coef, 0.5, sample_weight=weight
    )
    hessian = fastbce.linear_bce_hessian(X, coef, 0.5, sample_weight=weight)
    expected = exact(X, y, coef, 0.5, weight)
    assert_near(loss, expected[0], TOLERANCE[kind])
    assert_near([grad_intercept, *grad_coef], expected[1], TOLERANCE[kind])
    assert_near(hessian, expected[2], TOLERANCE[kind])
    assert same_bits(hessian, hessian.T.copy())
    assert grad_coef.dtype == hessian.dtype == np.dtype(kind)
    assert isinstance(loss, float)
    assert isinstance(grad_intercept, float)
