"""The same results from the libraries that are installed, element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastbce._typing import Array

# A family and one of its results, and who computes it from the arrays of the family.
Results = dict[tuple[str, str], Callable[..., Array]]


def _scipy() -> Results:
    from scipy import special

    found: Results = {
        ("sigmoid", "value"): special.expit,
        ("logits", "probabilities"): lambda z, y: special.expit(z),
        ("log_sigmoid", "value"): special.log_expit,
        ("logit", "value"): special.logit,
    }
    if hasattr(special, "softplus"):  # from SciPy 1.15 on
        found["softplus", "value"] = special.softplus
    return found


def _scikit_learn() -> Results:
    from sklearn._loss.loss import HalfBinomialLoss

    loss = HalfBinomialLoss()
    return {
        ("logits", "loss"): lambda z, y: loss.loss(y, z),
        ("logits", "gradient"): lambda z, y: loss.gradient(y, z),
        ("logits", "hessian"): lambda z, y: loss.gradient_hessian(y, z)[1],
    }


def _torch() -> Results:
    import torch

    f = torch.nn.functional

    def of(function: Callable[..., Any]) -> Callable[..., Array]:
        return lambda *a: function(*map(torch.from_numpy, a)).numpy()

    def slope(function: Callable[..., Any]) -> Callable[..., Array]:
        def gradient(x: Array, y: Array) -> Array:
            scores = torch.from_numpy(x).requires_grad_()
            function(scores, torch.from_numpy(y), reduction="sum").backward()
            return np.asarray(scores.grad)

        return gradient

    def each(function: Callable[..., Any]) -> Callable[..., Array]:
        return of(lambda x, y: function(x, y, reduction="none"))

    logits, clipped = f.binary_cross_entropy_with_logits, f.binary_cross_entropy
    return {
        ("sigmoid", "value"): of(torch.sigmoid),
        ("sigmoid_backward", "value"): of(torch.ops.aten.sigmoid_backward),
        # Above its threshold it would return x.
        ("softplus", "value"): of(lambda x: f.softplus(x, threshold=1e9)),
        ("log_sigmoid", "value"): of(f.logsigmoid),
        ("logit", "value"): of(torch.logit),
        ("clipped", "loss"): each(clipped),
        ("clipped", "gradient"): slope(clipped),
        ("logits", "loss"): each(logits),
        ("logits", "probabilities"): of(lambda z, y: torch.sigmoid(z)),
        ("logits", "gradient"): slope(logits),
    }


def _jax() -> Results:
    import jax

    wide: Any = getattr(jax, "enable_x64", None)
    if wide is None:  # before JAX 0.8
        from jax import experimental

        wide = experimental.enable_x64

    def of(function: Callable[..., Any]) -> Callable[..., Array]:
        def call(*arrays: Array) -> Array:
            with wide(True), jax.default_device(jax.devices("cpu")[0]):
                return np.asarray(jax.jit(function)(*arrays))

        return call

    def slope(function: Callable[..., Any]) -> Callable[..., Array]:
        return of(jax.grad(lambda z, y: function(z, y).sum()))

    found: Results = {
        ("sigmoid", "value"): of(jax.nn.sigmoid),
        ("softplus", "value"): of(jax.nn.softplus),
        ("log_sigmoid", "value"): of(jax.nn.log_sigmoid),
        ("logit", "value"): of(jax.scipy.special.logit),
        ("logits", "probabilities"): of(lambda z, y: jax.nn.sigmoid(z)),
    }
    try:
        import optax
    except ImportError:
        return found
    logits, focal = optax.sigmoid_binary_cross_entropy, _focal(optax)
    return {
        **found,
        ("logits", "loss"): of(logits),
        ("logits", "gradient"): slope(logits),
        ("focal", "loss"): of(focal),
        ("focal", "gradient"): slope(focal),
    }


def _focal(optax: Any) -> Callable[..., Any]:
    def focal(z: Any, y: Any) -> Any:
        return optax.losses.sigmoid_focal_loss(z, y, alpha=0.25, gamma=2.0)

    return focal


# The name of each library, that of its package, and its results.
FRAMEWORKS: dict[str, tuple[str, Callable[[], Results]]] = {
    "SciPy": ("scipy", _scipy),
    "scikit-learn": ("scikit-learn", _scikit_learn),
    "PyTorch": ("torch", _torch),
    "JAX": ("jax", _jax),
}
